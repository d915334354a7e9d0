"""What the brokers of the tests show of their orders and of the account, as IB would."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from ibloop.core import events as ev
from ibloop.core.model import ZERO, AccountValues, BrokerOrder, Order

ACCOUNT = "DU1234567"
ENDED = frozenset({"Filled", "Cancelled", "Inactive"})


class LiveOrder(Protocol):
    """An order at a broker; ``status`` in IB's words."""

    order: Order
    perm_id: int
    status: str
    filled: Decimal


def broker_row(live: LiveOrder, client_id: int) -> BrokerOrder:
    """Return an order as queries show it: a completed one has lost its client and order id."""
    order, ended = live.order, live.status in ENDED
    return BrokerOrder(
        client_order_id=order.client_order_id,
        account=ACCOUNT,
        perm_id=live.perm_id,
        client_id=0 if ended else client_id,
        ib_order_id=0 if ended else order.ib_order_id or 0,
        symbol=order.symbol,
        side=order.side,
        quantity=order.quantity,
        ib_status=live.status,
        filled_quantity=live.filled,
    )


def report_of(live: LiveOrder) -> ev.OrderReported:
    """Return the callback that tells an order's status."""
    order = live.order
    return ev.OrderReported(
        order.client_order_id, order.ib_order_id or 0, live.perm_id, live.status
    )


def account_values(
    cash: Decimal, positions: Mapping[str, Decimal], prices: Mapping[str, Decimal], now: datetime
) -> AccountValues:
    """Return cash and net liquidation in USD."""
    held = sum((shares * prices[symbol] for symbol, shares in positions.items()), ZERO)
    return AccountValues(ACCOUNT, cash + held, cash, now)
