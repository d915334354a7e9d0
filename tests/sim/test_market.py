"""Samples and market: determinism, the path through each bar, laps, shocks and fixed quotes."""

import math
from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ibloop.sim.market import statistics
from ibloop.sim.market.grid import Grid
from ibloop.sim.market.history import Bar, Samples, load_samples, samples_directory
from ibloop.sim.market.market import Market, Moment
from ibloop.sim.market.paths import SESSION_S, mixed, session_path
from ibloop.sim.market.pins import Pin
from ibloop.sim.model import CENT, SUB_PENNY, ContractKey, SimError

AAPL, IBM, FB, ZZT = 265598, 8314, 107113386, 990001
START = date(2012, 10, 1)


def a_market(samples: Samples, seed: int = 1, start: date = START) -> Market:
    """Return a market of the tiny samples."""
    return Market(samples, seed=seed, start=start)


def at(session: float, sample: int = 0) -> Moment:
    """Return a moment by sessions since the start."""
    return Moment(session * SESSION_S, sample)


def key(symbol: str = "", con_id: int = 0, **changes: str) -> ContractKey:
    """Return the contract of a request."""
    values = {"sec_type": "STK", "exchange": "SMART", "currency": "USD"} | changes
    return ContractKey(
        con_id=con_id,
        symbol=symbol,
        primary_exchange=values.get("primary_exchange", ""),
        local_symbol="",
        trading_class="",
        sec_type=values["sec_type"],
        exchange=values["exchange"],
        currency=values["currency"],
    )


def test_the_shipped_samples_load() -> None:
    """The samples of the package are found from a checkout, and every history has its prices."""
    samples = load_samples(samples_directory())
    history = {item.symbol for item in samples.instruments.values() if item.history}
    assert {"AAPL", "IBM", "MSFT", "GOOG", "FB"} <= history
    assert set(samples.bars) == history


def test_contracts_are_found_as_ib_finds_them(samples: Samples) -> None:
    """By conId alone, or by a symbol that nothing else contradicts."""
    assert samples.find(key(con_id=AAPL, symbol="nonsense")) is samples.instruments[AAPL]
    assert samples.find(key("IBM")) is samples.instruments[IBM]
    assert samples.find(key("IBM", exchange="NYSE")) is samples.instruments[IBM]
    for wrong in (
        key("NOPE"),
        key("IBM", currency="EUR"),
        key("IBM", sec_type="OPT"),
        key("IBM", primary_exchange="NASDAQ"),
        key(con_id=1),
    ):
        assert samples.find(wrong) is None


def test_a_broken_row_is_named(tmp_path: Path) -> None:
    """A refusal to start says which file and row to mend."""
    (tmp_path / "universe.csv").write_text("symbol,con_id\nAAPL,one\n")
    with pytest.raises(SimError, match=r"universe\.csv: cannot read row \['AAPL', 'one'\]"):
        load_samples(tmp_path)
    with pytest.raises(SimError, match="cannot read"):
        load_samples(tmp_path / "missing")


@given(st.floats(0, 12, exclude_max=True), st.integers(0, 10_000), st.integers())
@settings(deadline=None, max_examples=40)
def test_the_same_seed_and_moment_give_the_same_quote(
    samples: Samples, session: float, sample: int, seed: int
) -> None:
    """Price is a function of history, seed and simulated time, whatever was asked before."""
    first, second = a_market(samples, seed), a_market(samples, seed)
    for other in (0.1, 3.2, 7.9):
        first.quote(ZZT, at(other))
        first.quote(AAPL, at(other))
    for con_id in (AAPL, IBM, FB, ZZT):
        assert first.quote(con_id, at(session, sample)) == second.quote(con_id, at(session, sample))


def test_what_a_market_remembers_changes_nothing(samples: Samples) -> None:
    """A quote asked for after many others is the one a new market gives."""
    market = a_market(samples)
    for step in range(200):
        moment = at(step / 100, step)
        assert market.quote(AAPL, moment) == a_market(samples).quote(AAPL, moment)


def test_a_sub_penny_stock_above_a_dollar_is_quoted_in_cents(samples: Samples) -> None:
    """Rule 557: no bid, ask or last between two cents."""
    penny = replace(samples.instruments[ZZT], min_tick=SUB_PENNY, start_price=Decimal("1.50"))
    market = a_market(Samples({**samples.instruments, ZZT: penny}, samples.bars))
    for step in range(50):
        quote = market.quote(ZZT, at(step / 100, step))
        assert quote is not None
        assert quote.last > 1
        assert {price % CENT for price in (quote.bid, quote.ask, quote.last)} == {0}
        assert quote.bid < quote.ask


