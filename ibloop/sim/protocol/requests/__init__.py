"""Requests a client may send: fields in, one frozen value out.

`PARSERS` is the table of what the simulator serves, one module per subject; the rest of IB's
requests (`catalogue`) is refused with an error instead of breaking the connection.
"""

from dataclasses import dataclass
from typing import Any

from ibloop.sim.protocol.requests import accounts, bars, marketdata, orders, system, tickbytick
from ibloop.sim.protocol.requests.catalogue import KNOWN, id_position
from ibloop.sim.protocol.requests.kinds import Parsers
from ibloop.sim.protocol.wire import (
    FieldReader,
    Fields,
    UnknownMessageError,
    WireError,
    integer,
)


@dataclass(frozen=True, slots=True)
class Unserved:
    """A request the simulator knows of and does not serve; `req_id` is -1 when it has none."""

    message_id: int
    name: str
    req_id: int


@dataclass(frozen=True, slots=True)
class Parsed:
    """A request as one frozen value, and the fields after its end, which say nothing to us."""

    request: Any
    left: Fields


PARSERS: Parsers = {
    **system.PARSERS,
    **marketdata.PARSERS,
    **bars.PARSERS,
    **tickbytick.PARSERS,
    **orders.PARSERS,
    **accounts.PARSERS,
}


def parse(fields: Fields, version: int) -> Parsed:
    """Return the request these fields are at this server version.

    Raises: UnknownMessageError for a number that is no request's; MissingFieldError, WireError
    when its fields are too few or of the wrong kind.
    """
    message_id = _message_id(fields)
    known = KNOWN.get(message_id)
    if known is None:
        raise UnknownMessageError(f"expected the number of a request, was {fields[0][:40]!r}")
    if version < known.since:
        raise WireError(f"{known.name} needs server version {known.since:d}, was {version}")
    parser = PARSERS.get(message_id)
    if parser is None:
        return Parsed(Unserved(message_id, known.name, request_id(fields, version)), ())
    reader = FieldReader(fields[1:])
    return Parsed(parser(reader, version), reader.left())


def request_id(fields: Fields, version: int) -> int:
    """Return the id to answer a request with, -1 when it has none or none that can be read."""
    try:
        position = id_position(_message_id(fields), version)
        return -1 if position is None else integer(fields[position])
    except (WireError, IndexError):
        return -1


def _message_id(fields: Fields) -> int:
    """Return the number of a message, 0 (no request's) when it is not a number."""
    try:
        return integer(fields[0])
    except WireError:
        return 0
