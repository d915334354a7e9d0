"""What the ledger tells of the whole loop at one moment: the half of the overview with SQL in it.

All of it is read in one transaction, with a number of queries that does not grow with the rows.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal

from ibloop.adapters.ledger import (
    account,
    alerts,
    arming,
    fills,
    freezes,
    guard_state,
    halts,
    orders,
    runs,
    snapshots,
)
from ibloop.adapters.ledger.alerts import Alert
from ibloop.adapters.ledger.connection import Connection
from ibloop.adapters.ledger.fills import Fill
from ibloop.adapters.ledger.freezes import FreezeRow
from ibloop.adapters.ledger.guard_state import GuardRow
from ibloop.adapters.ledger.halts import Halt
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.ledger.snapshots import PreTrade
from ibloop.core.arming import Arming
from ibloop.core.lifecycle import ORDER_TERMINAL, OrderState, RunState
from ibloop.core.model import ZERO, Position
from ibloop.core.orders import PlanLine

GUARD_BEHIND_S_MAX = 60.0

_ORDERS_BY_RUN = """
SELECT o.run_id, o.status, count(*) FROM trade_orders o
JOIN trade_runs r ON r.run_id = o.run_id AND r.attempt = o.attempt
WHERE o.run_id IN (SELECT value FROM json_each(?)) GROUP BY 1, 2"""
_FILLS_BY_RUN = """
SELECT o.run_id, count(*) FROM trade_fills f
JOIN trade_orders o ON o.client_order_id = f.client_order_id
WHERE o.run_id IN (SELECT value FROM json_each(?)) GROUP BY 1"""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many rows of each noun to read, newest first."""

    runs: int = 6
    orders: int = 12
    fills: int = 12
    alerts: int = 6


@dataclass(frozen=True, slots=True)
class Equity:
    """The newest valuation of the account, USD: the guard's at present prices, or the broker's."""

    equity: Decimal
    source: str
    as_of: datetime


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run with the orders of its last attempt counted by status, and all its fills counted."""

    run: Run
    orders: Mapping[str, int]
    fills: int

    @property
    def total(self) -> int:
        """Return the number of orders."""
        return sum(self.orders.values())

    @property
    def ended(self) -> int:
        """Return the number of orders that will not change any more, late fills aside."""
        return sum(self.orders.get(state, 0) for state in ORDER_TERMINAL)


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows counted over the ledger's whole life."""

    runs: Mapping[str, int]
    orders: Mapping[str, int]
    fills: int


