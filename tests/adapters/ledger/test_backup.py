"""What bears the name of a backup is a whole, checked ledger; everything else leaves no file."""

import grp
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ibloop.adapters.ledger import alerts, audit, backup, check
from ibloop.adapters.ledger.backup import BackupError, prune
from ibloop.adapters.ledger.connection import Ledger, open_ledger, open_readonly
from ibloop.cli.root import ibloop
from ibloop.core.model import Mode
from ibloop.errors import LedgerError

NOW = datetime(2026, 11, 20, 15, 30, 5, tzinfo=UTC)

WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from ibloop.adapters.ledger import alerts
from ibloop.adapters.ledger.connection import open_ledger
from ibloop.core.model import Mode
ledger = open_ledger(Path(sys.argv[1]), mode=Mode.PAPER, account="DU1234567")
now = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
for number in range(10**9):
    with ledger.transaction() as tx:
        for text in ("one", "two"):
            alerts.raise_alert(tx, "info", "a.b", "", text * 500, None, now)
    if number == 20:
        print("writing", flush=True)
"""


def back_up(path: Path, directory: Path, now: datetime = NOW) -> Path:
    """Make a backup of the ledger under test."""
    return backup.backup(path, directory, mode=Mode.PAPER, account="DU1234567", now=now)


def names(directory: Path) -> list[str]:
    """Return what is in a directory, hidden files too."""
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


@pytest.fixture
def filled(ledger: Ledger, make: Any) -> Ledger:
    """Return a ledger whose last commits are still in the WAL."""
    make.planned(ledger)
    make.sending(ledger)
    return ledger


def test_a_backup_is_a_whole_ledger_of_one_file(filled: Ledger, path: Path, tmp_path: Path) -> None:
    """Everything committed is in it, it is sound, and nothing lies beside it."""
    into = tmp_path / "backups"
    made = back_up(path, into)
    assert made == into / "ibloop-20261120T153005Z.db"
    assert names(into) == [made.name]
    assert stat.S_IMODE(made.stat().st_mode) == 0o640
    copy = open_readonly(made)
    assert check.check(copy) == ()
    assert audit.rows(copy, 99) == audit.rows(filled.db, 99)
    copy.close()
    assert names(into) == [made.name]
    assert path.exists()


def test_a_backup_becomes_a_ledger_again(filled: Ledger, path: Path, tmp_path: Path) -> None:
    """Copied to its place it opens, and goes on where it was."""
    made = back_up(path, tmp_path / "backups")
    (tmp_path / "new").mkdir()
    restored = tmp_path / "new" / "ibloop.db"
    shutil.copy(made, restored)
    again = open_ledger(restored, mode=Mode.PAPER, account="DU1234567")
    with again.transaction() as tx:
        alerts.raise_alert(tx, "info", "ledger.restored", "", "here we are", None, NOW)
    assert check.check(again.db) == ()
    again.close()


def test_backups_are_whole_while_others_write(path: Path, processes: Any, tmp_path: Path) -> None:
    """No copy holds half a transaction, and no writer is held up for good."""
    open_ledger(path, mode=Mode.PAPER, account="DU1234567", now=NOW).close()
    writer = processes.start(WRITER, path)
    assert writer.stdout.readline() == "writing\n"
    counts = []
    for number in range(5):
        made = back_up(path, tmp_path / "backups", NOW + timedelta(minutes=number))
        copy = open_readonly(made)
        texts = [row["text"][:3] for row in copy.execute("SELECT text FROM alerts")]
        one, two = texts.count("one"), texts.count("two")
        copy.close()
        assert one == two
        counts.append(one)
    assert writer.poll() is None
    assert counts == sorted(counts)
    assert counts[0] >= 20


def test_two_backups_of_one_second_are_two(filled: Ledger, path: Path, tmp_path: Path) -> None:
    """A backup is never overwritten: the next free second names the next one."""
    into = tmp_path / "backups"
    assert [back_up(path, into).name for _ in range(3)] == [
        "ibloop-20261120T153005Z.db",
        "ibloop-20261120T153006Z.db",
        "ibloop-20261120T153007Z.db",
    ]


DAMAGE = {
    "audit": "UPDATE audit_log SET actor = 'nobody' WHERE seq = 2",
    "promises": "UPDATE trade_orders SET filled_quantity = '7'",
    "identity": "DELETE FROM ledger_identity",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_an_unsound_ledger_makes_no_backup(
    filled: Ledger, path: Path, tmp_path: Path, kind: str
) -> None:
    """The refusal names what is wrong, and what was there before stays."""
    into = tmp_path / "backups"
    before = back_up(path, into)
    for row in filled.db.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
    ).fetchall():
        filled.db.execute(f"DROP TRIGGER {row['name']}")
    filled.db.execute(DAMAGE[kind])
    with pytest.raises(BackupError, match=kind):
        back_up(path, into)
    assert names(into) == [before.name]


@pytest.mark.parametrize("place", [0.0, 0.5, 0.75, 0.9])
def test_damaged_pages_make_no_backup(path: Path, tmp_path: Path, place: float) -> None:
    """Bytes that a disk has lost are found before the copy gets its name, wherever they are."""
    ledger = open_ledger(path, mode=Mode.PAPER, account="DU1234567", now=NOW)
    with ledger.transaction() as tx:
        for number in range(200):
            alerts.raise_alert(tx, "info", "a.b", "", f"{number}" * 100, None, NOW)
    ledger.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(int(size * place))
        file.write(b"\xff" * 8192)
    with pytest.raises(BackupError):
        back_up(path, tmp_path / "backups")
    assert names(tmp_path / "backups") == []


def test_a_ledger_of_another_account_makes_no_backup(
    filled: Ledger, path: Path, tmp_path: Path
) -> None:
    """A backup under this profile is one of this profile."""
    with pytest.raises(BackupError, match="DU7654321"):
        backup.backup(path, tmp_path / "b", mode=Mode.PAPER, account="DU7654321", now=NOW)
    with pytest.raises(BackupError, match="live"):
        backup.backup(path, tmp_path / "b", mode=Mode.LIVE, account="DU1234567", now=NOW)
    assert names(tmp_path / "b") == []


def test_without_a_ledger_there_is_nothing_to_back_up(path: Path, tmp_path: Path) -> None:
    """The refusal is that of every reader, and no directory is made."""
    with pytest.raises(LedgerError, match="nothing has run yet"):
        back_up(path, tmp_path / "backups")
    assert not (tmp_path / "backups").exists()


def test_the_newest_are_kept(tmp_path: Path) -> None:
    """Only files of ours count, the one just made stays whatever the clock says."""
    made = [tmp_path / f"ibloop-2026112{day}T000000Z.db" for day in range(6)]
    for path in (*made, tmp_path / "notes.txt", tmp_path / "ibloop-old.db"):
        path.touch()
    assert prune(tmp_path, made[5], 3, NOW) == (made[0], made[1], made[2])
    assert prune(tmp_path, made[5], 3, NOW) == ()
    assert prune(tmp_path, made[3], 1, NOW) == (made[4], made[5])
    assert names(tmp_path) == ["ibloop-20261123T000000Z.db", "ibloop-old.db", "notes.txt"]


def test_what_a_killed_backup_left_goes_after_a_day(tmp_path: Path) -> None:
    """Not earlier: another one may be at work."""
    left = [tmp_path / f".ibloop-backup-{name}" for name in ("old", "new")]
    for directory in left:
        directory.mkdir()
        (directory / "ibloop.db").touch()
    day = timedelta(days=1, minutes=1)
    os.utime(left[0], times=((NOW - day).timestamp(),) * 2)
    os.utime(left[1], times=((NOW - timedelta(hours=1)).timestamp(),) * 2)
    prune(tmp_path, tmp_path / "ibloop-20261120T153005Z.db", 1, NOW)
    assert names(tmp_path) == [".ibloop-backup-new"]


def invoke(*arguments: object) -> Result:
    """Run `ibloop db backup`."""
    return CliRunner().invoke(ibloop, ["db", "backup", *map(str, arguments)])


def test_the_command_prints_the_path(filled: Ledger, tmp_path: Path) -> None:
    """The path alone on stdout; the directory is that of the data unless another is named."""
    result = invoke("--data", tmp_path)
    assert result.exit_code == 0, result.output
    made = Path(result.stdout.strip())
    assert made.parent == tmp_path / "backups"
    assert made.exists()
    elsewhere = invoke("--data", tmp_path, "--to", tmp_path / "deep" / "er", "--keep", 1)
    assert Path(elsewhere.stdout.strip()).parent == tmp_path / "deep" / "er"
    for _ in range(2):
        result = invoke("--data", tmp_path, "--keep", 2)
    assert len(names(tmp_path / "backups")) == 2
    assert "deleted" in result.stderr
    assert result.stdout.strip().endswith(names(tmp_path / "backups")[-1])


def test_the_command_fails_loudly_and_leaves_nothing(filled: Ledger, tmp_path: Path) -> None:
    """Exit 1 with the reason; `--keep 0` is no wish that can be granted."""
    filled.db.execute("DROP TRIGGER ledger_identity_delete")
    filled.db.execute("DELETE FROM ledger_identity")
    result = invoke("--data", tmp_path)
    assert isinstance(result.exception, BackupError)
    assert result.exception.exit_code == 1
    assert result.stdout == ""
    assert names(tmp_path / "backups") == []
    assert invoke("--data", tmp_path, "--keep", 0).exit_code == 2


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a directory that members of a group may enter, as the tmpfiles rule makes it."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@contextmanager
def member_of(group: int) -> Iterator[None]:
    """Make this process, which is root's, that of somebody who is in one group, for a while."""
    nobody, groups, umask = pwd.getpwnam("nobody"), os.getgroups(), os.umask(0o077)
    os.setgroups([group])
    os.setegid(nobody.pw_gid)
    os.seteuid(nobody.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
        os.umask(umask)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_member_of_the_group_can_back_up_with_no_daemon_up(shared: Path) -> None:
    """Somebody who owns nothing but is in the group; the ledger stays usable for its owner."""
    group = grp.getgrnam("daemon").gr_gid
    data = shared / "data"
    data.mkdir()
    os.chown(data, 0, group)
    data.chmod(0o2770)
    open_ledger(data / "ibloop.db", mode=Mode.PAPER, account="DU1234567", now=NOW).close()
    assert names(data) == ["ibloop.db", "ibloop.db.gate"]
    with pytest.raises(PermissionError), member_of(pwd.getpwnam("nobody").pw_gid):
        back_up(data / "ibloop.db", data / "backups")
    with member_of(group):
        made = back_up(data / "ibloop.db", data / "backups")
        prune(data / "backups", made, 1, NOW)
    status = made.stat()
    assert (status.st_uid, status.st_gid) == (pwd.getpwnam("nobody").pw_uid, group)
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o2770
    again = open_ledger(data / "ibloop.db", mode=Mode.PAPER, account="DU1234567")
    with again.transaction() as tx:
        alerts.raise_alert(tx, "info", "a.b", "", "still mine", None, NOW)
    again.close()
