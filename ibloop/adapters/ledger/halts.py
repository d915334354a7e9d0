"""Halts: latched stops that every sending transaction reads.

A halt counts from its commit on: a transaction that begins later sees it, and SQLite lets only
one transaction write at a time (promise P7). Clearing is a person's act and clears all.
"""

from dataclasses import dataclass
from datetime import datetime

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.values import (
    insert_sql,
    optional,
    parse_time,
    select_sql,
    time_text,
)
from ibloop.core.model import HALT_ORDER, HaltLevel

_INSERT = insert_sql("halts", ("level", "reason", "source", "requested_by", "created_at"))
_SELECT = select_sql(
    "halts",
    (
        "halt_id",
        "level",
        "reason",
        "source",
        "requested_by",
        "created_at",
        "cleared_at",
        "cleared_by",
        "clear_reason",
    ),
)


@dataclass(frozen=True, slots=True)
class Halt:
    """One halt; the ``clear*`` fields are ``None`` while it stands."""

    halt_id: int
    level: HaltLevel
    reason: str
    source: str
    requested_by: str
    created_at: datetime
    cleared_at: datetime | None
    cleared_by: str | None
    clear_reason: str | None


def halt(
    tx: Tx, level: HaltLevel, reason: str, source: str, requested_by: str, now: datetime
) -> int:
    """Halt and return the halt's id.

    ``source`` is cli, guard, executor, file, web or telegram; ``reason`` must say something.
    """
    halt_id = tx.insert(
        _INSERT,
        {
            "level": level.value,
            "reason": reason,
            "source": source,
            "requested_by": requested_by,
            "created_at": time_text(now),
        },
    )
    payload = {"level": level, "reason": reason, "source": source}
    audit.append(tx, requested_by, "halt.requested", str(halt_id), payload, now=now)
    return halt_id


def active(db: Connection) -> tuple[Halt, ...]:
    """Return the halts that stand, oldest first."""
    found = db.execute(f"{_SELECT} WHERE cleared_at IS NULL ORDER BY halt_id")
    return tuple(_halt(row) for row in found)


def listing(db: Connection, limit: int) -> tuple[Halt, ...]:
    """Return the newest ``limit`` halts, cleared ones too, newest first."""
    return tuple(
        _halt(row) for row in db.execute(f"{_SELECT} ORDER BY halt_id DESC LIMIT ?", (limit,))
    )


def level(db: Connection, source: str | None = None) -> HaltLevel | None:
    """Return the severest level that stands, ``None`` when nothing is halted.

    ``source``: of the halts that came from there only.
    """
    found = db.execute(
        "SELECT DISTINCT level FROM halts WHERE cleared_at IS NULL AND source = ifnull(?, source)",
        (source,),
    )
    return max((HaltLevel(row[0]) for row in found), key=HALT_ORDER.index, default=None)


def resume(tx: Tx, requested_by: str, reason: str, now: datetime) -> int:
    """Clear every halt that stands and return how many there were."""
    cleared = tx.execute(
        "UPDATE halts SET cleared_at = ?, cleared_by = ?, clear_reason = ?"
        " WHERE cleared_at IS NULL",
        (time_text(now), requested_by, reason),
    ).rowcount
    if cleared:
        payload = {"cleared": cleared, "reason": reason}
        audit.append(tx, requested_by, "halt.cleared", "", payload, now=now)
    return cleared


def release(tx: Tx, halt_id: int, requested_by: str, reason: str, now: datetime) -> bool:
    """Clear one halt; return False when it did not stand any more.

    For the guard's own reduce-only, where the configuration lets it: people clear all of them.
    """
    cleared = tx.execute(
        "UPDATE halts SET cleared_at = ?, cleared_by = ?, clear_reason = ?"
        " WHERE halt_id = ? AND cleared_at IS NULL",
        (time_text(now), requested_by, reason, halt_id),
    ).rowcount
    if cleared:
        audit.append(tx, requested_by, "halt.released", str(halt_id), {"reason": reason}, now=now)
    return bool(cleared)


def last_cleared_at(db: Connection) -> datetime | None:
    """Return when halts were last cleared, ``None`` if never."""
    return optional(parse_time, db.execute("SELECT max(cleared_at) FROM halts").fetchone()[0])


def resumed_reasons(db: Connection) -> tuple[str, ...]:
    """Return the reasons of all halts of the guard that people ever cleared, in any order.

    Their number grows with each resume, whatever the clock. What anybody else has halted is not
    among them: that a person pauses and goes on says nothing about a loss.
    """
    found = db.execute("SELECT reason FROM halts WHERE source = 'guard' AND cleared_by <> 'guard'")
    return tuple(str(row[0]) for row in found)


def _halt(row: Row) -> Halt:
    return Halt(
        halt_id=row["halt_id"],
        level=HaltLevel(row["level"]),
        reason=row["reason"],
        source=row["source"],
        requested_by=row["requested_by"],
        created_at=parse_time(row["created_at"]),
        cleared_at=optional(parse_time, row["cleared_at"]),
        cleared_by=row["cleared_by"],
        clear_reason=row["clear_reason"],
    )
