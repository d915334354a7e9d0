"""Small files that are whole for every reader, with a shared flock or without one.

Two inodes take turns: the writer fills the spare one in ``.spare/`` and exchanges it with the file
in one rename. A write lease on the spare (fcntl(2), F_SETLEASE) proves that nobody else has it open
and holds off whoever is about to open it; the lease lasts past the exchange, so what a reader sees
of one file never goes back either. On ext4 this costs a tenth of replacing the file, which forces
the new one to disk. Without leases or RENAME_EXCHANGE (NFS) every version is a new file.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import stat
import threading
import time
import zlib
from pathlib import Path

from ibloop.core.invariant import invariant
from ibloop.core.unusable import FileFault, Unusable

FILE_MODE = 0o660
DIRECTORY_MODE = 0o2770  # set-group-id: what operators and daemons make stays with the group
FILE_BYTES_MAX = 65_536
PAGE_BYTES = 4096  # more than a quote has: most reads are one call
READ_TRIES_MAX = 200  # a writer that only lost its processor on a busy machine is back by then
READ_PAUSE_S = 0.001

SPARE_DIRECTORY = ".spare"
BAD_DIRECTORY = ".bad"
BAD_FILES_MAX = 100  # what is found after that is not kept: somebody should look at the first ones

_RENAMEAT2 = ctypes.CDLL(None, use_errno=True).renameat2
_RENAMEAT2.argtypes = (
    *(ctypes.c_int, ctypes.c_char_p),
    *(ctypes.c_int, ctypes.c_char_p),
    ctypes.c_uint,
)
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})
_NOT_A_SPARE = frozenset(
    {errno.ENOENT, errno.ELOOP, errno.EACCES, errno.EISDIR, errno.ENXIO, errno.ENODEV}
)
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
        # Bytes: a price is published a thousand times a second, and each Path costs a tenth of it.
        self._prefix = os.fsencode(f"{directory}/")
        self._spare_prefix = os.fsencode(f"{directory}/{SPARE_DIRECTORY}/")
        self._exchanges = _ignore_sigio()

    def write(self, name: str, payload: bytes) -> None:
        """Make ``payload`` the whole content of the file ``name``, at once, mode 0660.

        It is not flushed to disk: after a power cut the file may be an older version or damaged.
        """
        size = len(payload)
        invariant(size <= FILE_BYTES_MAX, "a file of ours is too long for its readers")
        plain = name.encode()
        target, spare = self._prefix + plain, self._spare_prefix + plain
        fd = self._open_spare(spare)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _fill(fd, payload, size)
            self._show(spare, target)
        finally:
            os.close(fd)  # gives back the lease and the lock

    def spare_path(self, name: str) -> Path:
        """Return where the spare of a file is; it holds the version before."""
        return self.directory / SPARE_DIRECTORY / name

    def quarantine(self, name: str) -> None:
        """Move a damaged file to ``.bad/``, in place of one moved there before."""
        self._put_aside(self.directory / name)

    def _put_aside(self, path: Path) -> None:
        """Move what bears the name of a file of ours to ``.bad/``; a directory never over another.

        Raises: FileExistsError when ten directories of that name are there.
        """
        bad = self.directory / BAD_DIRECTORY
        make_directory(bad)
        names = [path.name, *(f"{path.name}.{number}" for number in range(1, 10))]
        for target in (bad / name for name in names):
            if not os.path.lexists(target) or not (target.is_dir() or path.is_dir()):
                path.rename(target)
                return
        raise FileExistsError(errno.EEXIST, f"empty {bad}", str(path))

    def _open_spare(self, spare: bytes) -> int:
        """Open a spare that nobody else has open: the old one under a lease, or a new one."""
        fd = self._leased(spare) if self._exchanges else None
        if fd is not None:
            return fd
        try:
            return _new_file(spare)
        except IsADirectoryError:  # somebody's directory had the file's name, and was exchanged
            self._put_aside(Path(os.fsdecode(spare)))
            return _new_file(spare)

    def _leased(self, spare: bytes) -> int | None:
        """Open the spare under a write lease; None when there is none, or somebody reads it."""
        try:
            fd = os.open(spare, _OPEN_SPARE)
        except OSError as error:
            if error.errno in _NOT_A_SPARE:
                return None
            raise
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            is_file = stat.S_ISREG(os.fstat(fd).st_mode)
            os.close(fd)
            if not is_file:  # somebody's fifo had the file's name, and was exchanged
                return None
            if error.errno in _UNSUPPORTED:
                self._exchanges = False
            elif error.errno not in (errno.EAGAIN, errno.EACCES):  # read now; not our own file
                raise
            return None
        return fd

    def _show(self, spare: bytes, target: bytes) -> None:
        """Give the filled spare the file's name, and the old inode the spare's."""
        if self._exchanges:
            number = _exchange(spare, target)
            if number == 0:
                return
            if number in _UNSUPPORTED:
                self._exchanges = False
            elif number != errno.ENOENT:
                raise OSError(number, os.strerror(number), os.fsdecode(target))
        try:
            os.rename(spare, target)  # noqa: PTH104 - a Path costs more than the call
        except IsADirectoryError:
            self._put_aside(Path(os.fsdecode(target)))
            os.rename(spare, target)  # noqa: PTH104


def _ignore_sigio() -> bool:
    """Ignore SIGIO where its default would end the process; return whether leases are safe."""
    if signal.getsignal(signal.SIGIO) is not signal.SIG_DFL:
        return True
    if threading.current_thread() is not threading.main_thread():
        return False
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    return True


def _new_file(path: bytes) -> int:
    """Create the file anew, so that whoever still reads the old inode keeps it unchanged."""
    try:
        Path(os.fsdecode(path)).unlink(missing_ok=True)
        fd = os.open(path, _OPEN_SPARE | os.O_CREAT | os.O_EXCL, FILE_MODE)
    except FileNotFoundError:
        make_directory(Path(os.fsdecode(path)).parent)
        fd = os.open(path, _OPEN_SPARE | os.O_CREAT | os.O_EXCL, FILE_MODE)
    os.fchmod(fd, FILE_MODE)  # the umask may have taken the group's rights
    return fd


def _fill(fd: int, payload: bytes, size: int) -> None:
    """Make ``payload`` the whole content."""
    done = os.pwrite(fd, payload, 0)
    while done < size:
        done += os.pwrite(fd, payload[done:], done)
    if os.lseek(fd, 0, os.SEEK_END) != size:
        os.ftruncate(fd, size)


def _exchange(first: bytes, second: bytes) -> int:
    """Exchange two names in one step; return 0 or the errno."""
    if _RENAMEAT2(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE) == 0:
        return 0
    return ctypes.get_errno()


def read_whole(path: str | Path) -> bytes | Unusable:
    """Return the file's bytes, at most 64 KiB, or why there are none.

    Takes a shared flock. Never hangs: a writer stopped in the middle makes it give up after 0.2 s.
    """
    for attempt in range(READ_TRIES_MAX):
        if attempt:
            time.sleep(READ_PAUSE_S)
        try:
            fd = os.open(path, _OPEN_READ)
        except BlockingIOError:  # a writer's lease: between the exchange and its close
            continue
        except FileNotFoundError:
            return Unusable(FileFault.MISSING, "there is no file")
        except OSError as error:
            return Unusable(FileFault.UNREADABLE, f"unreadable: {error.strerror}")
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return _content(fd)
        except BlockingIOError:
            continue
        except OSError as error:
            return Unusable(FileFault.UNREADABLE, f"unreadable: {error.strerror}")
        finally:
            os.close(fd)
    waited_ms = READ_TRIES_MAX * READ_PAUSE_S * 1000
    return Unusable(FileFault.BUSY, f"busy for {waited_ms:.0f} ms: its writer is stopped")


def _content(fd: int) -> bytes | Unusable:
    """Return what the open file holds, or what is wrong with it."""
    payload = _read_file(fd)
    if payload is not None and len(payload) <= FILE_BYTES_MAX:
        return payload
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return Unusable(FileFault.IRREGULAR, "not a regular file")
    text = f"{status.st_size} bytes: more than {FILE_BYTES_MAX}"
    return Unusable(FileFault.OVERSIZED, text)


def _read_file(fd: int) -> bytes | None:
    """Return the first 64 KiB and one byte, None for what is no regular file."""
    try:
        # At an offset: a fifo or terminal, which might wait for ever or lose what it had, refuses.
        head = os.pread(fd, PAGE_BYTES, 0)
        if len(head) < PAGE_BYTES:
            return head
        return head + os.pread(fd, FILE_BYTES_MAX + 1 - PAGE_BYTES, PAGE_BYTES)
    except OSError as error:
        if error.errno in (errno.ESPIPE, errno.EISDIR):
            return None
        raise


def keep_copy(path: Path, payload: bytes) -> None:
    """Keep the damaged content of a file in ``.bad/`` as ``NAME.CHECKSUM``, once.

    At most a hundred; not at all where this process may not write, because the reason that a
    reader gives does not depend on the copy.
    """
    bad = path.parent / BAD_DIRECTORY
    copy = bad / f"{path.name}.{zlib.crc32(payload):08x}"
    try:
        make_directory(bad)
        if copy.exists() or sum(1 for _ in bad.iterdir()) >= BAD_FILES_MAX:
            return
        fd = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    except OSError:
        return
    with os.fdopen(fd, "wb") as file, contextlib.suppress(OSError):
        os.fchmod(fd, FILE_MODE)
        file.write(payload)
