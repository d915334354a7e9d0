"""Requests that describe instruments."""

from ibloop.sim.protocol.replies import contracts, system
from ibloop.sim.protocol.requests.kinds import ById
from ibloop.sim.protocol.requests.marketdata import ContractDetails
from ibloop.sim.service.desk import Desk, Handlers
from ibloop.sim.service.session import Session

NOT_FOUND = "No security definition has been found for the request"


def contract_details(desk: Desk, session: Session, request: ContractDetails) -> None:
    """Answer reqContractDetails: the one instrument that fits, or error 200."""
    world = desk.world
    instrument = world.samples.find(request.contract)
    if instrument is None:
        session.error(request.req_id, 200, NOT_FOUND, world.now())
        return
    details = contracts.contract_details(request.req_id, instrument, session.version, world.now())
    session.send(details, system.end(52, request.req_id))


def market_rule(_desk: Desk, session: Session, request: ById) -> None:
    """Answer reqMarketRule."""
    session.send(contracts.market_rule(request.req_id))


HANDLERS: Handlers = {ContractDetails: contract_details, "market_rule": market_rule}
