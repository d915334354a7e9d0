"""Several orders in one transaction: each checked with those before it, each byte after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import halts, orders
from ibloop.adapters.ledger.connection import Tx
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


def at_place(house: House, symbol: str, happens: object) -> None:
    """Let something happen once the bytes of a symbol's order have left."""

    def boundary(name: str) -> None:
        if name == "after place" and house.sent()[-1] == symbol:
            assert callable(happens)
            happens()

    house.broker.boundary = boundary


def test_a_window_is_journalled_at_once(house: House) -> None:
    """What may leave together is on disk together, before the first of its bytes."""
    seen: list[set[str]] = []

    def look(name: str) -> None:
        if name == "before place":
            rows = orders.in_states(house.ledger.db, {OrderState.SENDING})
            seen.append({row.order.symbol for row in rows} - set(house.sent()))

    house.broker.boundary = look
    house.queue()
    assert house.until_ended().status is RunState.DONE
    assert seen == [{"AAA"}, {"BBB"}, {"CCC", "DDD", "EEE"}, {"DDD", "EEE"}, {"EEE"}]


def test_a_batch_commits_once(house: House) -> None:
    """Three buys cost one write to the disk."""
    whole, journalled = house.ledger.transaction, list[int]()

    @contextmanager
    def transaction() -> Iterator[Tx]:
        with whole() as tx:
            before = orders.sent_count(tx.db, "run-K1")
            yield tx
            after = orders.sent_count(tx.db, "run-K1")
        if after > before:
            journalled.append(after - before)

    house.ledger.transaction = transaction  # type: ignore[method-assign]
    house.queue()
    house.until_ended()
    assert journalled == [1, 1, 3]


def test_sells_and_buys_never_share_a_batch(house: House) -> None:
    """A buy waits until the sell before it has filled, also when both are next."""
    house.script("BBB", fills=())
    house.queue()
    house.play(5)
    assert house.sent() == ["AAA", "BBB"]
    assert house.states()["CCC"] == "planned"


def test_cash_is_counted_down_inside_a_batch(house: House) -> None:
    """Each buy is held against what those before it have left, not against the same cash."""
    house.script("AAA", fills=())
    house.queue()
    house.play(2)
    # Each of the three could be paid by what this leaves, all of them cannot.
    house.broker.trade_by_hand("AAA", Side.BUY, 7000)
    house.play(16)
    house.broker.fill(house.broker.find("ibl:K1:AAA:S:0"), D(500))
    house.until_ended()
    assert house.sent() == ["AAA", "BBB", "CCC", "DDD"]
    assert house.orders()["EEE"].reject_code == "cash_weight_min"


def test_the_second_is_counted_inside_a_batch(tmp_path: Path) -> None:
    """Two more have room in this second, so the batch ends with the second of them."""
    house = House(tmp_path, orders_per_second_max=4)
    house.settle()
    house.queue()
    house.until(lambda: "CCC" in house.sent(), tick_s=0.1)
    assert house.sent() == ["AAA", "BBB", "CCC", "DDD"]
    house.play(1)
    assert house.sent()[4:] == ["EEE"]


def lower(house: House, **limits: object) -> None:
    """Restart the executor with lower limits, and let the run be one that was made under them.

    The planner would have refused the whole run.
    """
    lowered = replace(house.config.limits, **limits)  # type: ignore[arg-type]
    house.config = replace(house.config, limits=lowered)
    with house.ledger.transaction() as tx:
        tx.execute("UPDATE trade_runs SET config_hash = ?", (house.config.config_hash,))
    house.restart()


def test_the_day_is_counted_inside_a_batch(house: House) -> None:
    """The order that would pass the limit is stopped by the orders before it in the batch."""
    house.plan()
    lower(house, orders_per_day_max=4)
    house.until_ended()
    assert house.sent() == ["AAA", "BBB", "CCC", "DDD"]
    assert house.orders()["EEE"].reject_code == "orders_per_day_max"


