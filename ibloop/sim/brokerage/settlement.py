"""When trades settle: one business day after the trade.

Source: SEC rule 15c6-1 as amended, in force since 28 May 2024 (T+1). Business days are the
exchange's trading days.
"""

from datetime import date, timedelta
from functools import lru_cache

from ibloop.sim.market.hours import day_on_or_after


@lru_cache(maxsize=256)
def settlement_day(traded: date) -> date:
    """Return the day on which what was traded on a New York date is paid."""
    return day_on_or_after(traded + timedelta(days=1)).date
