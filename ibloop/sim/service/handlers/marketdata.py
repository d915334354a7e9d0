"""Requests for streaming prices and snapshots."""

from ibloop.sim.model import Instrument
from ibloop.sim.protocol.replies import ticks
from ibloop.sim.protocol.requests.kinds import ById
from ibloop.sim.protocol.requests.marketdata import MarketData
from ibloop.sim.service import generics
from ibloop.sim.service.desk import Desk, Handlers, MarketDataAccess
from ibloop.sim.service.handlers.contracts import not_found
from ibloop.sim.service.marketlines import (
    DELAYED,
    DELAYED_FROZEN,
    LINE,
    LIVE,
    SNAPSHOT,
    SNAPSHOT_S_MAX,
    MarketLine,
    Snapshot,
    lines_of,
)
from ibloop.sim.service.session import Session

NOT_SUBSCRIBED = "Requested market data is not subscribed."
NEEDS_SUBSCRIPTION = (
    "Requested market data requires additional subscription for API. See link in 'Market Data"
    " Connections' dialog for more details.Delayed market data is available."
)
WITH_GENERICS = (
    "Error validating request.-'bW' : cause - Snapshot market data subscription is not applicable"
    " to generic ticks"
)

# An error's code and text.
Refusal = tuple[int, str]


def market_data(desk: Desk, session: Session, request: MarketData) -> None:
    """Begin a stream, or send one snapshot."""
    world, req_id = desk.world, request.req_id
    instrument = world.samples.find(request.contract)
    if instrument is None:
        session.error(req_id, 200, not_found(world, request.contract), world.now())
        return
    refusal = _invalid(desk, session, request) or _unsubscribed(desk, session, instrument)
    if refusal is not None:
        session.error(req_id, *refusal, world.now())
        return
    if session.market_data_type >= DELAYED and desk.options.market_data != MarketDataAccess.LIVE:
        text = f"{NOT_SUBSCRIBED} Displaying delayed market data."
        session.error(req_id, 10167, text, world.now())
    session.send(ticks.tick_req_params(req_id, instrument))
    _begin(desk, session, request, instrument)


def _begin(desk: Desk, session: Session, request: MarketData, instrument: Instrument) -> None:
    req_id, kind = request.req_id, _kind_shown(desk, session)
    delayed = kind in {DELAYED, DELAYED_FROZEN}
    wanted = None if delayed else generics.Generics.of(req_id, request.generic_ticks)
    line = MarketLine(req_id, instrument, kind, wanted)
    if request.snapshot:
        snapshot = Snapshot(line, desk.world.monotonic_s() + SNAPSHOT_S_MAX)
        session.subscriptions[SNAPSHOT, req_id] = snapshot
        session.line.write(snapshot.sample(desk, session))
    elif generics.NEWS_ONLY not in request.generic_ticks:
        session.subscriptions[LINE, req_id] = line
        session.line.write(line.sample(desk, session))
    else:
        session.subscriptions[LINE, req_id] = Silence()


def _kind_shown(desk: Desk, session: Session) -> int:
    """Return the type of data that a client gets: live data wins where the login has it.

    "If live data is available a request for delayed data would be ignored" (IB's "Market Data
    Types"); so it is reported of type 4 too (ib_insync issues 439 and 517).
    """
    if session.market_data_type >= DELAYED and desk.options.market_data is MarketDataAccess.LIVE:
        return LIVE
    return session.market_data_type


class Silence:
    """A line for news alone, of which there are none."""

    def sample(self, desk: Desk, session: Session) -> bytes:  # noqa: ARG002 - the protocol's
        """Return nothing."""
        return b""


def _invalid(desk: Desk, session: Session, request: MarketData) -> Refusal | None:
    """Return why a gateway would not begin this stream, whoever asks."""
    lines, limit = lines_of(session), desk.options.market_data_lines
    complaint = generics.illegal(request.generic_ticks)
    if request.req_id in lines:
        return 322, "Error processing request.-Duplicate ticker id"
    if complaint:
        return 321, complaint
    if request.snapshot and request.generic_ticks:
        return 321, WITH_GENERICS
    if not request.snapshot and limit and len(lines) >= limit:
        return 101, "Max number of tickers has been reached."
    return None


def _unsubscribed(desk: Desk, session: Session, instrument: Instrument) -> Refusal | None:
    """Return what the login is told when it is not entitled to the data, None when it is."""
    access, wants_delayed = desk.options.market_data, session.market_data_type >= DELAYED
    if access == MarketDataAccess.LIVE or (access == MarketDataAccess.DELAYED and wants_delayed):
        return None
    if access == MarketDataAccess.DELAYED:
        source = f"{instrument.symbol} {instrument.primary_exchange}/TOP/ALL"
        return 10089, NEEDS_SUBSCRIPTION + source
    if wants_delayed:
        return 10168, f"{NOT_SUBSCRIBED} Delayed market data is not enabled."
    return 354, NOT_SUBSCRIBED


def cancel_market_data(desk: Desk, session: Session, request: ById) -> None:
    """End a stream."""
    kinds = [kind for kind in (LINE, SNAPSHOT) if (kind, request.req_id) in session.subscriptions]
    for kind in kinds:
        del session.subscriptions[kind, request.req_id]
    if not kinds:
        text = f"Can't find EId with tickerId:{request.req_id}"
        session.error(request.req_id, 300, text, desk.world.now())


def market_data_type(_desk: Desk, session: Session, request: ById) -> None:
    """Take the type of the data asked for from now on; real gateways accept nonsense in silence."""
    if LIVE <= request.req_id <= DELAYED_FROZEN:
        session.market_data_type = request.req_id


HANDLERS: Handlers = {
    MarketData: market_data,
    "cancel_market_data": cancel_market_data,
    "market_data_type": market_data_type,
}
