"""``ibloop halt`` halts whatever state the ledger is in, and ``resume`` says what it ends."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ibloop.adapters.halt_file import read_halt_file
from ibloop.adapters.ledger import connection, halts
from ibloop.adapters.ledger import gate as gate_module
from ibloop.adapters.ledger.connection import open_ledger, open_readonly
from ibloop.core.model import HaltLevel, Mode
from tests.cli.conftest import ACCOUNT, T0

HOLD = """
import sys
from pysqlite3 import dbapi2
db = dbapi2.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(ledger: Path) -> Iterator[None]:
    """Let a program outside ibloop hold the write lock, as a person's sqlite3 shell does."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(ledger)], **pipes) as holder:  # type: ignore[call-overload]
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.stdin.close()
        holder.wait()


@pytest.mark.parametrize("level", list(HaltLevel))
def test_a_ledger_that_somebody_holds_is_no_excuse(
    ibloop: Callable, traded: Path, level: HaltLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file halts at the level that was asked for, and the command says what it did."""
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 50)
    pragmas = tuple(p if p[0] != "busy_timeout" else (p[0], "50", 50) for p in connection._PRAGMAS)
    monkeypatch.setattr(connection, "_PRAGMAS", pragmas)
    with held(traded / "ibloop.db"):
        said = ibloop("halt", "prices look wrong", "--level", level, "--data", traded)
    assert said.code == 0
    assert f"at level {level}" in said.err
    assert f"made {traded / 'HALT'}" in " ".join(said.err.split())
    found = read_halt_file(traded)
    assert found is not None
    assert found.level is level


def test_a_stopped_process_at_the_gate_is_no_excuse(
    ibloop: Callable, traded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of ours was stopped inside a transaction."""
    monkeypatch.setattr(gate_module, "GATE_WAIT_S", 0.05)
    other = open_ledger(traded / "ibloop.db", mode=Mode.PAPER, account=ACCOUNT)
    with closing(other), other.transaction():
        assert ibloop("halt", "stop", "--level", "kill", "--data", traded).code == 0
    assert (traded / "HALT").read_text() == "kill\n"


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(200)])
def test_a_ledger_that_is_none_is_no_excuse(ibloop: Callable, content: bytes) -> None:
    """A damaged file has executors, too; it is left as it is."""
    Path("data").mkdir()
    Path("data/ibloop.db").write_bytes(content)
    assert ibloop("halt", "stop", "--level", "kill").code == 0
    assert Path("data/HALT").read_text() == "kill\n"
    assert Path("data/ibloop.db").read_bytes() == content


def test_a_full_disk_is_no_excuse(
    ibloop: Callable, traded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the transaction itself raises counts like what opening does."""

    def full(*_args: object) -> int:
        raise connection.OperationalError("database or disk is full")

    monkeypatch.setattr(halts, "halt", full)
    assert ibloop("halt", "stop", "--level", "kill", "--data", traded).code == 0
    assert (traded / "HALT").read_text() == "kill\n"


def test_a_file_that_cannot_be_made_either_is_an_error(
    ibloop: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told that trading is halted when it is not."""
    Path("data").mkdir()

    def refused(*_args: object, **_names: object) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_text", refused)
    said = ibloop("halt", "stop", "--level", "kill")
    assert said.code == 78
    assert "nothing is halted" in said.err
    assert "cancel at the broker" in " ".join(said.err.split())


def test_the_loop_of_another_account_is_not_halted(ibloop: Callable, tmp_path: Path) -> None:
    """Its ledger lies where ours should: the wrong directory was named."""
    data = tmp_path / "other"
    open_ledger(data / "ibloop.db", mode=Mode.PAPER, account="DU7654321", now=T0).close()
    assert ibloop("halt", "stop", "--data", data).code == 78
    assert not (data / "HALT").exists()


def test_a_resume_says_what_it_ends(ibloop: Callable, traded: Path) -> None:
    """A halt of the guard that came under a pause is not ended unseen."""
    assert ibloop("halt", "lunch", "--data", traded).code == 0
    with (
        closing(open_ledger(traded / "ibloop.db", mode=Mode.PAPER, account=ACCOUNT)) as ledger,
        ledger.transaction() as tx,
    ):
        halts.halt(tx, HaltLevel.REDUCE_ONLY, "day loss 3.5 %", "guard", "guard", T0)
    said = ibloop("resume", "back", "--data", traded)
    assert said.code == 0
    assert "reduce-only of guard: day loss 3.5 %" in said.err
    with closing(open_readonly(traded / "ibloop.db")) as db:
        assert halts.active(db) == ()
