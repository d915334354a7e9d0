"""The stream against the simulated gateway over TCP: every fault of its data, seen in the files."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ib.market import IbMarketData
from ibloop.adapters.streamfiles import QuoteReader, heartbeat_document, status_path, write_status
from ibloop.core.model import Instrument, MarketDataType, QuoteSource
from ibloop.core.quotes import QuoteLimits, problem, valuation_price
from ibloop.daemons.stream import IBStreamRunner
from ibloop.sim.control import Control
from ibloop.sim.server import SimGateway, SimOptions
from ibloop.sim.service.desk import GatewayOptions, MarketDataAccess
from ibloop.sim.world import WorldOptions

ACCOUNT = "DU1234567"
DEADLINE_S = 15.0
SILENCE_S = 1.0
SYMBOLS = ("AAPL", "IBM", "MSFT", "GOOG")
CLOCK = SystemClock()


class Site:
    """A simulated gateway, a stream runner at it, and its files."""

    def __init__(self, directory: Path, sim: SimGateway, lines_max: int) -> None:
        """Put the runner where its gateway's file points."""
        self.directory = directory
        self.sim = sim
        self._control = Control(sim.gateway)
        self.market = IbMarketData("127.0.0.1", 0, 12, ACCOUNT, CLOCK)
        self.wanted = [self.instrument(symbol) for symbol in SYMBOLS]
        self.runner = IBStreamRunner(
            directory,
            CLOCK,
            12,
            self.market,
            lambda: self.wanted,
            lines_max=lines_max,
            silence_s=SILENCE_S,
        )
        self.reader = QuoteReader(directory)
        self.seen: set[str] = set()

    def instrument(self, symbol: str) -> Instrument:
        """Return an instrument of the simulator's universe."""
        known = self.sim.gateway.world.samples.by_symbol(symbol)
        assert known is not None
        tick, lot = Decimal("0.01"), Decimal(1)
        return Instrument(symbol, known.con_id, symbol, "NASDAQ", "USD", tick, lot, "x", None)

    def fault(self, name: str, **values: Any) -> None:
        """Let a fault begin, or end all with ``clear``."""
        body = json.dumps({"name": name, **values}).encode()
        status, told = self._control.answer("POST", "/fault", body)
        assert status == 200, told

    def sources(self) -> dict[str, QuoteSource]:
        """Return where the price of each symbol came from."""
        return {s: quote.source for s, quote in self.reader.read(SYMBOLS).items()}

    def fields(self) -> dict[str, Any]:
        """Return what the status says beyond the common fields."""
        return dict(self.runner.report().fields)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Step as the daemon does until something holds; ``seen`` collects the status words."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + DEADLINE_S
        while loop.time() < deadline:
            document = heartbeat_document(
                "connected",
                CLOCK.now(),
                "",
                {"host": "127.0.0.1", "port": self.sim.port, "session_id": "s"},
            )
            write_status(status_path(self.directory, "gateway"), document)
            for _ in range(5):
                self.runner.step()
                self.seen.add(self.runner.report().status)
                if condition():
                    return
                await asyncio.sleep(0.01)
        raise AssertionError(f"expected {what}; {self.runner.report()}")

    async def is_well(self) -> None:
        """Wait until everything is live."""

        def well() -> bool:
            live = [s for s in self.sources().values() if s is QuoteSource.STREAM]
            fields = self.fields()
            troubles = (fields["degraded_symbols"], fields["refused_symbols"])
            connected = self.runner.report().status == "connected"
            return connected and len(live) == len(SYMBOLS) and not any(troubles)

        await self.until(well, "all live")
        self.seen.clear()

    async def is_degraded(self, words: str) -> None:
        """Wait until the stream is degraded for this reason."""
        await self.until(
            lambda: words in str(self.fields()["degraded_reason"]), f"degraded: {words}"
        )


