"""How a placeOrder becomes an order, a change of one, or a refusal.

Nothing fills here. Orders with transmit=0 are only kept in the gateway until the same id, or an
order attached to them, comes with transmit=1: then the whole chain is taken, parents first.
"""

from dataclasses import replace
from datetime import datetime

from ibloop.sim.brokerage.auctions import next_auction
from ibloop.sim.brokerage.books import Books
from ibloop.sim.brokerage.checks import (
    LIMITED,
    ORDER_ID_UNSET,
    REGULAR_ONLY,
    Refusal,
    good_till,
    invalid,
    refuse_price_band,
    refuse_ticket,
    rejected,
)
from ibloop.sim.brokerage.events import Event, OrderUpdate, Problem, WhatIf
from ibloop.sim.brokerage.floor import may_trade, standing
from ibloop.sim.brokerage.funds import preview
from ibloop.sim.brokerage.groups import reject
from ibloop.sim.brokerage.triggers import TRIGGERED
from ibloop.sim.market.hours import new_york_date
from ibloop.sim.market.venue import Phase, Venue
from ibloop.sim.model import NEW_YORK, Action, Instrument, Order, OrderTicket, Status

OUTSIDE_RTH_IGNORED = (
    "Order Event Warning:Attribute 'Outside Regular Trading Hours' is ignored based on the order"
    " type and destination. PlaceOrder is now being processed."
)
NO_ORDER = 135
NO_MATCH = "Order being modified does not match original order"


def place(
    books: Books,
    client_id: int,
    order_id: int,
    instrument: Instrument | None,
    ticket: OrderTicket,
    *,
    venue: Venue,
    refusal: Refusal | None = None,
) -> list[Event]:
    """Take a placeOrder; `refusal` forces the rejection of a new order."""
    if instrument is None:
        text = "No security definition has been found for the request"
        return [Problem(client_id, order_id, 200, text)]
    existing = books.order_of(client_id, order_id)
    found = _refuse(books, client_id, order_id, existing, instrument, ticket, venue)
    if found and (existing or ticket.what_if or not found.inactive):
        return [_problem(client_id, order_id, found)]
    if ticket.what_if:
        draft = _draft(books, client_id, order_id, instrument, ticket, venue)
        shown = preview(draft, books.accounts[draft.account], venue)
        return [WhatIf(replace(draft, perm_id=0, status=Status.PRE_SUBMITTED), shown)]
    books.use_order_id(client_id, order_id)
    if not ticket.transmit:
        if existing is None:
            books.untransmitted[client_id, order_id] = (instrument, ticket)
        return []
    if existing:
        return _modify(books, existing, instrument, ticket, venue)
    events: list[Event] = []
    for waiting_id in _chain(books, client_id, order_id, ticket):
        held = books.untransmitted.pop((client_id, waiting_id))
        events += _accept(books, client_id, waiting_id, *held, venue)
    found = found or refusal
    return events + _accept(books, client_id, order_id, instrument, ticket, venue, found)


def _problem(client_id: int, order_id: int, refusal: Refusal, perm_id: int = 0) -> Problem:
    return Problem(client_id, order_id, refusal.code, refusal.text, perm_id)


# ---------------------------------------------------------------------- refusals


def _refuse(
    books: Books,
    client_id: int,
    order_id: int,
    existing: Order | None,
    instrument: Instrument,
    ticket: OrderTicket,
    venue: Venue,
) -> Refusal | None:
    parent_id = 0 if existing else ticket.parent_id
    if parent_id != order_id and (client_id, parent_id) in books.untransmitted:
        parent_id = 0
    return (
        _refuse_id(books, client_id, order_id, existing)
        or refuse_ticket(ticket, instrument, tuple(books.accounts), venue.now())
        or refuse_price_band(ticket, venue.quote_of(instrument.con_id), books.price_band)
        or _refuse_parent(books, client_id, parent_id)
    )


def _refuse_id(
    books: Books, client_id: int, order_id: int, existing: Order | None
) -> Refusal | None:
    if existing and existing.status is Status.FILLED:
        return Refusal(104, "Can't modify a filled order")
    if order_id == ORDER_ID_UNSET:
        return invalid("Invalid order id")
    used = order_id < books.next_order_id(client_id)
    untransmitted = (client_id, order_id) in books.untransmitted
    if (used and not existing and not untransmitted) or (existing and not existing.live):
        return Refusal(103, "Duplicate order id")
    return None


