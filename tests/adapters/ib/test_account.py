"""The guard's connection: it watches, and it can stop everything."""

from decimal import Decimal
from typing import Any

import pytest

from ibloop.adapters.ib import account
from ibloop.adapters.ports import NotSentError
from ibloop.core.events import Connected, OrderReported
from ibloop.core.model import Side


def test_positions_and_figures_are_none_until_told(play: Any, until: Any) -> None:
    """Before the first complete answer nothing is known, which is not the same as nothing held."""

    async def scenario(bench: Any) -> None:
        watch = bench.watch()
        assert (watch.values(), watch.positions()) == (None, None)
        await watch.connect()
        await until(lambda: watch.positions() is not None, "the positions")
        values = await until(watch.values, "the figures")
        assert watch.positions() == ()
        assert (values.account, values.total_cash) == ("DU1234567", Decimal(100_000))
        assert values.net_liquidation == Decimal(100_000)

    play(scenario)


def test_changes_are_pushed(play: Any, until: Any, log_of: Any, make_order: Any) -> None:
    """A fill of another client shows in positions and figures without being asked for."""

    async def scenario(bench: Any) -> None:
        watch, broker = bench.watch(), bench.broker()
        await watch.connect()
        await until(lambda: watch.positions() == () and watch.values(), "the beginning")
        watch.wake.clear()
        await broker.connect()
        next_id = (await log_of(broker).first(Connected)).next_order_id
        aapl = bench.instrument("AAPL")
        broker.place(make_order(aapl, next_id), aapl)
        [position] = await until(watch.positions, "the position")
        assert (position.symbol, position.con_id, position.quantity) == ("AAPL", aapl.con_id, 10)
        await until(lambda: watch.values().total_cash < 100_000, "less cash")
        assert watch.wake.is_set()
        sale = make_order(aapl, next_id + 1, side=Side.SELL, limit_price=Decimal(1))
        broker.place(sale, aapl)
        await until(lambda: watch.positions() == (), "no position")

    play(scenario)


def test_the_kill_switch_needs_no_executor(
    play: Any, until: Any, log_of: Any, make_order: Any
) -> None:
    """Global cancel from the watch takes an order whose process is gone."""

    async def scenario(bench: Any) -> None:
        watch, broker = bench.watch(), bench.broker()
        with pytest.raises(NotSentError):
            watch.global_cancel()
        await watch.connect()
        await broker.connect()
        log = log_of(broker)
        ibm = bench.instrument("IBM")
        next_id = (await log.first(Connected)).next_order_id
        broker.place(make_order(ibm, next_id, limit_price=Decimal(1)), ibm)
        await log.first(OrderReported, ib_status="Submitted")
        broker.disconnect()
        watch.global_cancel()
        await until(
            lambda: bench.truth()["orders"][0]["status"] == "Cancelled", "the order cancelled"
        )

    play(scenario)


def test_the_guard_sees_everybodys_working_orders(
    play: Any, until: Any, log_of: Any, make_order: Any
) -> None:
    """Asked, not remembered: the count is what the broker shows, whoever has placed it."""

    async def scenario(bench: Any) -> None:
        watch, broker = bench.watch(), bench.broker()
        await watch.connect()
        await broker.connect()

        def shows(count: int) -> bool:
            watch.ask_open_orders()
            return bool(watch.open_orders() == count)

        assert watch.open_orders() is None
        await until(lambda: shows(0), "nothing works")
        log = log_of(broker)
        ibm = bench.instrument("IBM")
        next_id = (await log.first(Connected)).next_order_id
        broker.place(make_order(ibm, next_id, limit_price=Decimal(1)), ibm)
        await until(lambda: shows(1), "the order is seen")
        watch.global_cancel()
        await until(lambda: shows(0), "its end is seen")

    play(scenario)


