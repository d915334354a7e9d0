"""Bars: what a tape says, cut into minutes, hours, days, weeks or months.

Pure. Bars shorter than a day are cut by the clock of New York and named by the time they begin
(the first long bar of a trading day by that day's open, as IB does); days are sessions, named by
their date; weeks and months are named by their last session's date. A bar always holds the same
values, whichever request it answers; only the one that is still growing changes.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from itertools import groupby

from ibloop.sim.market.tape import Piece, Side, Tape
from ibloop.sim.market.timeline import Span, Timeline
from ibloop.sim.model import NEW_YORK

HOUR_S = 3600
DAY_TRADING_S = 23_400


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: when it begins (seconds since 1970, or a date), and its prices and volume."""

    begins: int | date
    piece: Piece


# ---------------------------------------------------------------------- how far back


def start_of_seconds(timeline: Timeline, tape: Tape, end_s: float, seconds: float) -> float:
    """Return the time from which on there were so many seconds of trading before `end_s`."""
    start_s = end_s
    for span in _known_spans(timeline, tape):
        lasts_s = min(span.ends_s, end_s) - span.begins_s
        if lasts_s <= 0:
            continue
        start_s = span.begins_s
        if lasts_s >= seconds:
            return min(span.ends_s, end_s) - seconds
        seconds -= lasts_s
    return start_s


def start_of_days(timeline: Timeline, tape: Tape, end_s: float, days: int) -> float:
    """Return where the last so many days before a time began.

    On the exchange a day begins with its session; in a market that never closes it is 6.5 hours.
    """
    if not timeline.aligned:
        return start_of_seconds(timeline, tape, end_s, days * DAY_TRADING_S)
    start_s = end_s
    begun = (span for span in _known_spans(timeline, tape) if span.begins_s < end_s)
    for _, span in zip(range(days), begun, strict=False):
        start_s = span.begins_s
    return start_s


def months_before(day: date, months: int) -> date:
    """Return the same day so many months earlier, or the last day of a shorter month."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    following = date(year + (month == 11), (month + 1) % 12 + 1, 1)
    return date(year, month + 1, min(day.day, (following - timedelta(days=1)).day))


def midnight_s(day: date) -> float:
    """Return when a date begins in New York."""
    return datetime(day.year, day.month, day.day, tzinfo=NEW_YORK).timestamp()


# ---------------------------------------------------------------------- bars within a day


def intraday(
    timeline: Timeline, tape: Tape, side: Side, size_s: int, start_s: float, end_s: float
) -> list[Bar]:
    """Return the bars that begin before `end_s` and end after `start_s`, oldest first."""
    spans = [*_spans_since(timeline, tape, start_s - size_s)]
    # By the time their clock interval begins: a span may end and the next begin within one.
    pieces: dict[int, tuple[int, Piece]] = {}
    for span in reversed(spans):
        cuts = [at for at in _cuts(span, size_s) if at + size_s > start_s and at < end_s]
        if not cuts:
            continue
        inner = [float(at) for at in cuts[1:]]
        edges = [max(cuts[0], span.begins_s), *inner, min(cuts[-1] + size_s, span.ends_s)]
        for begins_s, piece in zip(cuts, _pieces(tape, span, edges, side), strict=False):
            name_s, earlier = pieces.get(begins_s, (_name(span, begins_s, size_s), None))
            pieces[begins_s] = (name_s, earlier.then(piece) if earlier else piece)
    bars = []
    for begins_s, (name_s, piece) in pieces.items():
        prints = tape.prints(begins_s, begins_s + size_s) if side is Side.TRADES else ()
        bars.append(Bar(name_s, piece.with_prints(prints)))
    return bars


def _known_spans(timeline: Timeline, tape: Tape) -> Iterator[Span]:
    for span in timeline.spans():
        if not tape.known(span.session):
            return
        yield span


def _spans_since(timeline: Timeline, tape: Tape, start_s: float) -> Iterator[Span]:
    for span in _known_spans(timeline, tape):
        if span.ends_s <= start_s:
            return
        yield span


def _cuts(span: Span, size_s: int) -> Iterable[int]:
    """Return where the clock begins the bars that a span lies in."""
    local = datetime.fromtimestamp(span.begins_s, UTC).astimezone(NEW_YORK)
    offset = local.utcoffset() or timedelta()
    shift_s = int(offset.total_seconds())
    first = int(span.begins_s + shift_s) // size_s * size_s - shift_s
    return range(first, max(first + 1, -int(-span.ends_s // 1)), size_s)


def _pieces(tape: Tape, span: Span, edges: list[float], side: Side) -> list[Piece]:
    """Return what happened between times of a span; of a session in one bar without its path."""
    if edges == [span.begins_s, span.ends_s] and _is_whole([span]) and not tape.disturbed(span):
        whole = tape.whole(span.session, side)
        return [whole] if whole else []
    return tape.pieces(span, edges, side)


def _is_whole(spans: list[Span]) -> bool:
    """Tell whether spans of one session, newest first, are all of it."""
    return spans[-1].from_s == 0 and spans[0].to_s >= DAY_TRADING_S


def _name(span: Span, begins_s: int, size_s: int) -> int:
    if span.regular and size_s >= HOUR_S:
        return max(begins_s, int(span.begins_s))
    return begins_s


# ---------------------------------------------------------------------- days and longer


def daily(
    timeline: Timeline, tape: Tape, side: Side, end_s: float = math.inf
) -> Iterator[tuple[date, Piece]]:
    """Return the date and prices of each session that began before a time, newest first."""
    # Both lists number the sessions down from the same one.
    played = groupby(timeline.spans(), lambda span: span.session)
    for day, (_, spans) in zip(timeline.days(), played, strict=False):
        if not tape.known(day.session):
            return
        piece = _session(tape, [*spans], side, timeline.now_s) if day.begins_s < end_s else None
        if piece is not None:
            yield day.date, piece


def _session(tape: Tape, spans: list[Span], side: Side, now_s: float) -> Piece | None:
    """Return what one session's spans, newest first, did to a price."""
    if _is_whole(spans) and not any(tape.disturbed(span) for span in spans):
        return tape.whole(spans[0].session, side)
    result: Piece | None = None
    for span in reversed(spans):
        # What was traded since the present sample began belongs to it.
        until_s = span.ends_s if span.ends_s < now_s else math.inf
        for piece in tape.pieces(span, [span.begins_s, span.ends_s], side):
            prints = tape.prints(span.begins_s, until_s) if side is Side.TRADES else ()
            printed = piece.with_prints(prints)
            result = result.then(printed) if result else printed
    return result


def longer(days: Iterable[tuple[date, Piece]], *, months: bool) -> list[Bar]:
    """Return daily prices, oldest first, as weeks or months."""

    def period(item: tuple[date, Piece]) -> tuple[int, int]:
        day = item[0]
        return (day.year, day.month) if months else day.isocalendar()[:2]

    bars: list[Bar] = []
    for _, group in groupby(days, period):
        days_of, pieces = zip(*group, strict=True)
        bars.append(Bar(days_of[-1], reduce(Piece.then, pieces)))
    return bars
