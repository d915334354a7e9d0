"""``ibloop fills``: every execution, once."""

from contextlib import closing

import click

from ibloop.cli.common import Context, emit, json_option, limit_option, pass_context
from ibloop.cli.terminal import table


@click.group()
def fills() -> None:
    """List executions."""


@fills.command("list")
@click.option("--run", "run_name", help="Only fills of this run (key or id).")
@limit_option(100)
@json_option
@pass_context
def list_fills(context: Context, run_name: str | None, limit: int, as_json: bool) -> None:
    """List executions, newest first; foreign ones have no order.

    \b
    Example:
      ibloop fills list
    """
    from ibloop.adapters.ledger import fills as ledger_fills
    from ibloop.cli.lookup import run_named

    with closing(context.open_readonly()) as db:
        if run_name:
            rows = ledger_fills.of_run(db, run_named(db, run_name).run_id)[::-1][:limit]
        else:
            rows = ledger_fills.listing(db, limit)
    lines = [
        (f.executed_at, f.symbol, f.side, f.quantity, f.price, f.commission, f.client_order_id)
        for f in rows
    ]
    columns = ("EXECUTED (UTC)", "SYMBOL", "SIDE", "QUANTITY", "PRICE", "COMMISSION", "ORDER")
    emit("fills", rows, as_json, lambda: table(columns, lines))
