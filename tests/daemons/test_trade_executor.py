"""A run is claimed once, ends or is blocked with a reason, and its account agrees at the end."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import commands, fills, halts, runs
from ibloop.config import Config
from ibloop.core import events as ev
from ibloop.core.gates import Gate
from ibloop.core.lifecycle import RunReason, RunState
from ibloop.core.model import HaltLevel, Side
from ibloop.daemons.executing.run_commands import CANCEL_RUN
from tests.fakes.house import House

D = Decimal
NO_FILL: tuple[Decimal, ...] = ()


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house at rest, synchronised with the broker."""
    made = House(tmp_path)
    made.settle()
    return made


def answer(house: House, command_id: int) -> tuple[str, str | None]:
    """Return status and result of a command."""
    found = commands.find(house.ledger.db, command_id)
    assert found is not None
    return str(found.status), found.result


# --- claiming and preparing -----------------------------------------------------------------------


def test_runs_go_one_after_the_other(house: House) -> None:
    """The second is claimed when the first has ended, and starts from what that has left."""
    house.queue("K1")
    house.queue("K2")
    assert house.until_ended("K2").status is RunState.DONE
    assert house.run("K1").status is RunState.DONE
    assert house.run("K2").reason is RunReason.NOTHING_TO_DO


def test_a_run_is_not_claimed_before_the_truth_is_known(house: House) -> None:
    """Without evidence it stays queued: nobody has begun anything."""
    house.broker.disconnect()
    house.settle()
    house.queue()
    house.play(120, tick_s=10)
    assert house.run().status is RunState.QUEUED
    house.broker.connect()
    assert house.until_ended().status is RunState.DONE


def test_a_plan_is_made_of_evidence_begun_after_the_claim(house: House) -> None:
    """Also within the millisecond of the claim: what was asked before it is not used."""
    house.broker.evidence_held = True
    house.desk.want_evidence()
    house.clock.advance(1)
    house.settle()
    old = house.broker.evidence()
    house.queue()
    house.settle()
    assert house.run().status is RunState.PREPARING
    house.broker.positions["AAA"] = D(900)
    house.broker.finish_evidence(old)
    house.settle()
    assert house.run().status is RunState.PREPARING
    house.broker.evidence_held = False
    house.play(1)
    lines = runs.plan_lines(house.ledger.db, "run-K1", 0)
    assert [x.baseline_quantity for x in lines if x.symbol == "AAA"] == [900]


@pytest.mark.parametrize("wall_s", [0, -7200, 7200])
def test_a_claimed_run_is_blocked_when_the_truth_does_not_come(house: House, wall_s: int) -> None:
    """After a minute of boot time, whatever the wall clock does; not for ever preparing."""
    house.broker.evidence_held = True
    house.queue()
    house.play(5)
    house.clock.step_wall(wall_s)
    house.play(50)
    assert house.run().status is RunState.PREPARING
    run = house.until_ended(seconds=10)
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.GATEWAY_UNAVAILABLE)


def test_the_patience_of_a_retry_begins_anew(house: House) -> None:
    """The wait of an attempt long ago is not that of the next one."""
    house.broker.evidence_held = True
    house.queue()
    house.until_ended(seconds=70)
    house.broker.evidence_held = False
    house.broker.finish_evidence()
    house.play(600, tick_s=60)
    house.retry()
    assert house.until_ended().status is RunState.DONE


def test_a_gate_that_fails_by_now_blocks_the_run(house: House) -> None:
    """The gates are asked again when the run is taken; nothing is planned then."""
    house.gate = Gate("stream", False, RunReason.STREAM_STALE, "no heartbeat")
    house.queue()
    run = house.until_ended()
    assert (run.reason, run.detail) == (RunReason.STREAM_STALE, "no heartbeat")
    assert house.orders() == {}


def test_no_time_left_blocks_the_run(house: House) -> None:
    """Orders die five minutes before the close: a run needs time before that."""
    house.deadline = None
    house.queue()
    assert house.until_ended().reason is RunReason.WINDOW_TOO_SHORT


def test_an_account_without_equity_is_not_planned_for(house: House) -> None:
    """Zero net liquidation is a reading that cannot be sized against, and no crash."""
    house.broker.cash = D(-20_000)
    house.queue()
    assert house.until_ended().reason is RunReason.ACCOUNT_STALE


