"""What a client sent, read as a request, or refused as a gateway refuses what it cannot serve."""

import logging
from typing import Any

from ibloop.sim.protocol.requests import parse, request_id
from ibloop.sim.protocol.wire import (
    Fields,
    MissingFieldError,
    UnknownMessageError,
    WireError,
)
from ibloop.sim.service import connections
from ibloop.sim.service.desk import Desk
from ibloop.sim.service.pacing import VIOLATIONS_MAX
from ibloop.sim.service.session import Session

log = logging.getLogger(__name__)

CANCEL_ORDER = "4"
# Requests that begin a stream under an id of the client's choice. Most kinds have a limit of their
# own far below; IB names none for the others.
SUBSCRIBING = frozenset({1, 20, 50, 74, 76, 92, 94, 97})
SUBSCRIPTIONS_MAX = 1000
# What is shown of a message in the log.
LOGGED_FIELDS = 20


def read(desk: Desk, session: Session, fields: Fields) -> Any:
    """Return the request that a message is, None when it was refused here.

    Fields after the end of a request are logged and mean nothing: a newer client may send them.
    One that cannot be read is answered with error 320. The connection goes on, except after a
    message that is no request at all: whoever sent it does not speak this protocol.
    """
    if not session.pace.admits(desk.world.monotonic_s()):
        _refuse_rate(desk, session)
        return None
    try:
        parsed = parse(fields, session.version)
    except WireError as error:
        _refuse(desk, session, fields, error)
        return None
    if _is_too_much(session, fields):
        text = f"Error processing request.-At most {SUBSCRIPTIONS_MAX} subscriptions at once"
        session.error(request_id(fields, session.version), 322, text, desk.world.now())
        return None
    if parsed.left:
        log.warning(
            "client %s: message %s has %d unknown fields at its end: %s",
            *(session.client_id, fields[0], len(parsed.left), _shown(parsed.left)),
        )
    return parsed.request


def _refuse_rate(desk: Desk, session: Session) -> None:
    """Report a violation of the message rate once, and end the connection at the third."""
    text = session.pace.violation(desk.world.monotonic_s())
    if text is None:
        return
    log.warning("client %s: %s", session.client_id, text)
    session.error(-1, 100, text, desk.world.now())
    if session.pace.violations >= VIOLATIONS_MAX:
        connections.hang_up(desk, session)


def _refuse(desk: Desk, session: Session, fields: Fields, error: WireError) -> None:
    log.warning("client %s: unreadable message %s: %s", session.client_id, _shown(fields), error)
    if isinstance(error, MissingFieldError) and fields[0] == CANCEL_ORDER:
        # Real gateways drop such a cancel without a word.
        return
    text = f"Error reading request. Unable to parse data. {error}"
    session.error(request_id(fields, session.version), 320, text, desk.world.now())
    if isinstance(error, UnknownMessageError):
        connections.hang_up(desk, session)


def _is_too_much(session: Session, fields: Fields) -> bool:
    """Tell whether a request asks for another stream when there are enough to fill memory."""
    if int(fields[0]) not in SUBSCRIBING:
        return False
    return len(session.subscriptions) + len(session.multis) >= SUBSCRIPTIONS_MAX


def _shown(fields: Fields) -> list[str]:
    """Return as much of a message as a log line can take."""
    return [text[:40] for text in fields[:LOGGED_FIELDS]]
