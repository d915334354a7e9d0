"""The stream's connection: lines open, merge, close and come back."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ibloop.adapters.ib import fallback
from ibloop.adapters.ib.market import LINES_PER_BATCH
from ibloop.core.model import Instrument, MarketDataType, QuoteSource
from ibloop.errors import GatewayUnavailableError


async def connected(bench: Any) -> Any:
    """Return connected market data behind the proxy."""
    market = bench.market(port=bench.proxy.port)
    await market.connect()
    return market


def requests(bench: Any, kind: str) -> list[list[str]]:
    """Return the requests of a kind that the gateway got."""
    return [fields for fields in bench.proxy.received if fields[0] == kind]


def test_a_symbol_becomes_one_merged_state(play: Any, until: Any) -> None:
    """Bid, ask, sizes, last, close and the halt state arrive as ticks and leave as one value."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        aapl = bench.instrument("AAPL")
        states: dict[str, Any] = {}
        market.wake_event.clear()
        market.subscribe([aapl])
        await asyncio.wait_for(market.wake_event.wait(), 10)

        def take() -> Any:
            states.update({state.symbol: state for state in market.updates()})
            state = states.get("AAPL")
            return state if state and state.bid and state.ask and state.halted is False else None

        state = await until(take, "a quote")
        assert not market.wake_event.is_set() or market.updates()
        assert (state.con_id, state.currency) == (aapl.con_id, "USD")
        assert state.market_data_type is MarketDataType.LIVE
        assert 0 < state.bid < state.ask
        assert state.bid_size > 0
        assert state.close > 0
        bench.control("POST", "/quote", symbol="AAPL", bid=500.25, ask=500.75, halted=1)

        def halted() -> Any:
            take()
            return states["AAPL"] if states["AAPL"].halted else None

        state = await until(halted, "the halt")
        assert (state.bid, state.ask) == (Decimal("500.25"), Decimal("500.75"))
        assert requests(bench, "59")[0][2] == "3"  # live data wins where there is any

    play(scenario)


def test_lines_are_opened_at_a_pace(play: Any, until: Any) -> None:
    """Subscribing everything at once leaves the gateway's message limit to the health probes."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        symbols = [i.symbol for i in bench.sim.gateway.world.samples.instruments.values()]
        market.subscribe([bench.instrument(symbol) for symbol in symbols])
        market.subscribe([bench.instrument(symbols[0])])
        await until(lambda: requests(bench, "1"), "the first line")
        assert len(requests(bench, "1")) <= 2 * LINES_PER_BATCH < len(symbols)
        await until(lambda: len(requests(bench, "1")) == len(symbols), "every line, once")
        seen: set[str] = set()

        def all_seen() -> bool:
            seen.update(state.symbol for state in market.updates())
            return seen == set(symbols)

        await until(all_seen, "a tick of every symbol")
        assert len({fields[2] for fields in requests(bench, "1")}) == len(symbols)

    play(scenario)


def test_an_unsubscribed_symbol_is_silent(play: Any, until: Any) -> None:
    """Its line is given back, and what still arrives for it is dropped; it can be opened again."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        aapl, ibm = bench.instrument("AAPL"), bench.instrument("IBM")
        market.subscribe([aapl])
        await until(market.updates, "a tick")
        market.subscribe([ibm])
        market.unsubscribe(["AAPL", "IBM", "NONE"])
        await until(lambda: requests(bench, "2"), "the line given back")
        number = requests(bench, "1")[0][2]
        assert [fields[2] for fields in requests(bench, "2")] == [number]
        bench.proxy.inject(1, 6, number, 1, 10.5, 100, 0)
        bench.proxy.inject(49, 1, 1)
        await market.prove()
        assert market.updates() == []
        assert len(requests(bench, "1")) == 1
        market.subscribe([aapl])
        await until(market.updates, "a tick again")

    play(scenario)


