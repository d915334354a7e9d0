"""Applying the schema: the only import of sqlite_utils.

Its Migrations keep the record of what was applied; the SQL is ours (``schema``). It is imported
only when a ledger is created or migrated.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlite_utils import Database, Migrations

from ibloop.adapters.ledger import audit, identity
from ibloop.adapters.ledger.connection import Tx
from ibloop.adapters.ledger.schema import MIGRATION_SET, MIGRATIONS
from ibloop.core.model import Mode


def apply(tx: Tx, mode: Mode, account: str, now: datetime) -> tuple[str, ...]:
    """Apply what is pending and return its names; a new ledger is bound to mode and account.

    Inside the caller's transaction, and so behind the gate: sqlite_utils reads what is pending
    outside its own transactions, which here become savepoints of ours.
    """
    # Plugins of sqlite_utils that happen to be installed have no business in a ledger.
    database = Database(tx.db, execute_plugins=False)
    registered = _registered()
    pending = tuple(migration.name for migration in registered.pending(database))
    if not pending:
        return ()
    registered.apply(database)
    if identity.is_missing(tx.db):
        identity.bind(tx, mode, account, now=now)
    audit.append(tx, "ibloop", "ledger.migrated", account, {"applied": list(pending)}, now=now)
    return pending


def _registered() -> Migrations:
    registered = Migrations(MIGRATION_SET)
    for name, statements in MIGRATIONS:
        _register(registered, name, statements)
    return registered


def _register(registered: Migrations, name: str, statements: Sequence[str]) -> None:
    @registered(name=name)
    def run(db: Database) -> None:
        # One by one: executescript would commit our transaction first.
        for statement in statements:
            db.execute(statement)
