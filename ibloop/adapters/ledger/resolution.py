"""What a person decides about an order whose fate no evidence has proven.

The decision is about the order alone; whether it was right is shown by the positions, which have
to agree with the fills before anything is traded again.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from ibloop.adapters.ledger import acceptances, audit, fills, orders
from ibloop.adapters.ledger.acceptances import AcceptanceKind
from ibloop.adapters.ledger.connection import Tx
from ibloop.adapters.ledger.identity import identity
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.ledger.stamps import next_stamp
from ibloop.core.dropcopy import ENTERED_BY_HAND
from ibloop.core.lifecycle import OrderEvent, OrderState
from ibloop.core.model import Execution, Order, Tif
from ibloop.errors import RefusedError

RESOLVED_CODE = "resolved"


class Fate(StrEnum):
    """What became of an order, in an operator's words."""

    WORKING = "working"
    FILLED = "filled"
    CANCELED = "canceled"
    NOT_SENT = "not-sent"
    OVER_FILLED = "over-filled"


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's decision; shares at a USD price were executed beyond what the ledger has.

    ``perm_id`` says where a person has seen the order; the broker's own word decides later.
    """

    fate: Fate
    reason: str
    perm_id: int | None = None
    quantity: Decimal | None = None
    price: Decimal | None = None


def resolve(tx: Tx, row: OrderRow, decision: Decision, now: datetime, actor: str) -> OrderState:
    """Apply a decision to the order and return its state.

    Raises: RefusedError when the decision contradicts what the ledger knows.
    """
    order = row.order
    if decision.fate is Fate.OVER_FILLED:
        return _accept_over_fill(tx, order, decision, now, actor)
    _check(order, decision)
    _check_perm_id(tx, order, decision)
    _check_dead(order, decision, now)
    audit.append(tx, actor, "order.resolved", order.client_order_id, asdict(decision), now=now)
    if decision.quantity is not None and decision.price is not None:
        told = _execution(tx, order, decision.quantity, decision.price, now)
        fills.record(tx, told, next_stamp(tx.db) or now, actor)
    if decision.fate is Fate.FILLED:
        return OrderState.FILLED
    event = {
        Fate.WORKING: OrderEvent.ACKNOWLEDGE,
        Fate.CANCELED: OrderEvent.CANCEL,
        Fate.NOT_SENT: OrderEvent.PROVE_NOT_SENT,
    }[decision.fate]
    not_sent = decision.fate is Fate.NOT_SENT
    return orders.apply(
        tx,
        order.client_order_id,
        event,
        reject_source="ibloop" if not_sent else None,
        reject_code=RESOLVED_CODE if not_sent else None,
        reject_reason=f"{actor}: {decision.reason}" if not_sent else None,
        now=now,
        actor=actor,
    )


def _check(order: Order, decision: Decision) -> None:
    """Raise RefusedError for a decision that cannot be true."""
    ref, fate = order.client_order_id, decision.fate
    if order.status != OrderState.UNKNOWN:
        raise RefusedError(
            f"{ref} is {order.status}: only an unknown order is resolved by a person"
        )
    if decision.perm_id is not None and order.perm_id not in {None, decision.perm_id}:
        raise RefusedError(f"{ref} has permId {order.perm_id} at the broker")
    if (decision.quantity is None) != (decision.price is None):
        raise RefusedError("executed shares need both --quantity and --price")
    added = decision.quantity or Decimal(0)
    filled = order.filled_quantity + added
    seen = order.perm_id is not None or order.filled_quantity > 0
    if fate is Fate.NOT_SENT and (seen or added):
        raise RefusedError(f"{ref} was acknowledged or filled, so it was sent")
    if fate is Fate.WORKING and (added or not (decision.perm_id or order.perm_id)):
        raise RefusedError("a working order needs its --perm-id, and tells of its fills itself")
    if fate is Fate.FILLED and filled != order.quantity:
        raise RefusedError(
            f"{filled} of {order.quantity} shares are filled: give the missing ones with "
            "--quantity and --price"
        )
    if fate is Fate.CANCELED and filled >= order.quantity:
        raise RefusedError(f"{filled} of {order.quantity} shares are filled: that is filled")


DAY_ORDER_LIFE = timedelta(hours=24)


def _check_dead(order: Order, decision: Decision, now: datetime) -> None:
    """Raise RefusedError for an order that may still come alive: a hung gateway holds it."""
    if decision.fate is not Fate.NOT_SENT or order.sent_at is None:
        return
    alive_until = order.good_till if order.tif is Tif.GTD else order.sent_at + DAY_ORDER_LIFE
    if now < alive_until:
        raise RefusedError(
            f"{order.client_order_id} may still come alive until {alive_until:%F %T} UTC: "
            "decide then, or find it at the broker"
        )


def _check_perm_id(tx: Tx, order: Order, decision: Decision) -> None:
    """Raise RefusedError when the permId is another order's."""
    other = orders.by_perm_id(tx.db, decision.perm_id) if decision.perm_id else None
    if other is not None and other.order.client_order_id != order.client_order_id:
        raise RefusedError(f"permId {decision.perm_id} is {other.order.client_order_id}")


def _execution(tx: Tx, order: Order, quantity: Decimal, price: Decimal, now: datetime) -> Execution:
    """Return the executions that the broker no longer tells of, as one."""
    return Execution(
        exec_id=f"{ENTERED_BY_HAND}{order.client_order_id}.01",
        account=identity(tx.db).account,
        client_order_id=order.client_order_id,
        perm_id=order.perm_id or 0,
        symbol=order.symbol,
        con_id=order.con_id,
        side=order.side,
        quantity=quantity,
        price=price,
        executed_at=now,
    )


def _accept_over_fill(
    tx: Tx, order: Order, decision: Decision, now: datetime, actor: str
) -> OrderState:
    if order.remaining >= 0:
        raise RefusedError(f"{order.client_order_id} is not filled beyond its quantity")
    acceptances.accept(
        tx,
        AcceptanceKind.OVER_FILL,
        order.client_order_id,
        {"filled": order.filled_quantity},
        reason=decision.reason,
        now=now,
        actor=actor,
    )
    return OrderState(order.status)
