"""What the broker shows and the ledger cannot explain: reasons to send nothing at all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ibloop.adapters.ledger import acceptances, fills, orders
from ibloop.adapters.ledger.connection import Connection
from ibloop.core.lifecycle import ORDER_TERMINAL, OrderState, RunReason
from ibloop.core.model import Evidence, Order
from ibloop.core.recovery import shown_refs, unrecorded
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
    sent = _sent(db, evidence)
    found = (*_strange(db, evidence, sent), *_over_filled(db), *_revived(evidence, sent))
    return next(iter(found), None)


def strange_refs(db: Connection, evidence: Evidence) -> tuple[str, ...]:
    """Return the references of ours that this ledger never sent and nobody has accepted."""
    return _strange_refs(db, evidence, _sent(db, evidence))


def revived_orders(db: Connection, evidence: Evidence) -> tuple[Order, ...]:
    """Return the orders that have ended or never left, by the ledger, and work at the broker."""
    return tuple(_still_alive(evidence, _sent(db, evidence)))


def _sent(db: Connection, evidence: Evidence) -> list[Order]:
    """Return the orders the evidence shows that this ledger has journalled for sending."""
    rows = orders.find_all(db, shown_refs(evidence))
    return [row.order for row in rows if row.order.sent_at is not None]


def _strange_refs(db: Connection, evidence: Evidence, sent: Sequence[Order]) -> tuple[str, ...]:
    left = [o.client_order_id for o in sent if o.status != OrderState.NOT_SENT]
    executed = (ref for ref in fills.unsent_refs(db) if is_ours(ref))
    # An accepted one is known to have ended: one that works again is strange again.
    accepted = acceptances.references(db) - _working_refs(evidence)
    return tuple(sorted({*unrecorded(evidence, left), *executed, *_denied_refs(db)} - accepted))


def _strange(db: Connection, evidence: Evidence, sent: list[Order]) -> Iterator[Trouble]:
    if refs := _strange_refs(db, evidence, sent):
        # A ledger that forgot an order is one thing, one that has it as not sent another.
        denied = set(_denied_refs(db))
        denied |= {o.client_order_id for o in sent if o.status == OrderState.NOT_SENT}
        said = "has it as not sent" if denied.issuperset(refs) else "never sent it"
        detail = f"the broker knows {', '.join(refs[:3])}, this ledger {said}"
        yield Trouble(RunReason.LEDGER_BEHIND, refs[0], detail)


def _denied_refs(db: Connection) -> Iterator[str]:
    """Yield what was proven or decided not to have been sent, and filled all the same."""
    return (row.order.client_order_id for row in orders.filled_though_denied(db))


def _over_filled(db: Connection) -> Iterator[Trouble]:
    accepted = acceptances.over_fills(db)
    for order in (row.order for row in orders.over_filled(db)):
        if order.filled_quantity > accepted.get(order.client_order_id, order.quantity):
            ref = order.client_order_id
            detail = f"P5: {ref}: {order.filled_quantity} filled of {order.quantity}"
            yield Trouble(RunReason.PROMISE_BROKEN, ref, detail)


def _revived(evidence: Evidence, sent: list[Order]) -> Iterator[Trouble]:
    for order in _still_alive(evidence, sent):
        if order.status == OrderState.NOT_SENT:
            continue  # strange: it is told of as that
        detail = f"{order.client_order_id} works at the broker, the ledger says {order.status}"
        yield Trouble(RunReason.UNKNOWN_ORDER, order.client_order_id, detail)


def _still_alive(evidence: Evidence, sent: Sequence[Order]) -> Iterator[Order]:
    """Yield orders that still work at the broker although the ledger has seen their end.

    A filled one is none of them: the open orders were asked for before the executions.
    """
    shown = _working_refs(evidence)
    dead = ORDER_TERMINAL - {OrderState.FILLED}
    for order in sent:
        if order.client_order_id in shown and order.status in dead:
            yield order


def _working_refs(evidence: Evidence) -> frozenset[str]:
    """Return the references of orders that still work at the broker."""
    ended = {o.client_order_id for o in evidence.completed_orders}
    return frozenset(o.client_order_id for o in evidence.open_orders) - ended