def test_errors_name_their_symbol(play: Any, until: Any) -> None:
    """A refused line is told with its symbol and is gone; the system's errors have none."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        tick, lot = Decimal("0.01"), Decimal(1)
        nope = Instrument("NOPE", 424242, "x", "NYSE", "USD", tick, lot, "x", None)
        market.errors()
        market.subscribe([nope])
        errors = await until(market.errors, "an error")
        assert [(error.symbol, error.code) for error in errors] == [("NOPE", 200)]
        assert market.errors() == []
        market.unsubscribe(["NOPE"])
        market.subscribe([nope])
        await until(market.errors, "the error again")
        assert requests(bench, "2") == []  # a number the gateway does not know is not cancelled
        bench.proxy.inject(4, 2, -1, 1100, "Connectivity lost", "")
        errors = await until(market.errors, "the system's error")
        assert [(error.symbol, error.code) for error in errors] == [(None, 1100)]

    play(scenario)


def test_forgotten_lines_are_opened_again_from_nothing(play: Any, until: Any) -> None:
    """After 1101 each line gets a new number and a new state, and no number is cancelled."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        both = [bench.instrument("AAPL"), bench.instrument("IBM")]
        market.subscribe(both)
        await until(lambda: len(requests(bench, "1")) == 2, "both lines")
        await until(lambda: {s.symbol for s in market.updates()} & {"IBM"}, "ticks")
        market.forget_lines()
        market.subscribe(both)
        await until(lambda: len(requests(bench, "1")) == 4, "both lines again")
        assert requests(bench, "2") == []
        numbers = [fields[2] for fields in requests(bench, "1")]
        assert len(set(numbers)) == 4
        bids: set[Decimal | None] = set()

        def take() -> set[Decimal | None]:
            bids.update(state.bid for state in market.updates())
            return bids

        old, new = numbers[0], numbers[2]
        bench.proxy.inject(1, 6, new, 1, 11.5, 100, 0)
        await until(lambda: Decimal("11.5") in take(), "the new line")
        bench.proxy.inject(1, 6, old, 1, 12.5, 100, 0)
        bench.proxy.inject(1, 6, numbers[3], 1, 13.5, 100, 0)
        await until(lambda: Decimal("13.5") in take(), "what came after the old line")
        assert Decimal("12.5") not in bids

    play(scenario)


def test_a_new_connection_begins_without_lines(play: Any, until: Any) -> None:
    """Without a connection nothing is subscribed, and a new one waits to be told what to."""

    async def scenario(bench: Any) -> None:
        aapl = bench.instrument("AAPL")
        market = bench.market(port=bench.proxy.port)
        with pytest.raises(GatewayUnavailableError):
            market.subscribe([aapl])
        await market.connect()
        market.subscribe([aapl])
        await until(market.updates, "a tick")
        bench.fault("socket_reset", client_id=12)
        await until(lambda: not market.is_connected(), "the loss")
        assert market.updates() == []
        await market.connect()
        await market.prove()
        assert len(requests(bench, "1")) == 1
        market.subscribe([aapl])
        await until(market.updates, "a tick again")

    play(scenario)


