"""What the broker sells or covers when an account is below its maintenance margin.

IB liquidates by itself, without a margin call; it does not publish the order it goes in. Here the
largest positions go first, each only as far as it takes.
"""

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal

from ibloop.sim.brokerage.account import Account
from ibloop.sim.brokerage.books import Books
from ibloop.sim.brokerage.events import Event, OrderUpdate
from ibloop.sim.brokerage.interventions import Entry, enter
from ibloop.sim.brokerage.margin import (
    QuoteOf,
    balances,
    maintenance_margin,
    mark,
    open_positions,
)
from ibloop.sim.market.hours import new_york_date
from ibloop.sim.market.venue import Venue
from ibloop.sim.model import AccountKind, Action

# Frees a tenth more than is missing, or the next tick down would begin it all again.
EXTRA = Decimal("1.10")


@dataclass(frozen=True, slots=True)
class Closing:
    """A market order the broker places itself: how many shares of which instrument, which side."""

    con_id: int
    action: Action
    quantity: Decimal


def closings(account: Account, quote_of: QuoteOf, today: date) -> list[Closing]:
    """Return the market orders that bring an account above its maintenance margin, none when it is.

    Whole shares, at the prices of the moment; everything when nothing less is enough.
    """
    missing = -balances(account, quote_of, today).excess * EXTRA
    found: list[Closing] = []
    priced = [
        (con_id, held.quantity, mark(quote_of(con_id))) for con_id, held in open_positions(account)
    ]
    for con_id, quantity, price in sorted(priced, key=lambda row: -abs(row[1] * row[2])):
        freed_by_share = maintenance_margin(account.kind, price * (1 if quantity > 0 else -1))
        if missing <= 0 or freed_by_share == 0:
            continue
        needed = (missing / freed_by_share).to_integral_value(ROUND_CEILING)
        shares = min(abs(quantity), max(needed, Decimal(1)))
        found.append(Closing(con_id, Action.SELL if quantity > 0 else Action.BUY, shares))
        missing -= shares * freed_by_share
    return found


def force(books: Books, venue: Venue) -> list[Event]:
    """Place the broker's orders for margin accounts below maintenance that have none working."""
    events: list[Event] = []
    for account in books.accounts.values():
        if account.kind is not AccountKind.MARGIN:
            continue
        found = closings(account, venue.quote_of, new_york_date(venue.now()))
        if not found or _at_work(books, account):
            continue
        for closing in found:
            instrument = books.instruments[closing.con_id]
            entry = Entry(
                account.account_id, instrument, closing.action, closing.quantity, liquidation=True
            )
            events.append(OrderUpdate(enter(books, entry, venue), accepted=True))
    return events


def _at_work(books: Books, account: Account) -> bool:
    """Tell whether the broker is liquidating an account already."""
    return any(
        order.liquidation and order.account == account.account_id for order in books.live_orders()
    )
