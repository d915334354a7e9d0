"""The historical data service behind the desk: how often it may be asked, and what it answers."""

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice, takewhile

from ibloop.sim.market.bars import (
    DAY_TRADING_S,
    Bar,
    daily,
    intraday,
    longer,
    midnight_s,
    months_before,
    start_of_days,
    start_of_seconds,
)
from ibloop.sim.market.hours import new_york_date
from ibloop.sim.market.tape import Piece, Print, Side, Tape
from ibloop.sim.market.timeline import Day, Timeline
from ibloop.sim.model import Instrument
from ibloop.sim.protocol.barquery import BarQuery, Duration, Period, Unit, What
from ibloop.sim.world import World

# Limits of IB on bars of 30 seconds or less, "Historical Data Limitations".
SMALL_BAR_S_MAX = 30
IDENTICAL_S, BURST_S, WINDOW_S = 15.0, 2.0, 600.0
BURST_MAX, WINDOW_MAX = 5, 60
# As far back as a date can be asked for.
FIRST_DATE = date(1900, 1, 1)
SIDES = {
    What.TRADES: Side.TRADES,
    What.ADJUSTED_LAST: Side.TRADES,
    What.BID: Side.BID,
    What.ASK: Side.ASK,
    What.MIDPOINT: Side.MIDPOINT,
}


@dataclass(slots=True)
class HistoricalPace:
    """Remember the queries for small bars of the last ten minutes, by monotonic seconds."""

    asked: deque[tuple[float, Hashable, Hashable, int]] = field(default_factory=deque)

    def exceeded(self, now_s: float, query: Hashable, contract: Hashable, weight: int) -> bool:
        """Note a query, or tell that it comes too soon; `contract` is what it shares with others.

        No identical one within 15 s, fewer than six for the same contract, exchange and kind of
        data in 2 s, 60 in ten minutes, of which one for bid and ask counts as two.
        """
        while self.asked and self.asked[0][0] <= now_s - WINDOW_S:
            self.asked.popleft()
        identical = sum(q == query and at > now_s - IDENTICAL_S for at, q, _, _ in self.asked)
        burst = sum(c == contract and at > now_s - BURST_S for at, _, c, _ in self.asked)
        total = sum(each[3] for each in self.asked)
        if identical or burst + 1 > BURST_MAX or total + weight > WINDOW_MAX:
            return True
        self.asked.append((now_s, query, contract, weight))
        return False


# ---------------------------------------------------------------------- tapes


def prints_of(world: World, instrument: Instrument, since_s: float) -> list[Print]:
    """Return our own executions in an instrument since a time, oldest first."""
    prints = []
    for execution in reversed(world.broker.executions):
        at_s = execution.time.timestamp()
        if at_s < since_s:
            break
        if execution.con_id == instrument.con_id:
            prints.append(Print(at_s, execution.price, execution.shares))
    return sorted(prints, key=lambda each: each.at_s)


def tape_of(
    world: World, timeline: Timeline, instrument: Instrument, since_s: float = -math.inf
) -> Tape:
    """Return an instrument's past with our own executions since a time."""
    prints = prints_of(world, instrument, since_s)
    # What was fixed since the present sample began holds from there.
    offset_s = None if timeline.aligned else world.offset_s
    pins = world.chronicle.pins(instrument.con_id, timeline.now_s, offset_s)
    return Tape(world.market, instrument, prints=prints, pins=pins)


# ---------------------------------------------------------------------- answers


def end_s_of(query: BarQuery, timeline: Timeline) -> float:
    """Return the time before which bars begin: infinity for a query that ends now or later."""
    end_s = query.end.timestamp() if query.end else math.inf
    return end_s if end_s < timeline.now_s else math.inf


def start_s_of(query: BarQuery, timeline: Timeline, tape: Tape) -> float:
    """Return where a query begins, in seconds since 1970."""
    duration, end_s = query.duration, end_s_of(query, timeline)
    if query.size.period is not Period.SECONDS:
        return midnight_s(first_date_of(query, timeline, tape))
    if duration.unit is Unit.SECONDS:
        return start_of_seconds(timeline, tape, end_s, duration.count)
    if duration.unit is Unit.DAYS:
        return start_of_days(timeline, tape, end_s, duration.count)
    return midnight_s(first_date_of(query, timeline, tape))


