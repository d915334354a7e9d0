"""Requests a client may send: fields in, one frozen value out, nothing left over.

`PARSERS` is the table of what the simulator serves, one module per subject; `UNSERVED` names the
rest of IB's requests, so that they are refused with error 321 instead of breaking the connection.
"""

from dataclasses import dataclass
from typing import Any

from ibloop.sim.protocol.requests import accounts, marketdata, orders, system
from ibloop.sim.protocol.requests.kinds import Parsers
from ibloop.sim.protocol.wire import FieldReader, Fields, WireError, integer


@dataclass(frozen=True, slots=True)
class Unserved:
    """A request the simulator knows of and does not serve; `req_id` is -1 when it has none."""

    message_id: int
    name: str
    req_id: int


PARSERS: Parsers = {
    **system.PARSERS,
    **marketdata.PARSERS,
    **orders.PARSERS,
    **accounts.PARSERS,
}

# Message id -> (name, position of the request id or None). Cancellations need no answer.
UNSERVED: dict[int, tuple[str, int | None]] = {
    10: ("reqMktDepth", 2),
    12: ("reqNewsBulletins", None),
    18: ("requestFA", None),
    19: ("replaceFA", None),
    20: ("reqHistoricalData", 1),
    21: ("exerciseOptions", 2),
    22: ("reqScannerSubscription", 1),
    24: ("reqScannerParameters", None),
    50: ("reqRealTimeBars", 2),
    52: ("reqFundamentalData", 2),
    54: ("calculateImpliedVolatility", 2),
    55: ("calculateOptionPrice", 2),
    67: ("queryDisplayGroups", 2),
    74: ("reqPositionsMulti", 2),
    78: ("reqSecDefOptParams", 1),
    79: ("reqSoftDollarTiers", 1),
    80: ("reqFamilyCodes", None),
    81: ("reqMatchingSymbols", 1),
    82: ("reqMktDepthExchanges", None),
    83: ("reqSmartComponents", 1),
    84: ("reqNewsArticle", 1),
    85: ("reqNewsProviders", None),
    86: ("reqHistoricalNews", 1),
    87: ("reqHeadTimeStamp", 1),
    88: ("reqHistogramData", 1),
    92: ("reqPnL", 1),
    94: ("reqPnLSingle", 1),
    96: ("reqHistoricalTicks", 1),
    97: ("reqTickByTickData", 1),
    100: ("reqWshMetaData", 1),
    102: ("reqWshEventData", 1),
}
IGNORED = frozenset({11, 13, 23, 25, 51, 53, 56, 57, 75, 89, 90, 93, 95, 98, 101, 103})
# Where a served request carries its id, for the error about one that cannot be read.
_ID_AT = {"3": 1, "1": 2, "9": 2, "4": 2, "7": 2, "62": 2, "76": 2}


def parse(fields: Fields, version: int) -> Any:
    """Return the request these fields are at this server version, one of the frozen values.

    Raises: WireError when they are too few, too many, or of the wrong kind.
    """
    message_id = integer(fields[0])
    parser = PARSERS.get(message_id)
    if parser is None:
        return _unserved(message_id, fields)
    reader = FieldReader(fields[1:])
    request = parser(reader, version)
    reader.end()
    return request


def request_id(fields: Fields) -> int:
    """Return the id to answer with when a request could not be read, -1 when unknown."""
    return _integer_at(fields, _ID_AT.get(fields[0]))


def _unserved(message_id: int, fields: Fields) -> Unserved:
    if message_id in IGNORED:
        return Unserved(message_id, "", -1)
    name, position = UNSERVED.get(message_id, (f"message {message_id}", None))
    return Unserved(message_id, name, _integer_at(fields, position))


def _integer_at(fields: Fields, position: int | None) -> int:
    if position is None or position >= len(fields):
        return -1
    try:
        return integer(fields[position])
    except WireError:
        return -1
