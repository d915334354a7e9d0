"""What a person needs to decide about an order, as plain data and as a page."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ibloop.adapters.ledger import audit, fills, orders
from ibloop.adapters.ledger.audit import AuditRow
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.cli.common import is_text
from ibloop.cli.lookup import order_data
from ibloop.cli.terminal import average, coloured, facts, table
from ibloop.core.lifecycle import ORDER_AT_BROKER, OrderState
from ibloop.core.model import Order, Tif
from ibloop.core.sessions import trade_date
from ibloop.errors import BadInputError

if TYPE_CHECKING:
    from ibloop.adapters.ledger.connection import Connection
    from ibloop.config import Config

HISTORY_COLUMNS = ("AT (UTC)", "WHO", "WHAT", "CHANGED")


def order_named(db: "Connection", name: str) -> OrderRow:
    """Return the order with this reference, permId or IB order id.

    Raises: BadInputError when there is none.
    """
    row = orders.find(db, name) if is_text(name) else None
    if row is None and name.isascii() and name.isdigit() and len(name) < 19:
        row = orders.by_perm_id(db, int(name)) or orders.by_ib_order_id(db, int(name))
    if row is None:
        raise BadInputError(f"there is no order {name!r}; `ibloop orders list` shows them")
    return row


def explanation(
    db: "Connection", row: OrderRow, config: "Config", now: datetime
) -> dict[str, object]:
    """Return everything the ledger knows of an order, and what can be done about it."""
    ref = row.order.client_order_id
    return {
        "order": order_data(row),
        "fills": fills.of_order(db, ref),
        "absence": absence(row.order, config, now) if row.order.status in ORDER_AT_BROKER else [],
        "next": advice(row.order),
        "history": audit.of_subject(db, ref),
    }


def absence(order: Order, config: "Config", now: datetime) -> list[dict[str, object]]:
    """Return what of the absence test the ledger can tell; the executor times the rest."""
    zone, after_s = config.session.timezone, config.execution.absence_after_expiry_s
    today = order.sent_at is not None and trade_date(order.sent_at, zone) == trade_date(now, zone)
    dead = order.tif is Tif.GTD and now >= order.good_till + timedelta(seconds=after_s)
    answers = (
        ("never acknowledged and never filled", not order.perm_id and not order.filled_quantity),
        ("sent on the market's present date: the broker has not forgotten it", today),
        (f"expired by itself at least {after_s:g} s ago", dead),
    )
    return [{"condition": text, "holds": holds} for text, holds in answers]


def advice(order: Order) -> str:
    """Return what a person can do about the order in its present state."""
    ref, status = order.client_order_id, order.status
    if order.remaining < 0:
        return f"check the account, then `ibloop orders resolve {ref} --as over-filled`"
    if status == OrderState.UNKNOWN:
        return (
            f"look for Order Ref {ref} in TWS (orders, trades, statement), then "
            f"`ibloop orders resolve {ref} --as working|filled|canceled|not-sent`"
        )
    if status in ORDER_AT_BROKER:
        return "nothing: the executor follows it"
    return "nothing: it has ended" if order.sent_at else "nothing: it never left"


def page(data: dict[str, object], row: OrderRow) -> str:
    """Return an explanation for people."""
    order = row.order
    told: list[AuditRow] = list(data["history"])  # type: ignore[call-overload]
    conditions: list[dict[str, object]] = data["absence"]  # type: ignore[assignment]
    lines = [
        ("order", f"{order.client_order_id}  {coloured(order.status)}"),
        ("what", _what(order)),
        (
            "at the broker",
            f"Order Ref {order.client_order_id}, permId {order.perm_id or 'unknown'}",
        ),
        ("sent", f"{order.sent_at:%F %T} UTC" if order.sent_at else "never"),
        ("expires", f"{order.good_till:%F %T} UTC ({order.tif})"),
        ("filled", f"{order.filled_quantity} at {average(order.avg_fill_price) or '-'}"),
        ("broker said", f"{row.refusal.code}: {row.refusal.text}" if row.refusal else ""),
        ("evidence", _judgement(row)),
        *((_holds(c["holds"]), str(c["condition"])) for c in conditions),
        ("next", str(data["next"])),
    ]
    history = [(f"{r.at:%F %T}", r.actor, r.event, _change(r)) for r in told]
    return f"{facts(lines)}\n\n{table(HISTORY_COLUMNS, history, 'History')}"


def _what(order: Order) -> str:
    price = f" at {order.limit_price}" if order.limit_price is not None else ""
    algo = f", worked by {order.algo}" if order.algo else ""
    return f"{order.side} {order.quantity} {order.symbol} {order.order_type}{price}{algo}"


def _judgement(row: OrderRow) -> str:
    if row.judgement is None or row.judged_at is None:
        return "none collected yet"
    return f"{row.judgement} (since {row.judged_at:%F %T} UTC)"


def _holds(holds: object) -> str:
    return "yes" if holds else "no"


def _change(row: AuditRow) -> str:
    said = row.payload
    if "to" in said:
        return f"{said['from']} -> {said['to']}"
    return ", ".join(f"{key} {value}" for key, value in said.items() if value is not None)
