"""The stream against the simulated gateway over TCP: more symbols than lines, and twins."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.universe import samples_dir
from ibloop.core.model import Instrument, QuoteSource
from ibloop.sim.market.synthetic import synthetic_instruments
from ibloop.sim.server import SimGateway, SimOptions
from ibloop.sim.world import WorldOptions
from tests.daemons.test_stream_sim import ACCOUNT, Site

ASKED, LINES = 500, 100
NAMES = [made.symbol for made in synthetic_instruments(ASKED)]
TWINS = """\
ZZT,990001,First Trust,NYSE,USD,0.01,1,Financials,5000,synthetic,20.00,0.25
ZZT,990002,Other Trust,NASDAQ,USD,0.01,1,Financials,5000,synthetic,50.00,0.25
"""


def play(
    scenario: Callable[[Site], Awaitable[None]],
    directory: Path,
    wanted: Callable[[Site], list[Instrument]],
    lines_max: int = LINES,
    samples: Path | None = None,
) -> None:
    """Play a scenario against a fresh simulator that knows the synthetic symbols."""

    async def main() -> None:
        world = WorldOptions(accounts=(ACCOUNT,), speed=60, synthetic=ASKED)
        async with SimGateway(SimOptions(world=world, samples=samples)) as sim:
            site = Site(directory, sim, lines_max)
            site.wanted = wanted(site)
            try:
                await scenario(site)
            finally:
                site.runner.close()
                await asyncio.sleep(0)

    asyncio.run(main())


def live(site: Site, symbols: list[str]) -> bool:
    """Return whether each of these has a price of its line."""
    quotes = site.reader.read(symbols)
    return len(quotes) == len(symbols) and all(
        quote.source is QuoteSource.STREAM for quote in quotes.values()
    )


@pytest.mark.parametrize("lines_max", [LINES, ASKED])
def test_more_symbols_than_lines(lines_max: int, tmp_path: Path) -> None:
    """The foremost hundred are live, the others named with the reason, whoever knew the limit."""

    async def scenario(site: Site) -> None:
        def settled() -> bool:
            left_out = site.fields()["left_out_count"]
            return left_out == ASKED - LINES and live(site, NAMES[:LINES])

        await site.until(settled, "the foremost to be live")
        assert site.runner.report().status == "connected"
        assert site.fields()["subscribed_symbols"] == sorted(NAMES[:LINES])
        told = f"all {LINES} market data lines are taken"
        assert told in site.fields()["left_out"][NAMES[LINES]]
        # What a run wants comes foremost, at the price of what was last in the line.
        site.wanted = [*site.wanted[-4:], *site.wanted[:-4]]
        await site.until(lambda: live(site, NAMES[-4:]), "the wanted four to be live")
        await site.until(lambda: site.fields()["refused_symbols"] == {}, "none to be refused")
        assert site.runner.report().status == "connected"
        assert site.fields()["left_out_count"] == ASKED - LINES
        assert set(NAMES[-4:]) <= set(site.fields()["subscribed_symbols"])

    play(scenario, tmp_path, lambda site: [site.instrument(name) for name in NAMES], lines_max)


def test_a_contract_that_two_instruments_are(tmp_path: Path) -> None:
    """Without its contract id a symbol of two exchanges is ambiguous: refused, and no price."""
    samples = tmp_path / "samples"
    samples.mkdir()
    text = (samples_dir() / "universe.csv").read_text(encoding="utf-8")
    (samples / "universe.csv").write_text(text + TWINS, encoding="utf-8")
    (samples / "prices").symlink_to(samples_dir() / "prices")

    def wanted(site: Site) -> list[Instrument]:
        known = site.sim.gateway.world.samples.instruments[990002]
        tick, lot = Decimal("0.01"), Decimal(1)
        nameless = Instrument("ZZT", 0, "Trust", "", "USD", tick, lot, "x", None)
        assert known.symbol == nameless.symbol
        return [nameless, site.instrument("AAPL"), site.instrument("IBM")]

    async def scenario(site: Site) -> None:
        await site.until(lambda: "ZZT" in site.fields()["refused_symbols"], "ZZT refused")
        told = "200 The contract description specified for ZZT is ambiguous."
        assert site.fields()["refused_symbols"]["ZZT"] == told
        await site.until(lambda: live(site, ["AAPL", "IBM"]), "the others to be live")
        assert site.runner.report().status == "connected"
        assert site.fields()["subscribed_symbols"] == ["AAPL", "IBM"]
        assert site.reader.read(["ZZT"]) == {}
        site.wanted = [
            Instrument("ZZT", 990002, "Trust", "", "USD", Decimal("0.01"), Decimal(1), "x", None),
            *site.wanted[1:],
        ]
        await site.until(lambda: live(site, ["ZZT"]), "the one that was meant")
        assert site.reader.read(["ZZT"])["ZZT"].con_id == 990002
        assert site.fields()["refused_symbols"] == {}

    play(scenario, tmp_path / "stream", wanted, samples=samples)
