"""Is this ledger the newest one of its account? A restored backup is not, and must not trade."""

from datetime import datetime

from ibloop import log
from ibloop.adapters.ledger import arming, identity, orders
from ibloop.adapters.ledger.acceptances import AcceptanceKind, accept, order_id_floor
from ibloop.adapters.ledger.connection import Ledger, Tx
from ibloop.adapters.ledger.mark import Mark, Stamp, stamp_of
from ibloop.adapters.ports import Clock
from ibloop.core.lifecycle import ORDER_TERMINAL, OrderEvent, OrderState, RunReason
from ibloop.core.model import Evidence
from ibloop.daemons.executing.order_trouble import Trouble, find_trouble, strange_refs

_log = log.get(__name__)


class Lineage:
    """Compares ledger and mark when an executor starts, and moves the mark on.

    ``next_order_id`` is above every id that a ledger before this one may have used.
    """

    def __init__(self, ledger: Ledger, mark: Mark, clock: Clock) -> None:
        """Compare; to be made before the executor takes its epoch."""
        self._ledger = ledger
        self._mark = mark
        self._clock = clock
        self.next_order_id = order_id_floor(ledger.db) + 1
        self._doubt = mark.disagrees(ledger.db, used_before=identity.epoch(ledger.db) > 0)
        self._marked: Stamp | None = None
        # Before the epoch: a crash between the two must not look like a restore.
        self.note_progress()

    def note_progress(self) -> None:
        """Move the mark to where the ledger is, unless the two disagree.

        A mark that cannot be written is no reason to stop what lowers risk: it is tried again
        with the next change, and before the next order it must succeed.
        """
        if self._doubt is not None:
            return
        if problem := self.note_sending(stamp_of(self._ledger.db)):
            _log.error("mark.not_written", why=problem)

    def note_sending(self, stamp: Stamp) -> str | None:
        """Move the mark before bytes leave; return why it could not be moved: none may leave."""
        if stamp == self._marked:
            return None
        try:
            self._mark.write(stamp)
        except OSError as error:
            return f"the mark beside the ledger cannot be written: {error}"
        self._marked = stamp
        return None

    def find_trouble(self, evidence: Evidence) -> Trouble | None:
        """Return why nothing may be sent, by the mark or by the broker; ``None`` without any."""
        if self._doubt is not None:
            detail = f"this ledger is not the newest one: {self._doubt}"
            return Trouble(RunReason.LEDGER_BEHIND, "ledger", detail)
        return find_trouble(self._ledger.db, evidence)

    def accept(self, evidence: Evidence, reason: str, actor: str) -> str | None:
        """Accept that the ledger is older than the broker's truth; return why not, or ``None``.

        Orders of ours that it never sent become known. None of them may work any more: its fills
        would belong to nobody.
        """
        refs = strange_refs(self._ledger.db, evidence)
        working = {o.client_order_id for o in evidence.open_orders} & set(refs)
        if working:
            return f"cancel at the broker first: {', '.join(sorted(working))}"
        if not refs and self._doubt is None:
            return "nothing speaks against this ledger"
        now, marked = self._clock.now().utc, self._mark.read()
        order_id = marked.order_id if isinstance(marked, Stamp) else 0
        with self._ledger.transaction() as tx:
            what = {
                "references": list(refs),
                "because": self._doubt or "",
                "order_id": order_id,
            }
            accept(tx, AcceptanceKind.RESTORE, "ledger", what, reason=reason, now=now, actor=actor)
            # What was sent under a permission since then is forgotten, so it must be given anew.
            arming.disarm(tx, actor, "the ledger was restored", now)
            for ref in refs:
                accept(tx, AcceptanceKind.REFERENCE, ref, {}, reason=reason, now=now, actor=actor)
                _close(tx, ref, now, actor)
        self._doubt = None
        self.next_order_id = order_id_floor(self._ledger.db) + 1
        self.note_progress()
        _log.warning("ledger.accepted", references=len(refs), reason=reason, actor=actor)
        return None


def _close(tx: Tx, ref: str, now: datetime, actor: str) -> None:
    """End an order that a ledger before this one has sent: its row here was never journalled."""
    row = orders.find(tx.db, ref)
    if row is not None and row.order.status not in ORDER_TERMINAL:
        planned = row.order.status == OrderState.PLANNED
        event = OrderEvent.ABANDON if planned else OrderEvent.CANCEL
        orders.apply(tx, ref, event, now=now, actor=actor)
