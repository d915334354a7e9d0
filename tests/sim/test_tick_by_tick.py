"""Single ticks on the wire: layouts, past ticks, streams, limits."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from ibloop.sim.service.desk import GatewayOptions, MarketDataAccess
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.world import World

AAPL = (265598, "AAPL", "STK", "", "0.0", "", "", "SMART", "", "USD", "", "")
IBM = (8314, "IBM", *AAPL[2:])
NOON_S = int(datetime(2026, 11, 18, 17, tzinfo=UTC).timestamp())
TYPES = {"Last": "98", "AllLast": "98", "BidAsk": "97", "MidPoint": "96"}

Fields = tuple[str, ...]


@pytest.fixture
def gateway(make_world: Callable[..., World]) -> Gateway:
    """Return a gateway over a market in NYSE's hours: Wednesday, noon in New York."""
    return Gateway(make_world(hours="exchange", speed=1.0))


@pytest.fixture
def client(gateway: Gateway, connect: Callable[..., Any]) -> Any:
    """Return client 1, at version 176."""
    return connect(gateway)


def stream(kind: str, *, req_id: int = 7, count: int = 0, **changes: Any) -> tuple[object, ...]:
    """Return a reqTickByTickData."""
    contract = changes.get("contract", AAPL)
    return (97, req_id, *contract, kind, count, changes.get("ignore_size", 0))


def past(what: str, *, start: str = "", end: str = "", count: int = 10, **changes: Any) -> Any:
    """Return a reqHistoricalTicks."""
    contract = changes.get("contract", AAPL)
    return (96, 7, *contract, 0, start, end, count, what, 1, changes.get("ignore_size", 0), "")


def ticks(message: Fields) -> list[Fields]:
    """Return the ticks of 96, 97 or 98."""
    width = {"96": 4, "97": 6, "98": 6}[message[0]]
    assert message[-1] == "1"
    body = message[3:-1]
    assert len(body) == width * int(message[2])
    return [body[at : at + width] for at in range(0, len(body), width)]


def code(message: Fields) -> str:
    """Return the code of an error."""
    assert message[0] == "4", message
    return message[3]


# ---------------------------------------------------------------------- streams


@pytest.mark.parametrize("kind", TYPES)
def test_a_tick_by_tick_message_by_type(client: Any, kind: str) -> None:
    """99: type, time, then trade, both sides or midpoint."""
    (message,) = client.send(*stream(kind))
    quote = client.gateway.world.quote_of(265598)
    number = list(TYPES).index(kind) + 1
    assert message[:4] == ("99", "7", str(number), str(NOON_S))
    mid = (quote.bid + quote.ask) / 2
    trade = (str(quote.last), str(quote.last_size), "0", "NASDAQ", "")
    sides = (str(quote.bid), str(quote.ask), str(quote.bid_size), str(quote.ask_size), "0")
    expected = {"BidAsk": sides, "MidPoint": (str(mid),)}.get(kind, trade)
    assert [*map(_plain, message[4:])] == [*map(_plain, expected)]


def _plain(text: str) -> object:
    """Return a number whatever its trailing zeros."""
    return Decimal(text) if text.replace(".", "").isdigit() else text


def test_every_change_is_told_and_nothing_else(client: Any, clock: Any) -> None:
    """A message for each sample in which bid, ask or a size is new."""
    client.send(*stream("BidAsk"))
    told, world = [], client.gateway.world
    before = world.quote_of(265598)
    for _ in range(200):
        clock.advance(0.25)
        client.gateway.tick()
        messages = client.line.take()
        now = world.quote_of(265598)
        sides = [(q.bid, q.ask, q.bid_size, q.ask_size) for q in (before, now)]
        assert len(messages) == (sides[0] != sides[1])
        told += messages
        before = now
    assert len(told) > 40
    assert client.send(98, 7) == []
    clock.advance(5)
    client.gateway.tick()
    assert client.line.take() == []
    assert code(client.send(98, 7)[0]) == "300"


