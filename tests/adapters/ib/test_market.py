"""The stream's connection: lines open, merge, close and come back."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from ibloop.adapters.ib.market import LINES_PER_BATCH
from ibloop.core.model import Instrument, MarketDataType
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
        assert requests(bench, "59")[0][2] == "1"

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
    """A refused line is told with its symbol; good news about data farms is no error."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        tick, lot = Decimal("0.01"), Decimal(1)
        market.subscribe([Instrument("NOPE", 424242, "x", "NYSE", "USD", tick, lot, "x", None)])
        errors = await until(market.errors, "an error")
        assert [(error.code, error.ib_order_id) for error in errors] == [(200, None)]
        assert errors[0].text.startswith("NOPE: ")
        assert market.errors() == []
        bench.proxy.inject(4, 2, -1, 1100, "Connectivity lost", "")
        assert [error.code for error in await until(market.errors, "the system's error")] == [1100]

    play(scenario)


def test_lost_subscriptions_are_renewed(play: Any, until: Any) -> None:
    """After 1101 the gateway has forgotten every line: each is opened again under a new number."""

    async def scenario(bench: Any) -> None:
        market = await connected(bench)
        market.subscribe([bench.instrument("AAPL"), bench.instrument("IBM")])
        await until(lambda: len(requests(bench, "1")) == 2, "both lines")
        bench.proxy.inject(4, 2, -1, 1101, "restored - data lost", "")
        await until(lambda: len(requests(bench, "1")) == 4, "both lines again")
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
