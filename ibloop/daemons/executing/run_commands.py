"""What people ask of the executor: to end a run or an order, to accept a ledger."""

from datetime import timedelta

from ibloop.adapters.ledger import commands, orders, runs
from ibloop.adapters.ledger.commands import Command, CommandStatus
from ibloop.adapters.ledger.connection import Ledger
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.ports import Clock
from ibloop.core.lifecycle import (
    ORDER_TERMINAL,
    RUN_ACTIVE,
    RUN_TERMINAL,
    OrderState,
    RunReason,
    RunState,
)
from ibloop.core.retrying import CANCELED_BY_OPERATOR
from ibloop.daemons.executing.canceling import WORKING
from ibloop.daemons.executing.order_executor import OrderExecutor
from ibloop.daemons.executing.run_attempts import CANCEL_ORDER
from ibloop.daemons.executing.run_moves import abandon, move_run, refuse

CANCEL_RUN = "run.cancel"
"""Ends a run under way; its argument is ``run_id``."""
COMMAND_AGE_MAX = timedelta(minutes=5)
ACCEPT_LEDGER = "ledger.accept"
"""Accepts a ledger that is behind the broker; its argument is ``reason``."""


class RunCommands:
    """The queued commands that are the executor's to answer."""

    def __init__(self, ledger: Ledger, desk: OrderExecutor, clock: Clock) -> None:
        """Keep the ports."""
        self._ledger = ledger
        self._desk = desk
        self._clock = clock

    def answer(self) -> bool:
        """Answer what can be answered now; return whether anything was.

        The cancellation of a run under way is answered when the run has ended: until then it
        acts through :meth:`ends`.
        """
        answers = {
            CANCEL_RUN: self._cancel,
            CANCEL_ORDER: self._cancel_order,
            ACCEPT_LEDGER: self._accept,
        }
        asked = [c for c in commands.queued(self._ledger.db) if c.kind in answers]
        return sum(answers[command.kind](command) for command in asked) > 0

    def ends(self, run: Run) -> bool:
        """Return whether somebody has asked for the end of this run."""
        return any(
            c.kind == CANCEL_RUN and c.args.get("run_id") in {run.run_id, run.run_key}
            for c in commands.queued(self._ledger.db)
        )

    def _accept(self, command: Command) -> bool:
        """Answer once the broker's truth is known and no run is under way.

        A run of a restored ledger is blocked first: what it planned may have been sent before.
        """
        if runs.active(self._ledger.db) or not self._desk.ready():
            return self._is_forgotten(command)
        refused = self._desk.accept_ledger(str(command.args["reason"]), command.requested_by)
        status = CommandStatus.REFUSED if refused else CommandStatus.DONE
        with self._ledger.transaction() as tx:
            now = self._clock.now().utc
            commands.finish(tx, command.command_id, status, refused or "accepted", now)
        return True

    def _cancel_order(self, command: Command) -> bool:
        """Cancel an order, and answer once it is known how it has ended.

        One whose fate is not known yet is waited for; a planned one is refused at once.
        """
        name = str(command.args.get("client_order_id"))
        row = orders.find(self._ledger.db, name)
        if row is None:
            return self._finish(command, CommandStatus.REFUSED, f"there is no order {name}")
        status = row.order.status
        if status in ORDER_TERMINAL:
            stopped = status not in {OrderState.FILLED, OrderState.NOT_SENT}
            answer = CommandStatus.DONE if stopped else CommandStatus.REFUSED
            filled = f"{row.order.filled_quantity} of {row.order.quantity} filled"
            return self._finish(command, answer, f"the order is {status}, {filled}")
        if status == OrderState.PLANNED:
            why = f"{command.requested_by}: {command.args.get('reason')}"
            with self._ledger.transaction() as tx:
                now = self._clock.now().utc
                refuse(tx, [row], CANCELED_BY_OPERATOR, {row.order.symbol: why}, now)
            return True
        if status in WORKING and self._desk.ready():
            why = f"{command.requested_by} asked: {command.args.get('reason')}"
            return self._desk.cancel([(row.order, why)])
        return self._is_forgotten(command)

    def _finish(self, command: Command, status: CommandStatus, result: str) -> bool:
        with self._ledger.transaction() as tx:
            commands.finish(tx, command.command_id, status, result, self._clock.now().utc)
        return True

    def _is_forgotten(self, command: Command) -> bool:
        """Refuse what was asked long ago: whoever asked is not looking any more."""
        now = self._clock.now().utc
        if now - command.created_at < COMMAND_AGE_MAX:
            return False
        with self._ledger.transaction() as tx:
            result = "not possible within five minutes: ask again"
            commands.finish(tx, command.command_id, CommandStatus.REFUSED, result, now)
        return True

    def _cancel(self, command: Command) -> bool:
        now, name = self._clock.now().utc, str(command.args.get("run_id"))
        run = runs.find(self._ledger.db, name)
        if run is not None and run.status in RUN_ACTIVE:
            return False
        with self._ledger.transaction() as tx:
            run = runs.find(tx.db, name)
            if run is not None and run.status not in RUN_ACTIVE | RUN_TERMINAL:
                reason = RunReason.CANCELED_BY_OPERATOR
                rows = orders.of_run(tx.db, run.run_id, run.attempt)
                abandon(tx, [r for r in rows if r.order.status == OrderState.PLANNED], now)
                move_run(tx, run, RunState.CANCELED, reason, run.detail, now)
                run = runs.find(tx.db, run.run_id)
            if run is not None and run.status not in RUN_TERMINAL:
                return False
            canceled = run is not None and run.status is RunState.CANCELED
            status = CommandStatus.DONE if canceled else CommandStatus.REFUSED
            result = f"the run is {run.status}" if run else "there is no such run"
            commands.finish(tx, command.command_id, status, result, now)
        return True