def play(
    scenario: Callable[[Site], Awaitable[None]],
    directory: Path,
    lines_max: int = 100,
    access: MarketDataAccess = MarketDataAccess.LIVE,
) -> None:
    """Play a scenario against a fresh simulator whose market ticks; well before, if it may be."""

    async def main() -> None:
        world = WorldOptions(accounts=(ACCOUNT,), speed=60)
        gateway = GatewayOptions(market_data=access)
        async with SimGateway(SimOptions(world=world, gateway=gateway)) as sim:
            site = Site(directory, sim, lines_max)
            try:
                if access is MarketDataAccess.LIVE:
                    await site.is_well()
                await scenario(site)
            finally:
                site.runner.close()
                await asyncio.sleep(0)

    asyncio.run(main())


def test_a_feed_that_carries_nothing(tmp_path: Path) -> None:
    """Ticks and snapshots stop without a word: degraded, history instead, and live again after."""

    async def scenario(site: Site) -> None:
        site.fault("stale_quotes")
        await site.until(lambda: site.runner.report().status == "degraded", "degraded")
        await site.until(
            lambda: set(site.sources().values()) == {QuoteSource.HISTORY}, "history for all"
        )
        assert set(site.fields()["degraded_symbols"]) == set(SYMBOLS)
        site.seen.clear()
        files = {s: (q.seq, q.last) for s, q in site.reader.read(SYMBOLS).items()}
        orders = [r.attempts for r in site.runner._book.records.values()]

        def ordered_again() -> bool:
            quotes = site.reader.read(SYMBOLS)
            assert {s: (q.seq, q.last) for s, q in quotes.items()} == files
            assert set(site.fields()["degraded_symbols"]) == set(SYMBOLS)
            records = site.runner._book.records.values()
            return all(r.attempts >= n + 2 for r, n in zip(records, orders, strict=True))

        await site.until(ordered_again, "two more orders in vain")
        assert site.seen == {"degraded"}
        site.fault("clear")
        await site.is_well()

    play(scenario, tmp_path)


def test_one_line_that_carries_nothing(tmp_path: Path) -> None:
    """One silent symbol is refreshed by itself while the others stay live."""

    async def scenario(site: Site) -> None:
        site.fault("stale_quotes", symbol="IBM")
        await site.until(lambda: "IBM" in site.fields()["degraded_symbols"], "IBM degraded")
        await site.until(lambda: site.sources()["IBM"] is QuoteSource.HISTORY, "history")
        assert "degraded" not in site.seen
        site.fault("clear")
        await site.is_well()

    play(scenario, tmp_path)


def test_a_competing_session(tmp_path: Path) -> None:
    """10197 in bursts while another session has the data, and healed when it has gone."""

    async def scenario(site: Site) -> None:
        site.fault("competing_session", seconds=2, repeat_s=0.5)
        await site.is_degraded("another session takes the data of")
        await site.is_well()

    play(scenario, tmp_path)


@pytest.mark.parametrize("data", ["lost", "maintained"])
def test_ib_is_lost_and_comes_back(data: str, tmp_path: Path) -> None:
    """1100, then 1101 or 1102: every line is ordered anew and live again."""

    async def scenario(site: Site) -> None:
        site.fault("connectivity_lost", seconds=2, repeat_s=0.5, data=data)
        await site.is_degraded("1100")
        await site.is_well()

    play(scenario, tmp_path)


def test_a_data_farm_flaps(tmp_path: Path) -> None:
    """2103 and 2104 again and again: degraded meanwhile, live in the end."""

    async def scenario(site: Site) -> None:
        site.fault("farm_flap")
        await site.is_degraded("data farm broken")
        site.fault("clear")
        await site.is_well()

    play(scenario, tmp_path)


def test_fewer_lines_than_wanted(tmp_path: Path) -> None:
    """The limit is learned from error 101, and what has no line is named with the reason."""

    async def scenario(site: Site) -> None:
        site.fault("line_limit", lines=2)
        await site.until(lambda: site.fields()["left_out_count"] == 2, "two left out")
        assert site.fields()["subscribed_symbols"] == ["AAPL", "IBM"]
        assert list(site.fields()["left_out"]) == ["MSFT", "GOOG"]
        assert "101" in site.fields()["left_out"]["GOOG"]
        before = site.reader.read(["AAPL"])["AAPL"].seq
        await site.until(
            lambda: site.reader.read(["AAPL"])["AAPL"].seq > before, "AAPL still ticks"
        )

    play(scenario, tmp_path)


