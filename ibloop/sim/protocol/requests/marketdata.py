"""Requests for instruments and their streaming prices."""

from dataclasses import dataclass

from ibloop.sim.model import ContractKey
from ibloop.sim.protocol.requests.kinds import Parsers, by_id
from ibloop.sim.protocol.requests.placeorder import read_contract
from ibloop.sim.protocol.wire import FieldReader, Since


@dataclass(frozen=True, slots=True)
class MarketData:
    """1: stream or snapshot of one instrument; `generic_ticks` as the client listed them."""

    req_id: int
    contract: ContractKey
    generic_ticks: tuple[str, ...]
    snapshot: bool


@dataclass(frozen=True, slots=True)
class ContractDetails:
    """9: which instruments fit this contract."""

    req_id: int
    contract: ContractKey


@dataclass(frozen=True, slots=True)
class MatchingSymbols:
    """81: which instruments begin like this, or have it in their name."""

    req_id: int
    pattern: str


@dataclass(frozen=True, slots=True)
class OptionParameters:
    """78: the option chains of an underlying."""

    req_id: int
    con_id: int


def _market_data(reader: FieldReader, _version: int) -> MarketData:
    reader.skip(1)
    req_id = reader.integer()
    contract = read_contract(reader)
    if contract.sec_type == "BAG":
        reader.skip(4 * max(0, reader.integer()))
    if reader.flag():
        reader.skip(3)
    generic = tuple(part.strip() for part in reader.text().split(",") if part.strip())
    snapshot, regulatory = reader.flag(), reader.flag()
    reader.skip(1)
    return MarketData(req_id, contract, generic, snapshot or regulatory)


def _contract_details(reader: FieldReader, version: int) -> ContractDetails:
    reader.skip(1)
    request = ContractDetails(reader.integer(), read_contract(reader))
    reader.skip(4 if version >= Since.ISSUER_ID else 3)
    return request


def _matching_symbols(reader: FieldReader, _version: int) -> MatchingSymbols:
    return MatchingSymbols(reader.integer(), reader.text())


def _option_parameters(reader: FieldReader, _version: int) -> OptionParameters:
    req_id = reader.integer()
    reader.skip(3)
    return OptionParameters(req_id, reader.integer())


PARSERS: Parsers = {
    1: _market_data,
    2: by_id("cancel_market_data", 1),
    9: _contract_details,
    59: by_id("market_data_type", 1),
    78: _option_parameters,
    81: _matching_symbols,
    91: by_id("market_rule", 0),
}
