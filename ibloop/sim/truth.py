"""What really happened: the simulator's own account of orders, fills and money, as plain JSON.

Tests and drills compare what a client believes with this; the field names are a contract.
"""

import json
from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from ibloop.sim.brokerage.account import Account
from ibloop.sim.brokerage.corrections import base_id, revision
from ibloop.sim.brokerage.margin import balances, open_positions
from ibloop.sim.brokerage.profit import account_profit
from ibloop.sim.market.hours import new_york_date
from ibloop.sim.model import ZERO, Execution, Order, ReceivedFrame
from ibloop.sim.world import World

Row = dict[str, Any]
Item = TypeVar("Item", Order, Execution, ReceivedFrame)

_json = json.JSONEncoder(allow_nan=False).encode


def truth(world: World) -> Row:
    """Return accounts, positions, orders (finished ones too), executions and received frames.

    Prices and quantities are JSON numbers, times ISO-8601 UTC, a missing price is null. Of a
    corrected execution only the one in force is there; shares that came with a split are no
    execution but a row of `splits`. `now` is server time, `seed` and
    `session` say where the market stands.
    """
    broker = world.broker
    return {
        **_head(world),
        "orders": [_order(order) for order in broker.orders.values()],
        "executions": [_execution(each) for each in broker.executions if not each.corporate],
        "frames": [_frame(frame) for frame in world.frames],
    }


class TruthText:
    """The truth as JSON text: a row is written once, and again only when it changed.

    With 10,000 orders that is a few milliseconds instead of some hundred, in which the market
    would stand still for every client.
    """

    def __init__(self, world: World) -> None:
        """Tell of this world."""
        self._world = world
        self._rows: dict[Hashable, tuple[object, str]] = {}

    def text(self) -> str:
        """Return what `truth` returns."""
        world, broker = self._world, self._world.broker
        orders = self._texts(broker.orders.values(), lambda item: item.perm_id, _order)
        trades = (each for each in broker.executions if not each.corporate)
        executions = self._texts(trades, lambda item: item.exec_id, _execution)
        frames = self._texts(world.frames, lambda item: ("frame", item.seq), _frame)
        parts = [f"{_json(name)}:{_json(value)}" for name, value in _head(world).items()]
        lists = {"orders": orders, "executions": executions, "frames": frames}
        parts += [f"{_json(name)}:[{','.join(rows)}]" for name, rows in lists.items()]
        return f"{{{','.join(parts)}}}"

    def _texts(
        self,
        items: Iterable[Item],
        key_of: Callable[[Item], Hashable],
        row_of: Callable[[Item], Row],
    ) -> Iterable[str]:
        """Yield the rows of items, which are frozen: the same object has the same row."""
        for item in items:
            key = key_of(item)
            known = self._rows.get(key)
            if known is None or known[0] is not item:
                known = self._rows[key] = (item, _json(row_of(item)))
            yield known[1]


def _head(world: World) -> Row:
    accounts = world.broker.accounts
    return {
        "now": world.now().isoformat(),
        "seed": world.seed,
        "session": world.session(),
        "accounts": {name: _account(world, item) for name, item in accounts.items()},
        "positions": [row for item in accounts.values() for row in _positions(world, item)],
        "splits": [_split(each) for each in world.broker.executions if each.corporate],
    }


def plain(value: Decimal | None) -> float | int | None:
    """Return a Decimal as the JSON number it looks like."""
    if value is None:
        return None
    number = float(value)
    return int(number) if number.is_integer() else number


def _account(world: World, account: Account) -> dict[str, Any]:
    today = new_york_date(world.now())
    held = balances(account, world.quote_of, today)
    profit = account_profit(account, world.account_quote_of, today)
    return {
        "kind": account.kind,
        "cash": plain(account.cash),
        "opening_cash": plain(account.opening_cash),
        "settled_cash": plain(held.settled),
        "net_liquidation": plain(held.equity),
        "gross_position_value": plain(held.gross),
        "init_margin": plain(held.initial),
        "maint_margin": plain(held.maintenance),
        "available_funds": plain(held.available),
        "excess_liquidity": plain(held.excess),
        "buying_power": plain(held.buying_power),
        "daily_pnl": plain(profit.daily),
        "unrealized_pnl": plain(profit.unrealized),
        "realized_pnl": plain(sum((each.realized for each in account.positions.values()), ZERO)),
        "realized_pnl_today": plain(profit.realized),
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
        for con_id, position in open_positions(account)
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
        "completedStatus": order.completed_text,
        "whyHeld": order.why_held,
        "auxPrice": plain(order.aux_price),
        "trailStopPrice": plain(order.trail_stop),
        "trailingPercent": plain(order.trailing_percent),
        "outsideRth": order.outside_rth,
        "ocaGroup": order.oca_group,
        "parentId": order.parent_id,
        "parentPermId": order.parent_perm_id,
        "goodTill": _time(order.good_till),
        "acceptedAt": _time(order.accepted_at),
        "completedAt": _time(order.completed_at),
        "commission": plain(order.commission_usd),
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
        "realizedPNL": plain(execution.realized_pnl),
        "cumQty": plain(execution.cum_quantity),
        "avgPrice": plain(execution.avg_price),
        "exchange": execution.exchange,
        "corrects": _corrected(execution.exec_id),
        "liquidation": execution.liquidation,
    }


def _split(execution: Execution) -> Row:
    """Return the shares that came or, below 0, went with a split, and the cash for a fraction."""
    return {
        "account": execution.account,
        "con_id": execution.con_id,
        "symbol": execution.symbol,
        "shares": plain(execution.action.sign * execution.shares),
        "cash": plain(execution.cash_change),
        "time": execution.time.isoformat(),
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


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _corrected(exec_id: str) -> str | None:
    """Return the execution this one replaced, None for one as it happened."""
    former = revision(exec_id) - 1
    return f"{base_id(exec_id)}.{former:02d}" if former else None