def _refuse_parent(books: Books, client_id: int, parent_id: int) -> Refusal | None:
    """Refuse what is attached to an order that does not work; 0 is no parent."""
    parent = books.order_of(client_id, parent_id)
    if not parent_id or (parent and parent.live):
        return None
    if parent is None or parent.status is Status.FILLED:
        return Refusal(NO_ORDER, f"Can't find order with id = {parent_id}")
    return rejected("Parent order is being cancelled.")


def _refuse_group(books: Books, order: Order, venue: Venue) -> Refusal | None:
    """Refuse what comes when its one-cancels-all group has had its fill today."""
    done = books.group_done(order)
    if done is None or new_york_date(done) != new_york_date(venue.now()):
        return None
    return rejected("OCA group is already filled")


# ---------------------------------------------------------------------- new orders


def _chain(books: Books, client_id: int, order_id: int, ticket: OrderTicket) -> list[int]:
    """Return the untransmitted orders this one transmits besides itself, as they were placed.

    Those are its parent, the parent's parent, and everything attached to them.
    """
    waiting = {
        waiting_id: held.parent_id
        for (client, waiting_id), (_, held) in books.untransmitted.items()
        if client == client_id and waiting_id != order_id
    }
    books.untransmitted.pop((client_id, order_id), None)
    family, parent_id = {ticket.parent_id}, ticket.parent_id
    while (parent_id := waiting.get(parent_id, 0)) not in family:
        family.add(parent_id)
    family.discard(0)
    return [known for known, parent in waiting.items() if known in family or parent in family]


def _accept(
    books: Books,
    client_id: int,
    order_id: int,
    instrument: Instrument,
    ticket: OrderTicket,
    venue: Venue,
    refusal: Refusal | None = None,
) -> list[Event]:
    """Take a new order that makes sense, or reject it with a permId and the status Inactive."""
    refusal = refusal or _refuse_parent(books, client_id, ticket.parent_id)
    if refusal and refusal.code == NO_ORDER:
        return [_problem(client_id, order_id, refusal)]
    draft = _draft(books, client_id, order_id, instrument, ticket, venue)
    refusal = refusal or _refuse_group(books, draft, venue) or books.short_of(draft, venue)
    if refusal:
        return reject(books, draft, refusal, venue.now())
    update = OrderUpdate(books.store(draft), accepted=True)
    # Recorded at IB: what waits for a price is told twice.
    again = [OrderUpdate(draft)] if "trigger" in draft.why_held else []
    return [update, *again, *_warnings(draft, instrument, ticket, venue)]


def _draft(
    books: Books,
    client_id: int,
    order_id: int,
    instrument: Instrument,
    ticket: OrderTicket,
    venue: Venue,
) -> Order:
    """Return the order a ticket asks for, as it would stand now."""
    fresh = unsent(books, client_id, order_id, instrument, ticket, venue.now())
    parent = books.order_of(client_id, ticket.parent_id) if ticket.parent_id else None
    if parent is not None:
        # As IB does, the children of a parent are one group unless told otherwise.
        group = fresh.oca_group or str(parent.perm_id)
        fresh = replace(fresh, parent_perm_id=parent.perm_id, oca_group=group)
    return _with_terms(books, replace(fresh, perm_id=books.next_perm_id), ticket, venue)


def unsent(
    books: Books,
    client_id: int,
    order_id: int,
    instrument: Instrument,
    ticket: OrderTicket,
    now: datetime,
) -> Order:
    """Return the order a ticket asks for before IB knows of it: without permId and terms."""
    return Order(
        perm_id=0,
        client_id=client_id,
        order_id=order_id,
        account=ticket.account or next(iter(books.accounts)),
        con_id=instrument.con_id,
        symbol=instrument.symbol,
        action=Action(ticket.action),
        quantity=ticket.quantity.to_integral_value(),
        order_type=ticket.order_type,
        limit_price=ticket.limit_price,
        tif=ticket.tif or "DAY",
        good_till=None,
        good_till_text=ticket.good_till,
        order_ref=ticket.order_ref,
        outside_rth=ticket.outside_rth,
        hidden=ticket.hidden,
        status=Status.PRE_SUBMITTED,
        accepted_at=now,
        aux_price=ticket.aux_price,
        oca_group=ticket.oca_group,
        oca_type=ticket.oca_type or 3,
        parent_id=ticket.parent_id,
        algo=ticket.algo,
        algo_params=ticket.algo_params,
    )


