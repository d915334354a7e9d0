"""Comparing ledger and broker when a run has come to rest: the promises, asked of both."""

from ibloop.adapters.ledger import fills, orders, runs
from ibloop.adapters.ledger.connection import Connection
from ibloop.adapters.ledger.runs import Run
from ibloop.core import promises
from ibloop.core.invariant import present
from ibloop.core.model import Evidence


def broken_promises(
    db: Connection, run: Run, evidence: Evidence, account: str
) -> tuple[promises.Broken, ...]:
    """Return the broken promises about the whole account and about this run's positions."""
    lines = runs.plan_lines(db, run.run_id, run.attempt)
    baseline = {line.symbol: line.baseline_quantity for line in lines}
    since = fills.recorded_after(db, present(run.baseline_at, "baseline"))
    return (
        *promises.check(
            [row.order for row in orders.all_sent(db)],
            [_as_fill(fill) for fill in fills.everything(db)],
            (*evidence.open_orders, *evidence.completed_orders),
            evidence.executions,
            account,
        ),
        *promises.position_breaks(baseline, [_as_fill(f) for f in since], evidence.positions),
    )


def _as_fill(fill: fills.Fill) -> promises.Fill:
    return promises.Fill(
        fill.exec_id, fill.client_order_id, fill.symbol, fill.side.sign * fill.quantity
    )
