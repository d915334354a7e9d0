"""``ibloop rebalance``: target weights into a queued run."""

import getpass
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ibloop.cli.common import Context, emit, json_option, pass_context
from ibloop.errors import Exit, RefusedError

if TYPE_CHECKING:
    from ibloop.adapters.ledger.connection import Connection
    from ibloop.adapters.ledger.runs import Run
    from ibloop.core.gates import Gate

WAIT_POLL_S = 0.2


@click.command()
@click.option(
    "--targets", "file", type=click.Path(path_type=Path), help="Targets file [default: configured]."
)
@click.option("--key", help="Key of an extra run [default: the week, such as 2026W47].")
@click.option("--mode", type=click.Choice(["paper", "live"]), help="Must agree with the profile.")
@click.option("--dry-run", is_flag=True, help="Show what would be ordered; write nothing.")
@click.option("--wait", is_flag=True, help="Wait for the run's end: 0 done, 1 not, 77 blocked.")
@json_option
@pass_context
def rebalance(
    context: Context,
    file: Path | None,
    key: str | None,
    mode: str | None,
    dry_run: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Turn target weights into a queued run.

    Asking again for the same week returns the same run. A run that must not start is written
    down as blocked, with the reason (exit 77).

    \b
    Example:
      ibloop rebalance --targets targets.csv --wait
    """
    from ibloop.adapters.host import SystemClock
    from ibloop.adapters.universe import load_universe
    from ibloop.core.sessions import period_key
    from ibloop.daemons.pretrade import request_run

    config, clock = context.config, SystemClock()
    if mode is not None and mode != config.mode:
        raise RefusedError(
            f"this profile trades {config.mode}, not {mode}; name the other profile with --profile"
        )
    path = file or context.profile.resolve(config.targets.file)
    universe = load_universe(context.profile)
    if dry_run:
        from ibloop.cli.preview import show_preview

        show_preview(context, universe, clock, path, as_json)
        return
    run_key = check_key(key) if key else period_key(clock.now().utc, config.session.timezone)
    from ibloop.daemons.pretrade import read_targets

    read_targets(path, universe)  # before the ledger is made: bad input writes nothing
    with closing(context.open_ledger()) as ledger:
        asked = request_run(
            context.profile,
            ledger,
            universe,
            clock,
            key=run_key,
            targets_path=path.absolute(),
            requested_by=getpass.getuser(),
        )
        run = wait_for_end(ledger.db, asked.run) if wait else asked.run
    if asked.existed:
        click.echo(f"run {run_key} exists already; nothing was queued", err=True)
    show(run, asked.gates, as_json)
    raise SystemExit(exit_code(run, waited=wait, existed=asked.existed))


def check_key(key: str) -> str:
    """Return a usable run key. Raises: click.BadParameter."""
    if not 0 < len(key) <= 64 or not all(c.isalnum() or c in "-_." for c in key):
        raise click.BadParameter("expected 1 to 64 letters, digits, '-', '_' or '.'")
    return key


def show(run: "Run", gates: "tuple[Gate, ...]", as_json: bool) -> None:
    """Print what became of the request."""
    from ibloop.core.lifecycle import REASON_ADVICE

    data = {
        "run_id": run.run_id,
        "run_key": run.run_key,
        "status": run.status,
        "reason": run.reason,
        "detail": run.detail,
        "snapshot_id": run.snapshot_id,
        "gates": gates,
    }
    reason = f" ({run.reason}: {run.detail})" if run.reason else ""
    emit("rebalance", data, as_json, f"{run.run_key}\t{run.status}{reason}")
    if run.reason in REASON_ADVICE:
        click.echo(f"what to do: {REASON_ADVICE[run.reason]}", err=True)


def wait_for_end(db: "Connection", run: "Run") -> "Run":
    """Return the run once it has ended or is blocked, telling its progress on stderr."""
    from ibloop.adapters.ledger import orders, runs
    from ibloop.core.lifecycle import ORDER_TERMINAL, RUN_TERMINAL, RunState

    told = ""
    while run.status not in RUN_TERMINAL and run.status is not RunState.BLOCKED:
        rows = orders.of_run(db, run.run_id, run.attempt)
        ended = sum(1 for row in rows if row.order.status in ORDER_TERMINAL)
        progress = f"{run.run_key} {run.status}" + (f" {ended}/{len(rows)}" if rows else "")
        if progress != told:
            click.echo(progress, err=True)
            told = progress
        time.sleep(WAIT_POLL_S)
        run = runs.find(db, run.run_id) or run
    return run


def exit_code(run: "Run", *, waited: bool, existed: bool) -> Exit:
    """Return the documented exit code for a run."""
    from ibloop.core.lifecycle import RunState

    if run.status is RunState.BLOCKED and (waited or not existed):
        return Exit.REFUSED
    if waited and run.status is not RunState.DONE:
        return Exit.FAILED
    return Exit.OK
