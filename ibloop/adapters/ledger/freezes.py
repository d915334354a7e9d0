"""Frozen symbols: what the drop copy could not explain. Every sending transaction reads them.

A freeze counts from its commit on. It is lifted by the guard when ledger and broker agree again, or
by a person with a reason. The symbol ``*`` stands for the whole account.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.values import (
    insert_sql,
    optional,
    parse_decimal,
    parse_time,
    select_sql,
    time_text,
)
from ibloop.core.dropcopy import ACCOUNT, Break, BreakKind, Recorded
from ibloop.core.model import Side

_INSERT = insert_sql("freezes", ("symbol", "kind", "subject", "reason", "created_at"))
_SELECT = select_sql(
    "freezes",
    (
        *("freeze_id", "symbol", "kind", "subject", "reason", "created_at"),
        *("cleared_at", "cleared_by", "clear_reason"),
    ),
)


@dataclass(frozen=True, slots=True)
class FreezeRow:
    """One freeze; the ``clear*`` fields are ``None`` while it stands."""

    freeze_id: int
    symbol: str
    kind: BreakKind
    subject: str
    reason: str
    created_at: datetime
    cleared_at: datetime | None
    cleared_by: str | None
    clear_reason: str | None


def freeze(tx: Tx, found: Break, now: datetime, actor: str) -> int:
    """Freeze a break's symbol and return the freeze's id.

    Raises: IntegrityError when the same break has frozen it already.
    """
    row = {
        "symbol": found.symbol,
        "kind": found.kind.value,
        "subject": found.subject,
        "reason": found.text,
        "created_at": time_text(now),
    }
    freeze_id = tx.insert(_INSERT, row)
    audit.append(tx, actor, "symbol.frozen", str(freeze_id), row, now=now)
    return freeze_id


def clear(tx: Tx, freeze_id: int, reason: str, now: datetime, actor: str) -> bool:
    """Lift one freeze; return False when it did not stand any more."""
    cleared = tx.execute(
        "UPDATE freezes SET cleared_at = ?, cleared_by = ?, clear_reason = ?"
        " WHERE freeze_id = ? AND cleared_at IS NULL",
        (time_text(now), actor, reason, freeze_id),
    ).rowcount
    if cleared:
        audit.append(tx, actor, "symbol.released", str(freeze_id), {"reason": reason}, now=now)
    return bool(cleared)


def standing(db: Connection) -> tuple[FreezeRow, ...]:
    """Return the freezes that stand, oldest first."""
    found = db.execute(f"{_SELECT} WHERE cleared_at IS NULL ORDER BY freeze_id")
    return tuple(_row(row) for row in found)


def frozen_symbols(db: Connection) -> frozenset[str]:
    """Return the symbols that must not be traded; with ``*`` among them none must."""
    found = db.execute("SELECT DISTINCT symbol FROM freezes WHERE cleared_at IS NULL")
    return frozenset(str(row[0]) for row in found)


def is_frozen(frozen: frozenset[str], symbol: str) -> bool:
    """Return whether an order of this symbol must be refused."""
    return symbol in frozen or ACCOUNT in frozen


def accepted_since(db: Connection, moment: datetime) -> frozenset[str]:
    """Return the symbols whose position a person has accepted after ``moment``."""
    found = db.execute(
        "SELECT subject FROM acceptances WHERE kind = 'positions' AND accepted_at > ?",
        (time_text(moment),),
    )
    return frozenset(symbol for row in found for symbol in str(row[0]).split(","))


def released_since(db: Connection, moment: datetime, by_other_than: str) -> frozenset[str]:
    """Return the symbols of which somebody else has lifted a freeze after ``moment``."""
    found = db.execute(
        "SELECT DISTINCT symbol FROM freezes WHERE cleared_at > ? AND cleared_by <> ?",
        (time_text(moment), by_other_than),
    )
    return frozenset(str(row[0]) for row in found)


def released_keys(db: Connection, by_other_than: str) -> frozenset[tuple[str, str]]:
    """Return kind and subject of every freeze that somebody else has lifted."""
    found = db.execute(
        "SELECT DISTINCT kind, subject FROM freezes WHERE cleared_by <> ?", (by_other_than,)
    )
    return frozenset((str(row[0]), str(row[1])) for row in found)


def last_cleared_at(db: Connection, symbol: str) -> datetime | None:
    """Return when a freeze of this symbol was last lifted, ``None`` if never."""
    found = db.execute("SELECT max(cleared_at) FROM freezes WHERE symbol = ?", (symbol,))
    return optional(parse_time, found.fetchone()[0])


def recorded_fills(db: Connection, bases: Collection[str], since: datetime) -> dict[str, Recorded]:
    """Return by base the fills of these executions and of all executed at or after ``since``."""
    found = db.execute(
        "SELECT exec_base, exec_id, symbol, side, quantity, executed_at FROM trade_fills"
        " WHERE executed_at >= ? OR exec_base IN (SELECT value FROM json_each(?))",
        (time_text(since), json.dumps(sorted(bases))),
    )
    return {
        row["exec_base"]: Recorded(
            row["exec_id"],
            row["symbol"],
            Side(row["side"]).sign * parse_decimal(row["quantity"]),
            parse_time(row["executed_at"]),
        )
        for row in found
    }


def contracts_traded(db: Connection, symbols: Collection[str]) -> dict[str, int]:
    """Return the contract id under which each of these symbols was last planned or traded."""
    names = json.dumps(sorted(symbols))
    found = db.execute(
        "SELECT symbol, con_id FROM plan_lines WHERE con_id > 0"
        " AND symbol IN (SELECT value FROM json_each(?)) UNION ALL"
        " SELECT symbol, con_id FROM trade_fills"
        " WHERE symbol IN (SELECT value FROM json_each(?))",
        (names, names),
    )
    return {row["symbol"]: int(row["con_id"]) for row in found}


def _row(row: Row) -> FreezeRow:
    return FreezeRow(
        freeze_id=row["freeze_id"],
        symbol=row["symbol"],
        kind=BreakKind(row["kind"]),
        subject=row["subject"],
        reason=row["reason"],
        created_at=parse_time(row["created_at"]),
        cleared_at=optional(parse_time, row["cleared_at"]),
        cleared_by=row["cleared_by"],
        clear_reason=row["clear_reason"],
    )
