"""Executions, each exactly once, whatever the order, repetition or delay of their reports.

IB names an execution ``base.NN`` where NN counts its corrections (a bust corrects it to zero
shares): the base is the identity here and the highest NN wins. A commission arrives by itself,
possibly for an earlier revision or never; what is known is never replaced by nothing. Questions
are answered by ``fill_rows``, whose functions are also found here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from ibloop.adapters.ledger import audit, orders
from ibloop.adapters.ledger.connection import Connection, Tx
from ibloop.adapters.ledger.fill_rows import (
    COLUMNS,
    Fill,
    Move,
    by_base,
    everything,
    find,
    foreign_symbols_after,
    last_recorded_at,
    listing,
    moves_after,
    of_order,
    of_orders,
    of_run,
    recorded_after,
    signed,
    signed_by_symbol,
    unsent_refs,
    values_of,
    were_corrected_after,
)
from ibloop.core.model import Execution
from ibloop.core.promises import exec_base

__all__ = [
    "Fill",
    "FillOutcome",
    "Move",
    "by_base",
    "everything",
    "foreign_symbols_after",
    "last_recorded_at",
    "listing",
    "moves_after",
    "of_order",
    "of_orders",
    "of_run",
    "record",
    "record_all",
    "record_commission",
    "recorded_after",
    "signed",
    "signed_by_symbol",
    "unsent_refs",
    "were_corrected_after",
]

_STORED = (*COLUMNS, "order_was_sent")
_STORE = (
    f"INSERT INTO trade_fills ({', '.join(_STORED)})"  # noqa: S608  (constants of ours)
    f" VALUES ({', '.join(f':{name}' for name in COLUMNS)}, ifnull((SELECT sent_at IS NOT NULL"
    " FROM trade_orders WHERE client_order_id = :order_ref), 0))"
    " ON CONFLICT (exec_base) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _STORED[1:])
)


class FillOutcome(StrEnum):
    """What an execution report was to the ledger."""

    NEW = "new"
    CORRECTED = "corrected"
    KNOWN = "known"


def record(tx: Tx, execution: Execution, now: datetime, actor: str) -> FillOutcome:
    """Store one execution and bring its order up to date; see :func:`record_all`."""
    return record_all(tx, (execution,), now=now, actor=actor)[0]


def record_all(
    tx: Tx, executions: Sequence[Execution], now: datetime, actor: str
) -> tuple[FillOutcome, ...]:
    """Store executions, then bring their orders up to date; return what each one was.

    Orders are refreshed after the last execution, so that an original and its correction may
    come in any order within one batch. Raises: IntegrityError for another account's execution.
    """
    outcomes: list[FillOutcome] = []
    touched: set[str] = set()
    for execution in executions:
        outcome, fill = _record(tx, execution, now=now, actor=actor)
        outcomes.append(outcome)
        if fill.client_order_id is not None:
            touched.add(fill.client_order_id)
    for client_order_id in sorted(touched):
        orders.refresh_fills(tx, client_order_id, now=now, actor=actor)
        orders.adopt_perm_id(tx, client_order_id, now=now, actor=actor)
    return tuple(outcomes)


def record_commission(
    tx: Tx,
    exec_id: str,
    commission: Decimal | None,
    realized_pnl: Decimal | None,
    now: datetime,
    actor: str,
) -> bool:
    """Store what an execution cost; return False when that execution is not in the ledger yet.

    The caller then keeps the report until the execution arrives.
    """
    known = find(tx.db, exec_base(exec_id))
    if known is None:
        return False
    costed = _with_commission(known, exec_id, commission, realized_pnl)
    _store_changed(tx, known, costed, now=now, actor=actor)
    return True


def _record(tx: Tx, execution: Execution, now: datetime, actor: str) -> tuple[FillOutcome, Fill]:
    """Store one execution without touching its order; return what the ledger now holds."""
    cost = (execution.exec_id, execution.commission, execution.realized_pnl)
    reported = _reported(tx.db, execution, now)
    known = find(tx.db, reported.exec_base)
    if known is None:
        fill = _with_commission(reported, *cost)
        values = values_of(fill)
        tx.execute(_STORE, values)
        audit.append(tx, actor, "fill.recorded", fill.exec_base, _audited(values), now=now)
        return FillOutcome.NEW, fill
    is_newer = _revision(execution.exec_id) > _revision(known.exec_id)
    merged = _with_commission(_merged(known, reported, is_newer), *cost)
    _store_changed(tx, known, merged, now=now, actor=actor)
    return FillOutcome.CORRECTED if is_newer else FillOutcome.KNOWN, merged


def _merged(known: Fill, reported: Fill, is_newer: bool) -> Fill:
    """Return the higher revision, with what only the other one tells of its origin."""
    kept, other = (reported, known) if is_newer else (known, reported)
    return replace(
        kept,
        client_order_id=kept.client_order_id or other.client_order_id,
        order_ref=kept.order_ref or other.order_ref,
        perm_id=kept.perm_id or other.perm_id,
        commission=known.commission,
        realized_pnl=known.realized_pnl,
        commission_exec_id=known.commission_exec_id,
        recorded_at=known.recorded_at,
    )


def _with_commission(
    fill: Fill, exec_id: str, commission: Decimal | None, realized_pnl: Decimal | None
) -> Fill:
    """Return the fill with a cost report; that of an older revision only fills gaps."""
    if commission is None and realized_pnl is None:
        return fill
    held = fill.commission_exec_id
    if held is not None and _revision(exec_id) < _revision(held):
        return replace(
            fill,
            commission=_first(fill.commission, commission),
            realized_pnl=_first(fill.realized_pnl, realized_pnl),
        )
    return replace(
        fill,
        commission=_first(commission, fill.commission),
        realized_pnl=_first(realized_pnl, fill.realized_pnl),
        commission_exec_id=exec_id,
    )


def _first(wanted: Decimal | None, otherwise: Decimal | None) -> Decimal | None:
    return otherwise if wanted is None else wanted


def _store_changed(tx: Tx, known: Fill, fill: Fill, now: datetime, actor: str) -> None:
    """Store a fill that differs from what is there, with before and after in the audit."""
    if fill == known:
        return
    values = values_of(fill)
    tx.execute(_STORE, values)
    payload = {"before": _audited(values_of(known)), "after": _audited(values)}
    event = "fill.costed" if fill.exec_id == known.exec_id else "fill.corrected"
    audit.append(tx, actor, event, fill.exec_base, payload, now=now)


def _audited(values: Mapping[str, object]) -> dict[str, object]:
    """Return what the audit log keeps of a fill."""
    return {name: values[name] for name in COLUMNS if name != "recorded_at"}


def _revision(exec_id: str) -> int:
    """Return the correction counter; 0 for an id that has none."""
    _, _, counter = exec_id.rpartition(".")
    return int(counter) if counter.isascii() and counter.isdigit() else 0


def _is_ours(db: Connection, client_order_id: str) -> bool:
    found = db.execute("SELECT 1 FROM trade_orders WHERE client_order_id = ?", (client_order_id,))
    return found.fetchone() is not None


def _reported(db: Connection, execution: Execution, now: datetime) -> Fill:
    """Return an execution report as a fill without costs."""
    reference = execution.client_order_id
    return Fill(
        exec_base=exec_base(execution.exec_id),
        exec_id=execution.exec_id,
        client_order_id=reference if _is_ours(db, reference) else None,
        order_ref=reference,
        symbol=execution.symbol,
        con_id=execution.con_id,
        side=execution.side,
        quantity=execution.quantity,
        price=execution.price,
        commission=None,
        realized_pnl=None,
        commission_exec_id=None,
        perm_id=execution.perm_id or None,
        account=execution.account,
        executed_at=execution.executed_at,
        recorded_at=now,
    )
