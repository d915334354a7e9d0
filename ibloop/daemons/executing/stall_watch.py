"""Tells of a run under way to which nothing happens any more, once an attempt."""

from collections.abc import Sequence
from datetime import datetime

from ibloop.adapters.ledger import alerts, runs
from ibloop.adapters.ledger.connection import Ledger
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.ledger.runs import Run
from ibloop.core.model import Moment
from ibloop.core.stalling import Progress, progress_of, stall
from ibloop.daemons.executing.order_executor import ACTOR


class StallWatch:
    """Remembers how far a run had come, and since when; ages are boot time of this process."""

    def __init__(self, ledger: Ledger, stalled_after_s: float) -> None:
        """Begin with nothing seen."""
        self._ledger = ledger
        self._stalled_after_s = stalled_after_s
        self._seen: tuple[str, int, Progress] | None = None
        self._since: Moment | None = None
        self._is_told = False

    def look(
        self, run: Run, rows: Sequence[OrderRow], now: Moment, ends: datetime, waiting: str | None
    ) -> None:
        """Tell of a run that stands still, and when it moves again.

        ``waiting`` is why its next order has to wait. An alert is all that follows: the deadline
        ends the run as ever.
        """
        orders = [row.order for row in rows]
        seen = (run.run_id, run.attempt, progress_of(orders))
        if self._since is None or seen != self._seen:
            goes_on = self._seen is not None and self._seen[:2] == seen[:2]
            if self._is_told and goes_on:
                self._tell(run, "moving again", now.utc)
            self._seen, self._since, self._is_told = seen, now, False
        if self._is_told:
            return
        how = stall(
            orders,
            quiet_s=now.age_s(self._since),
            stalled_after_s=self._stalled_after_s,
            now=now.utc,
            ends=ends,
        )
        if how is not None:
            self._is_told = True
            self._tell(run, f"{how}; {waiting}" if waiting else how, now.utc, alert=True)

    def _tell(self, run: Run, how: str, now: datetime, *, alert: bool = False) -> None:
        with self._ledger.transaction() as tx:
            runs.describe(tx, run, how, now, ACTOR)
            if alert:
                key = f"stalled:{run.run_id}:{run.attempt}"
                text = f"run {run.run_key} stands still: {how}"
                alerts.raise_alert(tx, "warning", "run.stalled", run.run_id, text, key, now)
