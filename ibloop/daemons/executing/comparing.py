"""Comparing ledger and broker: the promises, asked of both when a run begins and ends."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ibloop.adapters.ledger import acceptances, account, audit, fills, orders, runs
from ibloop.adapters.ledger.acceptances import Baseline
from ibloop.adapters.ledger.connection import Connection, Tx
from ibloop.adapters.ledger.runs import Run
from ibloop.core import promises
from ibloop.core.invariant import present
from ibloop.core.lifecycle import ORDER_AT_BROKER
from ibloop.core.model import ZERO, Evidence, Order, Position
from ibloop.core.recovery import shown_refs
from ibloop.errors import RefusedError

POSITIONS_AGE_S_MAX = 60.0
"""Older positions than this are not accepted by a person: they are not what is held."""
POSITION_LAG = timedelta(seconds=10)
"""How long positions may trail an execution at a real gateway."""


def broken_promises(
    db: Connection, run: Run, evidence: Evidence, account_id: str
) -> tuple[promises.Broken, ...]:
    """Return the broken promises about the account and about this run's positions.

    What no run has examined yet is: whatever has changed since one did, and all the broker shows.
    """
    sent, executed = _unexamined(db, evidence)
    lines = runs.plan_lines(db, run.run_id, run.attempt)
    baseline = {line.symbol: line.baseline_quantity for line in lines}
    since = fills.recorded_after(db, present(run.baseline_at, "baseline"))
    return (
        *promises.check(
            sent,
            executed,
            (*evidence.open_orders, *evidence.completed_orders),
            evidence.executions,
            account_id,
            acceptances.accepted(db),
        ),
        *promises.position_breaks(baseline, [_as_fill(f) for f in since], evidence.positions),
    )


def _unexamined(db: Connection, evidence: Evidence) -> tuple[list[Order], list[promises.Fill]]:
    """Return the sent orders that may break a promise, and their fills and the foreign ones.

    The audit log tells what has changed: it grows in one direction, whatever the clock does.
    """
    since = runs.examined_seq(db)
    shown = {promises.exec_base(e.exec_id) for e in evidence.executions}
    executed = fills.by_base(db, shown | audit.subjects_after(db, since, "fill"))
    refs = shown_refs(evidence) | audit.subjects_after(db, since, "order")
    refs |= {fill.client_order_id for fill in executed if fill.client_order_id is not None}
    sent = [row.order for row in orders.find_all(db, refs) if row.order.sent_at is not None]
    foreign = [fill for fill in executed if fill.client_order_id is None]
    return sent, [_as_fill(fill) for fill in (*fills.of_orders(db, refs), *foreign)]


def standing_breaks(
    db: Connection, seen: Sequence[Position] | None = None
) -> tuple[promises.Broken, ...]:
    """Return where positions are not what was there once plus every fill since (promise P4).

    Measured from the plan of the newest attempt or from what a person accepted, whichever is
    newer; nothing is expected before the first of them. Without ``seen`` the positions are those
    of the ledger, which say nothing as long as they may trail a fill.
    """
    baseline = newest_baseline(db)
    if baseline is None or (seen is None and may_trail(db)):
        return ()
    positions = account.positions(db) if seen is None else seen
    since = [_as_fill(fill) for fill in fills.recorded_after(db, baseline.at)]
    return promises.position_breaks(baseline.quantities, since, positions)


@dataclass(frozen=True, slots=True)
class ExplainedPosition:
    """Shares of one symbol: before, bought minus sold since, and held now."""

    symbol: str
    before: Decimal
    filled: Decimal
    held: Decimal

    @property
    def expected(self) -> Decimal:
        """Return what would be held if the fills were all there is."""
        return self.before + self.filled

    @property
    def difference(self) -> Decimal:
        """Return the shares that no fill explains."""
        return self.held - self.expected


def explained_positions(db: Connection) -> tuple[datetime | None, tuple[ExplainedPosition, ...]]:
    """Return since when positions are measured, and every one of them; no time before any run."""
    baseline = newest_baseline(db)
    if baseline is None:
        return None, ()
    filled = fills.signed(fills.recorded_after(db, baseline.at))
    held = {p.symbol: p.quantity for p in account.positions(db)}
    symbols = sorted({*baseline.quantities, *filled, *held})
    lines = (
        ExplainedPosition(
            symbol,
            baseline.quantities.get(symbol, ZERO),
            filled.get(symbol, ZERO),
            held.get(symbol, ZERO),
        )
        for symbol in symbols
    )
    return baseline.at, tuple(line for line in lines if line.before or line.filled or line.held)


def accept_positions(
    tx: Tx, symbols: Collection[str], *, reason: str, now: datetime, actor: str
) -> tuple[ExplainedPosition, ...]:
    """Accept what is held of these symbols although no fill explains it; return the differences.

    Fills count from the newest stamp in the ledger on: clocks of people may be wrong.
    Raises: RefusedError unless the symbols are exactly those that differ, the positions are fresh
    and nothing is under way.
    """
    since, lines = explained_positions(tx.db)
    different = tuple(line for line in lines if line.difference)
    if since is None or not different:
        raise RefusedError("the fills explain every position: there is nothing to accept")
    told = ", ".join(f"{x.symbol} {x.expected} expected, {x.held} held" for x in different)
    if set(symbols) != {line.symbol for line in different}:
        raise RefusedError(f"name every symbol that differs, and no other: {told}")
    if why := _cannot_accept(tx.db, now):
        raise RefusedError(f"{why}; {told}")
    acceptances.accept(
        tx,
        acceptances.AcceptanceKind.POSITIONS,
        ",".join(sorted(symbols)),
        {
            "quantities": {p.symbol: p.quantity for p in account.positions(tx.db)},
            "since": max(since, fills.last_recorded_at(tx.db) or since),
        },
        reason=reason,
        now=now,
        actor=actor,
    )
    return different


def _cannot_accept(db: Connection, now: datetime) -> str | None:
    """Return why positions cannot be accepted now."""
    as_of = account.positions_as_of(db)
    age_s = None if as_of is None else abs((now - as_of).total_seconds())
    if age_s is None or age_s > POSITIONS_AGE_S_MAX:
        return "the positions are not fresh: the executor must be running"
    if may_trail(db):
        return "a fill is newer than the positions: wait half a minute, try again"
    if orders.in_states(db, ORDER_AT_BROKER):
        return "an order still works or is unknown"
    return "a run is under way" if runs.active(db) else None


def may_trail(db: Connection) -> bool:
    """Return whether the ledger's positions may not show its newest fill yet."""
    filled_at, as_of = fills.last_recorded_at(db), account.positions_as_of(db)
    if filled_at is None:
        return as_of is None
    return as_of is None or as_of - filled_at < POSITION_LAG


def newest_baseline(db: Connection) -> Baseline | None:
    """Return what was held when it was last written down, ``None`` if it never was."""
    by_person = acceptances.positions_baseline(db)
    basis = runs.newest_basis(db)
    if basis is None:
        return by_person
    run_id, attempt, taken_at = basis
    # A baseline taken after the acceptance has a later stamp: see `accept_positions`.
    if by_person is not None and by_person.at >= taken_at:
        return by_person
    lines = runs.plan_lines(db, run_id, attempt)
    return Baseline(taken_at, {line.symbol: line.baseline_quantity for line in lines})


def _as_fill(fill: fills.Fill) -> promises.Fill:
    return promises.Fill(
        fill.exec_id, fill.client_order_id, fill.symbol, fill.side.sign * fill.quantity
    )
