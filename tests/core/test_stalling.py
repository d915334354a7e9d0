"""A run stands still when nothing at all happens to its orders for long enough."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ibloop.core.lifecycle import OrderState
from ibloop.core.model import Order, OrderType, Side, Tif
from ibloop.core.stalling import progress_of, stall

D = Decimal
NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)
ORDER = Order(
    client_order_id="ibl:K:AAA:B:0",
    run_id="r1",
    symbol="AAA",
    con_id=1,
    side=Side.BUY,
    quantity=D(10),
    order_type=OrderType.LMT,
    limit_price=D(1),
    tif=Tif.GTD,
    good_till=NOW + timedelta(minutes=15),
    status=OrderState.NEW,
)


@pytest.mark.parametrize(
    "change",
    [{"status": OrderState.PENDING_CANCEL}, {"filled_quantity": D(1)}, {"perm_id": 5}],
)
def test_everything_that_happens_to_an_order_is_progress(change: dict[str, object]) -> None:
    """Sent, acknowledged, filled, refused, ended: each of them differs from before."""
    assert progress_of([replace(ORDER, **change)]) != progress_of([ORDER])  # type: ignore[arg-type]
    assert progress_of([replace(ORDER)]) == progress_of([ORDER])


def test_a_stall_needs_patience_time_and_something_to_wait_for() -> None:
    """At the end of the orders the deadline takes over; nothing open is nothing to wait for."""

    def told(order: Order = ORDER, quiet_s: float = 60, left_s: float = 1) -> str | None:
        ends = NOW + timedelta(seconds=left_s)
        return stall([order], quiet_s=quiet_s, stalled_after_s=60, now=NOW, ends=ends)

    assert told() == "no progress for 60 s: 1 working (AAA)"
    assert told(quiet_s=59.9) is None
    assert told(left_s=0) is None
    assert told(replace(ORDER, status=OrderState.FILLED)) is None
    waits = told(replace(ORDER, status=OrderState.PLANNED))
    assert waits == "no progress for 60 s: 1 not sent yet (AAA)"


def test_many_symbols_are_cut() -> None:
    """Five names and the number of all."""
    many = [replace(ORDER, symbol=f"S{n}") for n in range(7)]
    ends = NOW + timedelta(seconds=1)
    said = stall(many, quiet_s=60, stalled_after_s=60, now=NOW, ends=ends)
    assert said == "no progress for 60 s: 7 working (S0, S1, S2, S3, S4, ...)"
