"""Requests for bars: of the past, kept up to date, of five seconds, and what there is of them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from ibloop.sim.market.bars import Bar, intraday, midnight_s
from ibloop.sim.market.tape import Side
from ibloop.sim.model import ContractKey, Instrument
from ibloop.sim.protocol.barquery import (
    NO_ZONE,
    PRICED,
    BarQuery,
    Period,
    Refused,
    What,
    invalid,
    read_period,
    read_query,
    service_error,
)
from ibloop.sim.protocol.replies import bars as replies
from ibloop.sim.protocol.requests.bars import (
    HeadTimestamp,
    HistogramData,
    HistoricalData,
    RealTimeBars,
)
from ibloop.sim.protocol.requests.kinds import ById
from ibloop.sim.protocol.wire import Fields
from ibloop.sim.service.desk import Desk, Handlers, MarketDataAccess
from ibloop.sim.service.handlers.contracts import not_found
from ibloop.sim.service.historical import (
    SIDES,
    SMALL_BAR_S_MAX,
    bars_of,
    bars_since,
    begin_of,
    end_s_of,
    first_day,
    sessions_of,
    start_s_of,
    tape_of,
)
from ibloop.sim.service.session import Session

HISTORY, REAL_TIME_BARS = "historical data", "real-time bars"
QUERIES_MAX = 50
UPDATE_S = 5.0
REAL_TIME_BAR_S = 5
# After a longer silence (a stepped clock, a frozen client) older bars are left out.
BARS_MISSED_MAX = 12
TRADED = frozenset({What.TRADES, What.ADJUSTED_LAST})
LIVE_WHATS = {"TRADES", "BID", "ASK", "MIDPOINT"}
NO_SUBSCRIPTION = (
    "Requested market data requires additional subscription for API. See link in 'Market Data"
    " Connections' dialog for more details."
)


def refuse(desk: Desk, session: Session, req_id: int, refused: Refused) -> None:
    """Send an error instead of an answer."""
    session.error(req_id, refused.code, refused.text, desk.world.now())


def no_data(contract: ContractKey, instrument: Instrument, what: str) -> Refused:
    """Return IB's answer to a query for a time or a kind of data it knows nothing of."""
    name = f"{instrument.symbol}@{contract.exchange or 'SMART'} {what.capitalize()}"
    return service_error(f"HMDS query returned no data: {name}")


def unsubscribed(desk: Desk, instrument: Instrument) -> str:
    """Return what a login without live data is told when it asks for bars or ticks, else ''."""
    if desk.options.market_data is MarketDataAccess.LIVE:
        return ""
    exchange = instrument.primary_exchange
    venue = "ISLAND" if exchange == "NASDAQ" else exchange
    return f"No market data permissions for {venue} STK. {NO_SUBSCRIPTION}"


# ---------------------------------------------------------------------- bars of the past


def historical_data(desk: Desk, session: Session, request: HistoricalData) -> None:
    """Answer reqHistoricalData, and keep the answer up to date if asked to."""
    world, req_id = desk.world, request.req_id
    query = read_query(
        end=request.end,
        duration=request.duration,
        size=request.size,
        what=request.what,
        format_date=request.format_date,
        updates=request.updates,
        now=world.now(),
    )
    if isinstance(query, Refused):
        refuse(desk, session, req_id, query)
        return
    instrument = world.samples.find(request.contract)
    if instrument is None:
        session.error(req_id, 200, not_found(world, request.contract), world.now())
        return
    if not query.zoned:
        session.error(req_id, 2174, NO_ZONE, world.now())
    refused = _refuse_pace(desk, session, request, query) or _answer(
        desk, session, request, query, instrument
    )
    if refused:
        refuse(desk, session, req_id, refused)


def _refuse_pace(
    desk: Desk, session: Session, request: HistoricalData, query: BarQuery
) -> Refused | None:
    if (HISTORY, request.req_id) in session.subscriptions:
        cause = "Duplicate ticker ID for API historical data query"
        return Refused(322, f"Error processing request.-'bM' : cause - {cause}")
    kinds = Counter(kind for each in desk.clients.values() for kind, _ in each.subscriptions)
    if kinds[HISTORY] >= QUERIES_MAX:
        cause = f"Only {QUERIES_MAX} simultaneous API historical data requests allowed."
        return Refused(322, f"Error processing request.-'bM' : cause - {cause}")
    small = query.size.period is Period.SECONDS and query.size.seconds <= SMALL_BAR_S_MAX
    if not small or not desk.options.historical_pacing:
        return None
    contract = (request.contract, query.what)
    asked = (*contract, request.end, request.duration, query.size, request.regular_hours)
    weight = 2 if query.what is What.BID_ASK else 1
    if desk.historical.exceeded(desk.world.monotonic_s(), asked, contract, weight):
        return service_error("Historical data request pacing violation")
    return None


