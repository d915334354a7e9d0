"""`ibloop db check`: silent about a sound ledger, and it names what is wrong with another."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ibloop.adapters.ledger import check, fills, snapshots
from ibloop.adapters.ledger.connection import MIGRATIONS, Ledger, open_readonly
from ibloop.cli.db import db as command
from ibloop.errors import LedgerError

EMPTY_HASH = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.fixture
def traded(ledger: Ledger, make: Any) -> Ledger:
    """Return a sound ledger with one partly filled order."""
    make.planned(ledger, "ibl:R1:AAA:B:0", "ibl:R1:BBB:B:0")
    make.sending(ledger)
    with ledger.transaction() as tx:
        snapshots.freeze(tx, "s1", EMPTY_HASH, make.t0, "targets.csv", "{}", make.t0)
        fills.record(tx, make.execution(), make.at(6), "executor")
    return ledger


def forge(ledger: Ledger, *statements: str) -> None:
    """Write past every rule, as a broken disk or a person with a shell may."""
    triggers = ledger.db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    ledger.db.execute("PRAGMA foreign_keys = OFF")
    ledger.db.execute("PRAGMA ignore_check_constraints = ON")
    with ledger.transaction() as tx:
        for (trigger,) in triggers:
            tx.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            tx.execute(statement)


def test_a_sound_ledger_has_no_problems(traded: Ledger, path: Path) -> None:
    """Nothing is said about what is right, also by a reader that cannot write."""
    reader = open_readonly(path)
    assert check.check(reader) == ()
    reader.close()


@pytest.mark.parametrize(
    ("sql", "kind", "text"),
    [
        ("UPDATE trade_orders SET filled_quantity = '41'", "promises", "its fills sum to 40"),
        ("UPDATE trade_orders SET filled_quantity = '4e1'", "integrity", "CHECK"),
        ("UPDATE trade_orders SET status = 'lost'", "integrity", "CHECK"),
        ("UPDATE trade_fills SET exec_base = 'x'", "executions", "filed under x"),
        ("UPDATE trade_fills SET side = 'SELL'", "executions", "another side"),
        ("UPDATE trade_fills SET con_id = 9", "executions", "another side or contract"),
        ("UPDATE trade_fills SET client_order_id = 'gone'", "references", "no row of trade_orders"),
        ("UPDATE trade_orders SET status = 'not_sent'", "promises", "but filled"),
        ("UPDATE audit_log SET actor = 'x' WHERE seq = 3", "audit", "contents"),
        ("UPDATE decision_snapshots SET content = '[]'", "snapshots", "not what was hashed"),
        ("DELETE FROM ledger_identity", "identity", "whose"),
    ],
)
def test_every_kind_of_damage_is_named(traded: Ledger, sql: str, kind: str, text: str) -> None:
    """The check says which rule is broken, and where."""
    forge(traded, sql)
    traded.db.execute("PRAGMA ignore_check_constraints = OFF")
    problems = check.check(traded.db)
    assert any(problem.check == kind and text in problem.text for problem in problems), problems


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("UPDATE trade_runs SET status = 'lost'", "states"),
        ("UPDATE trade_orders SET status = 'lost'", "states"),
        ("UPDATE trade_orders SET quantity = '1e2'", "values"),
        ("UPDATE trade_fills SET executed_at = 'noon'", "values"),
    ],
)
def test_what_no_reader_accepts_is_found_without_the_constraints(
    traded: Ledger, sql: str, kind: str
) -> None:
    """A restored table may have lost its CHECKs; the readers have not."""
    forge(traded, sql)  # integrity_check ignores CHECKs on this connection now
    assert {problem.check for problem in check.check(traded.db)} == {kind}


def test_a_damaged_page_ends_the_check(traded: Ledger, path: Path) -> None:
    """Nothing found in a damaged file means anything."""
    root = traded.db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'trade_orders'")
    page_number = root.fetchone()[0]
    traded.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek((page_number - 1) * 4096)
        file.write(b"\xff" * 4096)
    reader = open_readonly(path)
    problems = check.check(reader)
    reader.close()
    assert {problem.check for problem in problems} == {"integrity"}


def ibloop_db(path: Path, *arguments: str) -> Any:
    """Run `ibloop db ...` on the built-in profile with its ledger beside ``path``."""
    from ibloop.cli.common import Context  # noqa: PLC0415

    context = Context()
    context.data_option = path.parent
    return CliRunner().invoke(command, list(arguments), obj=context)


def test_migrate_makes_a_ledger_and_check_passes_it(path: Path) -> None:
    """The two commands a person runs after an upgrade."""
    with pytest.raises(LedgerError, match="nothing has run yet"):
        raise ibloop_db(path, "check").exception
    made = ibloop_db(path, "migrate")
    names = ", ".join(name for name, _ in MIGRATIONS)
    assert (made.exit_code, made.stdout) == (0, f"applied: {names}\n")
    assert ibloop_db(path, "migrate").stdout == "up to date, nothing to apply\n"
    checked = ibloop_db(path, "check")
    assert (checked.exit_code, checked.stdout) == (0, "ok\n")


def test_check_fails_with_what_it_found(traded: Ledger, path: Path) -> None:
    """A script sees the exit code, a person the table, a program the JSON."""
    forge(traded, "UPDATE trade_orders SET filled_quantity = '41' WHERE symbol = 'AAA'")
    found = ibloop_db(path, "check", "--json")
    assert found.exit_code == 1
    document = json.loads(found.stdout)
    assert document["schema"] == "ibloop.db.v1"
    assert [problem["check"] for problem in document["data"]["problems"]] == ["promises"]
    table = ibloop_db(path, "check")
    assert table.exit_code == 1
    assert "says 41, its fills sum to 40" in table.stdout


def test_schema_prints_what_sqlite_runs(path: Path, ledger: Ledger) -> None:
    """The printed statements make the same tables again."""
    printed = json.loads(ibloop_db(path, "schema", "--json").stdout)["data"]["statements"]
    stored = ledger.db.execute(
        "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name NOT LIKE '%sqlite%'"
    ).fetchall()
    assert sorted(printed) == sorted(row[0] for row in stored)
    assert ibloop_db(path, "schema").stdout.startswith("CREATE TABLE ledger_identity (")
