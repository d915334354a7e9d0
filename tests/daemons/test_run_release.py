"""A run that needs an approval waits for it, and goes on with what was approved or not at all."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import alerts, approvals
from ibloop.adapters.ledger.approvals import Approval
from ibloop.adapters.ledger.runs import Run
from ibloop.core.gates import Gate
from ibloop.core.lifecycle import RunReason, RunState
from ibloop.core.model import HaltLevel, Side
from tests.daemons.test_send_rails import approve
from tests.fakes.house import House

D = Decimal
WAITING = RunState.AWAITING_APPROVAL


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a paper house whose runs need an approval."""
    made = House(tmp_path, execution={"approval": "required", "approval_minutes": 20})
    made.settle()
    return made


@pytest.fixture
def waiting(house: House) -> House:
    """Return the house with a run that waits for its approval."""
    house.queue()
    house.until(lambda: house.run().status is WAITING)
    return house


def ticket(house: House) -> Approval:
    """Return the ticket of the run's present attempt."""
    run = house.run()
    found = approvals.find(house.ledger.db, run.run_id, run.attempt)
    assert found is not None
    return found


def test_a_run_waits_with_its_ticket_and_says_so(waiting: House) -> None:
    """Nothing leaves; the ticket holds every planned order, and people are told once."""
    waiting.play(30)
    assert waiting.sent() == []
    lines = {(line.symbol, line.side, line.quantity_max) for line in ticket(waiting).ticket.lines}
    assert lines == {(o.symbol, o.side, o.quantity) for o in waiting.orders().values()}
    assert ("BBB", Side.SELL, D(500)) in lines
    assert "5 orders wait for approval until 2026-11-20 15:50 UTC" in waiting.run().detail
    told = [a for a in alerts.listing(waiting.ledger.db, 9) if a.event == "run.awaiting_approval"]
    assert len(told) == 1
    assert "`ibloop run approve K1`" in told[0].text


def test_approved_it_sends_exactly_that(waiting: House) -> None:
    """The limit price is set at the send; everything else is as the ticket says."""
    approve(waiting)
    waiting.quotes.prices["CCC"] = D("30.30")
    assert waiting.until_ended().status is RunState.DONE
    assert waiting.broken() == ()
    limit = waiting.orders()["CCC"].limit_price
    assert limit is not None
    assert limit > D("30.30")


