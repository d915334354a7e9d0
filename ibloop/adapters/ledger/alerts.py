"""The outbox of alerts, written in the same transaction as what they tell of."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.values import insert_sql, optional, parse_time, select_sql, time_text

_COLUMNS = (
    "created_at",
    "severity",
    "event",
    "subject",
    "text",
    "dedup_key",
    "attempts",
    "next_try_at",
    "delivered_at",
    "last_error",
)
_INSERT = insert_sql("alerts", _COLUMNS) + " ON CONFLICT (dedup_key) DO NOTHING"
_SELECT = select_sql("alerts", ("alert_id", *_COLUMNS))


class Severity(StrEnum):
    """How much an alert matters; ``critical`` means that a person must act."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Alert:
    """A row of the outbox; ``delivered_at`` is ``None`` while it waits."""

    alert_id: int
    created_at: datetime
    severity: Severity
    event: str
    subject: str
    text: str
    dedup_key: str | None
    attempts: int
    next_try_at: datetime | None
    delivered_at: datetime | None
    last_error: str | None


def raise_alert(
    tx: Tx,
    severity: str,
    event: str,
    subject: str,
    text: str,
    dedup_key: str | None,
    now: datetime,
    actor: str = "ibloop",
) -> int | None:
    """Put an alert of a :class:`Severity` into the outbox and return its id.

    ``None`` when one with the same ``dedup_key`` was raised before: nothing is stored then.
    """
    cursor = tx.execute(
        _INSERT,
        {
            "created_at": time_text(now),
            "severity": Severity(severity).value,
            "event": event,
            "subject": subject,
            "text": text,
            "dedup_key": dedup_key,
            "attempts": 0,
            "next_try_at": time_text(now),
            "delivered_at": None,
            "last_error": None,
        },
    )
    if cursor.rowcount != 1:
        return None
    payload = {"severity": severity, "event": event, "subject": subject, "text": text}
    audit.append(tx, actor, "alert.raised", str(cursor.lastrowid), payload, now=now)
    return cursor.lastrowid


def listing(db: Connection, limit: int) -> tuple[Alert, ...]:
    """Return the newest ``limit`` alerts, newest first."""
    found = db.execute(f"{_SELECT} ORDER BY alert_id DESC LIMIT ?", (limit,))
    return tuple(_alert(row) for row in found)


def _alert(row: Row) -> Alert:
    return Alert(
        alert_id=row["alert_id"],
        created_at=parse_time(row["created_at"]),
        severity=Severity(row["severity"]),
        event=row["event"],
        subject=row["subject"],
        text=row["text"],
        dedup_key=row["dedup_key"],
        attempts=row["attempts"],
        next_try_at=optional(parse_time, row["next_try_at"]),
        delivered_at=optional(parse_time, row["delivered_at"]),
        last_error=row["last_error"],
    )