def _with_terms(books: Books, order: Order, ticket: OrderTicket, venue: Venue) -> Order:
    """Return an order under the terms of a ticket that may change, and standing as they say."""
    kind = ticket.order_type
    same_kind = kind == order.order_type and order.order_type in TRIGGERED
    outside_rth = ticket.outside_rth and _heeds_hours(ticket)
    changed = replace(
        order,
        quantity=ticket.quantity.to_integral_value(),
        order_type=kind,
        limit_price=ticket.limit_price if kind in LIMITED else None,
        aux_price=ticket.aux_price if kind in TRIGGERED else None,
        trail_stop=(ticket.trail_stop or order.trail_stop) if kind == "TRAIL" else None,
        trailing_percent=(ticket.trailing_percent or None) if kind == "TRAIL" else None,
        trigger_method=ticket.trigger_method,
        elected=order.elected and same_kind,
        tif=ticket.tif or "DAY",
        good_till=good_till(replace(ticket, outside_rth=outside_rth), venue),
        good_till_text=ticket.good_till,
        order_ref=ticket.order_ref,
        outside_rth=outside_rth,
        hidden=ticket.hidden,
    )
    child = books.is_waiting_child(changed)
    changed = replace(changed, auction_session=None if child else next_auction(changed, venue))
    status, why_held = standing(changed, venue.phase(), child=child)
    return replace(changed, status=status, why_held=why_held)


def _heeds_hours(ticket: OrderTicket) -> bool:
    return ticket.order_type not in REGULAR_ONLY and ticket.tif != "OPG"


# ---------------------------------------------------------------------- changes


def _modify(
    books: Books, order: Order, instrument: Instrument, ticket: OrderTicket, venue: Venue
) -> list[Event]:
    """Change a live order; a refused change leaves it as it was, and its permId stays."""
    changed = _with_terms(books, order, ticket, venue)
    if order.status is Status.SUBMITTED and changed.order_type == "MKT":
        changed = replace(changed, status=Status.SUBMITTED)
    refusal = _refuse_change(order, instrument, ticket) or books.short_of(changed, venue)
    if refusal:
        return [_problem(order.client_id, order.order_id, refusal, order.perm_id)]
    books.store(changed)
    # Recorded at IB: usually twice and identical.
    updates = [OrderUpdate(changed), OrderUpdate(changed)]
    return [*updates, *_warnings(changed, instrument, ticket, venue)]


def _refuse_change(order: Order, instrument: Instrument, ticket: OrderTicket) -> Refusal | None:
    basics = (instrument.con_id, Action(ticket.action), ticket.account or order.account)
    if basics != (order.con_id, order.action, order.account):
        return Refusal(105, NO_MATCH)
    if ticket.parent_id and ticket.parent_id != order.parent_id:
        return Refusal(105, NO_MATCH)
    if ticket.algo and ticket.algo != order.algo:
        return Refusal(105, NO_MATCH)
    if ticket.quantity <= order.filled:
        return Refusal(105, f"Order quantity must stay above the {order.filled} filled")
    if ticket.oca_group and ticket.oca_group != order.oca_group:
        return Refusal(10326, "OCA group revision is not allowed")
    if ticket.oca_group and ticket.oca_type not in {0, order.oca_type}:
        return Refusal(10327, "OCA group type revision is not allowed")
    return None


# ---------------------------------------------------------------------- warnings


def _warnings(
    order: Order, instrument: Instrument, ticket: OrderTicket, venue: Venue
) -> list[Event]:
    """Return what IB remarks about an order that lives all the same."""
    found = []
    if ticket.outside_rth and not order.outside_rth:
        found.append(Refusal(2109, OUTSIDE_RTH_IGNORED))
    phase = venue.phase()
    if phase is not Phase.OPEN and not may_trade(order, phase) and order.tif != "OPG":
        opens = venue.next_open().astimezone(NEW_YORK)
        market = instrument.primary_exchange
        market += f".{instrument.trading_class}" if market == "NASDAQ" else ""
        text = (
            f"Order Message:\n{order.action} {order.quantity:f} {order.symbol} {market}\n"
            "Warning: Your order will not be placed at the exchange until"
            f" {opens:%Y-%m-%d %H:%M:%S} US/Eastern."
        )
        found.append(Refusal(399, text))
    return [_problem(order.client_id, order.order_id, item, order.perm_id) for item in found]
