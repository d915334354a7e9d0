"""``ibloop status``: one screen that says whether the loop is well."""

import time
from contextlib import closing
from dataclasses import dataclass

import click

from ibloop.cli.common import Context, emit, json_option, pass_context, style, table
from ibloop.errors import Exit, LedgerError

WATCH_S = 1.0
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
    while watch and not as_json:
        data = _collect(context)
        click.clear()
        click.echo(_page(data))
        time.sleep(WATCH_S)
    data = _collect(context)
    emit("status", data, as_json, lambda: _page(data))
    raise SystemExit(Exit.OK if data["healthy"] else Exit.DEGRADED)


def _collect(context: Context) -> dict[str, object]:
    profile = context.profile
    lines = _daemons(context)
    data: dict[str, object] = {
        "profile": profile.name,
        "mode": profile.config.mode,
        "account": profile.config.account,
        "data_dir": str(profile.data_dir),
        "daemons": lines,
        **_ledger_data(context),
    }
    data["healthy"] = data["halt"] is None and all(line.problem is None for line in lines)
    return data


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


def _ledger_data(context: Context) -> dict[str, object]:
    """Return what the ledger adds; a ledger that does not exist yet adds nothing."""
    from ibloop.adapters.halt_file import read_halt_file
    from ibloop.adapters.ledger import account, alerts, guard_state, orders, runs
    from ibloop.core.lifecycle import OrderState
    from ibloop.daemons.halting import severest_halt

    empty = dict.fromkeys(("equity", "cash", "account_as_of", "guard", "last_run", "note"))
    try:
        db = context.open_readonly()
    except LedgerError as error:
        in_file = read_halt_file(context.data_dir)
        halt = {"level": in_file, "reason": "the HALT file exists"} if in_file else None
        return {**empty, "halt": halt, "unknown_orders": 0, "alerts": [], "note": str(error)}
    with closing(db):
        level, reason = severest_halt(db, context.data_dir)
        values = account.values(db)
        verdict = guard_state.last(db)
        return {
            "halt": {"level": level, "reason": reason} if level else None,
            "equity": values.net_liquidation if values else None,
            "cash": values.total_cash if values else None,
            "account_as_of": values.as_of if values else None,
            "guard": verdict,
            "last_run": next(iter(runs.listing(db, 1)), None),
            "unknown_orders": len(orders.in_states(db, {OrderState.UNKNOWN})),
            "alerts": list(alerts.listing(db, 5)),
            "note": None,
        }


def _page(data: dict[str, object]) -> str:
    lines: list[DaemonLine] = data["daemons"]  # type: ignore[assignment]
    rows = [(d.name, d.status, d.age_s, d.pid, d.problem or d.detail) for d in lines]
    parts = [
        f"{data['profile']}: {data['mode']} account {data['account']}, data in {data['data_dir']}",
        table(("DAEMON", "STATUS", "AGE S", "PID", "DETAIL"), rows),
        *_facts(data),
    ]
    return "\n".join(parts)


def _facts(data: dict[str, object]) -> list[str]:
    from ibloop.adapters.ledger.guard_state import GuardRow
    from ibloop.adapters.ledger.runs import Run

    facts = []
    halt, run, guard = data["halt"], data["last_run"], data["guard"]
    if isinstance(halt, dict):
        text = f"HALTED ({halt['level']}): {halt['reason']}; `ibloop resume REASON` ends it"
        facts.append(style(text, "red"))
    if data["equity"] is not None:
        facts.append(f"equity {data['equity']} USD, cash {data['cash']} USD")
    if isinstance(guard, GuardRow):
        loss = f", day loss {guard.day_loss:.2%}" if guard.day_loss is not None else ""
        facts.append(f"guard {guard.status}, equity {guard.equity} by {guard.equity_source}{loss}")
    if isinstance(run, Run):
        reason = f" ({run.reason})" if run.reason else ""
        facts.append(f"last run {run.run_key} {run.status}{reason} {run.detail}")
    if data["unknown_orders"]:
        facts.append(style(f"{data['unknown_orders']} orders of unknown fate", "red"))
    if data["note"]:
        facts.append(str(data["note"]))
    return facts
