"""The account at a send: the careful one of two figures, and how old it may be."""

from dataclasses import replace
from decimal import Decimal

import pytest

from ibloop.core.model import Side
from ibloop.core.orders import Intent
from ibloop.core.risk import (
    ACCOUNT_AGE_S_MAX,
    Holding,
    breaches,
    careful_equity,
    check_account_age,
    check_quote,
    check_send,
)
from tests.fakes.risk_cases import AAA, CONTEXT, QUOTE, QUOTE_LIMITS, RECEIVED, WIDE

D = Decimal


@pytest.mark.parametrize(
    ("told", "equity"),
    [
        (None, 100_000),  # its age denies then
        (200_000, 100_000),
        (100_000, 100_000),
        (99_000, 100_000),  # a hundredth: what the market does in minutes
        ("98999.99", "98999.99"),
        (0, 0),
        (-5, 0),
    ],
)
def test_the_lower_equity_holds(told: object, equity: object) -> None:
    """More than planned changes nothing; less by more than a hundredth is what there is."""
    known = None if told is None else D(str(told))
    assert careful_equity(D(100_000), known) == D(str(equity))


@pytest.mark.parametrize(
    ("age_s", "passed"),
    [
        *((0.0, True), (59.999, True), (ACCOUNT_AGE_S_MAX, True), (60.001, False)),
        *((-2.0, True), (-2.1, False), (None, False), (float("inf"), False)),
    ],
)
def test_figures_have_an_age(age_s: float | None, passed: bool) -> None:
    """Too old, from the future, or not there: nothing is enlarged on them."""
    assert check_account_age(age_s).passed is passed
    context = replace(CONTEXT, account_age_s=age_s)
    more = Intent("AAA", 1, Side.BUY, D(10), D(100))
    refused = [v.check for v in breaches(check_send(more, AAA, D(100), context, WIDE))]
    assert refused == ([] if passed else ["account_age_s_max"])


@pytest.mark.parametrize("age_s", [None, 10**6])
def test_what_only_reduces_asks_for_no_figures(age_s: float | None) -> None:
    """Getting out works when the account cannot be read, and after any loss."""
    held = Holding("AAA", "Energy", D(10), D(100))
    context = replace(CONTEXT, account_age_s=age_s, equity_usd=D(0), holding=held)
    less = Intent("AAA", 1, Side.SELL, D(10), D(100))
    assert breaches(check_send(less, AAA, D(100), context, WIDE)) == ()


@pytest.mark.parametrize(
    ("halted", "found", "passed"),
    [
        (None, "unknown, taken as not halted", True),
        (False, "not halted", True),
        (True, "halted", False),
    ],
)
def test_a_halt_that_nobody_tells_is_said_to_be_unknown(
    halted: bool | None, found: str, passed: bool
) -> None:
    """IB says "not halted" of few symbols: silence passes, and the verdict says that it was one."""
    said = check_quote(replace(QUOTE, halted=halted), 1, RECEIVED, QUOTE_LIMITS)
    (verdict,) = (v for v in said if v.check == "halted_symbol")
    assert (verdict.found, verdict.passed) == (found, passed)
