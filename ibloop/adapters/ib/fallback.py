"""Prices asked for one by one, for lines that say nothing: a snapshot, else the last bar.

IB ends a snapshot up to eleven seconds after it was asked for, but tells what it knows at once: it
is taken as soon as bid, ask and last have come, or at its end, or after five seconds as it stands.
History is asked for sparingly, because IB refuses more than 60 questions in ten minutes.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ibloop.adapters.ib.convert import decimal_of
from ibloop.adapters.ib.outgoing import stock
from ibloop.adapters.ib.queries import QueryError
from ibloop.adapters.ib.session import IbSession
from ibloop.adapters.ib.ticks import Line
from ibloop.adapters.ports import Clock, NotSentError
from ibloop.core.model import Instrument, MarketDataType, QuoteSource
from ibloop.core.quotes import TickState
from ibloop.core.stream import Answer, Meaning, ends_line, meaning

SNAPSHOT_S_MAX = 5.0
SNAPSHOTS_MAX = 10
"""Under way at once: each takes a market data line while it lasts."""

HISTORY_S_MAX = 10.0
HISTORIES_MAX = 3
HISTORY_AGAIN_S = 300.0
HISTORY_WINDOW_S = 600.0
HISTORY_PER_WINDOW = 50
"""IB's limit is 60 in ten minutes, for all that this login asks."""


@dataclass(slots=True)
class _Snapshot:
    line: Line
    until_ns: int