def test_a_reset_socket(tmp_path: Path) -> None:
    """The connection drops and is replaced; seq goes on where it was."""

    async def scenario(site: Site) -> None:
        before = site.reader.read(["AAPL"])["AAPL"].seq
        site.fault("socket_reset", client_id=12)
        await site.until(lambda: not site.market.is_connected(), "the loss")
        await site.is_well()
        await site.until(lambda: site.reader.read(["AAPL"])["AAPL"].seq > before, "a newer price")
        assert site.reader.read(["AAPL"])["AAPL"].seq < before + 100_000

    play(scenario, tmp_path)


LIMITS = QuoteLimits(
    quote_age_s_max=15.0, spread_fraction_max=Decimal(1), jump_fraction_max=Decimal(1)
)


async def has_delayed_data_only(site: Site) -> None:
    """Wait for delayed data of every symbol: marked so, worth something, and pricing nothing."""
    await site.until(
        lambda: (
            {q.market_data_type for q in site.reader.read(SYMBOLS).values()}
            == {MarketDataType.DELAYED}
        ),
        "delayed data",
    )
    await site.is_degraded("only delayed data of")
    assert site.fields()["market_data_type"] == "delayed"
    assert site.fields()["refused_symbols"] == {}
    quotes = site.reader.read(SYMBOLS)
    assert set(quotes) == set(SYMBOLS)
    for quote in quotes.values():
        assert quote.source is QuoteSource.STREAM
        assert problem(quote, CLOCK.now(), LIMITS) == "the market data is delayed, not live"
        assert valuation_price(quote, CLOCK.now(), LIMITS) is not None


def test_a_login_without_live_data(tmp_path: Path) -> None:
    """Delayed data is asked for where there is no live data: it values, and prices no order."""
    play(has_delayed_data_only, tmp_path, access=MarketDataAccess.DELAYED)


def test_delayed_data_only(tmp_path: Path) -> None:
    """A login that loses its live data gets delayed data at the next connection."""

    async def scenario(site: Site) -> None:
        site.fault("delayed_only")
        site.fault("socket_reset", client_id=12)
        await has_delayed_data_only(site)

    play(scenario, tmp_path)


def test_more_messages_than_the_gateway_takes(tmp_path: Path) -> None:
    """Error 100 names no line: fewer are ordered a second, and those without an answer again."""

    async def scenario(site: Site) -> None:
        site.fault("pacing", rate=15, disconnects=False, client_id=12)
        known = site.sim.gateway.world.samples.instruments.values()
        names = sorted(one.symbol for one in known)
        site.wanted = [site.instrument(name) for name in names]

        def all_tick() -> bool:
            assert site.fields()["degraded_symbols"] == {}
            assert site.fields()["refused_symbols"] == {}
            quotes = site.reader.read(names)
            return {q.source for q in quotes.values()} == {QuoteSource.STREAM} and len(
                quotes
            ) == len(names)

        await site.until(all_tick, "every line")
        assert site.seen == {"connected"}
        assert str(site.fields()["last_error"]).startswith("100 ")
        assert len(names) == 25

    play(scenario, tmp_path)


def test_an_unknown_contract_stops_nobody(tmp_path: Path) -> None:
    """Error 200 is told by name; the others tick on."""

    async def scenario(site: Site) -> None:
        tick, lot = Decimal("0.01"), Decimal(1)
        nope = Instrument("NOPE", 424242, "x", "NYSE", "USD", tick, lot, "x", None)
        site.wanted = [nope, *site.wanted]
        await site.until(lambda: "NOPE" in site.fields()["refused_symbols"], "NOPE refused")
        assert site.fields()["refused_symbols"]["NOPE"].startswith("200 ")
        assert site.runner.report().status == "connected"

    play(scenario, tmp_path)


def test_a_frozen_gateway(tmp_path: Path) -> None:
    """The socket stays open and nothing answers: degraded by the unanswered round trips."""

    async def scenario(site: Site) -> None:
        site.fault("freeze", seconds=13)
        await site.is_degraded("carry nothing")
        site.fault("clear")
        await site.is_well()

    play(scenario, tmp_path)
