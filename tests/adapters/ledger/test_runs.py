"""Runs: one at a time, moved by compare-and-set along the table of states."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ibloop.adapters.ledger import audit, runs, snapshots
from ibloop.adapters.ledger.connection import IntegrityError, Ledger
from ibloop.core.invariant import InvariantError
from ibloop.core.lifecycle import RUN_TRANSITIONS, RunReason, RunState
from ibloop.core.orders import PlanLine

HASH = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # of {}


def insert(ledger: Ledger, *new: runs.Run) -> None:
    """Store runs."""
    with ledger.transaction() as tx:
        for run in new:
            runs.insert(tx, run, "test")


def move(ledger: Ledger, make: Any, source: RunState, target: RunState) -> bool:
    """Move run r1, with a reason where a reason is due."""
    reason = RunReason.MARKET_CLOSED if target is RunState.BLOCKED else None
    with ledger.transaction() as tx:
        return runs.move(
            tx, "r1", source, target, reason=reason, detail="d", now=make.at(9), actor="test"
        )


def test_a_run_reads_back_as_written(ledger: Ledger, make: Any) -> None:
    """Every column survives the way to the disk and back, and both names find it."""
    with ledger.transaction() as tx:
        snapshots.freeze(tx, "s1", HASH, make.t0, "targets.csv", "{}", make.t0)
    run = replace(
        make.run(),
        status=RunState.BLOCKED,
        reason=RunReason.STREAM_STALE,
        snapshot_id="s1",
        snapshot_hash=HASH,
        deadline_at=make.at(60),
        baseline_at=make.at(5),
        equity_usd=Decimal("1000.5"),
        cash_usd=Decimal(-3),
    )
    insert(ledger, run)
    assert runs.find(ledger.db, "r1") == runs.find(ledger.db, "R1") == run
    assert runs.find_key(ledger.db, "R1") == run
    assert runs.find(ledger.db, "r2") is runs.find_key(ledger.db, "r1") is None


def test_a_period_has_one_run(ledger: Ledger, make: Any) -> None:
    """A timer that fires twice makes one run."""
    insert(ledger, make.run())
    with pytest.raises(IntegrityError):
        insert(ledger, replace(make.run("r2"), run_key="R1"))


def test_the_oldest_queued_run_is_claimed_and_only_one_at_a_time(ledger: Ledger, make: Any) -> None:
    """Nothing is claimed while another run may change positions."""
    insert(ledger, make.run("r2", at=2), make.run("r1", at=1))
    with ledger.transaction() as tx:
        claimed = runs.claim_next(tx, make.at(3), "executor")
        assert claimed is not None
        assert (claimed.run_id, claimed.status) == ("r1", RunState.PREPARING)
        assert runs.claim_next(tx, make.at(3), "executor") is None
    for target in (RunState.AWAITING_APPROVAL, RunState.EXECUTING, RunState.RECONCILING):
        (under_way,) = runs.active(ledger.db)
        assert move(ledger, make, under_way.status, target)
        with ledger.transaction() as tx:
            assert runs.claim_next(tx, make.at(4), "executor") is None
    assert move(ledger, make, RunState.RECONCILING, RunState.DONE)
    with ledger.transaction() as tx:
        second = runs.claim_next(tx, make.at(5), "executor")
        assert second is not None
        assert second.run_id == "r2"


@pytest.mark.parametrize("source", list(RunState))
@pytest.mark.parametrize("target", list(RunState))
def test_a_run_moves_along_the_table_or_not_at_all(
    ledger: Ledger, make: Any, source: RunState, target: RunState
) -> None:
    """Whatever is not in the table is a programmer's error; a late move changes nothing."""
    reason = RunReason.RUN_ACTIVE if source is RunState.BLOCKED else None
    insert(ledger, replace(make.run(), status=source, reason=reason))
    if target not in RUN_TRANSITIONS[source]:
        with pytest.raises(InvariantError):
            move(ledger, make, source, target)
        return
    assert move(ledger, make, source, target)
    found = runs.find(ledger.db, "r1")
    assert found is not None
    assert (found.status, found.updated_at, found.detail) == (target, make.at(9), "d")
    rows = len(audit.rows(ledger.db, 99))
    assert not move(ledger, make, source, target)
    assert len(audit.rows(ledger.db, 99)) == rows


