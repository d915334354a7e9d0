"""The one thread and the one read-only handle by which the web process reads the ledger.

A refresh is one read transaction, shared by all who ask within half a second: ten open tabs cost
as much as one. The handle is opened anew when the file was replaced (a restored backup, a new
demo) and dropped at every database error, so nothing here has to be restarted.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from ibloop.adapters.ledger.connection import Connection, DatabaseError, open_readonly
from ibloop.adapters.ports import Clock
from ibloop.config import Profile
from ibloop.core.model import Moment
from ibloop.daemons.overview import Overview, read_overview
from ibloop.daemons.overview_ledger import LedgerView, Limits, read_ledger
from ibloop.errors import LedgerError
from ibloop.web.trail import Trail

KEPT_S = 0.5
BUSY_TIMEOUT_MS = 500
"""A page that waits longer is better told: readers of a WAL wait for nobody who behaves."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Kept:
    at: Moment
    overview: Overview


class Source:
    """Reads the profile's files and ledger; all methods but :meth:`on_thread` block."""

    def __init__(self, profile: Profile, clock: Clock) -> None:
        """Take the profile; nothing is opened before it is asked for."""
        self.profile = profile
        self.trail = Trail()
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
        self._db: Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._kept: dict[Limits, _Kept] = {}

    async def on_thread(self, work: Callable[[], T]) -> T:
        """Do ``work`` on the reading thread; the connection may be used on no other."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def overview(self, limits: Limits | None = None) -> Overview:
        """Return the overview, at most half a second old. Never fails for a missing ledger."""
        wanted = limits or Limits()
        now = self._clock.now()
        kept = self._kept.get(wanted)
        if kept is not None and 0 <= now.age_s(kept.at) < KEPT_S:
            return kept.overview
        view, note = self._ledger_view(wanted)
        found = read_overview(self.profile, now, view, note)
        self._kept = {key: k for key, k in self._kept.items() if now.age_s(k.at) < KEPT_S}
        self._kept[wanted] = _Kept(now, found)
        return found

    def read(self, question: Callable[[Connection], T]) -> T:
        """Return the answer to ``question``, asked in one read transaction.

        Raises: LedgerError when there is no ledger or it cannot be read.
        """
        try:
            db = self._connection()
            db.execute("BEGIN")
            try:
                return question(db)
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
        except DatabaseError as error:
            self._drop()
            raise LedgerError(f"the ledger cannot be read now: {error}") from error

    def close(self) -> None:
        """Close the handle on its thread and end the thread; what waits there is dropped."""
        self._thread.submit(self._drop)
        self._thread.shutdown(wait=False)

    def _ledger_view(self, limits: Limits) -> tuple[LedgerView | None, str | None]:
        def question(db: Connection) -> LedgerView:
            self.trail.update(db)
            return read_ledger(db, limits)

        try:
            return self.read(question), None
        except LedgerError as error:
            return None, str(error)

    def _connection(self) -> Connection:
        path = self.profile.ledger_path
        try:
            status = path.stat()
        except OSError:
            self._drop()
            return open_readonly(path)  # says in words what is wrong
        inode = (status.st_dev, status.st_ino)
        if self._db is None or inode != self._inode:
            self._drop()
            self._db, self._inode = open_readonly(path), inode
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        return self._db

    def _drop(self) -> None:
        self.trail = Trail()
        if self._db is not None:
            self._db.close()
            self._db = None
