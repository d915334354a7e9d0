"""IBOrderExecutor: everything between a planned order and the truth about it.

Journal, then act: :meth:`OrderExecutor.send` commits a row in state SENDING, with every check made
in the same transaction, before the first byte leaves. What comes back goes into the ledger first
and is judged by evidence (``core.recovery``). Nothing here waits; ``poll`` is one step of a loop.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ibloop import log
from ibloop.adapters.ledger import account, alerts, fills, identity, orders, runs
from ibloop.adapters.ledger.connection import Connection, Ledger, Tx
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.ports import Broker, Clock, NotSentError, Quotes
from ibloop.config import Config
from ibloop.core import events as ev
from ibloop.core.invariant import present
from ibloop.core.lifecycle import (
    ORDER_AT_BROKER,
    ORDER_NEVER_SENT,
    OrderEvent,
    OrderState,
    RunReason,
    RunState,
)
from ibloop.core.model import (
    ZERO,
    Evidence,
    HaltLevel,
    Instrument,
    Moment,
    Order,
    OrderType,
    Quote,
    Side,
)
from ibloop.core.orders import Intent, commission_bound_usd, limit_price
from ibloop.core.quotes import mid, problem
from ibloop.core.recovery import (
    REQUEST_FAILED_CODES,
    Refusal,
    hint,
    judge,
    needs_evidence,
    unrecorded,
)
from ibloop.core.risk import Breach, SendContext, check_send, halt_allows, second_is_free
from ibloop.core.sessions import day_start

ACTOR = "executor"
EVIDENCE_INTERVAL_S = 15.0
"""How often the broker's truth is collected when nothing asks for it."""
EVIDENCE_RETRY_S = 1.0
PROOF_AGE_S_MAX = 3.0
"""An order leaves only if the gateway answered a round trip this recently (the probe)."""
GRACE_AFTER_GOOD_TILL_S = 5.0
LINK_LOST, LINK_RESTORED = frozenset({1100, 1300, 2110}), frozenset({1101, 1102})

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Sync:
    """The last complete evidence and the moment its collection began."""

    begun: Moment
    stored_at: datetime
    evidence: Evidence


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
    ) -> None:
        """Take the epoch: from here on an older executor can send nothing any more.

        ``halt`` tells the severest halt in force, read anew at each call.
        """
        self._config = config
        self._ledger = ledger
        self._broker = broker
        self._quotes = quotes
        self._instruments = instruments
        self._clock = clock
        self.halt = halt
        self._refusals: dict[str, Refusal] = {}
        self._next_valid_id = 0
        self._link_up = True
        self._begun: Moment | None = None
        self._retry_at_ns = 0
        self._wanted = False
        self.sync: Sync | None = None
        self.trouble: tuple[RunReason, str] | None = None
        with ledger.transaction() as tx:
            self.epoch = identity.take_epoch(tx, ACTOR, clock.now().utc)

    # --- what comes in ------------------------------------------------------------------------

    def poll(self) -> bool:
        """Take in what has arrived, keep evidence fresh; return whether anything happened."""
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

    def want_evidence(self) -> None:
        """Ask for a collection that begins from now on."""
        self._wanted = True

    def synced_since(self, moment: datetime) -> Sync | None:
        """Return the last evidence if its collection began at or after ``moment``."""
        if self.sync is not None and self.ready() and self.sync.begun.utc >= moment:
            return self.sync
        return None

    def _keep_evidence(self) -> None:
        now = self._clock.now()
        if not self._broker.is_connected() or not self._link_up or self._begun is not None:
            return
        if now.boottime_ns < self._retry_at_ns:
            return
        due = self.sync is None or now.age_s(self.sync.begun) > EVIDENCE_INTERVAL_S
        if due or self._wanted or self._overdue(now):
            self._begun, self._wanted = now, False
            self._broker.collect_evidence()

    def _overdue(self, now: Moment) -> bool:
        """Return whether an order's silence has lasted too long."""
        rows = orders.in_states(self._ledger.db, ORDER_AT_BROKER)
        patience_s = self._config.execution.ack_timeout_s
        begun = self.sync.begun.utc if self.sync else None
        for order in (row.order for row in rows):
            sent_at = order.sent_at or now.utc
            waited_s = (now.utc - max(sent_at, begun or sent_at)).total_seconds()
            if order.status == OrderState.SENDING and waited_s > patience_s:
                return True
            past_s = (now.utc - order.good_till).total_seconds()
            if past_s > GRACE_AFTER_GOOD_TILL_S and waited_s > EVIDENCE_RETRY_S:
                return True
        return False

    def _take(self, tx: Tx, event: ev.BrokerEvent, now: Moment) -> None:
        match event:
            case ev.OrderReported():
                self._order_reported(tx, event, now.utc)
            case ev.Executed(execution):
                fills.record(tx, execution, now.utc, ACTOR)
            case ev.CommissionReported():
                fills.record_commission(
                    tx, event.exec_id, event.commission, event.realized_pnl, now.utc, ACTOR
                )
            case ev.ErrorReported():
                self._error_reported(tx, event)
            case ev.Connected():
                self._next_valid_id = max(self._next_valid_id, event.next_order_id)
                self._link_up, self.sync, self._begun = True, None, None
                _log.info("broker.connected", next_order_id=event.next_order_id)
            case ev.Disconnected():
                self.sync = self._begun = None
                _log.warning("broker.disconnected", reason=event.reason)
            case ev.EvidenceCollected(evidence):
                self._evidence_collected(tx, evidence, now)
            case ev.EvidenceFailed():
                self._begun = None
                self._retry_at_ns = now.boottime_ns + int(EVIDENCE_RETRY_S * 1e9)
                self._wanted = True
                _log.warning("evidence.failed", reason=event.reason)
            case ev.AccountReported(values):
                account.store_values(tx, values, now.utc)

    def _order_reported(self, tx: Tx, event: ev.OrderReported, now: datetime) -> None:
        row = self._row_of(tx, event)
        if row is None or row.order.status in ORDER_NEVER_SENT:
            # Either not ours, or ours and unknown to this ledger: the evidence pass tells which.
            self._wanted = True
            return
        acknowledged = hint(event.ib_status, event.why_held) if event.perm_id else None
        # While a cancel is under way an echo of "Submitted" proves nothing about the cancel.
        if acknowledged and row.order.status != OrderState.PENDING_CANCEL:
            ref = row.order.client_order_id
            orders.apply(tx, ref, acknowledged, perm_id=event.perm_id, now=now, actor=ACTOR)
        if needs_evidence(event.ib_status, event.why_held) and row.order.status in ORDER_AT_BROKER:
            self._wanted = True

    def _row_of(self, tx: Tx, event: ev.OrderReported) -> OrderRow | None:
        if event.client_order_id:
            return orders.find(tx.db, event.client_order_id)
        return orders.by_perm_id(tx.db, event.perm_id) if event.perm_id else None

    def _error_reported(self, tx: Tx, event: ev.ErrorReported) -> None:
        if event.code in LINK_LOST:
            self._link_up = False
        elif event.code in LINK_RESTORED:
            self._link_up, self.sync = True, None
        row = orders.by_ib_order_id(tx.db, event.ib_order_id) if event.ib_order_id else None
        if row is not None:
            ref = row.order.client_order_id
            _log.warning("order.error", client_order_id=ref, code=event.code, text=event.text)
            if event.code in REQUEST_FAILED_CODES:
                self._refusals[ref] = Refusal(event.code, event.text)
            self._wanted = True
        else:
            _log.info("broker.notice", code=event.code, text=event.text)

    # --- what the broker's evidence says ------------------------------------------------------

    def _evidence_collected(self, tx: Tx, evidence: Evidence, now: Moment) -> None:
        begun, self._begun = self._begun, None
        if begun is None:  # begun on a connection that is gone: it says nothing about this one
            return
        for execution in evidence.executions:
            fills.record(tx, execution, now.utc, ACTOR)
        account.store_positions(tx, evidence.positions, evidence.collected_at, now.utc, ACTOR)
        account.store_values(tx, evidence.account_values, now.utc)
        for row in orders.in_states(tx.db, ORDER_AT_BROKER):
            sent_at = row.order.sent_at
            if sent_at is not None and sent_at < begun.utc:
                self._judge(tx, row.order, evidence, now.utc)
        self._look_for_trouble(tx, evidence, now.utc)
        self.sync = Sync(begun, now.utc, evidence)

    def _judge(self, tx: Tx, order: Order, evidence: Evidence, now: datetime) -> None:
        ref = order.client_order_id
        refusal = self._refusals.get(ref)
        verdict = judge(order, evidence, refusal)
        if verdict.event is None:
            return
        rejected = verdict.event is OrderEvent.REJECT
        state = orders.apply(
            tx,
            ref,
            verdict.event,
            perm_id=verdict.perm_id,
            reject_source="broker" if rejected else None,
            reject_code=str(refusal.code) if rejected and refusal else None,
            reject_reason=(refusal.text if refusal else verdict.because) if rejected else None,
            now=now,
            actor=ACTOR,
        )
        _log.info("order.judged", client_order_id=ref, status=state, because=verdict.because)
        if rejected:
            text = f"{order.side} {order.quantity} {order.symbol} rejected: "
            text += refusal.text if refusal else verdict.because
            alerts.raise_alert(tx, "warning", "order.rejected", ref, text, f"rejected:{ref}", now)
        if state is OrderState.UNKNOWN and order.status != OrderState.UNKNOWN:
            text = f"{ref}: {verdict.because}; nothing is sent until it is resolved"
            alerts.raise_alert(tx, "critical", "order.unknown", ref, text, f"unknown:{ref}", now)

    def _look_for_trouble(self, tx: Tx, evidence: Evidence, now: datetime) -> None:
        """Compare the broker's references with the ledger: one we never sent stops everything."""
        sent = [row.order for row in orders.all_sent(tx.db)]
        strange = unrecorded(evidence, (o.client_order_id for o in sent))
        if not strange:
            if self.trouble is not None and self.trouble[0] is RunReason.LEDGER_BEHIND:
                self.trouble = None
            return
        detail = f"the broker knows {', '.join(strange[:3])}, this ledger never sent it"
        self.trouble = (RunReason.LEDGER_BEHIND, detail)
        key = f"ledger_behind:{strange[0]}"
        alerts.raise_alert(tx, "critical", "ledger.behind", strange[0], detail, key, now)

    # --- what goes out ------------------------------------------------------------------------

    def send(self, run: Run, row: OrderRow) -> str | None:
        """Send one planned order, or refuse it; return why it has to wait, ``None`` when done.

        Every check and the journal entry are one transaction; the bytes follow its commit.
        """
        order = row.order
        instrument = self._instruments[order.symbol]
        quote = self._quotes.read([order.symbol]).get(order.symbol)
        if waiting := self._not_now():
            return waiting
        now = self._clock.now()
        with self._ledger.transaction() as tx:
            if identity.epoch(tx.db) != self.epoch:
                return "another executor has taken over"
            current = runs.find(tx.db, run.run_id)
            if current is None or current.status is not RunState.EXECUTING:
                return "the run is not executing any more"
            sent = orders.sent_times_since(tx.db, now.utc - timedelta(seconds=1))
            if not second_is_free(sent, now.utc, self._config.limits.orders_per_second_max):
                return "paced"
            halt = self.halt(tx.db)
            if halt in {HaltLevel.PAUSE, HaltLevel.KILL}:
                return "halted"
            refused = self._refuse(tx, current, row, instrument, quote, halt, now)
            if refused is not None:
                self._deny(tx, order, refused, now.utc)
                return None
            journalled = self._journal(tx, current, row, instrument, quote, now)
        self._place(journalled, instrument)
        return None

    def _not_now(self) -> str | None:
        if not self.ready():
            return "not synchronised"
        if self.trouble is not None:
            return self.trouble[1]
        if self._broker.proof_age_s() > PROOF_AGE_S_MAX:
            return "the gateway does not answer"
        return None if self._broker.room() > 0 else "paced"

    def _refuse(
        self,
        tx: Tx,
        run: Run,
        row: OrderRow,
        instrument: Instrument,
        quote: Quote | None,
        halt: HaltLevel | None,
        now: Moment,
    ) -> Breach | None:
        """Return the first reason why this order must not leave now."""
        order = row.order
        context = self._context(tx, run, order, quote, halt, now)
        if not halt_allows(halt, order.side, order.quantity, context.held):
            found = f"{order.side} of {order.quantity} with {context.held} held"
            return Breach("guard_halted", found, "reducing orders only", "see `ibloop status`")
        price = self._limit_price(order, instrument, quote)
        intent = Intent(order.symbol, order.con_id, order.side, order.quantity, price)
        return next(iter(check_send(intent, instrument, price, context, self._config.limits)), None)

    def _limit_price(self, order: Order, instrument: Instrument, quote: Quote | None) -> Decimal:
        """Return the collar price from the fresh quote; zero without one (it is refused then)."""
        middle = mid(quote) if quote else None
        if middle is None:
            return ZERO
        return limit_price(
            order.side, middle, instrument, self._config.limits.price_collar_fraction
        )

    def _context(
        self,
        tx: Tx,
        run: Run,
        order: Order,
        quote: Quote | None,
        halt: HaltLevel | None,
        now: Moment,
    ) -> SendContext:
        today = orders.sent_today(tx.db, day_start(now.utc, self._config.session.timezone))
        of_run = [row for row in orders.of_run(tx.db, run.run_id) if row.order.sent_at]
        of_attempt = [row for row in of_run if row.attempt == run.attempt]
        lines = {line.symbol: line for line in runs.plan_lines(tx.db, run.run_id, run.attempt)}
        return SendContext(
            halt=halt,
            equity_usd=present(run.equity_usd, "equity of an executing run"),
            held=lines[order.symbol].baseline_quantity + _bought(of_attempt, order.symbol),
            cash_usd=_cash_left(present(run.cash_usd, "cash of an executing run"), of_attempt),
            orders_today=today.count,
            orders_this_run=len(of_run),
            traded_today_usd=today.notional,
            quote=quote,
            quote_problem=problem(quote, now, self._config.quotes),
        )

    def _deny(self, tx: Tx, order: Order, breach: Breach, now: datetime) -> None:
        orders.apply(
            tx,
            order.client_order_id,
            OrderEvent.DENY,
            reject_source="ibloop",
            reject_code=breach.check,
            reject_reason=str(breach),
            now=now,
            actor=ACTOR,
        )
        text = f"{order.side} {order.quantity} {order.symbol} not sent: {breach}"
        ref = order.client_order_id
        alerts.raise_alert(tx, "warning", "order.rejected", ref, text, f"rejected:{ref}", now)
        _log.warning("order.denied", client_order_id=ref, check=breach.check, why=str(breach))

    def _journal(
        self,
        tx: Tx,
        run: Run,
        row: OrderRow,
        instrument: Instrument,
        quote: Quote | None,
        now: Moment,
    ) -> Order:
        """Write the SENDING row and return the order exactly as it will leave."""
        quote = present(quote, "quote of an order that passed the checks")
        ref = row.order.client_order_id
        price = self._limit_price(row.order, instrument, quote)
        orders.mark_sending(
            tx,
            ref,
            ib_order_id=max(self._next_valid_id, orders.max_ib_order_id(tx.db) + 1),
            limit_price=price if row.order.order_type is OrderType.LMT else None,
            arrival_price=mid(quote) or ZERO,
            quote_seq=quote.seq,
            quote_source=quote.source.value,
            quote_at=quote.received.utc,
            good_till=present(run.deadline_at, "deadline of an executing run"),
            now=now.utc,
            actor=ACTOR,
        )
        return present(orders.find(tx.db, ref), ref).order

    def _place(self, order: Order, instrument: Instrument) -> None:
        _log.info(
            "order.sending",
            client_order_id=order.client_order_id,
            ib_order_id=order.ib_order_id,
            side=order.side,
            quantity=order.quantity,
            limit_price=order.limit_price,
        )
        try:
            self._broker.place(order, instrument)
        except NotSentError as error:
            with self._ledger.transaction() as tx:
                orders.apply(
                    tx,
                    order.client_order_id,
                    OrderEvent.PROVE_NOT_SENT,
                    reject_source="ibloop",
                    reject_code="not_sent",
                    reject_reason=str(error),
                    now=self._clock.now().utc,
                    actor=ACTOR,
                )

    def cancel(self, order: Order, because: str) -> bool:
        """Journal that a working order is to be cancelled, then ask the broker for it.

        Returns False when there is nobody to ask: a later step tries again.
        """
        now = self._clock.now().utc
        if not self._broker.is_connected():
            return False
        with self._ledger.transaction() as tx:
            ref = order.client_order_id
            orders.apply(tx, ref, OrderEvent.ASK_CANCEL, now=now, actor=ACTOR)
        _log.info("order.cancel_asked", client_order_id=order.client_order_id, because=because)
        self._broker.cancel(order)
        self._wanted = True
        return True


def _bought(sent: Sequence[OrderRow], symbol: str) -> Decimal:
    """Return bought minus sold shares of one symbol."""
    mine = (row.order for row in sent if row.order.symbol == symbol)
    return sum((o.side.sign * o.filled_quantity for o in mine), ZERO)


def _cash_left(cash_usd: Decimal, sent: Sequence[OrderRow]) -> Decimal:
    """Return the cash that no order of this attempt has used or may still use, USD."""
    left = cash_usd
    for row in sent:
        order = row.order
        if order.avg_fill_price is not None:
            left -= order.side.sign * order.filled_quantity * order.avg_fill_price
            left -= commission_bound_usd(order.filled_quantity)
        if order.side is Side.BUY and order.status in ORDER_AT_BROKER:
            worst = present(order.limit_price or row.arrival_price, "price of a sent order")
            left -= order.remaining * worst + commission_bound_usd(order.remaining)
    return left
