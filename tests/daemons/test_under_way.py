"""While a run is under way: others trade its symbols, it stands still, one order is cancelled."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import alerts, audit, commands, fills, orders
from ibloop.core.lifecycle import OrderState, RunReason, RunState
from ibloop.core.model import Algo, HaltLevel, OrderType, Side, Tif
from ibloop.core.retrying import Retry
from ibloop.daemons.executing.run_attempts import CANCEL_ORDER
from tests.fakes.broker import Live, Script
from tests.fakes.house import DEADLINE, House

D = Decimal
NO_FILL: tuple[Decimal, ...] = ()


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house at rest, synchronised with the broker."""
    made = House(tmp_path)
    made.settle()
    return made


def told(house: House, event: str) -> list[str]:
    """Return the texts of the alerts of one kind, oldest first."""
    found = reversed(alerts.listing(house.ledger.db, 100))
    return [alert.text for alert in found if alert.event == event]


def foreign_order(house: House, symbol: str) -> Live:
    """Let an order of somebody else work at the broker."""
    with house.ledger.transaction():
        template = house.broker.live[0].order if house.broker.live else None
    assert template is not None
    instrument = house.instruments[symbol]
    order = replace(
        template,
        client_order_id="",
        symbol=symbol,
        con_id=instrument.con_id,
        side=Side.SELL,
        quantity=D(5),
        ib_order_id=None,
    )
    return house.broker.alive(order)


# --- others ---------------------------------------------------------------------------------------


def test_a_trade_by_hand_stops_its_symbol_alone(house: House) -> None:
    """The order planned on it is refused, the others go on, and the account agrees (P4, F32)."""
    house.script("BBB", fills=NO_FILL)
    house.queue()
    house.play(2)
    house.broker.trade_by_hand("DDD", Side.BUY, 7)
    house.desk.want_evidence()
    house.play(2)
    house.broker.fill(house.broker.find("ibl:K1:BBB:S:0"), D(500))
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.PARTIAL, RunReason.ORDERS_REJECTED)
    refused = house.orders()["DDD"]
    assert (refused.reject_source, refused.reject_code) == ("ibloop", "foreign_trade")
    assert house.sent() == ["AAA", "BBB", "CCC", "EEE"]
    assert house.broken() == ()
    assert house.broker.positions["DDD"] == 7
    assert [f.quantity for f in fills.everything(house.ledger.db) if not f.client_order_id] == [7]
    assert any("DDD" in text for text in told(house, "order.rejected"))


def test_a_foreign_order_that_works_stops_its_symbol_alone(house: House) -> None:
    """It has not traded yet, and may any moment."""
    house.script("BBB", fills=NO_FILL)
    house.queue()
    house.play(2)
    foreign_order(house, "CCC")
    house.desk.want_evidence()
    house.play(2)
    house.broker.fill(house.broker.find("ibl:K1:BBB:S:0"), D(500))
    assert house.until_ended().status is RunState.PARTIAL
    assert house.orders()["CCC"].reject_code == "foreign_trade"
    assert house.sent() == ["AAA", "BBB", "DDD", "EEE"]


def test_a_foreign_order_before_the_run_bars_its_symbol_in_the_plan(house: House) -> None:
    """The run is not blocked for it: what somebody else works on is left to them."""
    house.queue("K1", {"AAA": "0.10", "BBB": "0.10", "CCC": "0.02"})
    house.until_ended("K1")
    foreign_order(house, "DDD")
    house.queue("K2", {"AAA": "0.10", "BBB": "0.10", "DDD": "0.05", "EEE": "0.05"})
    run = house.until_ended("K2")
    assert run.status is RunState.PARTIAL
    assert house.orders("K2")["DDD"].reject_code == "foreign_trade"
    assert "a foreign order works: SELL 5 DDD" in str(house.orders("K2")["DDD"].reject_reason)
    assert house.states("K2")["EEE"] == "filled"


# --- standing still -------------------------------------------------------------------------------