def test_sizes_can_be_ignored(client: Any, clock: Any) -> None:
    """With ignoreSize only a new bid or ask is told."""
    client.send(*stream("BidAsk", ignore_size=1))
    prices = []
    for _ in range(200):
        clock.advance(0.25)
        client.gateway.tick()
        prices += [message[4:6] for message in client.line.take()]
    assert all(first != second for first, second in pairwise(prices))


@pytest.mark.parametrize("kind", TYPES)
def test_past_ticks_come_first(client: Any, clock: Any, kind: str) -> None:
    """So many as are asked for, as message 96 to 98 under the same id; then only what is new."""
    clock.advance(100)
    messages = client.send(*stream(kind, count=20))
    assert messages[0][:3] == (TYPES[kind], "7", "20")
    found = ticks(messages[0])
    times = [int(tick[0]) for tick in found]
    assert times == sorted(times)
    assert times[-1] <= NOON_S + 100
    # The last of them is what the market shows, so there is nothing new to tell.
    assert messages[1:] == []


def test_what_was_streamed_is_the_history(client: Any, clock: Any) -> None:
    """Later the past ticks of a time are those that were told as they came."""
    streamed = [client.send(*stream("BidAsk"))[0]]
    for _ in range(240):
        clock.advance(0.25)
        client.gateway.tick()
        streamed += client.line.take()
    (message,) = client.send(*past("BID_ASK", end="20261118-17:02:00", count=len(streamed) - 1))
    known = [(at, bid, ask, sizes, other) for at, _, bid, ask, sizes, other in ticks(message)]
    assert known == [message[3:8] for message in streamed[1:]]


def test_our_own_trades_are_ticks_too(
    client: Any, clock: Any, place_fields: Callable[..., Any]
) -> None:
    """Told as they happen, and among the past trades ever after."""
    streamed = [client.send(*stream("AllLast"))[0]]
    fills: list[tuple[str, str]] = []
    for number in range(1, 20):
        clock.advance(0.25)
        client.gateway.tick()
        streamed += client.line.take()
        sent = client.send(*place_fields(number, totalQuantity=number))
        fills += [(fields[20], fields[19]) for fields in sent if fields[0] == "11"]
    clock.advance(0.25)
    client.gateway.tick()
    streamed += client.line.take()
    streamed = [message for message in streamed if message[0] == "99"]
    assert len(fills) == 19
    assert {(message[4], message[5]) for message in streamed} >= set(fills)
    query = past("TRADES", end="20261118-17:02:00", count=len(streamed) - 1)
    known = [tick[2:4] for tick in ticks(client.send(*query)[0])]
    assert known == [message[4:6] for message in streamed[1:]]


def test_five_streams_at_once(gateway: Gateway, client: Any, connect: Callable[..., Any]) -> None:
    """Of all clients together; the sixth is refused until another one ends."""
    other = connect(gateway, 2)
    for number in range(3):
        assert client.send(*stream("Last", req_id=number))[0][0] == "99"
        if number < 2:
            assert other.send(*stream("MidPoint", req_id=number))[0][0] == "99"
    (refused,) = other.send(*stream("Last", req_id=9))
    assert refused[3:5] == ("10190", "Max number of tick-by-tick requests has been reached.")
    client.send(98, 0)
    assert other.send(*stream("Last", req_id=9))[0][0] == "99"


# ---------------------------------------------------------------------- past ticks


