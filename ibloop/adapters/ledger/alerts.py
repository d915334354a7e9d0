"""The outbox of alerts, written in the same transaction as what they tell of.

Whoever knows of something raises the alert; one process delivers what waits, oldest first, and
notes what came of it. Deliveries and deaths are told in the audit log, mere attempts are not.

A person who has read an alert acknowledges it: it neither waits nor blocks any more. A message
that is on its way at that moment still arrives or fails; what came of it is noted all the same.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.values import insert_sql, optional, parse_time, select_sql, time_text
from ibloop.core.alerting import Alert, Severity, redact

__all__ = [
    "Alert",
    "Backlog",
    "Severity",
    "acknowledge",
    "backlog",
    "last_delivered_at",
    "last_event",
    "listing",
    "mark_dead",
    "mark_delivered",
    "mark_failed",
    "named",
    "raise_alert",
    "undelivered_since",
    "waiting",
]

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
    "dead_at",
    "last_error",
)
_INSERT = insert_sql("alerts", _COLUMNS) + " ON CONFLICT (dedup_key) DO NOTHING"
_SELECT = select_sql("alerts", ("alert_id", *_COLUMNS, "acknowledged_at", "acknowledged_by"))
NO_LIMIT = -1
"""Any negative number of rows is all of them (https://sqlite.org/lang_select.html#limitoffset)."""
_UNDELIVERED = "delivered_at IS NULL AND acknowledged_at IS NULL"
_WAITING = f"{_UNDELIVERED} AND dead_at IS NULL"


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far delivery is behind: how many alerts wait and since when; who died last, if any."""

    undelivered: int
    oldest_at: datetime | None
    last_dead: Alert | None


def undelivered_since(db: Connection, dead_since: datetime) -> datetime | None:
    """Return when the oldest critical alert that nobody was told of was raised, if there is one.

    Those that were refused for good count when that happened at ``dead_since`` or later; those
    that a person has acknowledged never do.
    """
    found = db.execute(
        "SELECT min(created_at) FROM alerts WHERE severity = 'critical'"  # noqa: S608  (constant)
        f" AND {_UNDELIVERED} AND (dead_at IS NULL OR dead_at >= ?)",
        (time_text(dead_since),),
    )
    return optional(parse_time, found.fetchone()[0])


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

    ``None`` when one with the same ``dedup_key`` was raised before: nothing is stored then. What
    looks like a bot token in ``text`` (somebody's error with an address in it) is not stored.
    """
    text = redact(text)
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
            "dead_at": None,
            "last_error": None,
        },
    )
    if cursor.rowcount != 1:
        return None
    payload = {"severity": severity, "event": event, "subject": subject, "text": text}
    audit.append(tx, actor, "alert.raised", str(cursor.lastrowid), payload, now=now)
    return cursor.lastrowid


def listing(db: Connection, limit: int | None, *, undelivered: bool = False) -> tuple[Alert, ...]:
    """Return the newest ``limit`` alerts, newest first; ``None`` for all.

    ``undelivered`` leaves only those that wait or are dead, and that nobody has acknowledged.
    """
    where = f"WHERE {_UNDELIVERED}" if undelivered else ""
    found = db.execute(
        f"{_SELECT} {where} ORDER BY alert_id DESC LIMIT ?", (NO_LIMIT if limit is None else limit,)
    )
    return tuple(_alert(row) for row in found)


def named(db: Connection, alert_ids: Collection[int]) -> dict[int, Alert]:
    """Return by id those of these alerts that there are, oldest first."""
    chosen = "WHERE alert_id IN (SELECT value FROM json_each(?)) ORDER BY alert_id"
    found = db.execute(f"{_SELECT} {chosen}", (json.dumps(sorted(alert_ids)),))
    return {row["alert_id"]: _alert(row) for row in found}


def waiting(db: Connection, limit: int) -> tuple[Alert, ...]:
    """Return the ``limit`` alerts that have waited longest, in the order of delivery."""
    found = db.execute(f"{_SELECT} WHERE {_WAITING} ORDER BY alert_id LIMIT ?", (limit,))
    return tuple(_alert(row) for row in found)


def waiting_count(db: Connection) -> int:
    """Return how many alerts still wait for delivery."""
    sql = f"SELECT count(*) FROM alerts WHERE {_WAITING}"  # noqa: S608  (constant)
    return int(db.execute(sql).fetchone()[0])


