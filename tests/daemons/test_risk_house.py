"""The checks in the house they live in: asked inside the transaction that journals, and kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import risk
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.ledger.values import json_text
from ibloop.core.lifecycle import RunReason, RunState
from ibloop.core.model import AccountValues
from ibloop.core.risk import CHECKS, Moment, breaches
from tests.fakes.broker import Script
from tests.fakes.house import House

D = Decimal


@pytest.fixture
def settled(tmp_path: Path) -> Callable[..., House]:
    """Return a maker of settled houses with these limits."""

    def make(**limits: object) -> House:
        made = House(tmp_path, **limits)
        made.settle()
        return made

    return make


def tell(house: House, **changes: object) -> None:
    """Let the broker's figures be other ones, whatever happens."""
    honest = house.broker.values

    def values() -> AccountValues:
        return replace(honest(), **changes)

    house.broker.values = values  # type: ignore[method-assign]


def codes(house: House, key: str = "K1") -> dict[str, str | None]:
    """Return why each order of a run was refused."""
    return {symbol: order.reject_code for symbol, order in house.orders(key).items()}


def rows(house: House, moment: Moment) -> list[risk.VerdictRow]:
    """Return what is kept of one moment of the first run."""
    return [r for r in risk.verdict_rows(house.ledger.db, house.run().run_id) if r.moment is moment]


def until_blocked(house: House) -> Run:
    """Let the executor work until the run is blocked."""
    for _ in range(60):
        house.play(1)
        if house.run().status is RunState.BLOCKED:
            return house.run()
    raise AssertionError(f"expected a blocked run, was {house.run()}")


def test_every_check_of_plan_orders_and_sends_is_kept(settled: Callable[..., House]) -> None:
    """One row for the plan, one an order, one a send, each with its numbers, in the ledger."""
    house = settled()
    house.queue()
    assert house.until_ended().status is RunState.DONE
    (plan,) = rows(house, Moment.PLAN)
    assert plan.passed
    assert plan.client_order_id is None
    turnover = next(v for v in plan.verdicts if v.check == "plan_turnover_weight_max")
    assert (turnover.found, turnover.limit) == (
        D("0.45"),
        house.config.limits.plan_turnover_weight_max,
    )
    refs = {order.client_order_id for order in house.orders().values()}
    for moment in (Moment.ORDER, Moment.SEND):
        kept = rows(house, moment)
        assert {row.client_order_id for row in kept} == refs
        assert all(row.passed and row.verdicts for row in kept)
    (ccc,) = (r for r in rows(house, Moment.SEND) if ":CCC:" in str(r.client_order_id))
    names = {verdict.check for verdict in ccc.verdicts}
    assert names <= set(CHECKS)
    assert {"guard_halted", "price_collar_fraction", "cash_weight_min", "open_order"} <= names
    spread = next(v for v in ccc.verdicts if v.check == "spread_fraction_max")
    assert spread.limit == house.config.quotes.spread_fraction_max


def test_the_limits_in_force_are_kept_with_the_run(settled: Callable[..., House]) -> None:
    """Changing the configuration later does not change what a run was checked against."""
    house = settled(order_quantity_max=777)
    house.queue()
    house.until_ended()
    run = house.run()
    basis = risk.basis_of(house.ledger.db, run.run_id, run.attempt)
    assert basis is not None
    assert basis.limits == json.loads(json_text(house.config.limits_in_force))
    assert basis.limits["limits"]["order_quantity_max"] == 777  # type: ignore[index]


def test_a_plan_that_is_refused_says_so_in_the_ledger_too(settled: Callable[..., House]) -> None:
    """The run is blocked with the number and the limit, and nothing is sent."""
    house = settled(plan_turnover_weight_max=D("0.44"))
    house.queue()
    run = until_blocked(house)
    assert run.reason is RunReason.LIMIT_BREACHED
    assert "plan_turnover_weight_max: 0.45, allowed 0.44" in run.detail
    (plan,) = rows(house, Moment.PLAN)
    assert not plan.passed
    assert [v.check for v in breaches(plan.verdicts)] == ["plan_turnover_weight_max"]
    assert house.sent() == []


def test_buys_do_not_fill_the_book_while_sells_wait(settled: Callable[..., House]) -> None:
    """The plan leads to 35 %; without its sells the third and fourth buy would go beyond 36 %."""
    house = settled(gross_weight_max=D("0.36"))
    house.broker.scripts["AAA"] = Script(refused=(201, "no"))
    house.broker.scripts["BBB"] = Script(refused=(201, "no"))
    house.queue()
    house.until_ended()
    assert codes(house) == {
        "AAA": "201",
        "BBB": "201",
        "CCC": None,
        "DDD": "gross_weight_max",
        "EEE": "gross_weight_max",
    }


def test_what_still_works_counts_as_if_it_had_filled(settled: Callable[..., House]) -> None:
    """Buys at work that nobody has filled yet leave no room for the next one."""
    house = settled(gross_weight_max=D("0.31"), position_weight_max=D("0.5"))
    for symbol in ("CCC", "DDD"):
        house.broker.scripts[symbol] = Script(fills=())
    house.queue(weights={"AAA": "0.10", "BBB": "0.10", "CCC": "0.05", "DDD": "0.05"})
    house.play(20)
    assert codes(house) == {"CCC": None, "DDD": None}
    (ddd,) = (r for r in rows(house, Moment.SEND) if ":DDD:" in str(r.client_order_id))
    gross = next(v for v in ddd.verdicts if v.check == "gross_weight_max")
    assert gross.found is not None
    assert D("0.29") < D(str(gross.found)) <= D("0.30")


