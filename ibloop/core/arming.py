"""Live trading is armed by a person, for a while, for an amount, for a number of runs.

A permission ends by itself: by the wall clock or by boot time, whichever is first, with a reboot,
when it is used up, and when configuration, universe or program are no longer those it was given
for.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ibloop.core.model import Moment

HOURS_MAX = 72
"""A permission that outlives a long weekend is no permission but a habit."""


@dataclass(frozen=True, slots=True)
class Term:
    """The end of something that ends by itself, on both clocks."""

    expires: Moment

    def is_over(self, now: Moment) -> bool:
        """Return whether it has ended: by either clock, or because another boot has begun."""
        return (
            now.boot_id != self.expires.boot_id
            or now.utc >= self.expires.utc
            or now.boottime_ns >= self.expires.boottime_ns
        )


def term_from(now: Moment, lasts: timedelta) -> Term:
    """Return the term that begins now."""
    boottime_ns = now.boottime_ns + int(lasts.total_seconds() * 1e9)
    return Term(Moment(now.utc + lasts, boottime_ns, now.boot_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Arming:
    """A permission to send live orders, and what has been used of it.

    ``notional_usd_max`` bounds the sum of everything sent under it, ``sent_usd`` is that sum so
    far; ``runs`` are the ids of the runs that have sent under it, at most ``runs_max``.
    ``universe_hash`` is ``None`` for one that a version gave which did not look at the universe.
    """

    arming_id: int
    account: str
    armed_by: str
    armed_at: datetime
    term: Term
    config_hash: str
    universe_hash: str | None
    build: str
    notional_usd_max: Decimal
    runs_max: int
    sent_usd: Decimal
    runs: frozenset[str]

    @property
    def left_usd(self) -> Decimal:
        """Return what may still be sent, in USD; below zero never."""
        return max(self.notional_usd_max - self.sent_usd, Decimal(0))

    @property
    def runs_left(self) -> int:
        """Return how many further runs may send."""
        return max(self.runs_max - len(self.runs), 0)


def why_unarmed(
    arming: Arming | None,
    now: Moment,
    *,
    account: str,
    config_hash: str,
    universe_hash: str | None,
    build: str,
    run_id: str | None,
) -> str | None:
    """Return why nothing may be sent live, ``None`` when the permission stands.

    ``run_id`` is the run that wants to send, ``None`` for one that does not exist yet; a run that
    has sent under the permission is counted once and may go on. ``universe_hash`` is of the
    universe as it is now, ``None`` when it cannot be read.
    """
    if arming is None or arming.account != account:
        return "not armed"
    if arming.term.is_over(now):
        return f"the arming of {arming.armed_at:%F %H:%M} UTC has run out"
    if arming.config_hash != config_hash:
        return "the configuration has changed since it was armed"
    if universe_hash is None:
        return "the universe cannot be read"
    if arming.universe_hash != universe_hash:
        return "the universe has changed since it was armed: restart the executor, then arm again"
    if arming.build != build:
        return f"armed for build {arming.build}, this is {build}"
    if run_id not in arming.runs and not arming.runs_left:
        return f"the {arming.runs_max} armed runs are used up"
    if arming.left_usd <= 0:
        return f"the armed {arming.notional_usd_max} USD are used up"
    return None
