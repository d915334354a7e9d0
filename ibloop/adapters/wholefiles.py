"""Small files that are whole for every reader, with a shared flock or without one.

Two inodes take turns: the writer fills the spare one in ``.spare/`` and exchanges it with the file
in one rename. A write lease on the spare (fcntl(2), F_SETLEASE) proves that nobody else has it open
and holds off whoever is about to open it; the lease lasts past the exchange, so what a reader sees
of one file never goes back either. On ext4 this costs a tenth of replacing the file, which forces
the new one to disk. Without leases or RENAME_EXCHANGE (NFS) every version is a new file.
"""

import ctypes
import errno
import fcntl
import os
import signal
import stat
import threading
import time
from pathlib import Path

from ibloop.core.invariant import invariant

FILE_MODE = 0o660
DIRECTORY_MODE = 0o2770  # set-group-id: what operators and daemons make stays with the group
FILE_BYTES_MAX = 65_536
READ_TRIES_MAX = 50
READ_PAUSE_S = 0.001

SPARE_DIRECTORY = ".spare"
BAD_DIRECTORY = ".bad"

_LIBC = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})
_OPEN_SPARE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: neither a fifo nor another process's lease may hang a reader.
_OPEN_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def make_directory(path: Path) -> None:
    """Create a directory and its missing parents with mode 2770; leave existing ones alone."""
    if path.is_dir():
        return
    make_directory(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        return
    path.chmod(DIRECTORY_MODE)


class WholeFiles:
    """The writer of some files of one directory; each file may have one writer at a time.

    Make it in the main thread: it ignores SIGIO, which the kernel sends to a lease holder when
    somebody opens the file and which would end the process. In another thread it does without
    leases, at the price of replacing.
    """

    def __init__(self, directory: Path) -> None:
        """Write into ``directory``, made at the first write where it is missing."""
        self.directory = directory
        self._prefix = f"{directory}/"
        self._spare_prefix = f"{directory}/{SPARE_DIRECTORY}/"
        self._exchanges = _ignore_sigio()

    def write(self, name: str, payload: bytes) -> None:
        """Make ``payload`` the whole content of the file ``name``, at once, mode 0660.

        It is not flushed to disk: after a power cut the file may be an older version or damaged.
        """
        invariant(len(payload) <= FILE_BYTES_MAX, f"{name}: {len(payload)} bytes is too much")
        target, spare = self._prefix + name, self._spare_prefix + name
        fd = self._open_spare(spare)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _fill(fd, payload)
            self._show(spare, target)
        finally:
            os.close(fd)  # gives back the lease and the lock

    def spare_path(self, name: str) -> Path:
        """Return where the spare of a file is; it holds the version before."""
        return self.directory / SPARE_DIRECTORY / name

    def quarantine(self, name: str) -> None:
        """Move a damaged file to ``.bad/``, in place of one moved there before."""
        make_directory(self.directory / BAD_DIRECTORY)
        (self.directory / name).replace(self.directory / BAD_DIRECTORY / name)

    def _open_spare(self, spare: str) -> int:
        """Open a spare that nobody else has open: the old one under a lease, or a new one."""
        fd = self._leased(spare) if self._exchanges else None
        return _new_file(spare) if fd is None else fd

    def _leased(self, spare: str) -> int | None:
        """Open the spare under a write lease; None when there is none, or somebody reads it."""
        try:
            fd = os.open(spare, _OPEN_SPARE)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.EACCES):
                return None
            raise
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            os.close(fd)
            if error.errno in _UNSUPPORTED:
                self._exchanges = False
            elif error.errno not in (errno.EAGAIN, errno.EACCES):  # read now; not our own file
                raise
            return None
        return fd

    def _show(self, spare: str, target: str) -> None:
        """Give the filled spare the file's name, and the old inode the spare's."""
        if self._exchanges:
            number = _exchange(spare, target)
            if number == 0:
                return
            if number in _UNSUPPORTED:
                self._exchanges = False
            elif number != errno.ENOENT:
                raise OSError(number, os.strerror(number), target)
        Path(spare).replace(target)


def _ignore_sigio() -> bool:
    """Ignore SIGIO where its default would end the process; return whether leases are safe."""
    if signal.getsignal(signal.SIGIO) is not signal.SIG_DFL:
        return True
    if threading.current_thread() is not threading.main_thread():
        return False
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    return True


def _new_file(path: str) -> int:
    """Create the file anew, so that whoever still reads the old inode keeps it unchanged."""
    try:
        Path(path).unlink(missing_ok=True)
        fd = os.open(path, _OPEN_SPARE | os.O_CREAT | os.O_EXCL, FILE_MODE)
    except FileNotFoundError:
        make_directory(Path(path).parent)
        fd = os.open(path, _OPEN_SPARE | os.O_CREAT | os.O_EXCL, FILE_MODE)
    os.fchmod(fd, FILE_MODE)  # the umask may have taken the group's rights
    return fd


def _fill(fd: int, payload: bytes) -> None:
    """Make ``payload`` the whole content."""
    done = os.pwrite(fd, payload, 0)
    while done < len(payload):
        done += os.pwrite(fd, payload[done:], done)
    if os.fstat(fd).st_size != len(payload):
        os.ftruncate(fd, len(payload))


def _exchange(first: str, second: str) -> int:
    """Exchange two names in one step; return 0 or the errno."""
    result = _LIBC.renameat2(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )
    return 0 if result == 0 else ctypes.get_errno()


def read_whole(path: Path) -> bytes | str:
    """Return the file's bytes, or as a sentence why there are none; at most 64 KiB.

    Takes a shared flock. Never hangs: a writer stopped in the middle makes it give up after 50 ms.
    """
    for attempt in range(READ_TRIES_MAX):
        if attempt:
            time.sleep(READ_PAUSE_S)
        try:
            fd = os.open(path, _OPEN_READ)
        except BlockingIOError:  # a writer's lease: between the exchange and its close
            continue
        except FileNotFoundError:
            return "there is no file"
        except OSError as error:
            return f"unreadable: {error.strerror}"
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return _content(fd)
        except BlockingIOError:
            continue
        finally:
            os.close(fd)
    return f"busy for {READ_TRIES_MAX * READ_PAUSE_S * 1000:.0f} ms: its writer is stopped"


def _content(fd: int) -> bytes | str:
    """Return what the open file holds, or what is wrong with it."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if status.st_size > FILE_BYTES_MAX:
        return f"{status.st_size} bytes: more than {FILE_BYTES_MAX}"
    return os.read(fd, FILE_BYTES_MAX)