def _answer(
    desk: Desk,
    session: Session,
    request: HistoricalData,
    query: BarQuery,
    instrument: Instrument,
) -> Refused | None:
    """Send bars or sessions, or return why there are none."""
    timeline = desk.world.timeline()
    tape = tape_of(desk.world, timeline, instrument)
    if query.what is What.SCHEDULE:
        days = sessions_of(query, timeline, tape)
        session.send(replies.historical_schedule(request.req_id, days))
        return None if days else no_data(request.contract, instrument, query.what)
    if text := unsubscribed(desk, instrument):
        return service_error(text)
    bars = bars_of(query, timeline, tape) if query.what in {*SIDES, *PRICED} else []
    if not bars:
        return no_data(request.contract, instrument, query.what)
    messages = replies.historical_data(
        request.req_id,
        bars,
        traded=query.what in TRADED,
        epoch=query.epoch,
        start=datetime.fromtimestamp(start_s_of(query, timeline, tape), UTC),
        end=datetime.fromtimestamp(min(end_s_of(query, timeline), timeline.now_s), UTC),
        version=session.version,
    )
    session.send(*messages)
    if query.updates:
        due_s = desk.world.monotonic_s() + UPDATE_S
        updates = Updates(request.req_id, instrument, query, bars[-1], due_s)
        session.subscriptions[HISTORY, request.req_id] = updates
    return None


@dataclass(slots=True)
class Updates:
    """Bars kept up to date: the growing one every five seconds, a finished one at once."""

    req_id: int
    instrument: Instrument
    query: BarQuery
    last: Bar
    due_s: float

    def sample(self, desk: Desk, session: Session) -> Iterable[Fields]:
        """Return the bars that changed since they were last told."""
        now_s = desk.world.monotonic_s()
        timeline = desk.world.timeline()
        since_s = self._since_s()
        tape = tape_of(desk.world, timeline, self.instrument, since_s)
        bars = [
            bar
            for bar in bars_since(self.query, timeline, tape, since_s)
            if _order(bar) >= _order(self.last)
        ]
        if not bars or (len(bars) == 1 and now_s < self.due_s):
            return ()
        changed = [bar for bar in bars if bar != self.last]
        self.last, self.due_s = bars[-1], now_s + UPDATE_S
        traded, epoch = self.query.what in TRADED, self.query.epoch
        return [
            replies.historical_update(
                self.req_id, bar, traded=traded, epoch=epoch, version=session.version
            )
            for bar in changed[-BARS_MISSED_MAX:]
        ]

    def _since_s(self) -> float:
        begins = self.last.begins
        if isinstance(begins, int):
            return float(begins)
        return midnight_s(begin_of(begins, self.query.size.period))


def _order(bar: Bar) -> str:
    """Return a text that sorts the bars of one size by time."""
    return str(bar.begins)


def cancel_historical_data(desk: Desk, session: Session, request: ById) -> None:
    """End updates; IB says so with an error, and has another one for a query it does not know."""
    req_id = request.req_id
    if session.subscriptions.pop((HISTORY, req_id), None) is None:
        refused = Refused(366, f"No historical data query found for ticker id:{req_id}")
    else:
        refused = service_error(f"API historical data query cancelled: {req_id}")
    refuse(desk, session, req_id, refused)


# ---------------------------------------------------------------------- bars of five seconds


@dataclass(slots=True)
class LiveBars:
    """Bars of five seconds, each sent when it is over; `next_s` is where the next one begins."""

    req_id: int
    instrument: Instrument
    side: Side
    next_s: int

    def sample(self, desk: Desk, _session: Session) -> Iterable[Fields]:
        """Return the bars that ended since the last sample."""
        timeline = desk.world.timeline()
        end_s = int(timeline.now_s) // REAL_TIME_BAR_S * REAL_TIME_BAR_S
        oldest_s = end_s - BARS_MISSED_MAX * REAL_TIME_BAR_S
        begin_s, self.next_s = max(self.next_s, oldest_s), end_s
        if begin_s >= end_s:
            return ()
        tape = tape_of(desk.world, timeline, self.instrument, begin_s)
        bars = intraday(timeline, tape, self.side, REAL_TIME_BAR_S, begin_s, end_s)
        traded = self.side is Side.TRADES
        return [
            replies.real_time_bar(self.req_id, bar.begins, bar.piece, traded=traded)
            for bar in bars
            if isinstance(bar.begins, int)
        ]