class IbFallback(IbSession):
    """A session that can be asked for single prices; the answers are fetched with ``answers``."""

    def __init__(self, host: str, port: int, client_id: int, account: str, clock: Clock) -> None:
        """Remember where to connect to; nothing is opened."""
        super().__init__(host, port, client_id, account, clock)
        self._snapshots: dict[int, _Snapshot] = {}
        self._ticked: set[int] = set()
        self._histories: set[asyncio.Task[None]] = set()
        self._history_asked: deque[int] = deque()
        self._history_of: dict[str, int] = {}
        self._answers: list[Answer] = []

    def ask_snapshot(self, instrument: Instrument) -> bool:
        """Ask for the present price; return False when there is no room for another question."""
        if len(self._snapshots) >= SNAPSHOTS_MAX or not self.is_connected():
            return False
        number = int(self._client.getReqId())
        contract = stock(instrument)
        try:
            self._write(lambda client: client.reqMktData(number, contract, "", True, False, []))
        except NotSentError:
            return False
        until_ns = self._clock.now().boottime_ns + int(SNAPSHOT_S_MAX * 1e9)
        line = Line(instrument, self._kind_of(instrument.symbol))
        self._snapshots[number] = _Snapshot(line, until_ns)
        return True

    def _kind_of(self, _symbol: str) -> MarketDataType | None:
        """Return the market data type that a snapshot has unless it says another, if known."""
        return None

    def ask_history(self, instrument: Instrument) -> bool:
        """Ask for the last bar; return False when IB's limits leave no room for it now."""
        now_ns = self._clock.now().boottime_ns
        while self._history_asked and now_ns - self._history_asked[0] > HISTORY_WINDOW_S * 1e9:
            self._history_asked.popleft()
        last_ns = self._history_of.get(instrument.symbol)
        if (
            not self.is_connected()
            or len(self._histories) >= HISTORIES_MAX
            or len(self._history_asked) >= HISTORY_PER_WINDOW
            or (last_ns is not None and now_ns - last_ns < HISTORY_AGAIN_S * 1e9)
        ):
            return False
        self._history_asked.append(now_ns)
        self._history_of[instrument.symbol] = now_ns
        task = asyncio.get_running_loop().create_task(self._ask_bars(instrument))
        self._histories.add(task)
        task.add_done_callback(self._histories.discard)
        return True

    def forget_questions(self) -> None:
        """Drop the snapshots that are asked for, and the answers that wait."""
        for number in list(self._snapshots):
            del self._snapshots[number]
            self._cancel_snapshot(number)
        self._ticked.clear()
        self._answers.clear()

    def answers(self) -> list[Answer]:
        """Return what has come of the questions since the last call."""
        now_ns = self._clock.now().boottime_ns
        for number in [n for n, asked in self._snapshots.items() if now_ns >= asked.until_ns]:
            self._end_snapshot(number, f"no snapshot within {SNAPSHOT_S_MAX:g} s")
            self._cancel_snapshot(number)
        arrived, self._answers = self._answers, []
        return arrived

    def _cancel_snapshot(self, number: int) -> None:
        """Give its market data line back at once; IB would keep it for eleven seconds."""
        if self.is_connected():
            self._write(lambda client: client.cancelMktData(number))

    # --- snapshots ------------------------------------------------------------------------------

    def _snapshot_tick(self, number: int, take: Callable[..., bool], *tick: float | str) -> None:
        """Give a tick to the snapshot of that number, if there is one."""
        asked = self._snapshots.get(number)
        if asked is None or not take(asked.line, *tick):
            return
        self._ticked.add(number)

    def _end_whole_snapshots(self) -> None:
        """Take the snapshots that know bid, ask and last; at the end of a packet, not within."""
        for number in self._ticked & self._snapshots.keys():
            state = self._snapshots[number].line.state()
            if None not in (state.bid, state.ask, state.last):
                self._end_snapshot(number, "")
                self._cancel_snapshot(number)
        self._ticked.clear()

    def _on_snapshot_end(self, number: int) -> None:
        self._end_snapshot(number, "the snapshot was empty")

    def _end_snapshot(self, number: int, problem: str, code: int = 0) -> None:
        """Answer with what has come; with ``problem`` when nothing has."""
        asked = self._snapshots.pop(number, None)
        if asked is None:
            return
        state = asked.line.state()
        known = state if state.last or state.close or (state.bid and state.ask) else None
        told = "" if known else problem
        self._add_answer(Answer(state.symbol, QuoteSource.SNAPSHOT, known, told, code))

    def _add_answer(self, answer: Answer) -> None:
        self._answers.append(answer)
        self.wake.set()

    # --- history ----------------------------------------------------------------------------------

    async def _ask_bars(self, instrument: Instrument) -> None:
        contract = stock(instrument)
        state, problem = None, "no bar of the last day"
        try:
            bars = await self._ask_numbered(
                f"bars of {instrument.symbol}",
                lambda client, number: client.reqHistoricalData(
                    number, contract, "", "1 D", "5 mins", "TRADES", False, 2, False, []
                ),
                HISTORY_S_MAX,
            )
            state = next(
                (found for bar in reversed(bars) if (found := _of_bar(instrument, bar))), None
            )
        except QueryError as error:
            problem = str(error)
        told = "" if state else problem
        self._add_answer(Answer(instrument.symbol, QuoteSource.HISTORY, state, told))

    def _on_bar(self, number: int, bar: Any) -> None:
        self._queries.add(number, bar)

    def _on_bars_end(self, number: int, _start: str, _end: str) -> None:
        self._queries.end(number)

    # --- the session's hooks ----------------------------------------------------------------------

    def _callbacks(self) -> Mapping[str, Callable[..., object]]:
        return {
            "tickSnapshotEnd": self._on_snapshot_end,
            "historicalData": self._on_bar,
            "historicalDataEnd": self._on_bars_end,
        }

    def _packet_processed(self) -> None:
        if self._ticked:
            self._end_whole_snapshots()

    def _closed(self, _reason: str) -> None:
        self._snapshots.clear()
        self._ticked.clear()
        self._answers.clear()
        self._history_of.clear()

    def _question_refused(self, number: int, code: int, text: str) -> bool:
        """Take an error about a single question of ours; return whether it was one."""
        if number in self._snapshots:
            if ends_line(code) or meaning(code, of_line=True) is Meaning.BLOCKED:
                self._end_snapshot(number, f"{code} {text}", code)
            return True
        return self._queries.is_open(number)


def _of_bar(instrument: Instrument, bar: Any) -> TickState | None:
    """Return what the last trades of a bar tell, None for a bar without a price.

    Its time is the begin of the bar: the price is not older. Nothing else is known, least of all
    that it is the present price, so it counts as the worst kind of data, which prices no order.
    """
    last = decimal_of(bar.close)
    if last is None or last <= 0 or not str(bar.date).isdigit():
        return None
    return TickState(
        symbol=instrument.symbol,
        con_id=instrument.con_id,
        market_data_type=MarketDataType.DELAYED_FROZEN,
        event_time=datetime.fromtimestamp(int(bar.date), UTC),
        bid=None,
        ask=None,
        last=last,
        close=None,
        open=None,
        high=None,
        low=None,
        bid_size=None,
        ask_size=None,
        last_size=None,
        volume=None,
        halted=None,
        currency=instrument.currency,
        exchange="SMART",
    )
