"""Disks, directories, clocks and stopped processes: the stream degrades, goes on, and recovers."""

import asyncio
import errno
import os
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.recording import Recorder
from ibloop.adapters.streamfiles import QuoteReader, StreamWriter, read_heartbeat
from ibloop.core.model import Quote, QuoteSource
from ibloop.daemons.loop import run_daemon
from ibloop.errors import LockHeldError
from tests.fakes.streamworld import World, play

D = Decimal


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_what_cannot_be_written_waits(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disk full or read-only: degraded with the reason; then the latest version, truly stamped."""
    write = StreamWriter.publish
    broken = True

    def publish(self: StreamWriter, quote: Quote) -> None:
        if broken:
            raise OSError(number, os.strerror(number))
        write(self, quote)

    monkeypatch.setattr(StreamWriter, "publish", publish)

    async def test(world: World) -> None:
        nonlocal broken
        await world.connect()
        for bid in ("100", "101", "102"):
            world.market.tick("AAPL", bid)
            await world.steps()
        received = world.clock.now()
        assert world.status == "degraded"
        assert os.strerror(number) in str(world.fields()["degraded_reason"])
        assert world.fields()["unwritten_symbols"] == ["AAPL"]
        await world.steps(2)
        broken = False
        await world.steps()
        quote = world.quote("AAPL")
        assert (quote.bid, quote.received) == (D("102"), received)
        assert world.status == "connected"
        assert world.fields()["unwritten_symbols"] == []
        world.market.tick("AAPL", "103")
        await world.steps()
        assert world.seq("AAPL") == quote.seq + 1

    play(test, tmp_path)


def test_a_file_that_became_a_directory_stops_nobody(tmp_path: Path) -> None:
    """Whoever put a directory in a file's place: the others are written, and soon it is again."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL", "100")
        await world.steps()
        path = tmp_path / "AAPL.json"
        path.unlink()
        path.mkdir()
        (path / "inside").write_text("x")
        for bid in ("101", "102", "103", "104"):
            world.market.tick("AAPL", bid)
            world.market.tick("MSFT", bid)
            await world.steps()
            assert world.quote("MSFT").bid == D(bid)
        quote = world.quote("AAPL")
        assert quote.bid == D("104")
        assert world.status == "connected"

    play(test, tmp_path)


def clean_up(directory: Path) -> None:
    """Remove everything in a directory."""
    for path in sorted(directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def test_a_directory_that_vanishes_is_made_again(tmp_path: Path) -> None:
    """Somebody cleaned up too much: the next version is there all the same."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL", "100")
        await world.steps()
        before = world.seq("AAPL")
        clean_up(tmp_path)
        world.market.tick("AAPL", "101")
        await world.steps()
        assert world.quote("AAPL").bid == D("101")
        assert world.seq("AAPL") > before

    play(test, tmp_path)


@pytest.mark.parametrize("hours", [-72, 72])
def test_a_stepped_clock_changes_nothing(hours: int, tmp_path: Path) -> None:
    """Silence and ages are by boot time: a wall clock set back or forward degrades nobody."""

    async def test(world: World) -> None:
        await world.connect()
        for number in range(60):
            if number == 20:
                world.clock.step_wall(hours * 3600)
                world.gateway()
            world.market.tick("AAPL")
            world.market.tick("MSFT")
            await world.steps(advance_s=0.5)
            assert world.status == "connected"
            assert world.clock.now().age_s(world.quote("AAPL").received) <= 0.5
        assert len(world.market.calls) == 1
        assert world.market.snapshots == []

    play(test, tmp_path)


def test_after_a_stop_of_our_own_nothing_old_is_published(tmp_path: Path) -> None:
    """What waited in the socket while we were stopped is dropped, and every line ordered anew."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL", "100")
        await world.steps()
        before = world.quote("AAPL")
        world.market.tick("AAPL", "50")  # read from the socket, but a minute old

        def dropped(symbols: object) -> None:
            world.market.calls.append(f"-{symbols}")
            world.market.changed.clear()

        world.market.unsubscribe = dropped  # type: ignore[method-assign]
        await world.steps(advance_s=60)
        assert world.quote("AAPL") == before
        assert len(world.market.calls) == 3
        world.market.tick("AAPL", "102")
        world.market.tick("MSFT", "102")
        await world.steps()
        assert (world.status, world.quote("AAPL").bid) == ("connected", D("102"))
        assert world.market.snapshots == []

    play(test, tmp_path)


def test_stops_of_our_own_in_a_row_publish_nothing_old(tmp_path: Path) -> None:
    """However soon after the last one: nothing read before the lines are ordered anew gets out."""

    async def test(world: World) -> None:
        await world.connect()
        for number in range(6):
            world.market.tick("AAPL", f"{100 + number}")
            world.market.tick("MSFT")
            await world.steps()
            before, calls = world.quote("AAPL"), len(world.market.calls)
            world.market.tick("AAPL", "50")  # read now, and eleven seconds old
            world.market.snapshots.append("MSFT")
            world.market.reply("MSFT", "50")
            await world.steps(advance_s=11)
            assert world.quote("AAPL") == before
            assert world.quote("MSFT").bid != D(50)
            assert world.market.calls[calls:] == ["-AAPL,MSFT", "+AAPL,MSFT"]

    play(test, tmp_path)


def test_answers_that_waited_while_we_were_stopped_are_dropped(tmp_path: Path) -> None:
    """A price that was asked for before the stop may be as old as the stop is long."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.say(354, "not subscribed", "AAPL")
        world.market.tick("MSFT")
        await world.steps()
        assert world.market.snapshots == ["AAPL"]
        world.market.reply("AAPL", "50")
        await world.steps(advance_s=60)
        assert "AAPL" not in world.reader.read(["AAPL"])

    play(test, tmp_path)


def test_what_the_recorder_has_lost_is_told(tmp_path: Path) -> None:
    """Nobody should learn of a gap from the replay."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL")
        await world.steps()
        assert "2 versions are missing in" in world.detail()

    recorder = Recorder(tmp_path / "day.gz")
    recorder._refused = 2
    play(test, tmp_path, recorder=recorder)
    recorder.close()


