"""What the account was worth day by day, as the guard saw it: the memory of 52 weeks.

A deposit does not make the highs of before low: each day carries the account's units, which grow
with what comes in as a fund's do, and highs of other days are compared in units of today.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.values import (
    decimal_text,
    insert_sql,
    parse_decimal,
    select_sql,
    time_text,
)
from ibloop.core.model import ZERO

_COLUMNS = (
    *("trade_date", "open_usd", "high_usd", "low_usd", "close_usd", "flow_usd", "units"),
    "updated_at",
)
_STORE = (
    insert_sql("guard_days", _COLUMNS)
    + " ON CONFLICT (trade_date) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])
)
_SELECT = select_sql("guard_days", _COLUMNS)


@dataclass(frozen=True, slots=True)
class GuardDay:
    """One trade date: sure values in USD of that day's money, its net flow, and its units."""

    trade_date: date
    open_usd: Decimal
    high_usd: Decimal
    low_usd: Decimal
    close_usd: Decimal
    flow_usd: Decimal = ZERO
    units: Decimal = Decimal(1)

    def with_value(self, usd: Decimal) -> "GuardDay":
        """Return the day with one more value."""
        high, low = max(self.high_usd, usd), min(self.low_usd, usd)
        return replace(self, high_usd=high, low_usd=low, close_usd=usd)

    def with_flow(self, flow_usd: Decimal, factor: Decimal | None) -> "GuardDay":
        """Return the day after a flow; without a factor nothing of before is comparable."""
        flowed = replace(self, flow_usd=self.flow_usd + flow_usd)
        if factor is None:
            return flowed
        return replace(
            flowed,
            open_usd=_rounded(self.open_usd * factor),
            high_usd=_rounded(self.high_usd * factor),
            low_usd=_rounded(self.low_usd * factor),
            close_usd=_rounded(self.close_usd * factor),
            units=_rounded(self.units * factor),
        )


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.00000001"))


def store(tx: Tx, day: GuardDay, now: datetime) -> None:
    """Store a day, or replace what it was so far."""
    values = {name: decimal_text(getattr(day, name)) for name in _COLUMNS[1:-1]}
    stamp = {"trade_date": day.trade_date.isoformat(), "updated_at": time_text(now)}
    tx.execute(_STORE, values | stamp)


def find(db: Connection, trade_date: date) -> GuardDay | None:
    """Return a day, ``None`` when the guard did not value anything on it."""
    row = db.execute(f"{_SELECT} WHERE trade_date = ?", (trade_date.isoformat(),)).fetchone()
    return None if row is None else _day(row)


def newest(db: Connection) -> GuardDay | None:
    """Return the last day there is."""
    row = db.execute(f"{_SELECT} ORDER BY trade_date DESC LIMIT 1").fetchone()
    return None if row is None else _day(row)


def year_high_usd(
    db: Connection, today: date, units: Decimal, since: date | None, span: timedelta
) -> Decimal | None:
    """Return the highest value of the days before ``today``, in today's units.

    Args: the units of today; the date before which nothing counts (a resume forgives what was);
    how far to look back. ``None`` when there is no such day.
    """
    first = max(today - span, since or date.min)
    found = db.execute(
        f"{_SELECT} WHERE trade_date < ? AND trade_date >= ?",
        (today.isoformat(), first.isoformat()),
    )
    days = [_day(row) for row in found]
    return max((_rounded(day.high_usd / day.units * units) for day in days), default=None)


def _day(row: Row) -> GuardDay:
    numbers = (parse_decimal(row[name]) for name in _COLUMNS[1:-1])
    return GuardDay(date.fromisoformat(row["trade_date"]), *numbers)
