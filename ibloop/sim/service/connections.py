"""Connections beginning and ending, and frozen by faults."""

import logging

from ibloop.sim.protocol import wire
from ibloop.sim.protocol.replies import system
from ibloop.sim.protocol.wire import Fields, Hello
from ibloop.sim.service.desk import Desk
from ibloop.sim.service.pacing import PACE_API, Pace
from ibloop.sim.service.session import Line, Session
from ibloop.sim.service.telling import order_messages

log = logging.getLogger(__name__)

# IB: "each TWS session can receive up to 32 different client applications simultaneously".
CLIENTS_MAX = 32
NOTICES = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
    (2158, "Sec-def data farm connection is OK:secdefil"),
)
IN_USE = "Unable to connect as the client id is already in use. Retry with a unique client id."


def connect(desk: Desk, line: Line) -> Session:
    """Take a new connection."""
    session = Session(line, Pace(desk.options.message_rate_max))
    desk.sessions.append(session)
    apply_freezes(desk)
    return session


def disconnect(desk: Desk, session: Session) -> None:
    """Forget a connection that is gone; the client's orders live on."""
    if session in desk.sessions:
        desk.sessions.remove(session)
    if session.client_id is not None and desk.clients.get(session.client_id) is session:
        del desk.clients[session.client_id]
        desk.faults.leaves(session.client_id)


def greet(desk: Desk, session: Session, hello: Hello) -> None:
    """Answer a client's greeting with the server version, or hang up when there is none."""
    version = wire.negotiate(hello, desk.options.server_version_max)
    if version is None:
        log.warning("no version in common with a client that greets with %s", hello)
        hang_up(desk, session)
        return
    session.version = version
    session.pace.waits = PACE_API in hello.options.split()
    session.line.write(wire.handshake(version, desk.world.now()))


def start(desk: Desk, session: Session, client_id: int) -> None:
    """Let a client in under its id; refuse an id that is in use, and the 33rd client.

    A second startApi of a client that is in changes nothing.
    """
    if session.client_id is not None:
        log.warning("client %s sent startApi again, as client %s", session.client_id, client_id)
    elif client_id in desk.clients:
        session.error(-1, 326, IN_USE, desk.world.now())
        hang_up(desk, session)
    elif len(desk.clients) >= CLIENTS_MAX:
        log.warning("client %s refused: %d clients are connected", client_id, CLIENTS_MAX)
        hang_up(desk, session)
    else:
        session.client_id = client_id
        desk.clients[client_id] = session
        apply_freezes(desk)
        log.info("client %s connected at version %s", client_id, session.version)
        session.send(*_welcome(desk, session, client_id))
        if desk.options.open_orders_on_connect:
            _show_open_orders(desk, session, client_id)


def _welcome(desk: Desk, session: Session, client_id: int) -> list[Fields]:
    """Return what a client is told at its start: accounts, next order id, state of the farms."""
    broker, now = desk.world.broker, desk.world.now()
    notices = [system.error(-1, *notice, session.version, now) for notice in NOTICES]
    messages = [system.managed_accounts(tuple(broker.accounts))]
    next_id = system.next_valid_id(broker.next_order_id(client_id))
    if desk.options.notices_early:
        return [*messages, *notices, next_id]
    return [*messages, next_id, *notices]


def _show_open_orders(desk: Desk, session: Session, client_id: int) -> None:
    """Do what "Download open orders on connection" does: tell a client of its own orders."""
    for order in desk.world.broker.live_orders():
        if order.client_id == client_id:
            instrument = desk.world.samples.instruments[order.con_id]
            session.send(*order_messages(order, instrument, session.version))


def hang_up(desk: Desk, session: Session) -> None:
    """End a connection; what was written to it is still sent."""
    session.line.close()
    disconnect(desk, session)


def apply_freezes(desk: Desk) -> None:
    """Freeze and thaw the connections as the faults want them."""
    for session in desk.sessions:
        frozen = desk.faults.freeze(session.client_id)
        if frozen != session.frozen:
            session.frozen = frozen
            session.line.freeze(frozen=frozen)
