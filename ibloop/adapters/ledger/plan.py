"""The plan of each run attempt: for every symbol, what is wanted against what was held."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.values import (
    decimal_text,
    insert_sql,
    optional,
    parse_decimal,
    select_sql,
)
from ibloop.core.orders import PlanLine

_COLUMNS = (
    "run_id",
    "attempt",
    "symbol",
    "con_id",
    "weight",
    "baseline_quantity",
    "target_quantity",
    "planned_quantity",
    "price",
    "quote_source",
    "note",
)
_INSERT = insert_sql("plan_lines", _COLUMNS)
_SELECT = select_sql("plan_lines", _COLUMNS)

_LAST_ATTEMPT = "(SELECT max(attempt) FROM plan_lines WHERE run_id = :run_id)"


def set_plan_lines(
    tx: Tx, run_id: str, attempt: int, lines: Sequence[PlanLine], now: datetime, actor: str
) -> None:
    """Store the plan of one attempt, in place of an earlier one."""
    tx.execute("DELETE FROM plan_lines WHERE run_id = ? AND attempt = ?", (run_id, attempt))
    for line in lines:
        tx.execute(_INSERT, _line_values(run_id, attempt, line))
    payload = {"attempt": attempt, "lines": len(lines)}
    audit.append(tx, actor, "run.planned", run_id, payload, now=now)


def plan_lines(db: Connection, run_id: str, attempt: int | None = None) -> tuple[PlanLine, ...]:
    """Return the plan of an attempt (default: the latest that has one), by symbol."""
    found = db.execute(
        f"{_SELECT} WHERE run_id = :run_id AND attempt = ifnull(:attempt, {_LAST_ATTEMPT})"
        " ORDER BY symbol",
        {"run_id": run_id, "attempt": attempt},
    )
    return tuple(_line(row) for row in found)


def baseline_quantities(
    db: Connection, run_id: str, attempt: int, symbols: Collection[str]
) -> dict[str, Decimal]:
    """Return what was held of these symbols when the attempt was planned, in shares."""
    found = db.execute(
        "SELECT symbol, baseline_quantity FROM plan_lines WHERE run_id = ? AND attempt = ?"
        " AND symbol IN (SELECT value FROM json_each(?))",
        (run_id, attempt, json.dumps(sorted(symbols))),
    )
    return {row["symbol"]: parse_decimal(row["baseline_quantity"]) for row in found}


def _line(row: Row) -> PlanLine:
    return PlanLine(
        symbol=row["symbol"],
        con_id=row["con_id"],
        weight=optional(parse_decimal, row["weight"]),
        baseline_quantity=parse_decimal(row["baseline_quantity"]),
        target_quantity=optional(parse_decimal, row["target_quantity"]),
        planned_quantity=parse_decimal(row["planned_quantity"]),
        price=optional(parse_decimal, row["price"]),
        quote_source=row["quote_source"],
        note=row["note"],
    )


def _line_values(run_id: str, attempt: int, line: PlanLine) -> dict[str, object]:
    return {
        "run_id": run_id,
        "attempt": attempt,
        "symbol": line.symbol,
        "con_id": line.con_id,
        "weight": optional(decimal_text, line.weight),
        "baseline_quantity": decimal_text(line.baseline_quantity),
        "target_quantity": optional(decimal_text, line.target_quantity),
        "planned_quantity": decimal_text(line.planned_quantity),
        "price": optional(decimal_text, line.price),
        "quote_source": line.quote_source,
        "note": line.note,
    }
