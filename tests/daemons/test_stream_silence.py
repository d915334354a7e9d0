"""Silence is asked about before it is judged; what carries nothing is refreshed and reopened."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from ibloop.core.model import MarketDataType, QuoteSource
from ibloop.core.quotes import QuoteLimits, problem, valuation_price
from tests.fakes.streamworld import World, instrument, play

D = Decimal
LIMITS = QuoteLimits(quote_age_s_max=15, spread_fraction_max=D("0.05"), jump_fraction_max=D("0.5"))


async def silent(world: World, seconds: float) -> None:
    """Let time pass in the loop's usual steps."""
    for _ in range(round(seconds / 0.5)):
        await world.steps(advance_s=0.5)


async def ticking(world: World, symbol: str, seconds: float, bid: str = "100.00") -> None:
    """Let a symbol tick every half second."""
    for _ in range(round(seconds / 0.5)):
        world.market.tick(symbol, bid)
        await world.steps(advance_s=0.5)


def test_a_quiet_symbol_stays_usable(tmp_path: Path) -> None:
    """While its feed lives, a price that nobody changes is confirmed before it is too old."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL", "100.00", close=D("99"))
        for _ in range(40):
            world.market.tick("MSFT")
            await world.steps(advance_s=0.5)
            if world.market.snapshots:
                assert world.market.snapshots == ["AAPL"]
                world.market.reply("AAPL", "100.00", close=D("99"))
            assert problem(world.quote("AAPL"), world.clock.now(), LIMITS) is None
        quote = world.quote("AAPL")
        assert quote.source is QuoteSource.SNAPSHOT
        assert (world.status, world.detail()) == ("connected", "")
        assert world.fields()["last_snapshot_refresh"] is not None
        assert len(world.market.calls) == 1  # nothing was subscribed anew

    play(test, tmp_path)


def test_a_market_that_stands_still_is_no_trouble(tmp_path: Path) -> None:
    """Not one tick, but every snapshot agrees: connected, and every price usable."""

    async def test(world: World) -> None:
        await world.connect()
        for symbol in ("AAPL", "MSFT"):
            world.market.tick(symbol, close=D("99"))
        for _ in range(120):
            await world.steps(advance_s=0.5)
            for symbol in list(world.market.snapshots):
                world.market.reply(symbol, "100.00", close=D("99"))
            assert world.status == "connected"
        for symbol in ("AAPL", "MSFT"):
            assert problem(world.quote(symbol), world.clock.now(), LIMITS) is None

    play(test, tmp_path)


def test_a_line_that_missed_a_change_is_found_and_healed(tmp_path: Path) -> None:
    """A snapshot that differs proves a line dead: refreshed, reopened, and live with its tick."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL")
        await ticking(world, "MSFT", 5.5)
        world.market.reply("AAPL", "105.00")
        await ticking(world, "MSFT", 1)
        quote = world.quote("AAPL")
        assert (quote.bid, quote.source) == (D("105.00"), QuoteSource.SNAPSHOT)
        assert world.status == "connected"
        await ticking(world, "MSFT", 1)
        told = {"AAPL": "silent, while a snapshot says otherwise"}
        assert world.fields()["degraded_symbols"] == told
        assert "degraded: AAPL" in world.detail()
        await ticking(world, "MSFT", 2)
        assert world.market.calls[-2:] == ["-AAPL", "+AAPL"]
        world.market.tick("AAPL", "105.50")
        await world.steps()
        quote = world.quote("AAPL")
        assert (quote.bid, quote.source) == (D("105.50"), QuoteSource.STREAM)
        assert world.fields()["degraded_symbols"] == {}

    play(test, tmp_path)


def test_a_tick_on_its_way_acquits(tmp_path: Path) -> None:
    """A snapshot may be ahead of the line by a moment: the line's own tick settles it."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL")
        await ticking(world, "MSFT", 5.5)
        world.market.reply("AAPL", "105.00")
        await world.steps(advance_s=0.3)
        world.market.tick("AAPL", "105.00")
        await ticking(world, "MSFT", 3)
        assert world.fields()["degraded_symbols"] == {}
        assert len(world.market.calls) == 1
        assert world.quote("AAPL").source is QuoteSource.STREAM

    play(test, tmp_path)


def test_without_a_snapshot_there_is_history_which_prices_nothing(tmp_path: Path) -> None:
    """The last resort has its own source and age: it may value a position, never price an order."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL", close=D("99"))
        await ticking(world, "MSFT", 5.5)
        world.market.reply("AAPL", None)
        await ticking(world, "MSFT", 1)
        assert world.market.histories == ["AAPL"]
        world.market.reply_history("AAPL", "98.70", world.clock.now().utc)
        await ticking(world, "MSFT", 1)
        quote, now = world.quote("AAPL"), world.clock.now()
        assert (quote.source, quote.last, quote.bid) == (QuoteSource.HISTORY, D("98.70"), None)
        assert quote.market_data_type is MarketDataType.DELAYED_FROZEN
        assert problem(quote, now, LIMITS) is not None
        assert valuation_price(quote, now, LIMITS) == D("98.70")
        later = replace(now, utc=now.utc + timedelta(seconds=20))
        assert valuation_price(quote, later, LIMITS) is None  # as old as its bar
        world.market.tick("AAPL", "99.00")
        await world.steps()
        assert world.quote("AAPL").source is QuoteSource.STREAM

    play(test, tmp_path)


