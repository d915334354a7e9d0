"""Planted bugs: what the worlds must find. Each is a patch of the production code, never a flag."""

from collections.abc import Callable
from typing import Any

import pytest

from ibloop.adapters.ledger import fills, orders
from ibloop.adapters.ledger.connection import Tx
from ibloop.core import events as ev
from ibloop.core.lifecycle import OrderEvent, OrderState
from ibloop.core.recovery import Verdict
from ibloop.daemons.executing import order_judge, order_sender
from ibloop.daemons.executing.lineage import Lineage
from ibloop.daemons.executing.order_executor import ACTOR, OrderExecutor
from ibloop.daemons.executing.order_judge import OrderJudge
from ibloop.daemons.executing.order_sender import OrderSender
from ibloop.daemons.executing.order_trouble import Trouble
from ibloop.daemons.executing.trade_executor import TradeExecutor

Plant = Callable[[pytest.MonkeyPatch], None]


def send_before_commit(patch: pytest.MonkeyPatch) -> None:
    """The bytes leave while the transaction that journals them is still open."""
    journal = OrderSender._journal

    def early(self: OrderSender, *args: Any) -> Any:
        sent = journal(self, *args)
        self._broker.place(sent.order, sent.instrument)
        return sent

    patch.setattr(OrderSender, "_journal", early)
    patch.setattr(OrderSender, "_write", lambda *_: None)


def send_again_on_timeout(patch: pytest.MonkeyPatch) -> None:
    """An order that nobody acknowledges is simply placed once more."""
    unanswered = OrderExecutor._overdue

    def again(self: OrderExecutor, now: Any) -> bool:
        for row in orders.in_states(self._ledger.db, {OrderState.SENDING}):
            if self._judge.is_unanswered(row.order, now) and self._broker.is_connected():
                self._broker.place(row.order, self._sender._instruments[row.order.symbol])
        return unanswered(self, now)

    patch.setattr(OrderExecutor, "_overdue", again)


def halt_outside_the_transaction(patch: pytest.MonkeyPatch) -> None:
    """The halt is read before the write lock is held, and believed afterwards."""
    send = OrderSender.send

    def stale(self: OrderSender, *args: Any) -> Any:
        seen, asked = self._halt(self._ledger.db), self._halt
        self._halt = lambda _: seen
        try:
            return send(self, *args)
        finally:
            self._halt = asked

    patch.setattr(OrderSender, "send", stale)


def fills_by_full_id(patch: pytest.MonkeyPatch) -> None:
    """A correction of an execution counts as another execution."""
    patch.setattr(fills, "exec_base", lambda exec_id: exec_id)


def deaf_while_disconnected(patch: pytest.MonkeyPatch) -> None:
    """What comes while the broker's truth is not known is thrown away, for tidiness."""
    take = OrderExecutor._take

    def deaf(self: OrderExecutor, tx: Any, event: Any, now: Any) -> None:
        news = isinstance(event, ev.Executed | ev.OrderReported | ev.CommissionReported)
        if self.ready() or not news:
            take(self, tx, event, now)

    def forgetful(self: OrderExecutor, tx: Any, evidence: Any, now: Any) -> None:
        keep = fills.record_all
        patch.setattr(fills, "record_all", lambda *_: ())
        try:
            collected(self, tx, evidence, now)
        finally:
            patch.setattr(fills, "record_all", keep)

    collected = OrderExecutor._evidence_collected
    patch.setattr(OrderExecutor, "_take", deaf)
    patch.setattr(OrderExecutor, "_evidence_collected", forgetful)


