"""Holds a claimed run until its prices are there, for a bounded time, and says what it waits for.

Nothing here blocks: a run that waits is still ``preparing``, and the executor's loop goes on, so
halts, kills and a person's ``run cancel`` are as quick as ever.
"""

from datetime import datetime, timedelta

from ibloop import log
from ibloop.adapters.ledger import runs
from ibloop.adapters.ledger.connection import Ledger
from ibloop.adapters.ledger.runs import Run
from ibloop.core.model import Evidence, Moment
from ibloop.core.quote_wait import Wait, wait_for
from ibloop.core.stream import names
from ibloop.daemons.executing.order_executor import ACTOR
from ibloop.daemons.executing.run_attempts import RunAttempts
from ibloop.daemons.executing.run_planner import RunPlanner
from ibloop.daemons.executing.run_release import RunRelease

LOOK_S = 0.5
"""How often the files are looked at: a daemon that is woken more often does not read them more."""
TELL_S = 5.0
"""How often at most the ledger is told that less is waited for; that the wait begins, at once."""

_log = log.get(__name__)


class QuoteWait:
    """Remembers since when a run waits, by boot time of this process.

    A process that starts in the middle waits anew: nothing of the run has been planned by then.
    """

    def __init__(
        self,
        ledger: Ledger,
        planner: RunPlanner,
        attempts: RunAttempts,
        release: RunRelease,
        wait_s_max: float,
    ) -> None:
        """Begin with no run."""
        self._ledger = ledger
        self._planner = planner
        self._attempts = attempts
        self._release = release
        self._wait_s_max = wait_s_max
        self._run: tuple[str, int] | None = None
        self._since: Moment | None = None
        self._looked: Moment | None = None
        self._told: tuple[tuple[str, ...], Moment] | None = None

    def holds(self, run: Run, evidence: Evidence, deadline: datetime, now: Moment) -> bool:
        """Return whether a run that could be planned now is to wait for prices.

        ``deadline`` is when a run planned now must have ended.
        """
        if self._run != (run.run_id, run.attempt):
            self._run = run.run_id, run.attempt
            self._since = self._looked = self._told = None
        if self._looked is not None and now.age_s(self._looked) < LOOK_S:
            return True
        self._looked, self._since = now, self._since or now
        content = self._planner.snapshot_of(run)
        untraded = self._attempts.untraded(run, evidence.open_orders)
        awaited = self._planner.awaited(content, evidence, now, untraded)
        spare_s = 0.0
        if awaited:
            plan = self._attempts.narrowed(run, self._planner.plan(content, evidence, now))
            _, ends = self._attempts.ends(run, now.utc, deadline)
            spare_s = self._release.spare_s(plan, now.utc, ends)
        waited_s = now.age_s(self._since)
        wait = wait_for(awaited, waited_s, self._wait_s_max, spare_s)
        if wait is not None:
            self._tell(run, wait, now)
            return True
        if self._told is not None:
            waited_s = round(waited_s, 1)
            _log.info("run.prices_awaited", run_id=run.run_id, waited_s=waited_s, missing=awaited)
        return False

    def _tell(self, run: Run, wait: Wait, now: Moment) -> None:
        """Say in the run's detail what it waits for, where that is news."""
        if self._told is not None:
            symbols, told = self._told
            if symbols == wait.symbols or now.age_s(told) < TELL_S:
                return
        self._told = wait.symbols, now
        until = now.utc + timedelta(seconds=wait.left_s)
        detail = f"waits for prices until {until:%H:%M:%S} UTC at most: {names(wait.symbols)}"
        with self._ledger.transaction() as tx:
            runs.describe(tx, run, detail, now.utc, ACTOR)
        _log.info("run.awaits_prices", run_id=run.run_id, symbols=wait.symbols, left_s=wait.left_s)