def test_a_reopened_line_knows_nothing_of_the_old_one(play: Any, until: Any) -> None:
    """The first tick of a new line is not merged into prices from before the gap."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        aapl = bench.instrument("AAPL")
        market.subscribe([aapl])
        await until(market.updates, "a tick")
        bench.proxy.muted = {1}
        market.unsubscribe(["AAPL"])
        market.subscribe([aapl])
        await until(lambda: len(requests(bench, "1")) == 2, "the line again")
        number = requests(bench, "1")[1][2]
        bench.proxy.inject(1, 6, number, 1, 11.5, 100, 0)
        (state,) = await until(market.updates, "its first tick")
        assert (state.bid, state.ask, state.last, state.close) == (
            Decimal("11.5"),
            None,
            None,
            None,
        )

    play(scenario)


def test_closing_comes_before_opening_at_the_same_pace(play: Any, until: Any) -> None:
    """Lines are given back first, so that never more are open than allowed, and not in a burst."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        symbols = [i.symbol for i in bench.sim.gateway.world.samples.instruments.values()]
        half = len(symbols) // 2
        market.subscribe([bench.instrument(symbol) for symbol in symbols[:half]])
        await until(lambda: len(requests(bench, "1")) == half, "half of the lines")
        before = len(bench.proxy.received)
        market.unsubscribe(symbols[:half])
        market.subscribe([bench.instrument(symbol) for symbol in symbols[half:]])
        await until(lambda: requests(bench, "2"), "the first closed")
        assert len(requests(bench, "2")) <= 2 * LINES_PER_BATCH
        await until(lambda: len(requests(bench, "1")) == len(symbols), "the other half")
        kinds = [f[0] for f in bench.proxy.received[before:] if f[0] in {"1", "2"}]
        assert kinds == ["2"] * half + ["1"] * (len(symbols) - half)

    play(scenario)


async def answer(market: Any, until: Any) -> Any:
    """Wait for the answer to a single question."""
    (found,) = await until(market.answers, "an answer")
    return found


def test_a_snapshot_is_one_whole_state(play: Any, until: Any) -> None:
    """A single price is asked for and answered without a line of its own."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        assert market.ask_snapshot(bench.instrument("AAPL"))
        found = await answer(market, until)
        assert (found.symbol, found.source, found.problem) == ("AAPL", QuoteSource.SNAPSHOT, "")
        assert 0 < found.state.bid < found.state.ask
        assert found.state.last > 0
        assert found.state.close > 0
        assert market.updates() == []

    play(scenario)


def test_a_snapshot_is_taken_as_soon_as_it_says_enough(play: Any, until: Any) -> None:
    """IB takes up to 11 s to end one: bid, ask and last are enough, and its line is given back."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        bench.proxy.muted = {1}
        market.ask_snapshot(bench.instrument("AAPL"))
        await until(lambda: requests(bench, "1"), "the question")
        number = requests(bench, "1")[0][2]
        for tick, price in ((1, 10.5), (2, 10.75)):
            bench.proxy.inject(1, 6, number, tick, price, 100, 0)
        await market.prove()
        assert market.answers() == []
        bench.proxy.inject(1, 6, number, 4, 10.5, 100, 0)
        found = await answer(market, until)
        assert (found.state.bid, found.state.last) == (Decimal("10.5"), Decimal("10.5"))
        await until(lambda: requests(bench, "2"), "the line given back")
        bench.proxy.inject(57, 1, number)
        await market.prove()
        assert market.answers() == []

    play(scenario)


@pytest.mark.parametrize(
    ("code", "ends"), [(200, True), (354, True), (10197, True), (10167, False), (10090, False)]
)
def test_a_refused_snapshot_says_why(code: int, ends: bool, play: Any, until: Any) -> None:
    """An error ends it with the code; notices that data comes all the same do not."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        bench.proxy.muted = {1}
        market.ask_snapshot(bench.instrument("AAPL"))
        await until(lambda: requests(bench, "1"), "the question")
        bench.proxy.inject(4, 2, requests(bench, "1")[0][2], code, "so it is", "")
        await market.prove()
        found = market.answers()
        assert [(a.state, a.problem, a.code) for a in found] == (
            [(None, f"{code} so it is", code)] if ends else []
        )
        assert not [error for error in market.errors() if error.code == code]

    play(scenario)


def test_an_empty_snapshot_is_no_price(play: Any, until: Any) -> None:
    """An end without a price answers with nothing but the reason."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        bench.proxy.muted = {1}
        market.ask_snapshot(bench.instrument("AAPL"))
        await until(lambda: requests(bench, "1"), "the question")
        number = requests(bench, "1")[0][2]
        bench.proxy.inject(1, 6, number, 1, -1.0, 0, 0)
        bench.proxy.inject(57, 1, number)
        found = await answer(market, until)
        assert (found.state, found.problem) == (None, "the snapshot was empty")

    play(scenario)


