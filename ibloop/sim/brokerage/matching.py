"""The exchange's part: orders meet the market, in the order of price and then age.

One quote serves all orders: what one takes of the shown size is gone for the next, until new
depth is shown. Fills happen at the shown bid and ask, never through them.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from ibloop.sim.brokerage import auctions, groups
from ibloop.sim.brokerage.account import commission_usd
from ibloop.sim.brokerage.books import EXECUTION_PREFIX, Books
from ibloop.sim.brokerage.events import (
    Commissioned,
    Event,
    Filled,
    OrderUpdate,
    account_change,
)
from ibloop.sim.brokerage.floor import standing
from ibloop.sim.brokerage.triggers import trailed
from ibloop.sim.market.venue import Venue
from ibloop.sim.model import ZERO, Action, Execution, Order, Quote, Status

# The most an order may fill now, None for no limit but the market's.
SliceOf = Callable[[Order, datetime], Decimal | None]


def unsliced(_order: Order, _now: datetime) -> None:
    """Limit no fill."""


def match(books: Books, venue: Venue, slice_of: SliceOf = unsliced) -> list[Event]:
    """Let the market do what it can do now: auctions, elections, fills, ends of IOC and FOK."""
    events = turn(books, venue)
    for con_id in books.floor.con_ids():
        quote = venue.quote_of(con_id)
        if quote is None or quote.halted:
            continue
        events += _elect(books, quote)
        for action in (Action.SELL, Action.BUY):
            events += _trade(books, quote, action, venue, slice_of)
    for perm_id in tuple(books.floor.immediate):
        events += _end_immediate(books, books.orders[perm_id], venue.now())
    return events


# ---------------------------------------------------------------------- the day


def turn(books: Books, venue: Venue) -> list[Event]:
    """Follow the exchange into another session or part of the day, if it is in one."""
    floor, phase, session = books.floor, venue.phase(), venue.session()
    if (phase, session) == (floor.phase, floor.session):
        return []
    events: list[Event] = []
    floor.session = session
    if phase is not floor.phase:
        books.reseat(phase)
        for order in books.live_orders():
            events += _restand(books, order)
    for perm_id in tuple(floor.auctions):
        order = books.orders[perm_id]
        if order.live and auctions.is_over(order, venue):
            events += _settle_auction(books, order, venue)
    return events


def _restand(books: Books, order: Order) -> list[Event]:
    """Tell of an order that begins or ceases to work with the part of the day."""
    status, why_held = standing(order, books.floor.phase, child=books.is_waiting_child(order))
    if (status, why_held) == (order.status, order.why_held) or order.order_type == "MKT":
        return []
    return [OrderUpdate(books.store(replace(order, status=status, why_held=why_held)))]


def _settle_auction(books: Books, order: Order, venue: Venue) -> list[Event]:
    price = auctions.auction_price(order, venue)
    if price is None:
        return groups.cancel(books, order, groups.BY_SYSTEM, venue.now())
    return fill(books, order, order.remaining, price, venue)


# ---------------------------------------------------------------------- stops


def _elect(books: Books, quote: Quote) -> list[Event]:
    """Move trailing stops after the last price, then let the ones it reached become orders."""
    instrument = books.instruments[quote.con_id]
    for perm_id in books.floor.trailing(quote.con_id):
        order = books.orders[perm_id]
        stop = trailed(order, quote.last, instrument) if quote.last > 0 else order.trail_stop
        if stop != order.trail_stop:
            books.store(replace(order, trail_stop=stop))
    events: list[Event] = []
    for perm_id in books.floor.elected(quote):
        elected = replace(books.orders[perm_id], elected=True)
        status, why_held = standing(elected, books.floor.phase, child=False)
        elected = replace(elected, status=status, why_held=why_held)
        events.append(OrderUpdate(books.store(elected)))
    return events


# ---------------------------------------------------------------------- fills


def _trade(
    books: Books, quote: Quote, action: Action, venue: Venue, slice_of: SliceOf
) -> list[Event]:
    """Fill one side of one instrument from the size shown to it."""
    events: list[Event] = []
    price = quote.ask if action is Action.BUY else quote.bid
    for perm_id in books.floor.marketable(quote, action):
        if books.depth.free(quote, action) <= 0:
            break
        while (shares := _shares_now(books, perm_id, quote, venue.now(), slice_of)) > 0:
            books.depth.take(quote, action, shares)
            events += fill(books, books.orders[perm_id], shares, price, venue)
    return events


def _shares_now(
    books: Books, perm_id: int, quote: Quote, now: datetime, slice_of: SliceOf
) -> Decimal:
    """Return how much may fill at once; 0 ends the filling for now."""
    order = books.orders[perm_id]
    if not order.live:
        return ZERO
    free = books.depth.free(quote, order.action)
    if order.tif == "FOK":
        return order.remaining if free >= order.remaining else ZERO
    limit = slice_of(order, now)
    return min(order.remaining, free, free if limit is None else limit)


def _end_immediate(books: Books, order: Order, now: datetime) -> list[Event]:
    """End what is left of IOC and FOK orders; paper accounts show a failed FOK as Inactive."""
    if order.tif == "FOK":
        done = groups.finish(books, order, Status.INACTIVE, groups.BY_SYSTEM, now)
        return [OrderUpdate(done), *groups.end_children(books, done, now)]
    pending = OrderUpdate(replace(order, status=Status.PENDING_CANCEL))
    done = groups.finish(books, order, Status.CANCELLED, groups.BY_SYSTEM, now)
    return [pending, OrderUpdate(done), *groups.end_children(books, done, now)]


def fill(books: Books, order: Order, shares: Decimal, price: Decimal, venue: Venue) -> list[Event]:
    """Fill an order in part or whole, and do what that means for the orders bound to it."""
    now = venue.now()
    filled = order.filled + shares
    value = order.filled * order.avg_fill_price + shares * price
    commission = max(ZERO, commission_usd(filled, value) - order.commission_usd)
    done = filled == order.quantity
    updated = replace(
        order,
        status=Status.FILLED if done else order.status,
        filled=filled,
        avg_fill_price=value / filled,
        last_fill_price=price,
        last_fill_at=now,
        fills=order.fills + 1,
        completed_at=now if done else None,
        completed_text=groups.filled_text(filled) if done else "",
    )
    execution = _execution(books, updated, shares, price, commission, now)
    books.record(execution)
    books.accounts[order.account].book(execution)
    charged = replace(updated, commission_usd=order.commission_usd + commission)
    return [
        Filled(execution),
        OrderUpdate(updated),
        OrderUpdate(books.store(charged), commissioned=True),
        Commissioned(execution),
        account_change(books.accounts[order.account], order.con_id),
        *groups.after_fill(books, charged, shares, venue),
    ]


def _execution(
    books: Books, order: Order, shares: Decimal, price: Decimal, commission: Decimal, now: datetime
) -> Execution:
    account = books.accounts[order.account]
    return Execution(
        exec_id=f"{EXECUTION_PREFIX:08x}.{order.perm_id:08x}.{order.fills:02d}.01",
        perm_id=order.perm_id,
        client_id=order.client_id,
        order_id=order.order_id,
        order_ref=order.order_ref,
        account=order.account,
        con_id=order.con_id,
        symbol=order.symbol,
        action=order.action,
        shares=shares,
        price=price,
        time=now,
        commission=commission,
        realized_pnl=account.realized_by(order.con_id, order.action, shares, price, commission),
        cum_quantity=order.filled,
        avg_price=order.avg_fill_price,
        exchange=books.instruments[order.con_id].primary_exchange,
        liquidation=order.liquidation,
    )
