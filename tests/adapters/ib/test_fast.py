"""The fast receive path does what the library's does, message by message, at every cut."""

import asyncio
import random
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.adapters.ib import fast
from tests.fakes.feeds import FIRST_NUMBER, Feed, frame, framed

SYMBOLS = ("AAPL", "IBM", "BRK B")
OPEN = st.sampled_from([FIRST_NUMBER, FIRST_NUMBER + 1, FIRST_NUMBER + 2])
CLOSED = st.sampled_from([0, 7, -1, FIRST_NUMBER + 3])
TOO_LARGE = ("9" * 11, "9" * 30, "9" * 5000, "inf", "1e999", "1.7976931348623157E308")
SPELLINGS = ("1_0", " 5 ", "\u0665", "+3", "01", "0x1", "1e-400", "-0.0")
ODD = st.sampled_from(
    ["", "x", "nan", "-1", "-1.00", "0", "\u00e9", "\udce9", *TOO_LARGE, *SPELLINGS]
)
NUMBERS = st.one_of(st.decimals(0, 100_000, places=2).map(str), st.integers(0, 10**9).map(str), ODD)
TICKS = st.one_of(st.integers(0, 100).map(str), ODD)
IDS = st.one_of(OPEN, OPEN, OPEN, CLOSED, ODD)


def messages() -> st.SearchStrategy[bytes]:
    """Return messages: ticks of every kind, some of them odd, others, and rubbish."""
    ticks = st.one_of(
        st.tuples(st.just(1), st.just(6), IDS, TICKS, NUMBERS, NUMBERS, st.just("0")),
        st.tuples(st.just(2), st.just(6), IDS, TICKS, NUMBERS),
        st.tuples(st.just(45), st.just(6), IDS, st.one_of(st.just(49), TICKS), NUMBERS),
        st.tuples(
            st.just(46), st.just(6), IDS, st.sampled_from([45, 88, 84, 32, 48, "x"]), NUMBERS
        ),
        st.tuples(st.just(58), st.just(1), IDS, st.one_of(st.integers(0, 5).map(str), ODD)),
    )
    others = st.one_of(
        st.tuples(st.just(49), st.just(1), st.integers(1, 10**9)),
        st.tuples(
            st.just(4),
            st.just(2),
            IDS,
            st.sampled_from([200, 354, 2104, 1100]),
            st.just("no"),
            st.just(""),
        ),
        st.tuples(st.just(81), IDS, st.just("0.01"), st.just("9c0001"), st.just(3)),
        st.tuples(st.integers(0, 110), st.just(1)),
    )
    short_or_long = st.tuples(ticks, st.integers(-3, 2)).map(
        lambda made: made[0][: made[1]] if made[1] < 0 else made[0] + ("9",) * made[1]
    )
    return st.one_of(
        ticks.map(encoded),
        ticks.map(encoded),
        others.map(encoded),
        short_or_long.map(encoded),
        ticks.map(lambda fields: framed(encoded(fields)[4:-1])),
        st.binary(max_size=40).map(framed),
    )


def encoded(fields: tuple[object, ...]) -> bytes:
    """Return a message; what no text can be is written as the byte it stands for."""
    return framed("".join(f"{x}\0" for x in fields).encode(errors="surrogateescape"))


def both(stream: bytes, cuts: list[int]) -> tuple[Any, Any]:
    """Return what the library's path and the fast one make of the same packets."""
    outcomes = []
    for is_fast in (False, True):
        feed = Feed(SYMBOLS, fast=is_fast)
        feed.give(stream, cuts)
        outcomes.append(feed.outcome())
    return outcomes[0], outcomes[1]


@settings(max_examples=400, deadline=None)
@given(st.lists(messages(), max_size=25), st.data())
def test_both_paths_agree(frames: list[bytes], data: st.DataObject) -> None:
    """Whatever comes, cut anywhere: equal states, and equal other callbacks in equal order."""
    stream = b"".join(frames)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    stock, fast_one = both(stream, cuts)
    assert fast_one == stock


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(messages(), max_size=6), max_size=8))
def test_each_packet_changes_the_same_symbols(packets: list[list[bytes]]) -> None:
    """The states to publish after each packet are equal: which symbols, in which order, what."""
    joined = [b"".join(frames) for frames in packets]
    stock, fast_one = (
        Feed(SYMBOLS, fast=is_fast).give_packets(joined) for is_fast in (False, True)
    )
    assert fast_one == stock


def day(count: int, seed: int = 1) -> bytes:
    """Return a made stretch of a session: every kind of tick, the clock, a blip of a farm."""
    rng, out = random.Random(seed), []
    for step in range(count):
        number, price = (
            FIRST_NUMBER + rng.randrange(len(SYMBOLS)),
            rng.randrange(10_000, 20_000) / 100,
        )
        out += [
            frame(1, 6, number, rng.choice((1, 66)), price, rng.randrange(9) * 100, 1),
            frame(2, 6, number, rng.choice((0, 69)), rng.randrange(9) * 100),
            frame(1, 6, number, 2, "-1.00", 0, 0)
            if step % 7 == 0
            else frame(1, 6, number, 2, price, 3, 0),
            frame(46, 6, number, 32, "Q"),
            frame(46, 6, number, 45, 1_700_000_000 + step),
            frame(2, 6, number, 8, step),
        ]
        if step % 5 == 0:
            out += [frame(49, 1, 1_700_000_000 + step), frame(45, 6, number, 49, step % 3)]
        if step % 11 == 0:
            out += [frame(4, 2, -1, 2103, "farm broken", ""), frame(58, 1, number, 1 + step % 4)]
    return b"".join(out)


