"""The stream publishes each change once, with its moment, and is honest about how it is."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.streamfiles import read_heartbeat, status_path
from ibloop.core.model import MarketDataType, QuoteSource
from ibloop.core.stream import StreamStatus
from ibloop.daemons.loop import run_daemon
from ibloop.errors import ConfigError, GatewayUnavailableError
from tests.fakes.streamworld import World, instrument, play

D = Decimal
CONTRACT = (
    "status last_heartbeat boottime_ns boot_id pid build detail subscribed_symbols "
    "market_data_type ib_error_count last_error degraded_since degraded_reason "
    "last_snapshot_refresh host port client_id ticks_total publishes_total"
)
BESIDE = (
    "feed_error_count left_out left_out_count degraded_symbols degraded_count "
    "refused_symbols refused_count "
    "unwritten_symbols unwritten_count crossed_symbols crossed_count locked_symbols locked_count"
)


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
    assert sorted(document) == sorted(f"{CONTRACT} {BESIDE}".split())


def test_what_is_over_the_cap_is_named_with_its_reason(tmp_path: Path) -> None:
    """A hundred lines, foremost first; what is left out is said, and changes are not forgotten."""

    async def test(world: World) -> None:
        world.wanted = [instrument(f"S{number}") for number in range(500)]
        await world.connect()
        assert list(world.market.lines) == [f"S{number}" for number in range(100)]
        assert world.detail() == "not subscribed: S100, S101, S102, S103, S104 and 395 more"
        fields = world.fields()
        assert fields["left_out_count"] == 400
        named = fields["left_out"]
        assert isinstance(named, dict)
        assert len(named) == 200
        assert named["S100"] == "all 100 market data lines are taken (stream.lines_max)"
        world.wanted = [instrument("S499"), *world.wanted]
        await world.steps()
        assert world.market.calls[-2:] == ["-S99", "+S499"]
        assert len(world.market.lines) == 100

    play(test, tmp_path)


def test_the_document_keeps_its_size_whatever_is_left_out(tmp_path: Path) -> None:
    """A universe of thousands does not make a status document that cannot be written."""

    async def test(world: World) -> None:
        world.wanted = [instrument(f"LONG.NAME{number}") for number in range(5000)]
        await world.connect()
        for symbol in list(world.market.lines):
            world.market.say(354, "x" * 1000, symbol)
        await world.steps()
        assert len(json.dumps(world.fields())) < 60_000

    play(test, tmp_path)


def test_errors_are_counted_and_notices_are_not(tmp_path: Path) -> None:
    """Farm notices and "delayed data" are no errors; the rest is counted, the last one shown."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.say(2104, "Market data farm connection is OK:usfarm")
        world.market.say(10167, "Displaying delayed market data", "AAPL")
        world.market.say(354, "not subscribed", "AAPL")
        world.market.say(2105, "HMDS data farm connection is broken:ushmds")
        await world.steps()
        assert world.fields()["ib_error_count"] == 2
        assert world.fields()["last_error"] == "2105 HMDS data farm connection is broken:ushmds"
        assert "broken: history ushmds" in world.detail()

    play(test, tmp_path)


def test_crossed_and_locked_quotes_are_named(tmp_path: Path) -> None:
    """A bid at or above the ask is published as it came, and said beside it."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL", ask=D("99"))
        world.market.tick("MSFT", ask=D("100.00"))
        await world.steps()
        assert world.quote("AAPL").ask == D("99")
        assert world.fields()["crossed_symbols"] == ["AAPL"]
        assert world.fields()["locked_symbols"] == ["MSFT"]

    play(test, tmp_path)
