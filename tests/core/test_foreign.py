"""Somebody else's trade touches its symbol, and no other."""

from decimal import Decimal

import pytest

from ibloop.core.foreign import touched_symbols
from ibloop.core.model import BrokerOrder, Side

OURS = "DU1"


def working(symbol: str, ref: str = "", account: str = OURS, perm_id: int = 7) -> BrokerOrder:
    """Return an open order as the broker shows it."""
    return BrokerOrder(
        ref, account, perm_id, 0, 0, symbol, Side.SELL, Decimal(5), "Submitted", Decimal(0)
    )


def test_an_execution_and_a_working_order_touch_their_symbols() -> None:
    """Each with a sentence that says what a person has to look for in TWS."""
    found = touched_symbols([working("AAA"), working("BBB", "another bot")], {"CCC"}, OURS)
    assert set(found) == {"AAA", "BBB", "CCC"}
    assert found["AAA"] == "a foreign order works: SELL 5 AAA (permId 7)"
    assert "has traded it" in found["CCC"]


def test_an_order_without_an_account_is_taken_for_ours() -> None:
    """A gateway with one account may leave it out."""
    assert set(touched_symbols([working("AAA", account="")], (), OURS)) == {"AAA"}


@pytest.mark.parametrize("order", [working("AAA", "ibl:K:AAA:B:0"), working("AAA", account="DU2")])
def test_our_references_and_other_accounts_touch_nothing(order: BrokerOrder) -> None:
    """A reference of ours that the ledger does not know stops the account by other means."""
    assert touched_symbols([order], (), OURS) == {}


def test_what_was_traded_is_told_before_what_works() -> None:
    """One reason a symbol: the graver one."""
    found = touched_symbols([working("AAA", perm_id=0)], {"AAA"}, OURS)
    assert found == {"AAA": "somebody else has traded it since the plan"}
