"""Applies evidence to the orders that may be at the broker, with the patience that IB needs.

``core.recovery`` says what one collection means; here is how often and how long it must say so.
Ages are boot time and start anew with the process, because only what it saw itself is timed.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from ibloop import log
from ibloop.adapters.ledger import alerts, fills, orders, runs
from ibloop.adapters.ledger.connection import Tx
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.config import Config
from ibloop.core.invariant import present
from ibloop.core.lifecycle import ORDER_AT_BROKER, OrderEvent, OrderState
from ibloop.core.model import ZERO, BrokerOrder, Evidence, Execution, Moment, Order
from ibloop.core.recovery import AbsenceRules, Verdict, is_absent, judge, proves_not_sent
from ibloop.core.sessions import trade_date

LOSE_AFTER_S = 5.0
"""IB's answers can lag: an order is lost when passes this far apart do not account for it."""
NOT_SENT_CODE = "not_sent"
"""The code of an order that was journalled, and of which not one byte has left."""

_log = log.get(__name__)


class _Index:
    """Evidence by what it speaks of: to look through all of it for every order takes too long."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._open = _by_name(evidence.open_orders)
        self._ended = _by_name(evidence.completed_orders)
        self._executed: defaultdict[str, list[Execution]] = defaultdict(list)
        for execution in evidence.executions:
            self._executed[execution.client_order_id].append(execution)

    def order(self, order: Order) -> Evidence:
        """Return the evidence with nothing in it that cannot be about an order."""
        names = (order.client_order_id, order.perm_id)
        return replace(
            self._evidence,
            open_orders=tuple(seen for name in names for seen in self._open.get(name, ())),
            completed_orders=tuple(seen for name in names for seen in self._ended.get(name, ())),
            executions=tuple(self._executed.get(order.client_order_id, ())),
        )


def _by_name(seen: Iterable[BrokerOrder]) -> dict[str | int | None, list[BrokerOrder]]:
    """Return orders by their reference, those without one by their permId."""
    found: defaultdict[str | int | None, list[BrokerOrder]] = defaultdict(list)
    for order in seen:
        found[order.client_order_id or order.perm_id].append(order)
    return found


class OrderJudge:
    """Remembers when orders were sent, cancelled and missed; concludes in the ledger."""

    def __init__(self, config: Config, started: Moment, actor: str) -> None:
        """Begin with nothing seen; ``started`` stands for every send of an earlier process."""
        self._config = config
        self._actor = actor
        self._absence = AbsenceRules(
            config.execution.absence_spacing_s,
            timedelta(seconds=config.execution.absence_after_expiry_s),
        )
        self._started = self._connected = started
        self._sent: dict[str, Moment] = {}
        self._cancels: dict[str, Moment] = {}
        self._missed: dict[str, Moment] = {}
        self._absent: dict[str, Moment] = {}

    def note_sent(self, client_order_id: str, now: Moment) -> None:
        """Remember that an order is about to leave."""
        self._sent[client_order_id] = now

    def note_cancel(self, client_order_id: str, now: Moment) -> None:
        """Remember that the cancellation of an order was asked for."""
        self._cancels[client_order_id] = now

    def start_over(self, now: Moment) -> None:
        """Forget what earlier evidence did not show: it was of a connection that is gone."""
        self._connected = now
        self._missed.clear()
        self._absent.clear()

    def missing(self) -> str | None:
        """Return an order that the last evidence did not account for, if any."""
        return next(iter(self._missed), None)

    def is_unanswered(self, order: Order, now: Moment) -> bool:
        """Return whether the broker has had its time to acknowledge an order in SENDING."""
        sent = self._sent.get(order.client_order_id, self._started)
        return now.age_s(sent) >= self._config.execution.ack_timeout_s

    def judge_all(
        self,
        tx: Tx,
        evidence: Evidence,
        begun: Moment,
        sent_since: Collection[str],
        now: datetime,
    ) -> None:
        """Conclude about every order at the broker, after the executions were stored.

        Args: the evidence and when its collection began; orders sent since then, about which it
        says nothing.
        """
        about = _Index(evidence)
        for row in orders.in_states(tx.db, ORDER_AT_BROKER):
            if row.order.sent_at is not None and row.order.client_order_id not in sent_since:
                self._judge(tx, row, about.order(row.order), begun, now)

    def _judge(
        self, tx: Tx, row: OrderRow, evidence: Evidence, begun: Moment, now: datetime
    ) -> None:
        order = row.order
        verdict = judge(order, evidence, row.refusal)
        orders.note_judgement(tx, order.client_order_id, verdict.because, now)
        if verdict.event is OrderEvent.LOSE and not self._is_lost(order, begun):
            return
        self._missed.pop(order.client_order_id, None)
        if verdict.event is None and self._never_left(tx, order, evidence, begun):
            because = "never shown by any evidence, and expired by now"
            verdict = Verdict(OrderEvent.PROVE_NOT_SENT, None, because)
        if verdict.event is OrderEvent.ACKNOWLEDGE and self._cancel_is_young(order, begun):
            return
        if verdict.event is not None:
            self._conclude(tx, row, verdict, now)

    def _is_lost(self, order: Order, begun: Moment) -> bool:
        """Return whether patience with an order that evidence does not account for is over."""
        if order.status == OrderState.SENDING:
            return self.is_unanswered(order, begun)
        first = self._missed.setdefault(order.client_order_id, begun)
        return begun.age_s(first) >= LOSE_AFTER_S

    def _cancel_is_young(self, order: Order, begun: Moment) -> bool:
        """Return whether an order under cancel may still be shown as working.

        A cancel an earlier process asked for may never have left: it is asked for again at once.
        """
        asked = self._cancels.get(order.client_order_id)
        if order.status != OrderState.PENDING_CANCEL or asked is None:
            return False
        return begun.age_s(asked) < self._config.execution.ack_timeout_s

    def _never_left(self, tx: Tx, order: Order, evidence: Evidence, begun: Moment) -> bool:
        ref = order.client_order_id
        if order.status != OrderState.UNKNOWN or not is_absent(order, evidence):
            self._absent.pop(ref, None)
            return False
        # What a fresh connection does not show proves nothing (absence test, condition 2).
        settled = begun.age_s(self._connected) >= self._absence.spacing_s
        if order.sent_at is None or not settled or not self._has_outlived(order, begun):
            return False
        zone = self._config.session.timezone
        return proves_not_sent(
            order,
            evidence,
            self._absence,
            absent_s=begun.age_s(self._absent.setdefault(ref, begun)),
            same_day=trade_date(order.sent_at, zone) == trade_date(begun.utc, zone),
            explained=_position_is_explained(tx, order, evidence),
        )

    def _has_outlived(self, order: Order, begun: Moment) -> bool:
        """Return whether more than the life of a sent order has passed by boot time, too.

        A wall clock that was set forward makes an order look expired that can still come alive.
        One of an earlier process is timed from the start of this one.
        """
        life = order.good_till - present(order.sent_at, "time of a sent order")
        seen = self._sent.get(order.client_order_id, self._started)
        return begun.age_s(seen) >= (life + self._absence.after_expiry).total_seconds()

    def _conclude(self, tx: Tx, row: OrderRow, verdict: Verdict, now: datetime) -> None:
        order, event = row.order, verdict.event
        ref = order.client_order_id
        if event is None:
            return
        refusal = row.refusal if event is OrderEvent.REJECT else None
        source, code, reason = None, None, None
        if event is OrderEvent.REJECT:
            source, code = "broker", str(refusal.code) if refusal else None
            reason = refusal.text if refusal else verdict.because
        elif event is OrderEvent.PROVE_NOT_SENT:
            source, code, reason = "ibloop", NOT_SENT_CODE, verdict.because
        state = orders.apply(
            tx,
            ref,
            event,
            perm_id=verdict.perm_id,
            reject_source=source,
            reject_code=code,
            reject_reason=reason,
            now=now,
            actor=self._actor,
        )
        _log.info("order.judged", client_order_id=ref, status=state, because=verdict.because)
        if event is OrderEvent.REJECT:
            text = f"{order.side} {order.quantity} {order.symbol} rejected: {reason}"
            alerts.raise_alert(tx, "warning", "order.rejected", ref, text, f"rejected:{ref}", now)
        elif state is OrderState.UNKNOWN:
            text = f"{ref}: {verdict.because}; nothing is sent until it is resolved"
            alerts.raise_alert(tx, "critical", "order.unknown", ref, text, f"unknown:{ref}", now)


def _position_is_explained(tx: Tx, order: Order, evidence: Evidence) -> bool:
    """Return whether fills explain the position of the order's symbol since its run began."""
    run = runs.find(tx.db, order.run_id)
    if run is None or run.baseline_at is None:
        return False
    lines = runs.plan_lines(tx.db, run.run_id, run.attempt)
    expected = sum((x.baseline_quantity for x in lines if x.symbol == order.symbol), ZERO)
    filled = fills.signed(fills.recorded_after(tx.db, run.baseline_at))
    held = sum((p.quantity for p in evidence.positions if p.symbol == order.symbol), ZERO)
    return held == expected + filled.get(order.symbol, ZERO)
