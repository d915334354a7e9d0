"""Requests that place, change, end or list orders and executions."""

from dataclasses import dataclass

from ibloop.sim.model import ContractKey, OrderTicket
from ibloop.sim.protocol.requests.kinds import Bare, ById, Parsers, bare, by_id
from ibloop.sim.protocol.requests.placeorder import read_place_order
from ibloop.sim.protocol.wire import FieldReader, Since


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


def _place_order(reader: FieldReader, version: int) -> PlaceOrder:
    return PlaceOrder(*read_place_order(reader, version))


def _cancel_order(reader: FieldReader, version: int) -> ById:
    if version >= Since.MANUAL_ORDER_INDICATOR:
        request: ById = by_id("cancel_order", 0, 3)(reader, version)
    else:
        after = int(version >= Since.MANUAL_ORDER_TIME)
        request = by_id("cancel_order", 1, after)(reader, version)
    return request


def _global_cancel(reader: FieldReader, version: int) -> Bare:
    reader.skip(2 if version >= Since.MANUAL_ORDER_INDICATOR else 1)
    return Bare("global_cancel")


def _executions(reader: FieldReader, version: int) -> Executions:
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


PARSERS: Parsers = {
    3: _place_order,
    4: _cancel_order,
    5: bare("open_orders", 1),
    7: _executions,
    15: by_id("auto_open_orders", 1),
    16: bare("all_open_orders", 1),
    58: _global_cancel,
    99: bare("completed_orders", 1),
}
