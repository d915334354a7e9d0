"""The audit log: who did what to which subject, in a hash chain from the first row.

Each row's hash is the SHA-256 (lower-case hex) of the UTF-8 bytes of the canonical JSON array
``[seq, at, actor, event, subject, payload, prev_hash]``: no spaces, ASCII with ``\\uXXXX``
escapes, ``seq`` a number, everything else a string exactly as stored (``payload`` is the stored
JSON text as a string). ``prev_hash`` is the hash of the row before; 64 zeros for the first.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from json.encoder import encode_basestring_ascii

from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.values import json_text, parse_time, select_sql, time_text

FIRST_PREV_HASH = "0" * 64

_COLUMNS = ("seq", "at", "actor", "event", "subject", "payload", "prev_hash", "hash")
_INSERT = (
    f"INSERT INTO audit_log ({', '.join(_COLUMNS)})"  # noqa: S608  (constants of ours)
    f" VALUES ({', '.join('?' * len(_COLUMNS))})"
)
_SELECT = select_sql("audit_log", _COLUMNS)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row as stored; ``payload`` is the parsed JSON object."""

    seq: int
    at: datetime
    actor: str
    event: str
    subject: str
    payload: dict[str, object]
    prev_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """The state of the chain: number of rows, and the first broken one with the reason."""

    rows: int
    broken_seq: int | None
    reason: str

    @property
    def is_whole(self) -> bool:
        """Return whether nothing was found."""
        return self.broken_seq is None


def append(
    tx: Tx, actor: str, event: str, subject: str, payload: Mapping[str, object], now: datetime
) -> int:
    """Append one row and return its sequence number.

    ``event`` is ``noun.verb_past``; ``payload`` holds JSON values, decimals and times.
    """
    last_seq, last_hash = end_in(tx)
    seq = last_seq + 1
    contents = (seq, time_text(now), actor, event, subject, json_text(payload), last_hash)
    own_hash = _hash(*contents)
    tx.execute(_INSERT, (*contents, own_hash))
    tx.audit_end = (seq, own_hash)
    return seq


def end_in(tx: Tx) -> tuple[int, str]:
    """Return number and hash of the newest row as this transaction leaves it; 0 for none."""
    return tx.audit_end or _end(tx.db)


def _end(db: Connection) -> tuple[int, str]:
    """Return number and hash that the next row follows."""
    last = db.execute("SELECT hash FROM audit_log ORDER BY seq DESC LIMIT 1").fetchone()
    counter = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'audit_log'").fetchone()
    # From the counter, not from the last row: rows cut off the end leave a gap for ever.
    seq = 0 if counter is None else int(counter["seq"])
    return seq, FIRST_PREV_HASH if last is None else last["hash"]


def verify(db: Connection) -> AuditVerdict:
    """Walk the chain from the first row; stop at the first that does not follow from the last."""
    expected_seq, expected_prev = 1, FIRST_PREV_HASH
    for row in db.execute(f"{_SELECT} ORDER BY seq"):
        reason = _fault(row, expected_seq, expected_prev)
        if reason:
            return AuditVerdict(_count(db), expected_seq, reason)
        expected_seq, expected_prev = row["seq"] + 1, row["hash"]
    counter = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'audit_log'").fetchone()
    written = 0 if counter is None else counter["seq"]
    if written != expected_seq - 1:
        reason = f"{written} rows were written, the last now is {expected_seq - 1}"
        return AuditVerdict(_count(db), expected_seq, reason)
    return AuditVerdict(expected_seq - 1, None, "")


def rows(db: Connection, limit: int) -> tuple[AuditRow, ...]:
    """Return the newest ``limit`` rows, newest first."""
    found = db.execute(f"{_SELECT} ORDER BY seq DESC LIMIT ?", (limit,))
    return tuple(_row(row) for row in found)


def of_subject(db: Connection, subject: str) -> tuple[AuditRow, ...]:
    """Return the rows about one subject, oldest first."""
    found = db.execute(f"{_SELECT} WHERE subject = ? ORDER BY seq", (subject,))
    return tuple(_row(row) for row in found)


def subjects_after(db: Connection, seq: int, noun: str) -> frozenset[str]:
    """Return what the rows after ``seq`` about a noun (``order``, ``fill``) speak of."""
    # Not DISTINCT: it would read the whole index of subjects rather than the rows after seq.
    found = db.execute(
        "SELECT subject FROM audit_log WHERE seq > ? AND event GLOB ?", (seq, f"{noun}.*")
    )
    return frozenset(str(row[0]) for row in found)


def _fault(row: Row, expected_seq: int, expected_prev: str) -> str:
    """Return what is wrong with a row, empty if nothing."""
    if row["seq"] != expected_seq:
        return f"row {expected_seq} is missing"
    if row["prev_hash"] != expected_prev:
        return "its prev_hash is not the hash of the row before"
    if row["hash"] != _hash(*tuple(row)[:-1]):
        return "its hash is not that of its contents"
    return ""


def _hash(seq: int, *texts: str) -> str:
    """Return the hash of a row's contents, given in the order of the columns."""
    # What json.dumps makes of it, at half its price: an order pays for this with each of its rows.
    canonical = f"[{seq},{','.join(map(encode_basestring_ascii, texts))}]"
    return hashlib.sha256(canonical.encode()).hexdigest()


def _count(db: Connection) -> int:
    return int(db.execute("SELECT count(*) FROM audit_log").fetchone()[0])


def _row(row: Row) -> AuditRow:
    return AuditRow(
        seq=row["seq"],
        at=parse_time(row["at"]),
        actor=row["actor"],
        event=row["event"],
        subject=row["subject"],
        payload=json.loads(row["payload"]),
        prev_hash=row["prev_hash"],
        hash=row["hash"],
    )
