"""The numbers that orders carry at the gateway: each is used once, for an order or a question."""

from ibloop.adapters.ledger import orders
from ibloop.adapters.ledger.connection import Connection
from ibloop.daemons.executing.lineage import Lineage


class OrderIds:
    """Which order ids are free, by the gateway, by the ledger, and by what was asked with.

    An order's id is in the ledger before its bytes leave. The id of a what-if is not: it is taken
    here, in memory, and nothing is lost with it. A what-if never becomes an order, so the worst
    that a forgotten one can do after a restart is that the gateway refuses an order for its used
    id (103), which the run's retry mends; and a late answer belongs to a connection that is gone.
    They are ids of the common sequence, for a gateway counts on from the highest it has seen.
    """

    def __init__(self, db: Connection, lineage: Lineage) -> None:
        """Begin with what the ledger knows."""
        self._db = db
        self._lineage = lineage
        self._next = 0

    def heard(self, next_valid_id: int) -> None:
        """Take note of the gateway's next valid id, which may have rolled back."""
        self._next = max(self._next, next_valid_id)

    def floor(self) -> int:
        """Return the lowest id that neither gateway nor lost ledgers nor what-ifs have used.

        The sending transaction still compares it with the orders it finds in the ledger.
        """
        return max(self._next, self._lineage.next_order_id)

    def take(self, count: int) -> range:
        """Take ids for questions: no order and no other question gets them any more."""
        first = max(self.floor(), orders.max_ib_order_id(self._db) + 1)
        self._next = first + count
        return range(first, first + count)