def test_what_is_degraded_is_refreshed_now_and_then(tmp_path: Path) -> None:
    """A dead line's price is asked for every ten seconds, and the line reopened ever less often."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL")
        asked, reopened = [], []
        start = world.clock.now()
        for _ in range(1200):
            calls = len(world.market.calls)
            world.market.tick("MSFT")
            await world.steps(advance_s=0.5)
            if world.market.snapshots:
                asked.append(world.clock.now().age_s(start))
                world.market.reply("AAPL", "105.00")
            if len(world.market.calls) > calls:
                reopened.append(world.clock.now().age_s(start))
        assert max(b - a for a, b in pairwise(asked)) <= 11
        gaps = [b - a for a, b in pairwise(reopened)]
        assert gaps == sorted(gaps)
        assert gaps[-1] > 100
        quote = world.quote("AAPL")
        assert problem(quote, world.clock.now(), LIMITS) is not None  # no prior close
        assert quote.received.age_s(world.clock.now()) > -11

    play(test, tmp_path)


def test_outside_the_session_silence_is_normal(tmp_path: Path) -> None:
    """A closed market is asked nothing and says so; with the opening, silence counts anew."""

    async def test(world: World) -> None:
        world.open = False
        await world.connect()
        world.market.tick("AAPL")
        await silent(world, 120)
        assert world.market.snapshots == []
        assert (world.status, world.detail()) == (
            "connected",
            "the market is closed: silence is normal",
        )
        world.open = True
        await silent(world, 4.5)
        assert (world.market.snapshots, world.detail()) == ([], "")
        await silent(world, 1)
        assert world.market.snapshots == ["AAPL", "MSFT"]

    play(test, tmp_path)


def test_a_feed_that_carries_nothing_is_found_within_seconds(tmp_path: Path) -> None:
    """The gateway answers, the lines are open, nothing comes: the symbol that ticks most tells."""

    async def test(world: World) -> None:
        world.wanted = [instrument(s) for s in ("AAPL", "MSFT", "SPY", "QQQ")]
        await world.connect()
        for symbol in ("MSFT", "SPY", "QQQ"):
            world.market.tick(symbol)
        await ticking(world, "AAPL", 30)
        for symbol in list(world.market.snapshots):
            world.market.reply(symbol, "100.00")
        died = world.clock.now()
        while world.status == "connected":
            await world.steps(advance_s=0.5)
            if "AAPL" in world.market.snapshots:
                world.market.reply("AAPL", "103.00")
        assert world.clock.now().age_s(died) <= 8
        assert "AAPL, which ticks most, has stopped" in str(world.fields()["degraded_reason"])
        assert set(world.fields()["degraded_symbols"]) == {"AAPL", "MSFT", "SPY", "QQQ"}
        await silent(world, 3)
        assert world.market.calls[-2:] == ["-AAPL,MSFT,SPY,QQQ", "+AAPL,MSFT,SPY,QQQ"]
        for symbol in ("AAPL", "MSFT", "SPY", "QQQ"):
            world.market.tick(symbol, "103.00")
        await world.steps()
        assert world.status == "connected"

    play(test, tmp_path)


def test_one_silent_favourite_among_ticking_ones_is_its_own_trouble(tmp_path: Path) -> None:
    """While others tick the feed lives: one dead line does not make the stream degraded."""

    async def test(world: World) -> None:
        world.wanted = [instrument(s) for s in ("AAPL", "MSFT", "SPY")]
        await world.connect()
        world.market.tick("SPY")
        world.market.tick("MSFT")
        await ticking(world, "AAPL", 30)
        for _ in range(40):
            world.market.tick("MSFT")
            world.market.tick("SPY")
            await world.steps(advance_s=0.5)
            if "AAPL" in world.market.snapshots:
                world.market.reply("AAPL", "103.00")
            assert world.status == "connected"
        assert "AAPL" in world.fields()["degraded_symbols"]

    play(test, tmp_path)


def test_half_of_the_lines_dead_is_a_degraded_stream(tmp_path: Path) -> None:
    """Nothing is asked of a stream that cannot price half of what it should."""

    async def test(world: World) -> None:
        world.wanted = [instrument(s) for s in ("AAPL", "MSFT")]
        await world.connect()
        world.market.tick("AAPL")
        await ticking(world, "MSFT", 5.5)
        world.market.reply("AAPL", None)
        await ticking(world, "MSFT", 1)
        assert world.status == "degraded"
        assert "1 of 2 lines carry nothing: AAPL" in str(world.fields()["degraded_reason"])

    play(test, tmp_path)


def test_a_snapshot_does_not_lift_a_halt(tmp_path: Path) -> None:
    """A halted symbol is silent; what a snapshot leaves out stays as the line said it."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL", halted=True, close=D("99"))
        await ticking(world, "MSFT", 5.5)
        world.market.reply("AAPL", "100.00")
        await ticking(world, "MSFT", 1)
        quote = world.quote("AAPL")
        assert (quote.source, quote.halted, quote.close) == (QuoteSource.SNAPSHOT, True, D("99"))

    play(test, tmp_path)


