"""What generic ticks tell of an instrument beyond its quote: ranges, volatility, rates.

Pure. Everything follows from the session paths and daily bars the quotes come from.
"""

import math
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from ibloop.sim.market.market import Market, Moment
from ibloop.sim.market.paths import SESSION_S, volume_so_far
from ibloop.sim.market.tape import SHARES_A_TRADE
from ibloop.sim.market.venue import Phase
from ibloop.sim.model import Quote

SESSIONS_A_YEAR = 252
# Weeks -> sessions, as far as lows and highs of 13, 26 and 52 weeks look back.
SESSIONS_OF_WEEKS = {13: 63, 26: 126, 52: SESSIONS_A_YEAR}
AVERAGE_VOLUME_SESSIONS = 90
VOLATILITY_SESSIONS = 30
MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A session that is over: USD and shares, with shocks and splits."""

    high: float
    low: float
    close: float
    volume: int


def finished(market: Market, con_id: int, count: int, last: int) -> list[Finished]:
    """Return up to `count` sessions that had prices, the newest, `last`, at the end."""
    ratio = float(market.ratios.get(con_id, 1))
    sessions = []
    for session in range(last, last - count, -1):
        bar = market.bar(con_id, session)
        if bar is None:
            break
        by = market.scales(con_id, Moment((session + 1) * SESSION_S - 0.001, 0))
        volume = int(bar.volume * ratio)
        sessions.append(Finished(bar.high * by.high, bar.low * by.low, bar.close * by.last, volume))
    return sessions[::-1]


def ranges(market: Market, quote: Quote, last: int) -> list[tuple[Decimal, Decimal]]:
    """Return low and high of the last 13, 26 and 52 weeks, the present session included."""
    grid, known = market.stock(quote.con_id).grid, []
    year = finished(market, quote.con_id, SESSIONS_A_YEAR, last)
    for count in SESSIONS_OF_WEEKS.values():
        low = min([quote.low or quote.last, *(grid.nearest(day.low) for day in year[-count:])])
        high = max([quote.high or quote.last, *(grid.nearest(day.high) for day in year[-count:])])
        known.append((low, high))
    return known


def average_volume(market: Market, con_id: int, last: int, count: int) -> int:
    """Return the mean volume of the last sessions that are over, 0 without any."""
    days = finished(market, con_id, count, last)
    return sum(day.volume for day in days) // len(days) if days else 0


def volatility(market: Market, con_id: int, last: int, *, now: Decimal | None = None) -> float:
    """Return the standard deviation of the last 30 daily returns, a year's, as a fraction.

    With `now` the return since the last close counts as well.
    """
    closes = [day.close for day in finished(market, con_id, VOLATILITY_SESSIONS + 1, last)]
    closes += [] if now is None else [float(now)]
    returns = [math.log(after / before) for before, after in pairwise(closes)]
    if len(returns) < 2:
        return 0.0
    mean = sum(returns) / len(returns)
    variance = sum((each - mean) ** 2 for each in returns) / (len(returns) - 1)
    return math.sqrt(variance * SESSIONS_A_YEAR)


def volume_within(market: Market, con_id: int, at: Moment, minutes: int) -> int:
    """Return the shares traded in the last minutes of market time of the present session."""
    bar = market.bar(con_id, at.session)
    if bar is None or at.phase is not Phase.OPEN:
        return 0
    elapsed_s = at.market_s - at.session * SESSION_S
    since_s = max(0.0, elapsed_s - minutes * MINUTE_S)
    now, then = (volume_so_far(bar.volume, each / SESSION_S) for each in (elapsed_s, since_s))
    return int((now - then) * float(market.ratios.get(con_id, 1)))


def average_price(market: Market, con_id: int, at: Moment) -> float:
    """Return the mean price of the session so far, 0 without one."""
    path = market.path(con_id, at.session)
    if path is None:
        return 0.0
    return path.average(at.market_s - at.session * SESSION_S) * market.scales(con_id, at).last


def trades(volume: int) -> int:
    """Return how many trades made a volume."""
    return -(-volume // SHARES_A_TRADE)
