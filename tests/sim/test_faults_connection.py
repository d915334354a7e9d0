"""Faults of the connection and of the gateway as a whole, with fake lines."""

import pytest

from ibloop.sim.protocol.wire import Hello
from tests.sim.conftest import Client, FakeLine
from tests.sim.layouts import place_order
from tests.sim.stand import EXECUTIONS, FILLED, MKT_DATA, RESTING, Stand, kinds


def newcomer(stand: Stand) -> Client:
    """Return a client that has only opened its connection."""
    line = FakeLine()
    return Client(stand.gateway, line, stand.gateway.connect(line))


def hello(client: Client) -> bytes:
    """Greet as a client does; return what came back."""
    client.gateway.receive(client.session, Hello(157, 176, ""))
    answer = bytes(client.line.written)
    client.line.written.clear()
    return answer


def test_socket_reset_now(stand: Stand) -> None:
    """One client is cut off, once; it may come back at once."""
    two = stand.connect(stand.gateway, 2)
    stand.fault("socket_reset:client_id=1")
    assert (stand.client.line.state, two.line.state) == ("reset", "open")
    assert stand.active() == []
    again = stand.connect(stand.gateway, 1)
    assert kinds(again.send(49, 1)) == ["49"]


def test_socket_reset_after_place_keeps_the_order(stand: Stand) -> None:
    """The order is in, its client never heard of it, and finds it after reconnecting."""
    stand.fault("socket_reset:after_place=true")
    assert stand.client.line.state == "open"
    assert stand.place(1, **RESTING) == []
    assert stand.client.line.state == "reset"
    again = stand.connect(stand.gateway, 1)
    assert kinds(again.send(5, 1)) == ["Submitted", "53"]
    assert again.send(8, 1, 1)[0] == ("9", "1", "2")


def test_freeze(stand: Stand) -> None:
    """Only the named client, for its time; without a name new connections freeze too."""
    one, two = stand.client, stand.connect(stand.gateway, 2)
    stand.fault("freeze:client_id=1,seconds=5")
    assert (one.line.frozen, two.line.frozen) == (True, False)
    stand.wait(5)
    assert one.line.frozen is False
    stand.fault("freeze:seconds=0")
    stand.wait(3600)
    assert stand.connect(stand.gateway, 3).line.frozen
    stand.gateway.clear_faults()
    assert not any((one.line.frozen, two.line.frozen))


def test_accept_and_close(stand: Stand) -> None:
    """New connections close at once, so often; who is in stays in."""
    stand.fault("accept_and_close:times=2")
    assert [newcomer(stand).line.state for _ in range(3)] == ["closed", "closed", "open"]
    assert stand.ask(49, 1) == ["49"]


def test_accept_and_close_by_client(stand: Stand) -> None:
    """A named client is closed when it names itself, without a word."""
    stand.fault("accept_and_close:client_id=7")
    client = newcomer(stand)
    assert hello(client)
    assert client.send(71, 2, 7, "") == []
    assert client.line.state == "closed"
    assert stand.connect(stand.gateway, 8).line.state == "open"


def test_login_never_finishes(stand: Stand) -> None:
    """Accepted, and then never an answer; later connections get in when it is cleared."""
    stand.fault("login_never_finishes")
    client = newcomer(stand)
    assert hello(client) == b""
    assert client.line.state == "open"
    stand.gateway.clear_faults()
    assert hello(newcomer(stand))


def test_login_stops_after_the_handshake(stand: Stand) -> None:
    """The version is told, startApi is never answered."""
    stand.fault("login_never_finishes:answer=handshake")
    client = newcomer(stand)
    assert hello(client)
    assert client.send(71, 2, 9, "") == []
    assert client.send(49, 1) == []
    assert client.line.state == "open"


def test_stuck_client_id(stand: Stand) -> None:
    """326 and a close for a while after the client left, then its id is free."""
    stand.fault("stuck_client_id:client_id=1,seconds=10")
    stand.gateway.disconnect(stand.client.session)
    again = newcomer(stand)
    hello(again)
    assert kinds(again.send(71, 2, 1, "")) == ["error 326"]
    assert again.line.state == "closed"
    stand.wait(10)
    assert stand.connect(stand.gateway, 1).line.state == "open"


