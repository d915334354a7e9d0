"""The stream's lines: one record a symbol, moved by what happens, and what it asks for in turn.

The rules are in ``core.lines``; here they meet the connection. Nothing here writes files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ibloop import log
from ibloop.core.lines import (
    CARRIES_NOTHING,
    CODE_COMPETING,
    CODE_LINE_LIMIT,
    CODE_NO_SECURITY,
    DEFERRED_S_MAX,
    MISSED,
    NO_LINE_TO_ASK,
    LineEvent,
    LineRecord,
    LineState,
    advance,
    agrees,
    favourite,
    is_blank,
    is_dead,
    is_due,
    is_refused,
    is_silent,
    needs_refresh,
    new_rates,
    ordered,
    patience_s,
    spare_lines,
    untold,
    with_close,
    with_halt,
)
from ibloop.core.model import Instrument, MarketDataType, QuoteSource
from ibloop.core.quotes import TickState
from ibloop.core.stream import IB_SILENCE_S, Answer, Notice
from ibloop.daemons.link import Session

NO_ROOM_S = 2.0
"""How long nothing is asked by snapshot after the gateway had no line for one; afterwards, until
ROOM_AGAIN_S, not more at once than lines were given up for it."""

ROOM_AGAIN_S = 600.0

FEED_SILENT = "no line of the feed says anything"

TOGETHER_S = 2.0
"""Lines whose last ticks are this close together have stopped together."""

_log = log.get(__name__)


class MarketData(Session, Protocol):
    """One IB session that delivers ticks; a new connection begins without lines.

    ``wake`` is set when one of the three fetching methods would return something;
    ``receive_problem`` says why the fast receive path is not taken, empty when it is or need not.
    ``deliver`` is called at the end of a packet with ticks, in place of setting ``wake``.
    """

    receive_problem: str
    deliver: Callable[[], None]

    def proof_age_s(self) -> float:
        """Return the seconds since the gateway last answered a round trip; inf if never."""
        ...

    def subscribe(self, instruments: Sequence[Instrument]) -> None:
        """Add market data lines, paced."""
        ...

    def unsubscribe(self, symbols: Sequence[str]) -> None:
        """Give lines back, paced."""
        ...

    def forget_lines(self) -> None:
        """Forget all lines without giving them back: the gateway has forgotten them."""
        ...

    def ask_snapshot(self, instrument: Instrument) -> bool:
        """Ask for one price; return False when there is no room for another question.

        Each one asked is answered, unless it is forgotten or the connection ends.
        """
        ...

    def forget_questions(self) -> None:
        """Drop the prices that are asked for, and the answers that wait."""
        ...

    def ask_history(self, instrument: Instrument) -> bool:
        """Ask for the last bar; return False when IB's limits leave no room for it now."""
        ...

    def updates(self) -> list[TickState]:
        """Return the symbols that changed since the last call, each with its latest state."""
        ...

    def worsened(self) -> Mapping[str, MarketDataType]:
        """Return the symbols whose data became of a worse kind since the last call, and which."""
        ...

    def unopened(self) -> Sequence[str]:
        """Return the symbols whose line the gateway has yet to be asked for."""
        ...

    def errors(self) -> list[Notice]:
        """Return the system and subscription errors since the last call."""
        ...

    def answers(self) -> list[Answer]:
        """Return what came of single questions since the last call."""
        ...