def test_a_plan_beyond_the_limits_sends_nothing(tmp_path: Path) -> None:
    """The run is blocked whole, with the breach and what to do."""
    house = House(tmp_path, plan_turnover_weight_max=D("0.1"))
    house.queue()
    run = house.until_ended()
    assert (run.reason, house.sent()) == (RunReason.LIMIT_BREACHED, [])
    assert "plan_turnover_weight_max" in run.detail


@pytest.mark.parametrize("limit", ["orders_per_day_max", "day_turnover_weight_max"])
def test_what_was_sent_today_counts(tmp_path: Path, limit: str) -> None:
    """A second run of the day is held to what the first has left of the day's limit (P8)."""
    house = House(tmp_path, **{limit: 6 if limit == "orders_per_day_max" else D("0.7")})
    house.queue("K1")
    house.until_ended("K1")
    house.queue("K2", {"CCC": "0.01", "DDD": "0.01", "EEE": "0.01"})
    run = house.until_ended("K2")
    assert (run.reason, len(house.sent())) == (RunReason.LIMIT_BREACHED, 5)


# --- ending ---------------------------------------------------------------------------------------


def test_the_deadline_ends_a_run(house: House) -> None:
    """What is unsent is abandoned, what works is cancelled or expires, and the run says so."""
    house.script("BBB", fills=NO_FILL)
    house.queue()
    house.play(5)
    run = house.until_ended(seconds=31 * 60, tick_s=10)
    assert (run.status, run.reason) == (RunState.PARTIAL, RunReason.ORDERS_UNFILLED)
    assert house.sent() == ["AAA", "BBB"]
    assert house.states()["CCC"] == "not_sent"
    assert house.states()["BBB"] in {"canceled", "expired"}


def test_a_run_is_not_carried_on_under_another_configuration(house: House) -> None:
    """Restarted with other limits: what is still planned was allowed by limits that are gone."""
    house.script("AAA", fills=NO_FILL)
    house.plan()
    sent = list(house.broker.placed)
    house.config = _loosened(house.config)
    house.restart()
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.CONFIG_CHANGED)
    assert house.broker.placed == sent


def _loosened(config: Config) -> Config:
    return replace(config, limits=replace(config.limits, orders_per_day_max=10_000))


def test_an_order_expired_at_the_broker_is_expired(house: House) -> None:
    """The executor was away at the deadline: the broker's own expiry tells the end."""
    house.script("EEE", fills=NO_FILL)
    house.queue()
    house.play(5)
    house.broker.disconnect()
    house.play(31 * 60, tick_s=60)
    house.broker.connect()
    run = house.until_ended(seconds=120)
    assert (run.status, run.reason) == (RunState.PARTIAL, RunReason.DEADLINE_REACHED)
    assert house.states()["EEE"] == "expired"


def test_a_run_ends_although_the_gateway_never_comes_back(house: House) -> None:
    """Five minutes after its deadline it is blocked, by the names of what is open (L1)."""
    house.script("EEE", fills=NO_FILL)
    house.queue()
    house.play(5)
    house.broker.disconnect()
    run = house.until_ended(seconds=36 * 60, tick_s=30)
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.DEADLINE_REACHED)


def test_a_guard_that_falls_silent_stops_the_run(house: House) -> None:
    """Without the guard nothing more is sent; what was sent is followed on."""
    house.script("BBB", fills=NO_FILL)
    house.queue()
    house.play(2)
    house.guard_silence = "last heartbeat 11 s ago"
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.GUARD_SILENT)
    house.broker.fill(house.broker.find("ibl:K1:BBB:S:0"), D(500))
    house.play(2)
    assert house.states()["BBB"] == "filled"


def test_a_halt_does_not_stop_a_run_that_has_nothing_left_to_send(house: House) -> None:
    """It goes on to compare its account, instead of staying blocked unchecked."""
    house.script("EEE", fills=NO_FILL)
    house.queue()
    house.play(3)
    house.halt(HaltLevel.PAUSE)
    house.play(3)
    assert house.run().status is RunState.EXECUTING
    house.broker.fill(house.broker.find("ibl:K1:EEE:B:0"), D(220))
    assert house.until_ended().status is RunState.DONE


# --- cancelling -----------------------------------------------------------------------------------


def test_cancel_while_queued(house: House) -> None:
    """Nobody has begun it: canceled at once, also when the gateway is away."""
    house.broker.disconnect()
    house.settle()
    house.queue()
    command = house.cancel_run()
    house.settle()
    assert house.run().status is RunState.CANCELED
    assert answer(house, command) == ("done", "the run is canceled")


