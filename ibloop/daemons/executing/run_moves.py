"""Small writes about a run and its planned orders, each inside the caller's transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from ibloop.adapters.ledger import alerts, orders, runs
from ibloop.adapters.ledger.connection import Tx
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.ledger.runs import Run
from ibloop.core.invariant import invariant
from ibloop.core.lifecycle import OrderEvent, RunReason, RunState
from ibloop.core.outcome import Outcome
from ibloop.daemons.executing.order_executor import ACTOR


def move_run(
    tx: Tx,
    run: Run,
    target: RunState,
    reason: RunReason | None,
    detail: str,
    now: datetime,
) -> None:
    """Move a run to another state. Raises: InvariantError when somebody else has moved it."""
    moved = runs.move(
        tx, run.run_id, run.status, target, reason=reason, detail=detail, now=now, actor=ACTOR
    )
    invariant(moved, f"{run.run_id} was moved by somebody else")


def abandon(tx: Tx, planned: Sequence[OrderRow], now: datetime) -> None:
    """Leave planned orders unsent for good."""
    for row in planned:
        orders.apply(tx, row.order.client_order_id, OrderEvent.ABANDON, now=now, actor=ACTOR)


def refuse(
    tx: Tx, planned: Sequence[OrderRow], code: str, reasons: Mapping[str, str], now: datetime
) -> None:
    """Refuse planned orders, each with the reason of its symbol, and tell of it."""
    for row in planned:
        order = row.order
        ref, reason = order.client_order_id, reasons[order.symbol]
        orders.apply(
            tx,
            ref,
            OrderEvent.DENY,
            reject_source="ibloop",
            reject_code=code,
            reject_reason=reason,
            now=now,
            actor=ACTOR,
        )
        text = f"{order.side} {order.quantity} {order.symbol} not sent: {code}: {reason}"
        alerts.raise_alert(tx, "warning", "order.rejected", ref, text, f"rejected:{ref}", now)


def announce(tx: Tx, run: Run, end: Outcome, now: datetime) -> None:
    """Tell how a run has ended, or why it is blocked."""
    severity = "info" if end.status is RunState.DONE else "warning"
    reason = f" ({end.reason})" if end.reason else ""
    text = f"run {run.run_key} {end.status}{reason}: {end.detail}"
    alerts.raise_alert(tx, severity, f"run.{end.status}", run.run_id, text, None, now)
