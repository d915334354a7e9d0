"""Requests for streaming prices and snapshots."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from ibloop.sim.model import Instrument, Quote
from ibloop.sim.protocol.replies import system, ticks
from ibloop.sim.protocol.requests.kinds import ById
from ibloop.sim.protocol.requests.marketdata import MarketData
from ibloop.sim.protocol.wire import Fields, size_text
from ibloop.sim.service.desk import Desk, Handlers
from ibloop.sim.service.handlers.contracts import NOT_FOUND
from ibloop.sim.service.session import Session

MARKET_LINES_MAX = 100
LIVE_DATA = 1
# The kind of subscription a market data line is.
LINE = "market data"


@dataclass(slots=True)
class MarketLine:
    """One market data subscription: only ticks that changed since the last sample."""

    req_id: int
    instrument: Instrument
    sent: dict[int, str] = field(default_factory=dict)

    def sample(self, desk: Desk, session: Session) -> Iterable[Fields]:
        """Return the ticks that changed since the last sample."""
        quote = desk.world.quote_of(self.instrument.con_id)
        return self.changes(quote, desk.world.now(), session.version) if quote else ()

    def changes(self, quote: Quote, now: datetime, version: int) -> list[Fields]:
        """Return the ticks of a sample, prices together with their sizes."""
        messages: list[Fields] = []
        sides = (
            (1, 0, quote.bid, quote.bid_size, 1),
            (2, 3, quote.ask, quote.ask_size, 1),
            (4, 5, quote.last, quote.last_size, 0),
        )
        for price_tick, size_tick, price, size, mask in sides:
            size_now = size_text(size, version)
            # The price message carries the size too, so either of them changing sends it.
            moved = self._new(price_tick, f"{price} {size_now}")
            if moved:
                messages.append(ticks.tick_price(self.req_id, price_tick, price, size_now, mask))
            if self._new(size_tick, size_now):
                messages.append(ticks.tick_size(self.req_id, size_tick, size_now))
            if moved and price_tick == 4:
                epoch = str(int(now.timestamp()))
                messages.append(ticks.tick_string(self.req_id, 45, epoch))
        if self._new(8, str(quote.volume)):
            messages.append(ticks.tick_size(self.req_id, 8, str(quote.volume)))
        day = ((6, quote.high), (7, quote.low), (9, quote.close), (14, quote.open))
        for tick, price in day:
            if self._new(tick, str(price)):
                messages.append(ticks.tick_price(self.req_id, tick, price, "0", 0))
        halted = "1.0" if quote.halted else "0.0"
        if self._new(49, halted):
            messages.append(ticks.tick_generic(self.req_id, 49, halted))
        return messages

    def _new(self, tick: int, value: str) -> bool:
        if self.sent.get(tick) == value:
            return False
        self.sent[tick] = value
        return True


def market_data(desk: Desk, session: Session, request: MarketData) -> None:
    """Begin a stream, or send one snapshot."""
    world, req_id = desk.world, request.req_id
    instrument = world.samples.find(request.contract)
    lines = sum(kind == LINE for kind, _ in session.subscriptions)
    if instrument is None:
        session.error(req_id, 200, NOT_FOUND, world.now())
    elif (LINE, req_id) in session.subscriptions:
        session.error(req_id, 322, "Error processing request.-Duplicate ticker id", world.now())
    elif not request.snapshot and lines >= MARKET_LINES_MAX:
        session.error(req_id, 101, "Max number of tickers has been reached.", world.now())
    else:
        line = MarketLine(req_id, instrument)
        session.send(ticks.tick_req_params(req_id, instrument))
        session.send(ticks.market_data_type(req_id, LIVE_DATA))
        session.send(*line.sample(desk, session))
        if request.snapshot:
            session.send(system.end(57, req_id))
        else:
            session.subscriptions[LINE, req_id] = line


def cancel_market_data(desk: Desk, session: Session, request: ById) -> None:
    """End a stream."""
    if session.subscriptions.pop((LINE, request.req_id), None) is None:
        text = f"Can't find EId with tickerId:{request.req_id}"
        session.error(request.req_id, 300, text, desk.world.now())


def market_data_type(_desk: Desk, _session: Session, _request: ById) -> None:
    """Accept reqMarketDataType in silence: the simulated subscription always has live data."""


HANDLERS: Handlers = {
    MarketData: market_data,
    "cancel_market_data": cancel_market_data,
    "market_data_type": market_data_type,
}
