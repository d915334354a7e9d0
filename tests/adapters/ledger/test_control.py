"""Halts, commands, guard evaluations, alerts, snapshots."""

import hashlib
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ibloop.adapters.ledger import (
    alerts,
    audit,
    commands,
    guard_state,
    halts,
    runs,
    snapshots,
)
from ibloop.adapters.ledger.commands import CommandStatus
from ibloop.adapters.ledger.connection import IntegrityError, Ledger
from ibloop.core.invariant import InvariantError
from ibloop.core.model import HaltLevel


def test_the_severest_halt_counts(ledger: Ledger, make: Any) -> None:
    """Kill over pause over reduce-only, in whatever order they came."""
    assert halts.level(ledger.db) is None
    for level, expected in (
        (HaltLevel.REDUCE_ONLY, HaltLevel.REDUCE_ONLY),
        (HaltLevel.PAUSE, HaltLevel.PAUSE),
        (HaltLevel.REDUCE_ONLY, HaltLevel.PAUSE),
        (HaltLevel.KILL, HaltLevel.KILL),
        (HaltLevel.PAUSE, HaltLevel.KILL),
    ):
        with ledger.transaction() as tx:
            halts.halt(tx, level, "too hot", "guard", "guard", make.at(1))
        assert halts.level(ledger.db) is expected


def test_resuming_clears_all_and_says_who(ledger: Ledger, make: Any) -> None:
    """A halt stands until a person clears it, and stays in the history."""
    assert halts.last_cleared_at(ledger.db) is None
    with ledger.transaction() as tx:
        first = halts.halt(tx, HaltLevel.PAUSE, "lunch", "cli", "ann", make.at(1))
        halts.halt(tx, HaltLevel.KILL, "loss", "guard", "guard", make.at(2))
    assert [halt.reason for halt in halts.active(ledger.db)] == ["lunch", "loss"]
    with ledger.transaction() as tx:
        assert halts.resume(tx, "bob", "looked into it", make.at(3)) == 2
        assert halts.resume(tx, "bob", "again", make.at(4)) == 0
    assert halts.active(ledger.db) == ()
    assert halts.level(ledger.db) is None
    assert halts.last_cleared_at(ledger.db) == make.at(3)
    cleared = halts.listing(ledger.db, 9)[-1]
    assert (cleared.halt_id, cleared.cleared_by) == (first, "bob")
    events = [(row.actor, row.event) for row in audit.rows(ledger.db, 3)]
    assert events == [
        ("bob", "halt.cleared"),
        ("guard", "halt.requested"),
        ("ann", "halt.requested"),
    ]


def test_a_halt_needs_a_reason_and_a_known_source(ledger: Ledger, make: Any) -> None:
    """Nobody should have to guess who stopped the account, or why."""
    for reason, source in (("", "cli"), ("x", "dream")):
        with pytest.raises(IntegrityError), ledger.transaction() as tx:
            halts.halt(tx, HaltLevel.PAUSE, reason, source, "ann", make.t0)


def test_a_command_is_finished_once(ledger: Ledger, make: Any) -> None:
    """The owner answers; a second answer changes nothing."""
    with ledger.transaction() as tx:
        first = commands.request(tx, "run.cancel", {"run": "r1"}, "ann", make.at(1))
        second = commands.request(tx, "orders.cancel", {}, "ann", make.at(2))
    assert [command.command_id for command in commands.queued(ledger.db)] == [first, second]
    with ledger.transaction() as tx:
        assert commands.finish(tx, first, CommandStatus.REFUSED, "it is over", make.at(3))
        assert not commands.finish(tx, first, CommandStatus.DONE, "done", make.at(4))
        with pytest.raises(InvariantError):
            commands.finish(tx, second, CommandStatus.QUEUED, "", make.at(4))
    assert [command.command_id for command in commands.queued(ledger.db)] == [second]
    assert commands.find(ledger.db, first) == commands.Command(
        command_id=first,
        kind="run.cancel",
        args={"run": "r1"},
        requested_by="ann",
        created_at=make.at(1),
        status=CommandStatus.REFUSED,
        result="it is over",
        done_at=make.at(3),
    )
    assert commands.find(ledger.db, 99) is None


