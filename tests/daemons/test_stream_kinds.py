"""What a line must tell to be live, and what becomes of prices whose kind turns out worse."""

from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.core.model import MarketDataType, QuoteSource
from tests.fakes.streamworld import World, play


@pytest.mark.parametrize("kind", [MarketDataType.DELAYED, MarketDataType.DELAYED_FROZEN])
def test_delayed_data_is_a_degraded_stream(kind: MarketDataType, tmp_path: Path) -> None:
    """Delayed prices are published as such, and the stream says whose."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL", market_data_type=kind)
        world.market.tick("MSFT")
        await world.steps()
        assert world.status == "degraded"
        assert world.fields()["degraded_reason"] == "only delayed data of AAPL"
        world.market.tick("AAPL")
        await world.steps()
        assert world.status == "connected"

    play(test, tmp_path)


def test_a_line_that_tells_no_price_is_not_live(tmp_path: Path) -> None:
    """A halt or "no quote" of a new line is no feed: the last price known stays in the file."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("MSFT")
        await world.steps(14, advance_s=0.5)
        assert "AAPL" in world.market.snapshots
        world.market.reply("AAPL", None)
        await world.steps(2)
        world.market.reply_history("AAPL", "99.5", world.clock.now().utc)
        await world.steps()
        assert world.quote("AAPL").source is QuoteSource.HISTORY
        for halted in (None, True):
            world.market.tick("AAPL", None, halted=halted)
            await world.steps(2, advance_s=0.1)
            assert "AAPL" in world.fields()["degraded_symbols"]  # type: ignore[operator]
            assert world.quote("AAPL").last == Decimal("99.5")
        world.market.tick("AAPL", "101.00")
        await world.steps()
        quote = world.quote("AAPL")
        assert (quote.source, quote.bid) == (QuoteSource.STREAM, Decimal(101))
        assert quote.halted is True  # it was told, and nobody has said that it is over
        world.market.tick("AAPL", None)
        await world.steps()
        assert world.quote("AAPL").bid is None  # of a line that ticks "no quote" is news

    play(test, tmp_path)


def test_a_worse_kind_is_told_and_makes_no_price_younger(tmp_path: Path) -> None:
    """Prices that turn out to be delayed are published as such, with the moment they came."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL")
        world.market.tick("MSFT")
        await world.steps()
        before = world.quote("AAPL")
        world.market.worse = {"AAPL": MarketDataType.DELAYED, "NVDA": MarketDataType.DELAYED}
        await world.steps()
        after = world.quote("AAPL")
        assert after.market_data_type is MarketDataType.DELAYED
        assert (after.received, after.bid) == (before.received, before.bid)
        assert after.seq > before.seq
        assert world.fields()["degraded_reason"] == "only delayed data of AAPL"
        world.market.worse = {"AAPL": MarketDataType.FROZEN}
        await world.steps()
        assert world.quote("AAPL").seq == after.seq

    play(test, tmp_path)


def test_a_line_that_waits_to_be_ordered_is_not_silent(tmp_path: Path) -> None:
    """Patience begins when the gateway has been asked, however slowly lines are ordered."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.waiting = ["AAPL"]
        for _ in range(40):
            world.market.tick("MSFT")
            await world.steps(advance_s=0.5)
        assert world.market.snapshots == []
        assert world.status == "connected"
        assert "yet to be ordered: AAPL" in world.detail()
        world.market.waiting = []
        for _ in range(14):
            world.market.tick("MSFT")
            await world.steps(advance_s=0.5)
        assert world.market.snapshots == ["AAPL"]

    play(test, tmp_path)
