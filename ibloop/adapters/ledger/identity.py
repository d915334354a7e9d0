"""Whose ledger it is, and which executor is the present one.

The epoch grows with every executor that starts: a transaction that sends compares it, so an
older executor that is still alive somewhere finds out before it sends (promise P10).
"""

from dataclasses import dataclass
from datetime import datetime

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection, Tx
from ibloop.adapters.ledger.values import insert_sql, parse_time, time_text
from ibloop.core.model import Mode
from ibloop.errors import LedgerError

_INSERT = insert_sql(
    "ledger_identity", ("identity_id", "mode", "account", "created_at", "executor_epoch")
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a ledger was bound to when it was created, and the executor's epoch."""

    mode: Mode
    account: str
    created_at: datetime
    executor_epoch: int


def identity(db: Connection) -> Identity:
    """Return the identity; LedgerError when the row is gone."""
    row = db.execute("SELECT * FROM ledger_identity").fetchone()
    if row is None:
        raise LedgerError("the ledger does not say whose it is: restore a backup")
    return Identity(
        mode=Mode(row["mode"]),
        account=row["account"],
        created_at=parse_time(row["created_at"]),
        executor_epoch=row["executor_epoch"],
    )


def is_missing(db: Connection) -> bool:
    """Return whether the ledger is so new that it belongs to nobody yet."""
    return db.execute("SELECT 1 FROM ledger_identity").fetchone() is None


def bind(tx: Tx, mode: Mode, account: str, now: datetime) -> None:
    """Bind a new ledger to its mode and account, for ever."""
    created_at = time_text(now)
    tx.execute(
        _INSERT,
        {
            "identity_id": 1,
            "mode": mode.value,
            "account": account,
            "created_at": created_at,
            "executor_epoch": 0,
        },
    )
    audit.append(tx, "ibloop", "ledger.created", account, {"mode": mode}, now=now)


def epoch(db: Connection) -> int:
    """Return the epoch of the executor that started last; 0 before the first.

    Raises: LedgerError when the row is gone.
    """
    row = db.execute("SELECT executor_epoch FROM ledger_identity").fetchone()
    return identity(db).executor_epoch if row is None else int(row[0])


def owner(db: Connection) -> tuple[str, str]:
    """Return mode and account alone, for every send. Raises: LedgerError when the row is gone."""
    row = db.execute("SELECT mode, account FROM ledger_identity").fetchone()
    return (identity(db).mode, "") if row is None else (row[0], row[1])


def take_epoch(tx: Tx, actor: str, now: datetime) -> int:
    """Begin a new epoch and return it."""
    tx.execute("UPDATE ledger_identity SET executor_epoch = executor_epoch + 1")
    taken = epoch(tx.db)
    audit.append(tx, actor, "executor.epoch_taken", str(taken), {"epoch": taken}, now=now)
    return taken
