"""Replies about order states and executions."""

from ibloop.sim.model import Execution, Instrument, Order
from ibloop.sim.protocol.replies.contracts import contract_eleven
from ibloop.sim.protocol.wire import (
    UNSET_DOUBLE,
    Fields,
    Since,
    double_text,
    size_text,
    time_text,
)


def order_status(order: Order, version: int, client_id: int | None = None) -> Fields:
    """3: where an order stands; `client_id` is who cancelled it, if not its owner."""
    return (
        "3",
        str(order.order_id),
        order.status,
        size_text(order.filled, version),
        size_text(order.remaining, version),
        double_text(order.avg_fill_price),
        str(order.perm_id),
        str(order.parent_id),
        double_text(order.last_fill_price),
        str(order.client_id if client_id is None else client_id),
        order.why_held,
        "0.0",
    )


def exec_details(req_id: int, execution: Execution, instrument: Instrument, version: int) -> Fields:
    """11: one execution; `req_id` is -1 when it happens and the request's id when asked for."""
    fields = [
        *("11", str(req_id), str(execution.order_id)),
        *contract_eleven(instrument, execution.exchange),
        *(execution.exec_id, time_text(execution.time, version)),
        *(execution.account, execution.exchange, execution.action.execution_side),
        *(size_text(execution.shares, version), double_text(execution.price)),
        *(str(execution.perm_id), str(execution.client_id), str(int(execution.liquidation))),
        *(size_text(execution.cum_quantity, version), double_text(execution.avg_price)),
        *(execution.order_ref, "", "", "", "2"),
    ]
    if version >= Since.PENDING_PRICE_REVISION:
        fields.append("0")
    if version >= Since.SUBMITTER:
        fields.append("")
    return tuple(fields)


def order_bound(order: Order) -> Fields:
    """100: the order id an order of the trading window was given."""
    return ("100", str(order.perm_id), str(order.client_id), str(order.order_id))


def commission_report(execution: Execution) -> Fields:
    """59: what an execution cost; realized profit is unset for an opening trade."""
    realized = double_text(execution.realized_pnl)
    commission = double_text(execution.commission)
    return ("59", "1", execution.exec_id, commission, "USD", realized, UNSET_DOUBLE, "")
