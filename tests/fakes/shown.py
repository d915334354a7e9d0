"""What the brokers of the tests show of their orders and of the account, as IB would."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from ibloop.core import events as ev
from ibloop.core.model import ZERO, AccountValues, BrokerOrder, MarginImpact, Order

ACCOUNT = "DU1234567"
INITIAL_FRACTION = Decimal("0.5")
"""Of the value of a position: what a margin account must have to open it."""
ENDED = frozenset({"Filled", "Cancelled", "Inactive"})


class LiveOrder(Protocol):
    """An order at a broker; ``status`` in IB's words."""

    order: Order
    perm_id: int
    status: str
    filled: Decimal
    ended_at: datetime | None


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
        ended_at=live.ended_at if ended else None,
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
    gross = sum((abs(shares) * prices[symbol] for symbol, shares in positions.items()), ZERO)
    free = cash + held - gross * INITIAL_FRACTION
    return AccountValues(ACCOUNT, cash + held, cash, now, available_funds=free)


def margin_impact(
    order: Order, cash: Decimal, positions: Mapping[str, Decimal], prices: Mapping[str, Decimal]
) -> MarginImpact:
    """Return the answer to a what-if: half of what would be held more is required."""
    held, price = positions.get(order.symbol, ZERO), prices[order.symbol]
    after = held + order.side.sign * order.quantity
    gross = sum((abs(shares) * prices[symbol] for symbol, shares in positions.items()), ZERO)
    worth = sum((shares * prices[symbol] for symbol, shares in positions.items()), ZERO)
    change = (abs(after) - abs(held)) * price * INITIAL_FRACTION
    return MarginImpact(
        order.ib_order_id or 0,
        initial_change_usd=change,
        initial_after_usd=gross * INITIAL_FRACTION + change,
        equity_after_usd=cash + worth,
        commission_usd=ZERO,
    )
