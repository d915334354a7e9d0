"""Opening: whose ledger it is, how it is written, and what a reader costs."""

import fcntl
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.ledger import audit, connection, gate, identity
from ibloop.adapters.ledger.connection import (
    Ledger,
    LedgerBusyError,
    OperationalError,
    Tx,
    migrate,
    open_ledger,
    open_readonly,
)
from ibloop.core.invariant import InvariantError
from ibloop.core.model import Mode
from ibloop.errors import Exit, LedgerError

T0 = datetime(2026, 11, 20, tzinfo=UTC)


def reopen(path: Path, **changes: Any) -> Ledger:
    """Open the ledger as the profile of the fixtures does, but for ``changes``."""
    return open_ledger(path, **{"mode": Mode.PAPER, "account": "DU1234567", **changes})


def remigrate(path: Path, **changes: Any) -> tuple[str, ...]:
    """Migrate the ledger as the profile of the fixtures does, but for ``changes``."""
    return migrate(path, **{"mode": Mode.PAPER, "account": "DU1234567", **changes})


def test_every_commit_is_durable_and_every_reference_checked(ledger: Ledger) -> None:
    """WAL, FULL, foreign keys, a busy timeout and recursive triggers, on each connection."""
    found = {
        name: ledger.db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in (
            "journal_mode",
            "synchronous",
            "foreign_keys",
            "busy_timeout",
            "recursive_triggers",
        )
    }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
        "recursive_triggers": 1,
    }


def test_a_setting_that_does_not_take_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that cannot hold a WAL ledger is refused, not used with less."""
    monkeypatch.setattr(connection, "_PRAGMAS", (("journal_mode", "MEMORY", "wal"),))
    with pytest.raises(LedgerError, match="journal_mode"):
        reopen(path)


def test_the_group_may_write_whatever_the_umask(path: Path) -> None:
    """Operators are members of the group: they must be able to halt."""
    before = os.umask(0o077)
    try:
        opened = reopen(path)
        with opened.transaction() as tx:
            audit.append(tx, "a", "b.c", "", {}, T0)
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        opened.close()
    finally:
        os.umask(before)
    assert set(files) == {"ibloop.db", "ibloop.db-wal", "ibloop.db-shm", "ibloop.db.gate"}
    assert set(files.values()) == {0o660}


def test_a_ledger_is_bound_for_ever(ledger: Ledger, path: Path) -> None:
    """Another account or mode is refused by name (promise P9), and migrating is no way round."""
    for changes in ({"account": "DU7654321"}, {"mode": Mode.LIVE}):
        for way in (reopen, remigrate):
            with pytest.raises(LedgerError, match="paper account DU1234567") as refused:
                way(path, **changes)
            assert str(next(iter(changes.values()))) in str(refused.value)
    found = identity.identity(ledger.db)
    assert (found.mode, found.account, found.executor_epoch) == (Mode.PAPER, "DU1234567", 0)


def test_creating_is_audited(ledger: Ledger) -> None:
    """The chain begins with the creation of the ledger."""
    events = [row.event for row in reversed(audit.rows(ledger.db, 10))]
    assert events == ["ledger.created", "ledger.migrated"]


def test_each_executor_begins_a_new_epoch(ledger: Ledger) -> None:
    """An older executor can see that it is not the one any more (promise P10)."""
    with ledger.transaction() as tx:
        assert identity.take_epoch(tx, "executor", T0) == 1
        assert identity.take_epoch(tx, "executor", T0) == 2
    assert identity.epoch(ledger.db) == 2


def test_a_creation_cut_short_is_done_again(path: Path) -> None:
    """A crash before the first commit leaves an empty file, which is no ledger yet."""
    path.touch()
    with pytest.raises(LedgerError, match="nothing has run yet"):
        open_readonly(path)
    reopen(path).close()
    open_readonly(path).close()


def test_a_failed_migration_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All migrations and the identity are one transaction."""
    name, statements = connection.MIGRATIONS[0]
    broken = ((name, (*statements, "CREATE NONSENSE")),)
    with monkeypatch.context() as patch:
        patch.setattr("ibloop.adapters.ledger.migrations.MIGRATIONS", broken)
        with pytest.raises(OperationalError, match="NONSENSE"):
            reopen(path)
    reopen(path).close()


