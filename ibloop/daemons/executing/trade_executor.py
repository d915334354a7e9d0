"""TradeExecutor: takes queued runs, one at a time, from claim to verdict.

Each step does one thing and returns whether there is more to do. The state is in the ledger: an
executor that starts after a crash goes on where the rows say.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import takewhile

from ibloop import log
from ibloop.adapters.ledger import fills, orders, runs
from ibloop.adapters.ledger.connection import Ledger
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.ports import Clock
from ibloop.config import Config
from ibloop.core.foreign import FOREIGN_TRADE
from ibloop.core.gates import Gate
from ibloop.core.invariant import present
from ibloop.core.lifecycle import (
    ORDER_AT_BROKER,
    OrderState,
    RunReason,
    RunState,
)
from ibloop.core.model import BrokerOrder, HaltLevel, Moment
from ibloop.core.outcome import Outcome, outcome
from ibloop.core.risk import breaches
from ibloop.daemons.executing.canceling import WORKING
from ibloop.daemons.executing.comparing import POSITION_LAG, broken_promises, standing_breaks
from ibloop.daemons.executing.evidence import Sync
from ibloop.daemons.executing.margin_desk import Draft
from ibloop.daemons.executing.order_executor import ACTOR, OrderExecutor
from ibloop.daemons.executing.order_sender import PACED
from ibloop.daemons.executing.quote_wait import QuoteWait
from ibloop.daemons.executing.run_attempts import RunAttempts
from ibloop.daemons.executing.run_commands import RunCommands
from ibloop.daemons.executing.run_moves import abandon, announce, move_run, refuse
from ibloop.daemons.executing.run_planner import RunPlanner
from ibloop.daemons.executing.run_release import RunRelease
from ibloop.daemons.executing.run_stops import RunStops
from ibloop.daemons.executing.stall_watch import StallWatch

SYNC_PATIENCE_S = {RunState.PREPARING: 60.0, RunState.RECONCILING: 300.0}
"""How long a run waits for the broker's truth before it is blocked, by boot time."""
BREAK_PATIENCE_S = POSITION_LAG.total_seconds()
"""A difference between positions and fills must last this long."""
LOOK_AGAIN_S = 2.0
AFTER_DEADLINE = timedelta(minutes=5)
"""Orders expire at the deadline; what has not been seen to end by now needs a person (L1)."""

_log = log.get(__name__)


