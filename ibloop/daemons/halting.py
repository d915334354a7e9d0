"""Which halt is in force: the severest of the ledger's rows and of the HALT file."""

from pathlib import Path

from ibloop.adapters.halt_file import read_halt_file
from ibloop.adapters.ledger import halts
from ibloop.adapters.ledger.connection import Connection
from ibloop.core.model import HALT_ORDER, HaltLevel


def severest_halt(db: Connection, data_dir: Path) -> tuple[HaltLevel | None, str]:
    """Return the level in force and its reason; ``None`` and an empty text when nothing is."""
    found = {halt.level: halt.reason for halt in reversed(halts.active(db))}
    in_file = read_halt_file(data_dir)
    if in_file is not None:
        found.setdefault(in_file, "the HALT file exists")
    level = next((level for level in reversed(HALT_ORDER) if level in found), None)
    return level, found[level] if level else ""
