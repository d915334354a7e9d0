"""Counting day trades: bought and sold, or sold short and covered, on one day.

Source: FINRA rule 4210(f)(8)(B): four or more day trades in five business days make a margin
account below 25,000 USD a pattern day trader's, which is then closed to day trading. The count is
by our own fills; where the broker tells how many are left, the smaller of the two holds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ibloop.core.model import Side

DAY_TRADER_EQUITY_USD = Decimal(25_000)


@dataclass(frozen=True, slots=True)
class Trade:
    """One execution: what and on which side, on which date of the market."""

    symbol: str
    side: Side
    day: date


@dataclass(frozen=True, slots=True)
class DayTrades:
    """How many day trades there were, and what could become one today.

    ``count`` covers the last five business days; ``opened`` are symbol and side of today's first
    executions, ``left_at_broker`` the broker's own number of those still free.
    """

    count: int
    opened: frozenset[tuple[str, Side]]
    left_at_broker: int | None = None

    def would_be_one(self, symbol: str, side: Side) -> bool:
        """Return whether an order closes what was opened today."""
        return (symbol, Side.SELL if side is Side.BUY else Side.BUY) in self.opened

    def used(self, day_trades_max: int) -> int:
        """Return how many of the allowed ones are gone, by whoever counts more."""
        if self.left_at_broker is None or self.left_at_broker < 0:
            return self.count
        return max(self.count, day_trades_max - self.left_at_broker)


def count_day_trades(
    trades: Iterable[Trade], today: date, *, short_allowed: bool, left_at_broker: int | None
) -> DayTrades:
    """Return the day trades among ``trades``, given in order of time.

    Each turn from buying to selling within a date is one. So is each turn from selling to buying,
    but only where shorts are allowed: without them it buys back what was held overnight.
    """
    count = 0
    last: dict[tuple[str, date], Side] = {}
    opened: set[tuple[str, Side]] = set()
    for trade in trades:
        key = (trade.symbol, trade.day)
        before, last[key] = last.get(key), trade.side
        opens = trade.side is Side.BUY or short_allowed
        if before is not None and before is not trade.side:
            count += before is Side.BUY or short_allowed
        if opens and trade.day == today:
            opened.add((trade.symbol, trade.side))
    return DayTrades(count, frozenset(opened), left_at_broker)
