"""The recorder: every version of every quote file, in compressed JSON Lines.

A line is what a quote file held, so ``zcat`` and ``jq`` read a recording, and ``ibloop sim
--replay`` plays it. Each flush is a gzip member of its own: a recording is readable while it is
written, and after kill -9 it lacks the last half second at most. A thread compresses and writes,
because neither may make a price late; and no trouble of the recorder is one of the stream. Where
lines are missing, ``{"lost":12}`` stands in their place.
"""

import os
import threading
import zlib
from collections import deque
from pathlib import Path

from ibloop.adapters.wholefiles import FILE_MODE
from ibloop.errors import BadInputError

FLUSH_S = 0.5
WAITING_MAX = 100_000  # lines not yet written: 50 MB, and ten seconds of ten thousand ticks
BYTES_MAX = 4 * 2**30  # a busy week; then this recording ends
FREE_BYTES_MIN = 2**30  # what the disk must keep free for the ledger, which may share it
NUMBER_MAX = 999
CLOSE_S = 10.0

_ENDINGS = (".jsonl.gz", ".gz")
_GZIP = 31  # zlib's word for a window of 32 KiB and a gzip header around it
_LEVEL = 6


class Recorder:
    """Takes lines from one thread and writes them from another.

    ``trouble`` says in words what keeps it from recording now; empty when nothing does. ``lost``
    counts the lines that were not recorded; ``problem`` says both in words.
    """

    def __init__(self, path: Path) -> None:
        """Begin a new file: ``path``, or its next free number, ``day.2.jsonl.gz``.

        Raises: BadInputError when there can be none, because nobody wants to notice that later.
        """
        self.path, self._fd = _new_file(path)
        self.trouble = ""
        self._refused = self._refused_told = 0  # for want of room, as counted by who hands over
        self._unwritten = self._unwritten_told = 0  # as counted by the thread
        self._size = 0
        self._lines: deque[bytes] = deque()
        self._ended = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Return how many lines were not recorded."""
        return self._refused + self._unwritten

    @property
    def problem(self) -> str:
        """Return what a person should know of the recording, empty when it is whole."""
        lost = f"{self.lost} versions are missing in {self.path}" if self.lost else ""
        return "; ".join(part for part in (self.trouble, lost) if part)

    def take(self, line: bytes) -> None:
        """Record a line, ended by a line feed, soon; returns at once."""
        if self._ended or len(self._lines) >= WAITING_MAX:
            self._refused += 1
            return
        self._lines.append(line)

    def close(self) -> None:
        """Write what is waiting and close; give up after ten seconds if the disk hangs."""
        self._stopping.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            while not self._stopping.wait(FLUSH_S):
                self._flush()
            self._flush()
        except Exception as error:  # noqa: BLE001  # why: a thread would die without a word
            self._ended = True
            self.trouble = f"the recording has ended: {type(error).__name__}: {error}"
        os.close(self._fd)
        if not self._size:
            self.path.unlink(missing_ok=True)  # no price ever came, or it was a second start

    def _flush(self) -> None:
        """Write what has been taken as one gzip member, whole or not at all."""
        refused = self._refused  # read first: what found no room is missing behind these lines
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if not lines:
            return
        before = _gap(self._unwritten - self._unwritten_told)
        behind = _gap(refused - self._refused_told)
        try:
            self.trouble = self._hindrance()
            if not self.trouble:
                self._append(_member(b"".join([before, *lines, behind])))
                self._refused_told, self._unwritten_told = refused, self._unwritten
        except OSError as error:
            self.trouble = f"cannot record to {self.path}: {error.strerror}"
        if self.trouble:
            self._unwritten += len(lines)

    def _hindrance(self) -> str:
        if self._size >= BYTES_MAX:
            return f"{self.path} is full: {BYTES_MAX // 2**30} GiB"
        disk = os.fstatvfs(self._fd)
        if disk.f_bavail * disk.f_frsize < FREE_BYTES_MIN:
            return f"not recording: less than {FREE_BYTES_MIN // 2**30} GiB free for {self.path}"
        return ""

    def _append(self, member: bytes) -> None:
        """Write a member behind the last; take back what part of it was written on failure."""
        done = 0
        try:
            while done < len(member):
                done += os.pwrite(self._fd, member[done:], self._size + done)
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += done


def _gap(lost: int) -> bytes:
    """Return the line that stands for so many missing ones; nothing for none."""
    return b'{"lost":%d}\n' % lost if lost else b""


def _member(content: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    return packer.compress(content) + packer.flush()


def _new_file(path: Path) -> tuple[Path, int]:
    """Create a file that is not there yet. Raises: BadInputError."""
    ending = next((e for e in _ENDINGS if path.name.endswith(e)), "")
    stem = path.name.removesuffix(ending)
    numbered = (path.with_name(f"{stem}.{n}{ending}") for n in range(2, NUMBER_MAX + 1))
    for candidate in (path, *numbered):
        try:
            fd = os.open(candidate, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        except FileExistsError:
            continue
        except OSError as error:
            raise BadInputError(f"cannot record to {candidate}: {error.strerror}") from None
        os.fchmod(fd, FILE_MODE)  # the umask may have taken the group's rights
        return candidate, fd
    raise BadInputError(f"cannot record to {path}: there are {NUMBER_MAX} recordings of it already")