def test_a_run_that_stands_still_is_told_of_once(tmp_path: Path) -> None:
    """With what it waits for, in its detail too; and its deadline ends it as ever."""
    house = House(tmp_path, execution={"stalled_after_s": 60.0})
    house.script("EEE", fills=NO_FILL)
    house.queue()
    house.play(50)
    assert told(house, "run.stalled") == []
    house.play(300, tick_s=5)
    expected = "no progress for 60 s: 1 working (EEE)"
    assert told(house, "run.stalled") == [f"run K1 stands still: {expected}"]
    assert house.run().detail == expected
    said = [row for row in audit.of_subject(house.ledger.db, "run-K1") if "no progress" in str(row)]
    assert len(said) == 1
    house.restart()
    house.play(300, tick_s=5)
    assert len(told(house, "run.stalled")) == 1
    run = house.until_ended(seconds=DEADLINE.total_seconds(), tick_s=10)
    assert run.status is RunState.PARTIAL


def test_a_run_that_moves_again_says_so(tmp_path: Path) -> None:
    """And a second standstill of the same attempt needs no second alert."""
    house = House(tmp_path, execution={"stalled_after_s": 60.0})
    house.script("EEE", fills=NO_FILL)
    house.queue()
    house.play(80)
    house.broker.fill(house.broker.find("ibl:K1:EEE:B:0"), D(20))
    house.play(2)
    assert house.run().detail == "moving again"
    house.play(80)
    assert house.run().detail == "no progress for 60 s: 1 working (EEE)"
    assert len(told(house, "run.stalled")) == 1


def test_what_keeps_an_order_back_is_told(tmp_path: Path) -> None:
    """A run that cannot send stands still as well."""
    house = House(tmp_path, execution={"stalled_after_s": 60.0})
    house.plan()
    house.broker.proof_s = 30
    house.play(70)
    (text,) = told(house, "run.stalled")
    assert "5 not sent yet (AAA, BBB, CCC, DDD, EEE)" in text
    assert text.endswith("; the gateway does not answer")


# --- cancelling one order -------------------------------------------------------------------------


def cancel(house: House, ref: str) -> int:
    """Ask the executor to cancel an order."""
    with house.ledger.transaction() as tx:
        args = {"client_order_id": ref, "reason": "a mistake"}
        return commands.request(tx, CANCEL_ORDER, args, "ann", house.clock.now().utc)


def answer(house: House, command_id: int) -> tuple[str, str | None]:
    """Return status and result of a command."""
    found = commands.find(house.ledger.db, command_id)
    assert found is not None
    return str(found.status), found.result


def test_one_working_order_is_cancelled_and_the_others_go_on(house: House) -> None:
    """It is answered when the broker has confirmed the end."""
    house.script("BBB", fills=(D("0.2"),))
    house.queue()
    house.play(2)
    asked = cancel(house, "ibl:K1:BBB:S:0")
    run = house.until_ended()
    assert answer(house, asked) == ("done", "the order is canceled, 100 of 500 filled")
    assert run.status is RunState.PARTIAL
    assert house.sent() == ["AAA", "BBB", "CCC", "DDD", "EEE"]
    assert house.broker.canceled == ["ibl:K1:BBB:S:0"]


def test_a_planned_order_is_cancelled_before_it_leaves(house: House) -> None:
    """Its refusal says who and why."""
    house.script("BBB", fills=NO_FILL)
    house.queue()
    house.play(2)
    asked = cancel(house, "ibl:K1:EEE:B:0")
    house.settle()
    house.broker.fill(house.broker.find("ibl:K1:BBB:S:0"), D(500))
    house.until_ended()
    assert answer(house, asked) == ("done", "the order is rejected, 0 of 220 filled")
    refused = house.orders()["EEE"]
    assert (refused.reject_code, refused.reject_reason) == (
        "canceled_by_operator",
        "ann: a mistake",
    )
    assert "EEE" not in house.sent()


def test_what_has_ended_or_never_was_cannot_be_cancelled(house: House) -> None:
    """A sentence that says so, and nothing at the broker."""
    house.queue()
    house.until_ended()
    late, nobody = cancel(house, "ibl:K1:AAA:S:0"), cancel(house, "no such order")
    house.settle()
    assert answer(house, late) == ("refused", "the order is filled, 500 of 500 filled")
    assert answer(house, nobody) == ("refused", "there is no order no such order")
    assert house.broker.canceled == []


