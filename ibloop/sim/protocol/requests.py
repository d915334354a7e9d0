"""Requests a client may send: fields in, one frozen value out, nothing left over.

`PARSERS` is the table of what the simulator serves; `UNSERVED` names the rest of IB's stock
requests, so that they are refused with error 321 instead of breaking the connection.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ibloop.sim.model import ContractKey, OrderTicket
from ibloop.sim.protocol.placeorder import read_contract, read_place_order
from ibloop.sim.protocol.wire import FieldReader, Fields, Since, WireError, integer


@dataclass(frozen=True, slots=True)
class StartApi:
    """71: the client names itself."""

    client_id: int


@dataclass(frozen=True, slots=True)
class Bare:
    """A request without arguments; `name` is a key of the gateway's handlers."""

    name: str


@dataclass(frozen=True, slots=True)
class ById:
    """A request whose only argument is a request, rule or type number."""

    name: str
    req_id: int


@dataclass(frozen=True, slots=True)
class MarketData:
    """1: stream or snapshot of one instrument."""

    req_id: int
    contract: ContractKey
    snapshot: bool


@dataclass(frozen=True, slots=True)
class ContractDetails:
    """9: which instruments fit this contract."""

    req_id: int
    contract: ContractKey


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """3: a new order, or a change of a live one with the same id."""

    order_id: int
    contract: ContractKey
    ticket: OrderTicket


@dataclass(frozen=True, slots=True)
class Executions:
    """7: today's executions that pass the filter; empty fields let everything pass.

    `time` is `yyyymmdd-hh:mm:ss` or `yyyymmdd hh:mm:ss zone`; `dates` are `yyyymmdd`.
    """

    req_id: int
    client_id: int
    account: str
    time: str
    symbol: str
    sec_type: str
    side: str
    dates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountUpdates:
    """6: subscribe to one account's values and portfolio, or end that."""

    subscribe: bool
    account: str


@dataclass(frozen=True, slots=True)
class AccountUpdatesMulti:
    """76: subscribe to account values under a request id."""

    req_id: int
    account: str
    model_code: str
    ledger_only: bool


@dataclass(frozen=True, slots=True)
class AccountSummary:
    """62: subscribe to chosen account values of all accounts."""

    req_id: int
    group: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unserved:
    """A request the simulator knows of and does not serve; `req_id` is -1 when it has none."""

    message_id: int
    name: str
    req_id: int


Request = (
    StartApi
    | Bare
    | ById
    | MarketData
    | ContractDetails
    | PlaceOrder
    | Executions
    | AccountUpdates
    | AccountUpdatesMulti
    | AccountSummary
    | Unserved
)
Parser = Callable[[FieldReader, int], Request]

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
IGNORED = frozenset({11, 13, 14, 23, 25, 51, 53, 56, 57, 75, 89, 90, 93, 95, 98, 101, 103})


def parse(fields: Fields, version: int) -> Request:
    """Return the request these fields are at this server version.

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
    position = {"3": 1, "1": 2, "9": 2, "4": 2, "7": 2, "62": 2, "76": 2}.get(fields[0])
    return _integer_at(fields, position)


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


def _bare(name: str, skip: int) -> Parser:
    def read(reader: FieldReader, _version: int) -> Request:
        reader.skip(skip)
        return Bare(name)

    return read


def _by_id(name: str, skip: int, after: int = 0) -> Parser:
    def read(reader: FieldReader, _version: int) -> Request:
        reader.skip(skip)
        request = ById(name, reader.integer())
        reader.skip(after)
        return request

    return read


def _start_api(reader: FieldReader, _version: int) -> Request:
    reader.skip(1)
    client_id = reader.integer()
    reader.skip(1)
    return StartApi(client_id)


def _market_data(reader: FieldReader, _version: int) -> Request:
    reader.skip(1)
    req_id = reader.integer()
    contract = read_contract(reader)
    if contract.sec_type == "BAG":
        reader.skip(4 * max(0, reader.integer()))
    if reader.flag():
        reader.skip(3)
    reader.skip(1)
    snapshot, regulatory = reader.flag(), reader.flag()
    reader.skip(1)
    return MarketData(req_id, contract, snapshot or regulatory)


def _contract_details(reader: FieldReader, version: int) -> Request:
    reader.skip(1)
    request = ContractDetails(reader.integer(), read_contract(reader))
    reader.skip(4 if version >= Since.ISSUER_ID else 3)
    return request


def _place_order(reader: FieldReader, version: int) -> Request:
    return PlaceOrder(*read_place_order(reader, version))


def _cancel_order(reader: FieldReader, version: int) -> Request:
    if version >= Since.MANUAL_ORDER_INDICATOR:
        return _by_id("cancel_order", 0, 3)(reader, version)
    return _by_id("cancel_order", 1, int(version >= Since.MANUAL_ORDER_TIME))(reader, version)


def _global_cancel(reader: FieldReader, version: int) -> Request:
    return _bare("global_cancel", 2 if version >= Since.MANUAL_ORDER_INDICATOR else 1)(reader, 0)


def _executions(reader: FieldReader, version: int) -> Request:
    reader.skip(1)
    req_id, client_id = reader.integer(), reader.integer()
    account, time, symbol, sec_type = (reader.text() for _ in range(4))
    reader.skip(1)
    side = reader.text()
    dates: tuple[str, ...] = ()
    if version >= Since.EXECUTION_DATES:
        reader.skip(1)
        dates = tuple(reader.text() for _ in range(reader.integer()))
    return Executions(req_id, client_id, account, time, symbol, sec_type, side, dates)


def _account_updates(reader: FieldReader, _version: int) -> Request:
    reader.skip(1)
    return AccountUpdates(reader.flag(), reader.text())


def _account_updates_multi(reader: FieldReader, _version: int) -> Request:
    reader.skip(1)
    return AccountUpdatesMulti(reader.integer(), reader.text(), reader.text(), reader.flag())


def _account_summary(reader: FieldReader, _version: int) -> Request:
    reader.skip(1)
    req_id, group, tags = reader.integer(), reader.text(), reader.text()
    return AccountSummary(req_id, group, tuple(tag for tag in tags.split(",") if tag))


PARSERS: dict[int, Parser] = {
    1: _market_data,
    2: _by_id("cancel_market_data", 1),
    3: _place_order,
    4: _cancel_order,
    5: _bare("open_orders", 1),
    6: _account_updates,
    7: _executions,
    8: _bare("ids", 2),
    9: _contract_details,
    15: _by_id("auto_open_orders", 1),
    16: _bare("all_open_orders", 1),
    17: _bare("managed_accounts", 1),
    49: _bare("current_time", 1),
    58: _global_cancel,
    59: _by_id("market_data_type", 1),
    61: _bare("positions", 1),
    62: _account_summary,
    63: _by_id("cancel_account_summary", 1),
    64: _bare("cancel_positions", 1),
    71: _start_api,
    76: _account_updates_multi,
    77: _by_id("cancel_account_updates_multi", 1),
    91: _by_id("market_rule", 0),
    99: _bare("completed_orders", 1),
    104: _by_id("user_info", 0),
    105: _bare("current_time_millis", 0),
}
