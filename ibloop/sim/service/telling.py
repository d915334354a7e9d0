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
from ibloop.sim.protocol.replies import fills, holdings
from ibloop.sim.protocol.wire import Fields
from ibloop.sim.service.desk import Desk
from ibloop.sim.service.session import Session


def deliver(desk: Desk, events: Iterable[Event]) -> None:
    """Store what changed, then tell the clients that are to know.

    Raises: SimError when the state file cannot be written; nobody is told then.
    """
    desk.world.commit()
    # What a fault held back until now goes before anything newer.
    desk.agenda.run(desk.world.monotonic_s())
    for event in events:
        if isinstance(event, AccountChange):
            tell_account(desk, event)
            continue
        for client_id in _recipients(desk, event):
            now_s = desk.world.monotonic_s()
            for delivery in desk.faults.through(event, client_id, now_s):
                _post(desk, delivery)


def _recipients(desk: Desk, event: Event) -> list[int]:
    """Return the connected clients an event is for; errors are only for who caused them."""
    match event:
        case OrderUpdate():
            owner = event.order.client_id
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
        desk.agenda.add(due_s, lambda: _tell(desk, delivery.event, delivery.client_id))
    else:
        _tell(desk, delivery.event, delivery.client_id)


def _tell(desk: Desk, event: Event, client_id: int) -> None:
    """Write an event to a client, if it is still there."""
    session = desk.clients.get(client_id)
    if session is None:
        return
    instruments, version = desk.world.samples.instruments, session.version
    match event:
        case OrderUpdate():
            instrument = instruments[event.order.con_id]
            session.send(*order_messages(event.order, instrument, version))
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
) -> tuple[Fields, ...]:
    """Return openOrder and, always right behind it, orderStatus; a preview has no status."""
    shown = orderlayout.open_order(order, instrument, version, preview)
    return (shown,) if preview else (shown, fills.order_status(order, version))


# ---------------------------------------------------------------------- accounts


def tell_account(desk: Desk, change: AccountChange) -> None:
    """Push positions, values and portfolio to everybody who subscribed."""
    for session in desk.clients.values():
        if session.positions:
            send_position(desk, session, change.account, change.con_id)
        tell_values(desk, session, change.account)
        if session.account and session.account.account == change.account:
            send_portfolio(desk, session, change.account, change.con_id)
            session.send(holdings.account_time(desk.world.now()))


def tell_values(desk: Desk, session: Session, account_id: str) -> None:
    """Send the values of one account that are new to a session's subscriptions."""
    feeds = [feed for feed in session.feeds() if feed.account == account_id]
    if feeds:
        values = desk.world.broker.accounts[account_id].values(desk.world.price_of)
        for feed in feeds:
            session.send(*feed.changes(values))


def refresh_accounts(desk: Desk) -> None:
    """Send what changed in every account to everybody who subscribed."""
    for session in desk.clients.values():
        for name in desk.world.broker.accounts:
            tell_values(desk, session, name)
        if session.account:
            name = session.account.account
            for con_id in desk.world.broker.accounts[name].positions:
                send_portfolio(desk, session, name, con_id)
            session.send(holdings.account_time(desk.world.now()))


def send_position(desk: Desk, session: Session, account_id: str, con_id: int) -> None:
    """Send one position as it is now."""
    held = desk.world.broker.accounts[account_id].positions[con_id]
    instrument = desk.world.samples.instruments[con_id]
    session.send(
        holdings.position(account_id, instrument, held.quantity, held.avg_cost, session.version)
    )


def send_portfolio(desk: Desk, session: Session, account_id: str, con_id: int) -> None:
    """Send one position with its market value."""
    held = desk.world.broker.accounts[account_id].positions[con_id]
    session.send(
        holdings.portfolio(
            account_id,
            desk.world.samples.instruments[con_id],
            held.quantity,
            avg_cost=held.avg_cost,
            price=desk.world.price_of(con_id),
            realized=held.realized,
            version=session.version,
        )
    )
