"""One market data line: what state it is in, when to ask about its silence, when to order it anew.

A line that says nothing is either true (nobody trades) or dead, and looks the same. So a silent
one is asked about by snapshot before it is judged: an answer that agrees proves the price still
stands, an answer that differs or fails to come proves that the line carries nothing.

Times are CLOCK_BOOTTIME in nanoseconds of this process's boot: only differences matter here.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final

from ibloop.core.model import Instrument
from ibloop.core.quotes import TickState

NS: Final = 1_000_000_000

SUSPECT_S = 1.0
"""IB samples ticks every 250 ms: a snapshot may be a little ahead of the line it is held to."""

CALM_S = 60.0
"""A line that was well for this long begins its backoff anew."""

REORDER_S_MIN, REORDER_S_MAX = 2.0, 300.0
REFUSED_S_MIN, REFUSED_S_MAX = 30.0, 600.0
REFRESH_S = 10.0
"""How often the price of a line that carries nothing is asked for one by one."""

FAVOURITE_RATE_MIN = 0.2
FAVOURITE_SILENCE_S_MIN = 3.0
FAVOURITE_GAPS = 10
"""The symbol that ticks most is asked about after ten of its usual gaps, at least three seconds:
if ticks came at random, so long a gap would be chance once in 20,000."""

RATE_MEMORY_S = 30.0

ORDERS_PER_S = 40.0
"""How fast lines are closed and opened, of the 50 messages a second that a gateway takes."""

FEED_GRACE_S = 6.0
"""A snapshot is given up after 5 s: by then one would have confirmed some line of a live feed."""

SPARE_LINES_MAX = 5

DEFERRED_S_MAX = 30.0
"""A silent line that cannot be asked about for so long is ordered anew: that needs no other."""

CODE_NO_SECURITY = 200
CODE_LINE_LIMIT = 101
CODE_COMPETING = 10197

NO_SNAPSHOT = "silent, and no snapshot came"
NO_LINE_TO_ASK = "silent, and no line was free to ask about it"
MISSED = "silent, while a snapshot says otherwise"


class LineState(StrEnum):
    """How a line is."""

    ASKED = "asked"  # ordered, nothing has come yet
    LIVE = "live"  # it ticks
    PROBING = "probing"  # silent: a snapshot has been asked for
    QUIET = "quiet"  # silent, and a snapshot said the same: nobody trades
    SUSPECT = "suspect"  # silent, and a snapshot said otherwise: a tick may be on its way
    DEGRADED = "degraded"  # carries nothing: refreshed by snapshot or history, ordered anew
    REFUSED = "refused"  # the gateway refuses it: ordered anew later


class LineEvent(StrEnum):
    """What happens to a line."""

    ORDERED = "ordered"  # asked of the gateway, with nothing known
    TICKED = "ticked"
    SILENT = "silent"  # for longer than its state allows
    CONFIRMED = "confirmed"  # a snapshot agrees with what the line said last
    CONTRADICTED = "contradicted"  # a snapshot knows otherwise
    UNANSWERED = "unanswered"  # a snapshot was refused or did not come
    DEFERRED = "deferred"  # there was no room for the question: nothing is known, ask again
    BLOCKED = "blocked"  # the gateway says that it carries nothing for now
    REFUSED = "refused"  # the gateway says that there is no such line


def _table() -> dict[tuple[LineState, LineEvent], LineState]:
    state, event = LineState, LineEvent
    table: dict[tuple[LineState, LineEvent], LineState] = {}
    for old in state:
        table |= {
            (old, event.ORDERED): state.ASKED,
            (old, event.TICKED): state.LIVE,
            # A snapshot that comes for a line no longer asked about says nothing about it.
            (old, event.CONFIRMED): old,
            (old, event.CONTRADICTED): old,
            (old, event.UNANSWERED): old,
            (old, event.DEFERRED): old,
            (old, event.BLOCKED): state.REFUSED if old is state.REFUSED else state.DEGRADED,
            (old, event.REFUSED): state.REFUSED,
        }
    return table | {
        (state.ASKED, event.SILENT): state.PROBING,
        (state.LIVE, event.SILENT): state.PROBING,
        (state.QUIET, event.SILENT): state.PROBING,
        (state.PROBING, event.CONFIRMED): state.QUIET,
        (state.PROBING, event.CONTRADICTED): state.SUSPECT,
        (state.PROBING, event.UNANSWERED): state.DEGRADED,
        (state.PROBING, event.DEFERRED): state.ASKED,
        (state.SUSPECT, event.SILENT): state.DEGRADED,
    }


LINE_TRANSITIONS: Final = _table()
"""What follows; what is not in it cannot happen, and raises KeyError."""

CARRIES_NOTHING: Final = frozenset({LineState.DEGRADED, LineState.REFUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRecord:
    """What is known of one line.

    ``since_ns``: when it came into its state. ``ordered_ns``: when it was last ordered.
    ``refreshed_ns``: when its price was last asked for otherwise; 0 = never. ``attempts``: how
    often in a row it has failed. ``reason``, ``code``: why it is not well, IB's code or 0.
    """

    instrument: Instrument
    state: LineState
    since_ns: int
    ordered_ns: int
    refreshed_ns: int = 0
    attempts: int = 0
    reason: str = ""
    code: int = 0


def ordered(instrument: Instrument, now_ns: int) -> LineRecord:
    """Return the record of a line that has just been asked of the gateway for the first time."""
    return LineRecord(
        instrument=instrument, state=LineState.ASKED, since_ns=now_ns, ordered_ns=now_ns
    )


def advance(
    line: LineRecord, event: LineEvent, now_ns: int, reason: str = "", code: int = 0
) -> LineRecord:
    """Return the line after an event; the same object when nothing changed.

    ``reason`` and ``code`` say why it failed, where it does. They stay until it is well again, also
    while it is ordered anew. Raises: KeyError for an event the table does not know.
    """
    state = LINE_TRANSITIONS[line.state, event]
    ordered_ns = now_ns if event is LineEvent.ORDERED else line.ordered_ns
    if state is line.state and event is not LineEvent.ORDERED:
        told = state in CARRIES_NOTHING and reason and (reason, code) != (line.reason, line.code)
        return replace(line, reason=reason, code=code) if told else line
    attempts = line.attempts
    if state in CARRIES_NOTHING and line.state not in CARRIES_NOTHING:
        was_calm = line.state is LineState.LIVE and now_ns - line.since_ns >= CALM_S * NS
        attempts = 1 if was_calm or line.state is LineState.QUIET else attempts + 1
    elif state is LineState.REFUSED:
        attempts += 1
    if state in CARRIES_NOTHING:
        reason = reason or NO_SNAPSHOT
    elif state in {LineState.LIVE, LineState.QUIET}:
        reason, code = "", 0
    else:
        reason, code = line.reason, line.code
    return replace(
        line,
        state=state,
        since_ns=now_ns,
        ordered_ns=ordered_ns,
        attempts=attempts,
        reason=reason,
        code=code,
    )


def is_dead(line: LineRecord) -> bool:
    """Return whether the line has carried nothing since it failed, ordered anew or not."""
    return bool(line.reason) and line.code in {0, CODE_COMPETING}


def is_refused(line: LineRecord) -> bool:
    """Return whether the gateway refused the line when it was last asked and has answered."""
    return bool(line.reason) and line.code not in {0, CODE_COMPETING}


def is_silent(
    line: LineRecord, heard_ns: int, now_ns: int, patience_s: float, opened_ns: int
) -> bool:
    """Return whether the line has been silent for longer than its state allows.

    Args: ``heard_ns``, when the last tick came or a snapshot confirmed it, 0 = never;
    ``patience_s``, how long it may be silent; ``opened_ns``, when the session opened for us.
    """
    match line.state:
        case LineState.ASKED:
            begun_ns = line.ordered_ns
        case LineState.LIVE | LineState.QUIET:
            begun_ns = heard_ns
        case LineState.SUSPECT:
            return now_ns - line.since_ns >= SUSPECT_S * NS
        case _:
            return False
    return now_ns - max(begun_ns, opened_ns) >= patience_s * NS


def pause_s(line: LineRecord) -> float:
    """Return the seconds from the failure of a line until it is ordered anew; inf when it is well.

    Doubled with each failure in a row: from 2 s to 5 minutes for a dead line, from 30 s to 10
    minutes for a refused one.
    """
    factor = float(2 ** min(max(line.attempts - 1, 0), 10))
    if line.state is LineState.DEGRADED:
        return min(REORDER_S_MAX, REORDER_S_MIN * factor)
    if line.state is LineState.REFUSED:
        return min(REFUSED_S_MAX, REFUSED_S_MIN * factor)
    return math.inf


def is_due(line: LineRecord, now_ns: int) -> bool:
    """Return whether the line is to be ordered anew."""
    return now_ns - line.since_ns >= pause_s(line) * NS


def needs_refresh(line: LineRecord, now_ns: int) -> bool:
    """Return whether the price of a line that has failed is to be asked for one by one.

    Not of a contract that IB does not know: no question about it has an answer.
    """
    if not line.reason or line.code == CODE_NO_SECURITY or line.state is LineState.PROBING:
        return False
    return line.refreshed_ns == 0 or now_ns - line.refreshed_ns >= REFRESH_S * NS


def agrees(line: TickState | None, snapshot: TickState) -> bool:
    """Return whether a snapshot says of bid and ask what the line said last.

    A line that has said nothing agrees with nothing.
    """
    return line is not None and (line.bid, line.ask) == (snapshot.bid, snapshot.ask)


def is_blank(state: TickState) -> bool:
    """Return whether a state has no price at all: it shows no feed, and is no news of a symbol.

    A halt or a time alone proves nothing of the prices, nor does a gateway's "no quote".
    """
    return state.bid is state.ask is state.last is state.close is None


def with_close(snapshot: TickState, line: TickState | None) -> TickState:
    """Return a snapshot with the prior close of the line where it leaves it out."""
    if line is None or snapshot.close is not None:
        return snapshot
    return replace(snapshot, close=line.close)


def with_halt(state: TickState, halted: Collection[str]) -> TickState:
    """Return a state that says nothing of a halt with the halt that was told before.

    Args: ``halted``, the symbols that were last said to be halted, by whatever line or snapshot: a
    halted symbol is silent, what is asked of it need not repeat the halt, and must not lift it.
    """
    if state.halted is None and state.symbol in halted:
        return replace(state, halted=True)
    return state


def untold(
    records: Iterable[LineRecord],
    last_tick_ns: int,
    heard_ns: int,
    now_ns: int,
    silence_s: float,
    opened_ns: int,
) -> list[LineRecord]:
    """Return the lines that are dead because the whole feed is; empty while it may live.

    It is dead when no line has told anything since the first was ordered, for so long that all
    are open (a new line tells at once what is known, also of a symbol that nobody trades), or
    when a line is dead and no other has ticked or been confirmed by a snapshot for too long.
    Args: when a line ticked last, and when one ticked or was confirmed last, 0 = never.
    """
    alive = [line for line in records if not is_refused(line)]
    if not alive:
        return []
    patience_ns = int((silence_s + len(alive) / ORDERS_PER_S) * NS)
    ordered_ns = min(line.ordered_ns for line in alive)
    never = last_tick_ns < ordered_ns and now_ns - max(ordered_ns, opened_ns) >= patience_ns
    mute_ns = now_ns - max(heard_ns, opened_ns)
    if not never and not (
        any(is_dead(line) for line in alive) and mute_ns >= (silence_s + FEED_GRACE_S) * NS
    ):
        return []
    return [
        line
        for line in alive
        if line.state not in CARRIES_NOTHING and now_ns - line.ordered_ns >= patience_ns
    ]


def shape(bid: Decimal | None, ask: Decimal | None) -> str | None:
    """Return ``crossed`` for a bid above the ask, ``locked`` for equal ones, else None."""
    if bid is None or ask is None or bid < ask:
        return None
    return "crossed" if bid > ask else "locked"


# --- which lines ------------------------------------------------------------------------------


def choose_lines(
    wanted: Iterable[Instrument], lines_max: int, is_nameable: Callable[[str], bool], why: str
) -> tuple[dict[str, Instrument], dict[str, str]]:
    """Return the instruments to subscribe by symbol, and what is left out with the reason.

    The first ``lines_max`` different symbols in the order given; ``why`` says where that number
    comes from. A symbol that cannot have a file takes no line.
    """
    lines: dict[str, Instrument] = {}
    left_out: dict[str, str] = {}
    for instrument in wanted:
        symbol = instrument.symbol
        if symbol in lines or symbol in left_out:
            continue
        if not is_nameable(symbol):
            left_out[symbol] = "its name cannot be a file's name"
        elif len(lines) >= lines_max:
            left_out[symbol] = f"all {lines_max} market data lines are taken ({why})"
        else:
            lines[symbol] = instrument
    return lines, left_out


def spare_lines(lines: int) -> int:
    """Return how many of so many lines to keep for snapshots: a twentieth, one at least."""
    return min(SPARE_LINES_MAX, max(1, lines // 20))


# --- which one ticks most ---------------------------------------------------------------------


def new_rates(
    rates: Mapping[str, float], counts: Mapping[str, int], seconds: float
) -> dict[str, float]:
    """Return ticks a second by symbol, remembered for about half a minute.

    Args: the rates before; how many ticks came in the last ``seconds``. Do not call it for a time
    in which nothing ticked at all: what was usual would be forgotten just when it is needed.
    """
    kept = math.exp(-seconds / RATE_MEMORY_S)
    return {
        symbol: kept * rates.get(symbol, 0.0) + (1 - kept) * counts.get(symbol, 0) / seconds
        for symbol in {*rates, *counts}
    }


def favourite(rates: Mapping[str, float], among: Sequence[str]) -> str | None:
    """Return the symbol among these that has ticked most lately; None when none ticks often."""
    best = max(among, key=lambda symbol: rates.get(symbol, 0.0), default=None)
    return best if best is not None and rates.get(best, 0.0) >= FAVOURITE_RATE_MIN else None


def patience_s(rate: float, silence_s: float) -> float:
    """Return how long the symbol that ticks most may be silent before it is asked about."""
    return min(silence_s, max(FAVOURITE_SILENCE_S_MIN, FAVOURITE_GAPS / rate))
