"""What losses are measured against, and which valuations are sure enough to measure with.

Baselines survive restarts, follow money that comes and goes, and are moved by nothing else than
time and a person's resume of what the guard has halted for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

RECENT = 3
"""Valuations that decide together: the one in the middle counts."""
PRIOR_CLOSE_DAYS_MAX = 5
"""A close of longer ago (Thursday before a long weekend is five days) is not the day's start."""
YEAR = timedelta(weeks=52)


class Measure(StrEnum):
    """What the guard halts for; a halt's reason begins with it, so that a resume can tell."""

    DAY = "day loss"
    INTRADAY = "intraday drawdown"
    PEAK = "drawdown from peak"
    YEAR = "drawdown of 52 weeks"
    EQUITY = "equity"
    COUNT = "count"  # of failures: its reason begins with a number


def measure_of(reason: str) -> Measure:
    """Return what a halt of the guard was for."""
    return next((m for m in Measure if reason.startswith(m)), Measure.COUNT)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What losses are measured against, USD.

    ``day_*`` begin anew each trade date and when a person resumes a loss that the guard halted
    for; ``peak_usd`` never falls but by a withdrawal, or when the halt was for the fall from it.
    ``close_usd`` is the last value of this date in market hours, which becomes the next date's
    ``prior_close_usd``. ``year_high_usd`` is the highest value of 52 weeks before this date.
    ``opening`` are the valuations of which the start is still being made, none once it is;
    ``is_anew`` when the peak starts there as well, ``is_high_anew`` when the date's own highest
    value does, which the 52 weeks are made of.
    """

    trade_date: date
    set_at: datetime
    day_start_usd: Decimal
    day_high_usd: Decimal
    peak_usd: Decimal
    close_usd: Decimal | None = None
    prior_close_usd: Decimal | None = None
    prior_close_on: date | None = None
    year_high_usd: Decimal | None = None
    opening: tuple[Decimal, ...] = ()
    is_anew: bool = False
    is_high_anew: bool = False

    @property
    def day_base_usd(self) -> Decimal:
        """Return what the day's loss is measured from: the prior close, else the day's start."""
        on = self.prior_close_on
        if self.prior_close_usd is None or on is None or self.prior_close_usd <= 0:
            return self.day_start_usd
        is_recent = (self.trade_date - on).days <= PRIOR_CLOSE_DAYS_MAX
        return self.prior_close_usd if is_recent else self.day_start_usd

    def scaled(self, factor: Decimal) -> "Baseline":
        """Return the baseline after a flow: every loss stays the same fraction it was."""
        return replace(
            self,
            day_start_usd=cents(self.day_start_usd * factor),
            day_high_usd=cents(self.day_high_usd * factor),
            peak_usd=cents(self.peak_usd * factor),
            close_usd=_scaled(self.close_usd, factor),
            prior_close_usd=_scaled(self.prior_close_usd, factor),
            year_high_usd=_scaled(self.year_high_usd, factor),
            opening=tuple(cents(value * factor) for value in self.opening),
        )


def sure_loss_usd(recent: Sequence[Decimal]) -> Decimal:
    """Return the worth that losses are measured with: the middle of three.

    Of two the higher one. One wrong reading in three, which a flapping quote or a fill seen half
    way can be, decides nothing; two do.
    """
    return sorted(recent)[len(recent) // 2] if len(recent) >= RECENT else max(recent)


def sure_high_usd(recent: Sequence[Decimal]) -> Decimal:
    """Return the worth that highs are made of: the middle of three, of two the lower one."""
    return sorted(recent)[len(recent) // 2] if len(recent) >= RECENT else min(recent)


def flow_factor(equity_usd: Decimal, flow_usd: Decimal) -> Decimal | None:
    """Return by how much a flow multiplies every baseline; ``None`` when nothing is comparable.

    As a fund counts its units: what was worth ``equity - flow`` is worth ``equity`` now.
    """
    before = equity_usd - flow_usd
    return equity_usd / before if before > 0 and equity_usd > 0 else None


def cents(value: Decimal) -> Decimal:
    """Return the value to a hundredth of a cent, as the ledger keeps it."""
    return value.quantize(Decimal("0.0001"))


def _scaled(value: Decimal | None, factor: Decimal) -> Decimal | None:
    return None if value is None else cents(value * factor)
