"""IBOrderExecutor: everything between a planned order and the truth about it.

Journal, then act: :mod:`order_sender` commits a row in state SENDING, with every check made in
the same transaction, before the first byte leaves. What comes back goes into the ledger first and
is judged by evidence (``core.recovery``). Nothing here waits; ``poll`` is one step of a loop.

Ages are boot time; what happened before what is told by numbers, not by times: the ledger keeps
milliseconds and a wall clock can be set back.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from ibloop import log
from ibloop.adapters.ledger import account, alerts, fills, identity, orders, runs
from ibloop.adapters.ledger.connection import Connection, Ledger, Tx
from ibloop.adapters.ledger.mark import Mark
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.ledger.stamps import after, next_stamp
from ibloop.adapters.ports import Broker, Clock, Quotes
from ibloop.config import Config
from ibloop.core import events as ev
from ibloop.core.lifecycle import ORDER_AT_BROKER, ORDER_NEVER_SENT, OrderState
from ibloop.core.model import Evidence, Execution, HaltLevel, Instrument, Moment, Order
from ibloop.core.recovery import REQUEST_FAILED_CODES, Refusal, hint, needs_evidence
from ibloop.core.snapshot import is_ours
from ibloop.daemons.executing.canceling import Canceler
from ibloop.daemons.executing.evidence import Pass, Sync
from ibloop.daemons.executing.lineage import Lineage
from ibloop.daemons.executing.margin_desk import MarginDesk
from ibloop.daemons.executing.order_ids import OrderIds
from ibloop.daemons.executing.order_judge import OrderJudge
from ibloop.daemons.executing.order_sender import PACED, OrderSender
from ibloop.daemons.executing.order_trouble import Trouble, revived_orders
from ibloop.daemons.executing.send_rails import SendRails
from ibloop.errors import LockHeldError

ACTOR = "executor"
EVIDENCE_INTERVAL_S = 15.0
"""How often the broker's truth is collected when nothing asks for it."""
EVIDENCE_SPACING_S = 0.5
"""Questions share the gateway's message rate with orders and cancels."""
EVIDENCE_RETRY_S = 1.0
PROOF_AGE_S_MAX = 3.0
"""An order leaves only if the gateway answered a round trip this recently (the probe)."""
PATIENCE_S, PATIENCE = 5.0, timedelta(seconds=5)
"""For an order that should have been heard of, between two looks at it."""
LINK_LOST, LINK_RESTORED = frozenset({1100, 1300, 2110}), frozenset({1101, 1102})

_log = log.get(__name__)


