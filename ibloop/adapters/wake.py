"""The nudge between daemons: touch ``ib/stream/_wake`` after committing work for another process.

Listeners wait on inotify. It may miss (network mounts have none), so every listener also polls.
Who wants every price as it comes waits for the quote files instead, with :class:`FileWatch`.
"""

import contextlib
import ctypes
import errno
import os
import select
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

from ibloop.adapters.wholefiles import FILE_MODE, make_directory

WAKE_NAME = "_wake"

_LIBC = ctypes.CDLL(None, use_errno=True)
# Writes, touches, and the loss of the inode we watch (inotify(7)).
_MODIFY, _ATTRIB, _DELETE_SELF, _MOVE_SELF = 0x2, 0x4, 0x400, 0x800
_EVENTS = _MODIFY | _ATTRIB | _DELETE_SELF | _MOVE_SELF
_MOVED_TO, _OVERFLOW, _IGNORED = 0x80, 0x4000, 0x8000
_LOSSES = _DELETE_SELF | _MOVE_SELF | _OVERFLOW | _IGNORED
_EVENT = struct.Struct("iIII")  # struct inotify_event: watch, mask, cookie, length of the name
_EVENTS_BYTES = 4096


def wake(stream_dir: Path) -> None:
    """Touch ``_wake``: every daemon that waits looks for work at once."""
    path = f"{stream_dir}/{WAKE_NAME}"
    try:
        # Setting both times is one inotify event even where the clock has not moved on.
        os.utime(path)
    except FileNotFoundError:
        os.close(_open_wake(stream_dir))
        os.utime(path)


def _open_wake(stream_dir: Path) -> int:
    """Open ``_wake``, making it (and its directory) first where it is missing."""
    path = f"{stream_dir}/{WAKE_NAME}"
    try:
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        make_directory(stream_dir)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    if os.fstat(fd).st_uid == os.geteuid():
        os.fchmod(fd, FILE_MODE)  # the umask may have taken the group's rights
    return fd


class _Inotify:
    """An inotify instance; also a context manager."""

    def __init__(self) -> None:
        """Open it. Raises: OSError when the kernel has no inotify instance left for us."""
        self._fd: int = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{os.strerror(number)}: raise fs.inotify.max_user_instances")
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def fileno(self) -> int:
        """Return the descriptor that is readable after an event, until it is read."""
        return self._fd

    def close(self) -> None:
        """Stop watching."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _is_ready(self, timeout_s: float) -> bool:
        return bool(self._poll.poll(timeout_s * 1000))

    def _add(self, path: Path, events: int) -> int:
        """Watch a file or directory; what is watched already stays so. Return 0 or the errno."""
        if _LIBC.inotify_add_watch(self._fd, os.fsencode(path), events) >= 0:
            return 0
        return ctypes.get_errno()


class Waker(_Inotify):
    """Wait for touches of ``_wake``.

    With asyncio: ``loop.add_reader(waker.fileno(), callback)`` and call :meth:`clear` in the
    callback; without: :meth:`wait`. The file itself is watched, not the directory, so the
    thousands of quote files that change beside it wake nobody.
    """

    def __init__(self, stream_dir: Path) -> None:
        """Begin to watch. Raises: OSError when the kernel has no inotify instance left for us."""
        super().__init__()
        self._stream_dir = stream_dir
        self._path = os.fspath(stream_dir / WAKE_NAME)
        self._watch()

    def clear(self) -> None:
        """Forget the touches so far; look for work after this call, not before."""
        if self._is_lost():
            self._watch()

    def wait(self, timeout_s: float) -> bool:
        """Wait for a touch and clear it; return False when ``timeout_s`` seconds passed without."""
        ready = self._is_ready(timeout_s)
        if ready:
            self.clear()
        return ready

    def _is_lost(self) -> bool:
        """Read the events; return whether somebody deleted or replaced the file.

        Where another process has the old one open that shows when it closes it.
        """
        lost = False
        with contextlib.suppress(BlockingIOError):
            while events := os.read(self._fd, _EVENTS_BYTES):
                lost |= any(mask & _LOSSES for _, mask, _, _ in _EVENT.iter_unpack(events))
                if len(events) < _EVENTS_BYTES:
                    break
        return lost

    def _watch(self) -> None:
        """Watch the file of that name; a watch it already has stays as it is."""
        for _ in range(3):
            os.close(_open_wake(self._stream_dir))
            number = self._add(Path(self._path), _EVENTS)
            if number == 0:
                return
            if number != errno.ENOENT:  # deleted between the two calls: make it again
                break
        raise OSError(number, os.strerror(number), self._path)


class FileWatch(_Inotify):
    """Wait for new versions of the files of a directory, which need not exist yet."""

    def __init__(self, directory: Path) -> None:
        """Begin to watch. Raises: OSError when the kernel has no inotify instance left for us."""
        super().__init__()
        self._directory = directory
        self._add(directory, _MOVED_TO)

    def changed(self, timeout_s: float) -> set[str] | None:
        """Return the names of the files that have got a new version since the last call.

        ``None`` means that any may have: ``timeout_s`` seconds passed without news, which there
        may have been where inotify does not work, or there was too much of it.
        """
        if not self._is_ready(timeout_s):
            self._add(self._directory, _MOVED_TO)  # it may have been made, or made anew
            return None
        names: set[str] = set()
        events = os.read(self._fd, _EVENTS_BYTES)
        position = 0
        while position < len(events):
            _, mask, _, length = _EVENT.unpack_from(events, position)
            position += _EVENT.size
            if mask & _OVERFLOW:
                return None
            names.add(os.fsdecode(events[position : position + length].rstrip(b"\0")))
            position += length
        return names
