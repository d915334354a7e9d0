"""A bad price never becomes an order, and a position is valued at what is known."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibloop.core.model import MarketDataType, Moment, Quote, QuoteSource
from ibloop.core.quotes import (
    QuoteLimits,
    TickState,
    mid,
    problem,
    quote_of,
    valuation_price,
)

D = Decimal
NOW = Moment(datetime(2026, 11, 22, 15, 0, tzinfo=UTC), 10**12, "a" * 32)
LIMITS = QuoteLimits(
    quote_age_s_max=20.0, spread_fraction_max=D("0.02"), jump_fraction_max=D("0.2")
)
GOOD = Quote(
    symbol="AAPL",
    con_id=265598,
    seq=7,
    received=NOW,
    event_time=None,
    source=QuoteSource.STREAM,
    market_data_type=MarketDataType.LIVE,
    bid=D("99.5"),
    ask=D("100.5"),
    last=D("100.2"),
    close=D("98"),
)

prices = st.decimals(min_value=D("-5"), max_value=D("500"), places=2)
maybe_prices = st.none() | prices
quotes = st.builds(
    replace,
    st.just(GOOD),
    bid=maybe_prices,
    ask=maybe_prices,
    last=maybe_prices,
    close=maybe_prices,
    halted=st.sampled_from([None, False, True]),
    market_data_type=st.sampled_from(MarketDataType),
    received=st.integers(-60, 60).map(lambda s: aged(s).received),
)


_NUMBERS = {
    *("bid", "ask", "last", "close", "open", "high", "low"),
    *("bid_size", "ask_size", "last_size", "volume"),
}


def aged(seconds: float) -> Quote:
    """Return the good quote, received so many seconds before NOW."""
    stamp = Moment(
        NOW.utc - timedelta(seconds=seconds), NOW.boottime_ns - int(seconds * 1e9), NOW.boot_id
    )
    return replace(GOOD, received=stamp)


def test_good_quote_may_price_an_order() -> None:
    """A fresh live quote inside every limit has no problem."""
    assert problem(GOOD, NOW, LIMITS) is None
    assert problem(replace(GOOD, halted=False), NOW, LIMITS) is None


@pytest.mark.parametrize(
    ("quote", "words"),
    [
        (None, "no quote"),
        (aged(20.5), "20.5 s old, more than 20 s"),
        (aged(-2.5), "2.5 s ahead"),
        (replace(GOOD, halted=True), "halted"),
        (replace(GOOD, source=QuoteSource.HISTORY), "from history, not from the market"),
        (replace(GOOD, bid=None), "bid is missing, ask is 100.5"),
        (replace(GOOD, ask=None), "ask is missing"),
        (replace(GOOD, bid=D(0)), "crossed or not positive"),
        (replace(GOOD, bid=D(-1), ask=D(-1)), "crossed or not positive"),
        (replace(GOOD, bid=D("100.6")), "crossed"),
        (replace(GOOD, bid=D("98.0")), "the spread of 98.0 to 100.5 is 0.0252"),
        (replace(GOOD, close=D("80")), "prior close 80"),
        (replace(GOOD, close=D("126")), "prior close 126"),
        *(
            (replace(GOOD, market_data_type=kind), f"the market data is {kind}, not live")
            for kind in MarketDataType
            if kind is not MarketDataType.LIVE
        ),
    ],
)
def test_each_rule_refuses(quote: Quote | None, words: str) -> None:
    """Each rule alone refuses an otherwise good quote, and says why with its numbers."""
    found = problem(quote, NOW, LIMITS)
    assert found is not None
    assert words in found
    assert "\n" not in found


@pytest.mark.parametrize(
    "quote",
    [
        aged(20),
        aged(-2),
        replace(GOOD, bid=D("99"), ask=D("101")),  # spread exactly 0.02
        replace(GOOD, bid=D("100"), ask=D("100"), close=D("125")),  # jump exactly 0.2; locked
    ],
)
def test_limits_themselves_are_allowed(quote: Quote) -> None:
    """A limit names the last allowed value."""
    assert problem(quote, NOW, LIMITS) is None


def test_age_is_by_boot_time_within_one_boot() -> None:
    """A stepped wall clock neither ages a fresh quote nor freshens an old one."""
    stepped = replace(NOW, utc=NOW.utc + timedelta(hours=3))
    assert problem(GOOD, stepped, LIMITS) is None
    old = replace(NOW, boottime_ns=NOW.boottime_ns + int(30e9))
    assert "30.0 s old" in (problem(GOOD, old, LIMITS) or "")


def test_age_is_by_wall_time_over_a_reboot() -> None:
    """Boot times of different boots are never compared."""
    rebooted = Moment(NOW.utc + timedelta(seconds=30), 5, "b" * 32)
    assert "30.0 s old" in (problem(GOOD, rebooted, LIMITS) or "")


@given(quotes)
def test_usable_means_every_rule_holds(quote: Quote) -> None:
    """No quote without a problem breaks a rule, whatever its fields."""
    if problem(quote, NOW, LIMITS) is not None:
        return
    middle = mid(quote)
    assert quote.market_data_type is MarketDataType.LIVE
    assert not quote.halted
    assert -2 <= NOW.age_s(quote.received) <= LIMITS.quote_age_s_max
    assert middle is not None
    assert quote.bid is not None
    assert quote.ask is not None
    assert 0 < quote.bid <= quote.ask
    assert quote.ask - quote.bid <= LIMITS.spread_fraction_max * middle
    if quote.close is not None and quote.close > 0:
        assert abs(middle - quote.close) <= LIMITS.jump_fraction_max * quote.close


@given(quotes)
def test_mid_lies_between_positive_bid_and_ask(quote: Quote) -> None:
    """The mid exists exactly for a positive, uncrossed market and lies inside it."""
    middle = mid(quote)
    bid, ask = quote.bid, quote.ask
    sound = bid is not None and ask is not None and 0 < bid <= ask
    assert (middle is not None) == sound
    if middle is not None and bid is not None and ask is not None:
        assert bid <= middle <= ask


@given(quotes)
def test_valuation_is_a_known_positive_price_of_a_fresh_quote(quote: Quote) -> None:
    """A valuation is the first known of mid, last, close; never of a stale quote, never <= 0."""
    price = valuation_price(quote, NOW, LIMITS)
    fresh = -2 <= NOW.age_s(quote.received) <= LIMITS.quote_age_s_max
    known = [p for p in (mid(quote), quote.last, quote.close) if p is not None and p > 0]
    assert price == (known[0] if fresh and known else None)


@pytest.mark.parametrize(("bar_age_s", "usable"), [(19, True), (21, False), (-3, False)])
def test_a_price_from_history_is_as_old_as_its_bar(bar_age_s: float, usable: bool) -> None:
    """It may have come this moment: a position is not worth what was paid twenty hours ago."""
    begun = NOW.utc - timedelta(seconds=bar_age_s)
    bar = replace(GOOD, source=QuoteSource.HISTORY, bid=None, ask=None, event_time=begun)
    assert valuation_price(bar, NOW, LIMITS) == (GOOD.last if usable else None)
    assert valuation_price(replace(bar, event_time=None), NOW, LIMITS) is None


def test_valuation_needs_a_quote() -> None:
    """Without a quote there is no valuation, and no zero."""
    assert valuation_price(None, NOW, LIMITS) is None


def test_quote_of_keeps_every_field() -> None:
    """Nothing of the merged state is lost or swapped on its way into a quote."""
    names = [field for field in TickState.__slots__ if field in _NUMBERS]
    numbers = {name: D(number) for number, name in enumerate(names, start=1)}
    state = TickState(
        symbol="SPY",
        con_id=756733,
        market_data_type=MarketDataType.DELAYED,
        event_time=NOW.utc,
        halted=True,
        currency="EUR",
        exchange="ARCA",
        **numbers,
    )
    quote = quote_of(state, 9, NOW, QuoteSource.SNAPSHOT)
    assert {name: getattr(quote, name) for name in state.__slots__} == {
        name: getattr(state, name) for name in state.__slots__
    }
    assert (quote.seq, quote.received, quote.source) == (9, NOW, QuoteSource.SNAPSHOT)


def test_a_jump_that_cannot_be_measured_is_refused() -> None:
    """Without a prior close nobody knows how far the price has jumped: a missing input denies."""
    found = problem(replace(GOOD, close=None), NOW, LIMITS)
    assert found is not None
    assert "prior close" in found
