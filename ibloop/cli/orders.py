"""``ibloop orders``: the orders of runs, what became of them, and what a person decides."""

from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import click

from ibloop.cli.common import (
    Context,
    Reason,
    emit,
    json_option,
    limit_option,
    operator,
    pass_context,
)
from ibloop.cli.terminal import average, coloured, table
from ibloop.errors import RefusedError


@click.group()
def orders() -> None:
    """List, explain, cancel and resolve the orders of runs."""


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


@orders.command()
@click.argument("name", metavar="ORDER")
@json_option
@pass_context
def explain(context: Context, name: str, as_json: bool) -> None:
    """Tell all that is known of one order, and what can be done about it.

    ORDER is its reference, or the permId that TWS shows.

    \b
    Example:
      ibloop orders explain ibl:2026W47:AAPL:B:0
    """
    from ibloop.cli.resolving import explanation, order_named, page

    with closing(context.open_readonly()) as db:
        row = order_named(db, name)
        data = explanation(db, row, context.config, datetime.now(UTC))
    emit("order", data, as_json, lambda: page(data, row))


@orders.command()
@click.argument("name", metavar="ORDER")
@json_option
@pass_context
def show(context: Context, name: str, as_json: bool) -> None:
    """Show one order and its executions.

    ORDER is its reference, or the permId that TWS shows.

    \b
    Example:
      ibloop orders show ibl:2026W47:AAPL:B:0
    """
    from ibloop.adapters.ledger import fills as ledger_fills
    from ibloop.cli.lookup import order_data
    from ibloop.cli.resolving import order_named

    with closing(context.open_readonly()) as db:
        row = order_named(db, name)
        executed = ledger_fills.of_order(db, row.order.client_order_id)
    data = order_data(row)
    lines = [(f.exec_id, f.quantity, f.price, f.commission, f.executed_at) for f in executed]

    def page() -> str:
        pages = [table(COLUMNS, [order_line(data)])]
        return "\n\n".join([*pages, table(FILL_COLUMNS, lines, "Fills")] if lines else pages)

    emit("order", {"order": data, "fills": executed}, as_json, page)


@orders.command()
@click.argument("name", metavar="ORDER")
@click.option("--reason", type=Reason(), required=True, help="Why, for the audit log.")
@pass_context
def cancel(context: Context, name: str, reason: str) -> None:
    """Cancel one order; the others of its run go on.

    The executor does it, which must be running. An order that is not sent yet will not be sent,
    and no order cancelled like this is tried again by its run.

    \b
    Example:
      ibloop orders cancel ibl:2026W47:AAPL:B:0 --reason "merger announced"
    """
    from ibloop.adapters.ledger import commands
    from ibloop.adapters.streamfiles import wake
    from ibloop.cli.resolving import order_named
    from ibloop.core.lifecycle import ORDER_TERMINAL, OrderState
    from ibloop.daemons.executing.run_attempts import CANCEL_ORDER

    with closing(context.open_ledger()) as ledger, ledger.transaction() as tx:
        order = order_named(tx.db, name).order
        ref, status = order.client_order_id, order.status
        if status in ORDER_TERMINAL:
            raise RefusedError(f"order {ref} has ended: {status}")
        if status == OrderState.UNKNOWN:
            raise RefusedError(
                f"nobody knows whether {ref} is at the broker; see `ibloop orders explain {ref}`"
            )
        args = {"client_order_id": ref, "reason": reason}
        commands.request(tx, CANCEL_ORDER, args, operator(), datetime.now(UTC))
    wake(context.profile.stream_dir)
    told = f"asked the executor to cancel it; see `ibloop orders show {ref}`"
    context.tell(f"order {ref}: {told}")


class PositiveDecimal(click.ParamType[Decimal]):
    """A number above zero."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        """Return the number, or fail as click does."""
        try:
            number = Decimal(value)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or not 0 < number < Decimal(10) ** 12:
            self.fail(f"expected a number above 0, was {value}", param, ctx)
        return number


FATES = ("working", "filled", "canceled", "not-sent", "over-filled")


@orders.command()
@click.argument("name", metavar="ORDER")
@click.option("--as", "fate", type=click.Choice(FATES), required=True, help="What became of it.")
@click.option("--reason", type=Reason(), required=True, help="How you know.")
@click.option("--perm-id", type=click.IntRange(1), help="Its permId at the broker.")
@click.option(
    "--quantity", type=PositiveDecimal(), help="Executed shares that the ledger does not have."
)
@click.option("--price", type=PositiveDecimal(), help="Their average price, USD.")
@pass_context
def resolve(
    context: Context,
    name: str,
    fate: str,
    reason: str,
    perm_id: int | None,
    quantity: Decimal | None,
    price: Decimal | None,
) -> None:
    """Decide about an order that no evidence can prove.

    Until then the account sends nothing. Afterwards its positions have to be what the fills say
    before the next run starts. over-filled accepts more shares than were ordered.

    \b
    Example:
      ibloop orders resolve ibl:2026W47:AAPL:B:0 --as not-sent --reason "not in TWS"
    """
    from ibloop.adapters.ledger import resolution
    from ibloop.adapters.streamfiles import wake
    from ibloop.cli.resolving import order_named

    decision = resolution.Decision(resolution.Fate(fate), reason, perm_id, quantity, price)
    with closing(context.open_ledger()) as ledger, ledger.transaction() as tx:
        row = order_named(tx.db, name)
        state = resolution.resolve(tx, row, decision, datetime.now(UTC), operator())
    wake(context.profile.stream_dir)
    click.echo(f"{row.order.client_order_id} is {state}", err=True)


COLUMNS = ("ORDER", "SIDE", "QUANTITY", "LIMIT", "STATUS", "FILLED", "AVG PRICE", "WHY")
FILL_COLUMNS = ("EXECUTION", "QUANTITY", "PRICE", "COMMISSION", "AT (UTC)")


def order_line(data: dict[str, object]) -> list[object]:
    """Return an order as one row under :data:`COLUMNS`."""
    return [
        data["client_order_id"],
        data["side"],
        data["quantity"],
        data["limit_price"],
        coloured(data["status"]),
        data["filled_quantity"],
        average(data["avg_fill_price"]),  # type: ignore[arg-type]
        _why(data),
    ]


def _why(data: dict[str, object]) -> str:
    """Return who refused an order, by which code and with which words; else who works it."""
    if data["reject_source"] is None:
        return str(data["algo"] or "")
    return f"{data['reject_source']} {data['reject_code']}: {data['reject_reason']}"
