"""The judge of a world: which promises were broken, while orders left and at the end."""

from decimal import Decimal
from typing import TYPE_CHECKING

from ibloop.adapters.ledger import acceptances, audit, fills, halts, orders, runs
from ibloop.adapters.ledger.acceptances import accepted
from ibloop.core import promises
from ibloop.core.lifecycle import OrderState, RunState
from ibloop.core.model import HaltLevel, Order, OrderType
from ibloop.core.quotes import mid
from tests.fakes.house import HELD
from tests.world.broker import ENDED

if TYPE_CHECKING:
    from tests.world.world import World


class Judge:
    """Holds ledger and truth against the promises."""

    def __init__(self, world: "World") -> None:
        """Watch a world."""
        self.world = world
        self._broken: list[promises.Broken] = []

    def watch_ends(self) -> None:
        """No order has ended, by the ledger, while it works at the broker (F14)."""
        dead = {OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED}
        for live in self.world.broker.live:
            if live.status not in ENDED and live.order.client_order_id and not self.world.restored:
                row = orders.find(self.world.eyes, live.order.client_order_id)
                if row is not None and row.order.status in dead:
                    self._break("F14", f"{live.order.client_order_id} is said to have ended")

    def watch_place(self, order: Order) -> None:
        """Ask what must be so at the moment the bytes leave."""
        db, ref = self.world.eyes, order.client_order_id
        row = orders.find(db, ref)
        if row is None or row.order.status != OrderState.SENDING:
            self._break("P2", f"{ref} left without a committed row in SENDING")
            return
        if row.order != order:
            self._break("P2", f"{ref} left as something else than was journalled")
        if sum(1 for placed in self.world.broker.placed if placed.client_order_id == ref) > 1:
            self._break("P1", f"{ref} was sent twice")
        ids = [placed.ib_order_id for placed in self.world.broker.placed]
        if len(ids) != len(set(ids)):
            self._break("P1", f"order id {order.ib_order_id} was used twice")
        run = runs.find(db, order.run_id)
        if run is None or run.status is not RunState.EXECUTING:
            self._break("P6", f"{ref} left while its run was {run and run.status}")
        self._watch_halt(row.order)
        quote = self.world.quotes.read([order.symbol]).get(order.symbol)
        oldest_s = self.world.config.quotes.quote_age_s_max
        if (
            quote is None
            or self.world.clock.now().age_s(quote.received) > oldest_s
            or mid(quote) is None
        ):
            self._break("P11", f"{ref} left on a stale price")
        if run and run.deadline_at and order.good_till > run.deadline_at:
            self._break("P12", f"{ref} outlives its run")
        self._watch_window(row.order)

    def _watch_halt(self, order: Order) -> None:
        """A halt that was committed before the order was journalled is obeyed; rows tell."""
        rows = audit.of_subject(self.world.eyes, order.client_order_id)
        journalled = max(row.seq for row in rows if row.event == "order.journalled")
        for halt in halts.active(self.world.eyes):
            requested = max(
                row.seq
                for row in audit.of_subject(self.world.eyes, str(halt.halt_id))
                if row.event == "halt.requested"
            )
            if halt.level is not HaltLevel.REDUCE_ONLY and requested < journalled:
                self._break("P7", f"{order.client_order_id} left under a halt")

    def _watch_window(self, order: Order) -> None:
        """The canary travels alone; then at most a window is unacknowledged."""
        rows = [r.order for r in orders.of_run(self.world.ledger.db, order.run_id)]
        attempt = orders.find(self.world.ledger.db, order.client_order_id)
        assert attempt is not None
        mine = [
            r.order
            for r in orders.of_run(self.world.ledger.db, order.run_id, attempt.attempt)
            if r.order.sent_at
        ]
        in_flight = [o for o in mine if o.status == OrderState.SENDING]
        proven = any(o.perm_id or o.filled_quantity for o in mine)
        most = self.world.config.order_window if proven else 1
        if len(in_flight) > most:
            self._break("W", f"{len(in_flight)} of {len(rows)} unacknowledged, allowed {most}")
        unknown = orders.in_states(self.world.ledger.db, {OrderState.UNKNOWN})
        if unknown:
            self._break("P16", f"{order.client_order_id} left while an order was unknown")

    def _break(self, promise: str, detail: str) -> None:
        if promises.Broken(promise, detail) in self._broken:
            return
        self.world.broker._note(f"BROKEN {promise}: {detail}")
        self._broken.append(promises.Broken(promise, detail))

    def verdict(self) -> None:
        """Compare ledger and truth. Raises: AssertionError."""
        found = [*self._broken, *self._final()]
        assert not found, "\n".join(f"{b.promise}: {b.detail}" for b in found)

    def _final(self) -> list[promises.Broken]:
        db, broker = self.world.ledger.db, self.world.broker
        known = [
            promises.Fill(f.exec_id, f.client_order_id, f.symbol, f.signed_quantity)
            for f in fills.everything(db)
        ]
        by_hand = {f.exec_id for f in fills.everything(db) if f.exec_id.startswith("resolved:")}
        truth = [e for e in broker.executions() if self._is_known_to_ledger(e.client_order_id)]
        sent = [row.order for row in orders.all_sent(db)]
        shown = [o for o in broker.orders() if self._is_known_to_ledger(o.client_order_id)]
        found = list(
            promises.check(sent, known, shown, truth, self.world.config.account, accepted(db))
        )
        if not by_hand and not self._accepted():
            start = {symbol: Decimal(quantity) for symbol, quantity in HELD.items()}
            found += promises.position_breaks(start, known, broker._shown_positions())
        for live in broker.live:
            order = live.order
            if order.client_order_id in self.world.person.let_go:
                continue
            if order.client_order_id and order.order_type is OrderType.LMT:
                row = orders.find(db, order.client_order_id)
                if row is not None and row.order.filled_quantity != live.filled:
                    text = f"{live.filled} filled, the ledger says {row.order.filled_quantity}"
                    found.append(promises.Broken("P3", f"{order.client_order_id}: {text}"))
        return found

    def _accepted(self) -> bool:
        return acceptances.positions_baseline(self.world.ledger.db) is not None

    def _is_known_to_ledger(self, ref: str) -> bool:
        """Leave out executions of a forgotten day that a person entered by hand or accepted."""
        by_hand = {
            f.client_order_id
            for f in fills.everything(self.world.ledger.db)
            if f.exec_id.startswith("resolved:")
        }
        known = (
            not self.world.restored or not ref or orders.find(self.world.ledger.db, ref) is not None
        )
        known = known and ref not in self.world.person.let_go
        return known and ref not in by_hand and not (self._accepted() and not ref)