class OrderExecutor:
    """Owns the orders at the broker: sends them, cancels them, and keeps the ledger true."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        broker: Broker,
        quotes: Quotes,
        instruments: Mapping[str, Instrument],
        clock: Clock,
        halt: Callable[[Connection], HaltLevel | None],
        mark: Mark,
        rails: SendRails,
    ) -> None:
        """Take the epoch: from here on an older executor can send nothing any more.

        ``halt`` tells the severest halt in force, read anew at each call; ``mark`` how far this
        ledger had come when an executor last worked on it; ``rails`` bound every send.
        """
        self._config = config
        self._ledger = ledger
        self._broker = broker
        self._clock = clock
        self.halt = halt
        self.rails = rails
        self._started = clock.now()
        self._judge = OrderJudge(config, self._started, ACTOR)
        self._canceler = Canceler(ledger, broker, self._judge, clock, ACTOR)
        self._heard: set[ev.OrderReported] = set()
        self._costs: dict[str, ev.CommissionReported] = {}
        self._hold: str | None = None
        self._hold_until = 0
        self._link_up = True
        self._pass: Pass | None = None
        self._passes = self._rest_until_ns = 0
        self._wanted = False
        self.sync: Sync | None = None
        self.trouble: Trouble | None = None
        self._lineage = Lineage(ledger, mark, clock)
        self._revived: tuple[Order, ...] = ()
        with ledger.transaction() as tx:
            self.epoch = identity.take_epoch(tx, ACTOR, self._started.utc)
            self._floor = next_stamp(tx.db)
        self._lineage.note_progress()
        self._ids = OrderIds(ledger.db, self._lineage)
        self.margin = MarginDesk(config.limits, broker, self._ids, instruments)
        self._sender = OrderSender(
            config,
            ledger,
            broker,
            quotes,
            instruments,
            clock,
            halt=halt,
            rails=rails,
            epoch=self.epoch,
            actor=ACTOR,
            note_sending=self._lineage.note_sending,
        )

    # --- what others ask ----------------------------------------------------------------------

    def poll(self) -> bool:
        """Take in what has arrived, keep evidence fresh; return whether anything happened.

        Raises: LockHeldError when another executor has taken the epoch.
        """
        if identity.epoch(self._ledger.db) != self.epoch:
            raise LockHeldError(
                f"another executor has taken over (expected epoch {self.epoch}, was "
                f"{identity.epoch(self._ledger.db)}); only one may run on a ledger"
            )
        arrived = self._broker.events()
        if arrived:
            now = self._clock.now()
            with self._ledger.transaction() as tx:
                for event in arrived:
                    self._take(tx, event, now)
        self._keep_evidence()
        return bool(arrived)

    def ready(self) -> bool:
        """Return whether the broker's truth is known on a connection that is up."""
        return self.sync is not None and self._link_up and self._broker.is_connected()

    def note_progress(self) -> None:
        """Let the mark beside the ledger follow it."""
        self._lineage.note_progress()

    def accept_ledger(self, reason: str, actor: str) -> str | None:
        """Accept a ledger that is behind the broker; return why not, ``None`` when done."""
        if self.sync is None or not self.ready():
            return "the broker's truth is not known; try again when the executor is ready"
        refused = self._lineage.accept(self.sync.evidence, reason, actor)
        self.trouble = self._lineage.find_trouble(self.sync.evidence)
        return refused

    def want_evidence(self) -> int:
        """Ask for a collection that begins from now on; return its number."""
        self._wanted = True
        return self._passes + 1

    def synced_since(self, number: int) -> Sync | None:
        """Return the last evidence if it is of this collection or a later one."""
        if self.sync is not None and self.ready() and self.sync.number >= number:
            return self.sync
        return None

    def send(self, run: runs.Run, rows: Sequence[OrderRow]) -> str | None:
        """Send planned orders, or refuse them, as far as nothing stands against it.

        Returns why the first has to wait, ``None`` when at least that one is done.
        """
        for ref in (row.order.client_order_id for row in rows):
            if self._pass is not None:
                self._pass.sent.add(ref)
            self._judge.note_sent(ref, self._clock.now())
        planned = [row.order for row in rows]
        return self._sender.send(run, planned, self._ids.floor(), self._not_now)

    def cancel(self, doomed: Sequence[tuple[Order, str]]) -> bool:
        """Ask the broker to cancel working orders, each for its reason; return whether it was."""
        asked = self._canceler.cancel(doomed)
        self._wanted |= asked
        return asked

    def cancel_revived(self) -> bool:
        """Ask the broker once a collection to cancel what has ended, by the ledger, and works."""
        revived, self._revived = self._revived, ()
        for order in revived:
            if self._broker.is_connected() and order.ib_order_id is not None:
                self._canceler.ask(order)
                _log.warning("order.revived", client_order_id=order.client_order_id)
        return bool(revived)

    def _not_now(self, ahead: int = 0) -> str | None:
        """Return what of the connection stands against a send behind ``ahead`` others."""
        if not self.ready():
            return "not synchronised"
        if self.trouble is not None:
            return self.trouble.detail
        if self._hold is not None:
            return self._hold
        if missing := self._judge.missing():
            return f"{missing} cannot be found at the broker"
        if self._broker.proof_age_s() > PROOF_AGE_S_MAX:
            return "the gateway does not answer"
        return None if self._broker.room() > ahead else PACED

    # --- keeping evidence fresh ---------------------------------------------------------------

    def _keep_evidence(self) -> None:
        now, last = self._clock.now(), self.sync
        if self._pass is not None or not self._link_up or not self._broker.is_connected():
            return
        if now.boottime_ns < self._rest_until_ns:
            return
        due = last is None or now.age_s(last.begun) > EVIDENCE_INTERVAL_S
        if due or self._wanted or self._overdue(now):
            self._passes += 1
            self._pass = Pass(self._passes, now)
            self._wanted = False
            self._rest_until_ns = now.boottime_ns + int(EVIDENCE_SPACING_S * 1e9)
            self._broker.collect_evidence()

    def _overdue(self, now: Moment) -> bool:
        """Return whether an order's silence has lasted too long.

        An unknown order is none of them: periodic evidence goes on about it, maybe for ever.
        """
        looked_s = now.age_s(self.sync.begun if self.sync else self._started)
        if self._judge.missing() and looked_s >= EVIDENCE_RETRY_S:
            return True
        if looked_s < PATIENCE_S:
            return False
        return any(
            self._judge.is_unanswered(order, now)
            if order.status == OrderState.SENDING
            else order.status != OrderState.UNKNOWN and now.utc - order.good_till > PATIENCE
            for order in (r.order for r in orders.in_states(self._ledger.db, ORDER_AT_BROKER))
        )

    def _distrust(self) -> None:
        """Forget what was known: it is of a connection that is gone."""
        self.sync = None
        self._judge.start_over(self._clock.now())
        self._heard.clear()
        # Evidence tells executions together with their costs.
        self._costs.clear()
        if self._pass is not None:
            # Its end is still to come, and a pass under way would be joined by a new one.
            self._pass.is_void = True

    # --- what comes in ------------------------------------------------------------------------

    def _take(self, tx: Tx, event: ev.BrokerEvent, now: Moment) -> None:
        match event:
            case ev.OrderReported():
                self._order_reported(tx, event, now.utc)
            case ev.Executed(execution):
                self._executed(tx, execution, now)
            case ev.CommissionReported():
                self._costed(tx, event, now.utc)
            case ev.ErrorReported():
                self._error_reported(tx, event, now.utc)
            case ev.Connected():
                self._ids.heard(event.next_order_id)
                self._link_up = True
                self._distrust()
                _log.info("broker.connected", next_order_id=event.next_order_id)
            case ev.Disconnected():
                self._distrust()
                _log.warning("broker.disconnected", reason=event.reason)
            case ev.EvidenceCollected(evidence):
                self._evidence_collected(tx, evidence, now)
            case ev.EvidenceFailed():
                self._pass, self._wanted = None, True
                self._rest_until_ns = now.boottime_ns + int(EVIDENCE_RETRY_S * 1e9)
                _log.warning("evidence.failed", reason=event.reason)
            case ev.AccountReported(values):
                account.store_values(tx, values, now.utc)
            case ev.MarginAnswered():
                self.margin.take(event)

    def _executed(self, tx: Tx, execution: Execution, now: Moment) -> None:
        if execution.account != self._config.account:
            return
        fills.record(tx, execution, self._stamp(now), ACTOR)
        if cost := self._costs.pop(execution.exec_id, None):
            self._costed(tx, cost, now.utc)
        ref = execution.client_order_id
        row = orders.find(tx.db, ref) if is_ours(ref) else None
        if is_ours(ref) and (row is None or row.order.sent_at is None or row.order.remaining < 0):
            self._hold_for_evidence(f"an execution of {ref} cannot be explained")

    def _costed(self, tx: Tx, cost: ev.CommissionReported, now: datetime) -> None:
        """Store what an execution cost, or keep it until the execution is told of, too."""
        told = (cost.exec_id, cost.commission, cost.realized_pnl)
        if not fills.record_commission(tx, *told, now, ACTOR):
            self._costs[cost.exec_id] = cost

    def _hold_for_evidence(self, why: str) -> None:
        """Send nothing until a collection that begins from now on has told what it means."""
        self._hold, self._hold_until = why, self.want_evidence()

    def _stamp(self, now: Moment) -> datetime:
        """Return when a fill is recorded: after the evidence stored last, whatever the clock says.

        What came in after a run's baseline must be told from what came with it (promise P4).
        """
        return now.utc if self._floor is None else max(now.utc, self._floor)

    def _order_reported(self, tx: Tx, event: ev.OrderReported, now: datetime) -> None:
        row = self._row_of(tx, event)
        is_news, ref = event not in self._heard, event.client_order_id
        self._heard.add(event)
        if row is None or row.order.sent_at is None or row.order.status in ORDER_NEVER_SENT:
            if is_news and (row is not None or is_ours(ref)):
                self._hold_for_evidence(f"the broker reports {ref}, which was never sent")
            return
        order = row.order
        if event.perm_id and order.perm_id not in {None, event.perm_id}:
            if is_news:
                self._hold_for_evidence(f"two orders at the broker carry {order.client_order_id}")
            return
        acknowledged = hint(event.ib_status, event.why_held) if event.perm_id else None
        # While a cancel is under way an echo of "Submitted" proves nothing about the cancel, and
        # what is unknown is left to evidence.
        unclear = order.status in {OrderState.PENDING_CANCEL, OrderState.UNKNOWN}
        if acknowledged and not unclear:
            ref = order.client_order_id
            orders.apply(tx, ref, acknowledged, perm_id=event.perm_id, now=now, actor=ACTOR)
        ends = needs_evidence(event.ib_status, event.why_held)
        if is_news and order.status in ORDER_AT_BROKER and (ends or unclear):
            self._wanted = True

    def _row_of(self, tx: Tx, event: ev.OrderReported) -> OrderRow | None:
        if event.client_order_id:
            return orders.find(tx.db, event.client_order_id)
        return orders.by_perm_id(tx.db, event.perm_id) if event.perm_id else None

    def _error_reported(self, tx: Tx, event: ev.ErrorReported, now: datetime) -> None:
        if event.code in LINK_LOST | LINK_RESTORED:
            self._link_up = event.code in LINK_RESTORED
            self._distrust()
        row = orders.by_ib_order_id(tx.db, event.ib_order_id) if event.ib_order_id else None
        if row is not None:
            ref = row.order.client_order_id
            _log.warning("order.error", client_order_id=ref, code=event.code, text=event.text)
            if event.code in REQUEST_FAILED_CODES:
                orders.note_refusal(tx, ref, Refusal(event.code, event.text), now, ACTOR)
            self._wanted = True
        else:
            _log.info("broker.notice", code=event.code, text=event.text)

    # --- what the broker's evidence says ------------------------------------------------------

    def _evidence_collected(self, tx: Tx, evidence: Evidence, now: Moment) -> None:
        ended, self._pass = self._pass, None
        if ended is None or ended.is_void:
            return
        self._ids.heard(evidence.next_order_id or 0)
        stored_at = self._stamp(now)
        ours = [e for e in evidence.executions if e.account == self._config.account]
        fills.record_all(tx, ours, stored_at, ACTOR)
        account.store_positions(tx, evidence.positions, evidence.collected_at, now.utc, ACTOR)
        account.store_values(tx, evidence.account_values, now.utc)
        self._floor = after(stored_at)
        if ended.number >= self._hold_until:
            self._hold = None
        self._judge.judge_all(tx, evidence, ended.begun, ended.sent, now.utc)
        self._note_trouble(tx, self._lineage.find_trouble(evidence), now.utc)
        self._revived = revived_orders(tx.db, evidence)
        self.sync = Sync(ended.number, ended.begun, stored_at, evidence)

    def _note_trouble(self, tx: Tx, found: Trouble | None, now: datetime) -> None:
        self.trouble = found
        if found is not None:
            # Told each day anew: what stands still, or comes back, must not be silent.
            key = f"{found.reason}:{found.subject}:{now:%Y-%m-%d}"
            alerts.raise_alert(
                tx, "critical", "broker.contradicts", found.subject, found.detail, key, now
            )