def real_time_bars(desk: Desk, session: Session, request: RealTimeBars) -> None:
    """Begin to send bars of five seconds."""
    world, key = desk.world, (REAL_TIME_BARS, request.req_id)
    instrument = world.samples.find(request.contract)
    if request.what.upper() not in LIVE_WHATS:
        refuse(
            desk, session, request.req_id, invalid("What to show field is missing or incorrect.")
        )
    elif instrument is None:
        session.error(request.req_id, 200, not_found(world, request.contract), world.now())
    elif key in session.subscriptions:
        text = "Error processing request.-'bQ' : cause - Duplicate ticker id"
        session.error(request.req_id, 322, text, world.now())
    elif text := unsubscribed(desk, instrument):
        session.error(request.req_id, 420, f"Invalid Real-time Query:{text}", world.now())
    else:
        next_s = int(world.timeline().now_s) // REAL_TIME_BAR_S * REAL_TIME_BAR_S
        side = SIDES[What(request.what.upper())]
        session.subscriptions[key] = LiveBars(request.req_id, instrument, side, next_s)


def cancel_real_time_bars(desk: Desk, session: Session, request: ById) -> None:
    """End the bars of five seconds."""
    if session.subscriptions.pop((REAL_TIME_BARS, request.req_id), None) is None:
        text = f"Can't find EId with tickerId:{request.req_id}"
        session.error(request.req_id, 300, text, desk.world.now())


# ---------------------------------------------------------------------- what there is


def head_timestamp(desk: Desk, session: Session, request: HeadTimestamp) -> None:
    """Answer reqHeadTimeStamp with the open of the first session there is."""
    world, req_id = desk.world, request.req_id
    instrument, what = world.samples.find(request.contract), request.what.upper()
    if what not in What.__members__:
        refused = invalid(f"What to show value of {request.what[:40]} rejected.")
        refuse(desk, session, req_id, refused)
    elif request.format_date not in {1, 2}:
        refused = invalid(f"Date formatting selection of {request.format_date} rejected.")
        refuse(desk, session, req_id, refused)
    elif instrument is None:
        session.error(req_id, 200, not_found(world, request.contract), world.now())
    else:
        timeline = world.timeline()
        first = first_day(timeline, tape_of(world, timeline, instrument))
        if first is None or What(what) not in {*SIDES, *PRICED}:
            refuse(desk, session, req_id, no_data(request.contract, instrument, what))
            return
        begins = datetime.fromtimestamp(first.begins_s, UTC)
        epoch = request.format_date == 2
        session.send(replies.head_timestamp(req_id, begins, epoch=epoch))


def histogram_data(desk: Desk, session: Session, request: HistogramData) -> None:
    """Answer reqHistogramData: the shares traded by price, minute by minute."""
    world, req_id = desk.world, request.req_id
    query = read_period(request.period)
    instrument = world.samples.find(request.contract)
    if isinstance(query, Refused):
        refuse(desk, session, req_id, query)
        return
    if instrument is None:
        session.error(req_id, 200, not_found(world, request.contract), world.now())
        return
    timeline, sizes = world.timeline(), Counter[Decimal]()
    for bar in bars_of(query, timeline, tape_of(world, timeline, instrument)):
        sizes[bar.piece.close] += bar.piece.volume
    session.send(replies.histogram_data(req_id, sorted(sizes.items())))


def ignored(_desk: Desk, _session: Session, _request: ById) -> None:
    """Accept a cancellation in silence: the answer was given at once."""


HANDLERS: Handlers = {
    HistoricalData: historical_data,
    RealTimeBars: real_time_bars,
    HeadTimestamp: head_timestamp,
    HistogramData: histogram_data,
    "cancel_historical_data": cancel_historical_data,
    "cancel_real_time_bars": cancel_real_time_bars,
    "cancel_head_timestamp": ignored,
    "cancel_histogram_data": ignored,
}
