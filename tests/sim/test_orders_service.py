"""Orders through the gateway: which client sees, binds and cancels what."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ibloop.sim.service.desk import GatewayOptions
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.world import World

Messages = list[tuple[str, ...]]
MakeGateway = Callable[..., Gateway]
LIMIT = {"orderType": "LMT", "lmtPrice": "90"}
EXECUTIONS = (7, 3, 9, 0, "", "", "", "", "", "")


@pytest.fixture
def make_gateway(make_world: Callable[..., World]) -> MakeGateway:
    """Return a maker of gateways over a frozen market."""
    return lambda **options: Gateway(make_world(), GatewayOptions(**options))


def statuses(messages: Messages) -> list[tuple[str, str]]:
    """Return (order id, status) of every orderStatus."""
    return [(fields[1], fields[2]) for fields in messages if fields[0] == "3"]


def ids(messages: Messages) -> list[str]:
    """Return the message ids."""
    return [fields[0] for fields in messages]


# ---------------------------------------------------------------------- visibility


@pytest.mark.parametrize("visibility", ["own", "all"])
def test_strangers_see_an_order_only_if_everybody_does(
    make_gateway: MakeGateway,
    connect: Callable[..., Any],
    place_fields: Callable[..., Any],
    visibility: str,
) -> None:
    """Live callbacks, reqOpenOrders and reqExecutions alike; client 0 and the master always."""
    gateway = make_gateway(visibility=visibility)
    owner, stranger, master = (connect(gateway, number) for number in (1, 2, 10))
    sees = visibility == "all"
    owner.send(*place_fields(1, **LIMIT))
    owner.send(*place_fields(2))
    assert bool(stranger.line.take()) is sees
    assert "11" in ids(master.line.take())
    assert (("1", "Submitted") in statuses(stranger.send(5, 1))) is sees
    assert ("11" in ids(stranger.send(*EXECUTIONS))) is sees
    assert ("1", "Submitted") in statuses(stranger.send(16, 1))
    assert ("1", "Submitted") in statuses(master.send(5, 1))


@pytest.mark.parametrize("allowed", [False, True])
def test_a_foreign_cancel_is_a_switch(
    make_gateway: MakeGateway,
    connect: Callable[..., Any],
    place_fields: Callable[..., Any],
    allowed: bool,
) -> None:
    """Where it is allowed, both clients are told, and orderStatus carries the canceller's id."""
    gateway = make_gateway(foreign_cancel=allowed)
    owner, other = connect(gateway, 1), connect(gateway, 2)
    owner.send(*place_fields(7, **LIMIT))
    answer = other.send(4, 1, 7, "")
    if not allowed:
        assert [fields[2:4] for fields in answer] == [("7", "10147")]
        return
    told = owner.line.take()
    for messages in (answer, told):
        (status,) = [fields for fields in messages if fields[0] == "3"]
        assert (status[2], status[9]) == ("Cancelled", "2")
    assert [fields[3] for fields in told if fields[0] == "4"] == ["202"]


# ---------------------------------------------------------------------- manual orders


def manual(gateway: Gateway, count: int) -> None:
    """Copy client 1's order as orders nobody placed through the API."""
    broker = gateway.world.broker
    order = broker.order_of(1, 1)
    assert order is not None
    for perm_id in range(order.perm_id + 1, order.perm_id + 1 + count):
        broker.store(replace(order, perm_id=perm_id, client_id=0, order_id=0))


def test_client_0_binds_manual_orders_by_asking(
    make_gateway: MakeGateway, connect: Callable[..., Any], place_fields: Callable[..., Any]
) -> None:
    """orderBound for each, then both under ids of their own; others see them as they are."""
    gateway = make_gateway()
    connect(gateway, 1).send(*place_fields(1, **LIMIT))
    manual(gateway, 2)
    assert statuses(connect(gateway, 2).send(16, 1))[1:] == [("0", "Submitted")] * 2
    zero = connect(gateway, 0)
    answer = zero.send(5, 1)
    assert [fields[2:] for fields in answer if fields[0] == "100"] == [("0", "-1"), ("0", "-2")]
    assert statuses(answer) == [("-1", "Submitted"), ("-2", "Submitted")]
    assert "100" not in ids(zero.send(5, 1))
    assert statuses(zero.send(4, 1, -2, "")) == [("-2", "Cancelled")]


