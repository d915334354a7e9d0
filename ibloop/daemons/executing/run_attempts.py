"""The attempts of a run: when one ends, what it may trade, and whether another one follows."""

from collections.abc import Sequence
from datetime import datetime

from ibloop import log
from ibloop.adapters.ledger import alerts, commands, fills, orders, runs
from ibloop.adapters.ledger.connection import Connection, Ledger
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.ledger.runs import Run
from ibloop.config import Config
from ibloop.core.foreign import FOREIGN_TRADE, touched_symbols
from ibloop.core.invariant import invariant, present
from ibloop.core.lifecycle import RunReason, RunState
from ibloop.core.model import BrokerOrder, Order
from ibloop.core.orders import Plan, changing_sides
from ibloop.core.outcome import Outcome
from ibloop.core.planning import Bar, without_settled
from ibloop.core.retrying import (
    NOT_RETRIED,
    Remainder,
    Retry,
    attempt_end,
    remainder,
    wants_retry,
)
from ibloop.daemons.executing.order_executor import ACTOR
from ibloop.daemons.executing.run_moves import move_run

CANCEL_ORDER = "order.cancel"
"""Cancels one order; its arguments are ``client_order_id`` and ``reason``."""

_log = log.get(__name__)


class RunAttempts:
    """Reads from the ledger what earlier attempts have left, and queues the next one.

    A claimed run that has a deadline already is a retry of the executor's own: it keeps to that
    deadline and to what the attempt before has left open.
    """

    def __init__(self, config: Config, ledger: Ledger) -> None:
        """Keep the ports."""
        self._config = config
        self._ledger = ledger

    def ends(self, run: Run, now: datetime, deadline: datetime) -> tuple[datetime, datetime]:
        """Return when the orders of a claimed run's attempt die, and when the run must end.

        Args: the time, and the deadline of a run that starts now.
        """
        if run.deadline_at is not None:
            whole = min(run.deadline_at, deadline)
            return whole, whole
        return attempt_end(self._config.retry, now, deadline), deadline

    def narrowed(self, run: Run, plan: Plan) -> Plan:
        """Return the plan without what the attempt before has traded as it was meant to."""
        left = self._left(run, run.attempt - 1) if run.deadline_at is not None else None
        return plan if left is None else without_settled(plan, left.settled)

    def barred(self, run: Run, foreign: Sequence[BrokerOrder]) -> dict[str, Bar]:
        """Return the symbols of which a claimed run must send nothing, and why."""
        bars: dict[str, Bar] = {}
        if run.deadline_at is not None:
            left = self._left(run, run.attempt - 1)
            bars = {symbol: Bar(NOT_RETRIED, why) for symbol, why in left.barred.items()}
        touched = touched_symbols(foreign, (), self._config.account)
        return bars | {symbol: Bar(FOREIGN_TRADE, why) for symbol, why in touched.items()}

    def untraded(self, run: Run, foreign: Sequence[BrokerOrder]) -> frozenset[str]:
        """Return the symbols of which a claimed run sends nothing, whatever their prices are."""
        retried = run.deadline_at is not None
        settled = self._left(run, run.attempt - 1).settled if retried else ()
        return frozenset((*settled, *self.barred(run, foreign)))

    def touched(self, run: Run, foreign: Sequence[BrokerOrder]) -> dict[str, str]:
        """Return the symbols that somebody else trades while the run is under way, and how."""
        executed = fills.foreign_symbols_after(
            self._ledger.db, present(run.baseline_at, "baseline")
        )
        return touched_symbols(foreign, executed, self._config.account)

    def earlier(self, run: Run) -> list[list[Order]]:
        """Return the orders of each attempt before the present one."""
        attempts: list[list[Order]] = [[] for _ in range(run.attempt)]
        rows = orders.of_run(self._ledger.db, run.run_id) if run.attempt else ()
        for row in rows:
            if row.attempt < run.attempt:
                attempts[row.attempt].append(row.order)
        return attempts

    def follows(self, run: Run, rows: Sequence[OrderRow], end: Outcome, now: datetime) -> bool:
        """Return whether a run that would end like this makes another attempt instead."""
        if self._config.retry is Retry.NONE or not rows:
            return False
        if orders.one_unknown(self._ledger.db) is not None:
            return False
        return wants_retry(
            self._config.retry,
            end.status,
            self._left(run, run.attempt),
            attempt_end=max(row.order.good_till for row in rows),
            deadline=present(run.deadline_at, "deadline"),
            now=now,
        )

    def queue_next(self, run: Run, end: Outcome, now: datetime) -> None:
        """Queue the next attempt of a run in the way a blocked run is queued again."""
        told = f"{end.detail}; the remainder is tried once more"
        with self._ledger.transaction() as tx:
            # All may be filled, and only the other side of a position be left.
            reason = end.reason or RunReason.ORDERS_UNFILLED
            move_run(tx, run, RunState.BLOCKED, reason, told, now)
            queued = runs.requeue(
                tx,
                run.run_id,
                snapshot_id=present(run.snapshot_id, "snapshot"),
                snapshot_hash=present(run.snapshot_hash, "snapshot hash"),
                config_hash=run.config_hash,
                build=run.build,
                deadline_at=run.deadline_at,
                now=now,
                actor=ACTOR,
            )
            invariant(queued, f"{run.run_id} was moved by somebody else")
            text = f"run {run.run_key}: {told}"
            alerts.raise_alert(tx, "info", "run.retried", run.run_id, text, None, now)
        _log.info("run.retried", run_id=run.run_id, run_key=run.run_key, detail=end.detail)

    def _left(self, run: Run, attempt: int) -> Remainder:
        db = self._ledger.db
        rows = orders.of_run(db, run.run_id, attempt)
        found = [row.order for row in rows]
        by_us = {o.client_order_id for o in found if orders.was_stopped_at_deadline(db, o)}
        halves = changing_sides(runs.plan_lines(db, run.run_id, attempt))
        return remainder(found, by_us, _stopped_by_hand(db), halves)


def _stopped_by_hand(db: Connection) -> frozenset[str]:
    """Return the references of all orders that a person has ever asked to be cancelled."""
    asked = commands.of_kind(db, CANCEL_ORDER)
    return frozenset(str(command.args.get("client_order_id")) for command in asked)
