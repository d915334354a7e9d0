"""The gateway with fake lines: who is told what, and what each fault does."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from ibloop.sim import faults
from ibloop.sim.service.desk import GatewayOptions
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.truth import truth
from ibloop.sim.world import World
from tests.sim.stand import FILLED, MKT_DATA, kinds


@pytest.fixture
def gateway(make_world: Callable[..., World]) -> Gateway:
    """Return a gateway over a frozen market, master client 10."""
    return Gateway(make_world())


def test_start_up_is_accounts_next_id_and_notices(
    gateway: Gateway, connect: Callable[..., Any]
) -> None:
    """15 and 9 with their version fields, then 2104, 2106, 2158."""
    client = connect(gateway, 5)
    client.session.client_id = None
    del gateway.desk.clients[5]
    messages = client.send(71, 2, 5, "")
    assert messages[:2] == [("15", "1", "DU1234567"), ("9", "1", "1")]
    assert kinds(messages[2:]) == ["error 2104", "error 2106", "error 2158"]


def test_a_used_client_id_is_a_fence(gateway: Gateway, connect: Callable[..., Any]) -> None:
    """The second holder gets 326 and is closed; the first goes on, and frees the id by leaving."""
    first = connect(gateway, 5)
    second = connect(gateway, 6)
    second.session.client_id = None
    assert kinds(second.send(71, 2, 5, "")) == ["error 326"]
    assert second.line.state == "closed"
    assert kinds(first.send(8, 1, 1)) == ["9"]
    gateway.disconnect(first.session)
    assert connect(gateway, 5).line.state == "open"


def test_openorder_is_always_followed_by_its_status(
    gateway: Gateway, connect: Callable[..., Any], place_fields: Callable[..., Any]
) -> None:
    """Live, and in the answer to reqOpenOrders."""
    client = connect(gateway)
    messages = client.send(*place_fields(1, orderType="LMT", lmtPrice="90"))
    messages += client.send(*place_fields(2)) + client.send(5, 1)
    shown = [index for index, fields in enumerate(messages) if fields[0] == "5"]
    assert len(shown) == 5
    for index in shown:
        assert messages[index + 1][:2] == ("3", messages[index][1])


def test_others_orders_are_seen_by_master_and_client_0_only(
    gateway: Gateway, connect: Callable[..., Any], place_fields: Callable[..., Any]
) -> None:
    """The placing client gets everything, errors included; a stranger nothing."""
    owner, stranger = connect(gateway, 1), connect(gateway, 2)
    master, zero = connect(gateway, 10), connect(gateway, 0)
    told = kinds(owner.send(*place_fields(1)))
    assert told == FILLED
    assert stranger.line.take() == []
    assert kinds(master.line.take()) == kinds(zero.line.take()) == FILLED
    owner.send(*place_fields(2, orderType="LMT", lmtPrice="90"))
    assert kinds(owner.send(4, 1, 2, "")) == ["Cancelled", "error 202"]
    assert kinds(master.line.take()) == ["Submitted", "Cancelled"]
    assert kinds(stranger.send(7, 3, 9, 0, "", "", "", "", "", "")) == ["55"]
    assert kinds(master.send(7, 3, 9, 0, "", "", "", "", "", "")) == ["exec", "commission", "55"]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ((0, "", "", "", "", "", ""), 1),
        ((1, "DU1234567", "", "AAPL", "STK", "", "BUY"), 1),
        ((0, "", "20261118-16:59:59", "", "", "", ""), 1),
        ((0, "", "20261118-17:00:01", "", "", "", ""), 0),
        ((2, "", "", "", "", "", ""), 0),
        ((0, "", "", "IBM", "", "", ""), 0),
        ((0, "", "", "", "", "", "SELL"), 0),
        ((0, "DU9", "", "", "", "", ""), 0),
    ],
)
def test_executions_pass_the_filter(
    gateway: Gateway,
    connect: Callable[..., Any],
    place_fields: Callable[..., Any],
    filters: tuple[object, ...],
    found: int,
) -> None:
    """Each non-empty field of the filter narrows the answer."""
    client = connect(gateway)
    client.send(*place_fields(1))
    assert kinds(client.send(7, 3, 9, *filters)).count("exec") == found


def test_executions_and_completed_orders_are_of_today(
    gateway: Gateway,
    connect: Callable[..., Any],
    place_fields: Callable[..., Any],
    clock: Any,
) -> None:
    """Past midnight in New York the broker answers with nothing; the truth still knows."""
    client = connect(gateway)
    client.send(*place_fields(1))
    assert kinds(client.send(99, 1)) == ["101", "102"]
    clock.advance(86_400)
    assert kinds(client.send(7, 3, 9, 0, "", "", "", "", "", "")) == ["55"]
    assert kinds(client.send(99, 1)) == ["102"]
    assert len(truth(gateway.world)["executions"]) == 1


def test_subscribers_of_the_account_are_told_of_a_fill(
    gateway: Gateway, connect: Callable[..., Any], place_fields: Callable[..., Any]
) -> None:
    """Position, changed values under each kind of subscription, portfolio, time."""
    watcher = connect(gateway, 2)
    watcher.send(61, 1)
    watcher.send(6, 2, 1, "")
    watcher.send(76, 1, 7, "DU1234567", "", 1)
    watcher.send(62, 1, 8, "All", "NetLiquidation,TotalCashValue,AccountType")
    connect(gateway, 1).send(*place_fields(1))
    messages = watcher.line.take()
    assert {fields[0] for fields in messages} == {"61", "6", "7", "8", "73", "63"}
    (position,) = [fields for fields in messages if fields[0] == "61"]
    assert position[3:5] == ("265598", "AAPL")
    cash = {fields[3] for fields in messages if fields[:3] == ("6", "2", "TotalCashValue")}
    expected = gateway.world.broker.accounts["DU1234567"].cash
    assert {Decimal(value) for value in cash} == {expected}
    keys = {fields[5] for fields in messages if fields[0] == "73"}
    assert "CashBalance" in keys
    assert "BuyingPower" not in keys
    assert {fields[4] for fields in messages if fields[0] == "63"} <= {
        "NetLiquidation",
        "TotalCashValue",
    }


def test_account_values_are_refreshed_every_three_minutes(
    make_world: Callable[..., World], connect: Callable[..., Any], place_fields: Any, clock: Any
) -> None:
    """Between fills the subscriber still learns what its stocks are worth."""
    gateway = Gateway(make_world(speed=60.0), GatewayOptions(None))
    client = connect(gateway)
    client.send(6, 2, 1, "")
    client.send(*place_fields(1))
    clock.advance(179)
    gateway.tick()
    assert client.line.take() == []
    clock.advance(1)
    gateway.tick()
    assert {fields[0] for fields in client.line.take()} == {"6", "7", "8"}


def test_market_data_streams_only_what_changed(
    make_world: Callable[..., World], connect: Callable[..., Any], clock: Any
) -> None:
    """First 81 and 58, each price with its size; then nothing within the same sample."""
    gateway = Gateway(make_world(speed=60.0), GatewayOptions(None))
    client = connect(gateway)
    messages = client.send(1, 11, 7, 0, *MKT_DATA)
    assert [fields[0] for fields in messages[:2]] == ["81", "58"]
    ticks = [(fields[0], fields[3]) for fields in messages[2:]]
    assert ticks == [
        *(("1", "1"), ("2", "0"), ("1", "2"), ("2", "3"), ("1", "4"), ("2", "5"), ("46", "45")),
        *(("2", "8"), ("1", "6"), ("1", "7"), ("1", "9"), ("1", "14"), ("45", "49")),
        *(("46", "84"), ("46", "32"), ("46", "33")),
    ]
    gateway.tick()
    assert client.line.take() == []
    clock.advance(10)
    gateway.tick()
    changed = {fields[3] for fields in client.line.take()}
    assert {"1", "2", "4", "8"} <= changed
    assert not changed & {"9", "14", "49"}
    assert client.send(2, 2, 7) == []
    assert kinds(client.send(2, 2, 7)) == ["error 300"]


def test_market_data_errors(gateway: Gateway, connect: Callable[..., Any]) -> None:
    """Unknown contract 200, duplicate ticker 322, the hundred-and-first line 101."""
    client = connect(gateway)
    nothing = ("NOPE", *MKT_DATA[1:])
    assert kinds(client.send(1, 11, 7, 0, *nothing)) == ["error 200"]
    client.send(1, 11, 7, 0, *MKT_DATA)
    assert kinds(client.send(1, 11, 7, 0, *MKT_DATA)) == ["error 322"]
    for req_id in range(100, 199):
        client.send(1, 11, req_id, 0, *MKT_DATA)
    assert kinds(client.send(1, 11, 300, 0, *MKT_DATA)) == ["error 101"]


def test_a_halt_is_shown_and_stops_fills(
    gateway: Gateway, connect: Callable[..., Any], place_fields: Callable[..., Any], clock: Any
) -> None:
    """Tick 49 says 1, the order waits, and fills when trading resumes."""
    client = connect(gateway)
    apple = gateway.world.samples.instruments[265598]
    gateway.world.pin(apple, {"halted": True})
    messages = client.send(1, 11, 7, 0, *MKT_DATA)
    assert ("45", "6", "7", "49", "1.0") in messages
    assert kinds(client.send(*place_fields(1))) == ["PreSubmitted"]
    clock.advance(0.25)
    gateway.world.pin(apple, {"halted": False})
    gateway.tick()
    messages = client.line.take()
    assert ("45", "6", "7", "49", "0.0") in messages
    assert "exec" in kinds(messages)


REQUESTS = [
    (1, 11), (2, 1, 5), (3, 1), (4, 1, 99, ""), (5, 1), (6, 2, 1, "DU9"), (7, 3), (8, 1, 1),
    (9, 8), (10, 5, 1), (11, 1, 1, 0), (12, 1, 1), (13, 1), (14, 1, 5), (15, 1, 1), (16, 1),
    (17, 1), (20, 4), (25, 1, 4), (49, 1), (50, 3, 4), (51, 1, 4), (58, 1), (59, 1, 3), (61, 1),
    (62, 1, 3, "All", "$LEDGER:ALL"), (63, 1, 3), (64, 1), (74, 1, 3, "", ""), (75, 1, 3),
    (76, 1, 3, "DU9", "", 0), (77, 1, 3), (78, 3), (81, 3, "A"), (87, 3), (90, 3), (91, 26),
    (92, 3, "", ""), (93, 3), (94, 3, "", "", 1), (95, 3), (97, 3), (98, 3), (99, 0), (104, 3),
    (105,), (71, 2, 9, ""), (3, "a", "b"), (62,), (1, 11, "x"),
]  # fmt: skip


def test_no_request_breaks_the_connection(gateway: Gateway, connect: Callable[..., Any]) -> None:
    """Served, refused, unknown or mutilated: the client still gets its next answer."""
    client = connect(gateway, version=200)
    for fields in REQUESTS:
        client.send(*fields)
        assert kinds(client.send(17, 1))[-1:] == ["15"], fields
    assert client.line.state == "open"


def test_requests_not_served_are_refused_with_their_id(
    gateway: Gateway, connect: Callable[..., Any]
) -> None:
    """321 with the request's own id ends the client's wait."""
    (error,) = connect(gateway).send(54, 3, 4444, "whatever")
    assert error[2:4] == ("4444", "321")


def test_frames_tell_what_was_received(
    gateway: Gateway, connect: Callable[..., Any], place_fields: Callable[..., Any]
) -> None:
    """Every order message in order, also those that came to nothing."""
    client = connect(gateway)
    gateway.add_fault(faults.parse("place_swallowed"))
    limit = {"orderType": "LMT", "lmtPrice": "90", "orderRef": "r"}
    client.send(*place_fields(1, **limit))
    client.send(*place_fields(2, **limit))
    client.send(4, 1, 2, "")
    client.send(58, 1)
    frames = truth(gateway.world)["frames"]
    assert [(f["seq"], f["kind"], f["orderId"]) for f in frames] == [
        *((1, "placeOrder", 1), (2, "placeOrder", 2), (3, "cancelOrder", 2)),
        (4, "globalCancel", 0),
    ]
    assert frames[0] | {"received_at": ""} == {
        "seq": 1,
        "received_at": "",
        "clientId": 1,
        "kind": "placeOrder",
        "orderId": 1,
        "orderRef": "r",
        "symbol": "AAPL",
        "action": "BUY",
        "totalQuantity": 50,
        "lmtPrice": 90,
    }
