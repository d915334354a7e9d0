"""A kill reaches the wire before anything else that a step would write to the disk."""

from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection
from ibloop.core.lifecycle import RunState
from ibloop.core.model import HaltLevel
from tests.fakes.house import House

CANARY = "ibl:K1:AAA:S:0"
ASKED = ("order.moved", CANARY)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house with orders working and others planned behind them."""
    made = House(tmp_path)
    made.settle()
    for symbol in ("AAA", "BBB", "CCC", "DDD", "EEE"):
        made.script(symbol, fills=())
    made.broker.slots = 1
    made.queue()
    made.until(lambda: bool(made.broker.placed), tick_s=0.1)
    made.broker.slots = 0
    made.play(2)
    assert CANARY in made.broker.placed
    assert len(made.broker.placed) < len(made.orders())
    return made


def journal(house: House) -> list[tuple[str, str]]:
    """Return event and subject of what the audit log has, oldest first."""
    return [(row.event, row.subject) for row in reversed(audit.rows(house.ledger.db, 1000))]


def test_a_kill_leaves_before_what_has_arrived_is_stored(house: House) -> None:
    """Storing waits for the disk, and there may be much of it."""
    known = len(journal(house))
    house.broker.fill(house.broker.find(CANARY), Decimal(1))
    house.halt(HaltLevel.KILL)
    house.trader.step()
    events = journal(house)[known + 1 :]
    assert events[0] == ASKED
    assert "fill.recorded" in [event for event, _ in events]


@pytest.mark.parametrize("question", [1, 2, 3, 4])
def test_a_kill_leaves_before_the_run_is_blocked(house: House, question: int) -> None:
    """However late in a step it comes: giving up what is planned takes long."""
    known, asked, answer = len(journal(house)), 0, house.desk.halt

    def halted(db: Connection) -> HaltLevel | None:
        nonlocal asked
        asked += 1
        return HaltLevel.KILL if asked >= question else answer(db)

    house.desk.halt = halted
    house.until(lambda: house.run().status is RunState.BLOCKED)
    events = journal(house)[known:]
    assert events.index(ASKED) < events.index(("run.moved", "run-K1"))