def test_every_single_cut_is_the_same() -> None:
    """A stream cut in two at each of its bytes, and byte by byte, ends as it does uncut."""
    stream = day(3)
    whole, expected = both(stream, [])
    assert whole == expected
    for cut in range(1, len(stream)):
        feed = Feed(SYMBOLS, fast=True)
        feed.give(stream, [cut])
        assert feed.outcome() == expected, cut
    bytewise = Feed(SYMBOLS, fast=True)
    bytewise.give(stream, list(range(len(stream))))
    assert bytewise.outcome() == expected


@pytest.mark.parametrize("size", [1, 7, 1460, 16_384, 262_144])
def test_a_long_stream_is_the_same_at_every_packet_size(size: int) -> None:
    """The state after thousands of messages does not depend on how the network cut them."""
    stream = day(400)
    stock, fast_one = both(stream, list(range(size, len(stream), size)))
    assert fast_one == stock
    assert len(stock[0]) > 100
    assert any(state.bid is not None and state.halted is not None for state in stock[-1])


ODD_TIMES = ("9" * 10, "9" * 11, "9" * 30, "01700000005", "-5", "", "1.5", "\u0665")


@pytest.mark.parametrize("text", ODD_TIMES)
def test_odd_times_are_judged_alike(text: str) -> None:
    """A time that is too long for the fast path is the decoder's, and the later one wins."""
    usual, odd = frame(46, 6, FIRST_NUMBER, 45, 1_700_000_000), frame(46, 6, FIRST_NUMBER, 88, text)
    for stream in (usual + odd, odd + usual, odd):
        stock, fast_one = both(stream, [])
        assert fast_one == stock


def test_ticks_go_past_the_decoder() -> None:
    """It is the fast path that is compared: no live tick of an open line reaches the decoder."""
    feed = Feed(SYMBOLS, fast=True)
    seen: list[list[str]] = []
    receiver = feed.client.conn.data_received.__self__
    receiver._interpret = seen.append
    feed.give(day(20), [])
    assert {fields[0] for fields in seen} == {"49", "4", "1", "2", "58"}
    assert {fields[3] for fields in seen if fields[0] in {"1", "2"}} == {"66", "69"}


def test_a_line_that_was_closed_is_no_longer_heard() -> None:
    """What still comes under the number of a closed line changes nothing, on either path."""
    for is_fast in (False, True):
        feed = Feed(SYMBOLS, fast=is_fast)
        feed.give(frame(1, 6, FIRST_NUMBER, 1, 10.5, 100, 0), [])
        feed.market.unsubscribe(["AAPL"])
        feed.give(frame(1, 6, FIRST_NUMBER, 1, 11.5, 100, 0), [])
        assert feed.market.updates() == []