def test_client_0_may_have_them_bound_as_they_come(
    make_gateway: MakeGateway, connect: Callable[..., Any], place_fields: Callable[..., Any]
) -> None:
    """reqAutoOpenOrders on, and off again; 327 for everybody else."""
    gateway = make_gateway()
    owner, zero = connect(gateway, 1), connect(gateway, 0)
    owner.send(*place_fields(1, **LIMIT))
    assert [fields[3] for fields in owner.send(15, 1, 1)] == ["327"]
    zero.line.take()
    assert zero.send(15, 1, 1) == []
    manual(gateway, 1)
    gateway.tick()
    told = zero.line.take()
    assert ids(told) == ["100", "5", "3"]
    assert statuses(told) == [("-1", "Submitted")]
    zero.send(15, 1, 0)
    manual(gateway, 2)
    gateway.tick()
    assert zero.line.take() == []


# ---------------------------------------------------------------------- completed orders


def test_completed_orders_of_the_api_only(
    make_gateway: MakeGateway, connect: Callable[..., Any], place_fields: Callable[..., Any]
) -> None:
    """apiOnly leaves manual orders out."""
    gateway = make_gateway()
    client = connect(gateway, 1)
    client.send(*place_fields(1, **LIMIT))
    manual(gateway, 1)
    client.send(58, 1)
    assert ids(client.send(99, 0)) == ["101", "101", "102"]
    assert ids(client.send(99, 1)) == ["101", "102"]


@pytest.mark.parametrize("push", [False, True])
def test_completed_orders_may_come_unasked(
    make_gateway: MakeGateway,
    connect: Callable[..., Any],
    place_fields: Callable[..., Any],
    push: bool,
) -> None:
    """Only after they were asked for once, and only those that complete later, each once."""
    gateway = make_gateway(push_completed=push)
    client = connect(gateway, 1)
    client.send(*place_fields(1))
    gateway.tick()
    assert "101" not in ids(client.line.take())
    client.send(99, 0)
    client.send(*place_fields(2))
    gateway.tick()
    assert ids(client.line.take()).count("101") == int(push)
    gateway.tick()
    assert client.line.take() == []


# ---------------------------------------------------------------------- executions


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ((2147483647, 0), 0),
        ((0, 0), 0),
        ((1, 0), 1),
        ((7, 0), 1),
        ((2147483647, 1, "20261118"), 1),
        ((2147483647, 1, "20261117"), 0),
        ((2147483647, 2, "20261117", "20261118"), 1),
    ],
)
def test_executions_of_former_days(
    make_gateway: MakeGateway,
    connect: Callable[..., Any],
    place_fields: Callable[..., Any],
    clock: Any,
    more: tuple[object, ...],
    found: int,
) -> None:
    """From version 200 on a request may look back beyond midnight."""
    gateway = make_gateway()
    client = connect(gateway, 1, 200)
    client.send(*place_fields(1, 200))
    clock.advance(86_400)
    assert ids(client.send(*EXECUTIONS, *more)).count("11") == found


@pytest.mark.parametrize(("exchange", "found"), [("NASDAQ", 1), ("SMART", 1), ("NYSE", 0)])
def test_executions_pass_the_exchange_filter(
    make_gateway: MakeGateway,
    connect: Callable[..., Any],
    place_fields: Callable[..., Any],
    exchange: str,
    found: int,
) -> None:
    """SMART is where orders go, not where they are filled."""
    client = connect(make_gateway(), 1)
    client.send(*place_fields(1))
    answer = client.send(7, 3, 9, 0, "", "", "", "", exchange, "")
    assert ids(answer).count("11") == found


# ---------------------------------------------------------------------- sequences


def test_a_stop_on_the_wire(
    make_gateway: MakeGateway, connect: Callable[..., Any], place_fields: Callable[..., Any]
) -> None:
    """openOrder and orderStatus twice, the status with whyHeld trigger."""
    client = connect(make_gateway(), 1)
    messages = client.send(*place_fields(1, orderType="STP", auxPrice="120"))
    assert ids(messages) == ["5", "3", "5", "3"]
    assert messages[:2] == messages[2:]
    assert (messages[1][2], messages[1][10]) == ("PreSubmitted", "trigger")


def test_a_what_if_of_an_attached_order_leaves_nothing_behind(
    make_gateway: MakeGateway, connect: Callable[..., Any], place_fields: Callable[..., Any]
) -> None:
    """One openOrder, no status, and the id is still free."""
    gateway = make_gateway()
    client = connect(gateway, 1)
    assert ids(client.send(*place_fields(1, whatIf=1))) == ["5"]
    assert gateway.world.broker.orders == {}
    assert statuses(client.send(*place_fields(1, **LIMIT))) == [("1", "Submitted")]