def test_in_a_cash_account_sells_do_not_pay_for_buys(settled: Callable[..., House]) -> None:
    """4,000 USD have settled: what is sold for 15,000 today buys nothing before tomorrow."""
    house = settled(settled_cash_only=True, cash_weight_min=D(0))
    tell(house, settled_cash=D(4000))
    house.queue()
    house.until_ended()
    bought = sum(
        o.filled_quantity * D({"CCC": 30, "DDD": 40, "EEE": 50}[s])
        for s, o in house.orders().items()
        if s in {"CCC", "DDD", "EEE"}
    )
    assert 3_500 < bought < 4_000
    assert house.orders()["BBB"].filled_quantity == 500


def test_a_send_holds_buys_to_the_settled_cash(settled: Callable[..., House]) -> None:
    """Even if the plan believed in more: each send adds up what is left of it."""
    house = settled(settled_cash_only=True, cash_weight_min=D(0))
    tell(house, settled_cash=D(50_000))
    house.broker.slots = 0
    house.queue()
    house.play(3)
    with house.ledger.transaction() as tx:
        tx.execute("UPDATE run_risk SET settled_cash_usd = '15000'")
    house.restart()  # a plan under way is read once
    house.broker.slots = 45
    house.until_ended()
    assert codes(house) == {
        **dict.fromkeys(("AAA", "BBB", "CCC")),
        "DDD": "cash_weight_min",
        "EEE": "cash_weight_min",
    }


def test_without_a_figure_for_settled_cash_no_run_starts(settled: Callable[..., House]) -> None:
    """What the limits need and the broker does not tell is refused, not guessed."""
    house = settled(settled_cash_only=True)
    house.queue()
    run = until_blocked(house)
    assert run.reason is RunReason.LIMIT_BREACHED
    assert run.detail.startswith("settled_cash_only: unknown")


def test_the_day_trade_too_many_is_refused(settled: Callable[..., House]) -> None:
    """Bought this morning, to be sold this afternoon, in a small account with none left."""
    house = settled(day_trades_max=0)
    tell(house, net_liquidation=D(24_000), total_cash=D(4000))
    house.queue(weights={"AAA": "0.30", "BBB": "0.30", "CCC": "0.10"})
    house.until_ended()
    assert codes(house) == dict.fromkeys(("AAA", "BBB", "CCC"))
    house.queue("K2", weights={"AAA": "0.30", "BBB": "0.30"})
    house.until_ended("K2")
    assert codes(house, "K2")["CCC"] == "day_trades_max"


def test_the_next_submission_of_a_symbol_needs_a_person(settled: Callable[..., House]) -> None:
    """One buy of CCC a day was allowed: the second one waits for tomorrow or for another limit."""
    house = settled(submissions_per_symbol_max=1)
    house.queue(weights={"AAA": "0.10", "BBB": "0.10", "CCC": "0.05"})
    house.until_ended()
    house.queue("K2", weights={"AAA": "0.10", "BBB": "0.10", "CCC": "0.10"})
    house.until_ended("K2")
    assert codes(house, "K2") == {"CCC": "submissions_per_symbol_max"}


@pytest.mark.parametrize(("window_s", "code"), [(3600.0, "duplicate_window_s"), (0.0, None)])
def test_the_same_order_again_is_refused(
    settled: Callable[..., House], window_s: float, code: str | None
) -> None:
    """Fifty shares more of CCC, and fifty more: meant, or a loop? A person has to say."""
    house = settled(duplicate_window_s=window_s)
    for key, weight in (("K1", "0.03"), ("K2", "0.06")):
        house.queue(key, weights={"AAA": "0.10", "BBB": "0.10", "CCC": weight})
        house.until_ended(key)
    assert [house.orders(key)["CCC"].quantity for key in ("K1", "K2")] == [100, 100]
    assert codes(house, "K2") == {"CCC": code}


def test_a_denied_symbol_is_not_even_sold(settled: Callable[..., House]) -> None:
    """The rest of the plan goes on."""
    house = settled(symbols_denied=("BBB", "EEE"), symbols_allowed=("CCC",))
    house.queue()
    house.until_ended()
    assert codes(house) == {
        "AAA": None,
        "BBB": "symbols_denied",
        "CCC": None,
        "DDD": "symbols_allowed",
        "EEE": "symbols_denied",
    }


def test_a_plan_of_an_older_version_is_not_sent(settled: Callable[..., House]) -> None:
    """Without what the checks are asked of, nothing leaves; the run ends at its deadline."""
    house = settled()
    house.broker.slots = 0
    house.queue()
    house.play(3)
    with house.ledger.transaction() as tx:
        tx.execute("DELETE FROM run_risk")
    house.restart()
    house.broker.slots = 45
    house.play(20)
    assert house.sent() == []
