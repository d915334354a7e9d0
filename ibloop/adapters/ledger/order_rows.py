"""The row of ``trade_orders`` and the questions one can ask of it."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from ibloop.adapters.ledger.connection import Connection, Row
from ibloop.adapters.ledger.values import (
    decimal_text,
    optional,
    parse_decimal,
    parse_time,
    remembered,
    select_sql,
    time_text,
)
from ibloop.core.invariant import invariant
from ibloop.core.lifecycle import ORDER_AT_BROKER, OrderState
from ibloop.core.model import ZERO, Algo, Order, OrderType, Side, Tif
from ibloop.core.recovery import Refusal

COLUMNS = (
    "client_order_id",
    "run_id",
    "attempt",
    "sequence",
    "symbol",
    "con_id",
    "side",
    "quantity",
    "order_type",
    "limit_price",
    "tif",
    "good_till",
    "status",
    "filled_quantity",
    "avg_fill_price",
    "ib_order_id",
    "perm_id",
    "reject_source",
    "reject_code",
    "reject_reason",
    "arrival_price",
    "quote_seq",
    "quote_source",
    "quote_at",
    "created_at",
    "sent_at",
    "updated_at",
    "refusal_code",
    "refusal_text",
    "judgement",
    "judged_at",
    "algo",
)
_SELECT = select_sql("trade_orders", COLUMNS)
# One text for all rows, which sending asks for each time: a third of the price of a row each.
_SENT_SINCE = (
    "SELECT count(*), group_concat(quantity || ' ' || ifnull(limit_price, arrival_price))"
    " FROM trade_orders WHERE sent_at >= ?"
)
_FIND = f"{_SELECT} WHERE client_order_id = ?"


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order and what the ledger adds to it.

    ``attempt`` is the run's; ``sequence`` the sending order inside run and attempt. The quote
    fields say what the order was priced from: ``arrival_price`` in USD a share. ``refusal`` is the
    last error that named the order, ``judgement`` what evidence last meant, and since when.
    """

    order: Order
    attempt: int
    sequence: int
    arrival_price: Decimal | None
    quote_seq: int | None
    quote_source: str | None
    quote_at: datetime | None
    created_at: datetime
    updated_at: datetime
    refusal: Refusal | None = None
    judgement: str | None = None
    judged_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SentTotals:
    """What was journalled for sending: number of orders and their value in USD."""

    count: int
    notional: Decimal


def find(db: Connection, client_order_id: str) -> OrderRow | None:
    """Return the order, or ``None``."""
    row = db.execute(_FIND, (client_order_id,)).fetchone()
    return None if row is None else parse_row(row)


def find_all(db: Connection, client_order_ids: Collection[str]) -> tuple[OrderRow, ...]:
    """Return those of the named orders that the ledger has, in the order they were sent."""
    found = db.execute(
        f"{_SELECT} WHERE client_order_id IN (SELECT value FROM json_each(?))"  # noqa: S608
        " ORDER BY sent_at, ib_order_id",
        (json.dumps(sorted(client_order_ids)),),
    )
    return tuple(parse_row(row) for row in found)


def places_of(
    db: Connection, client_order_ids: Collection[str]
) -> dict[str, tuple[OrderState, str, int]]:
    """Return state, run and attempt of those of the named orders that the ledger has."""
    found = db.execute(
        "SELECT client_order_id, status, run_id, attempt FROM trade_orders"
        " WHERE client_order_id IN (SELECT value FROM json_each(?))",
        (json.dumps(sorted(client_order_ids)),),
    )
    return {row[0]: (OrderState(row[1]), row[2], row[3]) for row in found}


def _split(count: int, joined: str | None) -> Sequence[str]:
    """Return the texts of so many rows. Raises: InvariantError when a value was missing in one."""
    texts = joined.split(",") if joined else ()
    invariant(len(texts) == count, f"{count} sent orders, of which {len(texts)} have a price")
    return texts


def by_ib_order_id(db: Connection, ib_order_id: int) -> OrderRow | None:
    """Return the order that was given this id of the connection, or ``None``."""
    return _first(db, "ib_order_id = ?", ib_order_id)


