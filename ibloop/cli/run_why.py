"""``ibloop run why``: what every check said of a run, with what it found and what is allowed."""

from contextlib import closing
from typing import TYPE_CHECKING

import click

from ibloop.cli.common import Context, emit, json_option, pass_context

if TYPE_CHECKING:
    from ibloop.adapters.ledger.connection import Connection
    from ibloop.adapters.ledger.risk import VerdictRow
    from ibloop.adapters.ledger.runs import Run


@click.command()
@click.argument("name", metavar="RUN")
@click.argument("symbol", required=False)
@click.option("--all", "whole", is_flag=True, help="What passed as well.")
@json_option
@pass_context
def why(context: Context, name: str, symbol: str | None, whole: bool, as_json: bool) -> None:
    """Say which checks refused a run, its plan or its orders, and what to do.

    With SYMBOL only of that symbol's orders. docs/reference/risk-checks.md explains each check.

    \b
    Examples:
      ibloop run why 2026W47
      ibloop run why 2026W47 SPY --all
    """
    from ibloop.cli.lookup import run_named

    with closing(context.open_readonly()) as db:
        found = run_named(db, name)
        data, rows = risk_data(db, found, symbol)
    data = {"run_key": found.run_key, "status": found.status, **data}
    emit("run_why", data, as_json, lambda: _page(found, rows, symbol, whole=whole))


def risk_data(
    db: "Connection", found: "Run", symbol: str | None = None
) -> tuple[dict[str, object], list["VerdictRow"]]:
    """Return what is kept of a run's checks for ``--json``, and the rows of it, oldest first.

    Of one symbol where it is given. ``limits`` are those of the run's last planned attempt,
    ``None`` before a plan.
    """
    from ibloop.adapters.ledger import orders, risk
    from ibloop.cli.verdicts import row_data

    rows = list(risk.verdict_rows(db, found.run_id))
    if symbol is not None:
        of_run = orders.of_run(db, found.run_id)
        mine = {r.order.client_order_id for r in of_run if r.order.symbol == symbol.upper()}
        rows = [row for row in rows if row.client_order_id in mine]
    basis = risk.basis_of(db, found.run_id, found.attempt)
    data: dict[str, object] = {
        "limits": basis.limits if basis else None,
        "settled_cash_usd": basis.settled_cash_usd if basis else None,
        "day_trades_left": basis.day_trades_left if basis else None,
        "checks": [row_data(row) for row in rows],
    }
    return data, rows


def _page(found: "Run", rows: list["VerdictRow"], symbol: str | None, *, whole: bool) -> str:
    from ibloop.cli.verdicts import verdict_table

    reason = f" ({found.reason}): {found.detail}" if found.reason else ""
    head = f"run {found.run_key} {found.status}{reason}"
    asked = f" of {symbol.upper()}" if symbol else ""
    if not rows:
        return f"{head}\nno checks{asked} are stored: none was asked"
    count = sum(len(row.verdicts) for row in rows)
    refused = sum(1 for row in rows for verdict in row.verdicts if not verdict.passed)
    tail = "" if whole else "; --all shows what passed"
    said = f"{count} checks{asked}, {refused} refused{tail}"
    if not refused and not whole:
        return f"{head}\n{said}"
    return f"{head}\n{said}\n\n{verdict_table(rows, refused_only=not whole)}"
