"""``ibloop status``: one screen that says whether the loop is well, and what to do if not."""

import shutil
import signal
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from ibloop.cli.common import Context, emit, json_option, pass_context
from ibloop.cli.terminal import coloured, facts, is_terminal, style, table, usd
from ibloop.errors import Exit, LedgerError

if TYPE_CHECKING:
    from ibloop.adapters.ledger.alerts import Alert
    from ibloop.adapters.ledger.connection import Connection
    from ibloop.adapters.ledger.guard_state import GuardRow
    from ibloop.adapters.ledger.runs import Run

WATCH_S = 1.0
HALT_EVENTS = ("guard.halted", "halt.requested")
"""Alerts of what the screen shows anyway."""
GUARD_BEHIND_S_MAX = 60.0
HOME, CLEAR_TO_LINE_END, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
DAEMONS = (
    ("gateway", "gateway", "connected"),
    ("stream", "status", "connected"),
    ("executor", "executor", "ready"),
    ("guard", "guard", "watching"),
)
"""Daemon, its heartbeat file, the word by which it says that all is well."""


@dataclass(frozen=True, slots=True)
class DaemonLine:
    """One daemon as its heartbeat shows it; ``problem`` is ``None`` when it is well."""

    name: str
    status: str
    age_s: float | None
    pid: int | None
    detail: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class Equity:
    """The newest valuation of the account, USD: the guard's at present prices, or the broker's."""

    equity: Decimal
    source: str
    as_of: datetime


@dataclass(frozen=True, slots=True)
class LedgerPart:
    """What the ledger adds; ``note`` says why it adds nothing."""

    halt: dict[str, str] | None = None
    equity: Equity | None = None
    cash: Decimal | None = None
    guard: "GuardRow | None" = None
    last_run: "Run | None" = None
    unknown_orders: int = 0
    alerts: "tuple[Alert, ...]" = ()
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Everything on the screen; ``next`` are the things a person should do now."""

    profile: str
    mode: str
    account: str
    data_dir: str
    healthy: bool
    daemons: tuple[DaemonLine, ...]
    ledger: LedgerPart
    next: tuple[str, ...]


@click.command()
@click.option("--watch", is_flag=True, help="Draw it anew every second, until Ctrl-C.")
@json_option
@pass_context
def status(context: Context, watch: bool, as_json: bool) -> None:
    """Show on one screen whether the loop is well.

    Exits 3 when a daemon is not running or degraded, or when trading is halted.

    \b
    Example:
      ibloop status --data data/demo
    """
    if watch and as_json:
        raise click.UsageError("--watch is for people; ask for --json again and again instead")
    if watch:
        _watch(context)
        return
    found = _collect(context)
    emit("status", _document(found), as_json, lambda: _page(found))
    raise SystemExit(Exit.OK if found.healthy else Exit.DEGRADED)


def _watch(context: Context) -> None:
    """Draw over the last drawing, which does not flicker as clearing would, until Ctrl-C."""
    if is_terminal():
        click.clear()
    # A shell that starts it in the background makes it ignore Ctrl-C otherwise.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        while True:
            page = _page(_collect(context))
            click.echo(_redrawn(page) if is_terminal() else f"{page}\n", nl=False)
            sys.stdout.flush()
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        click.echo()


def _redrawn(page: str) -> str:
    """Return a page with the moves that put it over the one before, cut to the screen's height."""
    lines = page.splitlines()[: shutil.get_terminal_size().lines - 1]
    return HOME + "".join(f"{line}{CLEAR_TO_LINE_END}\n" for line in lines) + CLEAR_BELOW


def _document(found: Status) -> dict[str, object]:
    """Return the JSON form: flat, so that ``.data.equity`` is where a script looks for it."""
    ledger, equity = found.ledger, found.ledger.equity
    return {
        "profile": found.profile,
        "mode": found.mode,
        "account": found.account,
        "data_dir": found.data_dir,
        "healthy": found.healthy,
        "daemons": found.daemons,
        "halt": ledger.halt,
        "equity": equity.equity if equity else None,
        "equity_source": equity.source if equity else None,
        "equity_as_of": equity.as_of if equity else None,
        "cash": ledger.cash,
        "guard": ledger.guard,
        "last_run": ledger.last_run,
        "unknown_orders": ledger.unknown_orders,
        "alerts": ledger.alerts,
        "note": ledger.note,
        "next": found.next,
    }


def _collect(context: Context) -> Status:
    profile = context.profile
    daemons = tuple(_daemons(context))
    ledger = _ledger_part(context)
    healthy = ledger.halt is None and all(line.problem is None for line in daemons)
    return Status(
        profile=profile.name,
        mode=profile.config.mode,
        account=profile.config.account,
        data_dir=str(profile.data_dir),
        healthy=healthy and not ledger.unknown_orders,
        daemons=daemons,
        ledger=ledger,
        next=tuple(_advice(context, daemons, ledger)),
    )


def _daemons(context: Context) -> list[DaemonLine]:
    from ibloop.adapters.host import SystemClock
    from ibloop.adapters.streamfiles import read_heartbeat
    from ibloop.core.gates import Pulse, silence

    now = SystemClock().now()
    age_s_max = context.config.guard.heartbeat_age_s_max
    lines = []
    for name, file, healthy in DAEMONS:
        beat = read_heartbeat(context.profile.stream_dir, file)
        if beat is None:
            lines.append(DaemonLine(name, "not running", None, None, "", "no heartbeat"))
            continue
        problem = silence(Pulse(beat.status, beat.stamp), now, age_s_max, healthy)
        age_s = round(now.age_s(beat.stamp), 1)
        lines.append(DaemonLine(name, beat.status, age_s, beat.pid, beat.detail, problem))
    return lines


