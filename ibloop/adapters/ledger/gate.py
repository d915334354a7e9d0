"""The gate: writers queue on a lock file before they ask SQLite for its write lock.

SQLite's own waiting sleeps and tries again, so one busy writer can starve the rest for seconds;
the kernel serves ``flock`` waiters in turn. The gate is for fairness only: a writer that goes
round it (or a gate file somebody deletes) is still serialised by ``BEGIN IMMEDIATE``.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ibloop.errors import Exit, LedgerError

GATE_WAIT_S = 10.0
"""Longest wait for the writers ahead. A transaction takes milliseconds: longer means that a
process is stopped inside one, and a person who halts must be told rather than kept waiting."""

LOOK_EVERY_S, LOOKS = 0.0001, 150
"""Most waits end within a commit: so long the gate is looked at again, about 20 ms. A thread in
the kernel's queue costs two more wake-ups, on a busy machine milliseconds, but has its turn."""

FILE_MODE = 0o660
"""Operators are members of the group and must be able to halt, whatever the umask was."""


class LedgerBusyError(LedgerError):
    """Another process holds the ledger's write lock too long; trying again may help."""

    exit_code = Exit.FAILED


def create_file(path: Path) -> bool:
    """Create ``path`` empty with :data:`FILE_MODE`; return False when it was there already."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    except FileExistsError:
        return False
    os.fchmod(handle, FILE_MODE)
    os.close(handle)
    return True


class Gate:
    """One process's place at the gate; not re-entrant, one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the gate file, creating it when it is missing."""
        create_file(path)
        self._path = path
        self._handle = _open(path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the gate for the block.

        Raises: LedgerBusyError after :data:`GATE_WAIT_S` seconds of waiting.
        """
        try:
            self._acquire()
            yield
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._handle)

    def _acquire(self) -> None:
        for _ in range(LOOKS):
            if self._is_free():
                return
            time.sleep(LOOK_EVERY_S)
        self._queue()

    def _is_free(self) -> bool:
        """Take the gate if nobody has it: what is usual, and needs no thread."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _queue(self) -> None:
        """Wait in the kernel's queue, which has no timeout, on a thread that can be abandoned."""
        waiter = _Waiter(self._handle)
        ours = False
        try:
            waiter.taken.wait(GATE_WAIT_S)
        finally:
            ours = waiter.settle()
            if not ours:
                self._handle = _open(self._path)
        if not ours:
            raise LedgerBusyError(
                f"expected the gate {self._path} within {GATE_WAIT_S:g} s, but another process "
                "holds it: find the stopped process (`fuser` names it) and end it; "
                "a file HALT in the data directory stops sending meanwhile"
            )


class _Waiter:
    """A blocked flock that closes its file by itself when nobody waits for it any more."""

    def __init__(self, handle: int) -> None:
        self.taken = threading.Event()
        self._handle = handle
        self._mutex = threading.Lock()
        self._is_abandoned = False
        threading.Thread(target=self._wait, name="ledger-gate", daemon=True).start()

    def _wait(self) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        with self._mutex:
            if self._is_abandoned:
                os.close(self._handle)
            else:
                self.taken.set()

    def settle(self) -> bool:
        """Return whether the lock is ours; if not, leave it to the thread to give it back."""
        with self._mutex:
            self._is_abandoned = not self.taken.is_set()
            return not self._is_abandoned


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
