"""What the client library gives us, as our values."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from ibloop.adapters.ib.convert import ended_at_of, name_of, position_of


def contract(**fields: object) -> SimpleNamespace:
    """Return a contract as ib_insync holds one: AAPL's stock unless told otherwise."""
    stock = {"secType": "STK", "currency": "USD", "symbol": "AAPL", "localSymbol": "AAPL"}
    return SimpleNamespace(**{**stock, "conId": 265598, **fields})


@pytest.mark.parametrize(
    ("text", "ended_at"),
    [
        ("20250312 14:13:48 US/Eastern", datetime(2025, 3, 12, 18, 13, 48, tzinfo=UTC)),
        ("20250112 14:13:48 America/New_York", datetime(2025, 1, 12, 19, 13, 48, tzinfo=UTC)),
        ("20250312-14:13:48", datetime(2025, 3, 12, 14, 13, 48, tzinfo=UTC)),
        *((text, None) for text in ("", "20250312 14:13:48", "20250312 14:13:48 Nowhere", "soon")),
    ],
)
def test_the_end_of_an_order_is_known_with_its_zone_or_not_at_all(
    text: str, ended_at: datetime | None
) -> None:
    """A time without a zone could be hours off, and an order that was cancelled look expired."""
    assert ended_at_of(text) == ended_at


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
