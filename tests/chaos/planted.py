"""An executor with a bug in it, as a process: ``python tests/chaos/planted.py BUG executor run``.

What chaos must find. A bug is a patch of the production code, never a flag in it.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ibloop.adapters.ledger import orders
from ibloop.cli import main
from ibloop.core.lifecycle import OrderState
from ibloop.daemons.order_executor import OrderExecutor


def send_again_on_timeout() -> None:
    """An order that nobody acknowledges in time is placed once more, with a fresh order id."""
    overdue = OrderExecutor._overdue

    def again(self: OrderExecutor, now: Any) -> bool:
        for row in orders.in_states(self._ledger.db, {OrderState.SENDING}):
            order = row.order
            if self._judge.is_unanswered(order, now) and self._broker.room():
                order_id = max(self._next_valid_id, orders.max_ib_order_id(self._ledger.db)) + 1000
                self._next_valid_id = order_id
                instrument = self._sender._instruments[order.symbol]
                self._broker.place(replace(order, ib_order_id=order_id), instrument)
        return overdue(self, now)

    OrderExecutor._overdue = again  # type: ignore[method-assign]


BUGS: dict[str, Callable[[], None]] = {plant.__name__: plant for plant in (send_again_on_timeout,)}

if __name__ == "__main__":
    BUGS[sys.argv.pop(1)]()
    main()
