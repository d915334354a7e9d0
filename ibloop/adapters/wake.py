"""The nudge between daemons: touch ``ib/stream/_wake`` after committing work for another process.

Listeners wait on inotify. It may miss (network mounts have none), so every listener also polls.
"""

import ctypes
import errno
import os
import select
from pathlib import Path
from types import TracebackType

from ibloop.adapters.wholefiles import FILE_MODE, make_directory

WAKE_NAME = "_wake"

_LIBC = ctypes.CDLL(None, use_errno=True)
# Writes, touches, and the loss of the inode we watch (inotify(7)).
_MODIFY, _ATTRIB, _DELETE_SELF, _MOVE_SELF = 0x2, 0x4, 0x400, 0x800
_EVENTS = _MODIFY | _ATTRIB | _DELETE_SELF | _MOVE_SELF


def wake(stream_dir: Path) -> None:
    """Touch ``_wake``: every daemon that waits looks for work at once."""
    fd = _open_wake(stream_dir)
    try:
        # Setting both times is one inotify event even where the clock has not moved on.
        os.utime(fd)
    finally:
        os.close(fd)


def _open_wake(stream_dir: Path) -> int:
    """Open ``_wake``, making it (and its directory) first where it is missing."""
    path = stream_dir / WAKE_NAME
    try:
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        make_directory(stream_dir)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    if os.fstat(fd).st_uid == os.geteuid():
        os.fchmod(fd, FILE_MODE)  # the umask may have taken the group's rights
    return fd


class Waker:
    """Wait for touches of ``_wake``; also a context manager.

    With asyncio: ``loop.add_reader(waker.fileno(), callback)`` and call :meth:`clear` in the
    callback; without: :meth:`wait`. The file itself is watched, not the directory, so the
    thousands of quote files that change beside it wake nobody.
    """

    def __init__(self, stream_dir: Path) -> None:
        """Begin to watch. Raises: OSError when the kernel has no inotify instance left for us."""
        self._stream_dir = stream_dir
        self._fd: int = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{os.strerror(number)}: raise fs.inotify.max_user_instances")
        self._watch()

    def fileno(self) -> int:
        """Return the descriptor that is readable after a touch, until :meth:`clear`."""
        return self._fd

    def clear(self) -> None:
        """Forget the touches so far; look for work after this call, not before."""
        try:
            while os.read(self._fd, 4096):
                pass
        except BlockingIOError:
            pass
        # Somebody may have deleted or replaced the file: watch what bears the name now.
        self._watch()

    def wait(self, timeout_s: float) -> bool:
        """Wait for a touch and clear it; return False when ``timeout_s`` seconds passed without."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        ready = poll.poll(timeout_s * 1000)
        if ready:
            self.clear()
        return bool(ready)

    def close(self) -> None:
        """Stop watching."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "Waker":
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

    def _watch(self) -> None:
        """Watch the file of that name; a watch it already has stays as it is."""
        path = os.fsencode(self._stream_dir / WAKE_NAME)
        for _ in range(3):
            os.close(_open_wake(self._stream_dir))
            if _LIBC.inotify_add_watch(self._fd, path, _EVENTS) >= 0:
                return
            number = ctypes.get_errno()
            if number != errno.ENOENT:  # deleted between the two calls: make it again
                break
        raise OSError(number, os.strerror(number), os.fsdecode(path))
