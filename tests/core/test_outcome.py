"""A run's end is told from its orders, with a reason a person can act on."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ibloop.core.lifecycle import OrderState, RunReason, RunState
from ibloop.core.model import Order, OrderType, Side, Tif
from ibloop.core.outcome import outcome, rejections_in_a_row

D = Decimal
WORDS = {
    "filled": (OrderState.FILLED, 10, None),
    "part": (OrderState.CANCELED, 4, None),
    "canceled": (OrderState.CANCELED, 0, None),
    "expired": (OrderState.EXPIRED, 0, None),
    "expired part": (OrderState.EXPIRED, 4, None),
    "denied": (OrderState.REJECTED, 0, "ibloop"),
    "rejected": (OrderState.REJECTED, 0, "broker"),
    "not_sent": (OrderState.NOT_SENT, 0, None),
    "acknowledged": (OrderState.NEW, 0, None),
    "planned": (OrderState.PLANNED, 0, None),
}


def orders(words: str) -> list[Order]:
    """Return orders of ten shares that ended as the comma-separated words say."""
    return [_order(n, *WORDS[word.strip()]) for n, word in enumerate(words.split(",")) if word]


def _order(number: int, status: OrderState, filled: int, source: str | None) -> Order:
    acknowledged = status not in {OrderState.REJECTED, OrderState.NOT_SENT, OrderState.PLANNED}
    return Order(
        client_order_id=f"ibl:K:S{number}:B:0",
        run_id="r1",
        symbol=f"S{number}",
        con_id=1,
        side=Side.BUY,
        quantity=D(10),
        order_type=OrderType.LMT,
        limit_price=D(1),
        tif=Tif.GTD,
        good_till=datetime(2026, 11, 20, tzinfo=UTC),
        status=status,
        filled_quantity=D(filled),
        perm_id=500 + number if acknowledged else None,
        reject_source=source,
        reject_code="201" if source else None,
        reject_reason="no margin" if source else None,
    )


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        ("", "done", "nothing_to_do"),
        ("filled,filled", "done", None),
        ("filled,rejected", "partial", "orders_rejected"),
        ("filled,denied", "partial", "orders_rejected"),
        ("part", "partial", "orders_unfilled"),
        ("part,expired,rejected", "partial", "orders_rejected"),
        ("filled,expired", "partial", "deadline_reached"),
        ("expired part", "partial", "deadline_reached"),
        ("filled,not_sent", "partial", "orders_unfilled"),
        ("denied", "failed", "orders_rejected"),
        ("rejected,rejected", "failed", "orders_rejected"),
        ("expired", "failed", "deadline_reached"),
        ("not_sent,canceled", "failed", "orders_unfilled"),
    ],
)
def test_how_a_run_went(words: str, status: str, reason: str | None) -> None:
    """All filled is done, anything traded is partial, nothing traded is failed."""
    end = outcome(orders(words), canceled=False)
    assert (end.status, end.reason) == (status, reason)
    assert end.detail


@pytest.mark.parametrize("words", ["", "filled", "part,not_sent"])
def test_a_canceled_run_is_canceled(words: str) -> None:
    """What a person stopped carries that reason, with the numbers all the same."""
    end = outcome(orders(words), canceled=True)
    assert (end.status, end.reason) == (RunState.CANCELED, RunReason.CANCELED_BY_OPERATOR)


def test_the_detail_names_what_was_rejected() -> None:
    """Three rejections are told in full, the rest is counted."""
    end = outcome(orders("filled,rejected,rejected,rejected,rejected,rejected"), canceled=False)
    assert end.detail.startswith("1 of 6 orders filled; S1 rejected (201: no margin); S2 ")
    assert end.detail.endswith(" and 2 more")
    three = outcome(orders("rejected,rejected,rejected"), canceled=False)
    assert three.detail.endswith("S2 rejected (201: no margin)")


def test_the_detail_of_many_open_orders_is_cut() -> None:
    """One sentence stays one sentence, however long the run."""
    end = outcome(orders(",".join(["not_sent"] * 100)), canceled=False)
    assert end.detail.startswith("0 of 100 orders filled; S0 not_sent, S1 not_sent")
    assert len(end.detail) < 300


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("", 0),
        ("rejected,rejected", 2),
        ("rejected,filled", 0),
        ("filled,rejected,rejected", 2),
        ("rejected,acknowledged,rejected", 1),
        ("rejected,part,rejected", 1),
        ("rejected,denied,rejected", 2),
        ("rejected,not_sent,planned", 1),
        ("denied,denied", 0),
    ],
)
def test_rejections_in_a_row(words: str, count: int) -> None:
    """The broker's rejections count until it takes an order; ours count neither way."""
    assert rejections_in_a_row(orders(words)) == count
