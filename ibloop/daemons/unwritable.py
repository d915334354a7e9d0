"""A ledger that cannot be written now: locked, read-only or on a full disk.

What lowers risk goes on meanwhile; nothing can be sent, because every send has to be journalled
first. Other errors of the database end the process (F18).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ibloop import log
from ibloop.adapters.ledger.connection import LedgerBusyError, OperationalError

_TEXTS = ("readonly", "read-only", "disk is full", "locked")

_log = log.get(__name__)


def is_unwritable(error: Exception) -> bool:
    """Return whether an error says that the ledger cannot be written, and nothing worse."""
    if isinstance(error, LedgerBusyError):
        return True
    return isinstance(error, OperationalError) and any(t in str(error) for t in _TEXTS)


@contextmanager
def unwritable(what: str) -> Iterator[None]:
    """Let a write be left out when the ledger cannot be written; whoever needs it tries again."""
    try:
        yield
    except (LedgerBusyError, OperationalError) as error:
        if not is_unwritable(error):
            raise
        _log.error("ledger.unwritable", what=what, error=str(error))