def test_questions_wait_for_room(tmp_path: Path) -> None:
    """What could not be asked for lack of room is asked later, foremost first."""

    async def test(world: World) -> None:
        world.wanted = [instrument(f"S{number}") for number in range(6)]
        world.market.room = 2
        await world.connect()
        for number in range(6):
            world.market.tick(f"S{number}", close=D("99"))
        seen: set[str] = set()
        for _ in range(40):
            await world.steps(advance_s=0.5)
            for symbol in list(world.market.snapshots):
                seen.add(symbol)
                world.market.reply(symbol, "100.00")
        assert len(seen) == 6
        assert world.status == "connected"

    play(test, tmp_path)


def test_a_snapshot_that_comes_after_a_tick_is_old_news(tmp_path: Path) -> None:
    """The line has spoken meanwhile: what was asked before must not overwrite it."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL", "100.00")
        await ticking(world, "MSFT", 5.5)
        world.market.tick("AAPL", "107.00")
        await world.steps()
        world.market.reply("AAPL", "100.00")
        await world.steps()
        quote = world.quote("AAPL")
        assert (quote.bid, quote.source) == (D("107.00"), QuoteSource.STREAM)

    play(test, tmp_path)


def test_a_reopened_line_is_not_confirmed_by_what_the_old_one_said(tmp_path: Path) -> None:
    """It has said nothing itself: a snapshot that repeats the old price proves no line."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL", "100.00")
        await ticking(world, "MSFT", 5.5)
        world.market.reply("AAPL", None)
        for _ in range(40):
            await ticking(world, "MSFT", 0.5)
            if "AAPL" in world.market.snapshots:
                world.market.reply("AAPL", "100.00")
        assert "AAPL" in world.fields()["degraded_symbols"]

    play(test, tmp_path)


@pytest.mark.parametrize("gap", ["line", "connection"])
def test_a_halt_outlives_the_line_that_told_it(gap: str, tmp_path: Path) -> None:
    """A halted symbol is not priced because its line was ordered anew or its connection lost."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL", halted=True, close=D("99"))
        await ticking(world, "MSFT", 5.5)
        world.market.reply("AAPL", None)
        if gap == "connection":
            world.market.up = False
            world.gateway()
        while world.market.calls[-1] not in {"+AAPL", "+AAPL,MSFT"} or len(world.market.calls) < 2:
            await ticking(world, "MSFT", 0.5)
        world.market.tick("AAPL", close=D("99"))
        await world.steps()
        assert problem(world.quote("AAPL"), world.clock.now(), LIMITS) == "trading is halted"
        while not world.market.snapshots:
            await ticking(world, "MSFT", 0.5)
        world.market.reply("AAPL", "100.00", close=D("99"))
        await world.steps()
        assert problem(world.quote("AAPL"), world.clock.now(), LIMITS) == "trading is halted"
        world.market.tick("AAPL", halted=False, close=D("99"))
        await world.steps()
        world.market.tick("AAPL", close=D("99"))
        await world.steps()
        assert problem(world.quote("AAPL"), world.clock.now(), LIMITS) is None

    play(test, tmp_path)


def test_a_halt_stands_in_every_answer_until_one_lifts_it(tmp_path: Path) -> None:
    """History says nothing of it, and a snapshot that says it is over is believed."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL", halted=True, close=D("99"))
        await ticking(world, "MSFT", 5.5)
        world.market.reply("AAPL", None)
        await world.steps()
        world.market.reply_history("AAPL", "98.70", world.clock.now().utc)
        await world.steps()
        assert world.quote("AAPL").halted is True
        while not world.market.snapshots:
            await ticking(world, "MSFT", 0.5)
        world.market.reply("AAPL", "100.00", halted=False)
        await world.steps()
        assert world.quote("AAPL").halted is False

    play(test, tmp_path)


def test_a_feed_that_never_begins_is_found_within_seconds(tmp_path: Path) -> None:
    """A hundred lines, and not one says anything: dead as a whole, not ten lines at a time."""

    async def test(world: World) -> None:
        world.wanted = [instrument(f"S{number:02}") for number in range(100)]
        await world.connect()
        await silent(world, 9)
        assert world.status == "degraded"
        assert "100 of 100 lines carry nothing" in str(world.fields()["degraded_reason"])
        await silent(world, 3)
        assert len(world.market.calls) == 3  # ordered anew, all together
        for item in world.wanted:
            world.market.tick(item.symbol)
        await world.steps()
        assert (world.status, world.fields()["degraded_symbols"]) == ("connected", {})

    play(test, tmp_path)
