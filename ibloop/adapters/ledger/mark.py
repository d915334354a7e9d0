"""The mark: a small file beside the ledger that says how far the ledger had come.

A ledger restored from a backup is whole and sound, and would send orders that were sent already.
The mark was not restored with it, so the two disagree (promise P15). It holds the number and the
hash of the newest row of the audit log.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ibloop.adapters.ledger.connection import Connection
from ibloop.adapters.ledger.gate import FILE_MODE


@dataclass(frozen=True, slots=True)
class Stamp:
    """The newest row of an audit log: its number, 0 for none, and its hash."""

    seq: int
    hash: str


def stamp_of(db: Connection) -> Stamp:
    """Return how far a ledger has come."""
    row = db.execute("SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1").fetchone()
    return Stamp(0, "") if row is None else Stamp(row["seq"], row["hash"])


class Mark:
    """The file of one ledger; written by its executor only, when it starts and as runs move."""

    def __init__(self, ledger_path: Path) -> None:
        """Use ``ibloop.db.mark`` beside ``ibloop.db``; nothing is read or written yet."""
        self.path = ledger_path.with_name(f"{ledger_path.name}.mark")

    def write(self, stamp: Stamp) -> None:
        """Move the mark, durably: a damaged one would need a person after every power cut."""
        scratch = self.path.with_name(f"{self.path.name}.new")
        content = json.dumps({"seq": stamp.seq, "hash": stamp.hash}).encode()
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            os.fchmod(handle, FILE_MODE)
            os.write(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        scratch.replace(self.path)

    def disagrees(self, db: Connection, *, used_before: bool) -> str | None:
        """Return why this ledger may not be the newest of its kind, ``None`` when it is.

        Args: the ledger; whether an executor has worked on it before, which leaves a mark.
        """
        try:
            value = json.loads(self.path.read_bytes())
            marked = Stamp(int(value["seq"]), str(value["hash"]))
        except FileNotFoundError:
            missing = f"it was used before, and its mark {self.path.name} is not there"
            return missing if used_before else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"its mark {self.path.name} cannot be read: {error}"
        row = db.execute("SELECT hash FROM audit_log WHERE seq = ?", (marked.seq,)).fetchone()
        if row is not None and row["hash"] == marked.hash:
            return None
        if row is None:
            newest = stamp_of(db).seq
            return f"it ends at change {newest}, its mark says that there were {marked.seq}"
        return f"its change {marked.seq} is not the one that its mark knows"
