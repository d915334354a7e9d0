"""A ticket names exactly what may be sent, and nothing else passes under it."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibloop.core.approval import Ticket, TicketLine, check_ticket, ticket_lines, ticket_of
from ibloop.core.lifecycle import OrderState
from ibloop.core.model import Mode, Order, OrderType, Side, Tif

D = Decimal
LINES = (
    TicketLine("SPY", 1, Side.BUY, D(10), D(500)),
    TicketLine("IBM", 2, Side.SELL, D(7), D("250.5")),
)
TICKET = Ticket(
    account="U1234567",
    mode=Mode.LIVE,
    run_id="run-1",
    run_key="2026W47",
    attempt=0,
    snapshot_hash="5" * 64,
    config_hash="c" * 64,
    collar_fraction=D("0.03"),
    lines=LINES,
)


def order(symbol: str = "SPY", **changes: Any) -> Order:
    """Return a planned buy of ten SPY, changed."""
    made = Order(
        client_order_id=f"ibl:2026W47:{symbol}:B:0",
        run_id="run-1",
        symbol=symbol,
        con_id=1,
        side=Side.BUY,
        quantity=D(10),
        order_type=OrderType.LMT,
        limit_price=D(500),
        tif=Tif.GTD,
        good_till=datetime(2026, 11, 20, 16, tzinfo=UTC),
        status=OrderState.PLANNED,
    )
    return replace(made, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"account": "U7654321"},
        {"mode": Mode.PAPER},
        {"run_id": "run-2"},
        {"attempt": 1},
        {"config_hash": "d" * 64},
        {"snapshot_hash": "6" * 64},
        {"collar_fraction": D("0.04")},
        {"lines": LINES[:1]},
        *(
            {"lines": (replace(LINES[0], **line), LINES[1])}
            for line in (
                {"symbol": "SPX"},
                {"con_id": 3},
                {"side": Side.SELL},
                {"quantity_max": D(11)},
                {"reference_price": D("500.01")},
            )
        ),
    ],
)
def test_any_other_ticket_has_another_hash(changes: dict[str, Any]) -> None:
    """Whoever has approved one has not approved the other."""
    assert replace(TICKET, **changes).content_hash != TICKET.content_hash


def test_the_hash_is_of_the_meaning_not_of_the_spelling() -> None:
    """Order of lines and trailing zeros change nothing; stored and read back it is the same."""
    spelt = replace(TICKET, lines=(LINES[1], replace(LINES[0], quantity_max=D("10.00"))))
    assert spelt.content_hash == TICKET.content_hash
    assert ticket_of(TICKET.content()).content_hash == TICKET.content_hash


@pytest.mark.parametrize(
    ("sent", "price", "passes"),
    [
        (order(), "500", True),
        (order(quantity=D(3)), "515", True),
        (order(), "515.01", False),
        (order(), "485", True),
        (order(), "484.99", False),
        (order(), "0", False),
        (order(), "-500", False),
        (order(quantity=D("10.1")), "500", False),
        (order(con_id=9), "500", False),
        (order("IBM", con_id=2, side=Side.SELL, quantity=D(7)), "250", True),
        (order("IBM", con_id=2, side=Side.BUY, quantity=D(7)), "250", False),
        (order("AAPL"), "500", False),
    ],
)
def test_symbol_side_quantity_and_collar_bound_every_order(
    sent: Order, price: str, passes: bool
) -> None:
    """At the limit it may leave, beyond it is ``not_approved``, and the breach says what to do."""
    breach = check_ticket(TICKET, sent, D(price))
    assert (breach is None) is passes
    if breach is not None:
        assert breach.check == "not_approved"
        assert "approve it anew" in breach.advice


@given(st.decimals(D("0.01"), D(10_000), places=2), st.integers(1, 20))
def test_what_passes_costs_at_most_what_was_shown(price: Decimal, quantity: int) -> None:
    """The amount a person has read is an upper bound of what leaves."""
    sent = order(quantity=D(quantity))
    if check_ticket(TICKET, sent, price) is None:
        assert quantity * price <= TICKET.notional_usd_max


def test_an_order_without_a_price_gets_no_line() -> None:
    """It could not be bounded, so it cannot be approved."""
    prices = {"SPY": D(500), "IBM": None, "AAPL": D(0)}
    found = ticket_lines([order(), order("IBM"), order("AAPL"), order("MSFT")], prices)
    assert found == (LINES[0],)
