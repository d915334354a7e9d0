"""``ibloop db``: migrate, back up, check, accept and describe the ledger."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import click

from ibloop.adapters.ledger.backup import backup as back_up
from ibloop.adapters.ledger.backup import prune
from ibloop.adapters.ledger.check import check as check_ledger
from ibloop.adapters.ledger.connection import migrate as migrate_ledger
from ibloop.adapters.ledger.connection import schema_sql
from ibloop.cli.common import (
    Context,
    Reason,
    emit,
    json_option,
    operator,
    pass_context,
    wait_for_answer,
)
from ibloop.cli.terminal import table
from ibloop.errors import Exit, NotRunningError, RefusedError


@click.group()
def db() -> None:
    """Migrate, back up, check, accept and describe the ledger."""


@db.command()
@pass_context
def migrate(context: Context) -> None:
    """Create the ledger, or bring it up to date; stop the daemons before.

    The ledger is bound to the profile's mode and account when it is created, for ever.

    \b
    Example:
      ibloop db migrate --data data
    """
    context.writable_data_dir()
    applied = migrate_ledger(
        context.profile.ledger_path, mode=context.config.mode, account=context.config.account
    )
    click.echo(f"applied: {', '.join(applied)}" if applied else "up to date, nothing to apply")


@db.command()
@click.option(
    "--to",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the backups; by default backups in the data directory.",
)
@click.option(
    "--keep",
    default=30,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="How many backups to keep there; older ones are deleted.",
)
@pass_context
def backup(context: Context, directory: Path | None, keep: int) -> None:
    """Copy the ledger, check the copy, and print its path; the daemons may run.

    Exits 1, and leaves no file, when the copy is not a sound ledger.

    \b
    Example:
      ibloop db backup --to /var/backups/ibloop --keep 90
    """
    into = context.data_dir / "backups" if directory is None else directory.absolute()
    now, config = datetime.now(UTC), context.config
    made = back_up(
        context.profile.ledger_path, into, mode=config.mode, account=config.account, now=now
    )
    click.echo(str(made))
    for path in prune(into, made, keep, now):
        click.echo(f"deleted {path.name} (--keep {keep})", err=True)


@db.command()
@json_option
@pass_context
@click.pass_context
def check(ctx: click.Context, context: Context, as_json: bool) -> None:
    """Check the whole ledger: pages, references, audit chain, orders against their fills.

    Reads only. Exits 1 when anything is wrong.

    \b
    Example:
      ibloop db check --data data
    """
    with closing(context.open_readonly()) as connection:
        problems = check_ledger(connection)
    rows = [(problem.check, problem.subject, problem.text) for problem in problems]
    data = {"ledger": str(context.profile.ledger_path), "problems": list(problems)}
    emit(
        "db", data, as_json, lambda: table(("CHECK", "SUBJECT", "PROBLEM"), rows) if rows else "ok"
    )
    if problems:
        ctx.exit(Exit.FAILED)


@db.command("accept-restore")
@click.option("--reason", type=Reason(), required=True, help="Why this ledger may go on.")
@click.option(
    "--wait",
    "wait_s",
    default=30.0,
    show_default=True,
    type=click.FloatRange(1, 3600),
    help="Seconds to wait for the executor's answer.",
)
@pass_context
def accept_restore(context: Context, reason: str, wait_s: float) -> None:
    """Let a ledger trade again that is behind the broker, as after a restored backup.

    The executor, which must be running, answers: orders of ours that the ledger never sent become
    known, and none of them may still work. Check the account's orders and positions before.

    \b
    Example:
      ibloop db accept-restore --reason "restored the backup of Sunday; account checked"
    """
    from ibloop.adapters.ledger import commands
    from ibloop.adapters.streamfiles import wake
    from ibloop.daemons.executing.run_commands import ACCEPT_LEDGER

    with closing(context.open_ledger()) as ledger:
        with ledger.transaction() as tx:
            now = datetime.now(UTC)
            number = commands.request(tx, ACCEPT_LEDGER, {"reason": reason}, operator(), now)
        wake(context.profile.stream_dir)
        answer = wait_for_answer(ledger.db, number, wait_s)
    if answer is None:
        raise NotRunningError(
            "the executor has not answered: it must be running, with no run under way"
        )
    if answer.status is not commands.CommandStatus.DONE:
        raise RefusedError(f"not accepted: {answer.result}")
    context.tell("accepted; `ibloop run retry RUN` goes on with a blocked run")


@db.command()
@json_option
def schema(as_json: bool) -> None:
    """Print the SQL of the ledger's tables, indexes and triggers.

    \b
    Example:
      ibloop db schema
    """
    statements = schema_sql()
    text = "\n\n".join(f"{statement};" for statement in statements)
    emit("db", {"statements": list(statements)}, as_json, text)
