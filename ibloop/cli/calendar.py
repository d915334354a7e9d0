"""``ibloop calendar``: when the exchange is open and when the rebalance is due."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import click

from ibloop.cli.common import Context, emit, json_option, pass_context
from ibloop.cli.terminal import table


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

    \b
    Example:
      ibloop calendar show --days 30
    """
    from ibloop.adapters.calendar import session_on
    from ibloop.core.sessions import trade_date

    config = context.config.session
    zone = ZoneInfo(config.timezone)
    today = trade_date(datetime.now(UTC), config.timezone)
    data = []
    for offset in range(days):
        day = today + timedelta(days=offset)
        session = session_on(config.calendar, day)
        data.append(
            {
                "date": day.isoformat(),
                "opens": session.opens if session else None,
                "closes": session.closes if session else None,
            }
        )
    rows = [
        (
            f"{datetime.fromisoformat(str(line['date'])):%a %Y-%m-%d}",
            _local(line["opens"], zone),
            _local(line["closes"], zone),
        )
        for line in data
    ]
    emit("calendar", data, as_json, lambda: table(("DAY", "OPENS", "CLOSES"), rows))
    if not as_json:
        click.echo(f"calendar {config.calendar}, times in {config.timezone}", err=True)


@calendar.command("next")
@click.option("--weeks", default=4, show_default=True, type=click.IntRange(1, 53), help="How many.")
@json_option
@pass_context
def next_windows(context: Context, weeks: int, as_json: bool) -> None:
    """Show when the next rebalances are due.

    \b
    Example:
      ibloop calendar next --weeks 8
    """
    from ibloop.adapters.calendar import session_on
    from ibloop.core.schedule import always_window, windows_from

    config, now = context.config, datetime.now(UTC)
    name, timezone = config.session.calendar, config.session.timezone
    if name == "always":
        windows = [always_window(now, timezone)]
    else:
        found = windows_from(
            now, timezone, config.schedule, lambda day: session_on(name, day), weeks + 1
        )
        windows = list(found)[:weeks]
    zone = ZoneInfo(timezone)
    rows = [(w.key, _local(w.opens, zone), _local(w.closes, zone)) for w in windows]
    emit("calendar", windows, as_json, lambda: table(("PERIOD", "DUE FROM", "UNTIL"), rows))
    if not as_json:
        click.echo(f"times in {timezone}", err=True)


def _local(moment: object, zone: ZoneInfo) -> str:
    if not isinstance(moment, datetime):
        return "closed"
    return f"{moment.astimezone(zone):%a %Y-%m-%d %H:%M}"
