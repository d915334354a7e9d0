"""Requests that place, change, end or list orders and executions."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ibloop.sim.brokerage.checks import parse_good_till
from ibloop.sim.model import NEW_YORK, Execution, Order
from ibloop.sim.protocol import orderlayout
from ibloop.sim.protocol.replies import fills, system
from ibloop.sim.protocol.requests.kinds import Bare, ById
from ibloop.sim.protocol.requests.orders import Executions, PlaceOrder
from ibloop.sim.protocol.wire import Fields
from ibloop.sim.service.desk import ALL, Desk, Handlers
from ibloop.sim.service.session import Session
from ibloop.sim.service.telling import deliver, order_messages

# What a session holds of these two needs no request id.
AUTO_BIND = ("auto_open_orders", -1)
COMPLETED = ("completed_orders", -1)
# A gateway remembers no more days of executions than these.
DAYS_MAX = 7

# ---------------------------------------------------------------------- entry


def place_order(desk: Desk, session: Session, request: PlaceOrder) -> None:
    """Take a placeOrder: let the broker judge it, and match it at once."""
    world, ticket, client_id = desk.world, request.ticket, session.client_id or 0
    instrument = world.samples.find(request.contract)
    symbol = instrument.symbol if instrument else request.contract.symbol
    fresh = world.broker.order_of(client_id, request.order_id) is None and not ticket.what_if
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
    world, client_id = desk.world, session.client_id or 0
    foreign = desk.options.foreign_cancel
    deliver(desk, world.broker.cancel(client_id, request.req_id, world.now(), foreign=foreign))


def global_cancel(desk: Desk, _session: Session, _request: Bare) -> None:
    """Take a reqGlobalCancel: every live order of every client ends."""
    deliver(desk, desk.world.broker.cancel_all(desk.world.now()))


# ---------------------------------------------------------------------- open orders


def open_orders(desk: Desk, session: Session, request: Bare) -> None:
    """Answer reqOpenOrders and reqAllOpenOrders.

    The first is for a client's own orders. Client 0 has the manual ones too, which get an order
    id by that; the master client sees all.
    """
    own = request.name == "open_orders"
    if own and session.client_id == 0:
        session.send(*bind_manual(desk))
    everybody = not own or desk.options.visibility == ALL
    everybody = everybody or session.client_id == desk.options.master_client_id
    orders = [
        order
        for order in desk.world.broker.live_orders()
        if everybody or order.client_id == session.client_id
    ]
    for order in orders:
        instrument = desk.world.samples.instruments[order.con_id]
        session.send(*order_messages(order, instrument, session.version))
    session.send(system.end(53))
    desk.faults.asked({order.perm_id for order in orders})


def bind_manual(desk: Desk) -> list[Fields]:
    """Give the orders of the trading window order ids of client 0; return what to tell it.

    Raises: SimError when the state file cannot be written.
    """
    broker = desk.world.broker
    bound = [broker.bind(broker.orders[perm_id]) for perm_id in tuple(broker.manual)]
    desk.world.commit()
    return [fills.order_bound(order) for order in bound]


@dataclass(frozen=True, slots=True)
class AutoBind:
    """Subscription of client 0 to manual orders: each is bound as soon as it is seen."""

    def sample(self, desk: Desk, session: Session) -> Iterable[Fields]:
        """Return the bindings of this sample, and the orders under their new ids."""
        broker = desk.world.broker
        if not broker.manual:
            return []
        orders = tuple(broker.manual)
        messages = bind_manual(desk)
        for perm_id in orders:
            order = broker.orders[perm_id]
            instrument = desk.world.samples.instruments[order.con_id]
            messages += order_messages(order, instrument, session.version)
        return messages


def auto_open_orders(desk: Desk, session: Session, request: ById) -> None:
    """Bind manual orders to client 0 from now on, or no longer; refuse it to all others."""
    if session.client_id != 0:
        text = "Only API connections with clientId set to 0 can set the auto bind TWS orders"
        session.error(-1, 327, f"{text} property.", desk.world.now())
    elif request.req_id:
        session.subscriptions[AUTO_BIND] = AutoBind()
    else:
        session.subscriptions.pop(AUTO_BIND, None)


# ---------------------------------------------------------------------- completed orders


def completed_orders(desk: Desk, session: Session, request: ById) -> None:
    """Answer reqCompletedOrders: today's finished orders of every client, or the API's only."""
    world, api_only = desk.world, bool(request.req_id)
    today = world.now().astimezone(NEW_YORK).date()
    orders = [
        order
        for order in world.broker.orders.values()
        if order.completed_at
        and order.completed_at.astimezone(NEW_YORK).date() == today
        and (order.order_id > 0 or not api_only)
    ]
    session.send(*(_completed(desk, session, order) for order in orders))
    session.send(system.completed_orders_end())
    desk.faults.asked({order.perm_id for order in orders})
    if desk.options.push_completed:
        session.subscriptions[COMPLETED] = CompletedFeed(len(world.broker.completed))


@dataclass(slots=True)
class CompletedFeed:
    """Later completed orders, for a client that asked once; `told` counts those it knows."""

    told: int

    def sample(self, desk: Desk, session: Session) -> Iterable[Fields]:
        """Return what was completed in this sample."""
        broker = desk.world.broker
        fresh = broker.completed[self.told :]
        self.told = len(broker.completed)
        return [_completed(desk, session, broker.orders[perm_id]) for perm_id in fresh]


def _completed(desk: Desk, session: Session, order: Order) -> Fields:
    instrument = desk.world.samples.instruments[order.con_id]
    return orderlayout.completed_order(order, instrument, session.version)


# ---------------------------------------------------------------------- executions


def executions(desk: Desk, session: Session, request: Executions) -> None:
    """Answer reqExecutions: since midnight in New York, the client's own unless it sees all."""
    world, client_id = desk.world, session.client_id or 0
    found = [
        execution
        for execution in world.broker.executions
        if not execution.corporate
        and (desk.sees_all(client_id) or execution.client_id == client_id)
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
    since = parse_good_till(request.time.replace("  ", " ")) if request.time else None
    sides = {"", execution.action, execution.action.execution_side}
    return (
        _is_of_day(request, execution, now)
        and request.client_id in {0, execution.client_id}
        and request.account in {"", execution.account}
        and request.symbol.upper() in {"", execution.symbol}
        and request.sec_type in {"", "STK"}
        and request.exchange in {"", "SMART", execution.exchange}
        and request.side.upper() in sides
        and (since is None or execution.time >= since.astimezone(UTC))
    )


def _is_of_day(request: Executions, execution: Execution, now: datetime) -> bool:
    """Tell whether an execution is of today, or of the other days a request of 200 names."""
    day, today = (moment.astimezone(NEW_YORK).date() for moment in (execution.time, now))
    if day.strftime("%Y%m%d") in request.dates:
        return True
    if request.days > 0:
        return today - timedelta(days=min(request.days, DAYS_MAX)) <= day <= today
    return not request.dates and day == today


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