def test_slow(stand: Stand) -> None:
    """Every message late, none lost, all in sequence; the other client is served at once."""
    two = stand.connect(stand.gateway, 2)
    stand.fault("slow:client_id=1,delay_s=2")
    assert stand.place(1) == []
    assert kinds(two.send(49, 1)) == ["49"]
    assert stand.wait(2) == FILLED


def test_muted(stand: Stand) -> None:
    """The messages of these ids never come, everything else does."""
    stand.fault("muted:messages=55+102")
    assert stand.ask(*EXECUTIONS) == []
    assert stand.ask(99, 0) == []
    assert stand.ask(61, 1) == ["62"]


def test_pacing(stand: Stand) -> None:
    """100 for what is above the limit, which is not acted on; persistence ends in a reset."""
    stand.fault("pacing:rate=3")
    assert [stand.ask(8, 1, 1) for _ in range(5)] == [["9"]] * 3 + [["error 100"], []]
    for _ in range(2):
        stand.wait(1.5)
        told = [stand.ask(8, 1, 1) for _ in range(4)]
    assert told[-1] == ["error 100"]
    stand.wait(0)
    assert stand.client.line.state == "reset"


# ---------------------------------------------------------------------- outages


def test_connectivity_lost_and_maintained(stand: Stand) -> None:
    """1100 repeats, nothing else comes, orders go on; 1102, and data flows again."""
    stand.client.send(1, 11, 7, 0, *MKT_DATA)
    stand.place(1, **RESTING)
    stand.fault("connectivity_lost:seconds=10,repeat_s=4")
    assert kinds(stand.client.line.take()) == ["error 1100"]
    assert stand.price("89", "90") == []
    assert stand.order()["status"] == "Filled"
    assert stand.wait(4) + stand.wait(4) == ["error 1100"] * 2
    assert stand.ask(49, 1) == ["49"]
    messages = stand.heard(5)
    assert kinds(messages)[0] == "error 1102"
    assert {("1", "1", "89.0"), ("1", "2", "90.0")} <= {(f[0], f[3], f[4]) for f in messages[1:]}
    assert "exec" not in kinds(messages)
    assert stand.ask(*EXECUTIONS) == ["exec", "commission", "55"]


def test_connectivity_lost_and_data_lost(stand: Stand) -> None:
    """1101: the subscriptions are gone, orders are not; callbacks may come late instead."""
    stand.client.send(1, 11, 7, 0, *MKT_DATA)
    stand.place(1, **RESTING)
    stand.fault("connectivity_lost:seconds=10,repeat_s=0,data=lost,callbacks=late")
    stand.client.line.take()
    stand.price("89", "90")
    assert stand.wait(10) == ["error 1101", "exec", "Filled", "Filled", "commission"]
    assert stand.price("88", "89") == []
    assert stand.ask(2, 2, 7) == ["error 300"]


def test_requests_during_an_outage_wait(stand: Stand) -> None:
    """Orders and questions are processed when the connection is back, or never."""
    stand.fault("connectivity_lost:seconds=10,repeat_s=0")
    stand.client.line.take()
    assert stand.place(1) == []
    assert stand.ask(*EXECUTIONS) == []
    assert stand.truth("orders") == []
    assert stand.wait(10) == ["error 1102", *FILLED, "exec", "commission", "55"]
    stand.fault("connectivity_lost:seconds=10,repeat_s=0,requests=lost")
    assert stand.place(2) == ["error 1100"]
    assert stand.wait(10) == ["error 1102"]
    assert len(stand.truth("orders")) == 1


def test_clearing_restores_connectivity(stand: Stand) -> None:
    """A cleared outage ends as any other, once."""
    stand.fault("connectivity_lost:seconds=10")
    stand.gateway.clear_faults()
    assert stand.wait(0) == ["error 1100", "error 1102"]
    assert stand.wait(60) == []