class TradeExecutor:
    """Owns the runs; the orders belong to the :class:`OrderExecutor` it is given.

    ``gate`` answers the pre-trade questions for a run: the gate that fails, or ``None``.
    ``guard_silence`` tells why the guard cannot be relied on, ``None`` when it can. ``deadline``
    gives the moment by which a run that starts now must have ended, ``None`` for no time left.
    ``is_paced`` tells after a step whether only time keeps the next order back.
    """

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        desk: OrderExecutor,
        planner: RunPlanner,
        clock: Clock,
        *,
        gate: Callable[[Run], Gate | None],
        guard_silence: Callable[[], str | None],
        deadline: Callable[[datetime], datetime | None],
    ) -> None:
        """Keep the ports; nothing is read before the first step."""
        self._config = config
        self._ledger = ledger
        self._desk = desk
        self._planner = planner
        self._clock = clock
        self._gate = gate
        self._deadline = deadline
        self._commands = RunCommands(ledger, desk, clock)
        self._release = RunRelease(config, ledger, clock, gate=gate, deadline=deadline, actor=ACTOR)
        self._attempts = RunAttempts(config, ledger)
        wait_s_max = config.execution.quote_wait_s_max
        self._prices = QuoteWait(ledger, planner, self._attempts, self._release, wait_s_max)
        self._stops = RunStops(config, ledger, desk, gate=gate, guard_silence=guard_silence)
        self._stall = StallWatch(ledger, config.execution.stalled_after_s)
        self._send_waits: str | None = None
        # Which evidence a run waits for. What this process collects began after anything that an
        # earlier one did, so nothing has to be remembered over a restart.
        self._ticket = 0
        self._waiting: tuple[str, int, RunState, Moment] | None = None
        self._differs_since: Moment | None = None
        self._compared_at: datetime | None = None
        self.is_paced = False

    def step(self) -> bool:
        """Do one piece of work; return whether there may be more."""
        self.is_paced = False
        # Before what has arrived is stored: a kill waits for the disk no longer than it must.
        worked = self._cancel_killed()
        worked |= self._desk.poll()
        worked |= self._cancel_what_must_die()
        worked |= self._commands.answer()
        run = self.current()
        worked |= self._claim() if run is None else self._advance(run)
        if not worked:
            # Each send moves the mark; what else was written, a halt above all, it follows here.
            self._desk.note_progress()
        return worked

    def current(self) -> Run | None:
        """Return the run under way, if any."""
        return next(iter(runs.active(self._ledger.db)), None)

    def _cancel_what_must_die(self) -> bool:
        """Cancel everything under a kill, what has outlived its deadline or its run."""
        db, now = self._ledger.db, self._clock.now().utc
        done = self._desk.cancel_revived() | self._cancel_killed()
        working = [row.order for row in orders.in_states(db, WORKING)]
        if not working:
            return done
        whole = {run_id: runs.find(db, run_id) for run_id in {order.run_id for order in working}}
        canceled = {i for i, run in whole.items() if run and run.status is RunState.CANCELED}
        # Evidence first: an order that was away at its deadline has expired by itself.
        late = [o for o in working if now >= o.good_till and self._desk.ready()]
        doomed = [(order, "deadline") for order in late]
        doomed += [(o, "run canceled") for o in working if o.run_id in canceled and o not in late]
        return self._desk.cancel(doomed) or done

    def _cancel_killed(self) -> bool:
        """Cancel everything that works, if a kill is in force."""
        db = self._ledger.db
        if self._desk.halt(db) is not HaltLevel.KILL:
            return False
        return self._desk.cancel([(row.order, "kill") for row in orders.in_states(db, WORKING)])

    def _claim(self) -> bool:
        if not self._desk.ready():
            return False
        with self._ledger.transaction() as tx:
            run = runs.claim_next(tx, self._clock.now().utc, ACTOR)
        if run is None:
            return False
        self._ticket = self._desk.want_evidence()
        _log.info("run.claimed", run_id=run.run_id, run_key=run.run_key)
        return True

    def _advance(self, run: Run) -> bool:
        if run.status is RunState.EXECUTING:
            return self._execute(run)
        if run.status is RunState.AWAITING_APPROVAL:
            refused = self._release.refusal(run)
            return self._block(run, *refused) if refused else self._release.go_on(run)
        sync = self._desk.synced_since(self._ticket)
        if sync is None:
            if self._waited_s(run) <= SYNC_PATIENCE_S.get(run.status, float("inf")):
                return False
            why = f"the broker's state could not be read while {run.status}"
            return self._block(run, RunReason.GATEWAY_UNAVAILABLE, why)
        if run.status is RunState.PREPARING:
            return self._prepare(run, sync)
        return run.status is RunState.RECONCILING and self._reconcile(run, sync)

    def _waited_s(self, run: Run) -> float:
        """Return for how long this process has seen the run in its present state."""
        now, last = self._clock.now(), self._waiting
        if last is None or last[:3] != (run.run_id, run.attempt, run.status):
            last = self._waiting = (run.run_id, run.attempt, run.status, now)
        return now.age_s(last[3])

    # --- preparing ----------------------------------------------------------------------------

    def _prepare(self, run: Run, sync: Sync) -> bool:
        """Ask the gates again, build the plan, have it checked, write every order down."""
        if failed := self._gate(run):
            return self._block(run, failed.reason, failed.detail)
        if trouble := self._desk.trouble:
            return self._block(run, trouble.reason, trouble.detail)
        if self._commands.ends(run):
            return self._block(run, RunReason.CANCELED_BY_OPERATOR, "canceled while preparing")
        if self._positions_may_trail(run, sync):
            return self._wait_for_positions(run, sync)
        if breaks := standing_breaks(self._ledger.db, sync.evidence.positions):
            detail = "; ".join(b.detail for b in breaks)
            return self._block(run, RunReason.POSITION_BREAK, detail)
        equity_usd = sync.evidence.account_values.net_liquidation
        if equity_usd <= 0:
            return self._block(run, RunReason.ACCOUNT_STALE, f"net liquidation is {equity_usd}")
        now = self._clock.now()
        deadline = self._deadline(now.utc)
        if deadline is None:
            return self._block(run, RunReason.WINDOW_TOO_SHORT, "the session is about to end")
        margin = self._desk.margin
        draft = margin.held(run)
        if draft is None and self._prices.holds(run, sync.evidence, deadline, now):
            self._waiting = None  # a lost connection is waited for from when it is lost
            return False
        draft = draft or self._draft(run, sync, now, deadline)
        answered = margin.verdicts(draft, now)
        if answered is None:
            return False
        return self._write(run, replace(draft, verdicts=(*draft.verdicts, *answered)), now)

    def _draft(self, run: Run, sync: Sync, now: Moment, deadline: datetime) -> Draft:
        """Build the plan and its orders, and check the plan; nothing is written."""
        plan = self._planner.plan(self._planner.snapshot_of(run), sync.evidence, now)
        plan = self._attempts.narrowed(run, plan)
        orders_end, deadline = self._attempts.ends(run, now.utc, deadline)
        verdicts = self._planner.verdicts(plan, sync.evidence, now)
        barred = self._attempts.barred(run, sync.evidence.open_orders)
        # Of a plan that is refused nothing can be made: its figures may mean nothing.
        planned = () if breaches(verdicts) else self._planner.orders(run, plan, orders_end, barred)
        return Draft(
            run_id=run.run_id,
            attempt=run.attempt,
            plan=plan,
            planned=planned,
            sync=sync,
            verdicts=verdicts,
            deadline=deadline,
            orders_end=orders_end,
        )

    def _write(self, run: Run, draft: Draft, now: Moment) -> bool:
        """Store what the checks of a draft said, and its orders unless one of them refused."""
        plan, verdicts = draft.plan, draft.verdicts
        with self._ledger.transaction() as tx:
            self._planner.record(tx, run, draft.sync.evidence, plan, verdicts, now.utc)
        if refused := breaches(verdicts):
            return self._block(run, RunReason.LIMIT_BREACHED, "; ".join(map(str, refused)))
        if spent := self._planner.spent_references(run, plan):
            # Sent by a ledger that is gone: the same reference must never mean a second order.
            detail = f"the broker knows {', '.join(spent)}; the next attempt has other references"
            return self._block(run, RunReason.LEDGER_BEHIND, detail)
        if short := self._release.too_short(plan, now.utc, draft.deadline):
            return self._block(run, RunReason.WINDOW_TOO_SHORT, short)
        with self._ledger.transaction() as tx:
            count = self._planner.write(tx, run, draft, now.utc, ACTOR)
            self._release.after_planning(tx, run, count, now)
        _log.info("run.planned", run_id=run.run_id, run_key=run.run_key, orders=count)
        return True

    def _positions_may_trail(self, run: Run, sync: Sync) -> bool:
        """Return whether a fill is so fresh that the broker's positions may not show it yet.

        A run that ended has compared positions with fills; after a blocked one nobody has.
        """
        filled_at = fills.last_recorded_at(self._ledger.db)
        if filled_at is None or (self._compared_at and filled_at <= self._compared_at):
            return False
        if filled_at > sync.begun.utc:  # the clock was set back: only waiting itself can tell
            return self._waited_s(run) < BREAK_PATIENCE_S
        return sync.begun.utc - filled_at < POSITION_LAG

    def _wait_for_positions(self, run: Run, sync: Sync) -> bool:
        """Look again every two seconds until the positions cannot trail any more."""
        if self._waited_s(run) > SYNC_PATIENCE_S[RunState.PREPARING]:
            why = "executions are newer than the positions the broker shows"
            return self._block(run, RunReason.ACCOUNT_STALE, why)
        if self._clock.now().age_s(sync.begun) > LOOK_AGAIN_S:
            self._ticket = self._desk.want_evidence()
        return False

    # --- executing ----------------------------------------------------------------------------

    def _execute(self, run: Run) -> bool:
        """Stop for what must stop a run, else send the next order, else go on to reconcile."""
        rows = orders.of_run(self._ledger.db, run.run_id, run.attempt)
        now, deadline = self._clock.now(), present(run.deadline_at, "deadline")
        ends = max((row.order.good_till for row in rows), default=deadline)
        self._stall.look(run, rows, now, ends, self._send_waits)
        planned = [row for row in rows if row.order.status == OrderState.PLANNED]
        at_broker = [row for row in rows if row.order.status in ORDER_AT_BROKER]
        if stop := self._stops.stop(run, rows, now):
            return self._block(run, *stop)
        if at_broker and now.utc >= ends + AFTER_DEADLINE:
            names = ", ".join(row.order.client_order_id for row in at_broker[:3])
            return self._block(run, RunReason.DEADLINE_REACHED, f"not seen to end: {names}")
        canceled = self._commands.ends(run)
        if planned and (canceled or now.utc >= ends):
            self._abandon(run, planned)
            return True
        if planned and self._leave_to_others(run, planned):
            return True
        if planned:
            return self._send_next(run, planned, at_broker, rows)
        if at_broker:
            return canceled and self._cancel_working(at_broker)
        with self._ledger.transaction() as tx:
            move_run(tx, run, RunState.RECONCILING, None, "", now.utc)
        self._ticket = self._desk.want_evidence()
        return True

    def _send_next(
        self,
        run: Run,
        planned: Sequence[OrderRow],
        at_broker: Sequence[OrderRow],
        rows: Sequence[OrderRow],
    ) -> bool:
        """Send as many orders as the window, the canary and the waves before them allow."""
        unacknowledged = sum(1 for row in at_broker if row.order.status == OrderState.SENDING)
        proven = any(row.order.perm_id or row.order.filled_quantity for row in rows)
        allowed = (self._config.order_window if proven else 1) - unacknowledged
        wave = self._planner.wave(run, planned[0].order)
        if allowed <= 0 or any(self._planner.wave(run, r.order) < wave for r in at_broker):
            return False
        # A buy does not follow a sell in one go: that sell works then, and has to fill first.
        batch = takewhile(lambda row: self._planner.wave(run, row.order) == wave, planned[:allowed])
        waiting = self._desk.send(run, list(batch))
        self.is_paced = waiting == PACED
        self._send_waits = waiting
        return waiting is None

    def _leave_to_others(self, run: Run, planned: Sequence[OrderRow]) -> bool:
        """Refuse planned orders of symbols that somebody else trades; the others go on."""
        touched = self._attempts.touched(run, self._foreign_orders())
        refused = [row for row in planned if row.order.symbol in touched]
        if refused:
            with self._ledger.transaction() as tx:
                refuse(tx, refused, FOREIGN_TRADE, touched, self._clock.now().utc)
        return bool(refused)

    def _foreign_orders(self) -> Sequence[BrokerOrder]:
        return self._desk.sync.evidence.open_orders if self._desk.sync else ()

    def _cancel_working(self, at_broker: Sequence[OrderRow]) -> bool:
        working = [row.order for row in at_broker if row.order.status in WORKING]
        return self._desk.cancel([(order, "the run ends") for order in working])

    def _abandon(self, run: Run, planned: Sequence[OrderRow]) -> None:
        now = self._clock.now().utc
        with self._ledger.transaction() as tx:
            abandon(tx, planned, now)
        _log.info("run.ending", run_id=run.run_id, abandoned=len(planned))

    # --- reconciling --------------------------------------------------------------------------

    def _reconcile(self, run: Run, sync: Sync) -> bool:
        """Compare ledger and broker; end the run, or block it where they differ."""
        attempt = orders.of_run(self._ledger.db, run.run_id, run.attempt)
        rows = [row.order for row in attempt]
        if broken := broken_promises(self._ledger.db, run, sync.evidence, self._config.account):
            self._differs_since = self._differs_since or sync.begun
            if sync.begun.age_s(self._differs_since) < BREAK_PATIENCE_S:
                self._ticket = self._desk.want_evidence()
                return False
            position = broken[0].promise == "P4"
            reason = RunReason.POSITION_BREAK if position else RunReason.PROMISE_BROKEN
            detail = "; ".join(f"{b.promise}: {b.detail}" for b in broken)
            self._differs_since = None
            return self._block(run, reason, detail)
        self._differs_since = None
        self._compared_at = sync.stored_at
        end = outcome(rows, canceled=self._commands.ends(run), earlier=self._attempts.earlier(run))
        now = self._clock.now().utc
        follows = self._attempts.follows(run, attempt, end, now)
        if follows and self._stops.allow_retry(run, self._clock.now()):
            self._attempts.queue_next(run, end, now)
            return True
        with self._ledger.transaction() as tx:
            move_run(tx, run, end.status, end.reason, end.detail, now)
            announce(tx, run, end, now)
        _log.info(
            "run.ended",
            run_id=run.run_id,
            run_key=run.run_key,
            status=end.status,
            reason=end.reason,
            detail=end.detail,
        )
        return True

    # --- moving -------------------------------------------------------------------------------

    def _block(self, run: Run, reason: RunReason, detail: str) -> bool:
        """Stop the run: what is planned stays unsent, and only a person moves it on."""
        self._cancel_killed()
        now = self._clock.now().utc
        with self._ledger.transaction() as tx:
            present_state = present(runs.find(tx.db, run.run_id), run.run_id).status
            if present_state is not run.status:
                return True  # a person has cancelled it while it waited for an approval
            rows = orders.of_run(tx.db, run.run_id, run.attempt)
            abandon(tx, [r for r in rows if r.order.status == OrderState.PLANNED], now)
            move_run(tx, run, RunState.BLOCKED, reason, detail, now)
            announce(tx, run, Outcome(RunState.BLOCKED, reason, detail), now)
        _log.warning("run.blocked", run_id=run.run_id, reason=reason, detail=detail)
        return True
