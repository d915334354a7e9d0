"""A day recorded from one gateway and played by the simulator is streamed as it was."""

import asyncio
import gzip
import json
from collections.abc import Iterable
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ib.market import IbMarketData
from ibloop.adapters.recording import Recorder
from ibloop.adapters.streamfiles import heartbeat_document, status_path, write_status
from ibloop.core.model import Instrument
from ibloop.daemons.stream import IBStreamRunner
from ibloop.sim.server import SimGateway, SimOptions
from ibloop.sim.world import WorldOptions

STAMPS = {"seq", "received_at", "event_time", "boottime_ns", "boot_id"}
DEADLINE_S = 15.0


def instrument(symbol: str, con_id: int) -> Instrument:
    """Return an instrument of the universe."""
    tick = Decimal("0.01")
    return Instrument(symbol, con_id, symbol, "NASDAQ", "USD", tick, Decimal(1), "", None)


WANTED = [instrument("AAPL", 265598), instrument("MSFT", 272093), instrument("SYN001", 910000001)]


async def streamed(world: WorldOptions, path: Path, done: Any) -> dict[str, list[dict[str, Any]]]:
    """Stream and record a simulated world until ``done(states)``; return each symbol's states."""
    clock, directory = SystemClock(), path.parent / f"{path.name}.stream"
    market = IbMarketData("127.0.0.1", 0, 12, "DU1234567", clock)
    recorder = Recorder(path)
    runner = IBStreamRunner(directory, clock, 12, market, lambda: WANTED, recorder=recorder)
    async with SimGateway(SimOptions(world=world)) as sim:
        end = asyncio.get_running_loop().time() + DEADLINE_S
        try:
            while not done(states(path)):
                assert asyncio.get_running_loop().time() < end, runner.report()
                place = {"host": "127.0.0.1", "port": sim.port, "session_id": "1"}
                beat = heartbeat_document("connected", clock.now(), "", place)
                write_status(status_path(directory, "gateway"), beat)
                runner.step()
                await asyncio.sleep(0.01)
        finally:
            runner.close()
            recorder.close()
    return states(path)


def states(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return what was recorded of each symbol, without stamps and repetitions."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in gzip.decompress(path.read_bytes()).splitlines():
        state = json.loads(line, parse_float=Decimal, parse_int=Decimal)
        kept = {name: value for name, value in state.items() if name not in STAMPS}
        found.setdefault(state["symbol"], []).append(kept)
    return {symbol: [each for each, _ in groupby(every)] for symbol, every in found.items()}


def is_within(part: Iterable[object], whole: Iterable[object]) -> bool:
    """Return whether one sequence is the other with some left out."""
    left = iter(whole)
    return all(any(each == other for other in left) for each in part)


@pytest.mark.e2e
def test_a_recording_played_back_gives_the_same_states(tmp_path: Path) -> None:
    """Simulator, stream, recording, simulator, stream: prices, sizes and their order are equal."""
    first = asyncio.run(
        streamed(
            WorldOptions(speed=200, synthetic=1, sample_s=0.05),
            tmp_path / "first.gz",
            lambda found: found and min(map(len, found.values())) >= 30 and len(found) == 3,
        )
    )
    last = {symbol: every[-1] for symbol, every in first.items()}
    again = asyncio.run(
        streamed(
            WorldOptions(replay=tmp_path / "first.gz", speed=0.5, sample_s=0.005),
            tmp_path / "second.gz",
            lambda found: {s: every[-1] for s, every in found.items()} == last,
        )
    )
    for symbol, every in again.items():
        assert is_within(every, first[symbol])
        assert len(every) >= 5
