"""How orders end, and what that and every fill means for the orders bound to them.

One-cancels-all groups: a fill cancels the other orders (type 1) or takes as much from them, in
proportion to their size (types 2 and 3; a full fill leaves nothing). IB's difference between
types with and without block is overfill protection; here no two orders of a group are ever filled
past each other, and an order that comes when its group is done is refused.
Brackets: children wait until their parent is filled and end with a parent that is not.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from ibloop.sim.brokerage.auctions import next_auction
from ibloop.sim.brokerage.books import CANCEL_ALL, Books
from ibloop.sim.brokerage.checks import Refusal
from ibloop.sim.brokerage.events import Event, OrderUpdate, Problem
from ibloop.sim.brokerage.floor import standing
from ibloop.sim.market.venue import Venue
from ibloop.sim.model import Order, Status

BY_TRADER = "Cancelled by Trader"
BY_SYSTEM = "Cancelled by System:"
CANCELED = "Order Canceled - reason:"


def filled_text(filled: Decimal) -> str:
    """Return the completedStatus of an order filled with so many shares."""
    return f"Filled Size: {filled:f}"


def finish(books: Books, order: Order, status: Status, text: str, now: datetime) -> Order:
    """Store an order that ends with this status and completedStatus."""
    return books.store(
        replace(order, status=status, completed_at=now, completed_text=text, why_held="")
    )


def cancel(
    books: Books, order: Order, why: str, now: datetime, canceller: int | None = None
) -> list[Event]:
    """Cancel an order, then its waiting children; `canceller` is a client it does not belong to."""
    done = finish(books, order, Status.CANCELLED, why, now)
    problem = Problem(done.client_id, done.order_id, 202, "Order Canceled - reason:", done.perm_id)
    update = OrderUpdate(done, canceller=canceller)
    return [update, problem, *end_children(books, done, now)]


def reject(books: Books, order: Order, refusal: Refusal, now: datetime) -> list[Event]:
    """End an order as Inactive, the error first, then its waiting children."""
    done = finish(books, order, Status.INACTIVE, "Rejected by System:", now)
    problem = Problem(done.client_id, done.order_id, refusal.code, refusal.text, done.perm_id)
    return [problem, OrderUpdate(done, accepted=True), *end_children(books, done, now)]


def end_children(books: Books, parent: Order, now: datetime) -> list[Event]:
    """Cancel what waits for an order that ended unfilled."""
    return [
        event
        for child in books.children_of(parent)
        for event in cancel(books, child, BY_SYSTEM, now)
    ]


def after_fill(books: Books, order: Order, shares: Decimal, venue: Venue) -> list[Event]:
    """Do what a fill of so many shares means for the orders bound to this one."""
    events = list(_reduce(books, order, shares, venue.now()))
    if order.status is Status.FILLED:
        for child in books.children_of(order):
            events += _release(books, child, venue)
    return events


def _reduce(books: Books, order: Order, shares: Decimal, now: datetime) -> Iterable[Event]:
    for sibling in books.siblings_of(order):
        if not books.orders[sibling.perm_id].live:
            continue
        left = sibling.remaining * order.remaining // (order.remaining + shares)
        if order.oca_type == CANCEL_ALL or left <= 0:
            yield from cancel(books, sibling, BY_SYSTEM, now)
        elif left < sibling.remaining:
            yield OrderUpdate(books.store(replace(sibling, quantity=sibling.filled + left)))


def _release(books: Books, child: Order, venue: Venue) -> list[Event]:
    """Let a child work: its parent is filled."""
    refusal = books.short_of(child, venue)
    if refusal:
        return reject(books, child, refusal, venue.now())
    free = replace(child, auction_session=next_auction(child, venue))
    status, why_held = standing(free, books.floor.phase, child=False)
    return [OrderUpdate(books.store(replace(free, status=status, why_held=why_held)))]
