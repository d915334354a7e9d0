"""Requests that place, change, end or list orders and executions."""

from dataclasses import dataclass

from ibloop.sim.model import ContractKey, OrderTicket
from ibloop.sim.protocol.requests.kinds import Bare, ById, Parser, Parsers, bare, by_id
from ibloop.sim.protocol.requests.placeorder import read_place_order
from ibloop.sim.protocol.wire import INTEGER_MAX, FieldReader, Since


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """3: a new order, or a change of a live one with the same id."""

    order_id: int
    contract: ContractKey
    ticket: OrderTicket


@dataclass(frozen=True, slots=True)
class Executions:
    """7: today's executions that pass the filter; empty fields let everything pass.

    `time` is `yyyymmdd-hh:mm:ss` or `yyyymmdd hh:mm:ss zone`; `dates` are `yyyymmdd`, `days` is
    how many days back from today, both widening the day to others.
    """

    req_id: int
    client_id: int
    account: str
    time: str
    symbol: str
    sec_type: str
    side: str
    exchange: str = ""
    days: int = 0
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
    account, time, symbol, sec_type, exchange, side = (reader.text() for _ in range(6))
    days, dates = 0, tuple[str, ...]()
    if version >= Since.EXECUTION_DATES:
        days = reader.integer()
        dates = tuple(reader.text() for _ in range(reader.count()))
    days = 0 if days == INTEGER_MAX else days
    return Executions(
        req_id, client_id, account, time, symbol, sec_type, side, exchange, days, dates
    )


def _switch(name: str, skip: int) -> Parser:
    """Return the parser of a request with a boolean, which becomes the number 0 or 1."""

    def read(reader: FieldReader, _version: int) -> ById:
        reader.skip(skip)
        return ById(name, int(reader.flag()))

    return read


PARSERS: Parsers = {
    3: _place_order,
    4: _cancel_order,
    5: bare("open_orders", 1),
    7: _executions,
    15: _switch("auto_open_orders", 1),
    16: bare("all_open_orders", 1),
    58: _global_cancel,
    99: _switch("completed_orders", 0),
}
