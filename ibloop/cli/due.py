"""``ibloop rebalance --if-due``: one trigger of the schedule, told in one line."""

from contextlib import closing
from pathlib import Path

import click

from ibloop.adapters.host import SystemClock
from ibloop.adapters.universe import Universe
from ibloop.cli.common import Context, emit, operator
from ibloop.cli.rebalance import exit_code, show, wait_for_end
from ibloop.daemons.scheduled import Answer, Due, trigger

WORDS = {
    Due.NOT_DUE: "not due",
    Due.MISSED: "the window has closed without a run",
    Due.EXISTS: "the period has its run already",
    Due.REQUESTED: "due: requested",
    Due.RETRIED: "due: tried again",
}


def rebalance_if_due(
    context: Context,
    universe: Universe,
    clock: SystemClock,
    path: Path,
    *,
    wait: bool,
    as_json: bool,
) -> None:
    """Trigger the schedule once and end with the exit code that its outcome has."""
    with closing(context.open_ledger(create=True)) as ledger:
        answer = trigger(
            context.profile,
            ledger,
            universe,
            clock,
            targets_path=path.absolute(),
            requested_by=operator(),
        )
        asked = answer.requested
        run = asked.run if asked else None
        if run is not None and wait:
            run = wait_for_end(context, ledger.db, run)
    click.echo(_sentence(answer), err=True)
    if asked is None or run is None:
        data = {"due": answer.due, "window": answer.window}
        emit("rebalance", data, as_json, str(answer.due))
        return
    show(context, run, asked.gates, as_json)
    raise SystemExit(exit_code(run, waited=wait, existed=asked.existed))


def _sentence(answer: Answer) -> str:
    words = WORDS[answer.due]
    if answer.window is None:
        return f"{words}: no session this week leaves room for a rebalance"
    window = answer.window
    return f"{words}: {window.key} from {window.opens:%F %H:%M} to {window.closes:%F %H:%M} UTC"
