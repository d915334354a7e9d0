"""What the gateway says of lines, farms and IB becomes names, states and fresh lines."""

from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from ibloop.core.model import QuoteSource
from ibloop.core.stream import Answer
from tests.fakes.streamworld import World, instrument, play

D = Decimal


@pytest.mark.parametrize("code", [200, 354, 10089, 10168, 10186, 420, 99999])
def test_a_refused_symbol_is_named_and_stops_nobody(code: int, tmp_path: Path) -> None:
    """Unknown, ambiguous, not subscribed: told by name, while the others go on."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.say(code, "cannot be", "AAPL")
        world.market.tick("MSFT")
        await world.steps()
        assert world.status == "connected"
        assert world.fields()["refused_symbols"] == {"AAPL": f"{code} cannot be"}
        assert "refused: AAPL" in world.detail()
        assert world.seq("MSFT")

    play(test, tmp_path)


def test_a_refused_symbol_is_tried_again_ever_less_often(tmp_path: Path) -> None:
    """From half a minute to ten minutes; a tick ends it."""

    async def test(world: World) -> None:
        await world.connect()
        tried = []
        start = world.clock.now()
        for _ in range(4000):
            if "AAPL" in world.market.lines:
                tried.append(world.clock.now().age_s(start))
                del world.market.lines["AAPL"]
                world.market.say(354, "not subscribed", "AAPL")
            world.market.tick("MSFT")
            await world.steps(advance_s=0.8)
        gaps = [round(b - a) for a, b in pairwise(tried)]
        assert 29 <= gaps[0] <= 32
        assert 599 <= gaps[-1] <= 603
        assert gaps == sorted(gaps)
        while "AAPL" not in world.market.lines:
            world.market.tick("MSFT")
            await world.steps(advance_s=0.8)
        world.market.tick("AAPL")
        await world.steps()
        assert world.fields()["refused_symbols"] == {}

    play(test, tmp_path)


def test_a_refused_symbol_is_refreshed_one_by_one_unless_unknown(tmp_path: Path) -> None:
    """A position without a line still needs a value; a contract IB does not know has none."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.say(354, "not subscribed", "AAPL")
        world.market.say(200, "No security definition has been found for the request", "MSFT")
        await world.steps()
        assert world.market.snapshots == ["AAPL"]
        assert world.fields()["subscribed_symbols"] == ["AAPL"]
        world.market.reply("AAPL", "100.00")
        await world.steps()
        assert world.quote("AAPL").source is QuoteSource.SNAPSHOT

    play(test, tmp_path)


def test_every_line_refused_is_a_degraded_stream(tmp_path: Path) -> None:
    """A stream that has nothing is not connected, whatever the socket says."""

    async def test(world: World) -> None:
        await world.connect()
        for symbol in ("AAPL", "MSFT"):
            world.market.say(354, "not subscribed", symbol)
        await world.steps()
        assert world.status == "degraded"
        assert world.fields()["degraded_reason"] == "every line is refused: AAPL, MSFT"

    play(test, tmp_path)


def test_the_line_limit_is_learned(tmp_path: Path) -> None:
    """Error 101 teaches how many lines there are: foremost first, the rest is left out, by name."""

    async def test(world: World) -> None:
        world.wanted = [instrument(f"S{number}") for number in range(20)]
        await world.connect()
        for number in range(12, 20):
            world.market.say(101, "Max number of tickers has been reached.", f"S{number}")
            world.market.lines.pop(f"S{number}")
        for number in range(12):
            world.market.tick(f"S{number}")
        await world.steps()
        assert list(world.market.lines) == [f"S{number}" for number in range(12)]
        left_out = world.fields()["left_out"]
        assert isinstance(left_out, dict)
        assert list(left_out) == [f"S{number}" for number in range(12, 20)]
        assert "error 101" in left_out["S12"]
        assert world.fields()["refused_symbols"] == {}
        world.wanted = [instrument("NEW"), *world.wanted]
        await world.steps()
        assert world.market.calls[-2:] == ["-S11", "+NEW"]
        await world.steps(advance_s=601)
        assert len(world.market.lines) == 21  # the other holder may have gone

    play(test, tmp_path)


