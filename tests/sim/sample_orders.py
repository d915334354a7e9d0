"""An order as the simulator keeps it, for tests of how it is told."""

from datetime import UTC, datetime
from decimal import Decimal

from ibloop.sim.model import Action, Order, Status

NOW = datetime(2026, 4, 13, 19, 27, 4, tzinfo=UTC)


def an_order(status: Status = Status.SUBMITTED, filled: int = 0) -> Order:
    """Return a limit order of client 3 for 100 AAPL at 99.50."""
    return Order(
        perm_id=77,
        client_id=3,
        order_id=14,
        account="DU1234567",
        con_id=265598,
        symbol="AAPL",
        action=Action.BUY,
        quantity=Decimal(100),
        order_type="LMT",
        limit_price=Decimal("99.50"),
        tif="GTD",
        good_till=NOW,
        good_till_text="20260413-20:00:00",
        order_ref="ibl:ref",
        outside_rth=False,
        hidden=False,
        status=status,
        accepted_at=NOW,
        filled=Decimal(filled),
        commission_usd=Decimal("1.00"),
        completed_at=NOW,
        completed_text="Filled Size: 100",
    )