def test_an_hour_without_the_gateway(tmp_path: Path) -> None:
    """Attempts stay few, the files keep their last true state, and it comes back by itself."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL", "100")
        await world.steps()
        before = world.quote("AAPL")
        world.market.up = False
        world.market.error = None
        world.gateway("restarting")
        for _ in range(4500):
            await world.steps(advance_s=0.8)
        assert world.status == "disconnected"
        assert world.quote("AAPL") == before
        assert len(world.market.connected_to) == 1
        world.gateway(session="s2")
        await world.steps(3)
        assert world.status == "connected"
        world.market.tick("AAPL", "90")
        await world.steps()
        assert world.quote("AAPL").source is QuoteSource.STREAM
        assert world.seq("AAPL") == before.seq + 1

    play(test, tmp_path)


def test_a_heartbeat_that_cannot_be_written_ends_nobody(tmp_path: Path) -> None:
    """The daemon goes on in silence, and speaks again when it can."""
    stream_dir = tmp_path / "ib" / "stream"

    async def main() -> None:
        world = World(stream_dir, SystemClock())

        async def until(status: str | None) -> None:
            for _ in range(1000):
                beat = read_heartbeat(stream_dir, "status")
                if (beat.status if beat else None) == status:
                    return
                await asyncio.sleep(0.01)
            raise AssertionError(f"expected {status}")

        daemon = asyncio.create_task(
            run_daemon(
                "stream",
                tmp_path,
                world.runner.step,
                world.runner.report,
                clock=SystemClock(),
                wake=world.market.wake,
                document="status",
                poll_s=0.05,
            )
        )
        await until("starting")
        path = stream_dir / "_status.json"
        for name in (path, stream_dir / ".spare" / "_status.json"):
            name.unlink(missing_ok=True)
            name.mkdir(parents=True)
        world.gateway()
        for _ in range(500):
            if world.market.lines:
                break
            await asyncio.sleep(0.01)
        assert world.market.lines
        assert not daemon.done()
        for name in (path, stream_dir / ".spare" / "_status.json"):
            if name.is_dir():
                name.rmdir()
        await until("connected")
        daemon.cancel()
        await asyncio.gather(daemon, return_exceptions=True)
        world.runner.close()

    asyncio.run(main())


def test_a_second_runner_is_turned_away(tmp_path: Path) -> None:
    """Two writers of the same files cannot be: the second one raises what exits 75."""

    async def main() -> None:
        world = World(tmp_path / "ib" / "stream", SystemClock())

        def start() -> "asyncio.Task[None]":
            return asyncio.create_task(
                run_daemon(
                    "stream",
                    tmp_path,
                    world.runner.step,
                    world.runner.report,
                    clock=SystemClock(),
                    document="status",
                )
            )

        first = start()
        for _ in range(1000):
            if read_heartbeat(tmp_path / "ib" / "stream", "status") is not None:
                break
            await asyncio.sleep(0.01)
        with pytest.raises(LockHeldError):
            await start()
        assert not first.done()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        world.runner.close()

    asyncio.run(main())


def test_absurd_ticks_do_not_end_it(tmp_path: Path) -> None:
    """Whatever is published can be read back: a quote file is never the reader's problem."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL", "0.0001", volume=D(10**15))
        await world.steps()
        assert QuoteReader(tmp_path).read(["AAPL"])["AAPL"].volume == D(10**15)

    play(test, tmp_path)


def test_ages_of_unwritten_quotes_are_those_of_their_ticks(tmp_path: Path) -> None:
    """A version that got out late is as old as its tick, not as its writing."""

    async def test(world: World) -> None:
        await world.connect()
        tick_at = world.clock.now()
        world.market.tick("AAPL")
        world.runner.step()
        assert world.quote("AAPL").received == tick_at
        later = replace(tick_at, utc=tick_at.utc + timedelta(hours=1))
        assert later.age_s(world.quote("AAPL").received) == 0.0

    play(test, tmp_path)
