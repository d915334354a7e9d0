"""``ibloop rebalance --dry-run``: the plan as it would be made now, from what the daemons wrote."""

from contextlib import closing
from pathlib import Path

import click

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ledger import account
from ibloop.adapters.streamfiles import QuoteReader
from ibloop.adapters.universe import Universe
from ibloop.cli.common import Context, emit
from ibloop.cli.lookup import gate_data
from ibloop.cli.terminal import table
from ibloop.cli.verdicts import verdict_data
from ibloop.core.gates import check_gates, first_failed
from ibloop.core.model import Evidence, Moment
from ibloop.core.orders import Plan
from ibloop.core.planning import OrderTerms, planned_orders
from ibloop.core.risk import breaches
from ibloop.core.stream import names
from ibloop.daemons.executing.run_planner import RunPlanner
from ibloop.daemons.pretrade import decide, gate_rules, observe, read_targets
from ibloop.errors import NotRunningError


def show_preview(
    context: Context, universe: Universe, clock: SystemClock, path: Path, as_json: bool
) -> None:
    """Print gates, plan and orders as a run would have them now; write nothing.

    Raises: NotRunningError when the executor has never read the account.
    """
    profile, now = context.profile, clock.now()
    reading, as_of = read_targets(path, universe, profile.config.limits)
    snapshot = decide(profile, universe, reading, as_of, path)
    with closing(context.open_readonly()) as db:
        gates = check_gates(observe(profile, db, now, as_of, None), now, gate_rules(profile))
        values, held = account.values(db), account.positions(db)
        if values is None or values.net_liquidation <= 0:
            raise NotRunningError("the account was never read; start the executor first")
        planner = RunPlanner(
            profile.config, db, QuoteReader(profile.stream_dir), universe.instruments
        )
        evidence = Evidence(values.as_of, values, held, (), (), ())
        plan = planner.plan(snapshot.content(), evidence, now)
        awaited = planner.awaited(snapshot.content(), evidence, now)
        refused = breaches(planner.verdicts(plan, evidence, now))
    planned = planned_orders(
        plan, universe.instruments, profile.config.limits, _terms(context, now)
    )
    orders = [one.order for one in planned]
    told = [verdict_data(verdict) for verdict in refused]
    data = {
        "gates": gate_data(gates),
        "breaches": told,
        "awaited": awaited,
        "lines": plan.lines,
        "orders": orders,
    }
    emit("preview", data, as_json, lambda: _page(plan))
    if failed := first_failed(gates):
        click.echo(f"would be blocked: {failed.reason}: {failed.detail}", err=True)
    for breach in refused:
        click.echo(f"would be blocked: limit_breached: {breach}", err=True)
    wait_s_max = profile.config.execution.quote_wait_s_max
    if awaited and wait_s_max:
        text = f"would wait for prices, {wait_s_max:g} s at most: {names(awaited)}"
        click.echo(text, err=True)
    for order in orders:
        if order.reject_reason:
            click.echo(f"would be rejected: {order.symbol}: {order.reject_reason}", err=True)


def _terms(context: Context, now: Moment) -> OrderTerms:
    execution = context.config.execution
    return OrderTerms(
        run_id="preview",
        run_key="preview",
        attempt=0,
        order_type=execution.order_type,
        tif=execution.tif,
        good_till=now.utc,
        algo=context.config.order_algo,
    )


def _page(plan: Plan) -> str:
    columns = ("SYMBOL", "WEIGHT", "HELD", "TARGET", "PLANNED", "PRICE", "NOTE")
    rows = [
        (
            line.symbol,
            line.weight,
            line.baseline_quantity,
            line.target_quantity,
            line.planned_quantity,
            line.price,
            line.note,
        )
        for line in plan.lines
    ]
    return table(columns, rows)
