"""What the database itself refuses, whoever writes."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibloop.adapters.ledger import fills, halts, runs, snapshots
from ibloop.adapters.ledger.alerts import Severity
from ibloop.adapters.ledger.commands import CommandStatus
from ibloop.adapters.ledger.connection import IntegrityError, Ledger, schema_sql
from ibloop.adapters.ledger.values import decimal_text, parse_decimal
from ibloop.core.lifecycle import OrderState, RunState
from ibloop.core.model import Algo, HaltLevel, Mode, OrderType, Side, Tif
from ibloop.errors import LedgerError

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "ledger.md"
SNAPSHOT_HASH = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # of {}


@pytest.fixture
def full(ledger: Ledger, make: Any) -> Ledger:
    """Return a ledger with a row in every table that triggers protect."""
    make.planned(ledger)
    make.sending(ledger)
    with ledger.transaction() as tx:
        snapshots.freeze(tx, "s1", SNAPSHOT_HASH, make.t0, "targets.csv", "{}", make.t0)
        pretrade = snapshots.PreTrade("p1", "r1", 0, make.t0, True, [], "targets.csv", "0.1.0")
        snapshots.record_pretrade(tx, pretrade, "test")
        fills.record(tx, make.execution(), make.at(6), "executor")
        halts.halt(tx, HaltLevel.PAUSE, "why not", "cli", "ann", make.at(7))
    return ledger


def test_every_table_is_strict(ledger: Ledger) -> None:
    """A column holds what it declares, and a misspelt type is an error."""
    loose = ledger.db.execute(
        "SELECT name FROM pragma_table_list WHERE type = 'table' AND strict = 0 AND schema = 'main'"
    )
    # The two that others make: the record of sqlite_utils, and SQLite's own tables.
    ours = {row[0] for row in loose} - {"_sqlite_migrations", "sqlite_schema", "sqlite_sequence"}
    assert ours == set()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_log SET payload = '{}' WHERE seq = 1",
        "DELETE FROM audit_log WHERE seq = 1",
        "INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log WHERE seq = 1",
        "UPDATE decision_snapshots SET content = '[]'",
        "DELETE FROM decision_snapshots",
        "DELETE FROM trade_runs",
        "DELETE FROM trade_orders",
        "INSERT OR REPLACE INTO trade_orders SELECT * FROM trade_orders",
        "DELETE FROM trade_fills",
        "DELETE FROM pretrade_runs",
        "DELETE FROM halts",
        "UPDATE halts SET level = 'reduce-only'",
        "DELETE FROM ledger_identity",
        "UPDATE ledger_identity SET account = 'U7654321'",
        "UPDATE ledger_identity SET mode = 'live'",
    ],
)
def test_history_cannot_be_rewritten(full: Ledger, sql: str) -> None:
    """Rows are appended or moved forward, never deleted (promise P13)."""
    with pytest.raises(IntegrityError, match=r"never|bound at creation"), full.transaction() as tx:
        tx.execute(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE trade_orders SET status = 'lost'",
        "UPDATE trade_orders SET status = 'sending', ib_order_id = NULL, sent_at = NULL",
        "UPDATE trade_orders SET sent_at = NULL",
        "UPDATE trade_orders SET quantity = '-1'",
        "UPDATE trade_orders SET quantity = '0'",
        "UPDATE trade_orders SET quantity = '0', status = 'planned'",
        "UPDATE trade_orders SET quantity = '1.0'",
        "UPDATE trade_orders SET limit_price = '0'",
        "UPDATE trade_orders SET order_type = 'MKT'",
        "UPDATE trade_orders SET good_till = '2026-11-20T15:30:00Z'",
        "UPDATE trade_orders SET reject_source = 'me'",
        "UPDATE trade_orders SET run_id = 'r9'",
        "UPDATE trade_orders SET client_order_id = ''",
        "UPDATE trade_fills SET client_order_id = 'ibl:R9:AAA:B:0'",
        "UPDATE trade_runs SET status = 'blocked'",
        "UPDATE trade_runs SET reason = 'No reason'",
        "UPDATE halts SET cleared_at = '2026-11-20T15:30:00.000Z'",
        "UPDATE pretrade_runs SET passed = 2",
    ],
)
def test_nonsense_is_refused(full: Ledger, sql: str) -> None:
    """States, signs, forms and references are checked by the database."""
    with pytest.raises(IntegrityError), full.transaction() as tx:
        tx.execute(sql)


def test_another_account_cannot_enter(ledger: Ledger, make: Any) -> None:
    """Neither a run nor an execution of another account or mode is stored (promise P9)."""
    for foreign in ({"account": "DU7654321"}, {"mode": Mode.LIVE}):
        with pytest.raises(IntegrityError, match="another account"), ledger.transaction() as tx:
            runs.insert(tx, replace(make.run(), **foreign), "test")
    execution = replace(make.execution(), account="DU7654321")
    with pytest.raises(IntegrityError, match="another account"), ledger.transaction() as tx:
        fills.record(tx, execution, make.t0, "executor")


@pytest.mark.parametrize(
    ("table", "column", "values"),
    [
        ("trade_runs", "status", list(RunState)),
        ("trade_runs", "mode", list(Mode)),
        ("trade_orders", "status", list(OrderState)),
        ("trade_orders", "side", list(Side)),
        ("trade_orders", "order_type", list(OrderType)),
        ("trade_orders", "tif", list(Tif)),
        ("trade_orders", "algo", list(Algo)),
        ("halts", "level", list(HaltLevel)),
        ("commands", "status", list(CommandStatus)),
        ("alerts", "severity", list(Severity)),
    ],
)
def test_program_and_schema_know_the_same_states(
    table: str, column: str, values: list[str]
) -> None:
    """A state added to the program needs a migration."""
    (create,) = [sql for sql in schema_sql() if sql.startswith(f"CREATE TABLE {table} ")]
    listed = re.search(rf"CHECK \({column} IN \((.*?)\)\)", create)
    assert listed is not None
    assert sorted(re.findall(r"'(.*?)'", listed[1])) == sorted(values)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text("0123456789.-", max_size=6))
def test_the_database_knows_a_decimal_when_it_sees_one(ledger: Ledger, text: str) -> None:
    """The CHECK accepts exactly what the reader accepts."""
    try:
        parse_decimal(text)
    except LedgerError:
        legal = False
    else:
        legal = True
    try:
        with ledger.transaction() as tx:
            tx.execute("DELETE FROM positions")
            tx.execute(
                "INSERT INTO positions (symbol, con_id, quantity, avg_cost, as_of)"
                " VALUES ('A', 1, ?, '0', '2026-11-20T15:30:00.000Z')",
                (text,),
            )
    except IntegrityError:
        assert not legal, text
    else:
        assert legal, text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.decimals(allow_nan=False, allow_infinity=False, places=8))
def test_what_the_writer_writes_the_database_takes(ledger: Ledger, value: Any) -> None:
    """No figure can fail to be recorded for its form."""
    with ledger.transaction() as tx:
        tx.execute("DELETE FROM positions")
        tx.execute(
            "INSERT INTO positions (symbol, con_id, quantity, avg_cost, as_of)"
            " VALUES ('A', 1, ?, '0', '2026-11-20T15:30:00.000Z')",
            (decimal_text(value),),
        )


def test_the_reference_page_names_every_column(ledger: Ledger) -> None:
    """``docs/reference/ledger.md`` has a section a table that mentions each column."""
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", DOCS.read_text(), re.M | re.S))
    tables = ledger.db.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND strict = 1"
    ).fetchall()
    assert {row[0] for row in tables} == set(sections)
    for (table,) in tables:
        columns = [row["name"] for row in ledger.db.execute(f"PRAGMA table_info({table})")]
        missing = [name for name in columns if f"`{name}`" not in sections[table]]
        assert not missing, f"{table}: {missing}"
