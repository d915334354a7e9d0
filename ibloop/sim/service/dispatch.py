"""A request on its way to its handler, as the faults allow."""

import logging
from typing import Any

from ibloop.sim.faults.base import Arrival, Asks
from ibloop.sim.protocol.requests import request_id
from ibloop.sim.protocol.requests.kinds import Bare, ById
from ibloop.sim.protocol.requests.orders import PlaceOrder
from ibloop.sim.protocol.wire import Fields
from ibloop.sim.service.desk import Desk
from ibloop.sim.service.frames import note
from ibloop.sim.service.handlers import HANDLERS
from ibloop.sim.service.session import Session
from ibloop.sim.service.stage import DeskStage

log = logging.getLogger(__name__)

STREAMS = frozenset(
    {Asks.MARKET_DATA, Asks.HISTORICAL_DATA, Asks.REAL_TIME_BARS, Asks.TICK_BY_TICK}
)
# More requests for data than this are not remembered once their streams have ended.
SYMBOLS_MAX = 1000


def act(desk: Desk, stage: DeskStage, session: Session, fields: Fields, request: Any) -> None:
    """Note and handle a request, or let the faults do with it what they want."""
    client_id = session.client_id or 0
    note(desk, client_id, request)
    message_id, symbol = int(fields[0]), _symbol(desk, client_id, request)
    if message_id in STREAMS:
        _remember(session, str(request_id(fields, session.version)), symbol)
    if not desk.faults.numbered():
        handle(desk, session, request)
        return
    arrival = Arrival(
        client_id=client_id,
        message_id=message_id,
        req_id=request_id(fields, session.version),
        symbol=symbol,
        fresh=_fresh(desk, session, request),
        request=request,
        now=desk.world.now(),
        now_s=desk.world.monotonic_s(),
        handle=lambda: handle(desk, session, request),
        stage=stage,
    )
    reaction = desk.faults.receives(arrival)
    if reaction.swallow:
        # What was noted is stored all the same.
        desk.world.commit()
    if reaction.reset:
        stage.reset(arrival.client_id)
    for error in reaction.errors:
        session.error(*error, desk.world.now())
    session.send(*reaction.replies)
    if reaction.swallow:
        log.info("client %s: message %s swallowed", session.client_id, message_id)
        return
    chosen = reaction.request or request
    if reaction.delay_s > 0:
        stage.later(reaction.delay_s, lambda: handle(desk, session, chosen))
    else:
        handle(desk, session, chosen)


def handle(desk: Desk, session: Session, request: Any) -> None:
    """Call the handler of a request."""
    key = request.name if isinstance(request, Bare | ById) else type(request)
    HANDLERS[key](desk, session, request)


def _fresh(desk: Desk, session: Session, request: Any) -> bool:
    if not isinstance(request, PlaceOrder) or request.ticket.what_if:
        return False
    return desk.world.broker.order_of(session.client_id or 0, request.order_id) is None


def _symbol(desk: Desk, client_id: int, request: Any) -> str:
    """Return the symbol a request names by its contract or order, '' without one."""
    if isinstance(request, ById) and request.name == "cancel_order":
        order = desk.world.broker.order_of(client_id, request.req_id)
        return order.symbol if order else ""
    contract = getattr(request, "contract", None)
    if contract is None:
        return ""
    instrument = desk.world.samples.find(contract)
    return instrument.symbol if instrument else str(contract.symbol)


def _remember(session: Session, req_id: str, symbol: str) -> None:
    session.symbols[req_id] = symbol
    if len(session.symbols) > SYMBOLS_MAX:
        open_ids = {str(number) for _, number in session.subscriptions} | {req_id}
        session.symbols = {key: item for key, item in session.symbols.items() if key in open_ids}
