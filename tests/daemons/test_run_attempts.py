"""A run tries its remainder once more, from what is held by then, and tells of both attempts."""

from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import alerts, orders, runs
from ibloop.core.gates import Gate
from ibloop.core.lifecycle import OrderState, RunReason, RunState
from ibloop.core.model import HaltLevel, Side
from ibloop.core.retrying import Retry
from tests.fakes.broker import Script
from tests.fakes.house import DEADLINE, House

D = Decimal
NO_FILL: tuple[Decimal, ...] = ()
HALF_S = DEADLINE.total_seconds() / 2


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house at rest whose runs retry what they left."""
    made = House(tmp_path, execution={"retry": Retry.REMAINDER})
    made.settle()
    return made


def to_half(house: House, *symbols: str) -> None:
    """Let a run go on until its first attempt ends, without a fill of these symbols."""
    for symbol in symbols:
        house.script(symbol, fills=NO_FILL)
    house.queue()
    house.play(5)
    house.play(HALF_S - 6, tick_s=20)
    assert house.run().attempt == 0


def events(house: House) -> list[str]:
    """Return the names of all alerts, oldest first."""
    return [alert.event for alert in reversed(alerts.listing(house.ledger.db, 100))]


def test_what_died_unfilled_is_tried_again_at_another_price(house: House) -> None:
    """Half way to the deadline it is planned anew, under a new reference, and the run is done."""
    to_half(house, "EEE")
    house.broker.scripts["EEE"] = Script()
    house.quotes.prices["EEE"] = house.broker.prices["EEE"] = D(51)
    run = house.until_ended(seconds=120)
    assert (run.status, run.attempt) == (RunState.DONE, 1)
    assert run.detail == "1 of 1 orders filled; attempt 0: 4 of 5 orders filled"
    assert house.broker.placed[-1] == "ibl:K1:EEE:B:1"
    assert house.orders()["EEE"].quantity == D(215)  # 11 % of the account at 51, not 220
    assert house.broken() == ()
    assert events(house)[-2:] == ["run.retried", "run.done"]


def test_a_retry_keeps_to_the_deadline_of_the_run(house: House) -> None:
    """Its orders die with the run, and nothing follows them."""
    to_half(house, "EEE")
    planned_for = house.run().deadline_at
    run = house.until_ended(seconds=HALF_S + 120, tick_s=5)
    assert (run.status, run.attempt, run.deadline_at) == (RunState.PARTIAL, 1, planned_for)
    assert house.orders()["EEE"].good_till == planned_for
    assert house.orders(attempt=0)["EEE"].good_till < house.orders()["EEE"].good_till
    house.play(600, tick_s=10)
    assert house.broker.placed.count("ibl:K1:EEE:B:1") == 1
    assert house.sent().count("EEE") == 2


def test_what_was_filled_is_left_alone(house: House) -> None:
    """A price that has moved is no reason to trade a little of everything again."""
    to_half(house, "EEE")
    house.broker.scripts["EEE"] = Script()
    for symbol in ("AAA", "CCC", "DDD"):
        house.quotes.prices[symbol] *= D("1.05")
    house.until_ended(seconds=120)
    assert set(house.orders()) == {"EEE"}
    lines = {x.symbol: x for x in runs.plan_lines(house.ledger.db, "run-K1", 1)}
    assert lines["CCC"].planned_quantity == lines["CCC"].baseline_quantity == 300
    assert "left alone" in lines["CCC"].note


def test_the_plan_of_a_retry_is_made_of_what_is_held(house: House) -> None:
    """Of a partial fill the rest is bought, whatever the first attempt had wanted."""
    house.script("EEE", fills=(D("0.5"),))
    house.queue()
    house.play(HALF_S - 2, tick_s=20)
    house.broker.scripts["EEE"] = Script()
    run = house.until_ended(seconds=120)
    assert run.status is RunState.DONE
    assert house.orders()["EEE"].quantity == 110
    assert house.broker.positions["EEE"] == 220


@pytest.mark.parametrize(("code", "again"), [(103, True), (201, False), (110, False)])
def test_only_a_refusal_that_can_pass_is_tried_again(house: House, code: int, again: bool) -> None:
    """Another order id ends 103; no margin and a wrong price are there a minute later too."""
    house.script("EEE", refused=(code, "no"))
    house.queue()
    house.until(lambda: house.orders().get("EEE") is not None)
    house.until(lambda: house.orders(attempt=0)["EEE"].status == OrderState.REJECTED)
    house.broker.scripts["EEE"] = Script()
    run = house.until_ended(seconds=60)
    expected = (RunState.DONE, 1) if again else (RunState.PARTIAL, 0)
    assert (run.status, run.attempt) == expected


def test_there_is_no_third_attempt(house: House) -> None:
    """An order id that is taken every time ends the run after the second."""
    house.script("EEE", refused=(103, "Duplicate order id"))
    house.queue()
    run = house.until_ended(seconds=120)
    assert (run.status, run.attempt) == (RunState.PARTIAL, 1)
    assert house.sent().count("EEE") == 2


def test_what_the_broker_has_decided_is_not_asked_again(house: House) -> None:
    """A retry for another symbol does not send the rejected order once more, and says why."""
    house.script("DDD", refused=(201, "no margin"))
    to_half(house, "EEE")
    house.broker.scripts.clear()
    run = house.until_ended(seconds=120)
    assert (run.status, run.attempt) == (RunState.PARTIAL, 1)
    refused = house.orders()["DDD"]
    assert (refused.reject_source, refused.reject_code) == ("ibloop", "not_retried")
    assert "no margin" in str(refused.reject_reason)
    assert house.sent().count("DDD") == 1


def test_an_order_cancelled_in_tws_is_not_sent_again(house: House) -> None:
    """Whoever cancelled it before its time has meant it."""
    house.script("EEE", fills=NO_FILL)
    house.queue()
    house.play(5)
    house.broker.find("ibl:K1:EEE:B:0").status = "Cancelled"
    run = house.until_ended()
    assert (run.status, run.attempt) == (RunState.PARTIAL, 0)


@pytest.mark.parametrize("killed", [False, True])
def test_an_order_cancelled_while_nobody_looked_is_not_sent_again(
    house: House, killed: bool
) -> None:
    """The executor comes back after the order's time: only the broker's own time tells its end."""
    house.script("EEE", fills=NO_FILL)
    house.queue()
    house.play(5)
    live = house.broker.find("ibl:K1:EEE:B:0")
    live.status, live.ended_at = "Cancelled", house.clock.now().utc
    if killed:
        house.broker.lose_client()
        house.clock.advance(HALF_S + 60)
        house.restart()
    else:
        house.broker.disconnect()
        house.play(HALF_S + 60, tick_s=30)
        house.broker.connect()
    run = house.until_ended(seconds=HALF_S)
    assert (run.status, run.attempt) == (RunState.PARTIAL, 0)
    assert house.states()["EEE"] == "canceled"


def test_what_never_left_is_sent_by_the_next_attempt(house: House) -> None:
    """A socket that was closed before the first byte: nothing can be there twice."""
    house.plan()
    house.broker.refuse_bytes = True
    house.settle()
    house.broker.refuse_bytes = False
    assert house.states()["AAA"] == "not_sent"
    run = house.until_ended(seconds=HALF_S + 120, tick_s=5)
    assert run.status is RunState.DONE
    assert house.broken() == ()


@pytest.mark.parametrize("what", ["halt", "guard", "gate", "canceled"])
def test_nothing_is_tried_again_against_a_rail(house: House, what: str) -> None:
    """The run ends as it is: a retry is no way around a halt, a guard, a gate or a person."""
    to_half(house, "EEE")
    if what == "halt":
        house.halt(HaltLevel.REDUCE_ONLY)
    elif what == "guard":
        house.guard_silence = "no heartbeat"
    elif what == "gate":
        house.gate = Gate("stream", False, RunReason.STREAM_STALE, "no heartbeat")
    else:
        house.cancel_run()
    run = house.until_ended(seconds=120)
    assert run.attempt == 0
    assert run.status is (RunState.CANCELED if what == "canceled" else RunState.PARTIAL)


def test_an_unknown_order_ends_in_quarantine_and_not_in_a_retry(house: House) -> None:
    """Nothing is sent while the fate of one order is unproven (P16)."""
    house.script("EEE", swallowed=True)
    house.queue()
    run = house.until_ended()
    assert (run.status, run.attempt) == (RunState.BLOCKED, 0)


def test_too_little_time_is_no_time(tmp_path: Path) -> None:
    """A minute before the deadline the attempt that there was decides."""
    house = House(tmp_path, execution={"retry": Retry.REMAINDER})
    house.deadline = DEADLINE / 20
    house.script("EEE", fills=NO_FILL)
    house.queue()
    run = house.until_ended(seconds=300)
    assert (run.status, run.attempt) == (RunState.PARTIAL, 0)


def test_a_crash_between_the_attempts_loses_neither(house: House) -> None:
    """Where the next attempt stands is in the ledger: a new executor goes on with it."""
    to_half(house, "EEE")
    house.broker.scripts["EEE"] = Script()
    house.until(lambda: house.run().attempt == 1)
    house.restart()
    run = house.until_ended(seconds=120)
    assert (run.status, house.sent().count("EEE")) == (RunState.DONE, 2)
    assert house.broken() == ()


def test_a_run_that_was_traded_by_hand_keeps_off_its_symbol_in_the_retry(house: House) -> None:
    """The second attempt would be planned against what a person has just done."""
    house.script("BBB", fills=NO_FILL)
    house.queue()
    house.play(2)
    house.broker.trade_by_hand("CCC", Side.BUY, 7)
    house.desk.want_evidence()
    house.play(HALF_S, tick_s=20)
    house.broker.scripts.clear()
    run = house.until_ended(seconds=120)
    assert (run.attempt, house.orders()["CCC"].reject_code) == (1, "not_retried")
    assert "CCC" not in house.sent()
    rows = orders.of_run(house.ledger.db, run.run_id, 0)
    assert {r.order.reject_code for r in rows if r.order.symbol == "CCC"} == {"foreign_trade"}