def by_perm_id(db: Connection, perm_id: int) -> OrderRow | None:
    """Return the order the broker knows by this permanent id, or ``None``."""
    return _first(db, "perm_id = ?", perm_id)


def of_run(db: Connection, run_id: str, attempt: int | None = None) -> tuple[OrderRow, ...]:
    """Return the orders of a run, or of one attempt of it, in sending order."""
    found = db.execute(
        f"{_SELECT} WHERE run_id = :run_id AND attempt = ifnull(:attempt, attempt)"
        " ORDER BY attempt, sequence",
        {"run_id": run_id, "attempt": attempt},
    )
    return tuple(parse_row(row) for row in found)


def in_states(db: Connection, states: Collection[OrderState]) -> tuple[OrderRow, ...]:
    """Return all orders in any of ``states``, oldest first."""
    marks = ", ".join("?" * len(states))
    found = db.execute(
        f"{_SELECT} WHERE status IN ({marks}) ORDER BY created_at, attempt, sequence",
        tuple(state.value for state in states),
    )
    return tuple(parse_row(row) for row in found)


def one_unknown(db: Connection) -> str | None:
    """Return the reference of an order whose fate is unproven, ``None`` when there is none."""
    row = db.execute(
        "SELECT client_order_id FROM trade_orders WHERE status = 'unknown' LIMIT 1"
    ).fetchone()
    return None if row is None else str(row[0])


def listing(db: Connection, run_id: str | None = None, limit: int = 100) -> tuple[OrderRow, ...]:
    """Return the newest ``limit`` orders, newest first; of one run if given."""
    found = db.execute(
        f"{_SELECT} WHERE run_id = ifnull(:run_id, run_id)"
        " ORDER BY created_at DESC, attempt DESC, sequence DESC LIMIT :limit",
        {"run_id": run_id, "limit": limit},
    )
    return tuple(parse_row(row) for row in found)


def all_sent(db: Connection) -> tuple[OrderRow, ...]:
    """Return every order that was ever journalled for sending, oldest first."""
    found = db.execute(f"{_SELECT} WHERE sent_at IS NOT NULL ORDER BY sent_at, ib_order_id")
    return tuple(parse_row(row) for row in found)


def over_filled(db: Connection) -> tuple[OrderRow, ...]:
    """Return every order of which more was filled than ordered, in the order they were sent."""
    found = db.execute(
        f"{_SELECT} WHERE CAST(filled_quantity AS REAL) > CAST(quantity AS REAL)"
        " ORDER BY sent_at, ib_order_id"
    )
    rows = tuple(parse_row(row) for row in found)
    return tuple(row for row in rows if row.order.filled_quantity > row.order.quantity)


def filled_though_denied(db: Connection) -> tuple[OrderRow, ...]:
    """Return every order that never left, by the ledger, and was filled all the same."""
    found = db.execute(f"{_SELECT} WHERE reject_source = 'ibloop' AND filled_quantity <> '0'")
    return tuple(parse_row(row) for row in found)


def max_ib_order_id(db: Connection) -> int:
    """Return the highest order id ever journalled; 0 before the first."""
    return int(db.execute("SELECT ifnull(max(ib_order_id), 0) FROM trade_orders").fetchone()[0])


def sent_today(db: Connection, since: datetime) -> SentTotals:
    """Return count and value of the orders journalled for sending at or after ``since``.

    Value is quantity times limit price (or arrival price without a limit), whatever became of
    the order: limits bound what was let out, not what was filled (promise P8).
    """
    count, joined = db.execute(_SENT_SINCE, (time_text(since),)).fetchone()
    return SentTotals(count, sum(map(_value, _split(count, joined)), ZERO))


@remembered
def _value(text: str) -> Decimal:
    quantity, price = map(parse_decimal, text.split())
    return quantity * price


def sent_count(db: Connection, run_id: str) -> int:
    """Return how many orders of a run were journalled for sending, in all its attempts."""
    sql = "SELECT count(*) FROM trade_orders WHERE run_id = ? AND sent_at IS NOT NULL"
    return int(db.execute(sql, (run_id,)).fetchone()[0])


def sent_count_after(db: Connection, moment: datetime) -> int:
    """Return how many orders of whatever run were journalled for sending after ``moment``."""
    sql = "SELECT count(*) FROM trade_orders WHERE sent_at > ?"
    return int(db.execute(sql, (time_text(moment),)).fetchone()[0])


