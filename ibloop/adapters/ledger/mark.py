"""The mark: a small file beside the ledger that says how far the ledger had come.

A ledger restored from a backup is whole and sound, and would send orders that were sent already.
The mark was not restored with it, so the two disagree (promise P15). It holds the number and the
hash of the newest row of the audit log, and the highest order id.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ibloop.adapters.ledger import order_rows
from ibloop.adapters.ledger.connection import Connection
from ibloop.adapters.ledger.gate import FILE_MODE


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
    """The file of one ledger; written by its executor only, when it starts and as runs move."""

    def __init__(self, ledger_path: Path) -> None:
        """Use ``ibloop.db.mark`` beside ``ibloop.db``; nothing is read or written yet."""
        self.path = ledger_path.with_name(f"{ledger_path.name}.mark")

    def write(self, stamp: Stamp) -> None:
        """Move the mark, durably: a damaged one would need a person after every power cut."""
        scratch = self.path.with_name(f"{self.path.name}.new")
        content = json.dumps(asdict(stamp)).encode()
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            os.fchmod(handle, FILE_MODE)
            os.write(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        scratch.replace(self.path)

    def read(self) -> Stamp | str | None:
        """Return what is marked, why it cannot be read, or ``None`` when there is no mark."""
        try:
            value = json.loads(self.path.read_bytes())
            return Stamp(int(value["seq"]), str(value["hash"]), int(value["order_id"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"its mark {self.path.name} cannot be read: {error}"

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