def first_date_of(query: BarQuery, timeline: Timeline, tape: Tape) -> date:
    """Return the first date of a query for bars of days or longer, which are always whole."""
    duration, end_s = query.duration, end_s_of(query, timeline)
    end = new_york_date(datetime.fromtimestamp(min(end_s, timeline.now_s), UTC))
    if duration.unit in {Unit.SECONDS, Unit.DAYS}:
        seconds = duration.unit is Unit.SECONDS
        count = math.ceil(duration.count / DAY_TRADING_S) if seconds else duration.count
        known = takewhile(lambda day: tape.known(day.session), timeline.days())
        begun = (day.date for day in known if day.begins_s < end_s)
        first = min(islice(begun, count), default=end)
    else:
        first = _back(end, duration) + timedelta(days=1)
    return begin_of(first, query.size.period)


def begin_of(day: date, period: Period) -> date:
    """Return the first date of the week or month a date lies in; of other periods the date."""
    if period is Period.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period is Period.MONTH else day


def _back(end: date, duration: Duration) -> date:
    try:
        if duration.unit is Unit.WEEKS:
            return end - timedelta(weeks=duration.count)
        months = duration.count * (12 if duration.unit is Unit.YEARS else 1)
        return months_before(end, months)
    except (ValueError, OverflowError):
        return FIRST_DATE


def bars_of(query: BarQuery, timeline: Timeline, tape: Tape) -> list[Bar]:
    """Return the bars a query asks for, oldest first."""
    start_s = start_s_of(query, timeline, tape)
    return bars_since(query, timeline, tape, start_s, end_s_of(query, timeline))


def bars_since(
    query: BarQuery, timeline: Timeline, tape: Tape, start_s: float, end_s: float = math.inf
) -> list[Bar]:
    """Return the bars of a query's kind that reach into a time, oldest first."""
    if query.what is not What.BID_ASK:
        return _bars(query, timeline, tape, SIDES[query.what], start_s, end_s)
    bids, asks = (
        _bars(query, timeline, tape, side, start_s, end_s) for side in (Side.BID, Side.ASK)
    )
    return [_both(bid, ask) for bid, ask in zip(bids, asks, strict=True)]


def _bars(
    query: BarQuery, timeline: Timeline, tape: Tape, side: Side, start_s: float, end_s: float
) -> list[Bar]:
    if query.size.period is Period.SECONDS:
        return intraday(timeline, tape, side, query.size.seconds, start_s, end_s)
    first = new_york_date(datetime.fromtimestamp(start_s, UTC))
    wanted = takewhile(lambda item: item[0] >= first, daily(timeline, tape, side, end_s))
    days = [*wanted][::-1]
    if query.size.period is Period.DAY:
        return [Bar(day, piece) for day, piece in days]
    return longer(days, months=query.size.period is Period.MONTH)


def _both(bid: Bar, ask: Bar) -> Bar:
    """Return IB's bar of both sides: average bid, highest ask, lowest bid, average ask."""
    high, low = ask.piece.high, bid.piece.low
    averages = (Decimal(str(round(bar.piece.average, 4))) for bar in (bid, ask))
    begin, end = (min(high, max(low, each)) for each in averages)
    return Bar(bid.begins, Piece(begin, high, low, end, 0, float(end)))


def sessions_of(query: BarQuery, timeline: Timeline, tape: Tape) -> list[Day]:
    """Return the sessions a query for the schedule asks for, oldest first."""
    first, end_s = first_date_of(query, timeline, tape), end_s_of(query, timeline)
    days = takewhile(lambda day: day.date >= first and tape.known(day.session), timeline.days())
    return [day for day in days if day.begins_s < end_s][::-1]


def first_day(timeline: Timeline, tape: Tape) -> Day | None:
    """Return the session with which an instrument's history begins, None without any."""
    known = takewhile(lambda day: tape.known(day.session), timeline.days())
    oldest = deque(known, maxlen=1)
    return oldest[0] if oldest else None
