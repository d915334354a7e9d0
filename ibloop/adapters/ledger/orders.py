"""The life of each order in the ledger, along ``core.lifecycle``; one row, moved forward.

The row is written before anything is sent (:func:`mark_sending`) and every later change is an
event or a fill. Questions are answered by ``order_rows``, whose functions are also found here.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection, Tx
from ibloop.adapters.ledger.order_rows import (
    COLUMNS,
    OrderRow,
    SentTotals,
    all_sent,
    by_ib_order_id,
    by_perm_id,
    filled_though_denied,
    find,
    find_all,
    in_states,
    listing,
    max_ib_order_id,
    of_run,
    one_unknown,
    over_filled,
    places_of,
    sent_count,
    sent_count_after,
    sent_today,
    values_of,
    working_symbols,
)
from ibloop.adapters.ledger.values import (
    decimal_text,
    insert_sql,
    optional,
    parse_decimal,
    time_text,
)
from ibloop.core.invariant import invariant, present
from ibloop.core.lifecycle import OrderEvent, OrderState, after_event, after_fill
from ibloop.core.model import ZERO, Order
from ibloop.core.recovery import Refusal

__all__ = [
    "OrderRow",
    "SentTotals",
    "adopt_perm_id",
    "all_sent",
    "apply",
    "by_ib_order_id",
    "by_perm_id",
    "filled_though_denied",
    "find",
    "find_all",
    "in_states",
    "insert",
    "listing",
    "mark_sending",
    "max_ib_order_id",
    "note_judgement",
    "note_refusal",
    "of_run",
    "one_unknown",
    "over_filled",
    "places_of",
    "refresh_fills",
    "sent_count",
    "sent_count_after",
    "sent_today",
    "working_symbols",
]

AVERAGE_STEP = Decimal("0.00000001")
"""Average prices are rounded to this many USD: a quotient need not end."""

_INSERT = insert_sql("trade_orders", COLUMNS)
_MARK_SENDING = """
UPDATE trade_orders SET status = 'sending', ib_order_id = :ib_order_id,
 limit_price = :limit_price, arrival_price = :arrival_price, quote_seq = :quote_seq,
 quote_source = :quote_source, quote_at = :quote_at, good_till = :good_till,
 sent_at = :now, updated_at = :now
 WHERE client_order_id = :client_order_id AND status = 'planned'
 AND (order_type = 'LMT') = (:limit_price IS NOT NULL)