def backlog(db: Connection, dead_since: datetime) -> Backlog:
    """Return how many alerts wait, and the last one that has died since a moment."""
    count, oldest = db.execute(
        f"SELECT count(*), min(created_at) FROM alerts WHERE {_WAITING}"  # noqa: S608  (constant)
    ).fetchone()
    dead = db.execute(
        f"{_SELECT} WHERE {_UNDELIVERED} AND dead_at > ? ORDER BY alert_id DESC LIMIT 1",
        (time_text(dead_since),),
    ).fetchone()
    return Backlog(count, optional(parse_time, oldest), optional(_alert, dead))


def last_delivered_at(db: Connection) -> datetime | None:
    """Return when an alert was last delivered."""
    newest = db.execute("SELECT max(delivered_at) FROM alerts").fetchone()[0]
    return optional(parse_time, newest)


def last_event(db: Connection, events: Collection[str]) -> str | None:
    """Return which of ``events`` was raised last."""
    marks = ", ".join("?" * len(events))
    row = db.execute(
        f"SELECT event FROM alerts WHERE event IN ({marks}) "  # noqa: S608  (question marks only)
        "ORDER BY alert_id DESC LIMIT 1",
        tuple(events),
    ).fetchone()
    return None if row is None else str(row["event"])


def mark_delivered(tx: Tx, alert_ids: Collection[int], now: datetime, actor: str) -> None:
    """Note that Telegram has taken these alerts, in one message or in several parts."""
    for alert_id in alert_ids:
        tx.execute(
            "UPDATE alerts SET delivered_at = ?, attempts = attempts + 1, next_try_at = NULL, "
            "last_error = NULL WHERE alert_id = ?",
            (time_text(now), alert_id),
        )
    _tell(tx, "alert.delivered", alert_ids, {}, now, actor)


def mark_failed(
    tx: Tx, alert_ids: Collection[int], error: str, next_try_at: datetime, now: datetime
) -> None:
    """Note that an attempt to deliver these has failed, and when the next one is due.

    None is due of what has been acknowledged meanwhile; the attempt is counted.
    Nothing for the audit log: an outage would fill it with a line every five minutes.
    """
    for alert_id in alert_ids:
        tx.execute(
            "UPDATE alerts SET attempts = attempts + 1, last_error = ?2, "
            "next_try_at = CASE WHEN acknowledged_at IS NULL THEN ?1 END WHERE alert_id = ?3",
            (time_text(max(now, next_try_at)), redact(error), alert_id),
        )


def mark_dead(tx: Tx, alert_ids: Collection[int], error: str, now: datetime, actor: str) -> None:
    """Note that Telegram refuses these for good; they are not tried again."""
    for alert_id in alert_ids:
        tx.execute(
            "UPDATE alerts SET dead_at = ?, attempts = attempts + 1, next_try_at = NULL, "
            "last_error = ? WHERE alert_id = ?",
            (time_text(now), redact(error), alert_id),
        )
    _tell(tx, "alert.died", alert_ids, {"error": redact(error)}, now, actor)


def acknowledge(
    tx: Tx, alert_ids: Collection[int], reason: str | None, now: datetime, actor: str
) -> tuple[int, ...]:
    """Note that a person has read these; return the ids of those that nobody had acknowledged.

    They neither wait nor block from here on. Where an alert has been acknowledged before, by
    whom and when stays as it is. All must exist, which :func:`named` tells.
    """
    fresh = tuple(
        alert_id
        for alert_id in sorted(alert_ids)
        if tx.execute(
            "UPDATE alerts SET acknowledged_at = ?, acknowledged_by = ?, next_try_at = NULL "
            "WHERE alert_id = ? AND acknowledged_at IS NULL",
            (time_text(now), actor, alert_id),
        ).rowcount
    )
    if fresh:
        why = None if reason is None else redact(reason)
        _tell(tx, "alert.acknowledged", fresh, {"reason": why}, now, actor)
    return fresh


def _tell(
    tx: Tx,
    event: str,
    alert_ids: Collection[int],
    payload: dict[str, object],
    now: datetime,
    actor: str,
) -> None:
    ids = sorted(alert_ids)
    audit.append(tx, actor, event, str(ids[0]), {"alert_ids": ids, **payload}, now=now)


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
        dead_at=optional(parse_time, row["dead_at"]),
        acknowledged_at=optional(parse_time, row["acknowledged_at"]),
        acknowledged_by=row["acknowledged_by"],
    )
