"""The chain: complete, in order, and a changed row is found."""

import hashlib
import json
from typing import Any

import pytest

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Ledger


@pytest.fixture
def chained(ledger: Ledger, make: Any) -> Ledger:
    """Return a ledger with five rows more, and without the triggers, as a forger has it."""
    with ledger.transaction() as tx:
        for number in range(5):
            payload = {"number": number, "name": "Zoë"}
            audit.append(tx, "ann", "thing.happened", f"s{number}", payload, make.at(number))
        for trigger in ("audit_log_update", "audit_log_delete"):
            tx.execute(f"DROP TRIGGER {trigger}")
    return ledger


def test_an_untouched_chain_is_whole(chained: Ledger) -> None:
    """Every row follows from the one before, the first from 64 zeros."""
    assert audit.verify(chained.db) == audit.AuditVerdict(7, None, "")
    first = audit.rows(chained.db, 100)[-1]
    assert (first.seq, first.prev_hash) == (1, "0" * 64)


def test_anybody_can_compute_a_hash(chained: Ledger) -> None:
    """The canonical form is the one the reference page gives."""
    row = chained.db.execute("SELECT * FROM audit_log WHERE seq = 3").fetchone()
    fields = [row[name] for name in ("seq", "at", "actor", "event", "subject", "payload")]
    text = json.dumps([*fields, row["prev_hash"]], separators=(",", ":"))
    assert row["payload"] == '{"name":"Zo\\u00eb","number":0}'
    assert hashlib.sha256(text.encode()).hexdigest() == row["hash"]


@pytest.mark.parametrize(
    ("sql", "seq", "reason"),
    [
        ("UPDATE audit_log SET payload = '{}' WHERE seq = 4", 4, "not that of its contents"),
        ("UPDATE audit_log SET actor = 'bob' WHERE seq = 4", 4, "not that of its contents"),
        ("UPDATE audit_log SET at = replace(at, '15', '16') WHERE seq = 7", 7, "contents"),
        ("UPDATE audit_log SET prev_hash = hash WHERE seq = 5", 5, "row before"),
        ("DELETE FROM audit_log WHERE seq = 4", 4, "missing"),
        ("DELETE FROM audit_log WHERE seq = 1", 1, "missing"),
        ("DELETE FROM audit_log WHERE seq >= 6", 6, "7 rows were written"),
        ("DELETE FROM audit_log", 1, "7 rows were written"),
    ],
)
def test_a_changed_chain_is_found(chained: Ledger, sql: str, seq: int, reason: str) -> None:
    """Changing, cutting out and cutting off are found at the first row they touch."""
    with chained.transaction() as tx:
        tx.execute(sql)
    verdict = audit.verify(chained.db)
    assert verdict.broken_seq == seq
    assert reason in verdict.reason


def test_rows_cut_off_are_missed_for_ever(chained: Ledger, make: Any) -> None:
    """What is appended afterwards does not close the gap."""
    with chained.transaction() as tx:
        tx.execute("DELETE FROM audit_log WHERE seq = 7")
        assert audit.append(tx, "ann", "thing.happened", "", {}, make.at(9)) == 8
    assert audit.verify(chained.db).broken_seq == 7


def test_the_newest_rows_come_first(chained: Ledger) -> None:
    """A listing is read from the top."""
    assert [row.seq for row in audit.rows(chained.db, 3)] == [7, 6, 5]
    assert audit.rows(chained.db, 1)[0].payload == {"number": 4, "name": "Zoë"}
