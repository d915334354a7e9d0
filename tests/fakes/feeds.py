"""The stream's connection without a socket: packets go in, and what it did is compared."""

import struct
from collections.abc import Iterable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ib.lib import PacedClient
from ibloop.adapters.ib.market import IbMarketData
from ibloop.adapters.ib.ticks import Line
from ibloop.core.model import Instrument
from ibloop.core.quotes import TickState

FIRST_NUMBER = 1_000_000_000
SERVER_VERSION = 176
UNNOTED = frozenset(
    {"priceSizeTick", "tickSize", "tickString", "tickGeneric", "marketDataType", "tcpDataProcessed"}
)
"""Ticks are seen by what they do; when a packet is over is each path's own affair."""


def frame(*fields: object) -> bytes:
    """Return a message as the gateway writes it."""
    return framed("".join(f"{field}\0" for field in fields).encode())


def framed(payload: bytes) -> bytes:
    """Return any bytes as a message."""
    return struct.pack(">I", len(payload)) + payload


class Feed:
    """Market data that is connected to nothing; ``told`` is what else it heard, in order."""

    def __init__(self, symbols: Iterable[str], *, fast: bool, version: int = SERVER_VERSION):
        """Go through the handshake and have a line open for each symbol."""
        self.market: Any = IbMarketData("127.0.0.1", 0, 12, "DU1", SystemClock(), fast_receive=fast)
        self.told: list[tuple[object, ...]] = []
        self.client: Any = PacedClient(SimpleNamespace(**self._wrapper()))
        self.client.decoder.logger = _Told(self.market)
        self.client.startApi = lambda: None  # there is nobody to write to
        for message in (
            frame(version, "20261122 10:00:00 UTC"),
            frame(15, 1, "DU1"),
            frame(9, 1, 1),
        ):
            self.client.conn.data_received(message)
        assert self.client.isReady()
        self.told.clear()
        self.market._client = self.client
        self.market._take_fast_path()
        tick, lot = Decimal("0.01"), Decimal(1)
        for number, symbol in enumerate(symbols, start=FIRST_NUMBER):
            made = Instrument(symbol, number, symbol, "NYSE", "USD", tick, lot, "x", None)
            self.market._lines[symbol] = self.market._open[b"%d" % number] = Line(made)

    def give(self, stream: bytes, cuts: Iterable[int]) -> None:
        """Hand over the stream in packets that end at ``cuts``."""
        begin = 0
        for end in (*sorted(cuts), len(stream)):
            if begin < end and self.market._client is not None:
                self.client.conn.data_received(stream[begin:end])
            begin = max(begin, end)

    def give_packets(self, packets: Iterable[bytes]) -> list[list[TickState]]:
        """Hand over packets and return the changed states after each."""
        changed = []
        for packet in packets:
            self.client.conn.data_received(packet)
            changed.append(self.market.updates())
        return changed

    def states(self) -> list[TickState]:
        """Return the state of every line, changed or not."""
        return [line.state() for line in self.market._lines.values()]

    def outcome(self) -> tuple[object, ...]:
        """Return everything the two paths must agree on."""
        changed = list(self.market._changed)
        return (
            self.told,
            self.market.errors(),
            self.market.unreadable_messages,
            changed,
            self.market.worsened(),
            self.states(),
        )

    def _wrapper(self) -> dict[str, Any]:
        """Return the market's callbacks, those but for ticks noted on the way."""
        return {
            name: value if name in UNNOTED or not callable(value) else self._noting(name, value)
            for name, value in self.market._wrapper().items()
        }

    def _noting(self, name: str, callback: Any) -> Any:
        def called(*values: object) -> None:
            # What order a message has among ticks is seen by what the ticks before it did.
            seen = tuple(self.states()) if name == "currentTime" else ()
            self.told.append((name, *values, seen))
            callback(*values)

        return called


class _Told:
    """The decoder's logger: counts with the market, without a word."""

    def __init__(self, market: Any) -> None:
        self._market = market

    def exception(self, text: str) -> None:
        """Take note of an unreadable message, as the session's own handler does."""
        self._market._on_unreadable(text)