def _ledger_part(context: Context) -> LedgerPart:
    from ibloop.adapters.halt_file import read_halt_file
    from ibloop.adapters.ledger import account, alerts, guard_state, orders, runs
    from ibloop.core.lifecycle import OrderState
    from ibloop.daemons.halting import severest_halt

    try:
        db = context.open_readonly()
    except LedgerError as error:
        in_file = read_halt_file(context.data_dir)
        halt = {"level": str(in_file), "reason": "the HALT file exists"} if in_file else None
        return LedgerPart(halt=halt, note=str(error))
    with closing(db):
        level, reason = severest_halt(db, context.data_dir)
        values = account.values(db)
        return LedgerPart(
            halt={"level": level.value, "reason": reason} if level else None,
            equity=newest_equity(db),
            cash=values.total_cash if values else None,
            guard=guard_state.last(db),
            last_run=next(iter(runs.listing(db, 1)), None),
            unknown_orders=len(orders.in_states(db, {OrderState.UNKNOWN})),
            alerts=alerts.listing(db, 5),
        )


def newest_equity(db: "Connection") -> Equity | None:
    """Return what the account is worth: by the guard, or by the broker where the guard is behind.

    The broker's figure is pushed to the executor every few minutes and may be older than it
    looks; the guard's is made of present prices.
    """
    from ibloop.adapters.ledger import account, guard_state

    values, verdict = account.values(db), guard_state.last(db)
    by_broker = Equity(values.net_liquidation, "broker", values.as_of) if values else None
    if verdict is None or verdict.equity is None:
        return by_broker
    by_guard = Equity(verdict.equity, "guard", verdict.evaluated_at)
    behind_s = (by_broker.as_of - by_guard.as_of).total_seconds() if by_broker else 0
    return by_guard if behind_s <= GUARD_BEHIND_S_MAX else by_broker


def _advice(context: Context, daemons: tuple[DaemonLine, ...], ledger: LedgerPart) -> list[str]:
    """Return what to do now, the most urgent first; empty when all is well."""
    from ibloop.core.lifecycle import REASON_ADVICE, RunState

    advice = []
    if (context.data_dir / "HALT").exists():
        advice.append(f"remove {context.data_dir / 'HALT'} once trading may go on")
    elif ledger.halt is not None:
        advice.append("find out why trading is halted, then `ibloop resume REASON`")
    silent = [line.name for line in daemons if line.problem is not None]
    if len(silent) == len(daemons):
        advice.append("start the daemons: `ibloop gateway run`, then stream, executor and guard")
    else:
        told = {line.name: _told(line) or _word(line) for line in daemons}
        advice.extend(f"look after the {name}: {told[name]}" for name in silent)
    if ledger.unknown_orders:
        advice.append("look for the unknown orders at the broker: `ibloop orders list`")
    run = ledger.last_run
    if run and run.status is RunState.BLOCKED and run.reason:
        # With a halt standing its advice is above already.
        if run.reason in REASON_ADVICE and (ledger.halt is None or run.reason != "guard_halted"):
            advice.append(f"{run.run_key} is blocked: {REASON_ADVICE[run.reason]}")
        advice.append(f"ask for {run.run_key} again: `ibloop run retry {run.run_key}`")
    return advice


def _page(found: Status) -> str:
    head = [
        ("profile", f"{found.profile}: {found.mode} account {found.account}"),
        ("data", found.data_dir),
    ]
    rows = [(d.name, coloured(_word(d)), d.age_s, d.pid, _told(d)) for d in found.daemons]
    daemons = table(("DAEMON", "STATUS", "AGE S", "PID", "DETAIL"), rows)
    told = facts([*_ledger_facts(found.ledger), *(("next", text) for text in found.next)])
    return "\n\n".join(part for part in (facts(head), daemons, told) if part)


def _word(line: DaemonLine) -> str:
    """Return a daemon's own word; ``silent`` when that is good, but too old to be believed."""
    well = {name: word for name, _, word in DAEMONS}
    return "silent" if line.problem and line.status == well[line.name] else line.status


def _told(line: DaemonLine) -> str:
    if line.problem is None or _word(line) != "silent":
        return line.detail
    return line.problem


def _ledger_facts(ledger: LedgerPart) -> list[tuple[str, str]]:
    halt, run, equity = ledger.halt, ledger.last_run, ledger.equity
    pairs = []
    if halt is not None:
        pairs.append(("HALTED", style(f"{halt['level']}: {halt['reason']}", "red")))
    if equity is not None:
        by = f"{equity.source}, {equity.as_of:%F %T} UTC"
        pairs.append(("equity", f"{usd(equity.equity)} ({by}), cash {usd(ledger.cash)}"))
    if ledger.guard is not None:
        pairs.append(("guard", _guard_text(ledger.guard)))
    if run is not None:
        reason = f" ({run.reason})" if run.reason else ""
        pairs.append(("last run", f"{run.run_key} {coloured(run.status)}{reason}: {run.detail}"))
    if ledger.unknown_orders:
        pairs.append(("orders", style(f"{ledger.unknown_orders} of unknown fate", "red")))
    pairs.extend(
        ("alert", f"{a.created_at:%F %T} UTC {a.text}")
        for a in ledger.alerts
        if a.severity == "critical" and a.event not in HALT_EVENTS
    )
    if ledger.note:
        pairs.append(("note", ledger.note))
    return pairs


def _guard_text(row: "GuardRow") -> str:
    figures = (("day loss", row.day_loss), ("drawdown", row.drawdown))
    known = [f"{name} {value:.2%}" for name, value in figures if value is not None]
    return f"{coloured(row.status)}{''.join(f', {text}' for text in known)}"
