"""The margin question of a run: what-if orders, asked before the first order is written.

A run that waits for the answer is still ``preparing``: the executor's loop goes on, so cancels,
kills and a person's ``run cancel`` are as quick as ever. The plan that was asked about is kept
and written once the answer allows it, or else the answer would be about another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.ports import Broker
from ibloop.core.events import MarginAnswered
from ibloop.core.invariant import present
from ibloop.core.lifecycle import OrderState
from ibloop.core.model import Instrument, MarginImpact, Moment, Order
from ibloop.core.orders import Plan
from ibloop.core.planning import Planned
from ibloop.core.risk import Limits, Verdict, breaches, check_margin, reduces
from ibloop.daemons.executing.evidence import Sync
from ibloop.daemons.executing.order_ids import OrderIds

MARGIN_PATIENCE_S = 30.0
"""By boot time; longer than the adapter waits for its gateway. No answer by then denies."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan with all that its orders are written from, and what the checks said of it so far.

    ``sync`` is the broker's truth it was made on; its orders live until ``orders_end``.
    """

    run_id: str
    attempt: int
    plan: Plan
    planned: tuple[Planned, ...]
    sync: Sync
    verdicts: tuple[Verdict, ...]
    deadline: datetime
    orders_end: datetime

    def raising(self) -> tuple[Order, ...]:
        """Return the orders to be sent that open or enlarge a position."""
        held = {line.symbol: line.baseline_quantity for line in self.plan.lines}
        return tuple(
            one.order
            for one in self.planned
            if one.order.status == OrderState.PLANNED
            and not reduces(one.order.side, one.order.quantity, held[one.order.symbol])
        )


class MarginDesk:
    """Asks the broker about one draft at a time and keeps it until the answer is there."""

    def __init__(
        self, limits: Limits, broker: Broker, ids: OrderIds, instruments: Mapping[str, Instrument]
    ) -> None:
        """Keep the ports."""
        self._is_on = limits.margin_check
        self._broker = broker
        self._ids = ids
        self._instruments = instruments
        self._draft: Draft | None = None
        self._asked: tuple[Order, ...] = ()
        self._asked_at: Moment | None = None
        self._answer: tuple[MarginImpact, ...] | None = None

    def held(self, run: Run) -> Draft | None:
        """Return the draft that an answer is awaited for, if it is this attempt's."""
        draft = self._draft
        is_its = draft is not None and (draft.run_id, draft.attempt) == (run.run_id, run.attempt)
        return draft if is_its else None

    def take(self, event: MarginAnswered) -> None:
        """Take an answer; one to an earlier question is dropped."""
        asked = {order.ib_order_id for order in self._asked}
        if {impact.ib_order_id for impact in event.impacts} == asked:
            self._answer = event.impacts

    def verdicts(self, draft: Draft, now: Moment) -> tuple[Verdict, ...] | None:
        """Return what the broker's answer means for a draft; ``None`` while it is awaited.

        Nobody is asked where the check is off, where the plan is refused already, or where
        nothing would open or enlarge a position.
        """
        if not self._is_on or breaches(draft.verdicts):
            return ()
        if self._draft is not draft:
            return self._ask(draft, now)
        waited_s = now.age_s(present(self._asked_at, "time of the question"))
        if self._answer is None and waited_s <= MARGIN_PATIENCE_S:
            return None
        orders, answer = self._asked, self._answer or ()
        self._draft, self._asked, self._answer = None, (), None
        funds_usd = draft.sync.evidence.account_values.available_funds
        return check_margin(orders, answer, funds_usd)

    def _ask(self, draft: Draft, now: Moment) -> tuple[Verdict, ...] | None:
        orders = draft.raising()
        if not orders:
            return ()
        ids = self._ids.take(len(orders))
        self._asked = tuple(
            replace(order, ib_order_id=number) for order, number in zip(orders, ids, strict=True)
        )
        self._draft, self._asked_at, self._answer = draft, now, None
        self._broker.ask_margin([(order, self._instruments[order.symbol]) for order in self._asked])
        return None
