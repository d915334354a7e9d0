"""The stream publishes each change once, with its moment, and is honest about how it is."""

import asyncio
import hashlib
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ledger import account, runs, snapshots
from ibloop.adapters.ledger.connection import open_ledger
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.streamfiles import (
    QuoteReader,
    heartbeat_document,
    read_heartbeat,
    status_path,
    write_status,
)
from ibloop.core.events import ErrorReported
from ibloop.core.lifecycle import RunState
from ibloop.core.model import Instrument, MarketDataType, Mode, Moment, Position, QuoteSource
from ibloop.core.quotes import StreamStatus, TickState
from ibloop.daemons.loop import run_daemon
from ibloop.daemons.stream import LINES_MAX, IBStreamRunner, choose_lines, wanted_lines
from ibloop.errors import ConfigError, GatewayUnavailableError

D = Decimal
CONTRACT = (
    "status last_heartbeat boottime_ns boot_id pid build detail subscribed_symbols "
    "market_data_type ib_error_count last_error degraded_since degraded_reason "
    "last_snapshot_refresh host port client_id ticks_total publishes_total"
)


class FakeClock:
    """A clock that goes on when told to."""

    def __init__(self) -> None:
        """Begin somewhere."""
        self.moment = Moment(datetime(2026, 11, 22, 15, 0, tzinfo=UTC), 10**12, "a" * 32)

    def now(self) -> Moment:
        """Return the present moment."""
        return self.moment

    def advance(self, seconds: float) -> None:
        """Let both clocks go on."""
        self.moment = replace(
            self.moment,
            utc=self.moment.utc + timedelta(seconds=seconds),
            boottime_ns=self.moment.boottime_ns + int(seconds * 1e9),
        )


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
        self.reported: list[ErrorReported] = []
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
        """Give lines back."""
        self.calls.append("-" + ",".join(symbols))
        for symbol in symbols:
            del self.lines[symbol]

    def updates(self) -> list[TickState]:
        """Return and forget the changed states."""
        changed, self.changed = list(self.changed.values()), {}
        return changed

    def errors(self) -> list[ErrorReported]:
        """Return and forget the errors."""
        reported, self.reported = self.reported, []
        return reported

    def tick(self, symbol: str, bid: str = "100.00", **fields: object) -> None:
        """Deliver a changed state."""
        state = TickState(
            symbol=symbol,
            con_id=1,
            market_data_type=MarketDataType.LIVE,
            event_time=None,
            bid=D(bid),
            ask=D(bid) + 1,
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
        self.changed[symbol] = replace(state, **fields)  # type: ignore[arg-type]
        self.wake.set()


def instrument(symbol: str, con_id: int = 1) -> Instrument:
    """Return an instrument of that name."""
    return Instrument(symbol, con_id, symbol, "NYSE", "USD", D("0.01"), D(1), "x", None)


class World:
    """A runner with everything around it."""

    def __init__(self, directory: Path, clock: FakeClock | SystemClock | None = None) -> None:
        """Set up with two wanted symbols; the gateway has said nothing yet."""
        self.directory = directory
        self.clock = FakeClock()
        self.market = FakeMarket()
        self.wanted = [instrument("AAPL"), instrument("MSFT")]
        self.runner = IBStreamRunner(
            directory, clock or self.clock, 12, self.market, lambda: self.wanted
        )
        self.reader = QuoteReader(directory)

    def gateway(self, status: str = "connected", session: str = "s1", port: object = 4002) -> None:
        """Let the gateway's wrapper say something."""
        fields = {"host": "127.0.0.1", "port": port, "session_id": session}
        document = heartbeat_document(status, self.runner._clock.now(), "", fields)
        write_status(status_path(self.directory, "gateway"), document)

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

    def seq(self, symbol: str) -> int:
        """Return the published sequence number."""
        return self.reader.read([symbol])[symbol].seq


def play(test: Callable[[World], Awaitable[None]], directory: Path) -> None:
    """Run a test in an event loop, closing the runner at the end."""

    async def main() -> None:
        world = World(directory)
        await test(world)
        world.runner.close()

    asyncio.run(main())


def test_waits_for_the_gateway_then_connects_and_subscribes(tmp_path: Path) -> None:
    """It connects only where a connected gateway's file points, and subscribes what is wanted."""

    async def test(world: World) -> None:
        await world.steps(2)
        assert world.status == "starting"
        assert "waiting for the gateway" in world.runner.report().detail
        world.gateway("waiting_2fa")
        await world.steps(2)
        assert world.market.connected_to == []
        assert "waiting_2fa" in world.runner.report().detail
        await world.connect()
        assert world.market.connected_to == [4002]
        assert list(world.market.lines) == ["AAPL", "MSFT"]
        assert world.status == "connected"
        assert world.fields()["subscribed_symbols"] == ["AAPL", "MSFT"]

    play(test, tmp_path)


@pytest.mark.parametrize("port", [None, "4002"])
def test_a_gateway_without_an_address_is_no_gateway(port: object, tmp_path: Path) -> None:
    """A file that does not say where is waited out."""

    async def test(world: World) -> None:
        world.gateway(port=port)
        await world.steps(3)
        assert world.market.connected_to == []

    play(test, tmp_path)


def test_an_old_gateway_file_is_not_believed(tmp_path: Path) -> None:
    """The port of a dead gateway may be anybody's by now."""

    async def test(world: World) -> None:
        world.gateway()
        world.clock.advance(31)
        await world.steps(3)
        assert world.market.connected_to == []

    play(test, tmp_path)


def test_each_change_is_published_once_with_its_moment(tmp_path: Path) -> None:
    """One file write a change, seq plus one, stamped when written; unchanged is not rewritten."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL", "187.40")
        await world.steps()
        first = world.reader.read(["AAPL"])["AAPL"]
        assert first.bid == D("187.40")
        assert first.source is QuoteSource.STREAM
        assert first.received == world.clock.now()
        assert world.reader.read(["MSFT"]) == {}
        await world.steps(3)
        assert world.reader.read(["AAPL"])["AAPL"] == first
        world.market.tick("AAPL", "187.41")
        world.market.tick("MSFT", "400.00")
        await world.steps()
        assert world.seq("AAPL") == first.seq + 1
        assert world.seq("MSFT")
        fields = world.fields()
        assert (fields["ticks_total"], fields["publishes_total"]) == (3, 3)

    play(test, tmp_path)


def test_failing_to_connect_is_tried_again_ever_more_slowly(tmp_path: Path) -> None:
    """Attempts back off from 0.5 s to 10 s; after ten seconds without one it is disconnected."""

    async def test(world: World) -> None:
        world.market.error = GatewayUnavailableError("connection refused")
        begun: list[float] = []
        start = world.clock.now()
        while len(begun) < 8:
            count = len(world.market.connected_to)
            world.gateway()
            await world.steps(advance_s=0.1)
            if len(world.market.connected_to) > count:
                begun.append(world.clock.now().age_s(start))
            early = world.clock.now().age_s(start) < 9.95
            assert world.status == ("starting" if early else "disconnected")
        gaps = [b - a for a, b in pairwise(begun)]
        assert gaps == sorted(gaps)
        assert 0.5 <= gaps[0] <= 1.1
        assert 10 <= gaps[-1] <= 10.6
        assert "connection refused" in world.runner.report().detail
        world.market.error = None
        while world.status != "connected":
            world.gateway()
            await world.steps()

    play(test, tmp_path)


def test_a_wrong_account_ends_the_process(tmp_path: Path) -> None:
    """What retrying cannot mend is raised."""

    async def test(world: World) -> None:
        world.market.error = ConfigError("expected account DU1, was DU2")
        world.gateway()
        with pytest.raises(ConfigError):
            await world.steps(3)

    play(test, tmp_path)


def test_a_lost_connection_is_replaced_and_subscribed_anew(tmp_path: Path) -> None:
    """After a drop a new connection subscribes everything; files keep their last true state."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL")
        await world.steps(advance_s=0.1)
        before = world.reader.read(["AAPL"])["AAPL"]
        world.market.up = False
        await world.steps(advance_s=0.1)
        assert world.status == "disconnected"
        assert world.fields()["subscribed_symbols"] == []
        await world.steps(4, advance_s=0.25)  # sooner than the wanted set is read again
        assert len(world.market.connected_to) == 2
        assert list(world.market.lines) == ["AAPL", "MSFT"]
        assert world.status == "connected"
        assert world.reader.read(["AAPL"])["AAPL"] == before
        world.market.tick("AAPL")
        await world.steps()
        assert world.seq("AAPL") == before.seq + 1

    play(test, tmp_path)


