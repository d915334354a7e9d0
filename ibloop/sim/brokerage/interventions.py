"""What happens at the brokerage without any client of the API: plain functions, events out.

Orders entered by hand have client id 0, order id 0 and no orderRef; so have the broker's own.
Each function stores what it changes; the caller lets the clients hear of the events.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal

from ibloop.sim.brokerage import corrections, groups, matching
from ibloop.sim.brokerage.account import Account, after_split
from ibloop.sim.brokerage.books import Books
from ibloop.sim.brokerage.broker import Broker
from ibloop.sim.brokerage.events import (
    AccountChange,
    Commissioned,
    Event,
    Filled,
    OrderUpdate,
    account_change,
)
from ibloop.sim.brokerage.floor import standing
from ibloop.sim.brokerage.margin import mark
from ibloop.sim.market.venue import Venue
from ibloop.sim.model import ZERO, Action, Execution, Instrument, Order, SimError, Status

CENT = Decimal("0.01")
# First group of the id of what is booked without a trade.
CORPORATE_PREFIX = "00000000"


@dataclass(frozen=True, slots=True)
class Entry:
    """An order nobody placed through the API: for which account, what, and at which limit."""

    account: str
    instrument: Instrument
    action: Action
    quantity: Decimal
    limit_price: Decimal | None = None
    liquidation: bool = False


def enter(books: Books, entry: Entry, venue: Venue, *, bound: bool = False) -> Order:
    """Store a manual order; `bound` gives it a negative order id, as client 0 binds them.

    It is not checked against the account's means: IB did that before.
    """
    phase = venue.phase()
    if books.floor.phase is None:
        books.reseat(phase)
    draft = Order(
        perm_id=books.next_perm_id,
        client_id=0,
        order_id=0,
        account=entry.account,
        con_id=entry.instrument.con_id,
        symbol=entry.instrument.symbol,
        action=entry.action,
        quantity=entry.quantity,
        order_type="MKT" if entry.limit_price is None else "LMT",
        limit_price=entry.limit_price,
        tif="DAY",
        good_till=venue.day_end(outside_rth=False),
        good_till_text="",
        order_ref="",
        outside_rth=False,
        hidden=False,
        status=Status.PRE_SUBMITTED,
        accepted_at=venue.now(),
        liquidation=entry.liquidation,
    )
    status, why_held = standing(draft, phase, child=False)
    stored = books.store(replace(draft, status=status, why_held=why_held))
    return books.bind(stored) if bound else stored


def fill(
    books: Books, order: Order, venue: Venue, *, shares: Decimal, price: Decimal
) -> list[Event]:
    """Fill a live order whatever the market shows, no further than what remains."""
    return matching.fill(books, order, min(shares, order.remaining), price, venue)


def market_price(order: Order, venue: Venue) -> Decimal | None:
    """Return what an order would pay or get now, within its limit; None without any price."""
    quote = venue.quote_of(order.con_id)
    side = (quote.ask if order.action is Action.BUY else quote.bid) if quote else ZERO
    if side <= 0:
        return order.limit_price
    if order.limit_price is None:
        return side
    best = min if order.action is Action.BUY else max
    return best(side, order.limit_price)


def only_fills(events: Sequence[Event]) -> list[Event]:
    """Return the events without those that show an order."""
    return [event for event in events if isinstance(event, Filled | Commissioned | AccountChange)]


def liquidate(
    books: Books, account_id: str, venue: Venue, *, fraction: Decimal, con_id: int | None = None
) -> list[Order]:
    """Store the broker's own market orders that close a part of an account's positions.

    Whole shares, at least one each. Raises: SimError when there is nothing to close.
    """
    placed = []
    for held_id, held in sorted(books.accounts[account_id].positions.items()):
        shares = (abs(held.quantity) * fraction).to_integral_value()
        if con_id not in {None, held_id} or not held.quantity:
            continue
        action = Action.SELL if held.quantity > 0 else Action.BUY
        instrument = books.instruments[held_id]
        entry = Entry(account_id, instrument, action, max(shares, Decimal(1)), liquidation=True)
        placed.append(enter(books, entry, venue))
    if not placed:
        raise SimError(f"{account_id} holds nothing to liquidate")
    return placed


def correct(
    broker: Broker, exec_id: str, *, shares_by: Decimal, price_by: Decimal, bust: bool
) -> list[Event]:
    """Correct an execution by so many shares and dollars, no further than to none, or bust it.

    Nothing happens to an execution that is gone already.
    """
    base = corrections.base_id(exec_id)
    found = [each for each in broker.executions if corrections.base_id(each.exec_id) == base]
    if not found or not found[0].shares:
        return []
    old = found[0]
    shares = ZERO if bust else max(old.shares + shares_by, ZERO)
    price = max(old.price + price_by, CENT)
    return corrections.correct(broker, old.exec_id, shares=shares, price=price)


def hold(books: Books, order: Order) -> Order:
    """Make a live order Inactive, held while securities are located; it may revive."""
    return books.store(replace(order, status=Status.INACTIVE, why_held="locate"))


def revive(books: Books, perm_id: int, venue: Venue) -> list[Event]:
    """Let a held order work again, if it still lives."""
    order = books.orders[perm_id]
    if not order.live:
        return []
    child = books.is_waiting_child(order)
    status, why_held = standing(order, venue.phase(), child=child)
    return [OrderUpdate(books.store(replace(order, status=status, why_held=why_held)))]


def renumber(books: Books, order: Order, venue: Venue, *, duplicate: bool) -> list[Event]:
    """Give a live order without fills another permId, as a modify at a bad moment does.

    With `duplicate` the former one lives on beside it: two live orders. Otherwise it has ended.
    """
    if not duplicate:
        groups.finish(books, order, Status.CANCELLED, "Replaced", venue.now())
    again = replace(order, perm_id=books.next_perm_id, accepted_at=venue.now())
    return [OrderUpdate(books.store(again))]


def rename(books: Books, con_id: int, symbol: str) -> list[Event]:
    """Give an instrument's live orders its new symbol."""
    return [
        OrderUpdate(books.store(replace(order, symbol=symbol)))
        for order in books.live_orders()
        if order.con_id == con_id
    ]