def test_cancel_while_preparing(house: House) -> None:
    """Nothing is planned any more."""
    house.broker.evidence_held = True
    house.queue()
    house.play(2)
    command = house.cancel_run()
    house.broker.evidence_held = False
    house.broker.finish_evidence()
    house.play(2)
    assert house.run().status is RunState.CANCELED
    assert (answer(house, command)[0], house.sent()) == ("done", [])


def test_cancel_while_executing(house: House) -> None:
    """What is unsent stays unsent, what works is cancelled, what was filled is told."""
    house.script("BBB", fills=(D("0.5"),))
    house.queue()
    house.play(2)
    command = house.cancel_run()
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.CANCELED, RunReason.CANCELED_BY_OPERATOR)
    states = house.states()
    assert states == {
        "AAA": "filled",
        "BBB": "canceled",
        **dict.fromkeys(("CCC", "DDD", "EEE"), "not_sent"),
    }
    house.play(1)
    assert answer(house, command) == ("done", "the run is canceled")
    assert house.broken() == ()


def test_cancel_while_an_order_is_unanswered(house: House) -> None:
    """The order is found or becomes unknown first; the command is answered all the same."""
    house.script("AAA", swallowed=True)
    house.queue()
    house.play(2)
    command = house.cancel_run()
    house.until(lambda: answer(house, command)[0] != "queued")
    assert house.run().status is RunState.CANCELED
    assert house.states()["AAA"] == "unknown"


def test_cancel_while_reconciling(house: House) -> None:
    """Everything was sent already: the run says canceled, and how much was filled."""
    house.plan()
    house.broker.evidence_held = True
    house.until(lambda: house.run().status is RunState.RECONCILING)
    command = house.cancel_run()
    house.broker.evidence_held = False
    run = house.until_ended()
    assert (run.status, run.detail) == (RunState.CANCELED, "5 of 5 orders filled")
    assert answer(house, command)[0] == "done"


def test_cancel_after_the_end_is_refused(house: House) -> None:
    """And so is a command about a run that does not exist, or about nothing."""
    house.queue()
    house.until_ended()
    late = house.cancel_run()
    now = house.clock.now().utc
    with house.ledger.transaction() as tx:
        nobody = commands.request(tx, CANCEL_RUN, {"run_id": "nobody"}, "test", now)
        empty = commands.request(tx, CANCEL_RUN, {}, "test", now)
    house.settle()
    assert answer(house, late) == ("refused", "the run is done")
    assert answer(house, nobody) == ("refused", "there is no such run")
    assert answer(house, empty) == ("refused", "there is no such run")


def test_a_blocked_run_that_is_canceled_leaves_nothing_working(house: House) -> None:
    """Whoever cancelled it in the ledger: the executor cancels its orders at the broker."""
    house.script("BBB", fills=NO_FILL)
    house.queue()
    house.play(2)
    house.halt(HaltLevel.PAUSE)
    house.until_ended()
    house.play(5)
    assert house.states()["BBB"] == "new"
    run = house.run()
    with house.ledger.transaction() as tx:
        runs.move(
            tx,
            run.run_id,
            RunState.BLOCKED,
            RunState.CANCELED,
            reason=RunReason.CANCELED_BY_OPERATOR,
            detail="",
            now=house.clock.now().utc,
            actor="test",
        )
    house.play(5)
    assert house.states()["BBB"] == "canceled"


# --- reconciling ----------------------------------------------------------------------------------


def test_a_position_that_only_trails_is_no_break(house: House) -> None:
    """A position may come a moment after its execution: a difference must last."""
    house.script("EEE", fills=NO_FILL)
    house.queue()
    house.play(3)
    house.broker.fill(house.broker.find("ibl:K1:EEE:B:0"), D(220))
    house.broker.positions["EEE"] -= 220
    house.play(5)
    assert house.run().status is RunState.RECONCILING
    house.broker.positions["EEE"] += 220
    assert house.until_ended().status is RunState.DONE


def test_a_position_nobody_can_explain_blocks(house: House) -> None:
    """Shares that came or went without an execution: POSITION_BREAK (P4)."""
    house.script("EEE", fills=NO_FILL)
    house.queue()
    house.play(3)
    house.broker.positions["CCC"] += 7
    house.broker.fill(house.broker.find("ibl:K1:EEE:B:0"), D(220))
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.POSITION_BREAK)
    assert "CCC: 307 held, 300 expected" in run.detail


