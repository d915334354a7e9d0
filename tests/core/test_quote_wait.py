"""A run waits for what time can bring, never for what is there, and never for ever."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibloop.core.model import MarketDataType, Moment, Quote, QuoteSource
from ibloop.core.quote_wait import Wait, is_hopeless, may_come, wait_for
from ibloop.core.quotes import QuoteLimits, problem
from ibloop.core.unusable import FileFault, Unusable

D = Decimal
NOW = Moment(datetime(2026, 11, 22, 15, 0, tzinfo=UTC), 10**12, "a" * 32)
LIMITS = QuoteLimits(
    quote_age_s_max=15.0, spread_fraction_max=D("0.02"), jump_fraction_max=D("0.2")
)
GOOD = Quote(
    symbol="AAPL",
    con_id=7,
    seq=1,
    received=NOW,
    event_time=None,
    source=QuoteSource.STREAM,
    market_data_type=MarketDataType.LIVE,
    bid=D("99.9"),
    ask=D("100.1"),
    last=D("100"),
    close=D("98"),
)


def aged(seconds: float) -> Moment:
    """Return the moment so many seconds before now."""
    then_ns = NOW.boottime_ns - int(seconds * 1e9)
    return Moment(NOW.utc - timedelta(seconds=seconds), then_ns, NOW.boot_id)


@pytest.mark.parametrize(
    ("changes", "comes"),
    [
        ({}, False),  # it is there
        ({"con_id": 8}, True),  # of a universe before
        ({"received": aged(15.1)}, True),
        ({"received": aged(-3)}, True),
        ({"source": QuoteSource.HISTORY}, True),  # a fallback, while the line is ordered anew
        ({"source": QuoteSource.SNAPSHOT}, False),
        ({"market_data_type": MarketDataType.FROZEN}, True),  # a market about to open
        ({"market_data_type": MarketDataType.DELAYED}, False),  # all that this account gets
        ({"market_data_type": MarketDataType.DELAYED_FROZEN}, False),
        ({"market_data_type": MarketDataType.DELAYED, "received": aged(60)}, True),
        ({"bid": None}, True),  # ticks come one by one
        ({"ask": None}, True),
        ({"close": None}, True),
        ({"bid": None, "halted": True}, False),
        ({"halted": True}, False),
        ({"halted": True, "received": aged(60)}, True),
        ({"bid": D(101)}, False),  # crossed
        ({"bid": D(90)}, False),  # a wide spread
        ({"close": D(50)}, False),  # a jump
    ],
)
def test_what_time_may_bring(changes: dict[str, object], comes: bool) -> None:
    """A fresh word of the market is an answer; anything else may still become one."""
    assert may_come(replace(GOOD, **changes), 7, NOW, LIMITS) is comes


def test_a_missing_quote_may_come() -> None:
    """The symbol was subscribed a moment ago."""
    assert may_come(None, 7, NOW, LIMITS)


@given(
    st.builds(
        replace,
        st.just(GOOD),
        bid=st.none() | st.decimals(min_value=D(90), max_value=D(110), places=1),
        ask=st.none() | st.decimals(min_value=D(90), max_value=D(110), places=1),
        close=st.none() | st.just(D(98)),
        halted=st.sampled_from([None, False, True]),
        market_data_type=st.sampled_from(MarketDataType),
        source=st.sampled_from(QuoteSource),
        received=st.integers(-10, 60).map(aged),
    )
)
def test_what_may_price_an_order_is_never_waited_for(quote: Quote) -> None:
    """Nothing waits where all prices are there."""
    if problem(quote, NOW, LIMITS) is None:
        assert not may_come(quote, quote.con_id, NOW, LIMITS)


@pytest.mark.parametrize("fault", FileFault)
def test_only_a_refused_or_unnameable_symbol_is_hopeless(fault: FileFault) -> None:
    """A damaged file is written again, a missing line is ordered, a stream is started."""
    hopeless = {FileFault.REFUSED, FileFault.UNNAMEABLE}
    assert is_hopeless(Unusable(fault, "")) is (fault in hopeless)
    assert not is_hopeless(None)


@pytest.mark.parametrize(
    ("awaited", "waited_s", "spare_s", "left_s"),
    [
        ((), 0, 600, None),
        (("A",), 0, 600, 120),
        (("A", "B"), 119.5, 600, 0.5),
        (("A",), 120, 600, None),
        (("A",), 500, 600, None),
        (("A",), 10, 30, 30),  # the close, or a quiet stretch, is nearer
        (("A",), 10, 0, None),
        (("A",), 10, -5, None),
    ],
)
def test_the_wait_is_bounded(
    awaited: tuple[str, ...], waited_s: float, spare_s: float, left_s: float | None
) -> None:
    """By its own limit, and by the time that the orders need."""
    expected = None if left_s is None else Wait(awaited, left_s)
    assert wait_for(awaited, waited_s, 120, spare_s) == expected


def test_a_limit_of_zero_waits_for_nothing() -> None:
    """Then the plan is made with the prices there are."""
    assert wait_for(("A",), 0.0, 0.0, 600.0) is None
