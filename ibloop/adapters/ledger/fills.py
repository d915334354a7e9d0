"""Executions, each exactly once, whatever the order, repetition or delay of their reports.

IB names an execution ``base.NN`` where NN counts its corrections (a bust corrects it to zero
shares): the base is the identity here and the highest NN wins. A commission arrives by itself,
possibly for an earlier revision or never; what is known is never replaced by nothing.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from ibloop.adapters.ledger import audit, orders
from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.values import (
    decimal_text,
    optional,
    parse_decimal,
    parse_time,
    select_sql,
    time_text,
)
from ibloop.core.model import ZERO, Execution, Side
from ibloop.core.promises import exec_base

_COLUMNS = (
    "exec_base",
    "exec_id",
    "client_order_id",
    "order_ref",
    "symbol",
    "con_id",
    "side",
    "quantity",
    "price",
    "commission",
    "realized_pnl",
    "commission_exec_id",
    "perm_id",
    "account",
    "executed_at",
    "recorded_at",
)
_SELECT = select_sql("trade_fills", _COLUMNS)
_STORED = (*_COLUMNS, "order_was_sent")
_STORE = (
    f"INSERT INTO trade_fills ({', '.join(_STORED)})"  # noqa: S608  (constants of ours)
    f" VALUES ({', '.join(f':{name}' for name in _COLUMNS)}, ifnull((SELECT sent_at IS NOT NULL"
    " FROM trade_orders WHERE client_order_id = :order_ref), 0))"
    " ON CONFLICT (exec_base) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _STORED[1:])
)


class FillOutcome(StrEnum):
    """What an execution report was to the ledger."""

    NEW = "new"
    CORRECTED = "corrected"
    KNOWN = "known"


@dataclass(frozen=True, slots=True)
class Fill:
    """A row of ``trade_fills``: the highest revision seen of one execution.

    ``client_order_id`` is ``None`` for an order that is not ours, whatever ``order_ref`` the
    broker gave. Commission and realized P&L in account currency, ``None`` = not reported yet.
    """

    exec_base: str
    exec_id: str
    client_order_id: str | None
    order_ref: str
    symbol: str
    con_id: int
    side: Side
    quantity: Decimal
    price: Decimal
    commission: Decimal | None
    realized_pnl: Decimal | None
    commission_exec_id: str | None
    perm_id: int | None
    account: str
    executed_at: datetime
    recorded_at: datetime

    @property
    def signed_quantity(self) -> Decimal:
        """Return the shares, negative when sold."""
        return self.side.sign * self.quantity


class Move(NamedTuple):
    """What a fill moved: shares, negative when sold, at a USD price, and what that cost."""

    symbol: str
    signed_quantity: Decimal
    price: Decimal
    commission: Decimal | None


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
    known = _find(tx.db, exec_base(exec_id))
    if known is None:
        return False
    costed = _with_commission(known, exec_id, commission, realized_pnl)
    _store_changed(tx, known, costed, now=now, actor=actor)
    return True


def of_order(db: Connection, client_order_id: str) -> tuple[Fill, ...]:
    """Return the fills of one order, earliest first."""
    return _select(db, "WHERE client_order_id = ? ORDER BY executed_at, exec_base", client_order_id)


def of_run(db: Connection, run_id: str) -> tuple[Fill, ...]:
    """Return the fills of all orders of a run, earliest first."""
    return _select(
        db,
        "WHERE client_order_id IN (SELECT client_order_id FROM trade_orders WHERE run_id = ?)"
        " ORDER BY executed_at, exec_base",
        run_id,
    )


def of_orders(db: Connection, client_order_ids: Collection[str]) -> tuple[Fill, ...]:
    """Return the fills of these orders, earliest first."""
    return _select(
        db,
        "WHERE client_order_id IN (SELECT value FROM json_each(?)) ORDER BY executed_at, exec_base",
        json.dumps(sorted(client_order_ids)),
    )


def by_base(db: Connection, exec_bases: Collection[str]) -> tuple[Fill, ...]:
    """Return those of the executions that the ledger has, ours and foreign, earliest first."""
    return _select(
        db,
        "WHERE exec_base IN (SELECT value FROM json_each(?)) ORDER BY executed_at, exec_base",
        json.dumps(sorted(exec_bases)),
    )


def listing(db: Connection, limit: int) -> tuple[Fill, ...]:
    """Return the newest ``limit`` fills, ours and foreign, newest first."""
    return _select(db, "ORDER BY executed_at DESC, exec_base DESC LIMIT ?", limit)


def everything(db: Connection) -> tuple[Fill, ...]:
    """Return every fill, ours and foreign, earliest first."""
    return tuple(_fill(row) for row in db.execute(f"{_SELECT} ORDER BY executed_at, exec_base"))


def were_corrected_after(db: Connection, moment: datetime) -> bool:
    """Return whether a correction of any fill came into the ledger after ``moment``.

    The audit log knows: a corrected fill keeps the time at which it was first recorded.
    """
    sql = "SELECT 1 FROM audit_log WHERE event = 'fill.corrected' AND at > ? LIMIT 1"
    return db.execute(sql, (time_text(moment),)).fetchone() is not None


def last_recorded_at(db: Connection) -> datetime | None:
    """Return when the newest fill came into the ledger, ``None`` before the first."""
    found = db.execute("SELECT max(recorded_at) FROM trade_fills").fetchone()[0]
    return optional(parse_time, found)


def recorded_after(db: Connection, moment: datetime) -> tuple[Fill, ...]:
    """Return the fills that came into the ledger after ``moment``, ours and foreign."""
    return _select(db, "WHERE recorded_at > ? ORDER BY recorded_at, exec_base", time_text(moment))


def moves_after(db: Connection, moment: datetime) -> tuple[Move, ...]:
    """Return what the fills that came into the ledger after ``moment`` moved, ours and foreign."""
    found = db.execute(
        "SELECT symbol, side, quantity, price, commission FROM trade_fills WHERE recorded_at > ?",
        (time_text(moment),),
    )
    return tuple(
        Move(
            symbol=row[0],
            signed_quantity=Side(row[1]).sign * parse_decimal(row[2]),
            price=parse_decimal(row[3]),
            commission=optional(parse_decimal, row[4]),
        )
        for row in found
    )


def unsent_refs(db: Connection) -> tuple[str, ...]:
    """Return the references of executions whose order this ledger does not know as sent."""
    found = db.execute(
        "SELECT DISTINCT f.order_ref FROM trade_fills f"
        " LEFT JOIN trade_orders o ON o.client_order_id = f.order_ref"
        " WHERE f.order_was_sent = 0 AND o.sent_at IS NULL ORDER BY f.order_ref"
    )
    return tuple(str(row[0]) for row in found)


def signed_by_symbol(db: Connection, since: datetime) -> dict[str, Decimal]:
    """Return bought minus sold shares by symbol, ours and foreign, executed at or after ``since``.

    Execution times are the broker's, which IB gives in whole seconds.
    """
    return signed(
        _select(db, "WHERE executed_at >= ? ORDER BY executed_at, exec_base", time_text(since))
    )


def signed(fills: Sequence[Fill]) -> dict[str, Decimal]:
    """Return bought minus sold shares by symbol."""
    totals: dict[str, Decimal] = {}
    for fill in fills:
        totals[fill.symbol] = totals.get(fill.symbol, ZERO) + fill.signed_quantity
    return totals


def _record(tx: Tx, execution: Execution, now: datetime, actor: str) -> tuple[FillOutcome, Fill]:
    """Store one execution without touching its order; return what the ledger now holds."""
    cost = (execution.exec_id, execution.commission, execution.realized_pnl)
    reported = _reported(tx.db, execution, now)
    known = _find(tx.db, reported.exec_base)
    if known is None:
        fill = _with_commission(reported, *cost)
        tx.execute(_STORE, _values(fill))
        audit.append(tx, actor, "fill.recorded", fill.exec_base, _audited(fill), now=now)
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
    tx.execute(_STORE, _values(fill))
    payload = {"before": _audited(known), "after": _audited(fill)}
    event = "fill.costed" if fill.exec_id == known.exec_id else "fill.corrected"
    audit.append(tx, actor, event, fill.exec_base, payload, now=now)


def _audited(fill: Fill) -> dict[str, object]:
    """Return what the audit log keeps of a fill."""
    values = _values(fill)
    return {name: values[name] for name in _COLUMNS if name != "recorded_at"}


def _revision(exec_id: str) -> int:
    """Return the correction counter; 0 for an id that has none."""
    _, _, counter = exec_id.rpartition(".")
    return int(counter) if counter.isascii() and counter.isdigit() else 0


def _is_ours(db: Connection, client_order_id: str) -> bool:
    found = db.execute("SELECT 1 FROM trade_orders WHERE client_order_id = ?", (client_order_id,))
    return found.fetchone() is not None


def _find(db: Connection, base: str) -> Fill | None:
    found = _select(db, "WHERE exec_base = ?", base)
    return found[0] if found else None


def _select(db: Connection, rest: str, parameter: object) -> tuple[Fill, ...]:
    return tuple(_fill(row) for row in db.execute(f"{_SELECT} {rest}", (parameter,)))


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


def _fill(row: Row) -> Fill:
    return Fill(
        exec_base=row["exec_base"],
        exec_id=row["exec_id"],
        client_order_id=row["client_order_id"],
        order_ref=row["order_ref"],
        symbol=row["symbol"],
        con_id=row["con_id"],
        side=Side(row["side"]),
        quantity=parse_decimal(row["quantity"]),
        price=parse_decimal(row["price"]),
        commission=optional(parse_decimal, row["commission"]),
        realized_pnl=optional(parse_decimal, row["realized_pnl"]),
        commission_exec_id=row["commission_exec_id"],
        perm_id=row["perm_id"],
        account=row["account"],
        executed_at=parse_time(row["executed_at"]),
        recorded_at=parse_time(row["recorded_at"]),
    )


def _values(fill: Fill) -> Mapping[str, object]:
    return {
        "exec_base": fill.exec_base,
        "exec_id": fill.exec_id,
        "client_order_id": fill.client_order_id,
        "order_ref": fill.order_ref,
        "symbol": fill.symbol,
        "con_id": fill.con_id,
        "side": fill.side.value,
        "quantity": decimal_text(fill.quantity),
        "price": decimal_text(fill.price),
        "commission": optional(decimal_text, fill.commission),
        "realized_pnl": optional(decimal_text, fill.realized_pnl),
        "commission_exec_id": fill.commission_exec_id,
        "perm_id": fill.perm_id,
        "account": fill.account,
        "executed_at": time_text(fill.executed_at),
        "recorded_at": time_text(fill.recorded_at),
    }