@given(st.floats(0, 12, exclude_max=True), st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_quotes_are_whole_and_on_the_grid(samples: Samples, session: float, sample: int) -> None:
    """bid < ask around the last price, all on the tick grid; sizes are round lots."""
    market = a_market(samples)
    for con_id in (AAPL, IBM, ZZT):
        quote = market.quote(con_id, at(session, sample))
        assert quote is not None
        assert quote.bid < quote.ask
        assert quote.bid <= quote.last <= quote.ask
        assert quote.low <= quote.last <= quote.high
        assert all(price % Decimal("0.01") == 0 for price in (quote.bid, quote.ask, quote.last))
        assert quote.bid_size >= 300
        assert quote.bid_size % 100 == quote.ask_size % 100 == 0


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=40)
def test_the_path_touches_its_bar_and_never_leaves_it(seed: int) -> None:
    """Open, high, low and close of history are the session's, whatever lies between."""
    bar = Bar(100.0, 110.0, 95.0, 105.0, 1000)
    path = session_path(bar, Random(seed))
    assert (path.prices[0], path.prices[-1]) == (bar.open, bar.close)
    assert (max(path.prices), min(path.prices)) == (bar.high, bar.low)
    assert (path.highs[-1], path.lows[-1]) == (bar.high, bar.low)


def test_the_session_shows_the_day(samples: Samples) -> None:
    """At the open: open and prior close of history; towards the close: high, low and volume."""
    market = a_market(samples)
    first, last = market.quote(AAPL, at(0)), market.quote(AAPL, at(0.99999))
    assert first is not None
    assert last is not None
    assert (first.last, first.open, first.close) == (Decimal(100), Decimal(100), Decimal(100))
    assert (last.high, last.low, last.open) == (Decimal(110), Decimal(95), Decimal(100))
    assert abs(last.last - 105) < Decimal("0.1")
    assert 990_000 < last.volume <= 1_000_000
    following = market.quote(AAPL, at(1))
    assert following is not None
    assert (following.open, following.close) == (Decimal(106), Decimal(105))


def test_after_the_last_day_history_runs_backwards(samples: Samples) -> None:
    """Prices go on without a jump and stay those of history, for ever."""
    market = a_market(samples)
    days = [market.day(session) for session in range(7)]
    forward = [date(2012, 10, day) for day in (1, 2, 3)]
    assert days == [*forward, *reversed(forward), forward[0]]
    turn = market.quote(AAPL, at(3))
    assert turn is not None
    assert (turn.open, turn.close) == (Decimal(102), Decimal(102))
    again = market.quote(AAPL, at(6))
    assert again is not None
    assert (again.open, again.close) == (Decimal(100), Decimal(100))


def test_a_symbol_without_history_yet_has_no_price(samples: Samples) -> None:
    """Before its first bar a stock cannot be quoted; after its last one it keeps its close."""
    market = a_market(samples)
    assert market.quote(FB, at(0.5)) is None
    later = market.quote(FB, at(2.5))
    assert later is not None
    assert later.last == later.open == 21


def test_synthetic_symbols_begin_at_their_start_price(samples: Samples) -> None:
    """They walk from the price the universe states, differently for each seed."""
    market = a_market(samples)
    first = market.quote(ZZT, at(0))
    assert first is not None
    assert first.last == 50
    other = a_market(samples, seed=2)
    assert market.quote(ZZT, at(2.5)) != other.quote(ZZT, at(2.5))


def test_a_start_beyond_the_history_is_refused(samples: Samples) -> None:
    """The refusal says where the history ends."""
    with pytest.raises(SimError, match="ends on 2012-10-03"):
        a_market(samples, start=date(2020, 1, 1))


def test_a_shock_moves_prices_from_now_on(samples: Samples) -> None:
    """Open and prior close stay, last and low fall; the next session knows nothing else."""
    market = a_market(samples)
    market.shock(0.7, 0.0)
    quote = market.quote(AAPL, at(0))
    assert quote is not None
    assert (quote.open, quote.close, quote.high) == (Decimal(100), Decimal(100), Decimal(100))
    assert (quote.last, quote.low) == (Decimal(70), Decimal(70))
    following = market.quote(AAPL, at(1))
    assert following is not None
    assert (following.open, following.close) == (Decimal("74.20"), Decimal("73.50"))


