"""The mark: a small file beside the ledger that says how far the ledger had come.

A ledger restored from a backup is whole and sound, and would send orders that were sent already.
The mark was not restored with it, so the two disagree (promise P15). It holds the number and the
hash of the newest row of the audit log, and the highest order id.

It moves before the bytes of every order leave, so it costs what one write to the disk costs: the
file has two places, written in turn, and nothing but their content changes. What a power cut
leaves half written does not match its checksum; the other place is then the mark, and of what it
does not know not one byte has left.
"""

import json
import os
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from ibloop.adapters.ledger import order_rows
from ibloop.adapters.ledger.connection import Connection, sync_directory
from ibloop.adapters.ledger.gate import FILE_MODE

PLACE_BYTES = 512
"""A disk's sector: a place is written whole or not at all, and never spoils the other one."""

PLACES = 2


@dataclass(frozen=True, slots=True)
class Stamp:
    """The newest row of an audit log: its number, 0 for none, and its hash.

    ``order_id`` is the highest IB order id ever journalled.
    """

    seq: int
    hash: str
    order_id: int


def stamp_of(db: Connection) -> Stamp:
    """Return how far a ledger has come."""
    row = db.execute("SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1").fetchone()
    order_id = order_rows.max_ib_order_id(db)
    return Stamp(0, "", order_id) if row is None else Stamp(row["seq"], row["hash"], order_id)


class Mark:
    """The file of one ledger; written by its executor only."""

    def __init__(self, ledger_path: Path) -> None:
        """Use ``ibloop.db.mark`` beside ``ibloop.db``; nothing is read or written yet."""
        self.path = ledger_path.with_name(f"{ledger_path.name}.mark")

    def write(self, stamp: Stamp) -> None:
        """Move the mark, durably. Raises: OSError when the disk does not take it."""
        if not self.path.exists():
            self._create(stamp)
            return
        handle = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            # Asked each time: whoever wrote last may have been another process.
            before = _places(os.pread(handle, PLACES * PLACE_BYTES, 0))
            turn = 1 + max((turn for turn, _ in before), default=0)
            os.pwrite(handle, _place(turn, stamp), turn % PLACES * PLACE_BYTES)
            os.fdatasync(handle)
        finally:
            os.close(handle)

    def _create(self, stamp: Stamp) -> None:
        """Make the file under another name first: an empty mark would need a person."""
        scratch = self.path.with_name(f"{self.path.name}.new")
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            os.fchmod(handle, FILE_MODE)
            os.write(handle, _place(0, stamp) + _place(1, stamp))
            os.fsync(handle)
        finally:
            os.close(handle)
        scratch.replace(self.path)
        sync_directory(self.path.parent)

    def read(self) -> Stamp | str | None:
        """Return what is marked, why it cannot be read, or ``None`` when there is no mark."""
        try:
            found = _places(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"its mark {self.path.name} cannot be read: {error}"
        if not found:
            return f"its mark {self.path.name} cannot be read: neither of its two places is whole"
        return max(found, key=lambda place: place[0])[1]

    def disagrees(self, db: Connection, *, used_before: bool) -> str | None:
        """Return why this ledger may not be the newest of its kind, ``None`` when it is.

        Args: the ledger; whether an executor has worked on it before, which leaves a mark.
        """
        marked = self.read()
        if marked is None:
            missing = f"it was used before, and its mark {self.path.name} is not there"
            return missing if used_before else None
        if isinstance(marked, str):
            return marked
        row = db.execute("SELECT hash FROM audit_log WHERE seq = ?", (marked.seq,)).fetchone()
        if row is not None and row["hash"] == marked.hash:
            return None
        if row is None:
            newest = stamp_of(db).seq
            return f"it ends at change {newest}, its mark says that there were {marked.seq}"
        return f"its change {marked.seq} is not the one that its mark knows"


def _place(turn: int, stamp: Stamp) -> bytes:
    """Return what a place says: one line of JSON, its checksum before it, filled up."""
    said = json.dumps({"turn": turn, **asdict(stamp)})
    return f"{_checksum(said)} {said}".encode().ljust(PLACE_BYTES - 1) + b"\n"


def _places(content: bytes) -> list[tuple[int, Stamp]]:
    """Return the turn and the stamp of every whole place, in a file's content."""
    found = []
    for start in range(0, PLACES * PLACE_BYTES, PLACE_BYTES):
        text = content[start : start + PLACE_BYTES].decode("utf-8", "replace").rstrip()
        checksum, _, said = text.partition(" ")
        if said and checksum == _checksum(said):
            value = json.loads(said)
            stamp = Stamp(value["seq"], value["hash"], value["order_id"])
            found.append((int(value["turn"]), stamp))
    return found


def _checksum(said: str) -> str:
    return f"{zlib.crc32(said.encode()):08x}"
