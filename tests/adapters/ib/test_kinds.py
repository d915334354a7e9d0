"""The kind of market data, on the library's path and the fast one: no type is a tick."""

from decimal import Decimal
from typing import Any

import pytest

from ibloop.core.model import MarketDataType
from tests.fakes.feeds import FIRST_NUMBER, Feed, frame

SYMBOLS = ("AAPL", "IBM")


def test_the_kind_of_data_and_the_last_number_win() -> None:
    """Several ticks of one packet merge in their order."""
    feed = Feed(SYMBOLS, fast=True)
    numbers = [frame(1, 6, FIRST_NUMBER, 1, price, 100, 0) for price in (1.5, 2.5, "-1.00")]
    feed.give(b"".join([*numbers, frame(58, 1, FIRST_NUMBER, 3)]), [])
    (state,) = feed.market.updates()
    assert (state.bid, state.market_data_type) == (None, MarketDataType.DELAYED)
    feed.give(frame(1, 6, FIRST_NUMBER, 66, "3.5", "", 0), [])
    (state,) = feed.market.updates()
    assert (state.bid, state.bid_size) == (Decimal("3.5"), None)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    "tick",
    [
        *(
            frame(1, 6, FIRST_NUMBER, number, "3.5", "", 0)
            for number in (66, 67, 68, 72, 73, 75, 76)
        ),
        *(frame(2, 6, FIRST_NUMBER, number, "300") for number in (69, 70, 71, 74)),
        frame(46, 6, FIRST_NUMBER, 88, "1763823600"),
    ],
)
def test_a_delayed_tick_makes_the_line_delayed(tick: bytes, fast: bool) -> None:
    """No price of fifteen minutes ago counts as live until the gateway says what it is."""
    feed = Feed(SYMBOLS, fast=fast)
    feed.give(frame(1, 6, FIRST_NUMBER, 1, "3.5", "", 0), [])
    feed.give(tick, [])
    (state,) = feed.market.updates()
    assert state.market_data_type is MarketDataType.DELAYED
    feed.give(frame(58, 1, FIRST_NUMBER, 4) + tick, [])
    (state,) = feed.market.updates()
    assert state.market_data_type is MarketDataType.DELAYED_FROZEN


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_a_type_alone_is_no_tick(kind: int, fast: bool) -> None:
    """The gateway names the type of a line at once, also of one that will carry nothing."""
    feed = Feed(SYMBOLS, fast=fast)
    feed.give(frame(58, 1, FIRST_NUMBER, kind), [])
    assert feed.market.updates() == []
    assert feed.market.worsened() == {}
    assert not feed.market.wake.is_set()


@pytest.mark.parametrize("fast", [True, False])
def test_a_type_that_is_worse_is_told_apart_from_ticks(fast: bool) -> None:
    """Known prices are told to be delayed at once, and are no younger by that."""
    feed = Feed(SYMBOLS, fast=fast)
    feed.give(frame(58, 1, FIRST_NUMBER, 1) + frame(1, 6, FIRST_NUMBER, 1, "3.5", "", 0), [])
    (state,) = feed.market.updates()
    assert state.market_data_type is MarketDataType.LIVE
    feed.give(frame(58, 1, FIRST_NUMBER, 3), [])
    assert feed.market.wake.is_set()
    assert feed.market.updates() == []
    assert feed.market.worsened() == {"AAPL": MarketDataType.DELAYED}
    assert feed.market.worsened() == {}


@pytest.mark.parametrize("fast", [True, False])
def test_a_type_that_was_worse_for_a_moment_only_is_not_told(fast: bool) -> None:
    """Between two looks it came and went: the line is live, and says so."""
    feed = Feed(SYMBOLS, fast=fast)
    live, delayed = (frame(58, 1, FIRST_NUMBER, kind) for kind in (1, 3))
    feed.give(live + frame(1, 6, FIRST_NUMBER, 1, "3.5", "", 0) + delayed + live, [])
    assert feed.market.worsened() == {}


@pytest.mark.parametrize("fast", [True, False])
def test_delayed_prices_do_not_become_live(fast: bool) -> None:
    """When the gateway goes back to live data, the delayed bid waits for a live one."""
    feed = Feed(SYMBOLS, fast=fast)
    tick = frame(1, 6, FIRST_NUMBER, 66, "3.5", 200, 0)
    feed.give(tick, [])
    assert feed.market.updates()[0].bid == Decimal("3.5")
    feed.give(tick + frame(58, 1, FIRST_NUMBER, 1), [])
    (state,) = feed.market.updates()
    assert (state.market_data_type, state.bid, state.bid_size) == (MarketDataType.LIVE, None, None)


def test_a_snapshot_without_a_word_is_of_the_kind_of_its_line(play: Any, until: Any) -> None:
    """The login's rights are the same for both; of a symbol without a line nothing is known."""

    async def scenario(bench: Any) -> None:
        market = bench.market()
        await market.connect()
        aapl, ibm = bench.instrument("AAPL"), bench.instrument("IBM")
        market.subscribe([aapl])
        (state,) = await until(market.updates, "a tick")
        assert state.market_data_type is MarketDataType.LIVE
        bench.fault("muted", messages="58", client_id=12)
        kinds = {}
        for asked in (aapl, ibm):
            market.ask_snapshot(asked)
            (answer,) = await until(market.answers, "an answer")
            kinds[answer.symbol] = answer.state.market_data_type
        assert kinds == {"AAPL": MarketDataType.LIVE, "IBM": MarketDataType.DELAYED_FROZEN}
        market.subscribe([ibm])
        (state,) = await until(market.updates, "a tick of no told kind")
        assert state.market_data_type is MarketDataType.DELAYED_FROZEN
        assert state.bid is not None

    play(scenario)


@pytest.mark.parametrize("request_id", ["-1", "the line's"])
def test_error_100_names_no_line(request_id: str, play: Any, until: Any) -> None:
    """Lines without an answer are ordered again, slower; the others stay, and none is refused."""

    async def scenario(bench: Any) -> None:
        market = bench.market(port=bench.proxy.port)
        await market.connect()
        market.subscribe([bench.instrument("AAPL")])
        await until(market.updates, "a tick")
        bench.proxy.muted = {1}  # what the gateway refuses it does not act on
        market.subscribe([bench.instrument("IBM")])
        lines = [*await until(lambda: len(orders(bench)) == 2 and orders(bench), "the order")]
        number = lines[-1] if request_id == "the line's" else request_id
        bench.proxy.inject(4, 2, number, 100, "Max rate of messages per second", "")
        await until(lambda: market.unopened() == ["IBM"], "the note")
        assert not market.ask_snapshot(bench.instrument("IBM"))  # lines come first
        await until(lambda: len(orders(bench)) == 3, "the second order")
        assert market.unopened() == []
        assert orders(bench)[:2] == lines
        assert [fields[2] for fields in bench.proxy.received if fields[0] == "2"] == lines[1:]
        assert 100 in [notice.code for notice in market.errors()]
        assert set(market._lines) == {"AAPL", "IBM"}

    play(scenario)


def orders(bench: Any) -> list[str]:
    """Return the numbers of the lines that were ordered."""
    return [fields[2] for fields in bench.proxy.received if fields[0] == "1"]
