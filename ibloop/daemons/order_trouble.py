"""What the broker shows and the ledger cannot explain: reasons to send nothing at all."""

from collections.abc import Iterator
from dataclasses import dataclass

from ibloop.adapters.ledger import fills, orders
from ibloop.adapters.ledger.connection import Connection
from ibloop.core.lifecycle import ORDER_TERMINAL, OrderState, RunReason
from ibloop.core.model import Evidence, Order
from ibloop.core.recovery import unrecorded
from ibloop.core.snapshot import is_ours


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why nothing may be sent: the reason a run is blocked with, which order, one sentence."""

    reason: RunReason
    subject: str
    detail: str


def find_trouble(db: Connection, evidence: Evidence) -> Trouble | None:
    """Return the gravest contradiction between ledger and broker, ``None`` without any.

    Call it after the evidence's executions were stored. An execution of an order this ledger never
    sent counts for ever, although the broker forgets it over night (promise P15).
    """
    sent = [row.order for row in orders.all_sent(db)]
    found = (*_strange(db, evidence, sent), *_over_filled(sent), *_revived(evidence, sent))
    return next(iter(found), None)


def _strange(db: Connection, evidence: Evidence, sent: list[Order]) -> Iterator[Trouble]:
    left = [o.client_order_id for o in sent if o.status != OrderState.NOT_SENT]
    executed = (ref for ref in fills.unsent_refs(db) if is_ours(ref))
    refs = sorted({*unrecorded(evidence, left), *executed})
    if refs:
        detail = f"the broker knows {', '.join(refs[:3])}, this ledger never sent it"
        yield Trouble(RunReason.LEDGER_BEHIND, refs[0], detail)


def _over_filled(sent: list[Order]) -> Iterator[Trouble]:
    for order in sent:
        if order.remaining < 0:
            ref = order.client_order_id
            detail = f"P5: {ref}: {order.filled_quantity} filled of {order.quantity}"
            yield Trouble(RunReason.PROMISE_BROKEN, ref, detail)


def _revived(evidence: Evidence, sent: list[Order]) -> Iterator[Trouble]:
    """Yield orders that still work at the broker although the ledger has seen their end.

    A filled one is none of them: the open orders were asked for before the executions.
    """
    ended = {o.client_order_id for o in evidence.completed_orders}
    shown = {o.client_order_id for o in evidence.open_orders} - ended
    dead = ORDER_TERMINAL - {OrderState.FILLED, OrderState.NOT_SENT}
    for order in sent:
        if order.client_order_id in shown and order.status in dead:
            detail = f"{order.client_order_id} works at the broker, the ledger says {order.status}"
            yield Trouble(RunReason.UNKNOWN_ORDER, order.client_order_id, detail)
