"""A stream runner with a connection that does as it is told, a clock, and a directory of files."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ibloop.adapters.host import SystemClock
from ibloop.adapters.streamfiles import QuoteReader, heartbeat_document, status_path, write_status
from ibloop.core.model import Instrument, MarketDataType, QuoteSource
from ibloop.core.quotes import TickState
from ibloop.core.stream import Answer, Notice
from ibloop.daemons.stream import IBStreamRunner
from tests.fakes.clock import FakeClock

D = Decimal


def tick_state(symbol: str, bid: str | None = "100.00", **fields: Any) -> TickState:
    """Return a live state with an ask one above the bid."""
    state = TickState(
        symbol=symbol,
        con_id=1,
        market_data_type=MarketDataType.LIVE,
        event_time=None,
        bid=None if bid is None else D(bid),
        ask=None if bid is None else D(bid) + 1,
        last=None,
        close=None,
        open=None,
        high=None,
        low=None,
        bid_size=None,
        ask_size=None,
        last_size=None,
        volume=None,
        halted=None,
        currency="USD",
        exchange="SMART",
    )
    return replace(state, **fields)


class FakeMarket:
    """A connection that does as it is told, and remembers what it was told."""

    def __init__(self) -> None:
        """Begin disconnected; connecting fails with ``error``, if the test sets one."""
        self.host, self.port = "127.0.0.1", 0
        self.error: Exception | None = None
        self.up = False
        self.connected_to: list[int] = []
        self.proof_s = 0.5
        self.lines: dict[str, Instrument] = {}
        self.calls: list[str] = []
        self.changed: dict[str, TickState] = {}
        self.worse: dict[str, MarketDataType] = {}
        self.waiting: list[str] = []
        self.reported: list[Notice] = []
        self.replies: list[Answer] = []
        self.snapshots: list[str] = []
        self.histories: list[str] = []
        self.room = 10
        self.receive_problem = ""
        self.wake = asyncio.Event()

    async def connect(self) -> None:
        """Come up without lines, or fail."""
        self.connected_to.append(self.port)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.lines = {}
        self.up = True

    def disconnect(self) -> None:
        """Go down."""
        self.up = False
        self.calls.append("disconnect")

    def is_connected(self) -> bool:
        """Return whether it is up."""
        return self.up

    def proof_age_s(self) -> float:
        """Return what the test says."""
        return self.proof_s

    def subscribe(self, instruments: Sequence[Instrument]) -> None:
        """Add lines."""
        self.calls.append("+" + ",".join(i.symbol for i in instruments))
        self.lines |= {i.symbol: i for i in instruments}

    def unsubscribe(self, symbols: Sequence[str]) -> None:
        """Give lines back; one that was refused is gone already."""
        self.calls.append("-" + ",".join(symbols))
        for symbol in symbols:
            self.lines.pop(symbol, None)
            self.changed.pop(symbol, None)

    def forget_lines(self) -> None:
        """Forget all lines."""
        self.calls.append("forget")
        self.lines = {}

    def ask_snapshot(self, instrument: Instrument) -> bool:
        """Note who is asked about, while there is room."""
        if len(self.snapshots) >= self.room:
            return False
        self.snapshots.append(instrument.symbol)
        return True

    def ask_history(self, instrument: Instrument) -> bool:
        """Note who is asked about."""
        self.histories.append(instrument.symbol)
        return True

    def forget_questions(self) -> None:
        """Drop what is asked and answered."""
        self.snapshots.clear()
        self.replies.clear()

    def updates(self) -> list[TickState]:
        """Return and forget the changed states."""
        changed, self.changed = list(self.changed.values()), {}
        return changed

    def worsened(self) -> dict[str, MarketDataType]:
        """Return and forget whose data became worse."""
        worse, self.worse = self.worse, {}
        return worse

    def unopened(self) -> list[str]:
        """Return what the test says."""
        return list(self.waiting)

    def errors(self) -> list[Notice]:
        """Return and forget the errors."""
        reported, self.reported = self.reported, []
        return reported

    def answers(self) -> list[Answer]:
        """Return and forget the answers."""
        replies, self.replies = self.replies, []
        return replies

    def tick(self, symbol: str, bid: str | None = "100.00", **fields: Any) -> None:
        """Deliver a changed state."""
        self.changed[symbol] = tick_state(symbol, bid, **fields)
        self.wake.set()

    def say(self, code: int, text: str = "", symbol: str | None = None) -> None:
        """Deliver a notice."""
        self.reported.append(Notice(symbol, code, text))

    def reply(self, symbol: str, bid: str | None, **fields: Any) -> None:
        """Answer a snapshot, with nothing when ``bid`` is None."""
        self.snapshots.remove(symbol)
        state = None if bid is None else tick_state(symbol, bid, **fields)
        problem = "" if state else "no snapshot within 5 s"
        self.replies.append(Answer(symbol, QuoteSource.SNAPSHOT, state, problem))

    def reply_history(self, symbol: str, last: str, begun: datetime) -> None:
        """Answer with a last bar that began then."""
        self.histories.remove(symbol)
        kind = MarketDataType.DELAYED_FROZEN
        fields = {"last": D(last), "market_data_type": kind, "event_time": begun}
        state = tick_state(symbol, None, **fields)
        self.replies.append(Answer(symbol, QuoteSource.HISTORY, state))


def instrument(symbol: str, con_id: int = 1) -> Instrument:
    """Return an instrument of that name."""
    return Instrument(symbol, con_id, symbol, "NYSE", "USD", D("0.01"), D(1), "x", None)


class World:
    """A runner with everything around it."""

    def __init__(
        self, directory: Path, clock: FakeClock | SystemClock | None = None, **options: Any
    ) -> None:
        """Set up with two wanted symbols; the gateway has said nothing yet, the market is open."""
        self.directory = directory
        self.clock = FakeClock()
        self.market = FakeMarket()
        self.wanted = [instrument("AAPL"), instrument("MSFT")]
        self.open = True
        self.runner = IBStreamRunner(
            directory,
            clock or self.clock,
            12,
            self.market,
            lambda: self.wanted,
            is_open=self._is_open,
            **options,
        )
        self.reader = QuoteReader(directory)

    def gateway(self, status: str = "connected", session: str = "s1", port: object = 4002) -> None:
        """Let the gateway's wrapper say something."""
        fields = {"host": "127.0.0.1", "port": port, "session_id": session}
        document = heartbeat_document(status, self.runner._clock.now(), "", fields)
        write_status(status_path(self.directory, "gateway"), document)

    def _is_open(self, _now: datetime) -> bool:
        return self.open

    async def steps(self, count: int = 1, advance_s: float = 0.6) -> None:
        """Let time pass and the runner step; between steps its tasks get their turn."""
        for _ in range(count):
            self.clock.advance(advance_s)
            self.runner.step()
            for _ in range(5):
                await asyncio.sleep(0)

    async def connect(self) -> None:
        """Come up to a subscribed connection."""
        self.gateway()
        await self.steps(2)
        assert self.market.up
        assert self.market.lines

    @property
    def status(self) -> str:
        """Return the status word."""
        return self.runner.report().status

    def fields(self) -> dict[str, object]:
        """Return the fields of the status beyond the common ones."""
        return dict(self.runner.report().fields)

    def detail(self) -> str:
        """Return the line for people."""
        return self.runner.report().detail

    def quote(self, symbol: str) -> Any:
        """Return the published quote."""
        return self.reader.read([symbol])[symbol]

    def seq(self, symbol: str) -> int:
        """Return the published sequence number."""
        return self.reader.read([symbol])[symbol].seq


def play(test: Callable[[World], Awaitable[None]], directory: Path, **options: Any) -> None:
    """Run a test in an event loop, closing the runner at the end."""

    async def main() -> None:
        world = World(directory, **options)
        await test(world)
        world.runner.close()

    asyncio.run(main())
