"""The stream as a whole: what the gateway's notices mean, and from that how the stream is.

One table of states, one function that looks at the facts. What a single line is like, and what
to do about it, is in :mod:`ibloop.core.lines`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ibloop.core.lines import CODE_COMPETING, CODE_LINE_LIMIT, NS, ORDERS_PER_S
from ibloop.core.model import QuoteSource
from ibloop.core.quotes import TickState

PROOF_AGE_S_MAX = 10.0
FARM_GRACE_S = 2.0
"""Ticks that come this long after a notice that a data farm is broken are not of that farm; after
one that the gateway has lost IB, it has found it again."""

IB_ANSWER_S = 6.0
"""A question is given up after 5 s: an answer this long after a loss of IB was asked after it."""

IB_SILENCE_S = 10.0
"""How long after the last word that IB is lost, and how often, a price is asked for to see."""

CODE_PACED = 100
PACED_S = 600.0
"""For how long error 100 keeps us slow: its limit need not be ours alone, nor stay."""

PACED_FACTOR = 4.0
ORDERS_PER_S_MIN = 2.5

NAMES_SHOWN = 5


class StreamStatus(StrEnum):
    """How the stream of quotes is, as ``_status.json`` says it."""

    STARTING = "starting"
    CONNECTED = "connected"
    DEGRADED = "degraded"
    DISCONNECTED = "disconnected"
    STOPPED = "stopped"


class StreamEvent(StrEnum):
    """What a look at the facts finds."""

    WAITING = "waiting"  # not connected, and no attempt has ended yet
    ABSENT = "absent"  # not connected
    SOUND = "sound"
    TROUBLED = "troubled"  # connected, but the prices are not all they should be
    ENDED = "ended"  # asked to stop, or failed


_LOOKS: Final = {
    StreamEvent.ABSENT: StreamStatus.DISCONNECTED,
    StreamEvent.SOUND: StreamStatus.CONNECTED,
    StreamEvent.TROUBLED: StreamStatus.DEGRADED,
    StreamEvent.ENDED: StreamStatus.STOPPED,
}
STREAM_TRANSITIONS: Final[Mapping[tuple[StreamStatus, StreamEvent], StreamStatus]] = {
    (StreamStatus.STARTING, StreamEvent.WAITING): StreamStatus.STARTING,
    **{
        (old, event): new
        for old in StreamStatus
        if old is not StreamStatus.STOPPED
        for event, new in _LOOKS.items()
    },
}
"""What follows. A stopped stream stays so, and nothing begins again: another process starts."""


def next_status(status: StreamStatus, event: StreamEvent) -> StreamStatus:
    """Return the status after a look. Raises: KeyError for a look the table does not know."""
    return STREAM_TRANSITIONS[status, event]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a look at the stream sees.

    ``proof_age_s``: seconds since the gateway last answered a round trip. ``ib_lost``: what 1100
    said, until 1101, 1102 or data. ``farms_down``: market data farms broken and not shown alive by
    ticks. ``blocked``: symbols another session takes the data of. ``delayed``: symbols without
    live data. ``dead``: symbols whose line carries nothing, ``refused`` ones not counted, of
    ``lines`` in all. ``favourite``: the symbol that ticks most. ``unwritten``: what kept the last
    file from being written.
    """

    connected: bool
    attempted: bool
    proof_age_s: float
    ib_lost: str = ""
    farms_down: Sequence[str] = ()
    blocked: Sequence[str] = ()
    delayed: Sequence[str] = ()
    dead: Sequence[str] = ()
    refused: Sequence[str] = ()
    lines: int = 0
    favourite: str | None = None
    unwritten: str = ""


def look(facts: Facts) -> tuple[StreamEvent, str]:
    """Return what the facts amount to, and in words why, where that is not well."""
    if not facts.connected:
        return (StreamEvent.ABSENT if facts.attempted else StreamEvent.WAITING), ""
    reason = next((told for told in _troubles(facts) if told), "")
    return (StreamEvent.TROUBLED if reason else StreamEvent.SOUND), reason


def _troubles(facts: Facts) -> Sequence[str]:
    """Return what is wrong, the most telling first; empty texts where it is not."""
    proof = f"the gateway has not answered for {facts.proof_age_s:.0f} s"
    return (
        f"quotes cannot be written: {facts.unwritten}" if facts.unwritten else "",
        proof if facts.proof_age_s > PROOF_AGE_S_MAX else "",
        facts.ib_lost,
        f"data farm broken: {', '.join(facts.farms_down)}" if facts.farms_down else "",
        f"another session takes the data of {names(facts.blocked)}" if facts.blocked else "",
        _dead_feed(facts),
        f"only delayed data of {names(facts.delayed)}" if facts.delayed else "",
        f"every line is refused: {names(facts.refused)}"
        if facts.lines and len(facts.refused) == facts.lines
        else "",
    )


