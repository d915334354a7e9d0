"""Opening the ledger, and transactions on it: the only import of the SQLite driver.

SQLite is pysqlite3's, because the system's can lose WAL commits when two connections checkpoint
(fixed in 3.51.3, sqlite.org/wal.html#walresetbug). Opening an existing ledger and reading it
import nothing heavy; only creating and migrating do.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibloop.adapters.ledger.gate import Gate, LedgerBusyError, create_file
from ibloop.adapters.ledger.schema import MIGRATION_SET, MIGRATIONS
from ibloop.core.invariant import invariant, present
from ibloop.core.model import Mode
from ibloop.errors import LedgerError

if TYPE_CHECKING:
    # pysqlite3 has no types of its own; its surface is the standard library's.
    import sqlite3 as driver
    from sqlite3 import Connection, Cursor, DatabaseError, IntegrityError, OperationalError, Row
else:
    from pysqlite3 import dbapi2 as driver
    from pysqlite3.dbapi2 import (
        Connection,
        Cursor,
        DatabaseError,
        IntegrityError,
        OperationalError,
        Row,
    )

__all__ = [
    "Connection",
    "Cursor",
    "DatabaseError",
    "IntegrityError",
    "Ledger",
    "LedgerBusyError",
    "OperationalError",
    "Row",
    "Tx",
    "migrate",
    "open_ledger",
    "open_readonly",
    "schema_sql",
    "sqlite_version",
    "sync_directory",
]

SQLITE_VERSION_MIN = (3, 51, 3)
BUSY_TIMEOUT_MS = 5000
"""For writers outside the gate (a person's sqlite3 shell, a backup)."""

STATEMENTS_KEPT = 500
"""More than there are: of the driver's 100 each would be gone when a run needs it again."""

_PRAGMAS: tuple[tuple[str, str, object], ...] = (
    ("busy_timeout", str(BUSY_TIMEOUT_MS), BUSY_TIMEOUT_MS),
    ("journal_mode", "WAL", "wal"),
    # FULL is the cheapest setting that loses no commit in a power cut (ADR 0003).
    ("synchronous", "FULL", 2),
    ("foreign_keys", "ON", 1),
    # Without it INSERT OR REPLACE deletes rows past the triggers that forbid it.
    ("recursive_triggers", "ON", 1),
)


class Tx:
    """Proof of an open write transaction; only :meth:`Ledger.transaction` makes one.

    ``audit_end`` is where the audit log ends, once this transaction has appended to it.
    """

    __slots__ = ("_db", "audit_end")

    def __init__(self, db: Connection) -> None:
        """Wrap the connection whose transaction has just begun."""
        self._db: Connection | None = db
        self.audit_end: tuple[int, str] | None = None

    @property
    def db(self) -> Connection:
        """Return the connection, for readers too; InvariantError once the transaction is over."""
        return present(self._db, "the transaction (it is over)")

    def execute(self, sql: str, parameters: Any = ()) -> Cursor:
        """Execute one statement with positional or named parameters."""
        return self.db.execute(sql, parameters)

    def insert(self, sql: str, parameters: Any = ()) -> int:
        """Execute one INSERT and return the id SQLite gave the row."""
        return int(self.db.execute(sql, parameters).lastrowid or 0)

    def end(self) -> None:
        """Make every later use an error."""
        self._db = None


class Ledger:
    """An open ledger: one connection, bound to the thread that opened it."""

    def __init__(self, path: Path, db: Connection, gate: Gate) -> None:
        """Take over an open connection and its gate; use :func:`open_ledger`."""
        self.path = path
        self.db = db
        self._gate = gate
        self._is_open = False

    @contextmanager
    def transaction(self) -> Iterator[Tx]:
        """Give a write transaction: committed durably at the end, rolled back on any exception.

        What the block reads cannot change before the commit: checks and the change they allow
        belong in one block. Not re-entrant. Raises: LedgerBusyError when the write lock cannot
        be had; whatever the block raises.
        """
        invariant(not self._is_open, "a transaction is open already")
        with self._gate.held():
            self._begin()
            tx = Tx(self.db)
            self._is_open = True
            try:
                yield tx
                self.db.execute("COMMIT")
            finally:
                self._is_open = False
                tx.end()
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection and the gate."""
        invariant(not self._is_open, "a transaction is open")
        self.db.close()
        self._gate.close()

    def _begin(self) -> None:
        try:
            self.db.execute("BEGIN IMMEDIATE")
        except OperationalError as error:
            if "locked" not in str(error):
                raise
            raise LedgerBusyError(
                f"expected the write lock of {self.path} within {BUSY_TIMEOUT_MS} ms, but a "
                "program outside ibloop holds it: close it (`fuser` names it)"
            ) from error


def open_ledger(path: Path, *, mode: Mode, account: str, now: datetime | None = None) -> Ledger:
    """Open the ledger of one account for reading and writing; create it when it is missing.

    ``now`` stamps a new ledger's rows (default: the wall clock). Raises: LedgerError when the
    file is no ledger, needs ``ibloop db migrate``, was made by a newer ibloop, or belongs to
    another mode or account: a ledger is bound for ever when it is created.
    """
    with ExitStack() as undo:
        ledger = _open_writable(path)
        undo.callback(ledger.close)
        if _is_empty(ledger.db):
            _migrate(ledger, mode, account, now or datetime.now(UTC))
        _require_current(path, ledger.db)
        _require_owner(path, ledger.db, mode, account)
        undo.pop_all()
    return ledger


def migrate(
    path: Path, *, mode: Mode, account: str, now: datetime | None = None
) -> tuple[str, ...]:
    """Create the ledger or bring it up to date; return the names of the migrations applied.

    All of them in one transaction: a ledger is never half migrated. Raises: LedgerError as
    :func:`open_ledger`, and changes nothing then.
    """
    ledger = _open_writable(path)
    try:
        if not _is_empty(ledger.db):
            _require_known(path, ledger.db)
            _require_owner(path, ledger.db, mode, account)
        return _migrate(ledger, mode, account, now or datetime.now(UTC))
    finally:
        ledger.close()


def open_readonly(path: Path) -> Connection:
    """Open the ledger for reading only, without anything heavy; the caller closes it.

    Raises: LedgerError when there is no ledger yet, or its version is not this program's.
    """
    if not path.exists():
        raise _nothing_yet(path)
    try:
        db = driver.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        db.row_factory = Row
        _set_pragma(db, "busy_timeout", str(BUSY_TIMEOUT_MS), BUSY_TIMEOUT_MS)
        if _is_empty(db):
            raise _nothing_yet(path)
        _require_current(path, db)
    except DatabaseError as error:
        raise _unusable(path, error) from error
    return db


def sqlite_version() -> tuple[int, ...]:
    """Return the version of the SQLite in use."""
    return tuple(int(part) for part in driver.sqlite_version.split("."))


def schema_sql() -> tuple[str, ...]:
    """Return the statements of the current schema, as SQLite itself stores them."""
    db = driver.connect(":memory:", isolation_level=None)
    for _, statements in MIGRATIONS:
        for statement in statements:
            db.execute(statement)
    rows = db.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")
    found = tuple(str(row[0]) for row in rows if not str(row[0]).startswith("CREATE TABLE sqlite_"))
    db.close()
    return found


def sync_directory(directory: Path) -> None:
    """Make the new file names durable: WAL and FULL protect only what a power cut leaves."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _open_writable(path: Path) -> Ledger:
    """Open file and gate and set the pragmas, which must not race with another opening."""
    if driver.sqlite_version_info < SQLITE_VERSION_MIN:
        raise LedgerError(
            f"expected SQLite 3.51.3 or later, was {driver.sqlite_version}, which can lose "
            "commits: install pysqlite3 0.6.1 or later"
        )
    with ExitStack() as undo:
        try:
            path.parent.mkdir(mode=0o2770, parents=True, exist_ok=True)
            create_file(path)
            gate = Gate(path.with_name(path.name + ".gate"))
            undo.callback(gate.close)
            with gate.held():
                db = driver.connect(path, isolation_level=None, cached_statements=STATEMENTS_KEPT)
                undo.callback(db.close)
                db.row_factory = Row
                for name, value, expected in _PRAGMAS:
                    _set_pragma(db, name, value, expected)
        except (OSError, DatabaseError) as error:
            raise _unusable(path, error) from error
        undo.pop_all()
    return Ledger(path, db, gate)


def _set_pragma(db: Connection, name: str, value: str, expected: object) -> None:
    db.execute(f"PRAGMA {name} = {value}")
    found = db.execute(f"PRAGMA {name}").fetchone()[0]
    if found != expected:
        raise LedgerError(
            f"expected PRAGMA {name} to become {expected}, was {found}: a ledger needs a local "
            "file system with locks and shared memory"
        )


def _migrate(ledger: Ledger, mode: Mode, account: str, now: datetime) -> tuple[str, ...]:
    # Here, not above: it imports sqlite_utils and with it numpy, 0.3 s and 10 MiB.
    from ibloop.adapters.ledger import migrations  # noqa: PLC0415

    if _is_empty(ledger.db):
        sync_directory(ledger.path.parent)
    with ledger.transaction() as tx:
        return migrations.apply(tx, mode, account, now)


def _is_empty(db: Connection) -> bool:
    """Return whether there is no table yet: a new file, or a creation that was cut short."""
    return db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None


def _require_known(path: Path, db: Connection) -> set[str]:
    """Return the applied migrations, all of which this program must know."""
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not {"_sqlite_migrations", "ledger_identity"} <= tables:
        raise LedgerError(f"expected an ibloop ledger, was another database: {path}")
    rows = db.execute(
        "SELECT name FROM _sqlite_migrations WHERE migration_set = ?", (MIGRATION_SET,)
    )
    applied = {str(row[0]) for row in rows}
    unknown = applied - {name for name, _ in MIGRATIONS}
    if unknown:
        raise LedgerError(
            f"{path} was made by a newer ibloop (it has {', '.join(sorted(unknown))}): "
            "install that version again, or restore a backup of the time before"
        )
    return applied


def _require_current(path: Path, db: Connection) -> None:
    applied = _require_known(path, db)
    pending = [name for name, _ in MIGRATIONS if name not in applied]
    if pending:
        raise LedgerError(
            f"{path} is of an older ibloop (it lacks {', '.join(pending)}): stop the daemons, "
            "then run `ibloop db migrate`"
        )


def _require_owner(path: Path, db: Connection, mode: Mode, account: str) -> None:
    row = db.execute("SELECT mode, account FROM ledger_identity").fetchone()
    if row is None:
        raise LedgerError(f"{path} does not say whose it is: restore a backup")
    if (row["mode"], row["account"]) != (mode.value, account):
        raise LedgerError(
            f"{path} belongs to {row['mode']} account {row['account']} for ever, not to {mode} "
            f"account {account}: choose the profile of that account, or another data directory"
        )


def _nothing_yet(path: Path) -> LedgerError:
    return LedgerError(
        f"nothing has run yet: there is no ledger at {path}; "
        "`ibloop executor run` or `ibloop db migrate` makes it"
    )


def _unusable(path: Path, error: Exception) -> LedgerError:
    if "locked" in str(error):
        return LedgerBusyError(f"{path} is locked by a program outside ibloop: close it")
    return LedgerError(f"expected a ledger at {path}: {error}")