def test_a_competing_session_degrades_until_data_comes(tmp_path: Path) -> None:
    """10197 in bursts: the stream says whose data is taken; the first tick of each heals it."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL")
        world.market.tick("MSFT")
        await world.steps()
        for _ in range(3):
            for symbol in ("AAPL", "MSFT"):
                world.market.say(10197, "No market data during competing live session", symbol)
            await world.steps()
        assert world.status == "degraded"
        reason = world.fields()["degraded_reason"]
        assert reason == "another session takes the data of AAPL, MSFT"
        world.market.tick("AAPL")
        world.market.tick("MSFT")
        await world.steps()
        assert world.status == "connected"

    play(test, tmp_path)


@pytest.mark.parametrize(
    ("code", "calls"),
    [(1101, ["forget", "-AAPL,MSFT", "+AAPL,MSFT"]), (1102, ["-AAPL,MSFT", "+AAPL,MSFT"])],
)
def test_ib_lost_and_back(code: int, calls: list[str], tmp_path: Path) -> None:
    """1100 degrades at once and nothing is asked; afterwards every line is ordered anew, once.

    Also when data is "maintained": what changed meanwhile is not told again, so an old line would
    mix prices from before and after.
    """

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL")
        world.market.tick("MSFT")
        await world.steps()
        for _ in range(20):
            world.market.say(1100, "Connectivity between IB and Trader Workstation has been lost.")
            await world.steps()
        assert world.status == "degraded"
        assert "1100 Connectivity" in str(world.fields()["degraded_reason"])
        assert world.market.snapshots == []
        world.market.say(code, "restored")
        await world.steps(2)
        assert world.market.calls[1:] == calls
        assert world.status == "connected"

    play(test, tmp_path)


def test_a_flapping_connection_makes_no_storm(tmp_path: Path) -> None:
    """All lines are ordered anew at once, then after 5 s, 10 s and so on up to a minute."""

    async def test(world: World) -> None:
        await world.connect()
        begun = []
        start = world.clock.now()
        for _ in range(600):
            world.market.say(1100, "lost")
            world.market.say(1102, "restored")
            calls = len(world.market.calls)
            world.market.tick("AAPL")
            world.market.tick("MSFT")
            await world.steps(advance_s=0.5)
            if len(world.market.calls) > calls:
                begun.append(world.clock.now().age_s(start))
        gaps = [b - a for a, b in pairwise(begun)]
        assert gaps == sorted(gaps)
        assert gaps[-1] >= 59
        assert len(begun) <= 9

    play(test, tmp_path)


def test_a_broken_data_farm_degrades_until_it_is_back(tmp_path: Path) -> None:
    """2103 is believed at once; with 2104 the lines that missed something are ordered anew."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL")
        await world.steps()
        world.market.say(2103, "Market data farm connection is broken:usfarm")
        await world.steps(3)
        assert world.status == "degraded"
        assert world.fields()["degraded_reason"] == "data farm broken: usfarm"
        world.market.say(2104, "Market data farm connection is OK:usfarm")
        await world.steps()
        assert world.status == "connected"
        assert world.market.calls[-2:] == ["-AAPL,MSFT", "+AAPL,MSFT"]

    play(test, tmp_path)


def test_ticks_say_that_a_broken_farm_is_not_ours(tmp_path: Path) -> None:
    """Age decides, not codes: while prices come, somebody else's farm is nobody's trouble."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.say(2103, "Market data farm connection is broken:eufarm")
        await world.steps()
        assert world.status == "degraded"
        for _ in range(4):
            world.market.tick("AAPL")
            world.market.tick("MSFT")
            await world.steps()
        assert world.status == "connected"
        world.market.say(2104, "Market data farm connection is OK:eufarm")
        await world.steps()
        assert len(world.market.calls) == 1

    play(test, tmp_path)


def test_a_new_connection_forgets_what_the_old_one_said(tmp_path: Path) -> None:
    """A lost farm, a limit, a refusal: all of it is asked anew."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.say(1100, "lost")
        world.market.say(2103, "broken:usfarm")
        world.market.say(101, "Max number of tickers has been reached.", "MSFT")
        await world.steps()
        world.market.up = False
        world.gateway()
        await world.steps(4)
        assert world.market.up
        assert list(world.market.lines) == ["AAPL", "MSFT"]
        assert (world.status, world.detail()) == ("connected", "")

    play(test, tmp_path)