def test_an_approval_that_comes_between_is_looked_at_with_every_gate(
    waiting: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given after the gates were asked for and before the lock is held: no order leaves."""
    whole = waiting.trader._release.go_on
    failed = Gate("stream", False, RunReason.STREAM_STALE, "silent")

    def late(run: Run) -> bool:
        approve(waiting)
        waiting.gate = failed
        return whole(run)

    monkeypatch.setattr(waiting.trader._release, "go_on", late)
    waiting.settle()
    monkeypatch.undo()
    waiting.play(10)
    run = waiting.run()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.STREAM_STALE)
    assert waiting.sent() == []


def test_waiting_costs_a_run_none_of_its_time(waiting: House) -> None:
    """Approved after nineteen minutes it still has its half hour, and its orders live as long."""
    before = waiting.run().deadline_at
    waiting.play(19 * 60, tick_s=60)
    approve(waiting)
    assert waiting.until_ended().status is RunState.DONE
    after = waiting.run().deadline_at
    assert before is not None
    assert after is not None
    assert timedelta(minutes=19) <= after - before <= timedelta(minutes=20)
    assert {order.good_till for order in waiting.orders().values()} == {after}


def test_a_late_approval_is_none(waiting: House) -> None:
    """Whoever approves after the time approves another market: the run is blocked unsent."""
    waiting.play(21 * 60, tick_s=60)
    run = waiting.run()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.APPROVAL_EXPIRED)
    assert set(waiting.states().values()) == {"not_sent"}
    assert waiting.sent() == []


def test_an_approval_runs_out_by_boot_time_too(waiting: House) -> None:
    """A wall clock that is set back makes no approval younger."""
    for _ in range(3):
        waiting.clock.step_wall(-600)
        waiting.play(7 * 60, tick_s=60)
    assert waiting.run().reason is RunReason.APPROVAL_EXPIRED


def test_the_gates_are_asked_once_more(waiting: House) -> None:
    """What has gone wrong while a person read stops the run before its first order."""
    waiting.gate = Gate("stream", False, RunReason.STREAM_STALE, "no heartbeat")
    waiting.play(60)
    assert waiting.run().status is WAITING  # nobody has asked for anything yet
    approve(waiting)
    run = waiting.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.STREAM_STALE)
    assert waiting.sent() == []


def test_a_halt_between_approval_and_send_is_obeyed(waiting: House) -> None:
    """An approval is no order to send: every send asks for a halt."""
    approve(waiting)
    waiting.halt(HaltLevel.PAUSE)
    run = waiting.until_ended()
    assert (run.reason, waiting.sent()) == (RunReason.GUARD_HALTED, [])


def test_approved_too_late_in_the_day_it_does_not_begin(waiting: House) -> None:
    """The plan no longer fits what is left of the session."""
    approve(waiting)
    waiting.deadline = timedelta(seconds=5)
    run = waiting.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.WINDOW_TOO_SHORT)
    assert "5 orders need about" in run.detail
    assert waiting.sent() == []


def test_a_plan_that_does_not_fit_never_asks(house: House) -> None:
    """Nobody is asked to approve what could not be sent any more."""
    house.deadline = timedelta(seconds=10)
    house.queue()
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.WINDOW_TOO_SHORT)
    assert house.orders() == {}


def test_an_executor_that_dies_while_a_run_waits_finds_it_again(waiting: House) -> None:
    """The state is in the ledger: another process goes on, before and after the approval."""
    waiting.restart()
    waiting.play(5)
    assert waiting.run().status is WAITING
    approve(waiting)
    waiting.restart()
    assert waiting.until_ended().status is RunState.DONE
    assert len(waiting.sent()) == len(set(waiting.sent())) == 5


def test_a_run_that_waits_can_be_cancelled(waiting: House) -> None:
    """Its orders are left unsent for good, and a later approval finds nothing."""
    waiting.cancel_run()
    waiting.settle()
    assert waiting.run().status is RunState.CANCELED
    assert set(waiting.states().values()) == {"not_sent"}
    approve(waiting)
    waiting.play(60)
    assert waiting.sent() == []


def test_the_next_attempt_needs_its_own_approval(waiting: House) -> None:
    """A retried run has another ticket: what was approved before is not what is sent now."""
    first = ticket(waiting).ticket_hash
    approve(waiting)
    waiting.halt(HaltLevel.PAUSE)
    waiting.until_ended()
    with waiting.ledger.transaction() as tx:
        tx.execute("UPDATE halts SET cleared_at = created_at, cleared_by = 'a', clear_reason = 'b'")
    waiting.retry()
    waiting.until(lambda: waiting.run().status is WAITING)
    assert ticket(waiting).ticket_hash != first
    assert ticket(waiting).approved_at is None
    approve(waiting)
    assert waiting.until_ended().status is RunState.DONE


def test_a_run_with_nothing_to_send_asks_nobody(house: House) -> None:
    """There is nothing to approve: it ends at once."""
    house.queue("K1", {"AAA": "0.10", "BBB": "0.10"})
    run = house.until_ended()
    assert run.status is RunState.DONE
    assert approvals.find(house.ledger.db, run.run_id, run.attempt) is None


def test_a_changed_switch_does_not_let_an_unapproved_run_go(waiting: House) -> None:
    """Whoever switches approvals off while a run waits has not approved it."""
    execution = replace(waiting.config.execution, approval="live")
    waiting.config = replace(waiting.config, execution=execution)
    waiting.restart()
    waiting.play(60)
    assert waiting.run().status is WAITING
    assert waiting.sent() == []
