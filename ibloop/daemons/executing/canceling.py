"""Asking the broker to cancel: the bytes leave first, whatever state the ledger is in.

A cancel that is asked for twice, or was not written down, does no harm; one that waits for a
locked ledger or a full disk does. It is journalled as soon as that can be done.
"""

from collections.abc import Sequence

from ibloop import log
from ibloop.adapters.ledger import orders
from ibloop.adapters.ledger.connection import Connection, Ledger
from ibloop.adapters.ports import Broker, Clock, NotSentError
from ibloop.core.lifecycle import OrderEvent, OrderState
from ibloop.core.model import Moment, Order
from ibloop.daemons.executing.order_judge import OrderJudge
from ibloop.daemons.unwritable import unwritable

AGAIN_S = 5.0
"""How soon a cancel is asked for again that could not be written down."""
WRITE_AGAIN_S = 2.0
"""How soon it is tried again to write one down."""
WORKING = frozenset({OrderState.NEW, OrderState.PARTIALLY_FILLED})

_log = log.get(__name__)


class Canceler:
    """Asks for cancels and journals them; ``actor`` is whose they are."""

    def __init__(
        self, ledger: Ledger, broker: Broker, judge: OrderJudge, clock: Clock, actor: str
    ) -> None:
        """Keep the ports."""
        self._ledger = ledger
        self._broker = broker
        self._judge = judge
        self._clock = clock
        self._actor = actor
        self._unwritten: dict[str, Moment] = {}
        self._failed: Moment | None = None

    def cancel(self, doomed: Sequence[tuple[Order, str]]) -> bool:
        """Ask the broker to cancel working orders, each for its reason, and journal it.

        Returns False when there is nobody to ask, nothing to cancel, or when it could not be
        written down: a later step tries again.
        """
        if not doomed or not self._broker.is_connected():
            return False
        because = dict[str, str]()
        working = _working(self._ledger.db, [order for order, _ in doomed])
        for order, why in doomed:
            ref = order.client_order_id
            if ref in working and order.ib_order_id is not None:
                self._ask_unless_asked(order)
                because[ref] = why
        if because and self._is_written(because):
            _log.info("orders.cancel_asked", because=because)
            return True
        return False

    def ask(self, order: Order) -> None:
        """Ask the broker to cancel one order; if it cannot be told, a later look asks again."""
        try:
            self._broker.cancel(order)
        except NotSentError as error:
            # The next evidence shows the order working, and it is asked for again.
            ref = order.client_order_id
            _log.warning("order.cancel_not_sent", client_order_id=ref, error=str(error))

    def _ask_unless_asked(self, order: Order) -> None:
        ref, now = order.client_order_id, self._clock.now()
        asked = self._unwritten.get(ref)
        if asked is None or now.age_s(asked) >= AGAIN_S:
            self._unwritten[ref] = now
            self.ask(order)
            self._judge.note_cancel(ref, now)

    def _is_written(self, because: dict[str, str]) -> bool:
        now = self._clock.now()
        # Each attempt may wait for the write lock, and while it does nothing else leaves.
        if self._failed is not None and now.age_s(self._failed) < WRITE_AGAIN_S:
            return False
        self._failed = now
        with unwritable("orders.cancel_asked"):
            with self._ledger.transaction() as tx:
                # Read again: the state may have changed while the write lock was waited for.
                for ref in _working_refs(tx.db, list(because)):
                    orders.apply(tx, ref, OrderEvent.ASK_CANCEL, now=now.utc, actor=self._actor)
            # Only now: a full disk shows at the commit.
            self._failed = None
            for ref in because:
                self._unwritten.pop(ref, None)
        return self._failed is None


def _working(db: Connection, doomed: Sequence[Order]) -> frozenset[str]:
    return frozenset(_working_refs(db, [order.client_order_id for order in doomed]))


def _working_refs(db: Connection, refs: Sequence[str]) -> list[str]:
    places = orders.places_of(db, refs)
    return [ref for ref in refs if ref in places and places[ref][0] in WORKING]
