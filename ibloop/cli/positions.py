"""``ibloop positions``: what the broker says we hold, and whether the fills explain it."""

from contextlib import closing
from datetime import UTC, datetime

import click

from ibloop.cli.common import Context, Reason, emit, json_option, operator, pass_context
from ibloop.cli.terminal import average, table


@click.group()
def positions() -> None:
    """List, explain and accept what the broker says we hold."""


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
    rows = [(p.symbol, p.quantity, average(p.avg_cost)) for p in held]
    emit("positions", data, as_json, lambda: table(("SYMBOL", "QUANTITY", "AVG COST"), rows))
    if not as_json:
        click.echo(f"as of {as_of:%F %T} UTC" if as_of else "never read yet", err=True)


EXPLAINED = ("SYMBOL", "BEFORE", "FILLED SINCE", "EXPECTED", "HELD", "DIFFERENCE")


@positions.command()
@json_option
@pass_context
def explain(context: Context, as_json: bool) -> None:
    """Compare what is held with what was held before and filled since.

    \b
    Example:
      ibloop positions explain
    """
    from ibloop.daemons.executing.comparing import explained_positions

    with closing(context.open_readonly()) as db:
        since, lines = explained_positions(db)
    data = {"since": since, "positions": lines}
    rows = [(x.symbol, x.before, x.filled, x.expected, x.held, x.difference or "") for x in lines]
    emit("positions", data, as_json, lambda: table(EXPLAINED, rows))
    if not as_json:
        told = (
            f"since {since:%F %T} UTC" if since else "nothing to compare with before the first run"
        )
        click.echo(told, err=True)


@positions.command()
@click.argument("symbols", metavar="SYMBOL...", nargs=-1, required=True)
@click.option("--reason", type=Reason(), required=True, help="Why they are right.")
@pass_context
def accept(context: Context, symbols: tuple[str, ...], reason: str) -> None:
    """Accept what is held although fills do not explain it; name every symbol that differs.

    For a split, a transfer, a trade of another day: the next run measures from here.

    \b
    Example:
      ibloop positions accept AAPL --reason "4:1 split on Monday"
    """
    from ibloop.adapters.streamfiles import wake
    from ibloop.daemons.executing.comparing import accept_positions

    with closing(context.open_ledger()) as ledger, ledger.transaction() as tx:
        accepted = accept_positions(
            tx, symbols, reason=reason, now=datetime.now(UTC), actor=operator()
        )
    wake(context.profile.stream_dir)
    for line in accepted:
        click.echo(f"{line.symbol}: {line.held} instead of {line.expected}", err=True)
