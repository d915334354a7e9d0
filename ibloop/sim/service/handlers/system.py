"""Requests about the connection, the clock and ids."""

import logging

from ibloop.sim.protocol.replies import system
from ibloop.sim.protocol.requests import Unserved
from ibloop.sim.protocol.requests.kinds import Bare, ById
from ibloop.sim.service.desk import Desk, Handlers
from ibloop.sim.service.session import Session

log = logging.getLogger(__name__)


def current_time(desk: Desk, session: Session, _request: Bare) -> None:
    """Answer reqCurrentTime."""
    session.send(system.current_time(desk.world.now()))


def current_time_millis(desk: Desk, session: Session, _request: Bare) -> None:
    """Answer reqCurrentTimeInMillis."""
    session.send(system.current_time_millis(desk.world.now()))


def ids(desk: Desk, session: Session, _request: Bare) -> None:
    """Answer reqIds."""
    session.send(system.next_valid_id(desk.world.broker.next_order_id(session.client_id or 0)))


def managed_accounts(desk: Desk, session: Session, _request: Bare) -> None:
    """Answer reqManagedAccts."""
    session.send(system.managed_accounts(tuple(desk.world.broker.accounts)))


def user_info(_desk: Desk, session: Session, request: ById) -> None:
    """Answer reqUserInfo."""
    session.send(system.user_info(request.req_id))


def server_log_level(_desk: Desk, _session: Session, _request: Bare) -> None:
    """Accept setServerLogLevel in silence: the simulator's own options set its log."""


def unserved(desk: Desk, session: Session, request: Unserved) -> None:
    """Refuse a request the simulator knows of and does not serve; cancellations in silence."""
    log.warning("client %s: message %s not served", session.client_id, request.message_id)
    if request.name:
        cause = f"The simulator does not serve {request.name}"
        text = f"Error validating request.-'bW' : cause - {cause}"
        session.error(request.req_id, 321, text, desk.world.now())


HANDLERS: Handlers = {
    "current_time": current_time,
    "current_time_millis": current_time_millis,
    "ids": ids,
    "managed_accounts": managed_accounts,
    "server_log_level": server_log_level,
    "user_info": user_info,
    Unserved: unserved,
}
