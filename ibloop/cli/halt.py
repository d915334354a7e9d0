"""``ibloop halt`` and ``ibloop resume``: the kill switch, written straight into the ledger."""

import os
from contextlib import closing
from datetime import UTC, datetime

import click

from ibloop.cli.common import Context, Reason, operator, pass_context
from ibloop.errors import LedgerError, RefusedError


@click.command()
@click.argument("reason", type=Reason())
@click.option(
    "--level",
    type=click.Choice(["pause", "reduce-only", "kill"]),
    default="pause",
    show_default=True,
    help="pause sends nothing; reduce-only lets sells through; kill also cancels what works.",
)
@pass_context
def halt(context: Context, reason: str, level: str) -> None:
    """Stop sending orders, now.

    Nothing is sent after this command has returned, whatever else is down.

    \b
    Example:
      ibloop halt "prices look wrong" --level kill
    """
    from ibloop.adapters.ledger import alerts, halts
    from ibloop.adapters.streamfiles import wake
    from ibloop.core.model import HaltLevel

    by, now = operator(), datetime.now(UTC)
    # A profile that somebody named can be halted before its first start; the built-in one in a
    # directory where nothing runs is not what was meant.
    is_named = context.profile.source is not None
    try:
        opened = context.open_ledger(create=is_named)
    except LedgerError as error:
        file = context.data_dir / "HALT"
        raise LedgerError(f"{error}; without a ledger: echo {level} > {file}") from None
    with closing(opened) as ledger, ledger.transaction() as tx:
        halt_id = halts.halt(tx, HaltLevel(level), reason, "cli", by, now)
        text = f"trading halted ({level}) by {by}: {reason}"
        alerts.raise_alert(tx, "critical", "halt.requested", str(halt_id), text, None, now, by)
    wake(context.profile.stream_dir)
    what = f"{context.config.account} ({context.config.mode}, {context.data_dir})"
    click.echo(f"halted {what} at level {level}; `ibloop resume REASON` ends it", err=True)


@click.command()
@click.argument("reason", type=Reason())
@pass_context
def resume(context: Context, reason: str) -> None:
    """Clear all halts.

    The guard measures losses anew from here. A HALT file has to be removed by hand first.

    \b
    Example:
      ibloop resume "checked with the broker"
    """
    from ibloop.adapters.ledger import halts
    from ibloop.adapters.streamfiles import wake

    file = context.data_dir / "HALT"
    if os.path.lexists(file):
        raise RefusedError(f"the file {file} halts: remove it (rm {file}), then resume again")
    with closing(context.open_ledger(create=False)) as ledger, ledger.transaction() as tx:
        cleared = halts.resume(tx, operator(), reason, datetime.now(UTC))
    wake(context.profile.stream_dir)
    click.echo(f"{cleared} halts cleared" if cleared else "nothing was halted", err=True)
