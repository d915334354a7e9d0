"""What the broker tells of an account's money, and what it may leave out."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ibloop.adapters.ib.account import Figures
from ibloop.core.model import AccountValues, Moment

T0 = Moment(datetime(2026, 11, 20, 15, 30, tzinfo=UTC), 10**9, "a" * 32)
LATER = Moment(datetime(2026, 11, 20, 15, 40, tzinfo=UTC), 2 * 10**9, "a" * 32)


def told(*more: tuple[str, str, str]) -> AccountValues:
    """Return the figures of an account of which at least the two of every account are told."""
    figures = Figures("DU1")
    for tag, text, currency in (
        ("NetLiquidation", "1000", "USD"),
        ("TotalCashValue", "400", "USD"),
        *more,
    ):
        figures.take("DU1", tag, text, currency, T0)
    found = figures.values()
    assert found is not None
    return found


def test_settled_cash_and_day_trades_are_told_where_the_account_has_them() -> None:
    """Both are left out of the figures when the broker leaves them out."""
    assert (told().settled_cash, told().day_trades_left) == (None, None)
    found = told(("SettledCash", "250.5", "USD"), ("DayTradesRemaining", "-1", ""))
    assert (found.settled_cash, found.day_trades_left) == (Decimal("250.5"), -1)


@pytest.mark.parametrize("text", ["", "n/a", "NaN", "Infinity"])
def test_what_is_no_number_is_missing(text: str) -> None:
    """Also when there was a number before: it is not what the account has now."""
    found = told(("SettledCash", "250", "USD"), ("SettledCash", text, "USD"))
    assert found.settled_cash is None


def test_an_optional_figure_does_not_make_the_others_fresh() -> None:
    """The age of net liquidation and cash is that of their own last arrival."""
    figures = Figures("DU1")
    for tag in ("NetLiquidation", "TotalCashValue"):
        figures.take("DU1", tag, "1", "USD", T0)
    assert figures.take("DU1", "SettledCash", "1", "USD", LATER)
    values = figures.values()
    assert values is not None
    assert values.as_of == T0.utc


def test_optional_figures_alone_are_no_figures() -> None:
    """Two numbers are not enough when they are the wrong two."""
    figures = Figures("DU1")
    figures.take("DU1", "SettledCash", "1", "USD", T0)
    figures.take("DU1", "DayTradesRemaining", "3", "", T0)
    assert figures.values() is None