def test_a_cancel_works_under_a_halt_and_in_a_blocked_run(house: House) -> None:
    """What reduces risk works when everything else stands still."""
    house.script("BBB", fills=NO_FILL)
    house.queue()
    house.play(2)
    house.halt(HaltLevel.PAUSE)
    house.until_ended()
    asked = cancel(house, "ibl:K1:BBB:S:0")
    house.play(5)
    assert answer(house, asked)[0] == "done"
    assert house.states()["BBB"] == "canceled"


def test_an_order_nobody_knows_the_fate_of_is_not_cancelled(house: House) -> None:
    """The request is refused after a while: evidence or a person has to find it first."""
    house.script("AAA", swallowed=True)
    house.queue()
    house.play(2)
    asked = cancel(house, "ibl:K1:AAA:S:0")
    house.play(6 * 60, tick_s=10)
    assert answer(house, asked)[0] == "refused"
    assert house.broker.canceled == []


def test_an_order_a_person_has_cancelled_is_not_tried_again(tmp_path: Path) -> None:
    """Also when the cancel and the end of the attempt fall together."""
    house = House(tmp_path, execution={"retry": Retry.REMAINDER})
    house.script("DDD", fills=NO_FILL)
    house.script("EEE", fills=NO_FILL)
    house.queue()
    house.play(5)
    half_s = DEADLINE.total_seconds() / 2
    house.play(half_s - 10, tick_s=10)
    house.broker.scripts["EEE"] = Script(fills=NO_FILL, sticky="Submitted")
    cancel(house, "ibl:K1:EEE:B:0")
    house.play(30)
    house.broker.scripts.clear()
    house.until(lambda: house.run().attempt == 1, seconds=120)
    house.until_ended(seconds=120)
    assert house.orders()["EEE"].reject_code == "not_retried"
    assert house.states()["DDD"] == "filled"


# --- the algo -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order_type", list(OrderType))
def test_an_algo_is_planned_journalled_and_dies_by_the_deadline(
    tmp_path: Path, order_type: OrderType
) -> None:
    """Adaptive orders are orders for the day: the executor cancels what is left of them."""
    house = House(
        tmp_path,
        execution={
            "algo": "adaptive",
            "adaptive_priority": "patient",
            "order_type": order_type,
        },
    )
    house.script("EEE", fills=(D("0.5"),))
    house.queue()
    house.play(5)
    sent = house.orders()["EEE"]
    assert (sent.algo, sent.tif, sent.order_type) == (Algo.ADAPTIVE_PATIENT, Tif.DAY, order_type)
    assert (sent.limit_price is None) == (order_type is OrderType.MKT)
    run = house.until_ended(seconds=DEADLINE.total_seconds() + 60, tick_s=10)
    assert (run.status, house.states()["EEE"]) == (RunState.PARTIAL, "canceled")
    assert house.broker.canceled[-1] == "ibl:K1:EEE:B:0"
    assert house.broken() == ()


# --- a permId without an acknowledgement ----------------------------------------------------------


def test_an_execution_names_an_order_nobody_has_acknowledged(house: House) -> None:
    """The permId is adopted with the fill; evidence then finds nothing to add."""
    house.plan()
    house.script("AAA", silent=True, fills=NO_FILL)
    house.settle()
    live = house.broker.find("ibl:K1:AAA:S:0")
    assert house.orders()["AAA"].perm_id is None
    house.broker.evidence_held = True
    house.broker.fill(live, D(100))
    house.broker._queue = [e for e in house.broker._queue if type(e).__name__ == "Executed"]
    house.settle()
    order = house.orders()["AAA"]
    assert (order.perm_id, order.status) == (live.perm_id, OrderState.PARTIALLY_FILLED)
    row = orders.by_perm_id(house.ledger.db, live.perm_id)
    assert row is not None
    assert row.order.client_order_id == "ibl:K1:AAA:S:0"
