"""Backups: a copy made while others write, checked before it gets its name.

SQLite's online backup reads one state of the ledger; in WAL mode it stops no writer. The copy is
made in a directory of its own beside its later place, and checked there as ``ibloop db check``
checks the ledger: what bears the name of a backup is one.
"""

import os
import re
import shutil
import stat
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ibloop.adapters.ledger.check import Problem, check
from ibloop.adapters.ledger.connection import Connection, DatabaseError, open_readonly
from ibloop.adapters.ledger.identity import identity
from ibloop.adapters.wholefiles import make_directory
from ibloop.core.model import Mode
from ibloop.errors import IbloopError, LedgerError

FILE_MODE = 0o640
NAME = re.compile(r"ibloop-\d{8}T\d{6}Z\.db")
SCRATCH_PREFIX = ".ibloop-backup-"
SCRATCH_AGE_MAX = timedelta(days=1)


class BackupError(IbloopError):
    """A copy could not be made, or is no sound ledger; there is no new backup."""


def backup(ledger: Path, directory: Path, *, mode: Mode, account: str, now: datetime) -> Path:
    """Copy the ledger into ``directory`` as ``ibloop-YYYYMMDDTHHMMSSZ.db``; return its path.

    ``now`` names it; where that second has a backup already, the next free one does. The file is
    whole by itself (no WAL beside it), on disk when this returns, and of mode 0640.
    Raises: LedgerError when there is no ledger to copy; BackupError, which names what is wrong,
    when the copy is not a sound ledger of this account; OSError. In each case nothing is left.
    """
    with closing(_open(ledger)) as source:
        make_directory(directory)
        scratch = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=directory))
        try:
            copy = scratch / ledger.name
            _copy(source, copy)
            _verify(copy, mode, account)
            _to_disk(copy)
            path = _free_name(directory, now)
            copy.rename(path)
        finally:
            shutil.rmtree(scratch)
    _to_disk(directory)
    return path


def prune(directory: Path, kept: Path, keep: int, now: datetime) -> tuple[Path, ...]:
    """Delete all but the newest ``keep`` backups and return what was deleted, oldest first.

    ``kept``, the one just made, stays in any case: a clock that was set back must not make it the
    oldest. Other files stay, but for what a killed backup has left behind a day ago.
    """
    others = sorted(p for p in directory.iterdir() if NAME.fullmatch(p.name) and p != kept)
    gone = tuple(others[: max(0, len(others) - (keep - 1))])
    for path in gone:
        path.unlink()
    for path in directory.glob(f"{SCRATCH_PREFIX}*"):
        if now - datetime.fromtimestamp(path.stat().st_mtime, UTC) > SCRATCH_AGE_MAX:
            shutil.rmtree(path)
    return gone


def _open(ledger: Path) -> Connection:
    """Open the ledger; one whose file is damaged is a failed backup, not a wrong configuration."""
    try:
        return open_readonly(ledger)
    except LedgerError as error:
        if isinstance(error.__cause__, DatabaseError):
            raise BackupError(f"no backup was made, {error}") from error
        raise


def _copy(source: Connection, path: Path) -> None:
    """Copy all pages in one step, so that no writer can make it begin again."""
    try:
        with closing(Connection(str(path), isolation_level=None)) as target:
            source.backup(target, pages=-1)
            # The copy has the ledger's mode; in WAL mode it would need files beside it to be read.
            target.execute("PRAGMA journal_mode = DELETE")
    except DatabaseError as error:
        raise BackupError(f"no backup was made, the ledger cannot be copied: {error}") from error


def _verify(path: Path, mode: Mode, account: str) -> None:
    """Raise BackupError unless the copy is a sound ledger of this account."""
    try:
        with closing(open_readonly(path)) as db:
            problems = check(db) or _foreign(db, mode, account)
    except (LedgerError, DatabaseError) as error:
        raise BackupError(f"no backup was made, the copy cannot be read: {error}") from error
    if problems:
        found = "; ".join(f"{p.check} {p.subject}: {p.text}" for p in problems[:3])
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise BackupError(
            f"no backup was made, the ledger is not sound: {found}{more}. `ibloop db check` shows "
            "all; keep the backups there are"
        )


def _foreign(db: Connection, mode: Mode, account: str) -> tuple[Problem, ...]:
    owner = identity(db)
    if (owner.mode, owner.account) == (mode, account):
        return ()
    text = f"it is that of {owner.mode} account {owner.account}, not of {mode} account {account}"
    return (Problem("identity", "ledger_identity", text),)


def _to_disk(path: Path) -> None:
    """Flush a file, which gets its final rights, or a directory."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            os.fchmod(handle, FILE_MODE)
        os.fsync(handle)
    finally:
        os.close(handle)


def _free_name(directory: Path, now: datetime) -> Path:
    moment = now.astimezone(UTC)
    while (path := directory / f"ibloop-{moment:%Y%m%dT%H%M%SZ}.db").exists():
        moment += timedelta(seconds=1)
    return path
