"""``ibloop status``: one screen that says whether the loop is well, and what to do if not."""

import shutil
import signal
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import click

from ibloop.cli.common import Context, emit, json_option, pass_context
from ibloop.cli.terminal import coloured, facts, is_terminal, style, table, usd
from ibloop.errors import Exit, LedgerError

if TYPE_CHECKING:
    from ibloop.adapters.ledger.guard_state import GuardRow
    from ibloop.daemons.overview import DaemonLine, Overview

WATCH_S = 1.0
HALT_EVENTS = ("guard.halted", "halt.requested")
"""Alerts of what the screen shows anyway."""
ALERTS_SHOWN = 5
HOME, CLEAR_TO_LINE_END, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command()
@click.option("--watch", is_flag=True, help="Draw it anew every second, until Ctrl-C.")
@json_option
@pass_context
def status(context: Context, watch: bool, as_json: bool) -> None:
    """Show on one screen whether the loop is well.

    Exits 3 when a daemon is not running or degraded, when trading is halted or a symbol frozen.

    \b
    Example:
      ibloop status --data data/demo
    """
    if watch and as_json:
        raise click.UsageError("--watch is for people; ask for --json again and again instead")
    if watch:
        _watch(context)
        return
    from ibloop.daemons.overview import status_data

    found = _collect(context)
    emit("status", status_data(found), as_json, lambda: context.complete(_page(found)))
    raise SystemExit(Exit.OK if found.healthy else Exit.DEGRADED)


def _watch(context: Context) -> None:
    """Draw over the last drawing, which does not flicker as clearing would, until Ctrl-C."""
    if is_terminal():
        click.clear()
    # A shell that starts it in the background makes it ignore Ctrl-C otherwise.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        while True:
            page = context.complete(_page(_collect(context)))
            click.echo(_redrawn(page) if is_terminal() else f"{page}\n", nl=False)
            sys.stdout.flush()
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        click.echo()


def _redrawn(page: str) -> str:
    """Return a page with the moves that put it over the one before, cut to the screen's height."""
    lines = page.splitlines()[: shutil.get_terminal_size().lines - 1]
    return HOME + "".join(f"{line}{CLEAR_TO_LINE_END}\n" for line in lines) + CLEAR_BELOW


def _collect(context: Context) -> "Overview":
    """Read everything once; a ledger that cannot be read leaves a note."""
    from ibloop.adapters.host import SystemClock
    from ibloop.daemons.overview import read_overview
    from ibloop.daemons.overview_ledger import Limits, read_ledger

    now = SystemClock().now()
    try:
        db = context.open_readonly()
    except LedgerError as error:
        note = context.complete(str(error))
        return read_overview(context.profile, now, None, note, context.options)
    with closing(db):
        db.execute("BEGIN")
        view = read_ledger(db, Limits(runs=1, orders=1, fills=1, alerts=ALERTS_SHOWN))
    return read_overview(context.profile, now, view, None, context.options)


def _page(found: "Overview") -> str:
    head = [
        ("profile", f"{found.profile}: {found.mode} account {found.account}"),
        ("data", found.data_dir),
    ]
    rows = [(d.name, coloured(d.word), d.age_s, d.pid, d.build, _told(d)) for d in found.daemons]
    daemons = table(("DAEMON", "STATUS", "AGE S", "PID", "BUILD", "DETAIL"), rows)
    told = facts([*_facts(found), *(("next", text) for text in found.next)])
    return "\n\n".join(part for part in (facts(head), daemons, told) if part)


def _told(line: "DaemonLine") -> str:
    if line.problem is None or line.word != "silent":
        return line.detail
    return line.problem


def _facts(found: "Overview") -> list[tuple[str, str]]:
    pairs = []
    if found.halts:
        halt = found.halts[0]
        pairs.append(("HALTED", style(f"{halt.level}: {halt.reason}", "red")))
    if found.ledger is not None:
        pairs.extend(_ledger_facts(found))
    if found.note:
        pairs.append(("note", found.note))
    pairs.extend(("doubt", text) for text in found.doubts)
    return pairs


def _ledger_facts(found: "Overview") -> list[tuple[str, str]]:
    ledger, pairs = found.ledger, []
    if ledger is None:
        return []
    if ledger.equity is not None:
        by = f"{ledger.equity.source}, {ledger.equity.as_of:%F %T} UTC"
        pairs.append(("equity", f"{usd(ledger.equity.equity)} ({by}), cash {usd(ledger.cash)}"))
    if found.mode == "live":
        pairs.append(("armed", _armed_text(found)))
    if ledger.guard is not None:
        pairs.append(("guard", _guard_text(ledger.guard)))
    if ledger.runs:
        run = ledger.runs[0].run
        reason = f" ({run.reason})" if run.reason else ""
        pairs.append(("last run", f"{run.run_key} {coloured(run.status)}{reason}: {run.detail}"))
    pairs.extend(("FROZEN", style(row.reason, "red")) for row in ledger.frozen)
    if ledger.unknown:
        pairs.append(("orders", style(f"{len(ledger.unknown)} of unknown fate", "red")))
    if ledger.undelivered:
        pairs.append(("alerts", f"{ledger.undelivered} not delivered; `ibloop alerts list`"))
    pairs.extend(
        ("alert", f"{a.created_at:%F %T} UTC {a.text}")
        for a in ledger.alerts
        if a.severity == "critical" and a.event not in HALT_EVENTS and a.acknowledged_at is None
    )
    return pairs


def _armed_text(found: "Overview") -> str:
    given = found.ledger.arming if found.ledger else None
    if found.unarmed is not None or given is None:
        return f"no: {found.unarmed}"
    until = f"until {given.term.expires.utc:%F %H:%M} UTC"
    return style(f"yes, {usd(given.left_usd)} in {given.runs_left} runs {until}", "yellow")


def _guard_text(row: "GuardRow") -> str:
    figures = (("day loss", row.day_loss), ("drawdown", row.drawdown))
    known = [f"{name} {value:z.2%}" for name, value in figures if value is not None]
    return f"{coloured(row.status)}{''.join(f', {text}' for text in known)}"
