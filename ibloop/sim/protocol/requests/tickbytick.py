"""Requests for single ticks: of the past, and tick by tick from now on."""

from dataclasses import dataclass

from ibloop.sim.model import ContractKey
from ibloop.sim.protocol.requests.kinds import Parsers, by_id
from ibloop.sim.protocol.requests.placeorder import read_contract
from ibloop.sim.protocol.wire import FieldReader


@dataclass(frozen=True, slots=True)
class HistoricalTicks:
    """96: ticks after a start or before an end; one of the two texts is to be empty."""

    req_id: int
    contract: ContractKey
    start: str
    end: str
    count: int
    what: str
    ignore_size: bool


@dataclass(frozen=True, slots=True)
class TickByTick:
    """97: every tick of one type, `count` past ones first."""

    req_id: int
    contract: ContractKey
    tick_type: str
    count: int
    ignore_size: bool


def _historical_ticks(reader: FieldReader, _version: int) -> HistoricalTicks:
    req_id, contract = reader.integer(), read_contract(reader)
    reader.skip(1)
    start, end, count, what = reader.text(), reader.text(), reader.integer(), reader.text()
    reader.skip(1)
    ignore_size = reader.flag()
    reader.skip(1)
    return HistoricalTicks(req_id, contract, start, end, count, what, ignore_size)


def _tick_by_tick(reader: FieldReader, _version: int) -> TickByTick:
    return TickByTick(
        req_id=reader.integer(),
        contract=read_contract(reader),
        tick_type=reader.text(),
        count=reader.integer(),
        ignore_size=reader.flag(),
    )


PARSERS: Parsers = {
    96: _historical_ticks,
    97: _tick_by_tick,
    98: by_id("cancel_tick_by_tick", 0),
}
