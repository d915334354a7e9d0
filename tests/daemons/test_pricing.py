"""A refusal for want of a price names the cause, wherever the price was wanted."""

from pathlib import Path

import pytest

from ibloop.core.unusable import FileFault, Unusable
from ibloop.daemons.pricing import quote_problem
from tests.fakes.house import House

CAUSE = Unusable(FileFault.UNSUBSCRIBED, "the stream is not subscribed to CCC: no line left")


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house at rest, synchronised with the broker."""
    made = House(tmp_path)
    made.settle()
    return made


@pytest.mark.parametrize("planned_before", [False, True])
def test_a_refused_order_says_why_there_is_no_price(planned_before: bool, house: House) -> None:
    """The plan and the send both pass on what files and stream know; the code stays the same."""
    if planned_before:
        house.plan()
    else:
        house.queue()
    house.quotes.missing.add("CCC")
    house.quotes.causes["CCC"] = CAUSE
    house.until_ended()
    order = house.orders()["CCC"]
    assert order.reject_code == "market_data_error"
    assert f"there is no quote: {CAUSE.text}" in str(order.reject_reason)


def test_a_price_that_may_be_used_needs_no_explanation(house: House) -> None:
    """What is fresh is good, whatever the stream says of the symbol now: age decides."""
    house.quotes.causes["CCC"] = CAUSE
    now, limits = house.clock.now(), house.config.quotes
    quote = house.quotes.quote("CCC")
    assert quote_problem(house.quotes, "CCC", quote, now, limits) is None
    house.clock.advance(limits.quote_age_s_max + 1)
    found = quote_problem(house.quotes, "CCC", quote, house.clock.now(), limits)
    assert found is not None
    assert found.endswith(f"s: {CAUSE.text}")
    assert "old" in found


def test_a_silent_symbol_is_just_old(house: House) -> None:
    """Nothing is made up where nobody knows a cause."""
    now, limits = house.clock.now(), house.config.quotes
    assert quote_problem(house.quotes, "CCC", None, now, limits) == "there is no quote"
