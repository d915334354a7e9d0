"""``ibloop halt`` and ``ibloop resume``: the kill switch, written straight into the ledger."""

import os
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ibloop.cli.common import Context, Reason, operator, pass_context
from ibloop.errors import ConfigError, LedgerError, RefusedError

if TYPE_CHECKING:
    from ibloop.core.model import HaltLevel


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

    Nothing is sent after this command has returned, whatever else is down. Before the first start
    it makes the HALT file in the data directory; without a data directory it fails.

    \b
    Example:
      ibloop halt "prices look wrong" --level kill
    """
    from ibloop.core.model import HaltLevel

    wanted = HaltLevel(level)
    if context.has_ledger():
        _write_down(context, wanted, reason)
    else:
        wanted = _by_file(context, wanted)
    what = f"{context.config.account} ({context.config.mode}, {context.data_dir})"
    context.tell(f"halted {what} at level {wanted}; `ibloop resume REASON` ends it")


def _write_down(context: Context, level: "HaltLevel", reason: str) -> None:
    """Write the halt and its alert into the ledger; the HALT file is left to a person."""
    from ibloop.adapters.ledger import alerts, halts
    from ibloop.adapters.streamfiles import wake

    by, now = operator(), datetime.now(UTC)
    try:
        opened = context.open_ledger()
    except LedgerError as error:
        file = context.data_dir / "HALT"
        raise LedgerError(f"{error}; without a ledger: echo {level} > {file}") from None
    with closing(opened) as ledger, ledger.transaction() as tx:
        halt_id = halts.halt(tx, level, reason, "cli", by, now)
        text = f"trading halted ({level}) by {by}: {reason}"
        alerts.raise_alert(tx, "critical", "halt.requested", str(halt_id), text, None, now, by)
    wake(context.profile.stream_dir)


def _by_file(context: Context, level: "HaltLevel") -> "HaltLevel":
    """Halt a loop that has no ledger yet: its daemons write the file into it when they start.

    Raises: ConfigError where there is no data directory either, for then no loop is halted.
    """
    from ibloop.adapters.halt_file import write_halt_file

    if not context.data_dir.is_dir():
        raise ConfigError(
            f"nothing is halted: there is no data directory {context.data_dir}; "
            "name the loop with --config, --profile or --data"
        )
    level = write_halt_file(context.data_dir, level)
    click.echo(f"no ledger yet: made {context.data_dir / 'HALT'}; remove it to resume", err=True)
    return level


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
    with closing(context.open_ledger()) as ledger, ledger.transaction() as tx:
        cleared = halts.resume(tx, operator(), reason, datetime.now(UTC))
    wake(context.profile.stream_dir)
    halts_told = "1 halt" if cleared == 1 else f"{cleared} halts"
    click.echo(f"{halts_told} cleared" if cleared else "nothing was halted", err=True)
