"""Every request of IB's list: read to its last field, and answered or refused as a gateway does."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from ibloop.sim.model import Order
from ibloop.sim.protocol.requests import PARSERS, parse
from ibloop.sim.protocol.requests.catalogue import KNOWN
from ibloop.sim.protocol.wire import Hello, MissingFieldError, WireError
from ibloop.sim.service.desk import GatewayOptions
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.service.handlers.system import REFUSALS, SILENT
from ibloop.sim.world import World
from tests.sim.layouts import VERSIONS, place_order, requests

# What a whole, plain request of a new client is answered with first: a message, an error by its
# code, or nothing. Not in this list: 71, which the client has sent already.
ANSWERS: dict[int, str] = {
    1: "81",
    2: "error 300",
    3: "5",
    4: "error 10147",
    5: "53",
    6: "6",
    7: "55",
    8: "9",
    9: "10",
    10: "error 10092",
    11: "error 310",
    12: "",
    13: "",
    14: "",
    15: "error 327",
    16: "53",
    17: "15",
    18: "error 321",
    19: "error 321",
    20: "17",
    21: "error 321",
    22: "error 162",
    23: "error 365",
    24: "19",
    25: "error 366",
    49: "49",
    50: "",
    51: "error 300",
    52: "error 430",
    53: "",
    54: "error 321",
    55: "error 321",
    56: "",
    57: "",
    58: "",
    59: "",
    61: "62",
    62: "63",
    63: "",
    64: "",
    65: "error 321",
    66: "error 321",
    67: "error 321",
    68: "error 321",
    69: "",
    70: "",
    72: "error 321",
    73: "error 321",
    74: "72",
    75: "",
    76: "73",
    77: "",
    78: "76",
    79: "77",
    80: "78",
    81: "79",
    82: "80",
    83: "82",
    84: "error 10276",
    85: "85",
    86: "error 10276",
    87: "88",
    88: "89",
    89: "",
    90: "",
    91: "93",
    92: "94",
    93: "",
    94: "95",
    95: "",
    96: "98",
    97: "99",
    98: "error 300",
    99: "102",
    100: "error 10276",
    101: "",
    102: "error 10276",
    103: "",
    104: "107",
    105: "109",
}
# Requests that carry an id and are answered without it.
WITHOUT_ID = {3, 4}


@pytest.fixture
def gateway(make_world: Callable[..., World]) -> Gateway:
    """Return a gateway over a frozen market."""
    return Gateway(make_world())


def code_of(message: tuple[str, ...], version: int) -> str:
    """Return an error's code or a message's number."""
    return message[0] if message[0] != "4" else f"error {message[3 if version < 194 else 2]}"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_request_is_read_to_its_last_field(version: int) -> None:
    """At every version that is offered: nothing missing, nothing left over, none cut short."""
    for message_id, fields in requests(version).items():
        assert parse(fields, version).left == (), fields
        if message_id in PARSERS and len(fields) > 1:
            with pytest.raises(MissingFieldError):
                parse(fields[:-1], version)


@pytest.mark.parametrize("version", [157, 163, 176, 178, 193, 200])
def test_every_request_is_answered_or_refused(
    make_world: Callable[..., World], connect: Callable[..., Any], version: int
) -> None:
    """With the answer or the code of a gateway, under the request's own id."""
    world = make_world()
    for message_id, fields in requests(version, req_id=4321).items():
        client = connect(Gateway(world), 1, version)
        if message_id == 71:
            continue
        answer = client.send(*fields)
        told = code_of(answer[0], version) if answer else ""
        assert told == ANSWERS[message_id], fields
        carries = KNOWN[message_id].id_at is not None and message_id not in WITHOUT_ID
        assert not answer or not carries or "4321" in answer[0], answer[0]


def test_the_table_of_requests_is_complete() -> None:
    """Every number of IB's text protocol is known, and every answer above is expected."""
    gaps = {*range(26, 49), 60}
    assert set(KNOWN) == set(range(1, 106)) - gaps
    assert set(ANSWERS) | {71} == set(KNOWN)
    assert set(PARSERS) <= set(KNOWN)
    assert not (set(REFUSALS) | SILENT) & set(PARSERS)


