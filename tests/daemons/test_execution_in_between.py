"""What happens between the moments: lagging positions, a stopped process, late corrections."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import fills, halts
from ibloop.adapters.ledger.connection import Tx
from ibloop.core import events as ev
from ibloop.core.lifecycle import OrderState, RunReason, RunState
from ibloop.core.model import HaltLevel, Side
from tests.fakes.house import House

D = Decimal


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house at rest, synchronised with the broker."""
    made = House(tmp_path)
    made.settle()
    return made


def after_journalling(house: House, happens: object) -> None:
    """Let something happen once, between the commit of a SENDING row and its first byte."""
    whole = house.ledger.transaction
    waiting = [happens]

    @contextmanager
    def transaction() -> Iterator[Tx]:
        with whole() as tx:
            yield tx
        if waiting and OrderState.SENDING in house.states().values():
            call = waiting.pop()
            assert callable(call)
            call()

    house.ledger.transaction = transaction  # type: ignore[method-assign]


def test_positions_that_trail_a_fill_are_waited_for(house: House) -> None:
    """After a blocked run a fresh fill may not be in the positions yet: no second buy of it."""
    house.script("CCC", fills=())
    ref = "ibl:K1:CCC:B:0"
    house.broker.boundary = lambda name: (
        house.halt() if name == "after place" and house.broker.placed[-1] == ref else None
    )
    house.queue()
    house.play(4)
    assert house.states()["CCC"] == "new"
    assert house.run().status is RunState.BLOCKED
    broker = house.broker
    broker.fill(broker.find(ref), D(300))
    broker.positions["CCC"] -= 300  # the broker's positions do not show it yet
    house.play(1)
    with house.ledger.transaction() as tx:
        halts.resume(tx, "me", "go on", house.clock.now().utc)
    house.retry()
    house.play(5)
    assert house.run().status is RunState.PREPARING
    broker.positions["CCC"] += 300
    assert house.until_ended().status is RunState.DONE
    assert "ibl:K1:CCC:B:1" not in broker.placed
    assert broker.positions["CCC"] == 300


def test_a_process_that_was_stopped_writes_nothing_stale(house: House) -> None:
    """Checks in the journal speak of their moment: half a minute later nothing is written."""
    after_journalling(house, lambda: house.clock.advance(30))
    house.queue()
    house.play(3)
    order = house.orders()["AAA"]
    assert order.client_order_id not in house.broker.placed
    assert (order.status, order.reject_code) == ("not_sent", "not_sent")
    assert "between journal and socket" in str(order.reject_reason)


def test_a_halt_that_comes_after_the_journal_still_stops_the_bytes(house: House) -> None:
    """As long as not one byte has left, a halt is obeyed."""
    after_journalling(house, lambda: house.halt(HaltLevel.KILL))
    house.queue()
    house.play(3)
    assert house.broker.placed == []
    assert house.orders()["AAA"].status == "not_sent"


@pytest.mark.parametrize("crashes", [False, True])
def test_a_corrected_execution_stops_a_run_that_was_planned_before(
    house: House, crashes: bool
) -> None:
    """What is held is not what the plan thought: nothing more is sent, over a crash neither."""
    house.queue()
    house.until_ended()
    house.broker.slots = 0
    house.queue("K2", {"AAA": "0.05"})
    house.play(2)
    broker = house.broker
    at = next(i for i, e in enumerate(broker.executions) if e.symbol == "CCC")
    first = broker.executions[at]
    busted = replace(first, exec_id=first.exec_id[:-2] + "02", quantity=D(0))
    broker.executions[at] = busted
    broker.positions["CCC"] -= first.quantity
    broker.emit(ev.Executed(busted))
    if crashes:
        house.desk.poll()  # it is in the ledger, and the process ends before it can act on it
        house.restart()
    house.play(1)
    broker.slots = 45
    run = house.until_ended("K2")
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.POSITION_BREAK)
    assert not any(":K2:" in ref for ref in broker.placed)


def test_a_spread_traded_by_hand_ends_nothing(house: House) -> None:
    """An execution may have a negative price: it is recorded as foreign, and the loop goes on."""
    house.queue()
    house.until_ended()
    live = house.broker.trade_by_hand("EEE", Side.SELL, 1)
    sold = house.broker.executions[-1]
    spread = replace(sold, symbol="EEE SPREAD@99", con_id=99, price=D("-1.25"))
    house.broker.executions[-1] = spread
    house.broker.positions["EEE"] += 1
    house.broker.emit(ev.Executed(spread))
    house.play(20)
    recorded = next(f for f in fills.everything(house.ledger.db) if f.symbol == spread.symbol)
    assert (recorded.price, recorded.client_order_id) == (D("-1.25"), None)
    assert live.order.symbol == "EEE"
    assert house.desk.ready()


def test_a_clock_set_back_does_not_count_old_fills_again(house: House) -> None:
    """Over a restart too, a baseline lies after every fill that is in the ledger."""
    house.queue()
    house.until_ended()
    house.clock.step_wall(-900)
    house.restart()
    house.settle()
    house.broker.slots = 0
    house.queue("K2", {"BBB": "0.05"})
    house.until(lambda: house.run("K2").status is RunState.EXECUTING)
    baseline = house.run("K2").baseline_at
    assert baseline is not None
    assert fills.recorded_after(house.ledger.db, baseline) == ()


def test_cash_spent_by_hand_is_gone(house: House) -> None:
    """A buy is measured against what every fill since the baseline has left."""
    house.script("AAA", fills=())
    house.queue()
    house.play(2)
    house.broker.trade_by_hand("EEE", Side.BUY, 1700)
    house.play(16)
    broker = house.broker
    broker.fill(broker.find("ibl:K1:AAA:S:0"), D(500))
    house.until_ended()
    codes = {house.orders()[s].reject_code for s in ("CCC", "DDD", "EEE")}
    assert "cash_weight_min" in codes
