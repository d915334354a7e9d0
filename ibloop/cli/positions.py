"""``ibloop positions``: what the broker says we hold."""

from contextlib import closing

import click

from ibloop.cli.common import Context, emit, json_option, pass_context
from ibloop.cli.terminal import table


@click.group()
def positions() -> None:
    """List what the broker says we hold."""


@positions.command("list")
@json_option
@pass_context
def list_positions(context: Context, as_json: bool) -> None:
    """List positions as the executor last read them.

    \b
    Example:
      ibloop positions list
    """
    from ibloop.adapters.ledger import account

    with closing(context.open_readonly()) as db:
        held = account.positions(db)
        as_of = account.positions_as_of(db)
    data = {"as_of": as_of, "positions": held}
    rows = [(p.symbol, p.quantity, p.avg_cost) for p in held]
    emit("positions", data, as_json, lambda: table(("SYMBOL", "QUANTITY", "AVG COST"), rows))
    if not as_json:
        click.echo(f"as of {as_of:%F %T} UTC" if as_of else "never read yet", err=True)
