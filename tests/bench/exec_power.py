"""Power cuts, simulated: after each commit, is it there when only what was synced survives?

A small library, compiled here and loaded before the C library's, writes down every change that a
process makes to the files of its ledger, in sequence: writes, truncations, syncs. From that the
disk is made as a power cut would leave it: whatever was synced, and of what was not either nothing
or, sector by sector, any part of it. Then the ledger is opened there and asked for its commits.
"""

import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from exec_house import ACCOUNT
from exec_ledger import foreign_execution
from measures import ROOT

from ibloop.adapters.ledger import audit, fills
from ibloop.adapters.ledger.connection import DatabaseError, open_ledger
from ibloop.core.model import Mode

SECTOR_BYTES = 512
CHECKPOINT_PAGES = 60
"""The log is written back this often, so that cuts hit checkpoints as well."""
HEAD = struct.Struct("<iiqq")
WRITE, TRUNCATE, SYNC = 1, 2, 3
MARK = "mark"
LEDGER = "ibloop.db"

SHIM_C = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
/* A record: kind, length of the name, offset, length of the data; name; data. */
static int journal = -1;
static const char *directory;
__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("POWER_JOURNAL");
    directory = getenv("POWER_DIRECTORY");
    if (path) journal = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND, 0600);
}
static void note(int kind, int fd, int64_t offset, const void *data, int64_t length) {
    char link[64], name[4096];
    if (journal < 0 || !directory || fd == journal) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, name, sizeof name - 1);
    size_t prefix = strlen(directory);
    if (size <= (ssize_t)prefix || strncmp(name, directory, prefix) || name[prefix] != '/') return;
    struct { int32_t kind, size; int64_t offset, length; } head =
        { kind, (int32_t)(size - prefix - 1), offset, data ? length : 0 };
    struct iovec parts[3] = { { &head, sizeof head }, { name + prefix + 1, head.size },
                              { (void *)data, data ? length : 0 } };
    if (syscall(SYS_writev, journal, parts, 3) < 0) abort();
}
#define REAL(name) \
    static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define PWRITE(name) ssize_t name(int fd, const void *data, size_t length, off_t offset) { \
    REAL(name); \
    ssize_t done = real(fd, data, length, offset); \
    if (done > 0) note(1, fd, offset, data, done); return done; }
PWRITE(pwrite)
PWRITE(pwrite64)
ssize_t write(int fd, const void *data, size_t length) {
    REAL(write);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = real(fd, data, length);
    if (done > 0) note(1, fd, offset, data, done);
    return done;
}
#define TRUNCATE(name) int name(int fd, off_t length) { \
    REAL(name); int done = real(fd, length); \
    if (!done) note(2, fd, length, 0, 0); return done; }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)
#define SYNC(name) int name(int fd) { \
    REAL(name); int done = real(fd); if (!done) note(3, fd, 0, 0, 0); return done; }
SYNC(fsync)
SYNC(fdatasync)
"""


@dataclass(slots=True)
class Disk:
    """The files of one directory: what is durable of them, and what was changed since."""

    durable: dict[str, bytes] = field(default_factory=dict)
    pending: dict[str, list[tuple[int, int, bytes]]] = field(default_factory=dict)
    commits: int = 0
    syncs: int = 0

    def take(self, kind: int, name: str, offset: int, data: bytes) -> None:
        """Apply one record."""
        if name == MARK:
            self.commits = int(data)
        elif kind == SYNC:
            self.syncs += 1
            self.durable[name] = _applied(self.durable.get(name, b""), self.pending.pop(name, []))
        else:
            self.pending.setdefault(name, []).append((kind, offset, data))

    def left(self, chance: random.Random | None) -> dict[str, bytes]:
        """Return the files after a cut: with nothing unsynced, or with any part of it."""
        if chance is None:
            return dict(self.durable)
        found = dict(self.durable)
        for name, changes in self.pending.items():
            kept = [part for change in changes for part in _sectors(change)]
            kept = [part for part in kept if chance.random() < 0.5]
            found[name] = _applied(found.get(name, b""), kept)
        return found


def power_cuts(directory: Path, commits: int, synchronous: str = "FULL") -> dict[str, float]:
    """Return how many cuts lost a commit or left damage; empty where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return {}
    place = directory / "power"
    place.mkdir(parents=True)
    open_ledger(place / LEDGER, mode=Mode.PAPER, account=ACCOUNT).close()
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    shim, journal = directory / "shim.so", directory / "journal"
    (directory / "shim.c").write_text(SHIM_C)
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(shim), str(directory / "shim.c")]
    subprocess.run([*command, "-ldl"], check=True, capture_output=True)
    subprocess.run(
        [sys.executable, __file__, str(place), str(commits), synchronous],
        check=True,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "LD_PRELOAD": str(shim),
            "POWER_JOURNAL": str(journal),
            "POWER_DIRECTORY": str(place.resolve()),
        },
    )
    return _cut_everywhere(directory / "cut", Disk(before), journal)


