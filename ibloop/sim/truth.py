"""What really happened: the simulator's own account of orders, fills and money, as plain JSON.

Tests and drills compare what a client believes with this; the field names are a contract.
"""

from decimal import Decimal
from typing import Any

from ibloop.sim.brokerage.account import Account
from ibloop.sim.model import ZERO, Execution, Order, ReceivedFrame
from ibloop.sim.world import World


def truth(world: World) -> dict[str, Any]:
    """Return accounts, positions, orders (finished ones too), executions and received frames.

    Prices and quantities are JSON numbers, times ISO-8601 UTC, a missing price is null.
    """
    broker = world.broker
    return {
        "accounts": {name: _account(world, item) for name, item in broker.accounts.items()},
        "positions": [row for item in broker.accounts.values() for row in _positions(world, item)],
        "orders": [_order(order) for order in broker.orders.values()],
        "executions": [_execution(execution) for execution in broker.executions],
        "frames": [_frame(frame) for frame in world.frames],
    }


def plain(value: Decimal | None) -> float | int | None:
    """Return a Decimal as the JSON number it looks like."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def _account(world: World, account: Account) -> dict[str, Any]:
    stocks = account.market_value(world.price_of)
    held = account.positions.values()
    cost = sum((position.quantity * position.avg_cost for position in held), ZERO)
    return {
        "cash": plain(account.cash),
        "opening_cash": plain(account.opening_cash),
        "net_liquidation": plain(account.cash + stocks),
        "gross_position_value": plain(stocks),
        "unrealized_pnl": plain(stocks - cost),
        "realized_pnl": plain(sum((position.realized for position in held), ZERO)),
    }


def _positions(world: World, account: Account) -> list[dict[str, Any]]:
    return [
        {
            "account": account.account_id,
            "symbol": world.samples.instruments[con_id].symbol,
            "con_id": con_id,
            "quantity": plain(position.quantity),
            "avg_cost": plain(position.avg_cost),
        }
        for con_id, position in account.positions.items()
        if position.quantity
    ]


def _order(order: Order) -> dict[str, Any]:
    return {
        "account": order.account,
        "permId": order.perm_id,
        "orderRef": order.order_ref,
        "clientId": order.client_id,
        "orderId": order.order_id,
        "symbol": order.symbol,
        "action": order.action,
        "totalQuantity": plain(order.quantity),
        "orderType": order.order_type,
        "lmtPrice": plain(order.limit_price),
        "tif": order.tif,
        "filled": plain(order.filled),
        "remaining": plain(order.remaining),
        "avgFillPrice": plain(order.avg_fill_price),
        "status": order.status,
    }


def _execution(execution: Execution) -> dict[str, Any]:
    return {
        "execId": execution.exec_id,
        "permId": execution.perm_id,
        "orderRef": execution.order_ref,
        "clientId": execution.client_id,
        "orderId": execution.order_id,
        "account": execution.account,
        "symbol": execution.symbol,
        "side": execution.action,
        "shares": plain(execution.shares),
        "price": plain(execution.price),
        "time": execution.time.isoformat(),
        "commission": plain(execution.commission),
    }


def _frame(frame: ReceivedFrame) -> dict[str, Any]:
    return {
        "seq": frame.seq,
        "received_at": frame.received_at.isoformat(),
        "clientId": frame.client_id,
        "kind": frame.kind,
        "orderId": frame.order_id,
        "orderRef": frame.order_ref,
        "symbol": frame.symbol,
        "action": frame.action,
        "totalQuantity": plain(frame.quantity),
        "lmtPrice": plain(frame.limit_price),
    }