@dataclass(frozen=True, slots=True)
class LedgerView:
    """What the ledger says now. USD; ``None`` is what was never recorded.

    ``current`` is the run under way, else the one queued, else the last one.
    """

    halts: tuple[Halt, ...]
    equity: Equity | None
    cash: Decimal | None
    guard: GuardRow | None
    current: RunLine | None
    runs: tuple[RunLine, ...]
    orders: tuple[OrderRow, ...]
    unknown: tuple[OrderRow, ...]
    fills: tuple[Fill, ...]
    positions: tuple[Position, ...]
    positions_as_of: datetime | None
    alerts: tuple[Alert, ...]
    undelivered: int
    tally: Tally
    arming: Arming | None = None
    frozen: tuple[FreezeRow, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedLine:
    """A line of a run's plan and what came of it: ``actual_quantity`` counts this run's fills."""

    line: PlanLine
    actual_quantity: Decimal


@dataclass(frozen=True, slots=True)
class RunDetails:
    """One run in full: gates, target against actual, every order of every attempt, fills."""

    line: RunLine
    pretrade: PreTrade | None
    plan: tuple[PlannedLine, ...]
    orders: tuple[OrderRow, ...]
    fills: tuple[Fill, ...]


def read_ledger(db: Connection, limits: Limits) -> LedgerView:
    """Return the view; the caller has begun the transaction that makes it one moment."""
    values = account.values(db)
    listed = runs.listing(db, limits.runs)
    now = _current(db)
    lines = {line.run.run_id: line for line in _lines(db, {*listed, *([now] if now else [])})}
    return LedgerView(
        halts=halts.active(db),
        equity=newest_equity(db),
        cash=values.total_cash if values else None,
        guard=guard_state.last(db),
        current=lines[now.run_id] if now else None,
        runs=tuple(lines[run.run_id] for run in listed),
        orders=orders.listing(db, None, limits.orders),
        unknown=orders.in_states(db, {OrderState.UNKNOWN}),
        fills=fills.listing(db, limits.fills),
        positions=account.positions(db),
        positions_as_of=account.positions_as_of(db),
        alerts=alerts.listing(db, limits.alerts),
        undelivered=alerts.waiting_count(db),
        tally=_tally(db),
        arming=arming.current(db),
        frozen=freezes.standing(db),
    )


def read_run(db: Connection, name: str) -> RunDetails | None:
    """Return everything about the run with this id or key, ``None`` when there is none."""
    run = runs.find(db, name)
    if run is None:
        return None
    (line,) = _lines(db, {run})
    rows = orders.of_run(db, run.run_id)
    filled: dict[str, Decimal] = {}
    for row in rows:
        if row.attempt == run.attempt:
            order = row.order
            done = filled.get(order.symbol, ZERO) + order.side.sign * order.filled_quantity
            filled[order.symbol] = done
    plan = (
        PlannedLine(planned, planned.baseline_quantity + filled.get(planned.symbol, ZERO))
        for planned in runs.plan_lines(db, run.run_id)
    )
    return RunDetails(
        line=line,
        pretrade=snapshots.pretrade_of(db, run.run_id),
        plan=tuple(plan),
        orders=rows,
        fills=fills.of_run(db, run.run_id)[::-1],
    )


def newest_equity(db: Connection) -> Equity | None:
    """Return what the account is worth: by the guard, or by the broker where the guard is behind.

    The broker's figure is pushed to the executor every few minutes and may be older than it
    looks; the guard's is made of present prices.
    """
    values, verdict = account.values(db), guard_state.last(db)
    by_broker = Equity(values.net_liquidation, "broker", values.as_of) if values else None
    if verdict is None or verdict.equity is None:
        return by_broker
    by_guard = Equity(verdict.equity, "guard", verdict.evaluated_at)
    behind_s = (by_broker.as_of - by_guard.as_of).total_seconds() if by_broker else 0
    return by_guard if behind_s <= GUARD_BEHIND_S_MAX else by_broker


def order_data(row: OrderRow) -> dict[str, object]:
    """Return an order row as one flat object, named as the ledger's columns."""
    data: dict[str, object] = {f.name: getattr(row.order, f.name) for f in fields(row.order)}
    return data | {f.name: getattr(row, f.name) for f in fields(row) if f.name != "order"}


def alert_data(alert: Alert) -> dict[str, object]:
    """Return an alert as one flat object, named as the ledger's columns, with its ``state``."""
    return {f.name: getattr(alert, f.name) for f in fields(alert)} | {"state": alert.state.value}


def _current(db: Connection) -> Run | None:
    for found in (runs.active(db), runs.listing(db, 1, RunState.QUEUED), runs.listing(db, 1)):
        if found:
            return found[0]
    return None


def _lines(db: Connection, wanted: Collection[Run]) -> list[RunLine]:
    """Return the runs with their orders and fills counted, in two queries for all of them."""
    ids = json.dumps([run.run_id for run in wanted])
    by_status: dict[str, dict[str, int]] = {}
    for run_id, status, count in db.execute(_ORDERS_BY_RUN, (ids,)):
        by_status.setdefault(run_id, {})[status] = count
    by_run: dict[str, int] = {row[0]: row[1] for row in db.execute(_FILLS_BY_RUN, (ids,))}
    return [
        RunLine(run, by_status.get(run.run_id, {}), by_run.get(run.run_id, 0)) for run in wanted
    ]


def _tally(db: Connection) -> Tally:
    def by_status(table: str) -> dict[str, int]:
        sql = f"SELECT status, count(*) FROM {table} GROUP BY status"  # noqa: S608  (two names)
        return {row[0]: row[1] for row in db.execute(sql)}

    count = int(db.execute("SELECT count(*) FROM trade_fills").fetchone()[0])
    return Tally(by_status("trade_runs"), by_status("trade_orders"), count)
