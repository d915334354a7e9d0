"""The stream's connection: lines of live market data, merged per symbol.

Lines are opened at a pace that leaves the gateway room for the health probes. What the gateway says
of them is passed on as it is; whether a line is to be opened again its owner decides.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from ibloop.adapters.ib.fallback import IbFallback
from ibloop.adapters.ib.fast import FastReceiver, unsuited
from ibloop.adapters.ib.outgoing import stock
from ibloop.adapters.ib.ticks import Line
from ibloop.adapters.ports import Clock, NotSentError
from ibloop.core.lines import ORDERS_PER_S
from ibloop.core.model import Instrument, MarketDataType
from ibloop.core.quotes import TickState
from ibloop.core.stream import CODE_PACED, Notice, ends_line, orders_per_s
from ibloop.errors import GatewayUnavailableError

LINES_PER_BATCH = 4

PACED_PAUSE_S = 1.1
"""How long nothing is ordered after error 100: the gateway counts the messages of one second."""

DELAYED = 3
"""What is asked for: live data, and delayed data where the login has no live data of a symbol.

IB never shows delayed data to who may have live data. Frozen data (types 2 and 4) is not asked for:
nothing here uses a bid and ask of the session before."""


class IbMarketData(IbFallback):
    """Subscribes to market data; ``wake`` is set whenever :meth:`updates` has something.

    ``deliver`` may be replaced by what is to be called then, at the end of the packet.
    ``receive_problem`` says why the fast receive path is not used although it should be; it is
    empty when all is well.
    """

    def __init__(
        self,
        host: str,
        port: int,
        client_id: int,
        account: str,
        clock: Clock,
        *,
        fast_receive: bool = True,
    ) -> None:
        """Remember where to connect to and which receive path to take; nothing is opened."""
        super().__init__(host, port, client_id, account, clock)
        self.receive_problem = ""
        self.deliver: Callable[[], None] = self.wake.set
        self._fast_receive = fast_receive
        self._lines: dict[str, Line] = {}
        self._open: dict[bytes, Line] = {}  # by the line's number, as frames spell it
        self._waiting: dict[str, None] = {}
        self._closing: deque[int] = deque()
        self._changed: dict[str, None] = {}
        self._worsened: dict[str, MarketDataType] = {}
        self._notices: list[Notice] = []
        self._paced_ns: deque[int] = deque(maxlen=8)  # when error 100 came
        self._is_pausing = False
        self._asked_ns = 0  # when a snapshot was last asked for
        self._opener: asyncio.Task[None] | None = None

    @property
    def wake_event(self) -> asyncio.Event:
        """Return the event that is set whenever :meth:`updates` has something."""
        return self.wake

    def subscribe(self, instruments: Sequence[Instrument]) -> None:
        """Open a line for each instrument that has none, a few at a time.

        Raises: GatewayUnavailableError without a connection; a new connection begins without lines.
        """
        if not self.is_connected():
            raise GatewayUnavailableError(f"not connected to {self.host}:{self.port}")
        for instrument in instruments:
            if instrument.symbol not in self._lines:
                self._lines[instrument.symbol] = Line(instrument)
                self._waiting[instrument.symbol] = None
        self._start_opening()

    def unsubscribe(self, symbols: Sequence[str]) -> None:
        """Close the lines of ``symbols``, a few at a time; those without a line are ignored."""
        for symbol in symbols:
            self._lines.pop(symbol, None)
            self._waiting.pop(symbol, None)
            self._changed.pop(symbol, None)
            self._worsened.pop(symbol, None)
        closed = [key for key, line in self._open.items() if line.instrument.symbol in set(symbols)]
        for key in closed:
            del self._open[key]
            self._closing.append(int(key))
        self._start_opening()

    def updates(self) -> list[TickState]:
        """Return the merged state of each symbol that got a tick since the last call."""
        changed = [self._lines[symbol].state() for symbol in self._changed]
        self._changed.clear()
        self.wake.clear()
        return changed

    def worsened(self) -> dict[str, MarketDataType]:
        """Return the symbols whose data became of a worse kind since the last call, and which."""
        worsened, self._worsened = self._worsened, {}
        return worsened

    def unopened(self) -> list[str]:
        """Return the symbols whose line the gateway has yet to be asked for, again or at last."""
        refused = self._unanswered() if self._is_pausing else {}
        return [line.instrument.symbol for line in refused.values()] + list(self._waiting)

    def ask_snapshot(self, instrument: Instrument) -> bool:
        """Ask for the present price; return False when there is no room for another question.

        After error 100 lines come first, and questions at their pace.
        """
        now_ns = self._clock.now().boottime_ns
        pace = self._pace(now_ns)
        is_due = now_ns - self._asked_ns >= 1e9 / pace and self._opener is None
        if pace < ORDERS_PER_S and not is_due:
            return False
        self._asked_ns = now_ns
        return super().ask_snapshot(instrument)

    def errors(self) -> list[Notice]:
        """Return the errors and notices of the system and of lines since the last call."""
        arrived, self._notices = self._notices, []
        return arrived

    def forget_lines(self) -> None:
        """Forget every line without a word to the gateway, which has forgotten them itself."""
        for known in (self._lines, self._open, self._waiting, self._closing, self._changed):
            known.clear()
        self._worsened.clear()

    # --- lines --------------------------------------------------------------------------------

    def _start_opening(self) -> None:
        is_wanted = self._waiting or self._closing or self._is_pausing
        if is_wanted and self._opener is None and self.is_connected():
            self._opener = asyncio.get_running_loop().create_task(self._open_lines())

    async def _open_lines(self) -> None:
        try:
            while self._waiting or self._closing or self._is_pausing:
                if self._is_pausing:
                    await asyncio.sleep(PACED_PAUSE_S)
                    self._is_pausing = False
                    self._ask_again()
                for _ in range(LINES_PER_BATCH):
                    self._close_or_open_one()
                await asyncio.sleep(LINES_PER_BATCH / self._pace(self._clock.now().boottime_ns))
        except NotSentError:
            # The lines went with the connection; its end is reported where it is noticed.
            return
        finally:
            self._opener = None

    def _unanswered(self) -> dict[bytes, Line]:
        return {key: line for key, line in self._open.items() if line.is_untold()}

    def _ask_again(self) -> None:
        """Put the lines that have no answer first: their requests may be what was refused."""
        refused = self._unanswered()
        for key, line in refused.items():
            del self._open[key]
            # Should the gateway know it after all it would go on; else this is error 300.
            self._closing.append(int(key))
            self._lines[line.instrument.symbol] = Line(line.instrument)
        again = dict.fromkeys(line.instrument.symbol for line in refused.values())
        self._waiting = again | self._waiting

    def _pace(self, now_ns: int) -> float:
        return orders_per_s(self._paced_ns, now_ns)

    def _note_paced(self) -> None:
        """Slow down, and ask again for what may have been refused."""
        self._paced_ns.append(self._clock.now().boottime_ns)
        self._is_pausing = True
        self._start_opening()

    def _close_or_open_one(self) -> None:
        """Close a line or, when there is none to close, open one: never more than are allowed."""
        if self._closing:
            number = self._closing.popleft()
            self._write(lambda client: client.cancelMktData(number))
        elif self._waiting:
            symbol = next(iter(self._waiting))
            del self._waiting[symbol]
            self._open_line(symbol)

    def _open_line(self, symbol: str) -> None:
        number = int(self._client.getReqId()) if self.is_connected() else 0
        contract = stock(self._lines[symbol].instrument)
        self._write(lambda client: client.reqMktData(number, contract, "", False, False, []))
        self._open[_key(number)] = self._lines[symbol]

    # --- callbacks ----------------------------------------------------------------------------

    def _callbacks(self) -> Mapping[str, Callable[..., object]]:
        return {
            **super()._callbacks(),
            "priceSizeTick": lambda number, *tick: self._tick(number, Line.take_price, *tick),
            "tickSize": lambda number, *tick: self._tick(number, Line.take_size, *tick),
            "tickString": lambda number, *tick: self._tick(number, Line.take_text, *tick),
            "tickGeneric": lambda number, *tick: self._tick(number, Line.take_generic, *tick),
            "marketDataType": self._on_type,
        }

    def _on_type(self, number: int, kind: int) -> None:
        """Note a type: it is no price, so it is news only where it makes what is known worse."""
        line = self._open.get(_key(number))
        if line is None:
            self._snapshot_tick(number, Line.take_type, kind)
        elif line.take_type(kind) and line.kind is not None:
            self._worsened[line.instrument.symbol] = line.kind
            self.wake.set()
        else:
            # It is not worse any more: what was to be told of it would be about the past.
            self._worsened.pop(line.instrument.symbol, None)

    def _kind_of(self, symbol: str) -> MarketDataType | None:
        """Return the type of the symbol's line: the login's rights are the same for a snapshot."""
        line = self._lines.get(symbol)
        return None if line is None else line.kind

    def _tick(self, number: int, take: Callable[..., bool], *tick: float | str) -> None:
        line = self._open.get(_key(number))
        if line is None:
            self._snapshot_tick(number, take, *tick)
        # A tick that only repeats is news too: it proves that the price still stands.
        elif take(line, *tick):
            self._changed[line.instrument.symbol] = None

    def _packet_processed(self) -> None:
        super()._packet_processed()
        if self._changed:
            self.deliver()

    def _take_fast_path(self) -> None:
        if not self._fast_receive:
            return
        self.receive_problem = unsuited(self._client) or ""
        if not self.receive_problem:
            FastReceiver(self._client, self._open, self._changed, self._stream_lost).install()

    def _stream_lost(self, text: str) -> None:
        self._on_unreadable(text)
        self.disconnect(text)

    def _opened(self) -> None:
        self._take_fast_path()
        self._write(lambda client: client.reqMarketDataType(DELAYED))

    def _closed(self, reason: str) -> None:
        super()._closed(reason)
        self.forget_lines()
        self._paced_ns.clear()
        self._is_pausing = False

    def _error_received(self, request_id: int, code: int, text: str) -> None:
        if code == CODE_PACED:
            self._note_paced()
        if self._question_refused(request_id, code, text):
            return
        line = self._open.get(_key(request_id))
        symbol = None if line is None else line.instrument.symbol
        self._notices.append(Notice(symbol, code, text))
        self.wake.set()
        if symbol is not None and ends_line(code):
            # The gateway knows this number no more: cancelling it would be an error of its own.
            del self._open[_key(request_id)]
            self._lines.pop(symbol, None)
            self._changed.pop(symbol, None)


def _key(number: int) -> bytes:
    """Return a line's number as the bytes of a message spell it."""
    return b"%d" % number