def working_symbols(db: Connection) -> frozenset[str]:
    """Return the symbols for which the broker holds, or may hold, a live order of ours."""
    return frozenset(row.order.symbol for row in in_states(db, ORDER_AT_BROKER))


def values_of(row: OrderRow) -> dict[str, object]:
    """Return the row as named parameters for all of :data:`COLUMNS`."""
    order = row.order
    return {
        "client_order_id": order.client_order_id,
        "run_id": order.run_id,
        "attempt": row.attempt,
        "sequence": row.sequence,
        "symbol": order.symbol,
        "con_id": order.con_id,
        "side": order.side.value,
        "quantity": decimal_text(order.quantity),
        "order_type": order.order_type.value,
        "limit_price": optional(decimal_text, order.limit_price),
        "tif": order.tif.value,
        "good_till": time_text(order.good_till),
        "status": str(order.status),
        "filled_quantity": decimal_text(order.filled_quantity),
        "avg_fill_price": optional(decimal_text, order.avg_fill_price),
        "ib_order_id": order.ib_order_id,
        "perm_id": order.perm_id,
        "reject_source": order.reject_source,
        "reject_code": order.reject_code,
        "reject_reason": order.reject_reason,
        "arrival_price": optional(decimal_text, row.arrival_price),
        "quote_seq": row.quote_seq,
        "quote_source": row.quote_source,
        "quote_at": optional(time_text, row.quote_at),
        "created_at": time_text(row.created_at),
        "sent_at": optional(time_text, order.sent_at),
        "updated_at": time_text(row.updated_at),
        "refusal_code": row.refusal.code if row.refusal else None,
        "refusal_text": row.refusal.text if row.refusal else None,
        "judgement": row.judgement,
        "judged_at": optional(time_text, row.judged_at),
        "algo": order.algo,
    }


def _first(db: Connection, condition: str, value: object) -> OrderRow | None:
    row = db.execute(f"{_SELECT} WHERE {condition} LIMIT 1", (value,)).fetchone()
    return None if row is None else parse_row(row)


def parse_row(found: Row) -> OrderRow:
    """Return a row of all :data:`COLUMNS`. Raises: LedgerError for a value in another form."""
    # By name from a dict: a Row compares the name with one column after the other.
    row: dict[str, Any] = dict(zip(COLUMNS, found, strict=True))
    return OrderRow(
        order=_order(row),
        attempt=row["attempt"],
        sequence=row["sequence"],
        arrival_price=optional(parse_decimal, row["arrival_price"]),
        quote_seq=row["quote_seq"],
        quote_source=row["quote_source"],
        quote_at=optional(parse_time, row["quote_at"]),
        created_at=parse_time(row["created_at"]),
        updated_at=parse_time(row["updated_at"]),
        refusal=_refusal(row),
        judgement=row["judgement"],
        judged_at=optional(parse_time, row["judged_at"]),
    )


def _refusal(row: Mapping[str, Any]) -> Refusal | None:
    code = row["refusal_code"]
    return None if code is None else Refusal(code, row["refusal_text"])


def _order(row: Mapping[str, Any]) -> Order:
    return Order(
        client_order_id=row["client_order_id"],
        run_id=row["run_id"],
        symbol=row["symbol"],
        con_id=row["con_id"],
        side=Side(row["side"]),
        quantity=parse_decimal(row["quantity"]),
        order_type=OrderType(row["order_type"]),
        limit_price=optional(parse_decimal, row["limit_price"]),
        tif=Tif(row["tif"]),
        good_till=parse_time(row["good_till"]),
        status=OrderState(row["status"]),
        filled_quantity=parse_decimal(row["filled_quantity"]),
        avg_fill_price=optional(parse_decimal, row["avg_fill_price"]),
        ib_order_id=row["ib_order_id"],
        perm_id=row["perm_id"],
        reject_source=row["reject_source"],
        reject_code=row["reject_code"],
        reject_reason=row["reject_reason"],
        sent_at=optional(parse_time, row["sent_at"]),
        algo=optional(Algo, row["algo"]),
    )
