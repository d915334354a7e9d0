"""What a tick means: every number IB sends, merged into one state, and what is no value is None."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibloop.adapters.ib.ticks import Line
from ibloop.core.model import MarketDataType, QuoteSource
from ibloop.core.quotes import quote_of
from tests.fakes.clock import START
from tests.fakes.streamworld import instrument

D = Decimal
UNSET = 1.7976931348623157e308
NO_VALUE = [-1.0, 0.0, math.nan, math.inf, -math.inf, UNSET, 1e19, 1e-19, 5e-324]


def line() -> Line:
    """Return a line that knows nothing."""
    return Line(instrument("AAPL"))


@pytest.mark.parametrize(
    ("tick", "name"),
    [
        *((1, "bid"), (2, "ask"), (4, "last"), (6, "high"), (7, "low"), (9, "close"), (14, "open")),
        *((66, "bid"), (67, "ask"), (68, "last"), (72, "high"), (73, "low"), (75, "close")),
        (76, "open"),
    ],
)
def test_prices(tick: int, name: str) -> None:
    """Live and delayed ticks have their own numbers and mean the same; -1 and the like clear."""
    merged = line()
    assert merged.take_price(tick, 187.4, 300)
    assert getattr(merged.state(), name) == D("187.4")
    for nothing in NO_VALUE:
        merged.take_price(tick, 187.4, 300)
        assert merged.take_price(tick, nothing, 0)
        assert getattr(merged.state(), name) is None


@pytest.mark.parametrize(
    ("tick", "name"),
    [
        *((0, "bid_size"), (3, "ask_size"), (5, "last_size"), (8, "volume")),
        *((69, "bid_size"), (70, "ask_size"), (71, "last_size"), (74, "volume")),
    ],
)
def test_sizes(tick: int, name: str) -> None:
    """A size of 0, -1 or unset is none."""
    merged = line()
    assert merged.take_size(tick, 300)
    assert getattr(merged.state(), name) == D(300)
    for nothing in NO_VALUE:
        merged.take_size(tick, 300)
        assert merged.take_size(tick, nothing)
        assert getattr(merged.state(), name) is None


@pytest.mark.parametrize(("tick", "name"), [(1, "bid"), (2, "ask"), (4, "last"), (66, "bid")])
def test_no_price_takes_its_size_along(tick: int, name: str) -> None:
    """-1 with size 0 says that there is no bid: neither a price nor a size is left over."""
    merged = line()
    merged.take_price(tick, 187.4, 300)
    assert getattr(merged.state(), f"{name}_size") == D(300)
    merged.take_price(tick, -1.0, 0)
    state = merged.state()
    assert (getattr(state, name), getattr(state, f"{name}_size")) == (None, None)


@pytest.mark.parametrize(
    ("value", "halted"), [(0.0, False), (1.0, True), (2.0, True), (-1.0, None), (math.nan, None)]
)
def test_halts(value: float, halted: bool | None) -> None:
    """1 and 2 are halts, 0 is trading, -1 is not known."""
    merged = line()
    assert merged.take_generic(49, value)
    assert merged.state().halted is halted


@pytest.mark.parametrize("tick", [45, 88])
def test_the_time_of_the_event_is_the_exchanges(tick: int) -> None:
    """The last trade's time is kept apart from ours; nonsense leaves it as it was."""
    merged = line()
    assert merged.take_text(tick, "1763823600")
    when = datetime(2025, 11, 22, 15, 0, tzinfo=UTC)
    assert merged.state().event_time == when
    for text in ("", "x", "-5", "1.5", "١٢٣"):
        assert not merged.take_text(tick, text)
    quote = quote_of(merged.state(), 1, START, QuoteSource.STREAM)
    assert (quote.event_time, quote.received) == (when, START)


@pytest.mark.parametrize(
    ("tick", "name"),
    [(1, "bid"), (2, "ask"), (4, "last"), (66, "bid"), (67, "ask"), (68, "last")],
)
def test_a_price_beside_a_size_of_0_stands(tick: int, name: str) -> None:
    """An index has no size, and IB cuts less than a share to 0: only the size is none."""
    merged = line()
    merged.take_price(tick, 100.0, 0)
    state = merged.state()
    assert (getattr(state, name), getattr(state, f"{name}_size")) == (D(100), None)


def test_the_kind_of_data() -> None:
    """IB's 1 to 4; anything else changes nothing, and before a word it counts as the worst."""
    for number, kind in enumerate(MarketDataType, start=1):
        merged = line()
        assert merged.state().market_data_type is MarketDataType.DELAYED_FROZEN
        for odd in (0, 5, -1):
            merged.take_type(odd)
        assert merged.kind is None
        merged.take_type(number)
        assert merged.state().market_data_type is kind
        merged.take_type(9)
        assert merged.state().market_data_type is kind


def test_live_ticks_without_a_word_are_not_called_live() -> None:
    """The type is told, never guessed from the number of a tick; a delayed one tells by itself."""
    merged = line()
    merged.take_price(1, 187.4, 300)
    assert merged.state().market_data_type is MarketDataType.DELAYED_FROZEN
    merged.take_price(66, 187.4, 300)
    assert merged.state().market_data_type is MarketDataType.DELAYED


@pytest.mark.parametrize("before", [None, *range(1, 5)])
@pytest.mark.parametrize("after", range(1, 5))
@pytest.mark.parametrize("numbers", [False, True])
def test_what_a_change_of_kind_is_worth(before: int | None, after: int, numbers: bool) -> None:
    """It is news only where known prices become worse; they never become better by a word."""
    merged = line()
    if before is not None:
        merged.take_type(before)
    if numbers:
        merged.take_price(1, 187.4, 300)
        merged.take_price(9, 180.0, 0)
    is_told = before is not None
    assert merged.take_type(after) is (numbers and is_told and after > (before or 0))
    state = merged.state()
    kept = numbers and not (is_told and after < (before or 0))
    assert (state.bid, state.bid_size) == ((D("187.4"), D(300)) if kept else (None, None))
    assert state.close == (D(180) if numbers else None)


_TICKS = st.one_of(
    st.tuples(st.just("take_price"), st.integers(-1, 90), st.floats(), st.floats()),
    st.tuples(st.just("take_size"), st.integers(-1, 90), st.floats()),
    st.tuples(st.just("take_generic"), st.integers(-1, 90), st.floats()),
    st.tuples(st.just("take_type"), st.integers(-5, 9)),
)


@given(st.lists(_TICKS, max_size=40))
def test_whatever_comes_can_be_published(ticks: list[tuple[Any, ...]]) -> None:
    """Every number of a merged state is None or a positive finite decimal of a sane magnitude."""
    merged = line()
    for name, *values in ticks:
        getattr(merged, name)(*values)
        state = merged.state()
        for field in ("bid", "ask", "last", "close", "open", "high", "low", "volume", "bid_size"):
            number = getattr(state, field)
            assert number is None or (number > 0 and -18 <= number.adjusted() <= 18)
