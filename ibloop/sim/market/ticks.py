"""Single ticks of the past: every change that somebody who watched each sample would have seen.

Pure. The ticks are read off the quotes of past samples, those that clients were shown; our own
executions are trades like any other.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from ibloop.sim.market.tape import Print, Tape
from ibloop.sim.market.timeline import Span, Timeline
from ibloop.sim.model import Quote

# How many past samples an answer looks at: an hour and a half of them, a fifth of a second's work.
SAMPLES_MAX = 20_000


class TickKind(StrEnum):
    """What ticks are of."""

    TRADES = "TRADES"
    BID_ASK = "BID_ASK"
    MIDPOINT = "MIDPOINT"


@dataclass(frozen=True, slots=True)
class Tick:
    """A price (bid and ask: two) with its size in shares, at a time in seconds since 1970."""

    at_s: float
    prices: tuple[Decimal, ...]
    sizes: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """The samples of a timeline: which one is now, and how long one lasts."""

    timeline: Timeline
    sample: int
    sample_s: float


def tick_of(quote: Quote, kind: TickKind, at_s: float) -> Tick:
    """Return what a tick of this kind says of a quote."""
    if kind is TickKind.TRADES:
        return Tick(at_s, (quote.last,), (quote.last_size,))
    if kind is TickKind.BID_ASK:
        return Tick(at_s, (quote.bid, quote.ask), (quote.bid_size, quote.ask_size))
    return Tick(at_s, ((quote.bid + quote.ask) / 2,), ())


def with_prints(ticks: Sequence[Tick], prints: Iterable[Print]) -> list[Tick]:
    """Return ticks and our own executions by time; of the same time the tick comes first."""
    own = [Tick(each.at_s, (each.price,), (each.shares,)) for each in prints]
    return sorted([*ticks, *own], key=lambda tick: tick.at_s)


def differs(tick: Tick, other: Tick | None, *, ignore_size: bool) -> bool:
    """Tell whether a tick says something else than the one before it."""
    if other is None or tick.prices != other.prices:
        return True
    return not ignore_size and tick.sizes != other.sizes


def ticks_before(
    sampling: Sampling, tape: Tape, kind: TickKind, end_s: float, count: int, *, ignore_size: bool
) -> list[Tick]:
    """Return the last so many ticks before a time, oldest first."""
    found: list[Tick] = []
    later: Tick | None = None
    for tick in _backwards(sampling, tape, kind, end_s):
        # A tick stands at the first sample of what it says.
        if later is not None and differs(later, tick, ignore_size=ignore_size):
            found.append(later)
            if len(found) == count:
                break
        later = tick
    else:
        found += [later] if later is not None else []
    found.reverse()
    if kind is not TickKind.TRADES:
        return found
    since_s = found[0].at_s if found else -math.inf
    return with_prints(found, tape.prints(since_s, end_s))[-count:]


def ticks_after(
    sampling: Sampling, tape: Tape, kind: TickKind, start_s: float, count: int, *, ignore_size: bool
) -> list[Tick]:
    """Return the first so many ticks from a time on, oldest first."""
    found: list[Tick] = []
    for tick in _forwards(sampling, tape, kind, start_s):
        if differs(tick, found[-1] if found else None, ignore_size=ignore_size):
            found.append(tick)
            if len(found) == count:
                break
    if kind is not TickKind.TRADES:
        return found
    until_s = found[-1].at_s if len(found) == count else math.inf
    return with_prints(found, tape.prints(start_s, until_s))[:count]


def _backwards(sampling: Sampling, tape: Tape, kind: TickKind, end_s: float) -> Iterator[Tick]:
    left = SAMPLES_MAX
    for span in sampling.timeline.spans():
        if left <= 0 or not tape.known(span.session):
            return
        first = max(_age(sampling, span.ends_s), _age(sampling, end_s))
        ages = range(first, min(_age(sampling, span.begins_s), first + left))
        left -= len(ages)
        yield from _read(sampling, tape, kind, span, ages)


def _forwards(sampling: Sampling, tape: Tape, kind: TickKind, start_s: float) -> Iterator[Tick]:
    spans = []
    for span in sampling.timeline.spans():
        if span.ends_s <= start_s or not tape.known(span.session):
            break
        spans.append(span)
    left = SAMPLES_MAX
    for span in reversed(spans):
        oldest = min(_age(sampling, span.begins_s), _age(sampling, start_s)) - 1
        newest = _age(sampling, span.ends_s)
        ages = range(oldest, max(newest - 1, oldest - left), -1)
        left -= len(ages)
        yield from _read(sampling, tape, kind, span, ages)


def _age(sampling: Sampling, at_s: float) -> int:
    """Return how many samples ago the last one before a time was, 0 for now and the future."""
    if at_s >= sampling.timeline.now_s:
        return 0
    # The second's millionth is for the rounding of large numbers.
    return math.floor((sampling.timeline.now_s - at_s) / sampling.sample_s + 1e-6) + 1


def _read(
    sampling: Sampling, tape: Tape, kind: TickKind, span: Span, ages: range
) -> Iterator[Tick]:
    for age in ages:
        at_s = sampling.timeline.now_s - age * sampling.sample_s
        quote = tape.quote(span, at_s, sampling.sample - age)
        if quote is not None:
            yield tick_of(quote, kind, at_s)