def cancel_believed_from_an_error(patch: pytest.MonkeyPatch) -> None:
    """An error about a cancel ends the order, whatever the broker holds."""
    reported = OrderExecutor._error_reported

    def believe(self: OrderExecutor, tx: Any, event: Any, now: Any) -> None:
        reported(self, tx, event, now)
        row = orders.by_ib_order_id(tx.db, event.ib_order_id) if event.ib_order_id else None
        working = {OrderState.NEW, OrderState.PARTIALLY_FILLED, OrderState.PENDING_CANCEL}
        if row is not None and row.order.status in working:
            ref = row.order.client_order_id
            orders.apply(tx, ref, OrderEvent.CANCEL, now=now, actor=ACTOR)

    def hint(self: OrderExecutor, tx: Any, event: Any, now: Any) -> None:
        if event.ib_status in {"Cancelled", "Inactive"} and event.ib_order_id:
            believe(self, tx, ev.ErrorReported(event.ib_order_id, 202, ""), now)
        told(self, tx, event, now)

    told = OrderExecutor._order_reported
    patch.setattr(OrderExecutor, "_error_reported", believe)
    patch.setattr(OrderExecutor, "_order_reported", hint)
    patch.setattr(order_judge, "judge", lambda order, *_: Verdict(None, order.perm_id, "fine"))


def window_without_a_canary(patch: pytest.MonkeyPatch) -> None:
    """A whole window leaves before the first order has been acknowledged."""
    send_next = TradeExecutor._send_next

    def eager(self: TradeExecutor, run: Any, planned: Any, at_broker: Any, rows: Any) -> bool:
        return send_next(self, run, planned, [], rows)

    patch.setattr(TradeExecutor, "_send_next", eager)


def restored_ledger_accepted(patch: pytest.MonkeyPatch) -> None:
    """A ledger that is behind the broker trades on as if nothing had happened."""
    find = Lineage.find_trouble

    def trusting(self: Lineage, evidence: Any) -> Trouble | None:
        found = find(self, evidence)
        return None if found and found.reason == "ledger_behind" else found

    patch.setattr(Lineage, "find_trouble", trusting)
    patch.setattr("ibloop.daemons.executing.run_planner.RunPlanner.spent_references", lambda *_: ())


def absence_believed_at_once(patch: pytest.MonkeyPatch) -> None:
    """What the first collection does not show was never sent."""
    patch.setattr(order_judge, "proves_not_sent", lambda *_, **__: True)
    patch.setattr(OrderJudge, "is_unanswered", lambda *_: True)


def order_id_from_the_broker_alone(patch: pytest.MonkeyPatch) -> None:
    """After a restart the gateway's next id is believed, although ids roll back."""
    patch.setattr(orders, "max_ib_order_id", lambda _: 0)


def stale_quote_trades(patch: pytest.MonkeyPatch) -> None:
    """The age of a quote is not looked at when the order leaves."""
    check = order_sender.check_quote

    def ageless(*asked: Any) -> Any:
        return tuple(v for v in check(*asked) if v.check != "quote_age_s_max")

    patch.setattr(order_sender, "check_quote", ageless)


def late_fill_ignored(patch: pytest.MonkeyPatch) -> None:
    """An order that was cancelled takes no fill any more."""
    record = fills.record_all

    def picky(tx: Tx, executions: Any, now: Any, actor: str) -> Any:
        wanted = [e for e in executions if not _is_canceled(tx, e.client_order_id)]
        return record(tx, wanted, now, actor) or (None,)

    def picky_one(tx: Tx, execution: Any, now: Any, actor: str) -> Any:
        return picky(tx, (execution,), now, actor)[0]

    patch.setattr(fills, "record_all", picky)
    patch.setattr(fills, "record", picky_one)


def _is_canceled(tx: Tx, ref: str) -> bool:
    row = orders.find(tx.db, ref)
    return row is not None and row.order.status == OrderState.CANCELED


BUGS: dict[str, Plant] = {
    plant.__name__: plant
    for plant in (
        send_before_commit,
        send_again_on_timeout,
        halt_outside_the_transaction,
        fills_by_full_id,
        deaf_while_disconnected,
        cancel_believed_from_an_error,
        window_without_a_canary,
        restored_ledger_accepted,
        absence_believed_at_once,
        order_id_from_the_broker_alone,
        stale_quote_trades,
        late_fill_ignored,
    )
}