def split(books: Books, con_id: int, ratio: Decimal, venue: Venue) -> list[Event]:
    """Multiply every account's shares of an instrument; orders for it end, as at IB.

    Booked as shares that came or went at no price, and what does not make a whole share as sold
    (what was owed as bought) at the last price; nobody is told of either as an execution.
    """
    events: list[Event] = []
    for order in books.live_orders():
        if order.con_id == con_id and books.orders[order.perm_id].live:
            events += groups.cancel(books, order, groups.BY_SYSTEM, venue.now())
    price = mark(venue.quote_of(con_id))
    for account in books.accounts.values():
        if con_id not in account.positions:
            continue
        held = account.held(con_id)
        exact = after_split(held, ratio)
        whole = exact.to_integral_value(ROUND_DOWN)
        # Also what was sold again today: its trades count in the profit of the day.
        _book_corporate(books, account, con_id, exact - held, venue, ratio=ratio)
        if exact != whole:
            _book_corporate(books, account, con_id, whole - exact, venue, price=price)
        if held:
            events.append(account_change(account, con_id))
    return events


def _book_corporate(
    books: Books,
    account: Account,
    con_id: int,
    change: Decimal,
    venue: Venue,
    *,
    price: Decimal = ZERO,
    ratio: Decimal | None = None,
) -> None:
    """Book shares that come or, below 0, go without an execution a client hears of."""
    execution = Execution(
        exec_id=f"{CORPORATE_PREFIX}.{con_id:08x}.{len(books.executions):02d}.01",
        perm_id=0,
        client_id=0,
        order_id=0,
        order_ref="",
        account=account.account_id,
        con_id=con_id,
        symbol=books.instruments[con_id].symbol,
        action=Action.BUY if change > 0 else Action.SELL,
        shares=abs(change),
        price=price,
        time=venue.now(),
        commission=ZERO,
        realized_pnl=None,
        cum_quantity=abs(change),
        avg_price=price,
        exchange="",
        corporate=True,
        ratio=ratio,
    )
    books.record(execution)
    account.book(execution)
