"""Requests that describe instruments."""

from ibloop.sim.market.grid import RULES
from ibloop.sim.model import ContractKey
from ibloop.sim.protocol.replies import contracts, system
from ibloop.sim.protocol.requests.kinds import ById
from ibloop.sim.protocol.requests.marketdata import (
    ContractDetails,
    MatchingSymbols,
    OptionParameters,
)
from ibloop.sim.service.desk import Desk, Handlers
from ibloop.sim.service.session import Session
from ibloop.sim.world import World

NOT_FOUND = "No security definition has been found for the request"


def not_found(world: World, key: ContractKey) -> str:
    """Return what error 200 says of a contract that does not name one instrument."""
    if len(world.samples.matches(key)) < 2:
        return NOT_FOUND
    return f"The contract description specified for {key.symbol} is ambiguous."


def contract_details(desk: Desk, session: Session, request: ContractDetails) -> None:
    """Answer reqContractDetails: every instrument that fits, or error 200."""
    world, key, req_id = desk.world, request.contract, request.req_id
    found = world.samples.matches(key)
    if not found:
        session.error(req_id, 200, NOT_FOUND, world.now())
        return
    hours, exchange = world.hours(), key.exchange or "SMART"
    for instrument in found:
        session.send(
            contracts.contract_details(req_id, instrument, exchange, hours, session.version)
        )
    session.send(system.end(52, req_id))


def matching_symbols(desk: Desk, session: Session, request: MatchingSymbols) -> None:
    """Answer reqMatchingSymbols."""
    found = desk.world.samples.search(request.pattern)
    session.send(contracts.symbol_samples(request.req_id, found, session.version))


def option_parameters(desk: Desk, session: Session, request: OptionParameters) -> None:
    """Answer reqSecDefOptParams: no instrument here has options."""
    world, req_id = desk.world, request.req_id
    if request.con_id not in world.samples.instruments:
        text = "Error validating request.-'bU' : cause - Invalid contract id"
        session.error(req_id, 321, text, world.now())
        return
    session.send(contracts.option_parameters_end(req_id))


def market_rule(desk: Desk, session: Session, request: ById) -> None:
    """Answer reqMarketRule."""
    if request.req_id in RULES:
        session.send(contracts.market_rule(request.req_id))
        return
    text = f"Error validating request.-'bQ' : cause - Invalid market rule id {request.req_id}"
    session.error(-1, 321, text, desk.world.now())


HANDLERS: Handlers = {
    ContractDetails: contract_details,
    MatchingSymbols: matching_symbols,
    OptionParameters: option_parameters,
    "market_rule": market_rule,
}
