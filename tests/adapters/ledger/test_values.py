"""One text form for each value, strict in both directions."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibloop.adapters.ledger.values import (
    decimal_text,
    json_text,
    parse_decimal,
    parse_time,
    time_text,
)
from ibloop.core.invariant import InvariantError
from ibloop.errors import LedgerError


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_comes_back_equal_and_has_one_spelling(value: Decimal) -> None:
    """Nothing is rounded, and equal numbers have equal texts."""
    text = decimal_text(value)
    assert parse_decimal(text) == value
    assert decimal_text(parse_decimal(text)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [("100", "100"), ("1E+3", "1000"), ("1.500", "1.5"), ("-0.0", "0"), ("1E-9", "0.000000001")],
)
def test_decimals_are_written_plainly(value: str, text: str) -> None:
    """No exponent, no trailing zeros, no minus zero."""
    assert decimal_text(Decimal(value)) == text


@pytest.mark.parametrize("text", ["1.50", "01", "1e3", "", "NaN", "-0", "Infinity", " 1", "x"])
def test_any_other_spelling_is_not_ours(text: str) -> None:
    """A value somebody else wrote is refused, not interpreted."""
    with pytest.raises(LedgerError, match="canonical decimal"):
        parse_decimal(text)


def test_a_number_that_is_none_cannot_be_written() -> None:
    """NaN and infinity never enter the ledger."""
    for value in ("NaN", "Infinity"):
        with pytest.raises(InvariantError):
            decimal_text(Decimal(value))


@given(st.datetimes(min_value=datetime(1000, 1, 1)), st.integers(-12, 12))  # noqa: DTZ001
def test_a_time_comes_back_to_the_millisecond(naive: datetime, hours: int) -> None:
    """Any zone becomes UTC; what is finer than a millisecond is cut off."""
    moment = naive.replace(tzinfo=UTC, year=min(max(naive.year, 1001), 9998))
    text = time_text(moment.astimezone(timezone(timedelta(hours=hours))))
    assert timedelta(0) <= moment - parse_time(text) < timedelta(milliseconds=1)
    assert time_text(parse_time(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20T15:30:00Z",
        "2026-11-20 15:30:00.000Z",
        "2026-11-20T15:30:00.000+00:00",
        "2026-11-20T15:30:00.000",
        "2026-13-20T15:30:00.000Z",
        "",
    ],
)
def test_a_time_of_another_form_is_refused(text: str) -> None:
    """Only the fixed width form sorts like time."""
    with pytest.raises(LedgerError, match="expected a time"):
        parse_time(text)


def test_a_naive_time_cannot_be_written() -> None:
    """A time without a zone means nothing."""
    with pytest.raises(InvariantError):
        time_text(datetime(2026, 11, 20))  # noqa: DTZ001


def test_json_is_canonical() -> None:
    """Key order and spaces do not change the text; decimals and times are their own texts."""
    value = {"b": Decimal("1.50"), "a": [datetime(2026, 1, 2, tzinfo=UTC), "é"]}
    assert json_text(value) == '{"a":["2026-01-02T00:00:00.000Z","\\u00e9"],"b":"1.5"}'
    with pytest.raises(TypeError):
        json_text({"a": object()})
    with pytest.raises(ValueError, match="JSON"):
        json_text({"a": float("nan")})
