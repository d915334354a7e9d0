"""What a sending transaction counts: what works, what this run has sent, what is about to close."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from ibloop.adapters.ledger import orders
from ibloop.core.lifecycle import RunState
from ibloop.core.model import AccountValues
from tests.daemons.test_send_rails import send_next
from tests.fakes.house import House

D = Decimal


def codes(house: House, key: str = "K1") -> dict[str, str | None]:
    """Return why each order of a run was refused."""
    return {symbol: order.reject_code for symbol, order in house.orders(key).items()}


def small(house: House) -> None:
    """Let the account be one of 24,000 USD, to which the day trades' limit applies."""
    honest = house.broker.values

    def values() -> AccountValues:
        return replace(honest(), net_liquidation=D(24_000), total_cash=D(4000))

    house.broker.values = values  # type: ignore[method-assign]


def test_buys_that_still_work_are_paid_for_before_the_next_batch(tmp_path: Path) -> None:
    """One order a transaction: cash that an open buy may take is not there for the next one."""
    house = House(tmp_path, execution={"window": 1})
    house.settle()
    house.script("CCC", fills=())
    house.plan()
    with house.ledger.transaction() as tx:
        # 13,000 USD with the sells, 11,000 above the buffer: enough for any one of the buys.
        tx.execute("UPDATE trade_runs SET cash_usd = '-2000'")
    house.play(20)
    assert house.states()["CCC"] == "new"
    assert codes(house) == {
        **dict.fromkeys(("AAA", "BBB", "CCC")),
        "DDD": "cash_weight_min",
        "EEE": "cash_weight_min",
    }


def test_the_orders_of_a_run_are_counted_within_a_batch(tmp_path: Path) -> None:
    """Five of seven went before the retry: of its three the second is the last one."""
    house = House(tmp_path, orders_per_run_max=7)
    house.settle()
    for symbol in ("CCC", "DDD", "EEE"):
        house.script(symbol, refused=(201, "no"))
    house.queue()
    house.until_ended()
    house.broker.scripts.clear()
    house.clock.advance(60)
    house.retry()
    house.until_ended()
    assert house.sent()[5:] == ["CCC", "DDD"]
    assert codes(house) == {"CCC": None, "DDD": None, "EEE": "orders_per_run_max"}


def test_an_order_that_is_about_to_close_counts_as_a_day_trade(tmp_path: Path) -> None:
    """Two symbols bought today, one day trade left: with the first sell at work it is taken."""
    house = House(tmp_path, day_trades_max=1)
    house.settle()
    small(house)
    first = {"AAA": "0.30", "BBB": "0.30", "CCC": "0.05", "DDD": "0.05"}
    house.queue(weights=first)
    house.until_ended()
    for symbol in ("CCC", "DDD"):
        house.script(symbol, fills=())
    house.queue("K2", {"AAA": "0.30", "BBB": "0.30"})
    house.play(20)
    said = codes(house, "K2")
    assert sorted(map(str, (said["CCC"], said["DDD"]))) == ["None", "day_trades_max"]


def test_an_order_whose_time_has_passed_is_not_sent(tmp_path: Path) -> None:
    """Its own end comes before the run's: it is looked at inside the transaction."""
    house = House(tmp_path)
    house.settle()
    house.plan()
    with house.ledger.transaction() as tx:
        dies = house.clock.now().utc + timedelta(seconds=5)
        text = f"{dies:%Y-%m-%dT%H:%M:%S}.000Z"
        tx.execute("UPDATE trade_orders SET good_till = ?", (text,))
    assert orders.of_run(house.ledger.db, "run-K1")[0].order.good_till == dies.replace(
        microsecond=0
    )
    house.clock.advance(5)
    house.desk.poll()
    assert send_next(house) == "the order's time has passed"
    assert house.sent() == []
    assert house.run().status is RunState.EXECUTING
