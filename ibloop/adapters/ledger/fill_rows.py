"""The row of ``trade_fills`` and the questions one can ask of it."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from ibloop.adapters.ledger.connection import Connection, Row
from ibloop.adapters.ledger.values import (
    decimal_text,
    optional,
    parse_decimal,
    parse_time,
    select_sql,
    time_text,
)
from ibloop.core.model import ZERO, Side

COLUMNS = (
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
_SELECT = select_sql("trade_fills", COLUMNS)


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


def foreign_symbols_after(db: Connection, moment: datetime) -> frozenset[str]:
    """Return the symbols of executions of others that came into the ledger after ``moment``."""
    found = db.execute(
        "SELECT DISTINCT symbol FROM trade_fills WHERE recorded_at > ? AND client_order_id IS NULL",
        (time_text(moment),),
    )
    return frozenset(str(row[0]) for row in found)


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


def find(db: Connection, base: str) -> Fill | None:
    """Return the fill of this execution, or ``None``."""
    found = _select(db, "WHERE exec_base = ?", base)
    return found[0] if found else None


def _select(db: Connection, rest: str, parameter: object) -> tuple[Fill, ...]:
    return tuple(_fill(row) for row in db.execute(f"{_SELECT} {rest}", (parameter,)))


def _fill(found: Row) -> Fill:
    row: dict[str, Any] = dict(zip(COLUMNS, found, strict=True))
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


def values_of(fill: Fill) -> Mapping[str, object]:
    """Return the row as named parameters for all of :data:`COLUMNS`."""
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
