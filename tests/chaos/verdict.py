"""Ledger against truth: what must be so when everything has come to rest, and what always."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ibloop.adapters.ledger import account, audit, fills, orders
from ibloop.adapters.ledger.audit import AuditRow
from ibloop.adapters.ledger.connection import Connection, open_readonly
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.core.lifecycle import ORDER_NEVER_SENT, OrderState
from ibloop.core.promises import exec_base
from ibloop.core.snapshot import is_ours
from tests.e2e.conftest import broken_promises, decimal, same, sent_twice

STATES = {
    "Filled": {"filled"},
    "Cancelled": {"canceled", "expired"},
    "Inactive": {"rejected"},
}
"""How an order that has ended at the broker may be called by the ledger."""
ENDED = frozenset({OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED})
"""States by which the ledger says that the broker has ended an order."""
ROUNDED = timedelta(milliseconds=100)
"""By how much the ledger's time of an end may be before the broker's: both are rounded."""
AUDIT_ROWS_MAX = 1_000_000
LATE = timedelta(seconds=1)
"""How much later than it was sent the simulator may come to read a frame on a busy machine."""


@dataclass(frozen=True, slots=True)
class Halted:
    """From when on nothing more could leave, by the wall clock, until when."""

    since: datetime
    until: datetime


def always(truth: Mapping[str, Any], halted: Sequence[Halted] = ()) -> list[str]:
    """Return what is wrong whenever one looks: an order sent twice, or sent while halted."""
    return [
        *(f"P1: {ref} was sent twice" for ref in sent_twice(truth)),
        *(
            f"P7: {frame['orderRef']} reached the broker at {frame['received_at']}, halted "
            f"since {halt.since.isoformat()}"
            for frame in _placed(truth)
            for halt in halted
            if halt.since + LATE < datetime.fromisoformat(frame["received_at"]) < halt.until
        ),
    ]


def ends_told(ledger: Path) -> list[AuditRow]:
    """Return the rows by which the ledger has told the end of an order, at any time."""
    with closing(open_readonly(ledger)) as db:
        rows = audit.rows(db, AUDIT_ROWS_MAX)
    return [row for row in rows if row.event == "order.moved" and row.payload["to"] in ENDED]


def ended_early(told: Sequence[AuditRow], truth: Mapping[str, Any]) -> Iterator[str]:
    """Tell the orders whose end was told before there was one.

    Args: what the ledger has told, read before the truth.
    """
    theirs = {order["orderRef"]: order for order in truth["orders"]}
    for row in told:
        order = theirs.get(row.subject)
        ended = order and order["completedAt"] and datetime.fromisoformat(order["completedAt"])
        if order and (not ended or row.at < ended - ROUNDED):
            state = f"{order['status']} since {ended}" if ended else order["status"]
            yield f"{row.subject} was called {row.payload['to']} at {row.at}, and is {state}"


def at_rest(ledger: Path, truth: Mapping[str, Any]) -> list[str]:
    """Return every difference between the ledger and a broker at which nothing works any more."""
    promised = [f"{b.promise}: {b.detail}" for b in broken_promises(ledger, truth)]
    with closing(open_readonly(ledger)) as db:
        rows = {row.order.client_order_id: row for row in orders.all_sent(db)}
        return [
            *promised,
            *_frames(rows, truth),
            *_states(rows, truth),
            *_executions(db, truth),
            *_positions(db, truth),
            *_journalled_under_a_halt(db),
        ]


def _placed(truth: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [frame for frame in truth["frames"] if frame["kind"] == "placeOrder"]


def _frames(rows: Mapping[str, OrderRow], truth: Mapping[str, Any]) -> Iterator[str]:
    """Whatever left had been journalled, and left as it was journalled."""
    known = {order["orderRef"] for order in truth["orders"]}
    for frame in _placed(truth):
        ref = frame["orderRef"]
        row = rows.get(ref)
        if row is None:
            yield f"P2: {ref} left without a journal entry"
            continue
        order = row.order
        left = (frame["orderId"], frame["action"], frame["symbol"])
        if (order.ib_order_id, order.side, order.symbol) != left:
            yield f"P2: {ref} left as {left}"
        if not same(order.quantity, frame["totalQuantity"]):
            yield f"P2: {ref} left with {frame['totalQuantity']}, journalled {order.quantity}"
        if not same(order.limit_price, frame["lmtPrice"]):
            yield f"P2: {ref} left at {frame['lmtPrice']}, journalled {order.limit_price}"
        if ref in known and order.status in ORDER_NEVER_SENT:
            yield f"P2: {ref} works at the broker, the ledger says {order.status}"
    ids = Counter(frame["orderId"] for frame in _placed(truth))
    yield from (f"P1: order id {key} was used {n} times" for key, n in ids.items() if n > 1)


def _states(rows: Mapping[str, OrderRow], truth: Mapping[str, Any]) -> Iterator[str]:
    """Both sides tell the same end of every order, with the same shares and permId."""
    for theirs in truth["orders"]:
        ref, row = theirs["orderRef"], rows.get(theirs["orderRef"])
        if row is None:
            yield f"P2: the broker knows {ref}, the ledger does not"
            continue
        mine = row.order
        if mine.status not in STATES.get(theirs["status"], set()):
            yield f"{ref} is {theirs['status']} at the broker, {mine.status} in the ledger"
        if not same(mine.filled_quantity, theirs["filled"]):
            yield f"{ref}: {theirs['filled']} filled at the broker, {mine.filled_quantity} known"
        # A fill that comes before any other callback ends an order without its permId.
        early = mine.perm_id is None and mine.status == "filled"
        if mine.perm_id != theirs["permId"] and not early:
            yield f"{ref} has permId {theirs['permId']} at the broker, {mine.perm_id} in the ledger"
    there = {order["orderRef"] for order in truth["orders"]}
    for ref, row in rows.items():
        if ref not in there and row.order.status not in {"not_sent", "rejected"}:
            yield f"{ref} is {row.order.status}, the broker never had it"


def _executions(db: Connection, truth: Mapping[str, Any]) -> Iterator[str]:
    """Every execution is there once, with its shares, price and commission, and no other."""
    mine = {fill.exec_base: fill for fill in fills.everything(db)}
    theirs = {exec_base(row["execId"]): row for row in truth["executions"]}
    for base in sorted(mine.keys() - theirs.keys()):
        yield f"P3: the ledger has {mine[base].exec_id}, which never happened"
    for base, row in theirs.items():
        fill = mine.get(base)
        if fill is None:
            yield f"P3: execution {row['execId']} of {row['orderRef']} is lost"
            continue
        told = (fill.client_order_id, fill.symbol, fill.side.value)
        if is_ours(row["orderRef"]) and told != (row["orderRef"], row["symbol"], row["side"]):
            yield f"P3: {row['execId']} is recorded as {told}"
        for name, value, true in (
            ("shares", fill.quantity, row["shares"]),
            ("price", fill.price, row["price"]),
            ("commission", fill.commission, row["commission"]),
        ):
            if not same(value, true):
                yield f"P3: {name} of {row['execId']} are {true}, recorded as {value}"


def _positions(db: Connection, truth: Mapping[str, Any]) -> Iterator[str]:
    mine = {p.symbol: p.quantity for p in account.positions(db) if p.quantity}
    theirs = {row["symbol"]: decimal(row["quantity"]) for row in truth["positions"]}
    for symbol in sorted(mine.keys() | theirs.keys()):
        if mine.get(symbol) != theirs.get(symbol):
            yield f"P4: {theirs.get(symbol)} {symbol} held, the ledger says {mine.get(symbol)}"


def _journalled_under_a_halt(db: Connection) -> Iterator[str]:
    """No order was journalled after a halt was committed and before it was cleared (P7)."""
    halted = False
    for row in reversed(audit.rows(db, AUDIT_ROWS_MAX)):
        if row.event == "halt.requested":
            halted = halted or row.payload["level"] in {"pause", "kill"}
        elif row.event == "halt.cleared":
            halted = False
        elif row.event == "order.journalled" and halted:
            yield f"P7: {row.subject} was journalled under a halt"
