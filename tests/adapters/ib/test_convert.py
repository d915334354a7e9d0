"""What the client library gives us, as our values."""

from types import SimpleNamespace

import pytest

from ibloop.adapters.ib.convert import name_of, position_of


def contract(**fields: object) -> SimpleNamespace:
    """Return a contract as ib_insync holds one: AAPL's stock unless told otherwise."""
    stock = {"secType": "STK", "currency": "USD", "symbol": "AAPL", "localSymbol": "AAPL"}
    return SimpleNamespace(**{**stock, "conId": 265598, **fields})


def test_a_stock_in_usd_goes_by_its_symbol() -> None:
    """Shares are known by the symbol that the universe uses."""
    assert position_of(contract(), 10.0, 100.0).symbol == "AAPL"


@pytest.mark.parametrize(
    "other",
    [
        contract(secType="OPT", conId=7, localSymbol="AAPL  261218C00200000"),
        contract(secType="CFD", conId=8),
        contract(currency="EUR", conId=9),
        contract(secType="FUT", conId=10, localSymbol=""),
    ],
)
def test_nothing_else_passes_for_shares_of_the_symbol(other: SimpleNamespace) -> None:
    """An option, a future or a listing in another currency never counts as shares."""
    name = name_of(other)
    assert name != "AAPL"
    assert name.endswith(f"@{other.conId}")
