"""Requests that place, change, end or list orders and executions."""

from datetime import UTC, datetime

from ibloop.sim.brokerage.checks import parse_good_till
from ibloop.sim.model import NEW_YORK, ZERO, Execution, Order, ReceivedFrame
from ibloop.sim.protocol import orderlayout
from ibloop.sim.protocol.replies import fills, system
from ibloop.sim.protocol.requests.kinds import Bare, ById
from ibloop.sim.protocol.requests.orders import Executions, PlaceOrder
from ibloop.sim.service.connections import reset_lines
from ibloop.sim.service.desk import Desk, Handlers
from ibloop.sim.service.session import Session
from ibloop.sim.service.telling import deliver, order_messages

# ---------------------------------------------------------------------- entry


def place_order(desk: Desk, session: Session, request: PlaceOrder) -> None:
    """Take a placeOrder: note it, let the broker judge it, and match it at once."""
    world, ticket, client_id = desk.world, request.ticket, session.client_id or 0
    instrument = world.samples.find(request.contract)
    symbol = instrument.symbol if instrument else request.contract.symbol
    _note_placed(desk, client_id, request, symbol)
    fresh = world.broker.order_of(client_id, request.order_id) is None and not ticket.what_if
    if fresh and desk.faults.swallow(symbol):
        world.commit()
        return
    # Before the order is worked: the client must not hear of it on the dying connection.
    reset_lines(desk, [session], placed=True)
    events = world.broker.place(
        client_id,
        request.order_id,
        instrument,
        ticket,
        venue=world,
        refusal=desk.faults.refusal(symbol) if fresh else None,
    )
    deliver(desk, events)
    deliver(desk, world.broker.match(world, desk.faults.slice))


def cancel_order(desk: Desk, session: Session, request: ById) -> None:
    """Take a cancelOrder."""
    client_id, order_id = session.client_id or 0, request.req_id
    order = desk.world.broker.order_of(client_id, order_id)
    _note(desk, client_id, "cancelOrder", order_id, order)
    deliver(desk, desk.world.broker.cancel(client_id, order_id, desk.world.now()))


def global_cancel(desk: Desk, session: Session, _request: Bare) -> None:
    """Take a reqGlobalCancel: every live order of every client ends."""
    _note(desk, session.client_id or 0, "globalCancel", 0)
    deliver(desk, desk.world.broker.cancel_all(desk.world.now()))


def _note_placed(desk: Desk, client_id: int, request: PlaceOrder, symbol: str) -> None:
    world, ticket = desk.world, request.ticket
    world.receive(
        ReceivedFrame(
            seq=len(world.frames) + 1,
            received_at=world.now(),
            client_id=client_id,
            kind="placeOrder",
            order_id=request.order_id,
            order_ref=ticket.order_ref,
            symbol=symbol,
            action=ticket.action,
            quantity=ticket.quantity,
            limit_price=ticket.limit_price if ticket.order_type == "LMT" else None,
        )
    )


def _note(desk: Desk, client_id: int, kind: str, order_id: int, order: Order | None = None) -> None:
    desk.world.receive(
        ReceivedFrame(
            seq=len(desk.world.frames) + 1,
            received_at=desk.world.now(),
            client_id=client_id,
            kind=kind,
            order_id=order_id,
            order_ref=order.order_ref if order else "",
            symbol=order.symbol if order else "",
            action=order.action if order else "",
            quantity=order.quantity if order else ZERO,
            limit_price=order.limit_price if order else None,
        )
    )


# ---------------------------------------------------------------------- lists


def open_orders(desk: Desk, session: Session, request: Bare) -> None:
    """Answer reqOpenOrders (own orders) and reqAllOpenOrders."""
    orders = desk.world.broker.live_orders()
    if request.name == "open_orders":
        orders = [order for order in orders if order.client_id == session.client_id]
    for order in orders:
        instrument = desk.world.samples.instruments[order.con_id]
        session.send(*order_messages(order, instrument, session.version))
    session.send(system.end(53))
    desk.faults.asked({order.perm_id for order in orders})


def auto_open_orders(desk: Desk, session: Session, _request: ById) -> None:
    """Refuse reqAutoOpenOrders to all but client 0; there are no manual orders to bind."""
    if session.client_id != 0:
        text = "Only API connections with clientId set to 0 can set the auto bind TWS orders"
        session.error(-1, 327, f"{text} property.", desk.world.now())


def completed_orders(desk: Desk, session: Session, _request: Bare) -> None:
    """Answer reqCompletedOrders: today's finished orders of every client."""
    world = desk.world
    today = world.now().astimezone(NEW_YORK).date()
    orders = [
        order
        for order in world.broker.orders.values()
        if order.completed_at and order.completed_at.astimezone(NEW_YORK).date() == today
    ]
    for order in orders:
        instrument = world.samples.instruments[order.con_id]
        session.send(orderlayout.completed_order(order, instrument, session.version))
    session.send(system.completed_orders_end())
    desk.faults.asked({order.perm_id for order in orders})


def executions(desk: Desk, session: Session, request: Executions) -> None:
    """Answer reqExecutions: since midnight in New York, the client's own unless it sees all."""
    world, client_id = desk.world, session.client_id or 0
    found = [
        execution
        for execution in world.broker.executions
        if (desk.sees_all(client_id) or execution.client_id == client_id)
        and _passes(request, execution, world.now())
    ]
    for execution in found:
        instrument = world.samples.instruments[execution.con_id]
        session.send(
            fills.exec_details(request.req_id, execution, instrument, session.version),
            fills.commission_report(execution),
        )
    session.send(system.end(55, request.req_id))
    desk.faults.asked({execution.perm_id for execution in found})


def _passes(request: Executions, execution: Execution, now: datetime) -> bool:
    """Tell whether an execution is of the day and fits the filter's non-empty fields."""
    day = execution.time.astimezone(NEW_YORK).date()
    if request.dates:
        if day.strftime("%Y%m%d") not in request.dates:
            return False
    elif day != now.astimezone(NEW_YORK).date():
        return False
    since = parse_good_till(request.time.replace("  ", " ")) if request.time else None
    sides = {"", execution.action, execution.action.execution_side}
    return (
        request.client_id in {0, execution.client_id}
        and request.account in {"", execution.account}
        and request.symbol in {"", execution.symbol}
        and request.sec_type in {"", "STK"}
        and request.side.upper() in sides
        and (since is None or execution.time >= since.astimezone(UTC))
    )


HANDLERS: Handlers = {
    PlaceOrder: place_order,
    "cancel_order": cancel_order,
    "global_cancel": global_cancel,
    "open_orders": open_orders,
    "all_open_orders": open_orders,
    "auto_open_orders": auto_open_orders,
    "completed_orders": completed_orders,
    Executions: executions,
}
