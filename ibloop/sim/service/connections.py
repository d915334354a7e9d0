"""Connections beginning and ending, and the faults that reset or freeze them."""

import logging
from collections.abc import Iterable

from ibloop.sim.protocol import wire
from ibloop.sim.protocol.replies import system
from ibloop.sim.protocol.wire import Hello
from ibloop.sim.service.desk import Desk
from ibloop.sim.service.session import Line, Session

log = logging.getLogger(__name__)

NOTICES = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
    (2158, "Sec-def data farm connection is OK:secdefil"),
)
IN_USE = "Unable to connect as the client id is already in use. Retry with a unique client id."


def connect(desk: Desk, line: Line) -> Session:
    """Take a new connection."""
    session = Session(line)
    desk.sessions.append(session)
    apply_freezes(desk)
    return session


def disconnect(desk: Desk, session: Session) -> None:
    """Forget a connection that is gone; the client's orders live on."""
    if session in desk.sessions:
        desk.sessions.remove(session)
    if session.client_id is not None and desk.clients.get(session.client_id) is session:
        del desk.clients[session.client_id]


def greet(desk: Desk, session: Session, hello: Hello) -> None:
    """Answer a client's greeting with the server version, or hang up when there is none."""
    version = wire.negotiate(hello)
    if version is None:
        session.line.close()
        return
    session.version = version
    session.line.write(wire.handshake(version, desk.world.now()))


def start(desk: Desk, session: Session, client_id: int) -> None:
    """Let a client in under its id, or refuse an id that is in use."""
    if session.client_id is not None:
        return
    now = desk.world.now()
    if client_id in desk.clients:
        session.error(-1, 326, IN_USE, now)
        session.line.close()
        disconnect(desk, session)
        return
    session.client_id = client_id
    desk.clients[client_id] = session
    apply_freezes(desk)
    log.info("client %s connected at version %s", client_id, session.version)
    session.send(
        system.managed_accounts(tuple(desk.world.broker.accounts)),
        system.next_valid_id(desk.world.broker.next_order_id(client_id)),
    )
    for code, text in NOTICES:
        session.error(-1, code, text, now)


def reset_lines(desk: Desk, sessions: Iterable[Session], *, placed: bool) -> None:
    """Reset the connections the faults want reset; `placed` when an order just came in."""
    for session in tuple(sessions):
        client_id = session.client_id
        if client_id is not None and desk.faults.reset(client_id, placed=placed):
            session.line.reset()
            disconnect(desk, session)


def apply_freezes(desk: Desk) -> None:
    """Freeze and thaw the connections as the faults want them."""
    for session in desk.sessions:
        frozen = desk.faults.freeze(session.client_id)
        if frozen != session.frozen:
            session.frozen = frozen
            session.line.freeze(frozen=frozen)