@pytest.mark.parametrize(("what", "number"), [("TRADES", "98"), ("BID_ASK", "97")])
def test_ticks_before_an_end_and_after_a_start(client: Any, what: str, number: str) -> None:
    """The nearest ones to the time given, oldest first, each differing from the one before."""
    at = "20261118-16:00:00"
    (before,) = client.send(*past(what, end=at, count=50))
    (after,) = client.send(*past(what, start=at, count=50))
    assert before[0] == after[0] == number
    earlier, later = ticks(before), ticks(after)
    assert len(earlier) == len(later) == 50
    for found in (earlier, later):
        assert [int(tick[0]) for tick in found] == sorted(int(tick[0]) for tick in found)
        assert all(first[2:] != second[2:] for first, second in pairwise(found))
    assert NOON_S - 3600 - 120 < int(earlier[-1][0]) < NOON_S - 3600
    assert NOON_S - 3600 <= int(later[0][0]) < NOON_S - 3600 + 2


def test_midpoints_have_no_size(client: Any) -> None:
    """96: an unused field, the price, size 0."""
    (message,) = client.send(*past("MIDPOINT", end="20261118 11:00:00 US/Eastern", count=5))
    assert [(tick[1], tick[3]) for tick in ticks(message)] == [("0", "0")] * 5


def test_ticks_of_earlier_sessions(client: Any) -> None:
    """Before the first session too, across the night, and none before the history begins."""
    (message,) = client.send(*past("TRADES", start="20261117 15:59:50 US/Eastern", count=100))
    times = [int(tick[0]) for tick in ticks(message)]
    closes, opens = NOON_S - 86_400 + 4 * 3600, NOON_S - 9000
    assert min(times) < closes
    assert max(times) >= opens
    assert not [at for at in times if closes <= at < opens]
    (nothing,) = client.send(*past("TRADES", end="20261116-16:00:00"))
    assert code(nothing) == "162"
    assert nothing[4].endswith("HMDS query returned no data: AAPL@SMART Trades")


def test_a_frozen_market_still_has_ticks(
    make_world: Callable[..., World], connect: Callable[..., Any], clock: Any
) -> None:
    """The last one is where the price came to stand; the search for more has an end."""
    client = connect(Gateway(make_world()))
    clock.advance(30_000)
    (message,) = client.send(*past("MIDPOINT", end="20301118-16:00:00", count=1000))
    assert len(ticks(message)) >= 1


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (past("TRADES"), "321"),
        (past("TRADES", start="20261118-16:00:00", end="20261118-16:00:00"), "321"),
        (past("FOO", end="20261118-16:00:00"), "321"),
        (past("TRADES", end="20261118-16:00:00", count=1001), "321"),
        (past("TRADES", end="20261118-16:00:00", count=0), "321"),
        (past("TRADES", end="yesterday"), "10314"),
        (past("TRADES", end="20261118-16:00:00", contract=(0, "NONE", *AAPL[2:])), "200"),
        (past("TRADES", end="20261118 11:00:00"), "2174"),
        (stream("Trades"), "321"),
        (stream("Last", count=1001), "321"),
        (stream("Last", contract=(0, "NONE", *AAPL[2:])), "200"),
    ],
)
def test_refusals(client: Any, request_: Any, expected: str) -> None:
    """The code of each; a time without a zone is only warned of."""
    messages = client.send(*request_)
    assert code(messages[0]) == expected
    assert len(messages) == (2 if expected == "2174" else 1)


def test_a_stream_id_can_be_used_once(client: Any) -> None:
    """322, and the first stream goes on."""
    client.send(*stream("Last"))
    assert code(client.send(*stream("MidPoint"))[0]) == "322"
    assert len(client.session.subscriptions) == 1


def test_without_live_data_there_are_no_ticks(
    make_world: Callable[..., World], connect: Callable[..., Any]
) -> None:
    """10189 and 10187, as real gateways answer a login that has not subscribed."""
    options = GatewayOptions(market_data=MarketDataAccess.DELAYED)
    client = connect(Gateway(make_world(), options))
    (refused,) = client.send(*stream("Last", contract=IBM))
    assert refused[3] == "10189"
    assert refused[4].startswith(
        "Failed to request tick-by-tick data.No market data permissions for NYSE STK."
    )
    assert code(client.send(*past("TRADES", end="20261118-16:00:00"))[0]) == "10187"