def test_guard_evaluations_are_kept_and_changes_audited(ledger: Ledger, make: Any) -> None:
    """Each evaluation is a row; the audit log tells of the first and of changes."""
    row = guard_state.GuardRow(
        trade_date=date(2026, 11, 20),
        evaluated_at=make.at(1),
        status="ok",
        equity=Decimal(99000),
        equity_source="stream",
        baseline_equity=Decimal(100000),
        baseline_at=make.t0,
        peak_equity=Decimal(101000),
        day_loss=Decimal("0.01"),
        drawdown=Decimal("0.0198"),
        detail={"prices": 5},
    )
    degraded = replace(row, status="degraded", equity=None, day_loss=None, baseline_at=None)
    assert guard_state.last(ledger.db) is None
    for evaluation in (row, row, degraded, degraded):
        with ledger.transaction() as tx:
            guard_state.record(tx, evaluation)
        assert guard_state.last(ledger.db) == evaluation
    changes = [r.payload["to"] for r in audit.rows(ledger.db, 99) if r.event.startswith("guard")]
    assert changes == ["degraded", "ok"]


def test_an_alert_is_raised_once_for_a_key(ledger: Ledger, make: Any) -> None:
    """The same trouble seen every second is one message; without a key each one counts."""

    def alert(key: str | None, severity: str = "warning") -> int | None:
        with ledger.transaction() as tx:
            return alerts.raise_alert(
                tx, severity, "run.blocked", "r1", "no prices", key, make.at(1)
            )

    assert alert("blocked:r1") == 1
    rows = audit.rows(ledger.db, 99)
    assert alert("blocked:r1") is None
    assert audit.rows(ledger.db, 99) == rows
    assert alert(None) == 2
    assert alert(None, "critical") == 3
    found = alerts.listing(ledger.db, 2)
    assert [row.alert_id for row in found] == [3, 2]
    assert (found[0].severity, found[0].attempts) == (alerts.Severity.CRITICAL, 0)
    assert (found[0].next_try_at, found[0].delivered_at) == (make.at(1), None)
    with pytest.raises(ValueError, match="loud"):
        alert(None, "loud")


def test_the_same_decision_is_frozen_once(ledger: Ledger, make: Any) -> None:
    """A decision is what its content is; asking again gives the row that is there."""
    content = '{"targets":[]}'
    digest = hashlib.sha256(content.encode()).hexdigest()
    with ledger.transaction() as tx:
        first = snapshots.freeze(tx, "s1", digest, make.t0, "a.csv", content, make.at(1), "ann")
        assert first == snapshots.find(ledger.db, "s1")
        again = snapshots.freeze(tx, "s2", digest, make.at(9), "b.csv", content, make.at(9), "ann")
        assert again == first
        with pytest.raises(InvariantError, match="not the hash"):
            snapshots.freeze(tx, "s3", digest, make.t0, "a.csv", "{}", make.at(9), "ann")
    assert snapshots.find(ledger.db, "s2") is None


def test_the_verdict_of_the_gates_is_kept(ledger: Ledger, make: Any) -> None:
    """Every attempt's gates can be read afterwards; the newest counts."""
    make.planned(ledger)
    failed = snapshots.PreTrade(
        pretrade_id="p1",
        run_id="r1",
        attempt=0,
        created_at=make.at(1),
        passed=False,
        gates=[{"gate": "stream", "passed": False}],
        targets_path="targets.csv",
        build="0.1.0",
    )
    again = replace(failed, pretrade_id="p2", created_at=make.at(2))
    passed = replace(failed, pretrade_id="p3", attempt=1, created_at=make.at(3), passed=True)
    with ledger.transaction() as tx:
        for pretrade in (failed, again, passed):
            snapshots.record_pretrade(tx, pretrade, "ann")
    assert snapshots.pretrade_of(ledger.db, "r1") == passed
    assert snapshots.pretrade_of(ledger.db, "r1", 0) == again
    assert snapshots.pretrade_of(ledger.db, "r9") is None
    with pytest.raises(IntegrityError), ledger.transaction() as tx:
        snapshots.record_pretrade(tx, replace(failed, pretrade_id="p4", run_id="r9"), "ann")
    assert runs.find(ledger.db, "r1") is not None
