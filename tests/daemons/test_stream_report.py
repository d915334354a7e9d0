"""The status document names what it can, and fits into its file whatever happens."""

from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.streamfiles import heartbeat_document, status_path, write_status
from ibloop.daemons.streaming.report import short
from tests.fakes.streamworld import World, instrument, play

LONG = 'Market data is not subscribed. "Check" API \\ status: 请求的市场数据尚未订阅。\x01' * 9


def _write(world: World) -> None:
    """Write the report as the loop would."""
    report = world.runner.report()
    document = heartbeat_document(report.status, world.clock.now(), report.detail, report.fields)
    write_status(status_path(world.directory, "status"), document)


def test_however_much_is_wrong_the_status_fits(tmp_path: Path) -> None:
    """Every list full of the longest names and reasons at once: cut, counted, and written."""

    async def test(world: World) -> None:
        world.wanted = [instrument(f"{n:04}" + "中" * 20, n) for n in range(2000)]
        await world.connect()
        symbols = [item.symbol for item in world.wanted]
        for symbol in symbols[:300]:
            world.market.say(354, LONG, symbol)
        for symbol in symbols[300:600]:
            world.market.say(10197, LONG, symbol)
        world.market.say(1100, LONG * 3)
        for symbol in symbols[600:900]:
            world.market.tick(symbol, "1.00", ask=Decimal(1))
        await world.steps(2)
        _write(world)
        fields = world.fields()
        assert (fields["refused_count"], fields["degraded_count"]) == (300, 300)
        assert fields["left_out_count"] == 500
        assert (fields["crossed_count"], fields["locked_count"]) == (0, 300)
        for name in ("refused_symbols", "degraded_symbols", "left_out", "locked_symbols"):
            named = fields[name]
            assert isinstance(named, dict | list)
            assert 10 < len(named) < 300

    play(test, tmp_path, lines_max=1500)


def test_a_list_of_the_served_is_whole_or_absent(tmp_path: Path) -> None:
    """Half of it would tell readers that the other half is not served."""

    async def test(world: World) -> None:
        world.wanted = [instrument(f"SYM{n:05}", n) for n in range(4000)]
        await world.connect()
        assert world.fields()["subscribed_symbols"] is None
        world.wanted = world.wanted[:2000]
        await world.steps(2)
        assert world.fields()["subscribed_symbols"] == [item.symbol for item in world.wanted]
        _write(world)

    play(test, tmp_path, lines_max=4000)


@pytest.mark.parametrize(
    ("text", "shown"), [("a\nb\x00c", "a b c"), ("中" * 900, "中" * 666), ("\ud800", " ")]
)
def test_texts_are_cut_by_bytes_and_printable(text: str, shown: str) -> None:
    """What is not printable would be escaped sixfold, and half a character is none."""
    assert short(text) == shown
