"""``ibloop rebalance``: target weights into a queued run."""

import re
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ibloop.cli.common import ANY_PATH, Context, emit, json_option, operator, pass_context
from ibloop.cli.terminal import coloured
from ibloop.errors import Exit, RefusedError

if TYPE_CHECKING:
    from ibloop.adapters.ledger.connection import Connection
    from ibloop.adapters.ledger.runs import Run
    from ibloop.core.gates import Gate

WAIT_POLL_S = 0.2
RUN_KEY = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RunKey(click.ParamType[str]):
    """The name of a run: it becomes a part of every order's reference at the broker."""

    name = "key"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the key, or fail as click does."""
        if not RUN_KEY.fullmatch(value):
            self.fail("expected 1 to 64 letters, digits, '-', '_' or '.'", param, ctx)
        return value


@click.command()
@click.option("--targets", "file", type=ANY_PATH, help="Targets file [default: configured].")
@click.option(
    "--key", type=RunKey(), help="Key of an extra run [default: the week, such as 2026W47]."
)
@click.option("--mode", type=click.Choice(["paper", "live"]), help="Must agree with the profile.")
@click.option("--if-due", is_flag=True, help="Do it only when the schedule says so (for timers).")
@click.option("--dry-run", is_flag=True, help="Show what would be ordered; write nothing.")
@click.option("--wait", is_flag=True, help="Wait for the run's end: 0 done, 1 not, 77 blocked.")
@json_option
@pass_context
def rebalance(
    context: Context,
    file: Path | None,
    key: str | None,
    mode: str | None,
    if_due: bool,
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
    if if_due:
        from ibloop.cli.due import rebalance_if_due

        if key:
            raise click.UsageError("--if-due makes the period's own run; it takes no --key")
        rebalance_if_due(context, universe, clock, path, wait=wait, as_json=as_json)
        return
    run_key = key or period_key(clock.now().utc, config.session.timezone)
    from ibloop.daemons.pretrade import read_targets

    read_targets(path, universe, config.limits)  # before the ledger is made
    with closing(context.open_ledger(create=True)) as ledger:
        asked = request_run(
            context.profile,
            ledger,
            universe,
            clock,
            key=run_key,
            targets_path=path.absolute(),
            requested_by=operator(),
        )
        run = wait_for_end(context, ledger.db, asked.run) if wait else asked.run
    if asked.existed:
        click.echo(f"run {run_key} exists already; nothing was queued", err=True)
    show(context, run, asked.gates, as_json)
    raise SystemExit(exit_code(run, waited=wait, existed=asked.existed))


def show(context: Context, run: "Run", gates: "tuple[Gate, ...]", as_json: bool) -> None:
    """Print what became of the request."""
    from ibloop.cli.lookup import gate_data
    from ibloop.core.lifecycle import REASON_ADVICE

    data = {
        "run_id": run.run_id,
        "run_key": run.run_key,
        "status": run.status,
        "reason": run.reason,
        "detail": run.detail,
        "snapshot_id": run.snapshot_id,
        "gates": gate_data(gates),
    }
    reason = f" ({run.reason}: {run.detail})" if run.reason else ""
    emit("rebalance", data, as_json, f"{run.run_key}\t{coloured(run.status)}{reason}")
    if run.reason in REASON_ADVICE:
        context.tell(f"what to do: {REASON_ADVICE[run.reason]}", run.run_key)


def wait_for_end(context: Context, db: "Connection", run: "Run") -> "Run":
    """Return the run once it has ended or is blocked, telling its progress on stderr.

    Says so when the executor falls silent: the run goes on when it is back.
    """
    from ibloop.adapters.ledger import orders, runs
    from ibloop.core.lifecycle import ORDER_TERMINAL, RUN_TERMINAL, RunState

    told = ""
    while run.status not in RUN_TERMINAL and run.status is not RunState.BLOCKED:
        rows = orders.of_run(db, run.run_id, run.attempt)
        ended = sum(1 for row in rows if row.order.status in ORDER_TERMINAL)
        progress = f"{run.run_key} {run.status}"
        progress += f", {ended} of {len(rows)} orders ended" if rows else ""
        if run.status is RunState.PREPARING and run.detail:
            progress += f": {run.detail}"
        if silent := _executor_silence(context):
            progress += f"; the executor is silent ({silent})"
        if progress != told:
            click.echo(progress, err=True)
            told = progress
        time.sleep(WAIT_POLL_S)
        run = runs.find(db, run.run_id) or run
    return run


def _executor_silence(context: Context) -> str | None:
    """Return why nobody may be at work on the run; without a growing age, to be told once."""
    from ibloop.adapters.host import SystemClock
    from ibloop.core.gates import silence
    from ibloop.daemons.pretrade import pulse

    seen = pulse(context.profile, "executor")
    age_s_max = context.config.guard.heartbeat_age_s_max
    status = seen.status if seen else ""
    if silence(seen, SystemClock().now(), age_s_max, status) is None and status != "stopped":
        return None
    return f"no heartbeat within {age_s_max:g} s; `ibloop executor run` starts it"


def exit_code(run: "Run", *, waited: bool, existed: bool) -> Exit:
    """Return the documented exit code for a run."""
    from ibloop.core.lifecycle import RunState

    if run.status is RunState.BLOCKED and (waited or not existed):
        return Exit.REFUSED
    if waited and run.status is not RunState.DONE:
        return Exit.FAILED
    return Exit.OK
