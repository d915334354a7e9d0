"""A kill reaches the wire before anything else that a step would write to the disk."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger import gate as gate_module
from ibloop.adapters.ledger.connection import (
    Connection,
    LedgerBusyError,
    OperationalError,
    Tx,
    driver,
)
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


@contextmanager
def locked(house: House) -> Iterator[None]:
    """Let a program outside ibloop hold the write lock."""
    house.ledger.db.execute("PRAGMA busy_timeout = 20")
    with closing(driver.connect(house.ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def stopped_inside(house: House) -> Iterator[None]:
    """Let a process of ours stand still inside a transaction."""
    other = house.open_ledger()
    with closing(other), other.transaction():
        yield


@contextmanager
def read_only(house: House) -> Iterator[None]:
    """Take the right to write away."""
    house.ledger.db.execute("PRAGMA query_only = 1")
    yield
    house.ledger.db.execute("PRAGMA query_only = 0")


@contextmanager
def full(house: House) -> Iterator[None]:
    """Fill the disk to the last page."""
    db, now = house.ledger.db, house.clock.now().utc
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    for size in (2000, 10):
        with suppress(OperationalError):
            for _ in range(2000):
                with house.ledger.transaction() as tx:
                    audit.append(tx, "test", "test.filled", "", {"text": "x" * size}, now=now)
    yield
    db.execute("PRAGMA max_page_count = 1000000")


TROUBLES = [locked, stopped_inside, read_only, full]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_kill_leaves_although_the_ledger_cannot_be_written(
    house: House, trouble: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the HALT file, which needs no ledger; the cancel is written down when it can be."""
    monkeypatch.setattr(gate_module, "GATE_WAIT_S", 0.05)
    (house.directory / "HALT").write_text("kill")
    with trouble(house):  # type: ignore[operator]
        for _ in range(3):
            with suppress(LedgerBusyError, OperationalError):
                house.trader.step()
        assert house.broker.canceled == house.broker.placed  # once
        known = len(journal(house))
        house.clock.advance(6)
        with suppress(LedgerBusyError, OperationalError):
            house.trader.step()
        assert house.broker.canceled == house.broker.placed * 2
        assert ASKED not in journal(house)[known:]
    house.play(5)
    assert ASKED in journal(house)[known:]
    assert house.states()["AAA"] == "canceled"
    assert house.broker.canceled == house.broker.placed * 2


def test_a_cancel_whose_commit_fails_is_not_taken_for_written(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk shows at the commit: no flood of cancels, and a later look writes it down."""
    whole = house.ledger.transaction

    @contextmanager
    def full_at_the_commit() -> Iterator[Tx]:
        with whole() as tx:
            yield tx
            raise OperationalError("database or disk is full")

    (house.directory / "HALT").write_text("kill")
    monkeypatch.setattr(house.ledger, "transaction", full_at_the_commit)
    for _ in range(100):
        with suppress(OperationalError):
            house.trader.step()
    assert house.broker.canceled == house.broker.placed  # once
    monkeypatch.setattr(house.ledger, "transaction", whole)
    known = len(journal(house))
    house.play(5)
    assert ASKED in journal(house)[known:]


def test_any_other_error_of_the_database_is_not_passed_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes are out, and the process ends."""

    def broken() -> object:
        raise OperationalError("disk I/O error")

    (house.directory / "HALT").write_text("kill")
    monkeypatch.setattr(house.ledger, "transaction", broken)
    with pytest.raises(OperationalError):
        house.trader.step()
    assert house.broker.canceled == house.broker.placed
