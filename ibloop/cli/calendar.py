"""``ibloop calendar``: when the exchange is open and when the rebalance is due."""

from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from ibloop.cli.common import Context, emit, json_option, pass_context
from ibloop.cli.terminal import coloured, table

if TYPE_CHECKING:
    from ibloop.config import Config
    from ibloop.core.lifecycle import RunState
    from ibloop.core.windows import Quiet


@click.group()
def calendar() -> None:
    """Show sessions and when the rebalance is due."""


@calendar.command()
@click.option(
    "--days", default=14, show_default=True, type=click.IntRange(1, 400), help="How many."
)
@json_option
@pass_context
def show(context: Context, days: int, as_json: bool) -> None:
    """Show the sessions of the coming days, closed days and half days included.

    Also by when every order must have ended, and when nothing is sent: around the gateway's daily
    restart and during IB's resets.

    \b
    Example:
      ibloop calendar show --days 30
    """
    from ibloop.core.sessions import trade_date

    config = context.config
    session = config.session
    zone = ZoneInfo(session.timezone)
    today = trade_date(datetime.now(UTC), session.timezone)
    data = [_day(config, today + timedelta(days=offset)) for offset in range(days)]
    rows = [
        (
            f"{line['date']:%a %Y-%m-%d}",
            _local(line["opens"], zone) if line["opens"] else "closed",
            _local(line["closes"], zone),
            _local(line["orders_end"], zone),
            _stretches(line["quiet"], zone),
        )
        for line in data
    ]
    columns = ("DAY", "OPENS", "CLOSES", "ORDERS END", "NOTHING SENT")
    emit("calendar", data, as_json, lambda: table(columns, rows))
    if not as_json:
        click.echo(f"calendar {session.calendar}, times in {session.timezone}", err=True)


def _day(config: "Config", day: date) -> dict[str, Any]:
    """Return one day: its session, when orders must have ended, when nothing is sent."""
    from ibloop.adapters.calendar import session_on
    from ibloop.core.windows import quiet_between

    session = session_on(config.session.calendar, day)
    closes = config.session.calendar != "always"
    begins, ends = (
        datetime.combine(d, time(), ZoneInfo(config.session.timezone)).astimezone(UTC)
        for d in (day, day + timedelta(days=1))
    )
    return {
        "date": day,
        "opens": session.opens if session else None,
        "closes": session.closes if session else None,
        "orders_end": session.closes - config.close_margin if session and closes else None,
        "quiet": quiet_between(config.quiet, begins, ends),
    }


@calendar.command("next")
@click.option("--weeks", default=4, show_default=True, type=click.IntRange(1, 53), help="How many.")
@json_option
@pass_context
def next_windows(context: Context, weeks: int, as_json: bool) -> None:
    """Show when the next rebalances are due, and whether their runs exist already.

    \b
    Example:
      ibloop calendar next --weeks 8
    """
    from ibloop.adapters.calendar import session_on
    from ibloop.core.schedule import always_window, windows_from
    from ibloop.core.windows import quiet_between

    config, now = context.config, datetime.now(UTC)
    name, timezone = config.session.calendar, config.session.timezone
    if name == "always":
        windows = [always_window(now, timezone)]
    else:
        found = windows_from(
            now,
            timezone,
            config.schedule,
            lambda day: session_on(name, day),
            config.close_margin,
            weeks + 1,
        )
        windows = list(found)[:weeks]
    zone = ZoneInfo(timezone)
    had = _runs(context, [window.key for window in windows])
    data: list[dict[str, Any]] = [
        {
            "key": window.key,
            "opens": window.opens,
            "closes": window.closes,
            "run": had.get(window.key),
            "quiet": quiet_between(config.quiet, window.opens, window.closes),
        }
        for window in windows
    ]
    rows = [
        (
            w["key"],
            _local(w["opens"], zone),
            _local(w["closes"], zone),
            coloured(w["run"] or "-"),
            _stretches(w["quiet"], zone),
        )
        for w in data
    ]
    columns = ("PERIOD", "DUE FROM", "UNTIL", "RUN", "NOTHING SENT")
    emit("calendar", data, as_json, lambda: table(columns, rows))
    if not as_json:
        click.echo(f"times in {timezone}", err=True)


def _runs(context: Context, keys: list[str]) -> "dict[str, RunState]":
    """Return the status of each period's run, as far as there is a ledger that has one."""
    from ibloop.adapters.ledger import runs

    if not context.has_ledger():
        return {}
    with closing(context.open_readonly()) as db:
        found = {key: runs.find_key(db, key) for key in keys}
    return {key: run.status for key, run in found.items() if run is not None}


def _local(moment: object, zone: ZoneInfo) -> str:
    if not isinstance(moment, datetime):
        return "-"
    return f"{moment.astimezone(zone):%a %Y-%m-%d %H:%M}"


def _stretches(quiet: "Iterable[Quiet]", zone: ZoneInfo) -> str:
    """Return stretches as times of the day, each once."""
    told = [
        f"{q.opens.astimezone(zone):%H:%M}-{q.closes.astimezone(zone):%H:%M} {q.name}"
        for q in quiet
    ]
    return "; ".join(told) or "-"
