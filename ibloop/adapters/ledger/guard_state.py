"""What the guard saw and concluded, one row an evaluation.

The rows are the record themselves; the audit log tells only of a change of status.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.values import (
    decimal_text,
    insert_sql,
    json_text,
    optional,
    parse_decimal,
    parse_time,
    select_sql,
    time_text,
)

_COLUMNS = (
    "trade_date",
    "evaluated_at",
    "status",
    "equity",
    "equity_source",
    "baseline_equity",
    "baseline_at",
    "peak_equity",
    "day_loss",
    "drawdown",
    "detail",
)
_INSERT = insert_sql("trade_guard_state", _COLUMNS)
_SELECT = select_sql("trade_guard_state", ("evaluation_id", *_COLUMNS))


@dataclass(frozen=True, slots=True)
class GuardRow:
    """One evaluation. Equities in USD; ``day_loss`` and ``drawdown`` as fractions of 1.

    Losses are positive. ``status`` is ok, warn, reduce_only, kill or degraded; a figure that
    could not be had is ``None``. ``trade_date`` is the date at the exchange.
    """

    trade_date: date
    evaluated_at: datetime
    status: str
    equity: Decimal | None
    equity_source: str
    baseline_equity: Decimal | None
    baseline_at: datetime | None
    peak_equity: Decimal | None
    day_loss: Decimal | None
    drawdown: Decimal | None
    detail: Mapping[str, object] = field(default_factory=dict)


def record(tx: Tx, row: GuardRow, actor: str = "guard") -> int:
    """Store an evaluation and return its id."""
    before = last(tx.db)
    evaluation_id = tx.insert(
        _INSERT,
        {
            "trade_date": row.trade_date.isoformat(),
            "evaluated_at": time_text(row.evaluated_at),
            "status": str(row.status),
            "equity": optional(decimal_text, row.equity),
            "equity_source": row.equity_source,
            "baseline_equity": optional(decimal_text, row.baseline_equity),
            "baseline_at": optional(time_text, row.baseline_at),
            "peak_equity": optional(decimal_text, row.peak_equity),
            "day_loss": optional(decimal_text, row.day_loss),
            "drawdown": optional(decimal_text, row.drawdown),
            "detail": json_text(row.detail),
        },
    )
    if before is None or before.status != row.status:
        payload = {
            "from": None if before is None else before.status,
            "to": row.status,
            "equity": row.equity,
            "detail": dict(row.detail),
        }
        audit.append(
            tx, actor, "guard.status_changed", str(evaluation_id), payload, now=row.evaluated_at
        )
    return evaluation_id


def last(db: Connection) -> GuardRow | None:
    """Return the newest evaluation, ``None`` before the first."""
    row = db.execute(f"{_SELECT} ORDER BY evaluation_id DESC LIMIT 1").fetchone()
    return None if row is None else _guard_row(row)


def _guard_row(row: Row) -> GuardRow:
    return GuardRow(
        trade_date=date.fromisoformat(row["trade_date"]),
        evaluated_at=parse_time(row["evaluated_at"]),
        status=row["status"],
        equity=optional(parse_decimal, row["equity"]),
        equity_source=row["equity_source"],
        baseline_equity=optional(parse_decimal, row["baseline_equity"]),
        baseline_at=optional(parse_time, row["baseline_at"]),
        peak_equity=optional(parse_decimal, row["peak_equity"]),
        day_loss=optional(parse_decimal, row["day_loss"]),
        drawdown=optional(parse_decimal, row["drawdown"]),
        detail=json.loads(row["detail"]),
    )
