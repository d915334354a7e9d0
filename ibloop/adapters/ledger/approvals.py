"""Approvals: the ticket of a run's attempt, and who has approved it, once."""

import json
from dataclasses import dataclass
from datetime import datetime

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection, Tx
from ibloop.adapters.ledger.values import (
    insert_sql,
    json_text,
    optional,
    parse_time,
    select_sql,
    time_text,
)
from ibloop.core.approval import Ticket, ticket_of
from ibloop.core.arming import Term
from ibloop.core.invariant import invariant
from ibloop.core.model import Moment

_COLUMNS = (
    "run_id",
    "attempt",
    "ticket_hash",
    "content",
    "requested_at",
    "expires_at",
    "expires_boottime_ns",
    "boot_id",
)
_INSERT = insert_sql("approvals", _COLUMNS)
_SELECT = select_sql("approvals", (*_COLUMNS, "approved_at", "approved_by"))


@dataclass(frozen=True, slots=True)
class Approval:
    """A ticket with its end; ``approved_*`` are ``None`` while it waits for a person."""

    ticket: Ticket
    ticket_hash: str
    requested_at: datetime
    term: Term
    approved_at: datetime | None
    approved_by: str | None


def request(tx: Tx, ticket: Ticket, term: Term, now: datetime, actor: str) -> str:
    """Store the ticket of a run's attempt and return its hash."""
    digest, expires = ticket.content_hash, term.expires
    tx.execute(
        _INSERT,
        {
            "run_id": ticket.run_id,
            "attempt": ticket.attempt,
            "ticket_hash": digest,
            "content": json_text(ticket.content()),
            "requested_at": time_text(now),
            "expires_at": time_text(expires.utc),
            "expires_boottime_ns": expires.boottime_ns,
            "boot_id": expires.boot_id,
        },
    )
    payload = {"attempt": ticket.attempt, "ticket_hash": digest, "expires_at": expires.utc}
    audit.append(tx, actor, "run.approval_requested", ticket.run_id, payload, now=now)
    return digest


def find(db: Connection, run_id: str, attempt: int) -> Approval | None:
    """Return the approval of an attempt, asked for or given; ``None`` if it needs none.

    Raises: InvariantError when the ticket is not the one that its hash names.
    """
    row = db.execute(f"{_SELECT} WHERE run_id = ? AND attempt = ?", (run_id, attempt)).fetchone()
    if row is None:
        return None
    ticket = ticket_of(json.loads(row["content"]))
    same = ticket.content_hash == row["ticket_hash"]
    invariant(same, f"the ticket of {run_id} is not the one its hash names")
    return Approval(
        ticket=ticket,
        ticket_hash=row["ticket_hash"],
        requested_at=parse_time(row["requested_at"]),
        term=Term(
            Moment(parse_time(row["expires_at"]), row["expires_boottime_ns"], row["boot_id"])
        ),
        approved_at=optional(parse_time, row["approved_at"]),
        approved_by=row["approved_by"],
    )


def approve(tx: Tx, run_id: str, attempt: int, ticket_hash: str, by: str, now: datetime) -> bool:
    """Approve a ticket by its full hash; return False when it is another or approved already."""
    changed = tx.execute(
        "UPDATE approvals SET approved_at = ?, approved_by = ?"
        " WHERE run_id = ? AND attempt = ? AND ticket_hash = ? AND approved_at IS NULL",
        (time_text(now), by, run_id, attempt, ticket_hash),
    )
    if changed.rowcount != 1:
        return False
    payload = {"attempt": attempt, "ticket_hash": ticket_hash}
    audit.append(tx, by, "run.approved", run_id, payload, now=now)
    return True


def postpone(
    tx: Tx,
    run_id: str,
    attempt: int,
    *,
    deadline_at: datetime,
    good_till: datetime,
    now: datetime,
    actor: str,
) -> None:
    """Give a run that has waited for its approval the time back that it has waited.

    ``deadline_at`` is when it must have ended now, ``good_till`` when its planned orders die.
    """
    moved = tx.execute(
        "UPDATE trade_runs SET deadline_at = ?, updated_at = ? WHERE run_id = ? AND attempt = ?",
        (time_text(deadline_at), time_text(now), run_id, attempt),
    )
    invariant(moved.rowcount == 1, f"no attempt {attempt} of {run_id}")
    tx.execute(
        "UPDATE trade_orders SET good_till = ?, updated_at = ?"
        " WHERE run_id = ? AND attempt = ? AND status = 'planned'",
        (time_text(good_till), time_text(now), run_id, attempt),
    )
    payload = {"attempt": attempt, "deadline_at": deadline_at, "good_till": good_till}
    audit.append(tx, actor, "run.postponed", run_id, payload, now=now)