def test_fixed_values_win_and_the_rest_follows(samples: Samples) -> None:
    """A quote fixed in part stays a possible quote."""
    market = a_market(samples)
    market.pins[AAPL] = Pin(last=Decimal(90))
    quote = market.quote(AAPL, at(0))
    assert quote is not None
    assert (quote.bid, quote.last, quote.ask) == (Decimal("89.99"), Decimal(90), Decimal("90.01"))
    assert quote.low == 90
    market.pins[AAPL] = Pin(bid=Decimal(101), ask=Decimal(102), halted=True)
    quote = market.quote(AAPL, at(0))
    assert quote is not None
    assert (quote.bid, quote.last, quote.ask, quote.halted) == (
        Decimal(101),
        Decimal(101),
        Decimal(102),
        True,
    )
    market.shock(0.5, 0.0)
    quote = market.quote(AAPL, at(0))
    assert quote is not None
    assert (quote.bid, quote.ask) == (Decimal("50.50"), Decimal(51))


def test_new_depth_comes_every_second_even_when_frozen(samples: Samples) -> None:
    """With the market frozen the prices stand still, and the book still refills."""
    market = a_market(samples)
    quotes = [market.quote(AAPL, at(0.5, sample)) for sample in range(40)]
    assert len({(quote.bid, quote.ask, quote.last) for quote in quotes if quote}) == 1
    assert len({quote.depth_id for quote in quotes if quote}) in {10, 11}


def test_an_unchanged_market_is_the_same_quote(samples: Samples) -> None:
    """Who holds a quote sees by its identity whether anything happened."""
    market = a_market(samples)
    depth = (3 - AAPL) % 4
    first = market.quote(AAPL, at(0.5, depth + 1))
    assert market.quote(AAPL, at(0.5, depth + 2)) is first
    assert market.quote(AAPL, at(0.5, depth + 5)) is not first
    assert market.quote(AAPL, at(0.50001, depth + 5)) is not first


def test_the_past_is_there_before_the_start(samples: Samples) -> None:
    """Sessions before the start date: history, or ten years of a synthetic walk, and no more."""
    market = a_market(samples, start=date(2012, 10, 3))
    closes = [bar.close if (bar := market.bar(AAPL, n)) else None for n in (-4, -3, -2, -1, 0)]
    assert closes == [None, 100, 105, 107, 102]
    assert market.bar(FB, -2) is None
    past, present = market.bar(ZZT, -1), market.bar(ZZT, 0)
    assert past is not None
    assert present is not None
    assert past.low <= past.close <= past.high
    assert abs(past.close / present.open - 1) < 0.05
    assert market.bar(ZZT, -2520) is not None
    assert market.bar(ZZT, -2521) is None


@given(st.integers(), st.integers(0, 2**40))
def test_noise_is_spread_evenly(seed: int, number: int) -> None:
    """Neighbouring numbers share about half of their bits: sizes do not follow each other."""
    words = [mixed(seed & 2**64 - 1, number + step) for step in range(64)]
    assert all(0 <= word < 2**63 for word in words)
    ones = sum((one ^ other).bit_count() for one, other in pairwise(words))
    assert 28 < ones / 63 < 36


@given(st.floats(0.0001, 10_000), st.booleans())
@example(1.00504, True)
def test_prices_fall_on_the_steps_of_their_rule(price: float, sub_penny: bool) -> None:
    """Below a dollar 0.0001 where the rule says so, a cent everywhere else; never zero."""
    tick = SUB_PENNY if sub_penny else CENT
    nearest = Grid(tick).nearest(price)
    step = SUB_PENNY if sub_penny and nearest < 1 else CENT
    assert nearest % step == 0
    assert nearest > 0
    assert abs(float(nearest) - price) <= float(step) * 0.5001 or nearest == tick


def test_statistics_come_from_the_same_bars(samples: Samples) -> None:
    """Ranges contain the session so far; volatility is none without moves; volumes add up."""
    market = a_market(samples)
    quote = market.quote(AAPL, at(1.999))
    assert quote is not None
    assert statistics.ranges(market, quote, 0)[2] == (Decimal(95), Decimal(110))
    assert statistics.average_volume(market, AAPL, 0, 2) == 950_000
    assert statistics.volatility(market, FB, 7) >= 0
    returns = [math.log(105 / 100), math.log(107 / 105)]
    mean = sum(returns) / 2
    expected = math.sqrt(sum((each - mean) ** 2 for each in returns) * 252)
    assert statistics.volatility(market, AAPL, 1) == pytest.approx(expected)
    last_minutes = statistics.volume_within(market, AAPL, at(1.999), 10)
    assert 0 < last_minutes < quote.volume
    assert statistics.volume_within(market, AAPL, at(1.0), 10) == 0