@pytest.mark.parametrize(("message_id", "version"), [(105, 196), (104, 162), (100, 160)])
def test_a_request_newer_than_the_version_is_refused(
    gateway: Gateway, connect: Callable[..., Any], message_id: int, version: int
) -> None:
    """The two sides agreed on a version that does not have it; the connection goes on."""
    client = connect(gateway, 1, version)
    (error,) = client.send(message_id, 5)
    assert code_of(error, version) == "error 320"
    assert error[1 if version >= 194 else 2] == ("-1" if message_id == 105 else "5")
    assert client.line.state == "open"


@pytest.mark.parametrize("fields", [(4711, 1), ("",), ("x", "y"), (0,), (60, 1), (-3,), (48,)])
def test_what_is_no_request_ends_the_connection(
    gateway: Gateway,
    connect: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    fields: tuple[object, ...],
) -> None:
    """Error 320, a log line, and the line is closed: this peer does not speak the protocol."""
    client = connect(gateway)
    with caplog.at_level(logging.WARNING):
        (error,) = client.send(*fields)
    assert error[2:4] == ("-1", "320")
    assert client.line.state == "closed"
    assert "unreadable" in caplog.text
    assert not gateway.desk.clients


@pytest.mark.parametrize(
    ("fields", "req_id"),
    [
        ((9, 8, 77, "x"), "77"),
        ((9, 8, 77), "77"),
        ((1, 11, "x"), "-1"),
        ((62, 1, 78), "78"),
        ((59, 1, "live"), "-1"),
        ((6, 2, "maybe", ""), "-1"),
        ((3, 79, "x"), "79"),
        ((7, 3, 80, 0), "80"),
    ],
)
def test_what_cannot_be_read_is_refused_under_its_id(
    gateway: Gateway, connect: Callable[..., Any], fields: tuple[object, ...], req_id: str
) -> None:
    """Error 320 with the reason; the connection goes on."""
    client = connect(gateway)
    (error,) = client.send(*fields)
    assert error[2:4] == (req_id, "320")
    assert error[4].startswith("Error reading request. Unable to parse data. expected ")
    assert client.send(17, 1)[0][0] == "15"


@pytest.mark.parametrize(("version", "whole"), [(168, 3), (176, 4), (192, 5)])
def test_a_cancel_with_missing_fields_is_dropped_in_silence(
    gateway: Gateway, connect: Callable[..., Any], version: int, whole: int
) -> None:
    """As real gateways do; the order lives on."""
    client = connect(gateway, 1, version)
    client.send(*place_order(7, version, orderType="LMT", lmtPrice="90"))
    fields = requests(version)[4]
    assert len(fields) == whole
    assert client.send(*fields[:-1]) == []
    assert len(gateway.world.broker.live_orders()) == 1
    assert client.send(*fields)
    assert gateway.world.broker.live_orders() == []


