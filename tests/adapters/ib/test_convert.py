"""Numbers, sides, times and line states: nothing is passed on by accident."""

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibloop.adapters.ib.convert import (
    broker_order_of,
    commission_of,
    decimal_of,
    good_till_text,
    required,
    side_of,
)
from ibloop.adapters.ib.lib import CommissionReport
from ibloop.adapters.ib.ticks import Line
from ibloop.core.model import Instrument, MarketDataType, Side

UNSET = 1.7976931348623157e308
IBM = Instrument("IBM", 8314, "IBM", "NYSE", "USD", Decimal("0.01"), Decimal(1), "x", None)


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=4))
def test_a_price_keeps_its_digits(price: Decimal) -> None:
    """A price printed by the gateway is the same decimal here, whatever the float between."""
    assert decimal_of(float(price)) == price


@pytest.mark.parametrize("number", [UNSET, -UNSET, math.nan, math.inf, -math.inf])
def test_unset_numbers_are_none(number: float) -> None:
    """IB's marks for "not set" never become values."""
    assert decimal_of(number) is None
    with pytest.raises(ValueError, match="expected shares to be a number"):
        required(number, "shares")


@pytest.mark.parametrize(("text", "side"), [("BOT", Side.BUY), ("SLD", Side.SELL)])
def test_sides_are_read_strictly(text: str, side: Side) -> None:
    """A side that is not one is an error, never a sale."""
    assert side_of(text) is side
    with pytest.raises(ValueError, match="expected a side"):
        side_of(text.lower())


def test_an_expiry_is_written_in_utc() -> None:
    """The dash between date and time makes IB read it as UTC."""
    moment = datetime(2026, 7, 1, 23, 30, tzinfo=timezone(timedelta(hours=-4)))
    assert good_till_text(moment) == "20260702-03:30:00"


@pytest.mark.parametrize(
    ("commission", "pnl", "expected"),
    [
        (1.0, 12.34, (Decimal(1), Decimal("12.34"))),
        (0.0, UNSET, (Decimal(0), None)),
        (-1.0, UNSET, (None, None)),
        (UNSET, 0.0, (None, Decimal(0))),
    ],
)
def test_a_pending_commission_is_none(commission: float, pnl: float, expected: Any) -> None:
    """-1.0 and unset both mean "not yet"; zero is a commission."""
    report = commission_of(CommissionReport("e.01", commission, "USD", pnl))
    assert (report.exec_id, report.commission, report.realized_pnl) == ("e.01", *expected)


@pytest.mark.parametrize("delayed", [False, True])
def test_live_and_delayed_ticks_mean_the_same(delayed: bool) -> None:
    """Bid, ask and last come as 1, 2, 4 or as 66, 67, 68; so do their sizes and the rest."""
    line = Line(IBM)
    line.take_type(3 if delayed else 1)
    for number, price in ((66, 10.1), (67, 10.2), (68, 10.15), (72, 11.0), (73, 9.0), (75, 10.0)):
        live = {66: 1, 67: 2, 68: 4, 72: 6, 73: 7, 75: 9}[number]
        assert line.take_price(number if delayed else live, price, 300.0)
    assert line.take_price(76 if delayed else 14, 9.5, 0)
    assert line.take_size(74 if delayed else 8, 123_456.0)
    assert line.take_size(69 if delayed else 0, 400.0)
    assert line.take_text(88 if delayed else 45, "1782907200")
    state = line.state()
    assert (state.bid, state.ask, state.last) == (*map(Decimal, ("10.1", "10.2", "10.15")),)
    assert (state.open, state.high, state.low, state.close) == (Decimal("9.5"), 11, 9, 10)
    assert (state.bid_size, state.ask_size, state.last_size) == (400, 300, 300)
    assert state.volume == 123_456
    assert state.event_time == datetime(2026, 7, 1, 12, tzinfo=UTC)
    wanted = MarketDataType.DELAYED if delayed else MarketDataType.LIVE
    assert (state.market_data_type, state.symbol, state.con_id) == (wanted, "IBM", 8314)


@pytest.mark.parametrize("price", [-1.0, 0.0, math.nan, UNSET])
def test_no_quote_is_no_price(price: float) -> None:
    """A price that was there and is withdrawn leaves nothing behind, and no size either."""
    line = Line(IBM)
    line.take_price(1, 10.0, 300.0)
    line.take_price(1, price, 0.0)
    state = line.state()
    assert (state.bid, state.bid_size) == (None, None)


@pytest.mark.parametrize(
    ("value", "halted"), [(0.0, False), (1.0, True), (2.0, True), (-1.0, None), (math.nan, None)]
)
def test_halted_is_known_or_none(value: float, halted: bool | None) -> None:
    """0 trades, 1 and 2 are halts, -1 says that nobody knows."""
    line = Line(IBM)
    assert line.state().halted is None
    assert line.take_generic(49, value)
    assert line.state().halted is halted


def test_ticks_of_other_kinds_change_nothing() -> None:
    """Unknown numbers and unreadable times are no news."""
    line = Line(IBM)
    before = line.state()
    assert not line.take_price(37, 10.0, 1.0)
    assert not line.take_size(21, 10.0)
    assert not line.take_generic(23, 0.3)
    assert not line.take_text(45, "soon")
    assert not line.take_text(48, "1;2;3")
    assert not line.take_type(9)
    assert line.state() == before


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 66, 67, 69, 70, 72, 37]),
            st.floats(allow_nan=True, allow_infinity=True),
            st.floats(allow_nan=True, allow_infinity=True),
        )
    )
)
def test_a_state_holds_only_positive_numbers(ticks: list[tuple[int, float, float]]) -> None:
    """Whatever a gateway sends, a price or size is a positive decimal or None."""
    line = Line(IBM)
    for number, price, size in ticks:
        line.take_price(number, price, size)
        line.take_size(number, size)
    state = line.state()
    for name in ("bid", "ask", "last", "close", "open", "high", "low", "bid_size", "volume"):
        value = getattr(state, name)
        assert value is None or (value.is_finite() and value > 0)


def test_completed_orders_keep_their_filled_quantity() -> None:
    """A filled order is shown with quantity 0: only filledQuantity tells."""
    order = SimpleNamespace(
        orderRef="ref",
        account="DU1",
        permId=7,
        clientId=0,
        orderId=0,
        action="SELL",
        totalQuantity=0.0,
        filledQuantity=12.0,
    )
    seen = broker_order_of(SimpleNamespace(symbol="IBM"), order, SimpleNamespace(status="Filled"))
    assert (seen.quantity, seen.filled_quantity, seen.side) == (0, 12, Side.SELL)
    order.filledQuantity = UNSET
    assert (
        broker_order_of(
            SimpleNamespace(symbol="IBM"), order, SimpleNamespace(status="Cancelled")
        ).filled_quantity
        is None
    )