def _cut_everywhere(scratch: Path, disk: Disk, journal: Path) -> dict[str, float]:
    """Cut after each commit and before every change in between."""
    chance, found = random.Random(1), {"cuts": 0, "cuts_lost": 0, "cuts_damaged": 0}
    for record in _records(journal):
        disk.take(*record)
        if not disk.commits:
            continue
        for survival in (None, chance):
            there, whole = _reopened(scratch, disk.left(survival))
            found["cuts"] += 1
            found["cuts_lost"] += there < disk.commits
            found["cuts_damaged"] += not whole
    return found | {"cuts_commits": disk.commits, "cuts_syncs": disk.syncs}


def _records(journal: Path) -> Iterator[tuple[int, str, int, bytes]]:
    data, at = journal.read_bytes(), 0
    while at < len(data):
        kind, size, offset, length = HEAD.unpack_from(data, at)
        at += HEAD.size
        name = data[at : at + size].decode()
        at += size
        # The shared memory beside the log is made anew when nobody has it open.
        if not name.endswith("-shm"):
            yield kind, name, offset, data[at : at + length]
        at += length


def _applied(content: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    whole = bytearray(content)
    for kind, offset, data in changes:
        if kind == TRUNCATE:
            del whole[offset:]
        else:
            whole.extend(bytes(max(0, offset - len(whole))))
            whole[offset : offset + len(data)] = data
    return bytes(whole)


def _sectors(change: tuple[int, int, bytes]) -> Iterator[tuple[int, int, bytes]]:
    kind, offset, data = change
    if kind == TRUNCATE:
        yield change
    for start in range(0, len(data), SECTOR_BYTES):
        yield kind, offset + start, data[start : start + SECTOR_BYTES]


def _reopened(scratch: Path, files: dict[str, bytes]) -> tuple[int, bool]:
    """Return how many commits a ledger of these files has, and whether it is whole."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for name, content in files.items():
        (scratch / name).write_bytes(content)
    try:
        ledger = open_ledger(scratch / LEDGER, mode=Mode.PAPER, account=ACCOUNT)
        sound = ledger.db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        whole = sound and audit.verify(ledger.db).is_whole
        there = int(ledger.db.execute("SELECT count(*) FROM trade_fills").fetchone()[0])
        ledger.close()
    except DatabaseError:
        return 0, False
    return there, whole


def _commit(place: Path, commits: int, synchronous: str) -> None:
    """Store one execution after the other and mark each commit; then the power goes."""
    ledger = open_ledger(place / LEDGER, mode=Mode.PAPER, account=ACCOUNT)
    ledger.db.execute(f"PRAGMA synchronous = {synchronous}")
    ledger.db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    mark, told = os.open(place / MARK, os.O_WRONLY | os.O_CREAT), foreign_execution()
    for number in range(1, commits + 1):
        one = replace(told, exec_id=f"{number}.1.01")
        with ledger.transaction() as tx:
            fills.record(tx, one, one.executed_at, "bench")
        os.pwrite(mark, str(number).encode(), 0)
    os._exit(0)


if __name__ == "__main__":
    _commit(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
