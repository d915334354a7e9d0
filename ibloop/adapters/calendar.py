"""When the exchange is open: NYSE's holidays and half days. The only import of holidays.

The package knows dates, the hours are ours (09:30 to 16:00, half days to 13:00, New York time).
Unscheduled closures are known to no calendar.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import holidays

from ibloop.core.sessions import Session


@contextmanager
def _without_other_exchanges() -> Iterator[None]:
    """Put an empty package in the place of all exchanges, and with them all countries.

    They are 300 modules and 9 MiB in every daemon that has to know one exchange's holidays.
    """
    name = "holidays.financial"
    if name in sys.modules:
        yield
        return
    stand_in = ModuleType(name)
    stand_in.__path__ = [f"{path}/financial" for path in holidays.__path__]
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]


with _without_other_exchanges():
    from holidays.financial.ny_stock_exchange import NewYorkStockExchange

NYSE_ZONE = ZoneInfo("America/New_York")
OPEN, CLOSE, HALF_DAY_CLOSE = time(9, 30), time(16, 0), time(13, 0)


@lru_cache(maxsize=4)
def _closures(year: int) -> tuple[frozenset[date], frozenset[date]]:
    """Return the closed days and the half days of a year."""
    made: Any = NewYorkStockExchange
    return frozenset(made(years=year)), frozenset(made(years=year, categories=("half_day",)))


def nyse_session(day: date) -> Session | None:
    """Return the regular session of a date in New York, ``None`` when the exchange is closed."""
    closed, half = _closures(day.year)
    if day.weekday() > 4 or day in closed:
        return None
    closes = HALF_DAY_CLOSE if day in half else CLOSE
    return Session(
        datetime.combine(day, OPEN, NYSE_ZONE).astimezone(UTC),
        datetime.combine(day, closes, NYSE_ZONE).astimezone(UTC),
    )


def session_days_back(day: date, count: int) -> date:
    """Return the date ``count`` trading days of the exchange before ``day``."""
    while count:
        day -= timedelta(days=1)
        count -= nyse_session(day) is not None
    return day


def session_on(calendar: str, day: date) -> Session | None:
    """Return the session of a market date; the calendar ``always`` is open the whole day."""
    if calendar == "always":
        opens = datetime.combine(day, time(0), NYSE_ZONE).astimezone(UTC)
        return Session(opens, opens + timedelta(days=1))
    return nyse_session(day)


def session_at(calendar: str, now: datetime) -> Session | None:
    """Return the session that contains ``now``, ``None`` while the market is closed.

    The calendar ``always`` is for simulations: open now and for another week.
    """
    if calendar == "always":
        return Session(now - timedelta(days=1), now + timedelta(days=7))
    session = nyse_session(now.astimezone(NYSE_ZONE).date())
    return session if session is not None and session.contains(now) else None
