"""Requests for single ticks: of the past, and tick by tick from now on."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ibloop.sim.market.tape import Print
from ibloop.sim.market.ticks import (
    Sampling,
    Tick,
    TickKind,
    differs,
    tick_of,
    ticks_after,
    ticks_before,
    with_prints,
)
from ibloop.sim.model import Instrument
from ibloop.sim.protocol.barquery import NO_ZONE, Given, Refused, invalid, read_time
from ibloop.sim.protocol.replies import tickbytick as replies
from ibloop.sim.protocol.requests.kinds import ById
from ibloop.sim.protocol.requests.tickbytick import HistoricalTicks, TickByTick
from ibloop.sim.protocol.wire import Fields
from ibloop.sim.service.desk import Desk, Handlers
from ibloop.sim.service.handlers.bars import no_data, refuse, unsubscribed
from ibloop.sim.service.handlers.contracts import not_found
from ibloop.sim.service.historical import tape_of
from ibloop.sim.service.session import Session

TICK_BY_TICK = "tick by tick"
# The limit of a login with up to 100 market data lines or a little more (IB: 5 % of them).
STREAMS_MAX = 5
TICKS_MAX = 1000
# The number of a type in message 97's answer, and what its ticks are of.
TYPES = {
    "Last": (1, TickKind.TRADES),
    "AllLast": (2, TickKind.TRADES),
    "BidAsk": (3, TickKind.BID_ASK),
    "MidPoint": (4, TickKind.MIDPOINT),
}


def sampling_of(desk: Desk) -> Sampling:
    """Return the samples of the past as clients saw them."""
    world = desk.world
    return Sampling(world.timeline(), world.moment().sample, world.sample_s)


# ---------------------------------------------------------------------- past ticks


def historical_ticks(desk: Desk, session: Session, request: HistoricalTicks) -> None:
    """Answer reqHistoricalTicks: those after the start, or those before the end."""
    world, req_id = desk.world, request.req_id
    given = [read_time(text, world.now()) for text in (request.start, request.end)]
    refused = next((each for each in given if isinstance(each, Refused)), None)
    start, end = (each if isinstance(each, Given) else Given(None) for each in given)
    refused = refused or _refuse(request, start, end)
    if refused:
        refuse(desk, session, req_id, refused)
        return
    instrument = world.samples.find(request.contract)
    if instrument is None:
        session.error(req_id, 200, not_found(world, request.contract), world.now())
        return
    if text := unsubscribed(desk, instrument):
        session.error(req_id, 10187, f"Failed to request historical ticks:{text}", world.now())
        return
    if not (start.zoned and end.zoned):
        session.error(req_id, 2174, NO_ZONE, world.now())
    kind = TickKind(request.what.upper())
    ticks = _past(desk, instrument, kind, request, start, end)
    if ticks:
        exchange = instrument.primary_exchange
        session.send(replies.historical_ticks(req_id, kind, ticks, exchange, session.version))
    else:
        refuse(desk, session, req_id, no_data(request.contract, instrument, kind))


def _refuse(request: HistoricalTicks, start: Given, end: Given) -> Refused | None:
    if (start.time is None) == (end.time is None):
        return invalid("Please specify one of start date or end date")
    if request.what.upper() not in TickKind.__members__:
        return invalid(f"What to show value of {request.what[:40]} rejected.")
    if not 0 < request.count <= TICKS_MAX:
        return invalid(f"Number of ticks must be between 1 and {TICKS_MAX}")
    return None


def _past(
    desk: Desk,
    instrument: Instrument,
    kind: TickKind,
    request: HistoricalTicks,
    start: Given,
    end: Given,
) -> list[Tick]:
    sampling = sampling_of(desk)
    tape = tape_of(desk.world, sampling.timeline, instrument)
    count, ignore_size = request.count, request.ignore_size
    if start.time:
        begin_s = start.time.timestamp()
        return ticks_after(sampling, tape, kind, begin_s, count, ignore_size=ignore_size)
    end_s = end.time.timestamp() if end.time else math.inf
    return ticks_before(sampling, tape, kind, end_s, count, ignore_size=ignore_size)


# ---------------------------------------------------------------------- tick by tick


@dataclass(slots=True)
class TickStream:
    """Every tick of one type: one for each sample in which it says something new.

    `told` counts the executions of the login that were there when it last looked.
    """

    req_id: int
    instrument: Instrument
    number: int
    kind: TickKind
    ignore_size: bool
    last: Tick | None
    told: int

    def sample(self, desk: Desk, session: Session) -> Iterable[Fields]:
        """Return the tick of this sample, if it differs from the one before, and our own trades."""
        ticks = self._new(desk)
        if self.kind is TickKind.TRADES:
            ticks = with_prints(ticks, self._prints(desk))
        exchange, version = self.instrument.primary_exchange, session.version
        return [
            replies.tick_by_tick(self.req_id, self.number, tick, exchange, version)
            for tick in ticks
        ]

    def _new(self, desk: Desk) -> list[Tick]:
        quote = desk.world.quote_of(self.instrument.con_id)
        if quote is None:
            return []
        tick = tick_of(quote, self.kind, desk.world.timeline().now_s)
        if not differs(tick, self.last, ignore_size=self.ignore_size):
            return []
        self.last = tick
        return [tick]

    def _prints(self, desk: Desk) -> list[Print]:
        executions = desk.world.broker.executions
        new, self.told = executions[self.told :], len(executions)
        return [
            Print(each.time.timestamp(), each.price, each.shares)
            for each in new
            if each.con_id == self.instrument.con_id
        ]


def tick_by_tick(desk: Desk, session: Session, request: TickByTick) -> None:
    """Begin a stream of ticks: first the past ones that are asked for, then each new one."""
    world, key = desk.world, (TICK_BY_TICK, request.req_id)
    instrument = world.samples.find(request.contract)
    refused = _refuse_stream(desk, session, request)
    if refused:
        refuse(desk, session, request.req_id, refused)
        return
    if instrument is None:
        session.error(request.req_id, 200, not_found(world, request.contract), world.now())
        return
    if text := unsubscribed(desk, instrument):
        text = f"Failed to request tick-by-tick data.{text}"
        session.error(request.req_id, 10189, text, world.now())
        return
    number, kind = TYPES[request.tick_type]
    ignore_size = request.ignore_size and kind is TickKind.BID_ASK
    told = len(world.broker.executions)
    stream = TickStream(request.req_id, instrument, number, kind, ignore_size, None, told)
    if request.count:
        sampling = sampling_of(desk)
        tape = tape_of(world, sampling.timeline, instrument)
        past = ticks_before(sampling, tape, kind, math.inf, request.count, ignore_size=ignore_size)
        exchange = instrument.primary_exchange
        session.send(
            replies.historical_ticks(request.req_id, kind, past, exchange, session.version)
        )
        stream.last = _shown(desk, stream) if past else None
    session.send(*stream.sample(desk, session))
    session.subscriptions[key] = stream


def _shown(desk: Desk, stream: TickStream) -> Tick | None:
    """Return the tick that the present sample would tell: the past ones have told it already."""
    quote = desk.world.quote_of(stream.instrument.con_id)
    return tick_of(quote, stream.kind, 0.0) if quote else None


def _refuse_stream(desk: Desk, session: Session, request: TickByTick) -> Refused | None:
    if request.tick_type not in TYPES:
        return invalid(f"Invalid tick type '{request.tick_type[:40]}'")
    if not 0 <= request.count <= TICKS_MAX:
        return invalid(f"Number of ticks must be between 0 and {TICKS_MAX}")
    if (TICK_BY_TICK, request.req_id) in session.subscriptions:
        return Refused(322, "Error processing request.-'bR' : cause - Duplicate ticker id")
    open_streams = sum(
        kind == TICK_BY_TICK for each in desk.clients.values() for kind, _ in each.subscriptions
    )
    if open_streams >= STREAMS_MAX:
        return Refused(10190, "Max number of tick-by-tick requests has been reached.")
    return None


def cancel_tick_by_tick(desk: Desk, session: Session, request: ById) -> None:
    """End a stream of ticks."""
    if session.subscriptions.pop((TICK_BY_TICK, request.req_id), None) is None:
        text = f"Can't find EId with tickerId:{request.req_id}"
        session.error(request.req_id, 300, text, desk.world.now())


HANDLERS: Handlers = {
    HistoricalTicks: historical_ticks,
    TickByTick: tick_by_tick,
    "cancel_tick_by_tick": cancel_tick_by_tick,
}
