"""The stream's connection: lines of live market data, merged per symbol.

Lines are opened at a pace that leaves the gateway room for the health probes. After error 1101
(connection to IB restored, data lost) the gateway has forgotten them, so they are opened again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from ibloop.adapters.ib.outgoing import stock
from ibloop.adapters.ib.session import IbSession
from ibloop.adapters.ib.ticks import Line
from ibloop.adapters.ports import Clock, NotSentError
from ibloop.core.events import ErrorReported
from ibloop.core.model import Instrument
from ibloop.core.quotes import TickState
from ibloop.errors import GatewayUnavailableError

LINES_PER_BATCH = 4
BATCH_INTERVAL_S = 0.1
"""40 requests a second, of the 50 messages that a gateway takes."""

LIVE = 1
CODE_DATA_LOST = 1101

ALL_IS_WELL = frozenset({2104, 2106, 2107, 2108, 2119, 2158})
"""Notices that a data farm is connected or idle: no errors."""


class IbMarketData(IbSession):
    """Subscribes to market data; ``wake`` is set whenever :meth:`updates` has something."""

    def __init__(self, host: str, port: int, client_id: int, account: str, clock: Clock) -> None:
        """Remember where to connect to; nothing is opened."""
        super().__init__(host, port, client_id, account, clock)
        self._lines: dict[str, Line] = {}
        self._symbols: dict[int, str] = {}
        self._waiting: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self._errors: list[ErrorReported] = []
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
        """Close the lines of ``symbols``; symbols without a line are ignored."""
        for symbol in symbols:
            self._lines.pop(symbol, None)
            self._waiting.pop(symbol, None)
            self._changed.pop(symbol, None)
        closed = [number for number, symbol in self._symbols.items() if symbol in set(symbols)]
        for number in closed:
            del self._symbols[number]
            self._close_line(number)

    def updates(self) -> list[TickState]:
        """Return the merged state of each symbol that got a tick since the last call."""
        changed = [self._lines[symbol].state() for symbol in self._changed]
        self._changed.clear()
        self.wake.clear()
        return changed

    def errors(self) -> list[ErrorReported]:
        """Return errors of the system and of lines since the last call.

        The text of a line's error begins with its symbol.
        """
        arrived, self._errors = self._errors, []
        return arrived

    # --- lines --------------------------------------------------------------------------------

    def _start_opening(self) -> None:
        if self._waiting and self._opener is None:
            self._opener = asyncio.get_running_loop().create_task(self._open_lines())

    async def _open_lines(self) -> None:
        try:
            while self._waiting:
                for symbol in list(self._waiting)[:LINES_PER_BATCH]:
                    self._open_line(symbol)
                    del self._waiting[symbol]
                await asyncio.sleep(BATCH_INTERVAL_S)
        except NotSentError:
            # The lines went with the connection; its end is reported where it is noticed.
            return
        finally:
            self._opener = None

    def _open_line(self, symbol: str) -> None:
        number = int(self._client.getReqId()) if self.is_connected() else 0
        contract = stock(self._lines[symbol].instrument)
        self._write(lambda client: client.reqMktData(number, contract, "", False, False, []))
        self._symbols[number] = symbol

    def _close_line(self, number: int) -> None:
        if self.is_connected():
            self._write(lambda client: client.cancelMktData(number))

    # --- callbacks ----------------------------------------------------------------------------

    def _callbacks(self) -> Mapping[str, Callable[..., object]]:
        return {
            "priceSizeTick": lambda number, *tick: self._tick(number, Line.take_price, *tick),
            "tickSize": lambda number, *tick: self._tick(number, Line.take_size, *tick),
            "tickString": lambda number, *tick: self._tick(number, Line.take_text, *tick),
            "tickGeneric": lambda number, *tick: self._tick(number, Line.take_generic, *tick),
            "marketDataType": lambda number, *tick: self._tick(number, Line.take_type, *tick),
        }

    def _tick(self, number: int, take: Callable[..., bool], *tick: float | str) -> None:
        symbol = self._symbols.get(number)
        # A tick that only repeats is news too: it proves that the price still stands.
        if symbol is not None and take(self._lines[symbol], *tick):
            self._changed[symbol] = None

    def _packet_processed(self) -> None:
        if self._changed:
            self.wake.set()

    def _opened(self) -> None:
        self._write(lambda client: client.reqMarketDataType(LIVE))

    def _closed(self, _reason: str) -> None:
        self._lines.clear()
        self._symbols.clear()
        self._waiting.clear()
        self._changed.clear()

    def _error_received(self, request_id: int, code: int, text: str) -> None:
        if code in ALL_IS_WELL:
            return
        symbol = self._symbols.get(request_id)
        self._errors.append(ErrorReported(None, code, f"{symbol}: {text}" if symbol else text))
        if code == CODE_DATA_LOST:
            self._symbols.clear()
            self._waiting = dict.fromkeys(self._lines)
            self._start_opening()
