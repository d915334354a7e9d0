"""``ibloop run``: what runs did and why; approve, retry and cancel them."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ibloop.cli.approving import approval_data, approval_page, approve
from ibloop.cli.common import (
    ANY_PATH,
    Context,
    emit,
    json_option,
    limit_option,
    operator,
    pass_context,
)
from ibloop.cli.run_why import risk_data, why
from ibloop.cli.terminal import coloured, facts, table, usd
from ibloop.errors import RefusedError

if TYPE_CHECKING:
    from ibloop.adapters.ledger.approvals import Approval
    from ibloop.adapters.ledger.connection import Connection
    from ibloop.adapters.ledger.runs import Run


PLAN_COLUMNS = {
    "SYMBOL": "symbol",
    "WEIGHT": "weight",
    "HELD": "baseline_quantity",
    "TARGET": "target_quantity",
    "PLANNED": "planned_quantity",
    "ACTUAL": "actual_quantity",
    "PRICE": "price",
    "NOTE": "note",
}
"""Planned differs from target by the rounding of the change, a minimum, or the cash there is."""


@click.group()
def run() -> None:
    """List, show, approve, retry and cancel runs."""


run.add_command(approve)
run.add_command(why)


@run.command("list")
@limit_option(20)
@json_option
@pass_context
def list_runs(context: Context, limit: int, as_json: bool) -> None:
    """List runs, newest first.

    \b
    Example:
      ibloop run list
    """
    from ibloop.adapters.ledger import runs

    with closing(context.open_readonly()) as db:
        rows = runs.listing(db, limit)
    lines = [(r.run_key, coloured(r.status), r.reason, r.detail, r.created_at) for r in rows]
    columns = ("RUN", "STATUS", "REASON", "DETAIL", "CREATED (UTC)")
    emit("runs", rows, as_json, lambda: table(columns, lines))


@run.command()
@click.argument("name", metavar="RUN")
@json_option
@pass_context
def show(context: Context, name: str, as_json: bool) -> None:
    """Show one run: gates, target against actual, orders.

    \b
    Example:
      ibloop run show 2026W47
    """
    from ibloop.adapters.ledger import approvals
    from ibloop.cli.lookup import run_named

    with closing(context.open_readonly()) as db:
        found = run_named(db, name)
        data = _details(db, found)
        asked = approvals.find(db, found.run_id, found.attempt)
    data["approval"] = approval_data(asked) if asked else None
    emit("run", data, as_json, lambda: _page(context, found, data, asked))


def _details(db: "Connection", found: "Run") -> dict[str, object]:
    from ibloop.adapters.ledger import orders, runs, snapshots
    from ibloop.cli.lookup import order_data

    pretrade = snapshots.pretrade_of(db, found.run_id)
    rows = [order_data(row) for row in orders.of_run(db, found.run_id)]
    filled: dict[object, object] = {}
    for row in orders.of_run(db, found.run_id, found.attempt):
        filled[row.order.symbol] = row.order.side.sign * row.order.filled_quantity
    lines = [
        {
            "symbol": line.symbol,
            "weight": line.weight,
            "baseline_quantity": line.baseline_quantity,
            "target_quantity": line.target_quantity,
            "planned_quantity": line.planned_quantity,
            "actual_quantity": line.baseline_quantity + filled.get(line.symbol, 0),  # type: ignore[operator]
            "price": line.price,
            "note": line.note,
        }
        for line in runs.plan_lines(db, found.run_id)
    ]
    risk, _ = risk_data(db, found)
    return {"run": found, "pretrade": pretrade, "plan": lines, "orders": rows, "risk": risk}


def _page(context: Context, found: "Run", data: dict[str, object], asked: "Approval | None") -> str:
    from ibloop.cli.orders import COLUMNS, order_line

    plan: list[dict[str, object]] = data["plan"]  # type: ignore[assignment]
    sent: list[dict[str, object]] = data["orders"]  # type: ignore[assignment]
    pages = [facts(_facts(context, found, data["pretrade"]))]
    if plan:
        rows = [[line[name] for name in PLAN_COLUMNS.values()] for line in plan]
        pages.append(table(tuple(PLAN_COLUMNS), rows, "Plan"))
    if asked is not None:
        pages.append(approval_page(asked))
    if sent:
        pages.append(table(COLUMNS, [order_line(order) for order in sent], "Orders"))
    return "\n\n".join(pages)


def _facts(context: Context, found: "Run", pretrade: object) -> list[tuple[str, str]]:
    from ibloop.adapters.ledger.snapshots import PreTrade
    from ibloop.core.lifecycle import REASON_ADVICE

    reason = f" ({found.reason})" if found.reason else ""
    advice = REASON_ADVICE.get(found.reason, "") if found.reason else ""
    asked = pretrade if isinstance(pretrade, PreTrade) else None
    gates: list[dict[str, object]] = asked.gates if asked else []  # type: ignore[assignment]
    failed = [gate for gate in gates if not gate["passed"]]
    basis = f"equity {usd(found.equity_usd)}, cash {usd(found.cash_usd)}"
    return [
        ("run", f"{found.run_key}  {coloured(found.status)}{reason}"),
        ("detail", found.detail),
        ("next", context.complete(advice, found.run_key)),
        ("created", f"{found.created_at:%F %T} UTC, attempt {found.attempt}, id {found.run_id}"),
        ("targets", asked.targets_path if asked else ""),
        ("snapshot", found.snapshot_id or ""),
        ("basis", basis if found.equity_usd is not None else ""),
        ("gates", "; ".join(f"{g['gate']}: {g['detail']}" for g in failed) or "all passed"),
    ]


@run.command()
@click.argument("name", metavar="RUN")
@click.option("--targets", "file", type=ANY_PATH, help="Another targets file.")
@json_option
@pass_context
def retry(context: Context, name: str, file: Path | None, as_json: bool) -> None:
    """Ask the gates about a blocked run again and queue it if they pass.

    The next attempt starts from the positions there are by then.

    \b
    Example:
      ibloop run retry 2026W47
    """
    from ibloop.adapters.host import SystemClock
    from ibloop.adapters.ledger import snapshots
    from ibloop.adapters.universe import load_universe
    from ibloop.cli.lookup import run_named
    from ibloop.cli.rebalance import exit_code
    from ibloop.cli.rebalance import show as show_request
    from ibloop.core.lifecycle import RunState
    from ibloop.daemons.pretrade import retry_run

    universe = load_universe(context.profile)
    with closing(context.open_ledger()) as ledger:
        found = run_named(ledger.db, name)
        if found.status is not RunState.BLOCKED:
            raise RefusedError(
                f"run {found.run_key} is {found.status}; only a blocked run is retried "
                "(an extra run of the week: `ibloop rebalance --key NAME`)"
            )
        before = snapshots.pretrade_of(ledger.db, found.run_id)
        path = file or Path(before.targets_path if before else context.config.targets.file)
        asked = retry_run(
            context.profile,
            ledger,
            universe,
            SystemClock(),
            run=found,
            targets_path=path.absolute(),
            requested_by=operator(),
        )
    show_request(context, asked.run, asked.gates, as_json)
    raise SystemExit(exit_code(asked.run, waited=False, existed=False))


@run.command()
@click.argument("name", metavar="RUN")
@pass_context
def cancel(context: Context, name: str) -> None:
    """End a run: nothing more of it is sent, and what works is cancelled.

    A run under way is ended by the executor, which must be running.

    \b
    Example:
      ibloop run cancel 2026W47
    """
    from ibloop.adapters.ledger import commands, orders, runs
    from ibloop.adapters.streamfiles import wake
    from ibloop.cli.lookup import run_named
    from ibloop.core.lifecycle import (
        RUN_TERMINAL,
        OrderEvent,
        OrderState,
        RunReason,
        RunState,
        may_move,
    )
    from ibloop.daemons.executing.run_commands import CANCEL_RUN

    by, now = operator(), datetime.now(UTC)
    with closing(context.open_ledger()) as ledger, ledger.transaction() as tx:
        found = run_named(tx.db, name)
        if found.status in RUN_TERMINAL:
            raise RefusedError(f"run {found.run_key} has ended: {found.status}")
        at_once = may_move(found.status, RunState.CANCELED) and found.status in {
            RunState.QUEUED,
            RunState.BLOCKED,
            RunState.AWAITING_APPROVAL,
        }
        if at_once:
            runs.move(
                tx,
                found.run_id,
                found.status,
                RunState.CANCELED,
                reason=RunReason.CANCELED_BY_OPERATOR,
                detail=f"canceled by {by} while {found.status}",
                now=now,
                actor=by,
            )
            for row in orders.of_run(tx.db, found.run_id, found.attempt):
                if row.order.status == OrderState.PLANNED:
                    ref = row.order.client_order_id
                    orders.apply(tx, ref, OrderEvent.ABANDON, now=now, actor=by)
        else:
            commands.request(tx, CANCEL_RUN, {"run_id": found.run_id}, by, now)
    wake(context.profile.stream_dir)
    said = "canceled" if at_once else "asked the executor to end it; see `ibloop run show RUN`"
    context.tell(f"run {found.run_key}: {said}", found.run_key)
