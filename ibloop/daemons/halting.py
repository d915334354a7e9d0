"""Which halt is in force: the severest of the ledger's rows and of the HALT file.

The file counts from the instant it is there, for every send looks for it. A daemon that sees it
writes it into the ledger too: then it is told of, and taking the file away does not end it.
"""

from pathlib import Path

from ibloop.adapters.halt_file import REASON, read_halt_file
from ibloop.adapters.ledger import alerts, halts
from ibloop.adapters.ledger.connection import Connection, Ledger
from ibloop.adapters.ports import Clock
from ibloop.core.model import HALT_ORDER, HaltLevel


def severest_halt(db: Connection, data_dir: Path) -> tuple[HaltLevel | None, str]:
    """Return the level in force and its reason; ``None`` and an empty text when nothing is."""
    found = {halt.level: halt.reason for halt in reversed(halts.active(db))}
    in_file = read_halt_file(data_dir)
    if in_file is not None:
        found.setdefault(in_file.level, in_file.reason)
    level = next((level for level in reversed(HALT_ORDER) if level in found), None)
    return level, found[level] if level else ""


def latch_halt_file(ledger: Ledger, data_dir: Path, clock: Clock, actor: str) -> bool:
    """Write the HALT file's halt down and tell of it, unless one as severe stands.

    Returns whether there was anything to write. Whoever removes the file still has to resume.
    """
    in_file = read_halt_file(data_dir)
    if in_file is None or _is_covered(halts.level(ledger.db), in_file.level):
        return False
    with ledger.transaction() as tx:
        if _is_covered(halts.level(tx.db), in_file.level):
            return False
        now = clock.now().utc
        halt_id = halts.halt(tx, in_file.level, in_file.reason, "file", actor, now)
        text = f"trading halted ({in_file.level}) by the file {data_dir / 'HALT'}"
        text += "" if in_file.reason == REASON else f": {in_file.reason}"
        alerts.raise_alert(tx, "critical", "halt.requested", str(halt_id), text, None, now, actor)
    return True


def _is_covered(standing: HaltLevel | None, level: HaltLevel) -> bool:
    return standing is not None and HALT_ORDER.index(standing) >= HALT_ORDER.index(level)