@pytest.mark.parametrize(
    ("kind", "down", "up"),
    [
        ("market", ["error 2103"], ["error 2119", "error 2104"]),
        ("history", ["error 2105"], ["error 2106"]),
        ("contracts", ["error 2157"], ["error 2158"]),
    ],
)
def test_farm_flap(stand: Stand, kind: str, down: list[str], up: list[str]) -> None:
    """Broken and back, as often as wanted."""
    stand.fault(f"farm_flap:kind={kind},times=2,seconds=2,pause_s=3,farm=cashfarm")
    messages = stand.heard()
    assert kinds(messages) == down
    assert messages[0][4].endswith(":cashfarm")
    assert stand.wait(2) == up
    assert stand.wait(3) == down
    assert stand.wait(2) == up
    assert stand.active() == []
    assert stand.wait(60) == []


def test_farm_flap_stops_what_needs_the_farm(stand: Stand) -> None:
    """Ticks with the market data farm, contract details with the security definitions."""
    stand.client.send(1, 11, 7, 0, *MKT_DATA)
    stand.fault("farm_flap:kind=market,dormant=true")
    assert stand.price("89", "90") and not stand.price("88", "89")  # noqa: PT018 - the notice only
    messages = stand.heard(2)
    assert kinds(messages)[:2] == ["error 2119", "error 2108"]
    assert ("1", "88.0") in {(fields[3], fields[4]) for fields in messages[2:]}
    stand.fault("farm_flap:kind=contracts")
    details = (9, 8, 5, 0, "AAPL", "STK", "", 0, "", "", "SMART", "", "USD", "", "", 0, "", "", "")
    assert stand.ask(*details) == ["error 2157"]
    assert stand.wait(2) == ["error 2158", "10", "52"]


def test_nightly_restart(stand: Stand) -> None:
    """All connections reset, nobody let in for a while, executions and orders are kept."""
    stand.place(1)
    stand.place(2, **RESTING)
    stand.fault("nightly_restart:down_s=60,door=close,notice=true")
    assert kinds(stand.client.line.take()) == ["error 1300"]
    assert stand.client.line.state == "reset"
    assert newcomer(stand).line.state == "closed"
    assert stand.gateway.listening
    stand.clock.advance(60)
    stand.gateway.agenda.run(stand.clock.monotonic_s())
    again = stand.connect(stand.gateway, 1)
    assert kinds(again.send(5, 1)) == ["Submitted", "53"]
    assert kinds(again.send(*EXECUTIONS)) == ["exec", "commission", "55"]
    assert again.send(8, 1, 1) == [("9", "1", "3")]


def test_nightly_restart_closes_the_port(stand: Stand) -> None:
    """A gateway that is down does not listen."""
    number = stand.fault("nightly_restart:down_s=0")
    assert not stand.gateway.listening
    stand.gateway.clear_fault(number)
    assert stand.gateway.listening


def test_orders_of_a_dying_gateway_vanish(stand: Stand) -> None:
    """What was written just before the reset never existed; its id is offered anew."""
    stand.place(1, **RESTING)
    stand.fault("nightly_restart:dying_s=5,down_s=1")
    assert stand.place(2) == []
    assert stand.client.line.state == "open"
    stand.wait(5)
    assert stand.client.line.state == "reset"
    stand.wait(1)
    again = stand.connect(stand.gateway, 1)
    assert again.send(8, 1, 1) == [("9", "1", "2")]
    assert [row["orderId"] for row in stand.truth("orders")] == [1]


def test_order_id_rollback(stand: Stand) -> None:
    """The next orders vanish with the connection; their ids then mean other orders."""
    stand.place(1, **RESTING)
    stand.fault("order_id_rollback:orders=2")
    assert stand.place(2) == []
    assert stand.client.line.state == "open"
    assert stand.place(3) == []
    assert stand.client.line.state == "reset"
    again = stand.connect(stand.gateway, 1)
    assert again.send(8, 1, 1) == [("9", "1", "2")]
    assert kinds(again.send(*place_order(2))) == FILLED
    assert [frame["orderId"] for frame in stand.truth("frames")] == [1, 2, 3, 2]
