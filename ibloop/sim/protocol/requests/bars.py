"""Requests for bars: of the past, kept up to date, of five seconds, and what there is of them."""

from dataclasses import dataclass

from ibloop.sim.model import ContractKey
from ibloop.sim.protocol.requests.kinds import Parsers, by_id
from ibloop.sim.protocol.requests.placeorder import read_contract
from ibloop.sim.protocol.wire import FieldReader


@dataclass(frozen=True, slots=True)
class HistoricalData:
    """20: bars that end at a time; texts as the client wrote them, checked in `barquery`."""

    req_id: int
    contract: ContractKey
    end: str
    size: str
    duration: str
    regular_hours: bool
    what: str
    format_date: int
    updates: bool


@dataclass(frozen=True, slots=True)
class RealTimeBars:
    """50: bars of five seconds as they end."""

    req_id: int
    contract: ContractKey
    what: str


@dataclass(frozen=True, slots=True)
class HeadTimestamp:
    """87: where the history begins."""

    req_id: int
    contract: ContractKey
    what: str
    format_date: int


@dataclass(frozen=True, slots=True)
class HistogramData:
    """88: how much was traded at which price during a time such as `3 days`."""

    req_id: int
    contract: ContractKey
    period: str


def _historical_data(reader: FieldReader, _version: int) -> HistoricalData:
    req_id, contract = reader.integer(), read_contract(reader)
    reader.skip(1)
    end, size, duration = reader.text(), reader.text(), reader.text()
    regular_hours, what, format_date = reader.flag(), reader.text(), reader.integer()
    if contract.sec_type == "BAG":
        reader.skip(4 * reader.count())
    updates = reader.flag()
    reader.skip(1)
    return HistoricalData(
        req_id=req_id,
        contract=contract,
        end=end,
        size=size,
        duration=duration,
        regular_hours=regular_hours,
        what=what,
        format_date=format_date,
        updates=updates,
    )


def _real_time_bars(reader: FieldReader, _version: int) -> RealTimeBars:
    reader.skip(1)
    req_id, contract = reader.integer(), read_contract(reader)
    # The bar size is not looked at: there are only bars of five seconds.
    reader.skip(1)
    what = reader.text()
    reader.skip(2)
    return RealTimeBars(req_id, contract, what)


def _head_timestamp(reader: FieldReader, _version: int) -> HeadTimestamp:
    req_id, contract = reader.integer(), read_contract(reader)
    reader.skip(2)
    return HeadTimestamp(req_id, contract, reader.text(), reader.integer())


def _histogram_data(reader: FieldReader, _version: int) -> HistogramData:
    req_id, contract = reader.integer(), read_contract(reader)
    reader.skip(2)
    return HistogramData(req_id, contract, reader.text())


PARSERS: Parsers = {
    20: _historical_data,
    25: by_id("cancel_historical_data", 1),
    50: _real_time_bars,
    51: by_id("cancel_real_time_bars", 1),
    87: _head_timestamp,
    88: _histogram_data,
    89: by_id("cancel_histogram_data", 0),
    90: by_id("cancel_head_timestamp", 0),
}
