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

    Nothing is sent after this command has returned, whatever else is down. Where the ledger cannot
    be written, or is not there yet, it makes the HALT file in the data directory; without a data
    directory it fails.

    \b
    Example:
      ibloop halt "prices look wrong" --level kill
    """
    from ibloop.core.model import HaltLevel

    wanted = HaltLevel(level)
    if context.has_ledger():
        wanted = _write_down(context, wanted, reason)
    else:
        wanted = _by_file(context, wanted, "no ledger yet")
    what = f"{context.config.account} ({context.config.mode}, {context.data_dir})"
    context.tell(f"halted {what} at level {wanted}; `ibloop resume REASON` ends it")


def _write_down(context: Context, level: "HaltLevel", reason: str) -> "HaltLevel":
    """Write the halt and its alert into the ledger, or make the HALT file where that fails."""
    from ibloop.adapters.ledger import alerts, halts
    from ibloop.adapters.ledger.connection import DatabaseError
    from ibloop.adapters.streamfiles import wake

    by, now = operator(), datetime.now(UTC)
    try:
        with closing(context.open_ledger()) as ledger, ledger.transaction() as tx:
            halt_id = halts.halt(tx, level, reason, "cli", by, now)
            text = f"trading halted ({level}) by {by}: {reason}"
            alerts.raise_alert(tx, "critical", "halt.requested", str(halt_id), text, None, now, by)
    except (LedgerError, DatabaseError) as error:
        if _is_another_s(context):
            raise
        return _by_file(context, level, f"the ledger was not written ({error})")
    wake(context.profile.stream_dir)
    return level


def _is_another_s(context: Context) -> bool:
    """Return whether the ledger is another account's: its loop is not the one to halt."""
    from ibloop.adapters.ledger.connection import DatabaseError

    try:
        context.open_readonly().close()
    except RefusedError:
        return True
    except (LedgerError, DatabaseError):
        return False
    return False


def _by_file(context: Context, level: "HaltLevel", why: str) -> "HaltLevel":
    """Halt without a ledger: the file counts at once, and daemons write it down when they can.

    Raises: ConfigError where there is no data directory either, for then no loop is halted, and
    where the file cannot be made.
    """
    from ibloop.adapters.halt_file import read_halt_file, write_halt_file
    from ibloop.adapters.streamfiles import wake

    if not context.data_dir.is_dir():
        raise ConfigError(
            f"nothing is halted: there is no data directory {context.data_dir}; "
            "name the loop with --config, --profile or --data"
        )
    file = context.data_dir / "HALT"
    try:
        level = write_halt_file(context.data_dir, level)
    except OSError as error:
        found = read_halt_file(context.data_dir)
        state = f"only {found.level} is in force" if found else "nothing is halted"
        raise ConfigError(
            f"{state}: {why}, and the file {file} cannot be written ({error.strerror}); "
            "stop the executor, and cancel at the broker"
        ) from None
    if context.profile.stream_dir.is_dir():
        wake(context.profile.stream_dir)
    click.echo(f"{why}: made {file}; remove it to resume", err=True)
    return level


@click.command()
@click.argument("reason", type=Reason())
@pass_context
def resume(context: Context, reason: str) -> None:
    """Clear all halts.

    Says which. What the guard has halted for is accepted with that: a loss is measured anew from
    here. Ending a pause of your own forgives nothing. A HALT file has to be removed by hand first.

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
        standing = halts.active(tx.db)
        cleared = halts.resume(tx, operator(), reason, datetime.now(UTC))
    wake(context.profile.stream_dir)
    for halt in standing:
        click.echo(f"cleared {halt.level} of {halt.requested_by}: {halt.reason}", err=True)
    halts_told = "1 halt" if cleared == 1 else f"{cleared} halts"
    click.echo(f"{halts_told} cleared" if cleared else "nothing was halted", err=True)
