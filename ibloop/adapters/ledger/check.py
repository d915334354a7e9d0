"""What must be true of the whole ledger, whoever wrote it: read only, changes nothing."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ibloop.adapters.ledger import acceptances, audit, fills, order_rows
from ibloop.adapters.ledger.connection import Connection, DatabaseError
from ibloop.adapters.ledger.identity import identity
from ibloop.core import promises
from ibloop.core.lifecycle import ORDER_NEVER_SENT, OrderState, RunState
from ibloop.errors import LedgerError

_ALL_ROWS = -1  # SQLite's LIMIT without a limit


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: which check found it, with which row, and what."""

    check: str
    subject: str
    text: str


def check(db: Connection) -> tuple[Problem, ...]:
    """Return everything that is wrong with the ledger; empty for a sound one.

    Damage, or a value no reader accepts, ends the search: what it would find further on means
    nothing.
    """
    for stage in _STAGES:
        found = tuple(problem for search in stage for problem in search(db))
        if found:
            return found
    return ()


def _pages(db: Connection) -> Iterator[Problem]:
    try:
        found = [str(row[0]) for row in db.execute("PRAGMA integrity_check")]
    except DatabaseError as error:  # some damage ends even this
        found = [str(error)]
    for text in found:
        if text != "ok":
            yield Problem("integrity", "file", text)


def _references(db: Connection) -> Iterator[Problem]:
    for row in db.execute("PRAGMA foreign_key_check"):
        yield Problem("references", f"{row[0]} row {row[1]}", f"refers to no row of {row[2]}")


def _identity(db: Connection) -> Iterator[Problem]:
    try:
        identity(db)
    except LedgerError as error:
        yield Problem("identity", "ledger_identity", str(error))


def _audit_chain(db: Connection) -> Iterator[Problem]:
    verdict = audit.verify(db)
    if not verdict.is_whole:
        yield Problem("audit", f"audit_log row {verdict.broken_seq}", verdict.reason)


def _states(db: Connection) -> Iterator[Problem]:
    runs = db.execute("SELECT run_id, status FROM trade_runs ORDER BY run_id")
    orders = db.execute("SELECT client_order_id, status FROM trade_orders ORDER BY client_order_id")
    legal_runs, legal_orders = set(RunState), set(OrderState)
    for rows, legal in ((runs, legal_runs), (orders, legal_orders)):
        for subject, status in rows:
            if status not in legal:
                yield Problem("states", subject, f"no such state: {status!r}")


def _values(db: Connection) -> Iterator[Problem]:
    readers: tuple[Callable[[Connection], object], ...] = (_all_orders, _all_fills)
    for reader in readers:
        try:
            reader(db)
        except (LedgerError, ValueError) as error:
            yield Problem("values", "orders and fills", str(error))


def _snapshots(db: Connection) -> Iterator[Problem]:
    """Compare each frozen decision with the hash that names it."""
    for row in db.execute("SELECT snapshot_id, content_hash, content FROM decision_snapshots"):
        if hashlib.sha256(row["content"].encode()).hexdigest() != row["content_hash"]:
            yield Problem("snapshots", row["snapshot_id"], "its content is not what was hashed")


def _promises(db: Connection) -> Iterator[Problem]:
    """Ask the promises that need no broker: every execution once, none too many."""
    executed = [
        promises.Fill(fill.exec_id, fill.client_order_id, fill.symbol, fill.signed_quantity)
        for fill in _all_fills(db)
    ]
    orders = [row.order for row in _all_orders(db)]
    account, known = identity(db).account, acceptances.accepted(db)
    for broken in promises.check(orders, executed, (), (), account, known):
        yield Problem("promises", broken.promise, broken.detail)
    for order in orders:
        if order.client_order_id in known.references:
            continue
        if order.filled_quantity and order.status in ORDER_NEVER_SENT:
            yield Problem(
                "promises", "P2", f"{order.client_order_id} is {order.status}, but filled"
            )


def _executions(db: Connection) -> Iterator[Problem]:
    """Compare each execution with its own id and with the order it names."""
    orders = {row.order.client_order_id: row.order for row in _all_orders(db)}
    seen: set[str] = set()
    for fill in _all_fills(db):
        if fill.exec_id in seen:
            yield Problem("executions", fill.exec_id, "recorded twice (promise P3)")
        seen.add(fill.exec_id)
        if promises.exec_base(fill.exec_id) != fill.exec_base:
            yield Problem("executions", fill.exec_id, f"filed under {fill.exec_base}")
        order = orders.get(fill.client_order_id or "")
        if order and (fill.side, fill.con_id) != (order.side, order.con_id):
            yield Problem("executions", fill.exec_id, "of another side or contract than its order")


def _all_orders(db: Connection) -> tuple[order_rows.OrderRow, ...]:
    return order_rows.listing(db, limit=_ALL_ROWS)


def _all_fills(db: Connection) -> tuple[fills.Fill, ...]:
    return fills.listing(db, _ALL_ROWS)


_STAGES: tuple[tuple[Callable[[Connection], Iterator[Problem]], ...], ...] = (
    (_pages,),
    (_references, _identity, _audit_chain, _states),
    (_values,),
    (_snapshots, _promises, _executions),
)
