"""Numbers and times as people read them."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ibloop.core.lifecycle import OrderState, RunState
from ibloop.core.stream import StreamStatus
from ibloop.web import formats

M = formats.MINUS
NOW = datetime(2026, 11, 20, 3, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1234567", "1,234,567"),
        ("100.00", "100"),
        ("-0.5", f"{M}0.5"),
        ("1.23456", "1.2346"),
        ("1E+3", "1,000"),
        ("0", "0"),
    ],
)
def test_number(value: str, text: str) -> None:
    """Thousands are separated, zeros at the end go, four decimal places stay."""
    assert formats.number(Decimal(value)) == text


@pytest.mark.parametrize(("value", "text"), [("10", "10.00"), ("10.123", "10.123"), ("0", "0.00")])
def test_price(value: str, text: str) -> None:
    """A price has two decimal places at least."""
    assert formats.price(Decimal(value)) == text


def test_amounts_and_fractions() -> None:
    """Losses carry a real minus, gains a plus where a change is meant."""
    assert formats.usd(Decimal("-1234.5")) == f"{M}1,234.50"
    assert formats.signed_usd(Decimal("0.005")) == "+0.00"
    assert formats.percent(Decimal("0.1234")) == "12.34 %"
    assert formats.signed_percent(Decimal("-0.05")) == f"{M}5.00 %"


def test_missing_is_a_dash() -> None:
    """What is not known is never a zero."""
    filters = (formats.number, formats.price, formats.usd, formats.signed_usd, formats.percent)
    told = {show(None) for show in (*filters, formats.signed_percent, formats.age)}
    assert told == {formats.NOTHING}
    assert formats.clock(None, NOW) == formats.NOTHING


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (200000, "2 d"),
        (-3, "-3.0 s"),
    ],
)
def test_age(seconds: float, text: str) -> None:
    """The largest unit that still says something."""
    assert formats.age(seconds) == text


def test_clock_in_two_zones() -> None:
    """The date stands in front where it is not today's, judged in the zone that is shown."""
    moment = datetime(2026, 11, 20, 1, 2, 3, tzinfo=UTC)
    assert formats.clock(moment, NOW) == "01:02:03"
    assert formats.clock(moment, NOW, "America/New_York") == "20:02:03"
    assert formats.clock(moment, NOW.replace(day=21)) == "20 Nov 01:02"
    assert formats.zone_name(NOW, "America/New_York") == "EST"


@pytest.mark.parametrize("word", sorted({*OrderState, *RunState, *StreamStatus}))
def test_every_state_has_a_tone(word: str) -> None:
    """No state of an order, a run or the stream is shown as if it meant nothing."""
    assert formats.tone(word) != "plain"
    assert formats.tone("whatever else") == "plain"
