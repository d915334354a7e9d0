"""From a written plan to sending: at once, or once a person has approved what may be sent.

A run that waits is asked about again and again: whoever approves it late approves another market,
so a ticket runs out, and the gates are asked once more before the first order leaves.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from ibloop import log
from ibloop.adapters.ledger import alerts, approvals, orders, runs
from ibloop.adapters.ledger.approvals import Approval
from ibloop.adapters.ledger.connection import Ledger, Tx
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.ports import Clock
from ibloop.config import Config
from ibloop.core.approval import COLLARS, Ticket, ticket_lines
from ibloop.core.arming import term_from
from ibloop.core.gates import Gate
from ibloop.core.invariant import present
from ibloop.core.lifecycle import OrderState, RunReason, RunState
from ibloop.core.model import Moment, Order, Side
from ibloop.core.orders import Plan
from ibloop.core.windows import Pace, shortage, spare_time
from ibloop.daemons.executing.order_book import cash_gone_usd

_log = log.get(__name__)


class RunRelease:
    """Holds planned runs until they may send.

    ``gate`` answers the pre-trade questions; ``deadline`` gives the moment by which a run that
    starts now must have ended.
    """

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        clock: Clock,
        *,
        gate: Callable[[Run], Gate | None],
        deadline: Callable[[datetime], datetime | None],
        actor: str,
    ) -> None:
        """Keep the ports."""
        self._config = config
        self._quiet = config.quiet
        self._ledger = ledger
        self._clock = clock
        self._gate = gate
        self._deadline = deadline
        self._actor = actor
        self._cleared: Approval | None = None

    def too_short(self, plan: Plan, now: datetime, deadline: datetime) -> str | None:
        """Return why a plan does not fit the time that is left, ``None`` when it does."""
        sells = sum(1 for intent in plan.intents if intent.side is Side.SELL)
        return self._shortage(sells, len(plan.intents) - sells, now, deadline)

    def spare_s(self, plan: Plan, now: datetime, deadline: datetime) -> float:
        """Return for how many seconds a plan can be put off and still fit the time there is.

        Counted as if all that has no price yet were bought.
        """
        sells = sum(1 for intent in plan.intents if intent.side is Side.SELL)
        buys = len(plan.intents) - sells + len(plan.unpriced)
        spare = spare_time(self._quiet, now, deadline, sells=sells, buys=buys, pace=self._pace())
        return spare.total_seconds()

    def after_planning(self, tx: Tx, run: Run, count: int, now: Moment) -> None:
        """Move a run on, inside the transaction that has written its plan.

        To ``awaiting_approval`` with a ticket where a person has to approve it, else to
        ``executing``; a run with nothing to send has nothing to approve.
        """
        if not (count and self._config.needs_approval):
            self._move(tx, run, RunState.EXECUTING, f"{count} orders to send", now.utc)
            return
        ticket = self._ticket(tx, run)
        term = term_from(now, timedelta(minutes=self._config.execution.approval_minutes))
        digest = approvals.request(tx, ticket, term, now.utc, self._actor)
        until = f"{term.expires.utc:%F %H:%M} UTC"
        detail = f"{count} orders wait for approval until {until}"
        self._move(tx, run, RunState.AWAITING_APPROVAL, detail, now.utc)
        text = f"run {run.run_key}: {detail}; `ibloop run approve {run.run_key}` shows them"
        key = f"approval:{run.run_id}:{run.attempt}"
        alerts.raise_alert(tx, "warning", "run.awaiting_approval", run.run_id, text, key, now.utc)
        _log.info("run.approval_requested", run_id=run.run_id, ticket_hash=digest, orders=count)

    def refusal(self, run: Run) -> tuple[RunReason, str] | None:
        """Return why a run that waits for its approval must not go on, ``None`` otherwise.

        An approval for which there is no reason is the one that :meth:`go_on` goes on with.
        """
        self._cleared = None
        approval = approvals.find(self._ledger.db, run.run_id, run.attempt)
        if approval is None:
            return RunReason.APPROVAL_EXPIRED, "its ticket is missing"
        now = self._clock.now()
        if approval.term.is_over(now):
            by = f"approved by {approval.approved_by}" if approval.approved_by else "not approved"
            return RunReason.APPROVAL_EXPIRED, f"{by}, and its time has run out"
        if approval.approved_at is None:
            return None
        if failed := self._gate(run):
            return failed.reason, failed.detail
        deadline = self._deadline(now.utc)
        if deadline is None:
            return RunReason.WINDOW_TOO_SHORT, "the session is about to end"
        sides = [line.side for line in approval.ticket.lines]
        sells = sides.count(Side.SELL)
        short = self._shortage(sells, len(sides) - sells, now.utc, deadline)
        if short is not None:
            return RunReason.WINDOW_TOO_SHORT, short
        self._cleared = approval
        return None

    def go_on(self, run: Run) -> bool:
        """Let a run send whose approval :meth:`refusal` has just looked at; return whether it may.

        One that is approved in between is looked at in the next step, with all its gates. Waiting
        costs none of its time: deadline and orders are postponed by as much. Cash that has gone
        from the account meanwhile is gone from the run, too.
        """
        with self._ledger.transaction() as tx:
            approval = approvals.find(tx.db, run.run_id, run.attempt)
            moment = self._clock.now()
            now, latest = moment.utc, self._deadline(moment.utc)
            if approval is None or approval != self._cleared or latest is None:
                return False
            if approval.term.is_over(moment):
                return False
            waited = now - approval.requested_at
            deadline = min(present(run.deadline_at, "deadline") + waited, latest)
            planned = _planned(tx, run)
            dies = max((order.good_till for order in planned), default=deadline) + waited
            approvals.postpone(
                tx,
                run.run_id,
                run.attempt,
                deadline_at=deadline,
                good_till=min(dies, deadline),
                now=now,
                actor=self._actor,
            )
            self._lower_cash(tx, run, now)
            detail = f"{len(planned)} orders to send, approved by {approval.approved_by}"
            return self._move(tx, run, RunState.EXECUTING, detail, now)

    def _lower_cash(self, tx: Tx, run: Run, now: datetime) -> None:
        """Write down what cash is left of the plan's, while nothing of the run has moved it.

        Once its own orders fill, the broker's figure and theirs cannot be told apart so well.
        """
        gone_usd = cash_gone_usd(tx.db, run)
        if gone_usd <= 0:
            return
        left_usd = present(run.cash_usd, "cash of a planned run") - gone_usd
        runs.lower_cash(tx, run.run_id, left_usd, now, self._actor)
        _log.warning("run.cash_lowered", run_id=run.run_id, gone_usd=str(gone_usd))

    def _shortage(self, sells: int, buys: int, now: datetime, deadline: datetime) -> str | None:
        return shortage(self._quiet, now, deadline, sells=sells, buys=buys, pace=self._pace())

    def _pace(self) -> Pace:
        return Pace(self._config.limits.orders_per_second_max, self._config.order_window)

    def _ticket(self, tx: Tx, run: Run) -> Ticket:
        planned = _planned(tx, run)
        lines = runs.plan_lines(tx.db, run.run_id, run.attempt)
        return Ticket(
            account=run.account,
            mode=run.mode,
            run_id=run.run_id,
            run_key=run.run_key,
            attempt=run.attempt,
            snapshot_hash=present(run.snapshot_hash, "snapshot of a planned run"),
            config_hash=run.config_hash,
            collar_fraction=COLLARS * self._config.limits.price_collar_fraction,
            lines=ticket_lines(planned, {line.symbol: line.price for line in lines}),
        )

    def _move(self, tx: Tx, run: Run, target: RunState, detail: str, now: datetime) -> bool:
        """Move the run by compare-and-set: a person may have cancelled it meanwhile."""
        return runs.move(
            tx,
            run.run_id,
            run.status,
            target,
            reason=None,
            detail=detail,
            now=now,
            actor=self._actor,
        )


def _planned(tx: Tx, run: Run) -> list[Order]:
    rows = orders.of_run(tx.db, run.run_id, run.attempt)
    return [row.order for row in rows if row.order.status == OrderState.PLANNED]
