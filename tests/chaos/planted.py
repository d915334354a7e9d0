"""An executor with a bug in it, as a process: ``python tests/chaos/planted.py BUG executor run``.

What chaos must find. A bug is a patch of the production code, never a flag in it.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from ibloop.adapters.ledger import orders
from ibloop.cli import main
from ibloop.core.lifecycle import OrderState
from ibloop.daemons.executing.order_executor import OrderExecutor


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


BUGS: dict[str, Callable[[], None]] = {plant.__name__: plant for plant in (send_again_on_timeout,)}

if __name__ == "__main__":
    BUGS[sys.argv.pop(1)]()
    main()
