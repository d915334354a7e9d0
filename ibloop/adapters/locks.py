"""One process per duty: a native flock held for life. The only import of filelock.

The lock file is never deleted: unlinking a held one would let a second holder in. Its text, the
holder's pid, stays behind after the holder has gone; only the lock itself proves a living one.
"""

import os
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from ibloop.adapters.wholefiles import FILE_MODE, make_directory
from ibloop.errors import LockHeldError


class DaemonLock:
    """Hold ``locks/NAME.lock`` under the data directory for the length of a ``with`` block.

    Entering raises LockHeldError at once, naming the holder's pid, when another process or another
    lock object of this process holds it.
    """

    def __init__(self, data_dir: Path, name: str) -> None:
        """Name the lock; ``name`` is the daemon's, such as ``executor``. Nothing is taken yet."""
        self.path = data_dir / "locks" / f"{name}.lock"
        self._name = name
        self._lock = FileLock(
            self.path,
            timeout=0,
            mode=FILE_MODE,
            thread_local=False,
            # A soft lock outlives a killed holder: without flock we rather do not start.
            fallback_to_soft=False,
            preserve_lock_file=True,
            on_acquired=_write_pid,
        )

    def __enter__(self) -> "DaemonLock":
        """Take the lock. Raises: LockHeldError."""
        make_directory(self.path.parent)
        try:
            self._lock.acquire()
        except Timeout:
            raise LockHeldError(
                f"{self._name} is already running as pid {_read_pid(self.path)} "
                f"(lock {self.path}). Stop that process first."
            ) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the lock back; the file stays."""
        self._lock.release()


def _write_pid(fd: int) -> None:
    """Make the holder's pid the whole text of the lock file."""
    if os.fstat(fd).st_uid == os.geteuid():
        os.fchmod(fd, FILE_MODE)  # the umask may have taken the group's rights
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode("ascii"), 0)


def _read_pid(path: Path) -> str:
    """Return the pid in the file, ``unknown`` between a holder's lock and its first write."""
    text = path.read_text(encoding="ascii", errors="replace").strip()
    return text if text.isdecimal() else "unknown"