def test_an_unanswered_snapshot_ends_with_time(
    play: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while what has come counts, and nothing is nothing."""
    monkeypatch.setattr(fallback, "SNAPSHOT_S_MAX", 0.3)

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        bench.proxy.muted = {1}
        for symbol in ("AAPL", "IBM"):
            market.ask_snapshot(bench.instrument(symbol))
        await until(lambda: len(requests(bench, "1")) == 2, "the questions")
        bench.proxy.inject(1, 6, requests(bench, "1")[1][2], 4, 10.5, 100, 0)
        found = {}
        while len(found) < 2:
            found |= {answer.symbol: answer for answer in await until(market.answers, "answers")}
        assert found["AAPL"].problem == "no snapshot within 0.3 s"
        assert found["IBM"].state.last == Decimal("10.5")
        await until(lambda: len(requests(bench, "2")) == 2, "both given back")

    play(scenario)


def test_forgotten_questions_have_no_answer(play: Any, until: Any) -> None:
    """What was asked is given back, what had come is dropped, and there is room again."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        bench.proxy.muted = {1}
        for symbol in ("AAPL", "IBM"):
            market.ask_snapshot(bench.instrument(symbol))
        await until(lambda: len(requests(bench, "1")) == 2, "the questions")
        bench.proxy.inject(4, 2, requests(bench, "1")[0][2], 354, "not subscribed", "")
        await market.prove()
        market.forget_questions()
        assert market.answers() == []
        await until(lambda: len(requests(bench, "2")) == 1, "given back")
        bench.proxy.inject(1, 6, requests(bench, "1")[1][2], 4, 10.5, 100, 0)
        bench.proxy.inject(57, 1, requests(bench, "1")[1][2])
        await market.prove()
        assert market.answers() == []
        assert all(market.ask_snapshot(bench.instrument("AAPL")) for _ in range(10))

    play(scenario)


def test_there_is_room_for_ten_snapshots(play: Any) -> None:
    """Each takes a market data line: more have to wait."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        bench.proxy.muted = {1}
        aapl = bench.instrument("AAPL")
        asked = [market.ask_snapshot(aapl) for _ in range(12)]
        assert asked == [True] * 10 + [False] * 2

    play(scenario)


def test_history_is_the_last_bar_with_its_time(play: Any, until: Any) -> None:
    """The last price traded, as old as its bar began, of a kind that prices no order."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        asked = datetime.now(UTC)
        assert market.ask_history(bench.instrument("AAPL"))
        found = await answer(market, until)
        assert (found.source, found.problem) == (QuoteSource.HISTORY, "")
        state = found.state
        assert state.last > 0
        assert (state.bid, state.ask, state.close) == (None, None, None)
        assert state.market_data_type is MarketDataType.DELAYED_FROZEN
        assert asked - timedelta(days=5) < state.event_time <= asked + timedelta(minutes=1)

    play(scenario)


def test_history_is_asked_for_sparingly(play: Any, until: Any) -> None:
    """Once in five minutes for a symbol, and three at once: IB refuses 60 in ten minutes."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        bench.proxy.muted = {20}
        symbols = ["AAPL", "AAPL", "IBM", "MSFT", "GOOG"]
        asked = [market.ask_history(bench.instrument(symbol)) for symbol in symbols]
        assert asked == [True, False, True, True, False]
        market.disconnect()
        await until(lambda: not market._histories, "their end")

    play(scenario)


def test_refused_history_says_why(play: Any, until: Any) -> None:
    """No data, or pacing: an answer without a price, and no error of the stream."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        bench.fault("historical_pacing", times=0)
        market.errors()
        market.ask_history(bench.instrument("AAPL"))
        found = await answer(market, until)
        assert found.state is None
        assert "162" in found.problem
        assert [error for error in market.errors() if error.code == 162] == []

    play(scenario)