def test_an_older_ledger_wants_migrating(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon does not change the schema under the others: a person runs the migration."""
    later = (*connection.MIGRATIONS, ("m002_more", ("CREATE TABLE more (x INTEGER) STRICT",)))
    for module in ("connection", "migrations"):
        monkeypatch.setattr(f"ibloop.adapters.ledger.{module}.MIGRATIONS", later)
    for way in (reopen, open_readonly):
        with pytest.raises(LedgerError, match="ibloop db migrate"):
            way(path)
    assert remigrate(path) == ("m002_more",)
    assert remigrate(path) == ()
    reopen(path).close()
    assert audit.verify(ledger.db).is_whole


def test_a_newer_ledger_is_left_alone(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older program does not write into a schema it does not know."""
    monkeypatch.setattr(connection, "MIGRATIONS", ())
    for way in (reopen, open_readonly, remigrate):
        with pytest.raises(LedgerError, match="newer ibloop"):
            way(path)


def test_what_is_no_ledger_is_refused(path: Path) -> None:
    """Neither a text file nor somebody else's database is touched."""
    path.write_text("symbol,weight\n" * 100)
    for way in (reopen, open_readonly):
        with pytest.raises(LedgerError, match="expected a ledger"):
            way(path)
    assert path.read_text().startswith("symbol,weight")
    path.unlink()
    other = connection.driver.connect(path)
    other.execute("CREATE TABLE things (x)")
    other.close()
    for way in (reopen, open_readonly):
        with pytest.raises(LedgerError, match="expected an ibloop ledger"):
            way(path)


def test_a_lying_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SQLite that can lose WAL commits is not used."""
    monkeypatch.setattr(connection, "SQLITE_VERSION_MIN", (99, 0, 0))
    with pytest.raises(LedgerError, match="pysqlite3"):
        reopen(path)


def test_an_exception_undoes_the_transaction(ledger: Ledger) -> None:
    """All or nothing."""

    def half() -> None:
        with ledger.transaction() as tx:
            audit.append(tx, "a", "b.c", "", {}, T0)
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert len(audit.rows(ledger.db, 10)) == 2
    with ledger.transaction() as tx:
        audit.append(tx, "a", "b.c", "", {}, T0)
    assert len(audit.rows(ledger.db, 10)) == 3


def test_transactions_do_not_nest(ledger: Ledger) -> None:
    """An inner commit would let half of the outer out."""
    with ledger.transaction(), pytest.raises(InvariantError), ledger.transaction():
        pass


def test_a_finished_transaction_cannot_write(ledger: Ledger) -> None:
    """A kept Tx is no key to a later transaction."""
    with ledger.transaction() as tx:
        kept: Tx = tx
    with pytest.raises(InvariantError):
        kept.execute("SELECT 1")


def test_nothing_has_run_yet(path: Path) -> None:
    """Reading creates nothing and says what to do."""
    with pytest.raises(LedgerError, match="nothing has run yet"):
        open_readonly(path)
    assert not list(path.parent.iterdir())


def test_a_reader_cannot_write(ledger: Ledger, path: Path) -> None:
    """The web and the status page hold connections that cannot change anything."""
    db = open_readonly(path)
    with pytest.raises(OperationalError, match="readonly"):
        db.execute("UPDATE ledger_identity SET executor_epoch = 9")
    db.close()


HEAVY = """
import sys
from pathlib import Path
from ibloop.adapters.ledger.connection import open_ledger, open_readonly
from ibloop.adapters.ledger import account, alerts, audit, check, commands, fills, guard_state
from ibloop.adapters.ledger import halts, identity, orders, runs, snapshots
from ibloop.core.model import Mode
db = open_readonly(Path(sys.argv[1]))
runs.listing(db, 1), halts.level(db), orders.listing(db), account.values(db), check.check(db)
db.close()
open_ledger(Path(sys.argv[1]), mode=Mode.PAPER, account="DU1234567").close()
heavy = {"sqlite_utils", "numpy", "click", "msgspec", "structlog", "asyncio", "ib_insync"}
print(sorted(heavy & set(sys.modules)))
"""


def test_reading_imports_nothing_heavy(ledger: Ledger, path: Path, processes: Any) -> None:
    """`ibloop status` answers at once, and a daemon that opens a ledger stays small."""
    assert processes.run(HEAVY, path).strip() == "[]"


CREATE = """
import sys
from pathlib import Path
from ibloop.adapters.ledger.connection import open_ledger
from ibloop.core.model import Mode
print("ready", flush=True)
sys.stdin.readline()
open_ledger(Path(sys.argv[1]), mode=Mode.PAPER, account="DU1234567").close()
"""


def test_several_creators_make_one_ledger(path: Path, processes: Any) -> None:
    """All daemons of a profile start together on an empty directory."""
    creators = [processes.start(CREATE, path) for _ in range(4)]
    for creator in creators:
        creator.stdout.readline()
    for creator in creators:
        creator.stdin.write("go\n")
        creator.stdin.flush()
    for creator in creators:
        creator.communicate(timeout=60)
        assert creator.returncode == 0
    opened = reopen(path)
    assert [row.event for row in audit.rows(opened.db, 9)] == ["ledger.migrated", "ledger.created"]
    opened.close()


def test_a_stopped_writer_is_named_and_not_waited_for_for_ever(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who halts is told that he cannot; when the gate is free again, all is well."""
    monkeypatch.setattr(gate, "GATE_WAIT_S", 0.05)
    holder = os.open(path.with_name("ibloop.db.gate"), os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    for _ in range(2):
        with (
            pytest.raises(LedgerBusyError, match=r"ibloop\.db\.gate") as refused,
            ledger.transaction(),
        ):
            pass
    assert refused.value.exit_code == Exit.FAILED
    os.close(holder)
    monkeypatch.setattr(gate, "GATE_WAIT_S", 30)
    with ledger.transaction() as tx:
        audit.append(tx, "a", "b.c", "", {}, T0)


def test_a_writer_outside_the_gate_is_only_waited_for(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person's database shell blocks writers for the busy timeout, then they say so."""
    ledger.db.execute("PRAGMA busy_timeout = 20")
    other = connection.driver.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerBusyError, match="outside ibloop"), ledger.transaction():
        pass
    other.execute("ROLLBACK")
    other.close()
    with ledger.transaction():
        pass