def test_a_blocked_run_is_queued_again_as_the_next_attempt(ledger: Ledger, make: Any) -> None:
    """The retry follows a fresh decision; what belonged to the old attempt is gone."""
    with ledger.transaction() as tx:
        snapshots.freeze(tx, "s1", HASH, make.t0, "targets.csv", "{}", make.t0)
    blocked = replace(make.run(), status=RunState.BLOCKED, reason=RunReason.STREAM_STALE)
    insert(
        ledger,
        replace(blocked, deadline_at=make.at(1), baseline_at=make.at(1), equity_usd=Decimal(5)),
    )
    fresh = {"snapshot_id": "s1", "snapshot_hash": HASH, "config_hash": "beef", "build": "0.2.0"}
    with ledger.transaction() as tx:
        assert runs.requeue(tx, "r1", **fresh, now=make.at(2), actor="ann")
        assert not runs.requeue(tx, "r1", **fresh, now=make.at(2), actor="ann")
    assert runs.find(ledger.db, "r1") == replace(
        make.run(), attempt=1, updated_at=make.at(2), **fresh
    )


def test_a_blocked_run_can_be_blocked_for_another_reason(ledger: Ledger, make: Any) -> None:
    """Tried again, a gate failed again: the newest reason counts, the attempt stays."""
    insert(ledger, replace(make.run(), status=RunState.BLOCKED, reason=RunReason.STREAM_STALE))
    again = {"reason": RunReason.MARKET_CLOSED, "detail": "Saturday"}
    with ledger.transaction() as tx:
        assert runs.restate(tx, "r1", **again, now=make.at(2), actor="ann")
    found = runs.find(ledger.db, "r1")
    assert found is not None
    assert (found.reason, found.detail, found.attempt) == (*again.values(), 0)
    insert(ledger, make.run("r2"))
    with ledger.transaction() as tx:
        assert not runs.restate(tx, "r2", **again, now=make.at(2), actor="ann")


def test_listing_shows_the_newest_first(ledger: Ledger, make: Any) -> None:
    """A person reads the last run on the first line."""
    insert(ledger, make.run("r1", at=1), make.run("r2", at=2), make.run("r3", at=3))
    assert move(ledger, make, RunState.QUEUED, RunState.CANCELED)
    assert [run.run_id for run in runs.listing(ledger.db, 2)] == ["r3", "r2"]
    canceled = runs.listing(ledger.db, 9, RunState.CANCELED)
    assert [run.run_id for run in canceled] == ["r1"]


def test_deadline_and_basis_are_kept(ledger: Ledger, make: Any) -> None:
    """What a plan was made of, and until when it may run, is in the run's row."""
    basis: dict[str, Any] = {
        "baseline_at": make.at(0.5),
        "deadline_at": make.at(60),
        "equity_usd": Decimal("100000.10"),
        "cash_usd": Decimal(500),
    }
    insert(ledger, make.run())
    with ledger.transaction() as tx:
        runs.set_basis(tx, "r1", **basis, now=make.at(1), actor="executor")
    found = runs.find(ledger.db, "r1")
    assert found == replace(make.run(), updated_at=make.at(1), **basis)
    with pytest.raises(InvariantError), ledger.transaction() as tx:
        runs.set_basis(tx, "r9", **basis, now=make.at(1), actor="executor")


def test_a_plan_says_why_every_share(ledger: Ledger, make: Any) -> None:
    """A plan replaces the earlier one of its attempt and leaves other attempts alone."""
    insert(ledger, make.run())
    sell = PlanLine(
        symbol="BBB",
        con_id=2,
        weight=None,
        baseline_quantity=Decimal(30),
        target_quantity=None,
        planned_quantity=Decimal(30),
        price=None,
        quote_source=None,
        note="not in the targets, and no price",
    )
    buy = PlanLine(
        symbol="AAA",
        con_id=1,
        weight=Decimal("0.25"),
        baseline_quantity=Decimal(-1),
        target_quantity=Decimal(12),
        planned_quantity=Decimal(10),
        price=Decimal("9.5"),
        quote_source="ib_stream",
        note="",
    )
    with ledger.transaction() as tx:
        runs.set_plan_lines(tx, "r1", 0, [buy], make.t0, "executor")
        runs.set_plan_lines(tx, "r1", 0, [sell, buy], make.t0, "executor")
        runs.set_plan_lines(tx, "r1", 1, [sell], make.t0, "executor")
    assert runs.plan_lines(ledger.db, "r1", 0) == (buy, sell)
    assert runs.plan_lines(ledger.db, "r1") == (sell,)
    assert runs.plan_lines(ledger.db, "r9") == ()