class LineBook:
    """The records of all lines, foremost first, and what their symbols last said."""

    def __init__(self, market: MarketData) -> None:
        """Begin with no line."""
        self._market = market
        self.records: dict[str, LineRecord] = {}
        self.latest: dict[str, TickState] = {}
        self._halted: set[str] = set()  # last said to be; outlives lines and connections
        self._heard_ns: dict[str, int] = {}
        self._no_room_ns: int | None = None  # when there was no line for a snapshot
        self._asked = 0  # snapshots under way
        self._asked_ns = 0  # when one was last asked for to see whether IB is there
        self._counts: dict[str, int] = {}
        self._rates: dict[str, float] = {}
        self._counted_ns = 0
        self.last_tick_ns = 0

    def clear(self) -> None:
        """Forget everything: the connection is gone, and its lines with it."""
        self.records = {}
        self.latest.clear()
        self._heard_ns.clear()
        self._counts.clear()
        self._no_room_ns = None
        self._asked = 0

    def forget_questions(self) -> None:
        """Forget what is asked: answers that waited while we were stopped are old."""
        self._market.forget_questions()
        self._asked = 0

    def follow(self, lines: Mapping[str, Instrument], now_ns: int) -> None:
        """Bring the lines in step with what is wanted, in its order."""
        gone = [s for s, record in self.records.items() if lines.get(s) != record.instrument]
        new = [i for s, i in lines.items() if s in gone or s not in self.records]
        if gone:
            self._market.unsubscribe(gone)
            for symbol in gone:
                for known in (self.latest, self._heard_ns, self._counts, self._rates):
                    known.pop(symbol, None)
        fresh = {item.symbol: ordered(item, now_ns) for item in new}
        self.records = {s: fresh.get(s) or self.records[s] for s in lines}
        if new:
            self._market.subscribe(new)
        if gone or new:
            _log.info("stream.subscribed", added=len(new), removed=len(gone), lines=len(lines))

    def order_anew(self, symbols: Sequence[str], now_ns: int) -> None:
        """Give lines back and order them again: what comes is complete, and nothing is left over.

        What the old line had said is forgotten, or the first tick of the new one would be merged
        into prices from before the gap. A halt is not: nobody has said that it is over.
        """
        self._market.unsubscribe(symbols)
        for symbol in symbols:
            self.latest.pop(symbol, None)
            self.note(symbol, LineEvent.ORDERED, now_ns)
        self._market.subscribe([self.records[symbol].instrument for symbol in symbols])

    def take(self, state: TickState, now_ns: int) -> TickState | None:
        """Note a tick; return what to publish.

        None when its symbol is no longer wanted, or when the line has yet to tell a price: it is
        not live by less, and would put nothing in the place of the last price that is known.
        """
        symbol = state.symbol
        record = self.records.get(symbol)
        if record is None:
            return None
        state = self._with_halt(state)
        if record.state is not LineState.LIVE and symbol not in self.latest and is_blank(state):
            return None
        self.latest[symbol] = state
        self._heard_ns[symbol] = self.last_tick_ns = now_ns
        self._counts[symbol] = self._counts.get(symbol, 0) + 1
        if record.state is not LineState.LIVE:
            self.note(symbol, LineEvent.TICKED, now_ns)
        return state

    def worsen(self, symbol: str, kind: MarketDataType) -> None:
        """Note that what a line has said is of a worse kind; no tick, and no proof of life."""
        if symbol in self.latest:
            self.latest[symbol] = replace(self.latest[symbol], market_data_type=kind)

    def _with_halt(self, state: TickState) -> TickState:
        """Note what is said of a halt; return the state with the halt said before if it is not."""
        if state.halted:
            self._halted.add(state.symbol)
        elif state.halted is not None:
            self._halted.discard(state.symbol)
        return with_halt(state, self._halted)

    def note(
        self, symbol: str, event: LineEvent, now_ns: int, reason: str = "", code: int = 0
    ) -> None:
        """Let something happen to a line; symbols without one are ignored."""
        old = self.records.get(symbol)
        if old is None:
            return
        new = self.records[symbol] = advance(old, event, now_ns, reason, code)
        if new.state in CARRIES_NOTHING and new.state is not old.state:
            _log.warning("stream.line_failed", symbol=symbol, state=new.state, reason=new.reason)
        elif old.state in CARRIES_NOTHING and new.state is LineState.LIVE:
            _log.info("stream.line_recovered", symbol=symbol)

    def answered(self, answer: Answer, now_ns: int) -> TickState | None:
        """Note what came of a single question; return the price to publish, if there is one.

        None where the line itself is fresher, or has just been asked and is about to say it all.
        """
        symbol = answer.symbol
        if answer.source is QuoteSource.SNAPSHOT:
            self._asked = max(0, self._asked - 1)
        if symbol not in self.records:
            return None
        if answer.source is QuoteSource.HISTORY:
            known = answer.state if self.records[symbol].reason else None
            return None if known is None else with_halt(known, self._halted)
        line = self.latest.get(symbol)
        if answer.state is None:
            if answer.code == CODE_LINE_LIMIT:
                self._defer(symbol, now_ns)
            else:
                self.note(symbol, LineEvent.UNANSWERED, now_ns, answer.problem, answer.code)
            if self.records[symbol].reason:
                self._market.ask_history(self.records[symbol].instrument)
            return None
        same = agrees(line, answer.state)
        self.note(symbol, LineEvent.CONFIRMED if same else LineEvent.CONTRADICTED, now_ns)
        record = self.records[symbol]
        if record.state is LineState.LIVE or (
            record.state is LineState.ASKED and not record.reason
        ):
            return None
        if record.state is LineState.QUIET:
            self._heard_ns[symbol] = now_ns
        return self._with_halt(with_close(answer.state, line))

    def _defer(self, symbol: str, now_ns: int) -> None:
        """Ask again later: no line was free for the question, which says nothing of this line."""
        self._no_room_ns = now_ns
        begun_ns = max(self._heard_ns.get(symbol, 0), self.records[symbol].ordered_ns)
        if now_ns - begun_ns < DEFERRED_S_MAX * 1e9:
            self.note(symbol, LineEvent.DEFERRED, now_ns)
        else:
            self.note(symbol, LineEvent.UNANSWERED, now_ns, NO_LINE_TO_ASK)

    # --- in turn ----------------------------------------------------------------------------------

    def ask_the_silent(self, now_ns: int, silence_s: float, opened_ns: int) -> None:
        """Ask about every line that has been silent for too long, as far as there is room.

        Args: how long a line may be silent; when the session opened for us.
        """
        self._count(now_ns)
        for symbol in self._market.unopened():
            # It cannot be silent before the gateway has been asked.
            self.note(symbol, LineEvent.ORDERED, now_ns)
        self._judge_feed(now_ns, silence_s, opened_ns)
        best = favourite(self._rates, list(self.records))
        for symbol, record in list(self.records.items()):
            patience = patience_s(self._rates[best], silence_s) if symbol == best else silence_s
            heard_ns = self._heard_ns.get(symbol, 0)
            if not is_silent(record, heard_ns, now_ns, patience, opened_ns):
                continue
            if record.state is LineState.SUSPECT or self._ask(record, now_ns):
                self.note(symbol, LineEvent.SILENT, now_ns, MISSED)
        dead = self.dead_favourite()
        if dead is not None:
            for symbol in self.records.keys() - {dead}:
                self.note(symbol, LineEvent.BLOCKED, now_ns, f"silent, as is {dead}")

    def _judge_feed(self, now_ns: int, silence_s: float, opened_ns: int) -> None:
        """Call every line dead at once when the feed is, rather than one after another."""
        heard_ns = max(self._heard_ns.values(), default=0)
        last_ns = self.last_tick_ns
        records = self.records.values()
        for line in untold(records, last_ns, heard_ns, now_ns, silence_s, opened_ns):
            why = line.reason or FEED_SILENT
            self.note(line.instrument.symbol, LineEvent.BLOCKED, now_ns, why, line.code)

    def _ask(self, record: LineRecord, now_ns: int) -> bool:
        """Ask for one price; return False when there is no room for another question."""
        if self._no_room_ns is not None:
            since_s = (now_ns - self._no_room_ns) / 1e9
            if since_s < NO_ROOM_S:
                return False
            if since_s < ROOM_AGAIN_S and self._asked >= spare_lines(len(self.records)):
                return False
        if not self._market.ask_snapshot(record.instrument):
            return False
        self._asked += 1
        return True

    def ask_foremost(self, now_ns: int) -> None:
        """Ask for the price of the first line that is not refused, once in ten seconds."""
        if self._asked_ns and now_ns - self._asked_ns < IB_SILENCE_S * 1e9:
            return
        first = next((r for r in self.records.values() if not is_refused(r)), None)
        if first is not None and self._ask(first, now_ns):
            self._asked_ns = now_ns

    def refresh(self, now_ns: int) -> None:
        """Ask one by one for the prices of lines that carry nothing, as far as there is room."""
        for symbol, record in list(self.records.items()):
            if needs_refresh(record, now_ns):
                if not self._ask(record, now_ns):
                    return
                self.records[symbol] = replace(record, refreshed_ns=now_ns)

    def order_due(self, now_ns: int) -> None:
        """Order anew what has failed and has waited long enough."""
        due = [s for s, record in self.records.items() if record.reason and is_due(record, now_ns)]
        if due:
            self.order_anew(due, now_ns)

    def _count(self, now_ns: int) -> None:
        """Bring the rates up to date, once a second and only when something has ticked."""
        seconds = (now_ns - self._counted_ns) / 1e9
        if seconds < 1:
            return
        if self._counts:
            self._rates = new_rates(self._rates, self._counts, seconds)
            self._counts = {}
        self._counted_ns = now_ns

    # --- how they are -----------------------------------------------------------------------------

    def dead_favourite(self) -> str | None:
        """Return the symbol that ticks most if its line is dead and all others stopped with it."""
        best = favourite(self._rates, list(self.records))
        if best is None or not is_dead(self.records[best]):
            return None
        stopped_ns = self._heard_ns.get(best, 0)
        return best if self.last_tick_ns <= stopped_ns + TOGETHER_S * 1e9 else None

    def dead(self) -> dict[str, str]:
        """Return the symbols whose line carries nothing, and why."""
        return {symbol: r.reason for symbol, r in self.records.items() if is_dead(r)}

    def refused(self) -> dict[str, str]:
        """Return the symbols whose line the gateway refuses, and why."""
        return {symbol: r.reason for symbol, r in self.records.items() if is_refused(r)}

    def blocked(self) -> tuple[str, ...]:
        """Return the symbols whose data another session takes."""
        return tuple(s for s, r in self.records.items() if r.code == CODE_COMPETING)

    def unopened(self) -> Sequence[str]:
        """Return the symbols whose line the gateway has yet to be asked for."""
        return self._market.unopened()

    def looked_after(self) -> list[str]:
        """Return the symbols that are kept fresh, by a line or one by one, sorted."""
        return sorted(s for s, r in self.records.items() if r.code != CODE_NO_SECURITY)

    def delayed(self) -> tuple[str, ...]:
        """Return the symbols whose data is not live, of those that said so."""
        late = {MarketDataType.DELAYED, MarketDataType.DELAYED_FROZEN}
        return tuple(s for s, state in self.latest.items() if state.market_data_type in late)
