"""Whether live trading is armed: a person's permission that ends by itself."""

from ibloop.adapters.ledger.connection import Connection
from ibloop.adapters.ledger.values import time_text
from ibloop.core.model import Moment


def is_armed(db: Connection, account: str, now: Moment) -> bool:
    """Return whether a permission for ``account`` stands at ``now``.

    It must not have been withdrawn or used up, nor have run out by the wall clock or by boot
    time; a reboot disarms (another boot id).
    """
    found = db.execute(
        "SELECT 1 FROM arming WHERE account = :account AND disarmed_at IS NULL AND runs_left > 0"
        " AND expires_at > :now AND boot_id = :boot_id AND expires_boottime_ns > :boottime_ns",
        {
            "account": account,
            "now": time_text(now.utc),
            "boot_id": now.boot_id,
            "boottime_ns": now.boottime_ns,
        },
    )
    return found.fetchone() is not None
