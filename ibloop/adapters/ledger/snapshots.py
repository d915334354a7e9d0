"""Frozen decisions, and the pre-trade gates each run attempt went through.

A decision is identified by the hash of its content: freezing the same content again gives the
row that is there. Rows are never changed.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.values import insert_sql, json_text, parse_time, select_sql, time_text
from ibloop.core.invariant import invariant

_COLUMNS = (
    "snapshot_id",
    "content_hash",
    "created_at",
    "targets_as_of",
    "source_path",
    "content",
)
_INSERT = insert_sql("decision_snapshots", _COLUMNS)
_SELECT = select_sql("decision_snapshots", _COLUMNS)

_PRETRADE_COLUMNS = (
    "pretrade_id",
    "run_id",
    "attempt",
    "created_at",
    "passed",
    "gates",
    "targets_path",
    "build",
)
_INSERT_PRETRADE = insert_sql("pretrade_runs", _PRETRADE_COLUMNS)
_SELECT_PRETRADE = select_sql("pretrade_runs", _PRETRADE_COLUMNS)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A frozen decision; ``content`` is the canonical JSON text that was hashed."""

    snapshot_id: str
    content_hash: str
    created_at: datetime
    targets_as_of: datetime
    source_path: str
    content: str


@dataclass(frozen=True, slots=True)
class PreTrade:
    """The verdict of the gates before one attempt; ``gates`` is any JSON value."""

    pretrade_id: str
    run_id: str
    attempt: int
    created_at: datetime
    passed: bool
    gates: object
    targets_path: str
    build: str


def freeze(
    tx: Tx,
    snapshot_id: str,
    content_hash: str,
    targets_as_of: datetime,
    source_path: str,
    content: str,
    now: datetime,
    actor: str = "rebalance",
) -> Snapshot:
    """Store a decision and return its row; the one that is there when the hash is known.

    Raises: InvariantError when ``content_hash`` is not that of ``content``.
    """
    found = hashlib.sha256(content.encode()).hexdigest()
    invariant(found == content_hash, f"{content_hash} is not the hash of its content")
    known = _one(tx.execute(f"{_SELECT} WHERE content_hash = ?", (content_hash,)).fetchone())
    if known is not None:
        return known
    values = {
        "snapshot_id": snapshot_id,
        "content_hash": content_hash,
        "created_at": time_text(now),
        "targets_as_of": time_text(targets_as_of),
        "source_path": source_path,
        "content": content,
    }
    tx.execute(_INSERT, values)
    payload = {"content_hash": content_hash, "source_path": source_path}
    audit.append(tx, actor, "snapshot.frozen", snapshot_id, payload, now=now)
    return Snapshot(
        snapshot_id=snapshot_id,
        content_hash=content_hash,
        created_at=parse_time(values["created_at"]),
        targets_as_of=parse_time(values["targets_as_of"]),
        source_path=source_path,
        content=content,
    )


def find(db: Connection, snapshot_id: str) -> Snapshot | None:
    """Return the snapshot, or ``None``."""
    return _one(db.execute(f"{_SELECT} WHERE snapshot_id = ?", (snapshot_id,)).fetchone())


def content_of(snapshot: Snapshot) -> dict[str, object]:
    """Return the content that was hashed, as plain values."""
    content: dict[str, object] = json.loads(snapshot.content)
    return content


def record_pretrade(tx: Tx, pretrade: PreTrade, actor: str) -> None:
    """Store what the gates said before an attempt of a run that is in the ledger."""
    tx.execute(
        _INSERT_PRETRADE,
        {
            "pretrade_id": pretrade.pretrade_id,
            "run_id": pretrade.run_id,
            "attempt": pretrade.attempt,
            "created_at": time_text(pretrade.created_at),
            "passed": int(pretrade.passed),
            "gates": json_text(pretrade.gates),
            "targets_path": pretrade.targets_path,
            "build": pretrade.build,
        },
    )
    payload = {"run_id": pretrade.run_id, "passed": pretrade.passed}
    audit.append(
        tx, actor, "pretrade.recorded", pretrade.pretrade_id, payload, now=pretrade.created_at
    )


def pretrade_of(db: Connection, run_id: str, attempt: int | None = None) -> PreTrade | None:
    """Return the newest verdict of a run, or of one attempt of it; ``None`` without any."""
    row = db.execute(
        f"{_SELECT_PRETRADE} WHERE run_id = :run_id AND attempt = ifnull(:attempt, attempt)"
        " ORDER BY created_at DESC, rowid DESC LIMIT 1",
        {"run_id": run_id, "attempt": attempt},
    ).fetchone()
    if row is None:
        return None
    return PreTrade(
        pretrade_id=row["pretrade_id"],
        run_id=row["run_id"],
        attempt=row["attempt"],
        created_at=parse_time(row["created_at"]),
        passed=bool(row["passed"]),
        gates=json.loads(row["gates"]),
        targets_path=row["targets_path"],
        build=row["build"],
    )


def _one(row: Row | None) -> Snapshot | None:
    if row is None:
        return None
    return Snapshot(
        snapshot_id=row["snapshot_id"],
        content_hash=row["content_hash"],
        created_at=parse_time(row["created_at"]),
        targets_as_of=parse_time(row["targets_as_of"]),
        source_path=row["source_path"],
        content=row["content"],
    )
