"""The person of a world: sees the truth, and decides what no program may decide."""

from typing import TYPE_CHECKING

from ibloop.adapters.ledger import account, commands, orders
from ibloop.adapters.ledger.resolution import Decision, Fate, resolve
from ibloop.core.lifecycle import OrderState, RunReason, RunState
from ibloop.core.model import Order, Tif
from ibloop.daemons.executing.comparing import (
    accept_positions,
    explained_positions,
    standing_breaks,
)
from ibloop.daemons.executing.run_commands import ACCEPT_LEDGER
from ibloop.errors import RefusedError
from tests.fakes.shown import ENDED

if TYPE_CHECKING:
    from tests.world.world import World


class Person:
    """Decides what is left after the faults have ended.

    ``let_go`` are the references whose last correction went unheard and was accepted away;
    ``wants_a_night`` tells that something can only be decided tomorrow.
    """

    def __init__(self, world: "World") -> None:
        """Look at a world."""
        self.world = world
        self.let_go = set[str]()
        self.wants_a_night = False

    def decide(self) -> None:
        """Do what a person does who can see the truth."""
        for row in orders.in_states(self.world.ledger.db, {OrderState.UNKNOWN}):
            self._resolve(row.order)
        trouble = self.world.desk.trouble
        if trouble is not None and trouble.reason is RunReason.PROMISE_BROKEN:
            raise AssertionError(f"expected no broken promise: {trouble.detail}")
        if trouble is not None and trouble.reason is RunReason.LEDGER_BEHIND:
            self._accept_ledger()
        if standing_breaks(self.world.ledger.db):
            self._accept_positions()
        run = self.world.run(self.world.chaos.key())
        unknown = orders.in_states(self.world.ledger.db, {OrderState.UNKNOWN})
        if run.status is RunState.BLOCKED and not unknown:
            if run.reason is RunReason.LIMIT_BREACHED:
                self.world.cancel_run(run.run_key)  # the day's orders may be used up
            else:
                self.world.retry(run.run_key)

    def _accept_ledger(self) -> None:
        """Cancel in TWS what this ledger does not know, then accept the ledger."""
        assert self.world.chaos.restored or self._all_came_dead(), (
            f"expected no restored ledger: {self.world.desk.trouble}"
        )
        for live in self.world.broker.live:
            row = orders.find(self.world.ledger.db, live.order.client_order_id)
            if row is None or row.order.sent_at is None:
                self.world.broker._end(live, "Cancelled")
        self.world.broker._note("ledger accepted")
        with self.world._whole() as tx:
            now = self.world.clock.now().utc
            commands.request(tx, ACCEPT_LEDGER, {"reason": "restored"}, "ann", now)

    def _all_came_dead(self) -> bool:
        """Tell whether what is strange was proven not sent, and then arrived after its expiry.

        A gateway may hold an order back for longer than the proof waits. It cannot trade any more,
        and the broker shows what the ledger denies: a person accepts that.
        """
        rows = (
            (x, orders.find(self.world.ledger.db, x.order.client_order_id))
            for x in self.world.broker.live
        )
        denied = [x for x, row in rows if row and row.order.status == OrderState.NOT_SENT]
        return bool(denied) and all(live.came_dead for live in denied)

    def _resolve(self, order: Order) -> None:
        """Resolve an unknown order as a person would who looks into TWS and the statement."""
        found = [
            x for x in self.world.broker.live if x.order.client_order_id == order.client_order_id
        ]
        if order.client_order_id in self.world.broker.parked:
            return  # it stands in the gateway's own list
        if not found:
            decision = Decision(Fate.NOT_SENT, "not at the broker")
        elif found[0].status not in ENDED:
            decision = Decision(Fate.WORKING, "in TWS", perm_id=found[0].perm_id)
        else:
            missing = found[0].filled - order.filled_quantity
            price = self.world.broker.prices[order.symbol]
            fate = Fate.FILLED if found[0].filled == order.quantity else Fate.CANCELED
            more = {"quantity": missing, "price": price} if missing > 0 else {}
            decision = Decision(fate, "in the statement", **more)  # type: ignore[arg-type]
        row = orders.find(self.world.ledger.db, order.client_order_id)
        assert row is not None
        self.world.broker._note(f"resolve {order.client_order_id} as {decision.fate}")
        try:
            with self.world._whole() as tx:
                resolve(tx, row, decision, self.world.clock.now().utc, "ann")
        except RefusedError as error:
            # One for the day may come alive until its day is over.
            self.wants_a_night = order.tif is Tif.DAY
            self.world.broker._note(f"refused: {error}")

    def _accept_positions(self) -> None:
        """Accept positions that executions of another day explain, and nothing else."""
        _, lines = explained_positions(self.world.ledger.db)
        symbols = [line.symbol for line in lines if line.difference]
        held = {p.symbol: p.quantity for p in account.positions(self.world.ledger.db)}
        truth = {s: q for s, q in self.world.broker.positions.items() if q}
        if held != truth:
            return
        now = self.world.clock.now().utc
        try:
            with self.world._whole() as tx:
                accept_positions(tx, symbols, reason="of another day", now=now, actor="ann")
            self.world.broker._note(f"positions accepted: {symbols}")
            self._let_corrections_go(symbols)
        except RefusedError as error:
            self.world.broker._note(f"refused: {error}")

    def _let_corrections_go(self, symbols: list[str]) -> None:
        """Give up the corrections nobody told of that IB has forgotten over night."""
        shown = {execution.exec_id for execution in self.world.broker._shown_executions()}
        self.let_go |= {
            e.client_order_id
            for e in self.world.broker.executions()
            if e.symbol in symbols and e.exec_id not in shown and not e.exec_id.endswith(".01")
        }