"""


def insert(tx: Tx, rows: Sequence[OrderRow], actor: str) -> None:
    """Store new orders; IntegrityError when an id or a place in the sequence is taken.

    Raises: InvariantError for an order that claims fills no execution has told of.
    """
    for row in rows:
        order = row.order
        invariant(order.filled_quantity == ZERO, f"{order.client_order_id} is new but filled")
        tx.execute(_INSERT, values_of(row))
        payload = {
            "run_id": order.run_id,
            "symbol": order.symbol,
            "side": order.side,
            "quantity": order.quantity,
            "limit_price": order.limit_price,
            "algo": order.algo,
            "status": order.status,
            "reject_code": order.reject_code,
            "reject_reason": order.reject_reason,
        }
        audit.append(tx, actor, "order.created", order.client_order_id, payload, now=row.created_at)


def mark_sending(
    tx: Tx,
    client_order_id: str,
    *,
    ib_order_id: int,
    limit_price: Decimal | None,
    arrival_price: Decimal,
    quote_seq: int,
    quote_source: str,
    quote_at: datetime,
    good_till: datetime,
    now: datetime,
    actor: str,
) -> bool:
    """Journal that a planned order is about to be sent, with everything it is sent with.

    Its bytes may leave only after this transaction has committed (promise P2). Returns ``False``
    when it is not planned any more: it must not be sent. Raises: InvariantError when order type
    and limit price disagree; IntegrityError when ``ib_order_id`` was used before.
    """
    changed = tx.execute(
        _MARK_SENDING,
        {
            "client_order_id": client_order_id,
            "ib_order_id": ib_order_id,
            "limit_price": optional(decimal_text, limit_price),
            "arrival_price": decimal_text(arrival_price),
            "quote_seq": quote_seq,
            "quote_source": str(quote_source),
            "quote_at": time_text(quote_at),
            "good_till": time_text(good_till),
            "now": time_text(now),
        },
    ).rowcount
    if not changed:
        left = find(tx.db, client_order_id)
        is_planned = left is not None and left.order.status is OrderState.PLANNED
        invariant(not is_planned, f"{client_order_id}: its type with limit price {limit_price}")
        return False
    payload = {
        "ib_order_id": ib_order_id,
        "limit_price": limit_price,
        "arrival_price": arrival_price,
        "quote_seq": quote_seq,
        "quote_source": quote_source,
        "good_till": good_till,
    }
    audit.append(tx, actor, "order.journalled", client_order_id, payload, now=now)
    return True


def apply(
    tx: Tx,
    client_order_id: str,
    event: OrderEvent,
    *,
    perm_id: int | None = None,
    reject_source: str | None = None,
    reject_code: str | None = None,
    reject_reason: str | None = None,
    now: datetime,
    actor: str,
) -> OrderState:
    """Tell an order what happened to it and return its state.

    Nothing is written when nothing changes. The reject fields are kept only with a change of
    state; ``perm_id`` 0 or ``None`` is no news. Raises: InvariantError for an unknown order, for
    an event the table of states does not have, for SEND (see :func:`mark_sending`), and for a
    second, different ``perm_id``.
    """
    invariant(event is not OrderEvent.SEND, "an order is sent by mark_sending")
    order = _known(tx.db, client_order_id)
    before, after = OrderState(order.status), _state_after(order, event)
    adopted = _adopted_perm_id(order, perm_id)
    if after is before and adopted == order.perm_id:
        return before
    is_moved = after is not before
    tx.execute(
        "UPDATE trade_orders SET status = :status, perm_id = :perm_id, updated_at = :now,"
        " reject_source = ifnull(:source, reject_source),"
        " reject_code = ifnull(:code, reject_code),"
        " reject_reason = ifnull(:reason, reject_reason)"
        " WHERE client_order_id = :client_order_id",
        {
            "client_order_id": client_order_id,
            "status": after.value,
            "perm_id": adopted,
            "source": reject_source if is_moved else None,
            "code": reject_code if is_moved else None,
            "reason": reject_reason if is_moved else None,
            "now": time_text(now),
        },
    )
    payload: dict[str, object] = {"from": before, "to": after, "event": event, "perm_id": adopted}
    if is_moved and reject_source is not None:
        payload |= {"source": reject_source, "code": reject_code, "reason": reject_reason}
    audit.append(tx, actor, "order.moved", client_order_id, payload, now=now)
    return after


def note_refusal(tx: Tx, client_order_id: str, refusal: Refusal, now: datetime, actor: str) -> None:
    """Keep an error that named the order: a hint, which evidence may confirm after a restart."""
    row = present(find(tx.db, client_order_id), f"order {client_order_id}")
    if row.refusal == refusal:
        return
    tx.execute(
        "UPDATE trade_orders SET refusal_code = ?, refusal_text = ?, updated_at = ?"
        " WHERE client_order_id = ?",
        (refusal.code, refusal.text, time_text(now), client_order_id),
    )
    payload = {"code": refusal.code, "text": refusal.text}
    audit.append(tx, actor, "order.refused", client_order_id, payload, now=now)


def note_judgement(tx: Tx, client_order_id: str, because: str, now: datetime) -> None:
    """Keep what evidence last meant for the order, and since when it has meant that."""
    tx.execute(
        "UPDATE trade_orders SET judgement = :because, judged_at = :now"
        " WHERE client_order_id = :ref AND judgement IS NOT :because",
        {"because": because, "now": time_text(now), "ref": client_order_id},
    )


def refresh_fills(tx: Tx, client_order_id: str, now: datetime, actor: str) -> OrderState:
    """Take filled quantity and average price from ``trade_fills``; return the order's state.

    More filled than ordered is kept as it is: the shares are there, a correction may follow, and
    whoever looks for broken promises finds it (P5). An exception would lose the fill.
    """
    order = _known(tx.db, client_order_id)
    before = OrderState(order.status)
    filled, average = _fill_totals(tx.db, client_order_id)
    if (filled, average) == (order.filled_quantity, order.avg_fill_price):
        return before
    after = after_fill(before, order.quantity, min(filled, order.quantity))
    tx.execute(
        "UPDATE trade_orders SET status = :status, filled_quantity = :filled,"
        " avg_fill_price = :average, updated_at = :now WHERE client_order_id = :client_order_id",
        {
            "client_order_id": client_order_id,
            "status": after.value,
            "filled": decimal_text(filled),
            "average": optional(decimal_text, average),
            "now": time_text(now),
        },
    )
    payload = {"from": before, "to": after, "filled_quantity": filled, "avg_fill_price": average}
    audit.append(tx, actor, "order.filled", client_order_id, payload, now=now)
    return after


def was_stopped_at_deadline(db: Connection, order: Order) -> bool:
    """Return whether the executor has asked for the order's cancellation, at its time or later."""
    return any(
        row.payload.get("to") == OrderState.PENDING_CANCEL and row.at >= order.good_till
        for row in audit.of_subject(db, order.client_order_id)
    )


