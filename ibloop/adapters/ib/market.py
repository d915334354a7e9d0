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
from ibloop.core.model import Instrument
from ibloop.core.quotes import TickState
from ibloop.core.stream import Notice, ends_line
from ibloop.errors import GatewayUnavailableError

LINES_PER_BATCH = 4
BATCH_INTERVAL_S = 0.1
"""40 requests a second, of the 50 messages that a gateway takes."""

LIVE = 1


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
        self._notices: list[Notice] = []
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

    def errors(self) -> list[Notice]:
        """Return the errors and notices of the system and of lines since the last call."""
        arrived, self._notices = self._notices, []
        return arrived

    def forget_lines(self) -> None:
        """Forget every line without a word to the gateway, which has forgotten them itself."""
        for known in (self._lines, self._open, self._waiting, self._closing, self._changed):
            known.clear()

    # --- lines --------------------------------------------------------------------------------

    def _start_opening(self) -> None:
        if (self._waiting or self._closing) and self._opener is None and self.is_connected():
            self._opener = asyncio.get_running_loop().create_task(self._open_lines())

    async def _open_lines(self) -> None:
        try:
            while self._waiting or self._closing:
                for _ in range(LINES_PER_BATCH):
                    self._close_or_open_one()
                await asyncio.sleep(BATCH_INTERVAL_S)
        except NotSentError:
            # The lines went with the connection; its end is reported where it is noticed.
            return
        finally:
            self._opener = None

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
            "marketDataType": lambda number, *tick: self._tick(number, Line.take_type, *tick),
        }

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
        self._write(lambda client: client.reqMarketDataType(LIVE))

    def _closed(self, reason: str) -> None:
        super()._closed(reason)
        self.forget_lines()

    def _error_received(self, request_id: int, code: int, text: str) -> None:
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
