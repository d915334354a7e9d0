"""One client's connection as the gateway sees it: who it is and what it subscribed to."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ibloop.sim.brokerage.account import AccountValue
from ibloop.sim.model import Instrument, Quote
from ibloop.sim.protocol.replies import system, ticks
from ibloop.sim.protocol.wire import Fields, frame, size_text


class Line(Protocol):
    """The transport under a session."""

    def write(self, data: bytes) -> None:
        """Send bytes, or hold them while frozen."""
        ...

    def close(self) -> None:
        """End the connection after what was written."""
        ...

    def reset(self) -> None:
        """Break the connection with a TCP RST; unsent bytes are lost."""
        ...

    def freeze(self, *, frozen: bool) -> None:
        """Stop or resume reading and writing."""
        ...


@dataclass(slots=True)
class ValueFeed:
    """Account values for one subscriber: only what changed since it was last told."""

    account: str
    encode: Callable[[str, str, str], Fields]
    wants: Callable[[str, str], bool] = lambda _key, _currency: True
    sent: dict[tuple[str, str], str] = field(default_factory=dict)

    def changes(self, values: Iterable[AccountValue]) -> list[Fields]:
        """Return messages for the values that are new to the subscriber."""
        messages = []
        for key, value, currency in values:
            if self.wants(key, currency) and self.sent.get((key, currency)) != value:
                self.sent[key, currency] = value
                messages.append(self.encode(key, value, currency))
        return messages


@dataclass(slots=True)
class MarketLine:
    """One market data subscription: only ticks that changed since the last sample."""

    req_id: int
    instrument: Instrument
    sent: dict[int, str] = field(default_factory=dict)

    def changes(self, quote: Quote, now: datetime, version: int) -> list[Fields]:
        """Return the ticks of a sample, prices together with their sizes."""
        messages: list[Fields] = []
        sides = (
            (1, 0, quote.bid, quote.bid_size, 1),
            (2, 3, quote.ask, quote.ask_size, 1),
            (4, 5, quote.last, quote.last_size, 0),
        )
        for price_tick, size_tick, price, size, mask in sides:
            size_now = size_text(size, version)
            # The price message carries the size too, so either of them changing sends it.
            moved = self._new(price_tick, f"{price} {size_now}")
            if moved:
                messages.append(ticks.tick_price(self.req_id, price_tick, price, size_now, mask))
            if self._new(size_tick, size_now):
                messages.append(ticks.tick_size(self.req_id, size_tick, size_now))
            if moved and price_tick == 4:
                epoch = str(int(now.timestamp()))
                messages.append(ticks.tick_string(self.req_id, 45, epoch))
        if self._new(8, str(quote.volume)):
            messages.append(ticks.tick_size(self.req_id, 8, str(quote.volume)))
        day = ((6, quote.high), (7, quote.low), (9, quote.close), (14, quote.open))
        for tick, price in day:
            if self._new(tick, str(price)):
                messages.append(ticks.tick_price(self.req_id, tick, price, "0", 0))
        halted = "1.0" if quote.halted else "0.0"
        if self._new(49, halted):
            messages.append(ticks.tick_generic(self.req_id, 49, halted))
        return messages

    def _new(self, tick: int, value: str) -> bool:
        if self.sent.get(tick) == value:
            return False
        self.sent[tick] = value
        return True


@dataclass(slots=True, eq=False)
class Session:
    """A connected client; `client_id` is None until it has named itself with startApi."""

    line: Line
    version: int = 0
    client_id: int | None = None
    frozen: bool = False
    lines: dict[int, MarketLine] = field(default_factory=dict)
    positions: bool = False
    account: ValueFeed | None = None
    multis: dict[int, ValueFeed] = field(default_factory=dict)
    summaries: dict[int, list[ValueFeed]] = field(default_factory=dict)

    def send(self, *messages: Fields) -> None:
        """Write messages in order."""
        if messages:
            self.line.write(b"".join(frame(fields) for fields in messages))

    def error(self, req_id: int, code: int, text: str, now: datetime) -> None:
        """Write an error, warning or notice."""
        self.send(system.error(req_id, code, text, self.version, now))

    def feeds(self) -> list[ValueFeed]:
        """Return every account value subscription."""
        feeds = [*self.multis.values()]
        feeds += [feed for summary in self.summaries.values() for feed in summary]
        return [*([self.account] if self.account else []), *feeds]