def test_unknown_fields_at_the_end_are_logged_and_the_request_served(
    gateway: Gateway, connect: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A client newer than this simulator is served as far as it is understood."""
    client = connect(gateway)
    with caplog.at_level(logging.WARNING):
        assert client.send(17, 1, "news")[0][0] == "15"
        assert client.send(*place_order(7), "a", "b")[0][0] == "5"
    assert "message 17 has 1 unknown fields at its end: ['news']" in caplog.text
    assert "message 3 has 2 unknown fields" in caplog.text


# ---------------------------------------------------------------------- beginning


def test_a_client_must_introduce_itself(gateway: Gateway, connect: Callable[..., Any]) -> None:
    """Before startApi nothing is answered; a second one changes nothing."""
    client = connect(gateway)
    gateway.disconnect(client.session)
    stranger = connect(gateway, 1)
    stranger.session.client_id = None
    assert stranger.send(17, 1) == []
    stranger.session.client_id = 1
    assert stranger.send(71, 2, 5, "") == []
    assert list(gateway.desk.clients) == [1]


def greeted(gateway: Gateway, connect: Callable[..., Any], low: int, high: int) -> Any:
    """Return a client after a greeting of its own, and the answer to it."""
    client = connect(gateway)
    client.line.take()
    gateway.receive(client.session, Hello(low, high, ""))
    return client, client.line.take()


def test_the_offered_version_can_be_limited(
    make_world: Callable[..., World], connect: Callable[..., Any]
) -> None:
    """`server_version_max` caps it; a client that needs more is closed without an answer."""
    gateway = Gateway(make_world(), GatewayOptions(server_version_max=176))
    client, ((version, _time),) = greeted(gateway, connect, 100, 226)
    assert (version, client.line.state) == ("176", "open")
    client, answer = greeted(gateway, connect, 177, 226)
    assert (answer, client.line.state) == ([], "closed")
    assert client.session not in gateway.desk.sessions


def test_notices_can_come_between_accounts_and_id(
    make_world: Callable[..., World], connect: Callable[..., Any]
) -> None:
    """Both orders were recorded: 15, 9, notices and 15, notices, 9."""
    orders = []
    for early in (False, True):
        gateway = Gateway(make_world(), GatewayOptions(notices_early=early))
        client = connect(gateway)
        client.session.client_id = None
        gateway.desk.clients.clear()
        orders.append([code_of(message, 176) for message in client.send(71, 2, 1, "")])
    notices = ["error 2104", "error 2106", "error 2158"]
    assert orders == [["15", "9", *notices], ["15", *notices, "9"]]


def test_open_orders_can_be_told_on_connection(
    make_world: Callable[..., World], connect: Callable[..., Any]
) -> None:
    """The client's own, each with its status, after the notices; off unless asked for."""
    told = []
    world = make_world()
    for option in (False, True):
        gateway = Gateway(world, GatewayOptions(open_orders_on_connect=option))
        for client_id in (1, 2):
            owner = connect(gateway, client_id)
            owner.send(*place_order(7, orderType="LMT", lmtPrice="90"))
            gateway.disconnect(owner.session)
        client = connect(gateway, 1)
        client.session.client_id = None
        gateway.desk.clients.clear()
        told.append([message[:2] for message in client.send(71, 2, 1, "")][5:])
    assert told == [[], [("5", "7"), ("3", "7")]]


# ---------------------------------------------------------------------- time


def test_the_time_is_told_once_a_second(
    gateway: Gateway, connect: Callable[..., Any], clock: Any
) -> None:
    """Builds since 10.1.68 leave a question repeated within the same second unanswered."""
    client, other = connect(gateway), connect(gateway, 2)
    now = int(clock.now.timestamp())
    assert client.send(49, 1) == [("49", "1", str(now))]
    clock.advance(0.5)
    assert client.send(49, 1) == []
    assert other.send(49, 1) == [("49", "1", str(now))]
    clock.advance(0.5)
    assert client.send(49, 1) == [("49", "1", str(now + 1))]


def test_older_builds_tell_the_time_always(
    make_world: Callable[..., World], connect: Callable[..., Any]
) -> None:
    """`repeats_time` is for users whose gateway is older."""
    client = connect(Gateway(make_world(), GatewayOptions(repeats_time=True)))
    assert len(client.send(49, 1) + client.send(49, 1)) == 2


@pytest.mark.parametrize("text", ["1_0", " 7", "7 ", "0x7", "1.0", "٣", "2147483648", "9" * 5000])
def test_whole_numbers_are_read_strictly(text: str) -> None:
    """What Java's parser refuses must not pass because Python's is kinder."""
    with pytest.raises(WireError):
        parse(("59", "1", text), 176)


def test_an_order_is_what_the_client_wrote(gateway: Gateway, connect: Callable[..., Any]) -> None:
    """Rounding of doubles and text beyond ASCII survive the way to the broker and back."""
    client = connect(gateway)
    price, ref = "0.30000000000000004", "Nestlé"
    client.send(*place_order(7, orderType="LMT", lmtPrice=price, orderRef=ref, tif="GTC"))
    (order,) = gateway.world.broker.orders.values()
    assert isinstance(order, Order)
    assert (str(order.limit_price.normalize()), order.order_ref) == ("0.3", ref)
    shown = next(message for message in client.send(5, 1) if message[0] == "5")
    assert (shown[16], shown[23]) == ("0.3", r"Nestl\u00e9")