@pytest.mark.parametrize("code", [1100, 2110])
def test_ticks_say_that_ib_is_back_without_a_word(code: int, tmp_path: Path) -> None:
    """A gateway that never says 1101 or 1102 does not keep the stream degraded for ever."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.say(code, "lost")
        world.market.tick("AAPL")  # may have been on its way
        await world.steps(2)
        assert world.status == "degraded"
        await world.steps(3)
        for symbol in ("AAPL", "MSFT"):
            world.market.tick(symbol)
        await world.steps(2)
        assert world.status == "connected"
        assert world.market.calls[1:] == ["-AAPL,MSFT", "+AAPL,MSFT"]  # what changed is not told

    play(test, tmp_path)


def test_without_ticks_an_answer_says_that_ib_is_back(tmp_path: Path) -> None:
    """One price is asked for every ten seconds; only an answer with data counts."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL")
        world.market.tick("MSFT")
        await world.steps()
        world.market.say(1100, "lost")
        await world.steps(16)
        assert world.market.snapshots == []
        await world.steps(2)
        assert world.market.snapshots == ["AAPL"]
        world.market.reply("AAPL", None)
        await world.steps(10)
        assert (world.status, world.market.snapshots) == ("degraded", [])
        await world.steps(8)
        world.market.reply("AAPL", "100.00")
        await world.steps(2)
        assert world.market.calls[-2:] == ["-AAPL,MSFT", "+AAPL,MSFT"]
        assert world.status == "connected"

    play(test, tmp_path)


@pytest.mark.parametrize(
    "word", ["OK:usfarm", "inactive but should be available upon demand.usfarm"]
)
def test_a_farm_is_mended_in_both_spellings(word: str, tmp_path: Path) -> None:
    """Of a dormant farm the name follows a full stop."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.say(2103, "Market data farm connection is broken:usfarm")
        await world.steps()
        assert world.status == "degraded"
        world.market.say(2108, f"Market data farm connection is {word}")
        await world.steps()
        assert world.status == "connected"

    play(test, tmp_path)


def refuse_snapshots(world: World, keep: int) -> None:
    """Refuse every question but the first few for want of a line."""
    for symbol in world.market.snapshots[keep:]:
        world.market.snapshots.remove(symbol)
        text = "101 Max number of tickers has been reached"
        world.market.replies.append(Answer(symbol, QuoteSource.SNAPSHOT, None, text, 101))


def test_without_a_line_for_snapshots_some_are_given_up(tmp_path: Path) -> None:
    """101 about a question is about the allowance: no line is refused, the last are left out."""

    async def test(world: World) -> None:
        world.wanted = [instrument(f"S{number:02}") for number in range(100)]
        await world.connect()
        for item in world.wanted:
            world.market.tick(item.symbol, close=D(99))
        for _ in range(40):
            world.market.tick("S00")
            await world.steps(advance_s=0.3)
            refuse_snapshots(world, 100 - len(world.market.lines))
            assert len(world.market.snapshots) <= 10
            for symbol in list(world.market.snapshots):
                world.market.reply(symbol, "100.00", close=D(99))
            if world.fields()["left_out"]:
                assert len(world.market.snapshots) <= 5
        assert world.status == "connected"
        assert len(world.market.lines) == 95
        assert world.fields()["left_out_count"] == 5
        assert "error 101" in str(world.fields()["left_out"])
        assert (world.fields()["refused_symbols"], world.fields()["degraded_symbols"]) == ({}, {})
        assert world.fields()["ib_error_count"] == 10
        assert world.fields()["feed_error_count"] == 0  # each was about a symbol
        assert world.market.calls[1:] == ["-S95,S96,S97,S98,S99"]

    play(test, tmp_path)


def test_a_line_that_can_never_be_asked_about_is_ordered_anew(tmp_path: Path) -> None:
    """Others may hold every line: the line itself is given back and taken again, and told so."""

    async def test(world: World) -> None:
        await world.connect()
        world.market.tick("AAPL")
        for _ in range(120):
            await world.steps(advance_s=0.3)
            refuse_snapshots(world, 0)
        told = {"AAPL": "silent, and no line was free to ask about it"}
        assert world.fields()["degraded_symbols"] == told
        assert world.fields()["left_out_count"] == 1
        await world.steps(10, 0.3)
        assert world.market.calls[-2:] == ["-AAPL", "+AAPL"]

    play(test, tmp_path)
