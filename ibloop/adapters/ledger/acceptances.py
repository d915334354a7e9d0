"""What a person has looked at and accepted, so that it stops nothing any more.

A difference between ledger and broker that evidence cannot explain blocks trading for ever: only a
person may say that it is known, with a reason that stays.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.values import (
    insert_sql,
    json_text,
    parse_decimal,
    parse_time,
    select_sql,
    time_text,
)
from ibloop.core.promises import Accepted

_COLUMNS = ("kind", "subject", "accepted_at", "accepted_by", "reason", "content")
_INSERT = insert_sql("acceptances", _COLUMNS)
_SELECT = select_sql("acceptances", _COLUMNS)


class AcceptanceKind(StrEnum):
    """What was accepted.

    ``restore``: that this ledger is older than what was known of it. ``reference``: an order of
    ours that this ledger never sent. ``over_fill``: more shares than ordered; ``content.filled``
    says how many. ``positions``: what is held, whatever the fills say; ``content.quantities``
    from ``content.since`` on.
    """

    RESTORE = "restore"
    REFERENCE = "reference"
    OVER_FILL = "over_fill"
    POSITIONS = "positions"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One row; ``content`` is the parsed JSON object."""

    kind: AcceptanceKind
    subject: str
    accepted_at: datetime
    accepted_by: str
    reason: str
    content: dict[str, object]


@dataclass(frozen=True, slots=True)
class Baseline:
    """Shares by symbol that were there at a moment, and since when fills must explain the rest."""

    at: datetime
    quantities: Mapping[str, Decimal]


def accept(
    tx: Tx,
    kind: AcceptanceKind,
    subject: str,
    content: Mapping[str, object],
    *,
    reason: str,
    now: datetime,
    actor: str,
) -> None:
    """Write down that a person has accepted something, for ever."""
    row = {
        "kind": kind.value,
        "subject": subject,
        "accepted_at": time_text(now),
        "accepted_by": actor,
        "reason": reason,
        "content": json_text(content),
    }
    tx.execute(_INSERT, row)
    payload = {"kind": kind, "reason": reason, "content": content}
    audit.append(tx, actor, "difference.accepted", subject, payload, now=now)


def order_id_floor(db: Connection) -> int:
    """Return the order id that no new order may be at or below, whatever the ledger has sent."""
    found = _of_kind(db, AcceptanceKind.RESTORE)
    return max((int(str(row.content["order_id"])) for row in found), default=0)


def references(db: Connection) -> frozenset[str]:
    """Return the references of orders that this ledger never sent and a person knows of."""
    return frozenset(row.subject for row in _of_kind(db, AcceptanceKind.REFERENCE))


def over_fills(db: Connection) -> dict[str, Decimal]:
    """Return how many shares of an over-filled order a person knows of, by reference."""
    found = _of_kind(db, AcceptanceKind.OVER_FILL)
    return {row.subject: parse_decimal(str(row.content["filled"])) for row in found}


def accepted(db: Connection) -> Accepted:
    """Return what the promises are not asked about any more."""
    return Accepted(references(db), over_fills(db))


def positions_baseline(db: Connection) -> Baseline | None:
    """Return the positions accepted last, ``None`` when none ever were.

    Since when fills count is part of what was accepted: the newest stamp the ledger had then,
    not the time of a person's clock.
    """
    found = _of_kind(db, AcceptanceKind.POSITIONS)
    if not found:
        return None
    content = found[-1].content
    quantities = content["quantities"]
    known = quantities if isinstance(quantities, dict) else {}
    return Baseline(
        parse_time(str(content["since"])),
        {symbol: parse_decimal(text) for symbol, text in known.items()},
    )


def _of_kind(db: Connection, kind: AcceptanceKind) -> tuple[Acceptance, ...]:
    """Return the acceptances of a kind, oldest first."""
    found = db.execute(f"{_SELECT} WHERE kind = ? ORDER BY acceptance_id", (kind.value,))
    return tuple(_acceptance(row) for row in found)


def _acceptance(row: Row) -> Acceptance:
    return Acceptance(
        kind=AcceptanceKind(row["kind"]),
        subject=row["subject"],
        accepted_at=parse_time(row["accepted_at"]),
        accepted_by=row["accepted_by"],
        reason=row["reason"],
        content=json.loads(row["content"]),
    )
