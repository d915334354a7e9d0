"""Real processes on one ledger: killed at the worst moment, and racing for the same row."""

import signal
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.ledger import audit, halts, orders, runs
from ibloop.adapters.ledger.connection import Ledger, open_ledger
from ibloop.core.lifecycle import OrderState, RunState
from ibloop.core.model import Mode

OPEN = """
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from ibloop.adapters.ledger import fills, halts, orders, runs
from ibloop.adapters.ledger.connection import open_ledger
from ibloop.core.model import HaltLevel, Mode
ledger = open_ledger(Path(sys.argv[1]), mode=Mode.PAPER, account="DU1234567")
now = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
def pause(word):
    print(word, flush=True)
    sys.stdin.readline()
"""

CLAIM = (
    OPEN
    + """
pause("ready")
with ledger.transaction() as tx:
    run = runs.claim_next(tx, now, "executor")
print("won" if run else "lost", flush=True)
"""
)

SEND = (
    OPEN
    + """
with ledger.transaction() as tx:
    assert halts.level(tx.db) is None
    orders.mark_sending(
        tx, "ibl:R1:AAA:B:0", ib_order_id=1, limit_price=Decimal(10), arrival_price=Decimal(10),
        quote_seq=1, quote_source="ib_stream", quote_at=now, good_till=now, now=now,
        actor="executor",
    )
    pause("journalled")
pause("committed")
"""
)

HALT = (
    """
print("halting", flush=True)
"""
    + OPEN
    + """
with ledger.transaction() as tx:
    halts.halt(tx, HaltLevel.PAUSE, "stop", "cli", "ann", now)
print("halted", flush=True)
"""
)


def go_on(process: Any) -> None:
    """Let a paused process run on."""
    process.stdin.write("\n")
    process.stdin.flush()


def kill(process: Any) -> None:
    """Kill -9, and wait until it is gone."""
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)


def test_of_several_claimers_exactly_one_wins(
    ledger: Ledger, path: Path, make: Any, processes: Any
) -> None:
    """Two executors on one ledger (promise P10): the run is prepared once."""
    for number in range(3):
        run_id = f"r{number}"
        with ledger.transaction() as tx:
            runs.insert(tx, make.run(run_id), "test")
        claimers = [processes.start(CLAIM, path) for _ in range(2)]
        for claimer in claimers:
            assert claimer.stdout.readline() == "ready\n"
        for claimer in claimers:
            go_on(claimer)
        verdicts = [claimer.communicate(timeout=60)[0] for claimer in claimers]
        assert sorted(verdicts) == ["lost\n", "won\n"]
        claimed = runs.find(ledger.db, run_id)
        assert claimed is not None
        assert claimed.status is RunState.PREPARING
        steps = [row for row in audit.rows(ledger.db, 99) if row.subject == run_id]
        assert [row.event for row in steps] == ["run.moved", "run.created"]
        with ledger.transaction() as tx:
            runs.move(
                tx,
                run_id,
                RunState.PREPARING,
                RunState.BLOCKED,
                reason=runs.RunReason.MARKET_CLOSED,
                detail="",
                now=make.at(9),
                actor="test",
            )


@pytest.mark.parametrize(
    ("is_committed", "status"), [(False, OrderState.PLANNED), (True, OrderState.SENDING)]
)
def test_a_kill_loses_nothing_committed_and_leaves_nothing_else(
    ledger: Ledger, path: Path, make: Any, processes: Any, is_committed: bool, status: OrderState
) -> None:
    """Killed before the commit: as if never begun. After it: journalled (promise P2)."""
    make.planned(ledger)
    sender = processes.start(SEND, path)
    assert sender.stdout.readline() == "journalled\n"
    if is_committed:
        go_on(sender)
        assert sender.stdout.readline() == "committed\n"
    kill(sender)
    reopened = open_ledger(path, mode=Mode.PAPER, account=make.account)
    row = orders.find(reopened.db, "ibl:R1:AAA:B:0")
    assert row is not None
    assert row.order.status is status
    assert audit.verify(reopened.db).is_whole
    # The gate died with its holder: the next writer does not wait.
    with reopened.transaction() as tx:
        halts.halt(tx, halts.HaltLevel.PAUSE, "a look", "cli", "ann", make.at(1))
    reopened.close()


def test_a_halt_waits_for_the_send_before_it_and_stops_the_next(
    ledger: Ledger, path: Path, make: Any, processes: Any
) -> None:
    """Whatever begins after `ibloop halt` has returned sees the halt (promise P7)."""
    make.planned(ledger)
    sender = processes.start(SEND, path)
    assert sender.stdout.readline() == "journalled\n"
    halter = processes.start(HALT, path)
    assert halter.stdout.readline() == "halting\n"
    assert halts.level(ledger.db) is None
    go_on(sender)
    assert sender.stdout.readline() == "committed\n"
    assert halter.stdout.readline() == "halted\n"
    kill(sender)
    assert halter.wait(timeout=30) == 0
    events = [row.event for row in audit.rows(ledger.db, 2)]
    assert events == ["halt.requested", "order.journalled"]
    with ledger.transaction() as tx:
        assert halts.level(tx.db) is halts.HaltLevel.PAUSE


def test_many_writers_all_get_through(ledger: Ledger, path: Path, processes: Any) -> None:
    """No writer is refused or lost, and the chain has no fork."""
    halters = [processes.start(HALT, path) for _ in range(6)]
    assert [halter.communicate(timeout=90)[0] for halter in halters] == ["halting\nhalted\n"] * 6
    assert len(halts.active(ledger.db)) == 6
    verdict = audit.verify(ledger.db)
    assert (verdict.rows, verdict.is_whole) == (8, True)
