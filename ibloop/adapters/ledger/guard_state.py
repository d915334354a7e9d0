"""What the guard saw and concluded, one row an evaluation, and how old ones are thinned.

The rows are the record themselves; the audit log tells only of a change of status. A row that
changed something (status, halt, source, a flow, a new day or baseline) is kept for ever, so is the
first of each hour; the first of each minute is kept for 30 days, all others for one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
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
from ibloop.core.model import ZERO
from ibloop.core.risk.table import MARKET_DATA_ERROR

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
_INSERT = insert_sql("trade_guard_state", (*_COLUMNS, "keep"))
_SELECT = select_sql("trade_guard_state", ("evaluation_id", *_COLUMNS))

KEPT_FOR_EVER, KEPT_A_MONTH, KEPT_A_DAY = 3, 1, 0
_AGES = {KEPT_A_DAY: timedelta(days=1), KEPT_A_MONTH: timedelta(days=30)}
_SAME = ("trade_date", "status", "equity_source", "baseline_equity", "baseline_at")
"""What a row has changed if it differs from the row before."""
THINNED_AT_ONCE = 500


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


def keep_class(before: GuardRow | None, row: GuardRow, *, is_event: bool = False) -> int:
    """Return how long a row is kept: for ever, a month or a day.

    ``is_event``: something happened in it that its figures do not show.
    """
    if before is None or is_event:
        return KEPT_FOR_EVER
    if any(getattr(before, name) != getattr(row, name) for name in _SAME):
        return KEPT_FOR_EVER
    then, now = before.evaluated_at, row.evaluated_at
    if (then.date(), then.hour) != (now.date(), now.hour):
        return KEPT_FOR_EVER
    return KEPT_A_DAY if then.minute == now.minute else KEPT_A_MONTH


def record(tx: Tx, row: GuardRow, actor: str = "guard", *, keep: int = KEPT_FOR_EVER) -> int:
    """Store an evaluation and return its id; ``keep`` is its :func:`keep_class`."""
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
            "keep": keep,
        },
    )
    if before is None or before.status != row.status:
        payload = {
            "from": None if before is None else before.status,
            "to": row.status,
            "equity": row.equity,
            "detail": {k: v for k, v in row.detail.items() if k != "prices"},
        }
        audit.append(
            tx, actor, "guard.status_changed", str(evaluation_id), payload, now=row.evaluated_at
        )
    return evaluation_id


def thin(tx: Tx, now: datetime) -> int:
    """Delete a piece of what need not be kept any longer; return how many rows went."""
    deleted = 0
    for keep, age in _AGES.items():
        deleted += tx.execute(
            "DELETE FROM trade_guard_state WHERE evaluation_id IN (SELECT evaluation_id"
            " FROM trade_guard_state WHERE keep < 3 AND keep = ? AND evaluated_at < ? LIMIT ?)",
            (keep, time_text(now - age), THINNED_AT_ONCE),
        ).rowcount
    return deleted


def last(db: Connection) -> GuardRow | None:
    """Return the newest evaluation, ``None`` before the first."""
    row = db.execute(f"{_SELECT} ORDER BY evaluation_id DESC LIMIT 1").fetchone()
    return None if row is None else _guard_row(row)


def order_failures(db: Connection, since: datetime) -> int:
    """Return how many orders sent at or after ``since`` the broker refused or nobody knows of."""
    found = db.execute(
        "SELECT count(*) FROM trade_orders WHERE sent_at >= ?"
        " AND (status = 'unknown' OR (status = 'rejected' AND reject_source = 'broker'))",
        (time_text(since),),
    )
    return int(found.fetchone()[0])


def data_refusals(db: Connection, since: datetime) -> int:
    """Return how many orders were refused at or after ``since`` for want of good market data."""
    found = db.execute(
        "SELECT count(*) FROM trade_orders WHERE status = 'rejected' AND reject_source = 'ibloop'"
        " AND reject_code = ? AND updated_at >= ?",
        (MARKET_DATA_ERROR, time_text(since)),
    )
    return int(found.fetchone()[0])


def gone_usd(db: Connection, trade_date: date, since: datetime | None) -> Decimal:
    """Return what went out on a date without an execution, USD, as far as rows tell.

    ``since``: later than that only.
    """
    found = db.execute(
        "SELECT json_extract(detail, '$.flow_usd') FROM trade_guard_state WHERE trade_date = ?"
        " AND evaluated_at > ? AND json_extract(detail, '$.flow_usd') LIKE '-%'",
        (trade_date.isoformat(), "" if since is None else time_text(since)),
    )
    return -sum((parse_decimal(row[0]) for row in found), ZERO)


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
