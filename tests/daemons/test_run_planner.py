"""A plan is made of the broker's truth and usable prices, and written down before anything goes."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import orders, runs
from ibloop.core.model import MarketDataType
from ibloop.core.orders import Plan
from ibloop.core.risk import breaches
from ibloop.daemons.executing.run_planner import RunPlanner
from tests.fakes.house import PRICES, House

D = Decimal


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house with a run queued."""
    made = House(tmp_path)
    made.settle()
    made.queue()
    return made


def planner(house: House) -> RunPlanner:
    """Return a planner on the house's ledger and quotes."""
    return RunPlanner(house.config, house.ledger.db, house.quotes, house.instruments)


def plan(house: House) -> Plan:
    """Return the plan there would be now."""
    made = planner(house)
    return made.plan(made.snapshot_of(house.run()), house.broker.evidence(), house.clock.now())


def test_the_plan_turns_what_is_held_into_what_is_wanted(house: House) -> None:
    """Positions and equity from the evidence, weights from the snapshot, sells first."""
    made = plan(house)
    assert made.equity_usd == 100_000
    wanted = [(i.symbol, str(i.side), i.quantity) for i in made.intents]
    assert wanted == [
        ("AAA", "SELL", 500),
        ("BBB", "SELL", 500),
        ("CCC", "BUY", 300),
        ("DDD", "BUY", 250),
        ("EEE", "BUY", 220),
    ]


@pytest.mark.parametrize(
    "fault", [{"market_data_type": MarketDataType.FROZEN}, {"ask": None}, {"con_id": 99}]
)
def test_an_unusable_price_becomes_a_refused_order(house: House, fault: dict[str, object]) -> None:
    """Not a guess, and not silence: the quote of another contract is no price either."""
    house.quotes.freeze("CCC", **fault)
    made = plan(house)
    assert [u.symbol for u in made.unpriced] == ["CCC"]
    assert "CCC" not in {i.symbol for i in made.intents}


def test_a_missing_quote_becomes_a_refused_order(house: House) -> None:
    """A symbol without a file has no price."""
    house.quotes.missing.add("BBB")
    assert [u.symbol for u in plan(house).unpriced] == ["BBB"]


def test_a_holding_of_another_contract_is_not_traded(house: House) -> None:
    """Shares under our symbol but of another contract are not the universe's: no order on them."""
    made = planner(house)
    evidence = house.broker.evidence()
    held = tuple(replace(p, con_id=7) if p.symbol == "AAA" else p for p in evidence.positions)
    found = made.plan(
        made.snapshot_of(house.run()), replace(evidence, positions=held), house.clock.now()
    )
    assert "AAA" not in {i.symbol for i in found.intents}
    (refused,) = (u for u in found.unpriced if u.symbol == "AAA")
    assert "contract 7" in refused.reason


def refused(house: House, made: Plan) -> list[str]:
    """Return the checks that refuse a plan now."""
    said = planner(house).verdicts(made, house.broker.evidence(), house.clock.now())
    return [verdict.check for verdict in breaches(said)]


def test_limits_are_asked_with_what_was_sent_today(house: House) -> None:
    """Turnover and number of orders of the day, at the market's date."""
    made = plan(house)
    assert refused(house, made) == []
    house.until_ended()
    house.config = replace(house.config, limits=replace(house.config.limits, orders_per_day_max=9))
    assert refused(house, made) == ["orders_per_day_max"]
    house.clock.advance(24 * 3600)
    assert refused(house, made) == []


def test_everything_is_written_in_one_transaction(house: House) -> None:
    """Basis, a line for every symbol, every order; the refused ones last and not counted."""
    house.quotes.missing.add("EEE")
    house.broker.slots = 0
    house.play(house.config.execution.quote_wait_s_max + 2)
    run = house.run()
    assert run.detail == "4 orders to send"
    assert (run.equity_usd, run.cash_usd) == (100_000, 80_000)
    assert run.deadline_at is not None
    lines = runs.plan_lines(house.ledger.db, run.run_id, 0)
    assert [line.symbol for line in lines] == sorted(PRICES)
    rows = orders.of_run(house.ledger.db, run.run_id, 0)
    assert [row.sequence for row in rows] == [0, 1, 2, 3, 4]
    assert [str(row.order.status) for row in rows] == ["planned"] * 4 + ["rejected"]
    assert {row.order.good_till for row in rows} == {run.deadline_at}
    assert rows[-1].order.reject_code == "market_data_error"
