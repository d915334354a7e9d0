"""Ticks go to their files within the packet that brought them, not past what must come first."""

from pathlib import Path

import pytest

from ibloop.core.invariant import InvariantError
from ibloop.daemons.stream import OWN_STOP_S
from tests.fakes.streamworld import World, play


def test_a_packet_is_published_without_a_step(tmp_path: Path) -> None:
    """The connection hands over what changed, and the file is there before it reads on."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.wake.clear()
        world.market.tick("AAPL", "1.5")
        world.market.wake.clear()
        world.runner._market.deliver()
        assert world.reader.read(["AAPL"])["AAPL"].seq > 0
        assert not world.market.wake.is_set()

    play(test, tmp_path)


@pytest.mark.parametrize("why", ["news", "stopped", "unnoticed"])
def test_what_a_step_must_see_first_waits_for_it(why: str, tmp_path: Path) -> None:
    """Errors of the same packet, our own stop and a new connection are looked at before ticks."""

    async def test(world: World) -> None:
        if why == "unnoticed":
            world.market.up = True
        else:
            await world.connect()
        world.market.wake.clear()
        world.market.tick("AAPL", "1.5")
        world.market.wake.clear()
        if why == "news":
            world.market.wake.set()
        elif why == "stopped":
            world.clock.advance(OWN_STOP_S)
        world.runner._market.deliver()
        assert world.reader.read(["AAPL"]) == {}
        assert world.market.wake.is_set()

    play(test, tmp_path)


def test_a_bug_on_the_way_ends_the_process(tmp_path: Path) -> None:
    """An event loop only logs what a callback raises; the next step raises it again."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.wake.clear()
        world.market.tick("AAPL", "1e30")
        world.market.wake.clear()
        world.runner._market.deliver()
        assert world.market.wake.is_set()
        with pytest.raises(InvariantError, match="1E\\+30"):
            world.runner.step()

    play(test, tmp_path)
