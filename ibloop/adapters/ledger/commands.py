"""Requests to a daemon: a row that its owner finishes, because nothing calls another process."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.values import (
    insert_sql,
    json_text,
    optional,
    parse_time,
    select_sql,
    time_text,
)
from ibloop.core.invariant import invariant

_INSERT = insert_sql("commands", ("kind", "args", "requested_by", "created_at", "status"))
_SELECT = select_sql(
    "commands",
    (
        "command_id",
        "kind",
        "args",
        "requested_by",
        "created_at",
        "status",
        "result",
        "done_at",
    ),
)


class CommandStatus(StrEnum):
    """``queued`` until the owner has done, refused or failed it."""

    QUEUED = "queued"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Command:
    """One request; ``args`` is a JSON object, ``result`` a sentence for the requester."""

    command_id: int
    kind: str
    args: dict[str, object]
    requested_by: str
    created_at: datetime
    status: CommandStatus
    result: str | None
    done_at: datetime | None


def request(tx: Tx, kind: str, args: Mapping[str, object], requested_by: str, now: datetime) -> int:
    """Queue a request and return its id."""
    command_id = tx.insert(
        _INSERT,
        {
            "kind": kind,
            "args": json_text(args),
            "requested_by": requested_by,
            "created_at": time_text(now),
            "status": CommandStatus.QUEUED.value,
        },
    )
    payload = {"kind": kind, "args": dict(args)}
    audit.append(tx, requested_by, "command.requested", str(command_id), payload, now=now)
    return command_id


def queued(db: Connection) -> tuple[Command, ...]:
    """Return the requests nobody has finished, oldest first."""
    found = db.execute(f"{_SELECT} WHERE status = 'queued' ORDER BY command_id")
    return tuple(_command(row) for row in found)


def of_kind(db: Connection, kind: str) -> tuple[Command, ...]:
    """Return every request of a kind there ever was, oldest first."""
    found = db.execute(f"{_SELECT} WHERE kind = ? ORDER BY command_id", (kind,))
    return tuple(_command(row) for row in found)


def done(db: Connection, kinds: Sequence[str]) -> tuple[Command, ...]:
    """Return the requests of these kinds that were granted and done, oldest first."""
    found = db.execute(f"{_SELECT} WHERE status = 'done' ORDER BY command_id")
    return tuple(_command(row) for row in found if row["kind"] in kinds)


def find(db: Connection, command_id: int) -> Command | None:
    """Return a request, for who waits for its result; ``None`` if there is none."""
    row = db.execute(f"{_SELECT} WHERE command_id = ?", (command_id,)).fetchone()
    return None if row is None else _command(row)


def finish(
    tx: Tx,
    command_id: int,
    status: CommandStatus,
    result: str,
    now: datetime,
    actor: str = "executor",
) -> bool:
    """Finish a queued request; return False when it is not queued any more."""
    invariant(status is not CommandStatus.QUEUED, "a finished command is not queued")
    changed = tx.execute(
        "UPDATE commands SET status = ?, result = ?, done_at = ?"
        " WHERE command_id = ? AND status = 'queued'",
        (status.value, result, time_text(now), command_id),
    )
    if changed.rowcount != 1:
        return False
    payload = {"status": status, "result": result}
    audit.append(tx, actor, "command.finished", str(command_id), payload, now=now)
    return True


def _command(row: Row) -> Command:
    return Command(
        command_id=row["command_id"],
        kind=row["kind"],
        args=json.loads(row["args"]),
        requested_by=row["requested_by"],
        created_at=parse_time(row["created_at"]),
        status=CommandStatus(row["status"]),
        result=row["result"],
        done_at=optional(parse_time, row["done_at"]),
    )
