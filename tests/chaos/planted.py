"""An executor with a bug in it, as a process: ``python tests/chaos/planted.py BUG executor run``.

What chaos must find. A bug is a patch of the production code, never a flag in it.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from ibloop.adapters.ledger import fills, orders
from ibloop.cli import main
from ibloop.core.lifecycle import OrderEvent, OrderState
from ibloop.daemons.executing.order_executor import ACTOR, OrderExecutor


def send_again_on_timeout() -> None:
    """An order that nobody has acknowledged in time is placed once more, with a fresh order id."""
    poll = OrderExecutor.poll

    def again(self: OrderExecutor) -> bool:
        patience = timedelta(seconds=self._config.execution.ack_timeout_s)
        for row in orders.in_states(self._ledger.db, {OrderState.SENDING}):
            order, now = row.order, self._clock.now().utc
            is_late = order.sent_at is not None and now - order.sent_at >= patience
            if is_late and self._broker.room():
                fresh = self._ids.take(1).start
                instrument = self._sender._instruments[order.symbol]
                self._broker.place(replace(order, ib_order_id=fresh), instrument)
        return poll(self)

    OrderExecutor.poll = again  # type: ignore[method-assign]


def late_fill_ignored() -> None:
    """An order takes no fill any more once it is under cancel, cancelled or unknown."""
    record = fills.record_all

    def is_open(tx: Any, ref: str) -> bool:
        row = orders.find(tx.db, ref)
        ending = {OrderState.PENDING_CANCEL, OrderState.CANCELED, OrderState.UNKNOWN}
        return row is None or row.order.status not in ending

    def picky(tx: Any, executions: Any, now: Any, actor: Any) -> Any:
        wanted = [e for e in executions if is_open(tx, e.client_order_id)]
        return record(tx, wanted, now, actor) or (None,)

    fills.record_all = picky


def cancel_believed_from_an_error() -> None:
    """An error that names a working order ends it, whatever the broker holds."""
    reported = OrderExecutor._error_reported

    def believe(self: OrderExecutor, tx: Any, event: Any, now: Any) -> None:
        reported(self, tx, event, now)
        row = orders.by_ib_order_id(tx.db, event.ib_order_id) if event.ib_order_id else None
        working = {OrderState.NEW, OrderState.PARTIALLY_FILLED, OrderState.PENDING_CANCEL}
        if row is not None and row.order.status in working:
            ref = row.order.client_order_id
            orders.apply(tx, ref, OrderEvent.CANCEL, now=now, actor=ACTOR)

    OrderExecutor._error_reported = believe  # type: ignore[method-assign]


BUGS: dict[str, Callable[[], None]] = {
    plant.__name__: plant
    for plant in (send_again_on_timeout, late_fill_ignored, cancel_believed_from_an_error)
}

if __name__ == "__main__":
    BUGS[sys.argv.pop(1)]()
    main()