def test_an_answer_without_an_end_tells_of_so_many_at_least(
    play: Any, until: Any, log_of: Any, make_order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a kill a lower bound is enough to cancel; the connection stays."""
    monkeypatch.setattr(account, "QUERY_TIMEOUT_S", 0.3)

    async def scenario(bench: Any) -> None:
        watch, broker = bench.watch(), bench.broker()
        await watch.connect()
        await broker.connect()
        log = log_of(broker)
        ibm = bench.instrument("IBM")
        next_id = (await log.first(Connected)).next_order_id
        broker.place(make_order(ibm, next_id, limit_price=Decimal(1)), ibm)
        await log.first(OrderReported, ib_status="Submitted")
        bench.control("POST", "/fault", name="open_orders_end_missing")
        watch.ask_open_orders()
        await until(lambda: watch.open_orders() == 1, "the order is seen")
        assert watch.is_connected()

    play(scenario)


def test_nothing_is_known_of_a_lost_connection(play: Any, until: Any) -> None:
    """What nobody watches any more is not shown as if somebody did."""

    async def scenario(bench: Any) -> None:
        watch = bench.watch()
        await watch.connect()
        await until(watch.values, "the figures")
        bench.fault("socket_reset", client_id=10)
        await until(lambda: not watch.is_connected(), "the loss")
        assert (watch.values(), watch.positions()) == (None, None)
        await watch.connect()
        await until(watch.values, "the figures again")

    play(scenario)


def test_a_master_client_takes_what_it_has_no_use_for(
    play: Any, until: Any, log_of: Any, make_order: Any
) -> None:
    """As master client it is sent everybody's orders and executions: none of it is unreadable."""

    async def scenario(bench: Any) -> None:
        watch, broker = bench.watch(), bench.broker()
        await watch.connect()
        await broker.connect()
        log = log_of(broker)
        next_id = (await log.first(Connected)).next_order_id
        aapl = bench.instrument("AAPL")
        broker.place(make_order(aapl, next_id), aapl)
        await until(watch.positions, "the position")
        await log.settle()
        assert watch.unreadable_messages == 0

    play(scenario)


def test_executions_are_pushed_and_asked_for(
    play: Any, until: Any, log_of: Any, make_order: Any
) -> None:
    """The guard's own copy: by the push as they happen, in full by the answer to its question."""

    async def scenario(bench: Any) -> None:
        watch, broker = bench.watch(), bench.broker()
        await watch.connect()
        await broker.connect()
        next_id = (await log_of(broker).first(Connected)).next_order_id
        aapl = bench.instrument("AAPL")
        broker.place(make_order(aapl, next_id), aapl)
        [seen] = (await until(watch.executions, "the execution")).values()
        assert (seen.client_id, seen.is_foreign, seen.is_liquidation) == (11, False, False)
        assert (seen.execution.symbol, seen.execution.quantity) == ("AAPL", 10)
        await until(
            lambda: all(s.execution.commission for s in watch.executions().values()), "its cost"
        )
        assert watch.executions_complete_at() is None
        watch.ask_executions()
        await until(watch.executions_complete_at, "the answer")
        assert len(watch.executions()) == 1
        await until(lambda: aapl.con_id in watch.marks(), "the broker's own price")
        assert watch.values_age_s() < 60

    play(scenario)


def test_the_broker_s_own_orders_are_told_apart(play: Any, until: Any) -> None:
    """By hand: client 0 without a reference; a liquidation carries IB's mark."""

    async def scenario(bench: Any) -> None:
        watch = bench.watch()
        await watch.connect()
        bench.fault("external_fill", symbol="AAPL", action="BUY", shares=10)
        [bought] = (await until(watch.executions, "the manual trade")).values()
        assert (bought.is_foreign, bought.is_liquidation) == (True, False)
        await until(watch.positions, "the position")
        bench.fault("liquidation")
        await until(lambda: len(watch.executions()) == 2, "the liquidation")
        sold = [s for s in watch.executions().values() if s.is_liquidation]
        assert [s.execution.side for s in sold] == [Side.SELL]

    play(scenario)


@pytest.mark.parametrize("seconds", [60, -60])
def test_a_clock_that_differs_is_measured(play: Any, until: Any, seconds: int) -> None:
    """Ahead when ours is; a second's uncertainty is no difference."""

    async def scenario(bench: Any) -> None:
        watch = bench.watch()
        await watch.connect()
        await watch.prove()
        assert abs(watch.clock_skew_s()) < 1
        bench.fault("clock_skew", seconds=seconds)
        await until(lambda: abs(watch.clock_skew_s()) > 50, "the difference")
        assert round(watch.clock_skew_s() / 10) == -seconds / 10

    play(scenario)


def test_an_unanswered_question_leaves_the_copy_as_it_was(play: Any, until: Any) -> None:
    """Real gateways may leave it unanswered: pushed executions stay, and nothing is complete."""

    async def scenario(bench: Any) -> None:
        watch = bench.watch()
        await watch.connect()
        bench.fault("exec_end_missing")
        watch.ask_executions()
        bench.fault("external_fill", symbol="AAPL", action="BUY", shares=10)
        await until(watch.executions, "the push")
        assert watch.executions_complete_at() is None
        assert watch.is_connected()

    play(scenario)