def test_a_new_gateway_session_means_a_new_connection(tmp_path: Path) -> None:
    """A connection of an earlier gateway session is given up, also when its socket seems up."""

    async def test(world: World) -> None:
        await world.connect()
        world.gateway("restarting", session="s2")
        await world.steps(2)
        assert world.market.up  # a wrapper that knows no better does not cost the socket
        world.gateway(session="s2", port=4003)
        await world.steps(3)
        assert world.market.connected_to == [4002, 4003]
        assert world.market.calls == ["+AAPL,MSFT", "disconnect", "+AAPL,MSFT"]
        assert world.fields()["port"] == 4003

    play(test, tmp_path)


def test_a_dead_wrapper_does_not_end_a_good_connection(tmp_path: Path) -> None:
    """Without news from the gateway's wrapper the socket itself decides."""

    async def test(world: World) -> None:
        await world.connect()
        status_path(world.directory, "gateway").unlink()
        await world.steps(3)
        assert len(world.market.connected_to) == 1
        assert world.status == "connected"

    play(test, tmp_path)


def test_silence_degrades_and_a_tick_heals(tmp_path: Path) -> None:
    """No tick of any symbol for 15 s is degraded since then, with the reason, until one comes."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL")
        await world.steps()
        await world.steps(advance_s=14)
        assert world.status == "connected"
        await world.steps(advance_s=1)
        report = world.runner.report()
        assert report.status == "degraded"
        assert "no tick for 15 s" in report.detail
        since = report.fields["degraded_since"]
        assert since == world.clock.now().utc.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        await world.steps(3)
        assert world.fields()["degraded_since"] == since
        world.market.tick("MSFT")
        await world.steps()
        report = world.runner.report()
        assert (report.status, report.detail) == ("connected", "")
        assert report.fields["degraded_since"] is None
        assert report.fields["degraded_reason"] is None

    play(test, tmp_path)


def test_a_connection_that_never_ticks_degrades(tmp_path: Path) -> None:
    """Before the first tick the 15 s count from the connection, not from an earlier one's tick."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL")
        await world.steps()
        world.market.up = False
        world.gateway("restarting")
        await world.steps(30)
        world.gateway()
        await world.steps(2)
        assert world.status == "connected"
        await world.steps(advance_s=15)
        assert world.status == "degraded"

    play(test, tmp_path)