def _dead_feed(facts: Facts) -> str:
    """Return in words that the feed is dead: half of its lines are, or the one that ticks most."""
    if facts.favourite in facts.dead:
        return f"the feed carries nothing: {facts.favourite}, which ticks most, has stopped"
    alive = facts.lines - len(facts.refused)
    if facts.dead and 2 * len(facts.dead) >= alive:
        return f"{len(facts.dead)} of {alive} lines carry nothing: {names(facts.dead)}"
    return ""


def names(symbols: Sequence[str]) -> str:
    """Return the first five, and how many more."""
    shown = ", ".join(symbols[:NAMES_SHOWN])
    more = len(symbols) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


# --- what the gateway says --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Notice:
    """An error or notice of the gateway; ``symbol`` where it is about one line, else None."""

    symbol: str | None
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A price asked for by itself; without a ``state`` the ``problem`` says why.

    ``code`` is IB's error code, 0 without one.
    """

    symbol: str
    source: QuoteSource
    state: TickState | None
    problem: str = ""
    code: int = 0


class Meaning(StrEnum):
    """What a notice is to the stream."""

    INFORMATION = "information"
    IB_LOST = "ib_lost"
    LINES_LOST = "lines_lost"  # 1101: the gateway has forgotten every line
    LINES_KEPT = "lines_kept"  # 1102: it says it has not
    FARM_BROKEN = "farm_broken"
    FARM_MENDED = "farm_mended"
    BLOCKED = "blocked"  # the line is there and carries nothing for now
    LIMITED = "limited"  # no line left for it
    PACED = "paced"  # a message was refused because there were too many; it is not said which
    REFUSED = "refused"  # no such line
    ERROR = "error"


FARMS_BROKEN: Final = {2103: "market data", 2105: "history", 2157: "security definitions"}
FARMS_MENDED: Final = {
    2104: "market data",
    2108: "market data",
    2106: "history",
    2107: "history",
    2158: "security definitions",
}
MARKET_FARM = "market data"
_OF_SYSTEM: Final = {
    CODE_PACED: Meaning.PACED,
    1100: Meaning.IB_LOST,
    2110: Meaning.IB_LOST,
    1101: Meaning.LINES_LOST,
    1102: Meaning.LINES_KEPT,
    2119: Meaning.INFORMATION,
    **dict.fromkeys(FARMS_BROKEN, Meaning.FARM_BROKEN),
    **dict.fromkeys(FARMS_MENDED, Meaning.FARM_MENDED),
}
_OF_LINE: Final = {
    CODE_LINE_LIMIT: Meaning.LIMITED,
    CODE_COMPETING: Meaning.BLOCKED,
    10167: Meaning.INFORMATION,  # delayed data is shown instead
    10090: Meaning.INFORMATION,  # some of the ticks need a subscription
    300: Meaning.INFORMATION,  # a snapshot ended before our cancel came
    2176: Meaning.INFORMATION,  # sizes without fractions
}


def meaning(code: int, *, of_line: bool) -> Meaning:
    """Return what an error code means to the stream; ``of_line`` when it names a line of ours.

    Every code about a line that is not known to leave it alive refuses it.
    """
    if code in _OF_SYSTEM:
        return _OF_SYSTEM[code]
    if code in _OF_LINE:
        return _OF_LINE[code]
    return Meaning.REFUSED if of_line else Meaning.ERROR


def ends_line(code: int) -> bool:
    """Return whether a line is gone at the gateway once this was said of it."""
    return meaning(code, of_line=True) in {Meaning.LIMITED, Meaning.REFUSED}


def orders_per_s(paced_ns: Iterable[int], now_ns: int) -> float:
    """Return how many lines to close and open in a second.

    40, a quarter of it after each time that the gateway refused messages in the last ten minutes.
    Args: when it did, by error 100.
    """
    times = sum(1 for said_ns in paced_ns if now_ns - said_ns < PACED_S * NS)
    return max(ORDERS_PER_S_MIN, ORDERS_PER_S / PACED_FACTOR**times)


def farm_of(notice: Notice) -> tuple[str, str]:
    """Return kind and name of the data farm a notice is about: ("market data", "usfarm").

    The name follows the last colon or, as in "available upon demand.usfarm", the first full stop;
    without either it is the kind.
    """
    kind = FARMS_BROKEN.get(notice.code) or FARMS_MENDED[notice.code]
    text = notice.text
    name = (text.rpartition(":")[2] if ":" in text else text.partition(".")[2]).strip()
    return kind, name or kind
