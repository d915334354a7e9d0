"""Profit and loss of positions and accounts, realized, unrealized and of the day.

The day begins at midnight in New York: what was held then is compared with the close of the quote,
what was traded since with the price it was traded at, commissions deducted. The close must
therefore be the price the day began with. Realized profit is reset with the day too, as in IB's
account window.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ibloop.sim.brokerage.account import Account, Position
from ibloop.sim.brokerage.margin import QuoteOf, mark
from ibloop.sim.model import ZERO, Quote


@dataclass(frozen=True, slots=True)
class Profit:
    """Profit in USD: `daily` and `realized` since midnight, `unrealized` against average cost."""

    daily: Decimal
    unrealized: Decimal
    realized: Decimal


def position_profit(position: Position, quote: Quote | None, today: date) -> Profit:
    """Return a position's profit; without a price there is none but the realized one."""
    day = position.on(today)
    if quote is None:
        return Profit(day.realized, ZERO, day.realized)
    price = mark(quote)
    overnight = position.quantity - sum(
        (traded.shares for when, traded in position.days.items() if when >= today), ZERO
    )
    return Profit(
        daily=overnight * (price - quote.close) + day.shares * price + day.cash,
        unrealized=position.quantity * (price - position.avg_cost),
        realized=day.realized,
    )


def account_profit(account: Account, quote_of: QuoteOf, today: date) -> Profit:
    """Return the profit of all positions together, closed ones too."""
    parts = [
        position_profit(position, quote_of(con_id), today)
        for con_id, position in account.positions.items()
    ]
    return Profit(
        sum((part.daily for part in parts), ZERO),
        sum((part.unrealized for part in parts), ZERO),
        sum((part.realized for part in parts), ZERO),
    )
