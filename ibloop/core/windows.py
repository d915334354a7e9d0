"""When nothing may be sent, though the exchange is open; and whether a plan fits the time left.

A gateway restarts once a day, and IB resets its servers once a night. An order sent into either
may be lost without an answer. So nothing is *sent* then: what works already works on at IB, and a
run that is under way goes on after it as long as its deadline allows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from math import ceil
from zoneinfo import ZoneInfo

ACK_S = 1.0
"""What an acknowledgement takes at a gateway that is well, for estimates."""
FILL_S = 5.0
"""What the last marketable order of a side takes to fill, for estimates."""
BEFORE_QUIET = timedelta(seconds=5)
"""What is put off goes on so long before a quiet stretch: in it, it would be refused."""
EVERY_DAY = frozenset(range(7))


class Region(StrEnum):
    """Whose server reset concerns the account: where IB keeps it."""

    AMERICAS = "americas"
    EUROPE = "europe"
    ASIA = "asia"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Recurring:
    """A stretch that comes again: it begins at ``begins`` in ``timezone`` on ``weekdays``.

    Weekdays count from Monday, 0.
    """

    name: str
    begins: time
    lasts: timedelta
    timezone: str
    weekdays: frozenset[int] = EVERY_DAY


@dataclass(frozen=True, slots=True)
class Quiet:
    """One stretch in which nothing is sent: aware UTC, ``opens <= t < closes``."""

    name: str
    opens: datetime
    closes: datetime

    def contains(self, now: datetime) -> bool:
        """Return whether nothing may be sent at ``now``."""
        return self.opens <= now < self.closes


def _hours(hours: float) -> timedelta:
    return timedelta(hours=hours)


_RESET = "IB's server reset"
_WEEKEND = Recurring("IB's weekend reset", time(23), _hours(4), "America/New_York", frozenset({4}))
RESETS: dict[Region, tuple[Recurring, ...]] = {
    Region.AMERICAS: (
        Recurring(_RESET, time(23, 45), _hours(2), "America/New_York"),
        _WEEKEND,
    ),
    Region.EUROPE: (Recurring(_RESET, time(5, 45), _hours(2), "Europe/Zurich"), _WEEKEND),
    Region.ASIA: (
        Recurring(_RESET, time(4, 45), _hours(2), "Asia/Hong_Kong"),
        Recurring(_RESET, time(20, 15), _hours(1), "Asia/Hong_Kong"),
        _WEEKEND,
    ),
    Region.NONE: (),
}
"""IB's published reset times (its page "System Status"). The page was changed in 2025 and two
versions of it differ by up to an hour, so each stretch here covers both: 23:45-00:45 and
00:15-01:45 New York, 05:45-06:45 and 06:25-07:45 Central Europe."""


def gateway_restart(at: time, timezone: str, before: timedelta, after: timedelta) -> Recurring:
    """Return the stretch around a gateway's daily restart at ``at`` in ``timezone``."""
    day = datetime(2000, 1, 2, at.hour, at.minute) - before  # noqa: DTZ001  (a time of day)
    return Recurring("the gateway's daily restart", day.time(), before + after, timezone)


@lru_cache(maxsize=256)
def _on(rule: Recurring, day: date) -> Quiet | None:
    if day.weekday() not in rule.weekdays:
        return None
    opens = datetime.combine(day, rule.begins, ZoneInfo(rule.timezone)).astimezone(UTC)
    return Quiet(rule.name, opens, opens + rule.lasts)


def quiet_between(
    rules: Iterable[Recurring], since: datetime, until: datetime
) -> tuple[Quiet, ...]:
    """Return the stretches that touch ``since <= t < until``, the earliest first."""
    days = range((until - since).days + 4)
    start = since.date() - timedelta(days=2)
    found = (_on(rule, start + timedelta(days=n)) for rule in rules for n in days)
    return tuple(
        sorted(
            (q for q in found if q is not None and q.opens < until and q.closes > since),
            key=lambda q: (q.opens, q.closes, q.name),
        )
    )


def quiet_at(rules: Iterable[Recurring], now: datetime) -> Quiet | None:
    """Return the stretch that ``now`` lies in, the one that ends last; ``None`` outside all."""
    found = quiet_between(rules, now, now + timedelta(microseconds=1))
    return max(found, key=lambda q: q.closes, default=None)


def sending_time(rules: Iterable[Recurring], now: datetime, until: datetime) -> timedelta:
    """Return how much of ``now <= t < until`` lies outside all quiet stretches; never negative."""
    left, reached = timedelta(0), now
    for quiet in quiet_between(rules, now, until):
        left += max(quiet.opens - reached, timedelta(0))
        reached = max(reached, quiet.closes)
    return left + max(until - reached, timedelta(0))


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast orders leave: so many a second at most, so many unacknowledged at once."""

    orders_per_second_max: int
    window: int


def estimate(sells: int, buys: int, pace: Pace) -> timedelta:
    """Return about how long a run takes: the first order alone, sells filled before buys leave."""
    a_second = min(float(pace.orders_per_second_max), pace.window / ACK_S)
    batches = [count for count in (sells, buys) if count]
    canary_s = ACK_S if batches else 0.0
    return timedelta(seconds=canary_s + sum(ceil(n / a_second) + FILL_S for n in batches))


def shortage(
    rules: Sequence[Recurring],
    now: datetime,
    deadline: datetime,
    *,
    sells: int,
    buys: int,
    pace: Pace,
) -> str | None:
    """Return why a plan does not fit between ``now`` and ``deadline``, ``None`` when it does."""
    need, have = estimate(sells, buys, pace), sending_time(rules, now, deadline)
    if need <= have:
        return None
    return (
        f"{sells + buys} orders need about {need.total_seconds():.0f} s, and "
        f"{have.total_seconds():.0f} s are left for sending until {deadline:%H:%M:%S} UTC"
    )


def spare_time(
    rules: Sequence[Recurring],
    now: datetime,
    deadline: datetime,
    *,
    sells: int,
    buys: int,
    pace: Pace,
) -> timedelta:
    """Return how long a plan can be put off: it must still fit, and begin before it is quiet."""
    left = sending_time(rules, now, deadline) - estimate(sells, buys, pace)
    quiet = quiet_between(rules, now, deadline)
    return min(left, quiet[0].opens - BEFORE_QUIET - now) if quiet else left
