"""The guard's connection: it watches, and it can stop everything."""

from decimal import Decimal
from typing import Any

import pytest

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