def test_a_trade_by_hand_is_explained_by_its_execution(house: House) -> None:
    """Foreign executions are in the ledger too, and belong to no order of ours."""
    house.script("EEE", fills=NO_FILL)
    house.queue()
    house.play(3)
    house.broker.trade_by_hand("CCC", Side.BUY, 7)
    house.broker.fill(house.broker.find("ibl:K1:EEE:B:0"), D(220))
    assert house.until_ended().status is RunState.DONE
    assert [f.quantity for f in fills.everything(house.ledger.db) if not f.client_order_id] == [7]


@pytest.mark.parametrize("wall_s", [0, -3600])
def test_fills_in_the_millisecond_of_the_baseline_are_told_apart(
    house: House, wall_s: float
) -> None:
    """What came after the positions were read counts, also when the clock was set back (P4)."""
    house.plan()
    assert house.run().baseline_at == house.clock.now().utc
    house.clock.step_wall(wall_s)
    house.settle()
    if wall_s:
        house.play(2)
    recorded = {fill.recorded_at for fill in fills.everything(house.ledger.db)}
    baseline = house.run().baseline_at
    assert baseline is not None
    assert recorded
    assert min(recorded) > baseline
    assert house.until_ended(seconds=90).status is RunState.DONE


def test_a_run_whose_reconciling_never_ends_is_blocked(house: House) -> None:
    """The truth does not come back: a person must look."""
    house.script("EEE", fills=NO_FILL)
    house.queue()
    house.play(3)
    house.broker.fill(house.broker.find("ibl:K1:EEE:B:0"), D(220))
    house.broker.evidence_held = True
    run = house.until_ended(seconds=400, tick_s=10)
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.GATEWAY_UNAVAILABLE)


# --- retrying and restarting ----------------------------------------------------------------------


def test_a_retry_trades_the_remainder_under_new_names(house: House) -> None:
    """Positions are read anew; no reference of the first attempt is used again."""
    house.script("BBB", fills=NO_FILL)
    house.script("CCC", fills=(D("0.5"),))
    house.queue()
    house.play(2)
    house.broker.fill(house.broker.find("ibl:K1:BBB:S:0"), D(500))
    house.broker.boundary = lambda name: (
        house.halt(HaltLevel.KILL) if name == "after place" else None
    )
    assert house.until_ended().status is RunState.BLOCKED
    house.play(3)
    first = list(house.broker.placed)
    house.broker.boundary = lambda _: None
    house.broker.slots = 45
    with house.ledger.transaction() as tx:
        halts.resume(tx, "test", "checked", house.clock.now().utc)
    house.broker.scripts.clear()
    house.retry()
    assert house.until_ended().status is RunState.DONE
    second = house.broker.placed[len(first) :]
    assert second == ["ibl:K1:CCC:B:1", "ibl:K1:DDD:B:1", "ibl:K1:EEE:B:1"]
    assert len(set(house.broker.placed)) == len(house.broker.placed)
    assert house.broker.positions["CCC"] == 300
    assert house.broken() == ()


@pytest.mark.parametrize("after_s", [0, 1, 2, 3, 4, 6, 9])
def test_the_next_executor_goes_on_where_the_rows_say(house: House, after_s: int) -> None:
    """Killed between two steps at any time of a run, without a boundary in between."""
    house.script("AAA", ack_after_s=1)
    house.script("BBB", fills=(D("0.5"),))
    house.queue()
    house.play(after_s)
    for live in house.broker.live:
        if live.order.symbol == "BBB" and live.status == "Submitted":
            house.broker.fill(live, D(250))
    house.restart()
    house.play(3)
    for live in house.broker.live:
        if live.order.symbol == "BBB" and live.status == "Submitted":
            house.broker.fill(live, D(250))
    assert house.until_ended(seconds=90).status is RunState.DONE
    assert len(house.broker.placed) == 5
    assert house.broken() == ()


def test_account_values_pushed_late_change_no_plan(house: House) -> None:
    """A plan is made of evidence; what is pushed afterwards can only hold its buys back."""
    house.plan()
    more = replace(house.broker.values(), net_liquidation=D(10**9), total_cash=D(10**9))
    house.broker.emit(ev.AccountReported(more))
    assert house.until_ended().status is RunState.DONE
    assert house.orders()["EEE"].quantity == 220