def test_a_silent_gateway_degrades(tmp_path: Path) -> None:
    """Without an answered round trip for 10 s the stream is degraded, ticks or not."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.proof_s = 10.5
        world.market.tick("AAPL")
        await world.steps()
        assert world.status == "degraded"
        assert "has not answered" in str(world.fields()["degraded_reason"])

    play(test, tmp_path)


def test_a_minute_of_silence_subscribes_anew_once(tmp_path: Path) -> None:
    """Lines may stay silent after "data maintained": they are ordered again, once a silence."""

    async def test(world: World) -> None:
        await world.connect()
        await world.steps(advance_s=61)
        assert world.market.calls == ["+AAPL,MSFT", "-AAPL,MSFT", "+AAPL,MSFT"]
        await world.steps(5, advance_s=61)
        assert len(world.market.calls) == 3
        world.market.tick("AAPL")
        await world.steps()
        await world.steps(2, advance_s=61)
        assert len(world.market.calls) == 5

    play(test, tmp_path)


def test_lines_follow_what_is_wanted(tmp_path: Path) -> None:
    """New symbols are added, unwanted ones given back and no longer published."""

    async def test(world: World) -> None:
        await world.connect()
        world.wanted = [instrument("AAPL"), instrument("SPY")]
        await world.steps(advance_s=2)
        assert world.market.calls == ["+AAPL,MSFT", "-MSFT", "+SPY"]
        world.market.tick("MSFT")
        await world.steps()
        assert world.reader.read(["MSFT"]) == {}
        world.wanted = [instrument("AAPL", con_id=2), instrument("SPY")]
        await world.steps(advance_s=2)
        assert world.market.calls[-2:] == ["-AAPL", "+AAPL"]

    play(test, tmp_path)


def test_what_is_over_the_cap_is_named(tmp_path: Path) -> None:
    """A hundred lines, foremost first; what is left out is said, and changes are not forgotten."""

    async def test(world: World) -> None:
        world.wanted = [instrument(f"S{number}") for number in range(LINES_MAX + 2)]
        await world.connect()
        assert len(world.market.lines) == LINES_MAX
        assert world.runner.report().detail == "not subscribed: S100, S101"

    play(test, tmp_path)


def test_choosing_lines() -> None:
    """Doubles count once, and a symbol that cannot have a file takes no line."""
    wanted = [instrument(symbol) for symbol in ("A", "_B", "A", "C", "_B")]
    lines, left_out = choose_lines(wanted)
    assert list(lines) == ["A", "C"]
    assert left_out == ("_B",)


def test_wanted_is_positions_then_open_runs_then_the_universe(tmp_path: Path) -> None:
    """What is held or about to trade comes first, so that the cap cannot cut it off."""
    path = tmp_path / "ibloop.db"
    universe = {symbol: instrument(symbol) for symbol in ("AAPL", "MSFT", "SPY", "QQQ")}
    assert wanted_lines(path, universe) == list(universe.values())
    now = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
    content = json.dumps({"targets": [{"symbol": "QQQ", "weight": "0.1"}]})
    digest = hashlib.sha256(content.encode()).hexdigest()
    queued = Run(
        run_id="r1",
        run_key="2026W47",
        mode=Mode.PAPER,
        account="DU1",
        status=RunState.QUEUED,
        reason=None,
        detail="",
        snapshot_id="s1",
        snapshot_hash=digest,
        config_hash="c",
        build="b",
        attempt=0,
        created_at=now,
        updated_at=now,
    )
    held = [Position("SPY", 1, D(3), D(1)), Position("TSLA", 77, D(-1), D(1))]
    with (
        closing(open_ledger(path, mode=Mode.PAPER, account="DU1", now=now)) as ledger,
        ledger.transaction() as tx,
    ):
        snapshots.freeze(tx, "s1", digest, now, "targets.csv", content, now)
        runs.insert(tx, queued, "test")
        account.store_positions(tx, held, now, now, "test")
    wanted = wanted_lines(path, universe)
    assert [item.symbol for item in wanted[:3]] == ["SPY", "TSLA", "QQQ"]
    assert wanted[0] == universe["SPY"]
    assert wanted[1].con_id == 77
    assert {item.symbol for item in wanted} == {*universe, "TSLA"}


def test_errors_are_counted_and_notices_are_not(tmp_path: Path) -> None:
    """Farm notices and "delayed data" are no errors; the rest is counted, the last one shown."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.reported = [
            ErrorReported(None, 2104, "Market data farm connection is OK"),
            ErrorReported(None, 10167, "Displaying delayed market data"),
            ErrorReported(None, 354, "AAPL: not subscribed"),
            ErrorReported(None, 2103, "Market data farm connection is broken"),
        ]
        await world.steps()
        assert world.fields()["ib_error_count"] == 2
        assert world.fields()["last_error"] == "2103 Market data farm connection is broken"

    play(test, tmp_path)


