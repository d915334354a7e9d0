"""Crash at a boundary while the broker misbehaves as well: pairs, sampled by seed."""

import random
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import audit
from ibloop.core.lifecycle import RunState
from tests.fakes.house import House, SimCrashError, crash_at

D = Decimal
FAULTS: dict[str, dict[str, object]] = {
    "swallowed": {"swallowed": True},
    "silent": {"silent": True},
    "late": {"ack_after_s": 20.0},
    "in parts": {"fills": (D("0.3"), D("0.3"))},
    "unfilled": {"fills": ()},
    "refused": {"refused": (201, "no")},
    "refused in silence": {"refused": (203, "no"), "refused_silently": True},
    "not cancelled": {"fills": (), "sticky": "Submitted"},
}
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE")
MINUTES = 40


def play_until_it_dies(house: House, boundary: int) -> None:
    """Queue a run and let the process die at one of its boundaries, if it gets there."""
    with suppress(SimCrashError), crash_at(house, boundary):
        house.queue()
        house.play(20)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", range(4))
def test_a_crash_beside_a_fault_breaks_no_promise(tmp_path: Path, fault: str, seed: int) -> None:
    """One send a reference, no lost fill, an audit that holds, and an end (P1 to P5, L1)."""
    chance = random.Random(f"{fault} {seed}")
    boundary, symbol = chance.randrange(48), chance.choice(SYMBOLS)
    house = House(tmp_path)
    house.settle()
    house.script(symbol, **FAULTS[fault])
    play_until_it_dies(house, boundary)
    house.restart()
    house.play(MINUTES * 60, tick_s=10)
    placed, told = house.broker.placed, (fault, symbol, boundary)
    assert len(placed) == len(set(placed)), told
    assert house.broken() == (), told
    assert audit.verify(house.ledger.db).is_whole
    run = house.run()
    assert run.status not in {RunState.PREPARING, RunState.EXECUTING, RunState.RECONCILING}, told
    house.broker.scripts.clear()
    house.play(60)
    if run.status is RunState.BLOCKED:
        house.retry()
        run = house.until_ended(seconds=120)
    else:
        house.queue("K2")
        run = house.until_ended("K2", seconds=120)
    assert run.status is RunState.DONE, (told, run)
    assert len(placed) == len(set(placed)), told
    assert house.broken() == (), told
    house.ledger.close()
