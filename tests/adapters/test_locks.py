"""One process per duty, whoever dies how."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

import ibloop
from ibloop.adapters.locks import DaemonLock
from ibloop.errors import Exit, LockHeldError

ROOT = Path(ibloop.__file__).parent.parent

TRY = """
import sys
from pathlib import Path
from ibloop.adapters.locks import DaemonLock
from ibloop.errors import IbloopError
try:
    with DaemonLock(Path(sys.argv[1]), "executor"):
        print("held", flush=True)
        sys.stdin.read()
except IbloopError as error:
    print(error, file=sys.stderr)
    sys.exit(int(error.exit_code))
"""


def start(data_dir: Path) -> "subprocess.Popen[str]":
    """Start a process that takes the executor's lock and keeps it until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", TRY, str(data_dir)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_second_process_exits_75_and_names_the_holder(tmp_path: Path) -> None:
    """A second start ends at once with exit 75 and says who holds the lock."""
    first = start(tmp_path)
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    second = start(tmp_path)
    _, said = second.communicate(timeout=30)
    assert second.returncode == Exit.LOCK_HELD
    assert f"executor is already running as pid {first.pid} (lock {tmp_path}/locks/" in said
    with pytest.raises(LockHeldError, match=f"pid {first.pid} "), DaemonLock(tmp_path, "executor"):
        pass
    first.communicate(input="", timeout=30)


def test_killed_holder_leaves_the_lock_free(tmp_path: Path) -> None:
    """The kernel releases a killed holder's lock; the file it leaves means nothing."""
    holder = start(tmp_path)
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.kill()
    holder.communicate(timeout=30)
    path = tmp_path / "locks" / "executor.lock"
    assert path.read_text(encoding="ascii") == f"{holder.pid}\n"
    with DaemonLock(tmp_path, "executor"):
        assert path.read_text(encoding="ascii") != f"{holder.pid}\n"


def test_file_stays_and_is_the_groups(tmp_path: Path) -> None:
    """The lock file is never deleted, and keeps its inode; operators of the group may read it."""
    with DaemonLock(tmp_path, "guard") as lock:
        first = lock.path.stat()
    with DaemonLock(tmp_path, "guard"):
        again = lock.path.stat()
    assert first.st_ino == again.st_ino
    assert stat.S_IMODE(again.st_mode) == 0o660
    assert stat.S_IMODE(lock.path.parent.stat().st_mode) == 0o2770


def test_second_object_of_one_process_is_refused(tmp_path: Path) -> None:
    """Also within a process one lock object holds it."""
    with DaemonLock(tmp_path, "guard"), pytest.raises(LockHeldError):
        DaemonLock(tmp_path, "guard").__enter__()


def test_names_do_not_exclude_each_other(tmp_path: Path) -> None:
    """Each daemon has a lock of its own."""
    with DaemonLock(tmp_path, "guard"), DaemonLock(tmp_path, "executor"):
        pass


def test_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    """An error inside the block frees the lock."""
    with pytest.raises(ZeroDivisionError), DaemonLock(tmp_path, "guard"):
        1 / 0  # noqa: B018
    with DaemonLock(tmp_path, "guard"):
        pass


def test_holder_without_a_pid_is_unknown(tmp_path: Path) -> None:
    """Whatever the file says, a held lock is held."""
    with DaemonLock(tmp_path, "guard") as lock:
        lock.path.write_text("garbage", encoding="ascii")
        with pytest.raises(LockHeldError, match="as pid unknown"):
            DaemonLock(tmp_path, "guard").__enter__()