def test_turnover_is_counted_inside_a_batch(house: House) -> None:
    """The value of each order counts for the next one."""
    house.plan()
    lower(house, day_turnover_weight_max=D("0.40"))
    house.until_ended()
    assert house.orders()["EEE"].reject_code == "day_turnover_weight_max"
    assert house.sent() == ["AAA", "BBB", "CCC", "DDD"]


def test_a_batch_is_no_larger_than_the_room_in_the_pace(house: House) -> None:
    """What has no room in the socket's pace is not journalled either."""
    house.plan()
    house.broker.slots = 2
    buys = orders.of_run(house.ledger.db, "run-K1")[2:]
    assert house.desk.send(house.run(), buys) is None
    assert house.sent() == ["CCC", "DDD"]
    assert house.states()["EEE"] == "planned"


@pytest.mark.parametrize("level", [HaltLevel.PAUSE, HaltLevel.KILL])
def test_a_halt_between_two_orders_of_a_batch_is_obeyed(house: House, level: HaltLevel) -> None:
    """At most the order whose bytes are leaving goes out (P7); the run is blocked."""
    at_place(house, "CCC", lambda: house.halt(level))
    house.queue()
    run = house.until_ended()
    assert (run.status, run.reason) == (RunState.BLOCKED, RunReason.GUARD_HALTED)
    assert house.sent() == ["AAA", "BBB", "CCC"]
    kept_back = [house.orders()[symbol] for symbol in ("DDD", "EEE")]
    assert {(o.status, o.reject_code) for o in kept_back} == {("not_sent", "not_sent")}
    assert house.broken() == ()


def test_reduce_only_between_two_orders_of_a_batch_is_obeyed(house: House) -> None:
    """What would make a position larger stays back, although it is in the journal."""
    at_place(house, "CCC", lambda: house.halt(HaltLevel.REDUCE_ONLY))
    house.queue()
    assert house.until_ended().status is RunState.PARTIAL
    assert house.sent() == ["AAA", "BBB", "CCC"]


def test_reduce_only_lets_the_sells_of_a_batch_leave(house: House) -> None:
    """What makes a position smaller goes on."""
    house.halt(HaltLevel.REDUCE_ONLY)
    house.queue(weights={"AAA": "0.01"})
    house.until_ended()
    assert house.sent() == ["AAA", "BBB"]


def test_a_socket_that_closes_between_two_orders_keeps_the_rest_back(house: House) -> None:
    """What is known not to have left is not sent, one by one, and never doubted."""
    at_place(house, "CCC", lambda: setattr(house.broker, "refuse_bytes", True))
    house.queue()
    house.play(3)
    house.broker.refuse_bytes = False
    assert house.until_ended().status is RunState.PARTIAL
    assert house.sent() == ["AAA", "BBB", "CCC"]
    assert [house.states()[s] for s in ("CCC", "DDD", "EEE")] == ["filled", "not_sent", "not_sent"]


def test_a_refused_order_does_not_hold_up_those_after_it(house: House) -> None:
    """One missing price refuses one order of the batch."""
    house.plan()
    house.quotes.missing.add("DDD")
    assert house.until_ended().status is RunState.PARTIAL
    assert house.sent() == ["AAA", "BBB", "CCC", "EEE"]
    assert house.orders()["DDD"].reject_code == "market_data_error"


def test_a_halt_that_was_lifted_does_not_block_what_has_ended(house: House) -> None:
    """Orders kept back by a halt of another time are no reason to stop."""
    at_place(house, "CCC", lambda: house.halt(HaltLevel.PAUSE))
    house.queue()
    house.until_ended()
    with house.ledger.transaction() as tx:
        halts.resume(tx, "me", "go on", house.clock.now().utc)
    house.broker.boundary = lambda _: None
    house.retry()
    assert house.until_ended().status is RunState.DONE
    assert house.sent() == ["AAA", "BBB", "CCC", "DDD", "EEE"]