def test_an_announced_length_beyond_measure_ends_the_connection() -> None:
    """Where no message can begin the framing is lost: it is told, and we connect anew."""
    feed = Feed(SYMBOLS, fast=True)
    good = frame(1, 6, FIRST_NUMBER, 1, 10.5, 100, 0)
    feed.give(good + (fast.FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"x" * 50, [3, 60])
    assert feed.market.unreadable_messages == 1
    assert "announced" in feed.market.errors()[0].text
    assert not feed.client.isReady()
    biggest = Feed(SYMBOLS, fast=True)
    biggest.give(fast.FRAME_BYTES_MAX.to_bytes(4, "big") + b"x" * 50, [3])
    assert biggest.market.unreadable_messages == 0


def test_a_large_message_in_many_packets_is_read_once() -> None:
    """Ten megabytes in small packets are gathered, not copied again with each of them."""
    text = "x" * 10_000_000
    stream = frame(4, 2, -1, 1100, text, "") + frame(2, 6, FIRST_NUMBER, 0, 700)
    feed = Feed(SYMBOLS, fast=True)
    feed.give(stream, list(range(0, len(stream), 4_096)))
    assert [len(error.text) for error in feed.market.errors()] == [len(text)]
    assert feed.states()[0].bid_size == 700


def test_what_follows_the_end_of_the_connection_is_dropped() -> None:
    """A message that makes us disconnect is the last one of its packet, as with the library."""
    for is_fast in (False, True):
        feed = Feed(SYMBOLS, fast=is_fast)
        feed.client.wrapper.currentTime = partial(_disconnect, feed)
        tick = frame(1, 6, FIRST_NUMBER, 1, 10.5, 100, 0)
        line = feed.market._lines["AAPL"]
        feed.client.conn.data_received(tick + frame(49, 1, 1) + frame(2, 6, FIRST_NUMBER, 0, 900))
        state = line.state()
        assert (state.bid, state.bid_size) == (Decimal("10.5"), 100)


def _disconnect(feed: Feed, _seconds: int) -> None:
    feed.market.disconnect("enough")


def test_a_begun_message_is_taken_over() -> None:
    """What the library has read of a message when the fast path takes over is not lost."""
    feed = Feed(SYMBOLS, fast=False)
    tick = frame(1, 6, FIRST_NUMBER, 1, 10.5, 100, 0)
    feed.client.conn.data_received(tick[:9])
    feed.market._fast_receive = True
    feed.market._take_fast_path()
    feed.client.conn.data_received(tick[9:])
    assert feed.states()[0].bid == Decimal("10.5")
    assert feed.market.unreadable_messages == 0


# ------------------------------------------------------------------------ when it does not fit


@pytest.mark.parametrize("version", [157, 176])
def test_text_versions_are_suited(version: int) -> None:
    """The library negotiates 157 to 176; all of them spell ticks alike."""
    assert fast.unsuited(Feed(SYMBOLS, fast=True, version=version).client) is None


def test_an_unknown_gateway_version_keeps_the_library_path() -> None:
    """From version 201 on a message does not begin with text."""
    feed = Feed(SYMBOLS, fast=True, version=201)
    assert "version 201" in feed.market.receive_problem
    assert "data_received" not in vars(feed.client.conn)


def _other_signature(_self: object, _fields: object, _extra: object) -> None:
    """Take one argument more than the library's method."""


def test_another_library_keeps_its_own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version, signature or attribute is told, and ticks arrive all the same."""
    changes: list[tuple[str, Any, str, Any]] = [
        ("ib_insync is 9", fast, "library_version", "9"),
        ("interpret takes", fast.Decoder, "interpret", _other_signature),
    ]
    for words, owner, name, value in changes:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            feed = Feed((), fast=True)
        assert words in feed.market.receive_problem
        assert "data_received" not in vars(feed.client.conn)
    feed = Feed(SYMBOLS, fast=False)
    del feed.client._data
    assert "no _data" in (fast.unsuited(feed.client) or "")


def test_switched_off_it_is_not_there_and_no_problem() -> None:
    """``[stream] fast_receive = false`` is a wish, nothing to report."""
    feed = Feed(SYMBOLS, fast=False)
    assert feed.market.receive_problem == ""
    assert "data_received" not in vars(feed.client.conn)


# ------------------------------------------------------------------------ over a socket


def test_what_the_simulator_sends_is_the_same_on_both_paths(play: Any, until: Any) -> None:
    """Bytes of a real connection, recorded and given to the library's path: the same states."""

    async def scenario(bench: Any) -> None:
        symbols = ("AAPL", "IBM", "MSFT")
        market = bench.market(port=bench.proxy.port)
        await market.connect()
        assert market.receive_problem == ""
        receive, packets = market._client.conn.data_received, []
        assert isinstance(receive.__self__, fast.FastReceiver)
        market._client.conn.data_received = lambda data: (packets.append(data), receive(data))
        market.subscribe([bench.instrument(symbol) for symbol in symbols])
        states: dict[str, Any] = {}
        for number in range(1, 30):
            symbol, bid = symbols[number % 3], 9 + number / 100
            bench.control("POST", "/quote", symbol=symbol, bid=bid, ask=bid + 1)
            await market.prove() if number == 15 else await asyncio.sleep(0.02)
        bench.control("POST", "/quote", symbol="IBM", bid=1.23, ask=1.25, halted=1)

        def arrived() -> bool:
            states.update({state.symbol: state for state in market.updates()})
            ibm = states.get("IBM")
            return len(states) == 3 and ibm.halted is True and ibm.bid == Decimal("1.23")

        await until(arrived, "the last quote")
        library = Feed(symbols, fast=False)
        library.give_packets(packets)
        found = {state.symbol: replace(state, con_id=0) for state in library.states()}
        assert found == {name: replace(state, con_id=0) for name, state in states.items()}
        assert market.unreadable_messages == library.market.unreadable_messages == 0

    play(scenario)


def test_a_lost_connection_begins_anew_on_the_fast_path(play: Any, until: Any) -> None:
    """What was begun when the socket broke is forgotten; the next connection is read afresh."""

    async def scenario(bench: Any) -> None:
        market = bench.market(port=bench.proxy.port)
        await market.connect()
        market.subscribe([bench.instrument("AAPL")])
        await until(market.updates, "a tick")
        bench.proxy._to_client.write(frame(1, 6, FIRST_NUMBER, 1, 10.5, 100, 0)[:11])
        bench.fault("socket_reset", client_id=12)
        await until(lambda: not market.is_connected(), "the loss")
        await market.connect()
        market.subscribe([bench.instrument("AAPL")])
        await until(market.updates, "a tick again")
        assert market.unreadable_messages == 0
        assert market._client.conn.data_received.__self__._lines is market._open

    play(scenario)
