"""``ibloop orders``: the orders of runs and what became of them."""

from contextlib import closing

import click

from ibloop.cli.common import Context, emit, json_option, limit_option, pass_context
from ibloop.cli.terminal import coloured, table


@click.group()
def orders() -> None:
    """List the orders of runs."""


@orders.command("list")
@click.option("--run", "run_name", help="Only orders of this run (key or id).")
@limit_option(100)
@json_option
@pass_context
def list_orders(context: Context, run_name: str | None, limit: int, as_json: bool) -> None:
    """List orders, newest first.

    \b
    Example:
      ibloop orders list --run 2026W47
    """
    from ibloop.adapters.ledger import orders as ledger_orders
    from ibloop.cli.lookup import order_data, run_named

    with closing(context.open_readonly()) as db:
        run_id = run_named(db, run_name).run_id if run_name else None
        rows = ledger_orders.listing(db, run_id, limit)
    data = [order_data(row) for row in rows]
    emit("orders", data, as_json, lambda: table(COLUMNS, [order_line(d) for d in data]))


COLUMNS = ("ORDER", "SIDE", "QUANTITY", "LIMIT", "STATUS", "FILLED", "AVG PRICE", "WHY")


def order_line(data: dict[str, object]) -> list[object]:
    """Return an order as one row under :data:`COLUMNS`."""
    return [
        data["client_order_id"],
        data["side"],
        data["quantity"],
        data["limit_price"],
        coloured(data["status"]),
        data["filled_quantity"],
        data["avg_fill_price"],
        _why(data),
    ]


def _why(data: dict[str, object]) -> str:
    """Return who refused an order, by which code and with which words; empty when nobody did."""
    if data["reject_source"] is None:
        return ""
    return f"{data['reject_source']} {data['reject_code']}: {data['reject_reason']}"