def adopt_perm_id(tx: Tx, client_order_id: str, now: datetime, actor: str) -> None:
    """Take an order's permId from its executions when no acknowledgement has told it.

    Only of an order that was sent, and only when all its executions agree: two permIds are two
    orders, which evidence has to judge. A permId that is known is never replaced.
    """
    # Asked first: an UPDATE that changes nothing costs three times as much.
    sql = "SELECT 1 FROM trade_orders WHERE client_order_id = ? AND perm_id IS NULL"
    if tx.execute(sql, (client_order_id,)).fetchone() is None:
        return
    found = tx.execute(
        "UPDATE trade_orders SET perm_id = (SELECT max(perm_id) FROM trade_fills"
        " WHERE client_order_id = :ref), updated_at = :now"
        " WHERE client_order_id = :ref AND perm_id IS NULL AND sent_at IS NOT NULL"
        " AND (SELECT count(DISTINCT perm_id) FROM trade_fills WHERE client_order_id = :ref) = 1"
        " RETURNING perm_id",
        {"ref": client_order_id, "now": time_text(now)},
    ).fetchall()
    for row in found:
        payload = {"perm_id": row["perm_id"], "source": "execution"}
        audit.append(tx, actor, "order.identified", client_order_id, payload, now=now)


def _known(db: Connection, client_order_id: str) -> Order:
    return present(find(db, client_order_id), f"order {client_order_id}").order


def _state_after(order: Order, event: OrderEvent) -> OrderState:
    state = after_event(OrderState(order.status), event)
    # An acknowledged order with fills is PARTIALLY_FILLED. A lost one stays UNKNOWN: what was
    # filled before does not prove that the rest still works.
    if state is OrderState.UNKNOWN:
        return state
    return after_fill(state, order.quantity, min(order.filled_quantity, order.quantity))


def _adopted_perm_id(order: Order, perm_id: int | None) -> int | None:
    if not perm_id:
        return order.perm_id
    invariant(
        order.perm_id in (None, perm_id),
        f"{order.client_order_id} has perm id {order.perm_id}, the broker says {perm_id}",
    )
    return perm_id


def _fill_totals(db: Connection, client_order_id: str) -> tuple[Decimal, Decimal | None]:
    """Return shares filled and their average price, ``None`` without any."""
    found = db.execute(
        "SELECT quantity, price FROM trade_fills WHERE client_order_id = ?", (client_order_id,)
    )
    filled = cost = ZERO
    for row in found:
        quantity = parse_decimal(row["quantity"])
        filled += quantity
        cost += quantity * parse_decimal(row["price"])
    return filled, (cost / filled).quantize(AVERAGE_STEP) if filled else None
