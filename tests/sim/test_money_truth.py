"""The truth the control port tells, as text and as rows, after corrections and restarts too."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from ibloop.sim.brokerage.corrections import correct
from ibloop.sim.model import AccountKind, AccountSpec
from ibloop.sim.service.desk import GatewayOptions
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.state import StateFile
from ibloop.sim.truth import TruthText, truth
from ibloop.sim.world import World

Connect = Callable[..., Any]


@pytest.fixture
def gateway(make_world: Callable[..., World]) -> Gateway:
    """Return a gateway of a cash and a margin account in a market that stands still."""
    accounts = ("DU1", AccountSpec("DU2", AccountKind.MARGIN))
    return Gateway(make_world(accounts=accounts), GatewayOptions(None))


def test_the_truth_as_text_is_the_truth(
    gateway: Gateway, connect: Connect, place_fields: Callable[..., Any]
) -> None:
    """Rows written once are written anew when their order changed or their fill was corrected."""
    told = TruthText(gateway.world)
    client = connect(gateway)
    client.send(*place_fields(1, account="DU1", orderType="LMT", lmtPrice=1, auxPrice=""))
    assert json.loads(told.text()) == truth(gateway.world)
    client.send(*place_fields(2, account="DU2", action="SELL"))
    client.send(4, 1, 1, "")
    assert json.loads(told.text()) == truth(gateway.world)
    (fill,) = gateway.world.broker.executions
    correct(gateway.world.broker, fill.exec_id, price=fill.price + 1)
    document = json.loads(told.text())
    assert document == truth(gateway.world)
    (row,) = document["executions"]
    assert (row["execId"][-2:], row["corrects"]) == ("02", fill.exec_id)
    assert [order["status"] for order in document["orders"]] == ["Cancelled", "Filled"]
    assert (document["seed"], document["session"]) == (1, 0)


def test_a_corrected_execution_outlives_a_restart(
    make_world: Callable[..., World],
    state_file: Callable[[], StateFile],
    connect: Connect,
    place_fields: Callable[..., Any],
) -> None:
    """The state file keeps both revisions; the world that reads it has the one in force."""
    first = state_file()
    gateway = Gateway(make_world(first), GatewayOptions(None))
    connect(gateway).send(*place_fields(1))
    (fill,) = gateway.world.broker.executions
    correct(gateway.world.broker, fill.exec_id, shares=Decimal(10), price=fill.price - 1)
    gateway.world.commit()
    before = truth(gateway.world)
    first.close()
    second = state_file()
    assert truth(make_world(second)) == before
    second.close()
    assert before["positions"][0]["quantity"] == 10


def trade(gateway: Gateway, clock: Any) -> None:
    """Let a minute pass, with new depth every second."""
    for _ in range(60):
        clock.advance(1)
        gateway.tick()


def test_the_broker_liquidates_what_the_market_takes_down(
    gateway: Gateway, connect: Connect, place_fields: Callable[..., Any], clock: Any
) -> None:
    """A margin account below maintenance sells just enough; clients that see all hear of it."""
    client, watcher = connect(gateway, 1), connect(gateway, 0)
    client.send(*place_fields(1, account="DU2", totalQuantity=1900))
    trade(gateway, clock)
    assert truth(gateway.world)["positions"][0]["quantity"] == 1900
    gateway.world.shock(-0.4)
    watcher.line.take()
    trade(gateway, clock)
    row = truth(gateway.world)["accounts"]["DU2"]
    assert row["excess_liquidity"] >= 0
    sold = [row for row in truth(gateway.world)["executions"] if row["liquidation"]]
    assert 0 < sum(row["shares"] for row in sold) < 1900
    assert {(row["clientId"], row["orderRef"], row["side"]) for row in sold} == {(0, "", "SELL")}
    told = [fields for fields in watcher.line.take() if fields[0] == "11"]
    assert len(told) == len(sold)
    assert {fields[23] for fields in told} == {"1"}


def test_liquidation_may_be_switched_off(
    make_world: Callable[..., World], connect: Connect, place_fields: Callable[..., Any]
) -> None:
    """The account stays where the market left it."""
    account = AccountSpec("DU2", AccountKind.MARGIN, Decimal(10_000))
    gateway = Gateway(make_world(accounts=[account], liquidation=False), GatewayOptions(None))
    connect(gateway).send(*place_fields(1, totalQuantity=190))
    gateway.world.shock(-0.5)
    gateway.tick()
    row = truth(gateway.world)["accounts"]["DU2"]
    assert row["excess_liquidity"] < 0
    assert len(truth(gateway.world)["executions"]) == 1