def test_the_worst_kind_of_data_is_shown(tmp_path: Path) -> None:
    """One delayed line among live ones is worth knowing."""

    async def test(world: World) -> None:
        await world.connect()
        assert world.fields()["market_data_type"] is None
        world.market.tick("AAPL")
        world.market.tick("MSFT", market_data_type=MarketDataType.DELAYED)
        await world.steps()
        assert world.fields()["market_data_type"] == "delayed"
        assert world.reader.read(["MSFT"])["MSFT"].market_data_type is MarketDataType.DELAYED
        world.wanted = [instrument("AAPL")]
        await world.steps(advance_s=2)
        assert world.fields()["market_data_type"] == "live"

    play(test, tmp_path)


def test_the_whole_daemon(tmp_path: Path) -> None:
    """In its loop: connected, publishing within the loop's own wake-up, stopped at the end."""
    stream_dir = tmp_path / "ib" / "stream"

    async def until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            await asyncio.sleep(0.01)

    def status() -> str | None:
        beat = read_heartbeat(stream_dir, "status")
        return beat.status if beat else None

    async def main() -> None:
        world = World(stream_dir, SystemClock())
        daemon = asyncio.create_task(
            run_daemon(
                "stream",
                tmp_path,
                world.runner.step,
                world.runner.report,
                clock=SystemClock(),
                wake=world.market.wake,
                document="status",
                status_failed=StreamStatus.STOPPED,
            )
        )
        await until(lambda: status() == "starting")
        world.gateway()
        await until(lambda: status() == "connected")
        world.market.tick("AAPL", "1.5")
        await until(lambda: "AAPL" in world.reader.read(["AAPL"]))
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(daemon, 30)
        world.runner.close()
        assert world.market.calls[-1] == "disconnect"

    asyncio.run(main())
    document = json.loads((stream_dir / "_status.json").read_text())
    assert document["status"] == "stopped"
    assert sorted(document) == sorted(CONTRACT.split())
