"""What the broker says, on its way to the clients that are to know, as the faults allow."""

from collections.abc import Iterable

from ibloop.sim.brokerage.events import (
    AccountChange,
    Commissioned,
    Event,
    Filled,
    OrderUpdate,
    Problem,
    WhatIf,
)
from ibloop.sim.faults import Delivery
from ibloop.sim.model import Instrument, Order, Preview
from ibloop.sim.protocol import orderlayout
from ibloop.sim.protocol.replies import fills
from ibloop.sim.protocol.wire import Fields
from ibloop.sim.service.desk import Desk
from ibloop.sim.service.holdings import tell_account, tell_values


def deliver(desk: Desk, events: Iterable[Event]) -> None:
    """Store what changed, then tell the clients that are to know.

    Raises: SimError when the state file cannot be written; nobody is told then.
    """
    desk.world.commit()
    # What a fault held back until now goes before anything newer.
    desk.agenda.run(desk.world.monotonic_s())
    happened = tuple(events)
    changes = [event for event in happened if isinstance(event, AccountChange)]
    # Cash and values are those after all of it: they are told with the last execution.
    last = {change.account: id(change) for change in changes}
    for event in happened:
        if isinstance(event, AccountChange):
            if last[event.account] == id(event):
                tell_values(desk, [event.account])
            tell_account(desk, event)
            continue
        for client_id in _recipients(desk, event):
            now_s = desk.world.monotonic_s()
            for delivery in desk.faults.through(event, client_id, now_s):
                _post(desk, delivery)
    for event in happened:
        desk.faults.happened(event)


def _recipients(desk: Desk, event: Event) -> list[int]:
    """Return the connected clients an event is for; errors are only for who caused them."""
    match event:
        case OrderUpdate():
            owner = event.order.client_id
            if event.canceller is not None:
                both = {owner, event.canceller}
                return [known for known in desk.clients if known in both or desk.sees_all(known)]
        case Filled() | Commissioned():
            owner = event.execution.client_id
        case Problem():
            return [event.client_id]
        case WhatIf():
            return [event.order.client_id]
        case AccountChange():
            return []
    return [known for known in desk.clients if known == owner or desk.sees_all(known)]


def _post(desk: Desk, delivery: Delivery) -> None:
    if delivery.delay_s > 0:
        due_s = delivery.now_s + delivery.delay_s
        desk.agenda.add(due_s, lambda: tell(desk, delivery))
    else:
        tell(desk, delivery)


def tell(desk: Desk, delivery: Delivery) -> None:
    """Write an event to a client, if it is still there."""
    session, event = desk.clients.get(delivery.client_id), delivery.event
    if session is None:
        return
    instruments, version = desk.world.samples.instruments, session.version
    match event:
        case OrderUpdate():
            instrument = instruments[event.order.con_id]
            shown = order_messages(event.order, instrument, version, canceller=event.canceller)
            session.send(*(fields for fields in shown if fields[0] not in delivery.without))
        case WhatIf():
            instrument = instruments[event.order.con_id]
            session.send(*order_messages(event.order, instrument, version, event.preview))
        case Filled():
            execution = event.execution
            instrument = instruments[execution.con_id]
            session.send(fills.exec_details(-1, execution, instrument, version))
        case Commissioned():
            session.send(fills.commission_report(event.execution))
        case Problem():
            session.error(event.order_id, event.code, event.text, desk.world.now())


def order_messages(
    order: Order,
    instrument: Instrument,
    version: int,
    preview: Preview | None = None,
    *,
    canceller: int | None = None,
) -> tuple[Fields, ...]:
    """Return openOrder and, always right behind it, orderStatus; a preview has no status."""
    shown = orderlayout.open_order(order, instrument, version, preview)
    return (shown,) if preview else (shown, fills.order_status(order, version, canceller))
