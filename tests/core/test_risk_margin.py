"""The margin check: what the broker says that a plan's opening orders would cost."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibloop.core.model import MarginImpact, Order, OrderType, Side, Tif
from ibloop.core.risk import Verdict, breaches, check_margin

D = Decimal


def order(number: int, symbol: str) -> Order:
    """Return an order that was asked about under an id."""
    return Order(
        client_order_id=f"ibl:K:{symbol}:B:0",
        run_id="run",
        symbol=symbol,
        con_id=number,
        side=Side.BUY,
        quantity=D(100),
        order_type=OrderType.LMT,
        limit_price=D(100),
        tif=Tif.DAY,
        good_till=datetime(2026, 11, 23, tzinfo=UTC),
        status="planned",
        ib_order_id=number,
    )


ORDERS = (order(7, "AAA"), order(8, "BBB"))


def impact(number: int, change: str, commission: str | None = "1") -> MarginImpact:
    """Return an answer that by itself leaves enough."""
    cost = None if commission is None else D(commission)
    return MarginImpact(number, D(change), D(10_000), D(50_000), cost)


def asked(*impacts: MarginImpact, funds: str | None = "10_000") -> tuple[Verdict, ...]:
    """Return the breaches of two orders with these answers."""
    found = check_margin(ORDERS, impacts, None if funds is None else D(funds))
    return breaches(found)


@pytest.mark.parametrize(
    ("funds", "refused"), [("10002.01", False), ("10002", False), ("10001.99", True), (None, True)]
)
def test_together_they_cost_no_more_than_the_available_funds(
    funds: str | None, refused: bool
) -> None:
    """Below, at and above, margin and commissions; unknown funds refuse."""
    found = asked(impact(7, "6000"), impact(8, "4000"), funds=funds)
    assert [verdict.check for verdict in found] == ["margin_check"] * refused
    if refused:
        assert found[0].found == D(10_002)


def test_relief_is_not_counted() -> None:
    """An order that would lower the requirement may not fill: it pays for no other."""
    (refused,) = asked(impact(7, "-90000"), impact(8, "10000"))
    assert refused.found == D(10_002)


def test_an_untold_commission_counts_with_its_bound() -> None:
    """The fixed schedule's bound stands for what the broker leaves open."""
    (refused,) = asked(impact(7, "10000", None), impact(8, "0", "0"))
    assert refused.found == D(10_001)


@pytest.mark.parametrize(("equity", "refused"), [("10000", False), ("9999.99", True)])
def test_each_by_itself_leaves_equity_above_the_margin(equity: str, refused: bool) -> None:
    """The broker's own figures of the moment, whatever the funds said earlier."""
    second = replace(impact(8, "0"), equity_after_usd=D(equity))
    found = asked(impact(7, "0"), second, funds="1000000")
    assert [(v.subject, v.found, v.limit) for v in found] == [
        ("BBB", D(10_000), D("9999.99"))
    ] * refused


USELESS = (
    replace(impact(8, "1"), problem="error 201: no"),
    replace(impact(8, "1"), initial_change_usd=None),
    replace(impact(8, "1"), initial_after_usd=None),
    replace(impact(8, "1"), equity_after_usd=None),
    replace(impact(8, "1"), initial_change_usd=D("NaN")),
    replace(impact(8, "1"), equity_after_usd=D("Infinity")),
    replace(impact(8, "1"), commission_usd=D("-Infinity")),
    impact(9, "1"),
)


@pytest.mark.parametrize("second", USELESS)
def test_an_order_without_a_usable_answer_refuses_all(second: MarginImpact) -> None:
    """Refused, silent, half an answer, no number, another order's: named, and never guessed."""
    (refused,) = asked(impact(7, "1"), second)
    assert (refused.check, refused.subject) == ("margin_check", "BBB")
    assert isinstance(refused.found, str)
    if second.problem:
        assert "error 201: no" in str(refused)


def test_silence_refuses() -> None:
    """No answer at all is no answer of each."""
    assert {v.subject for v in asked()} == {"AAA", "BBB"}


@given(
    st.lists(st.decimals(-(10**6), 10**6, places=2), min_size=2, max_size=2),
    st.decimals(-(10**6), 10**6, places=2),
)
def test_what_passes_fits_with_any_of_it_filled(changes: list[Decimal], funds: Decimal) -> None:
    """Whichever of the orders fill, what they require is there."""
    impacts = [replace(impact(7 + n, "0"), initial_change_usd=c) for n, c in enumerate(changes)]
    if breaches(check_margin(ORDERS, impacts, funds)):
        return
    for filled in ((), (0,), (1,), (0, 1)):
        assert sum((changes[n] + 1 for n in filled), D(0)) <= max(funds, D(0))
