"""``ibloop alerts``: what people should know, and whether it has reached them."""

import asyncio
import sys
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ibloop.cli.common import (
    Context,
    Reason,
    emit,
    is_text,
    json_option,
    limit_option,
    operator,
    pass_context,
)
from ibloop.cli.terminal import table
from ibloop.errors import BadInputError, ConfigError, Exit

if TYPE_CHECKING:
    from ibloop.adapters.ledger.alerts import Alert
    from ibloop.adapters.ledger.connection import Connection

EVENT_LENGTH_MAX = 64
TEXT_LENGTH_MAX = 10_000
TEST_ROOM = 3500
"""A test is one message: with its first and last line it must fit into 4096 characters."""


@click.group()
def alerts() -> None:
    """List, raise, test, deliver and acknowledge alerts."""


@alerts.command("list")
@click.option("--undelivered", is_flag=True, help="Only those that wait, or were refused for good.")
@limit_option(50)
@json_option
@pass_context
def list_alerts(context: Context, undelivered: bool, limit: int, as_json: bool) -> None:
    """List alerts, newest first, and whether Telegram has taken them.

    A dead one was refused by Telegram and is not tried again; its last error says why.

    \b
    Example:
      ibloop alerts list --undelivered
    """
    from ibloop.adapters.ledger.alerts import listing
    from ibloop.daemons.overview_ledger import alert_data

    with closing(context.open_readonly()) as db:
        rows = listing(db, limit, undelivered=undelivered)
    lines = [
        (a.alert_id, a.created_at, a.severity, a.event, a.state, a.text, a.last_error) for a in rows
    ]
    columns = ("ALERT", "CREATED (UTC)", "SEVERITY", "EVENT", "STATE", "TEXT", "LAST ERROR")
    data = [alert_data(a) for a in rows]
    emit("alerts", data, as_json, lambda: table(columns, lines))


@alerts.command()
@click.argument("numbers", metavar="[ALERT]...", nargs=-1, type=click.IntRange(min=1))
@click.option("--all", "is_all", is_flag=True, help="All that wait, or were refused for good.")
@click.option("--reason", type=Reason(), help="What you say to it, for the audit log.")
@pass_context
def ack(context: Context, numbers: tuple[int, ...], is_all: bool, reason: str | None) -> None:
    """Say that you have read an alert: it is not sent any more, and blocks no run.

    ALERT is its number, as `ibloop alerts list` and the message itself show it. Works with every
    daemon down; a message that is being sent at this moment still arrives. Prints what was
    acknowledged. An unknown number exits 65 and acknowledges nothing.

    \b
    Example:
      ibloop alerts ack 17 --reason "seen in the list, nothing to mend"
    """
    from ibloop.adapters.ledger.alerts import acknowledge
    from ibloop.adapters.streamfiles import wake

    if is_all == bool(numbers):
        raise click.UsageError("Name the alerts by number, or say --all.")
    with closing(context.open_ledger()) as ledger, ledger.transaction() as tx:
        found = _chosen(tx.db, numbers)
        fresh = acknowledge(tx, found.keys(), reason, datetime.now(UTC), operator())
    wake(context.profile.stream_dir)
    for alert in (found[number] for number in sorted(found.keys() - fresh)):
        by = f"{alert.acknowledged_by}, {alert.acknowledged_at:%F %T} UTC"
        click.echo(f"alert {alert.alert_id} has been acknowledged before: {by}", err=True)
    if fresh:
        lines = [(n, found[n].event, found[n].text) for n in fresh]
        click.echo(table(("ALERT", "EVENT", "TEXT"), lines))
    if not found:
        click.echo("nothing waits, and nothing was refused for good", err=True)


def _chosen(db: "Connection", numbers: tuple[int, ...]) -> "dict[int, Alert]":
    """Return the alerts with these numbers; without one, all that are undelivered now.

    Raises: BadInputError when there is no such alert.
    """
    from ibloop.adapters.ledger.alerts import listing, named

    if not numbers:
        return {alert.alert_id: alert for alert in listing(db, None, undelivered=True)}
    found = named(db, numbers)
    unknown = [str(number) for number in dict.fromkeys(numbers) if number not in found]
    if unknown:
        told = f"there is no alert {', '.join(unknown)}, and nothing is acknowledged"
        raise BadInputError(f"{told}; `ibloop alerts list` shows them")
    return found


@alerts.command("raise")
@click.option("--event", required=True, help="What happened, as noun.verb_past: unit.failed.")
@click.option(
    "--severity",
    type=click.Choice(["info", "warning", "critical"]),
    default="warning",
    show_default=True,
    help="critical means that a person must act; info makes no sound.",
)
@click.argument("text")
@pass_context
def raise_one(context: Context, event: str, severity: str, text: str) -> None:
    """Put an alert into the outbox; works with every daemon down.

    It is delivered by `ibloop alerts run`, at once if that runs, else when it next does.

    \b
    Example:
      ibloop alerts raise --event unit.failed --severity critical "the stream does not start"
    """
    from ibloop.adapters.ledger.alerts import raise_alert
    from ibloop.adapters.streamfiles import wake

    event = event.strip()
    if not 0 < len(event) <= EVENT_LENGTH_MAX or not is_text(event):
        raise click.BadParameter(
            f"expected 1 to {EVENT_LENGTH_MAX} characters", param_hint="--event"
        )
    by, now = operator(), datetime.now(UTC)
    with closing(context.open_ledger(create=True)) as ledger, ledger.transaction() as tx:
        found = raise_alert(tx, severity, event, "", _storable(text) or event, None, now, by)
    wake(context.profile.stream_dir)
    click.echo(f"alert {found} is in the outbox", err=True)


def _storable(text: str) -> str:
    """Return any text so that it can be stored: an alert must not be lost to an odd character."""
    whole = text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ").strip()
    return whole[:TEXT_LENGTH_MAX]


@alerts.command("test")
@click.argument("text", default="")
@pass_context
@click.pass_context
def send_test(ctx: click.Context, context: Context, text: str) -> None:
    """Send a message to Telegram at once, past the outbox, and print ok.

    Exits 1 with the reason when Telegram does not take it, 78 when it is not configured.

    \b
    Example:
      ibloop alerts test "can you read this?"
    """
    from html import escape

    from ibloop.core.alerting import split
    from ibloop.core.delivery import Outcome
    from ibloop.daemons.alerts import UNCONFIGURED, bot_of, origin

    bot = bot_of(context.profile)
    if bot is None:
        raise ConfigError(UNCONFIGURED)
    words = split(_storable(text) or "This is a test: alerts reach you.", TEST_ROOM)[0]
    said = f"<b>TEST</b>\n{escape(words)}\n<i>{escape(origin(context.profile))}</i>"
    with closing(bot):
        reply = bot.send(said, as_html=True, silent=False)
    if reply.outcome is Outcome.DELIVERED:
        click.echo("ok")
    else:
        click.echo(f"ibloop: not delivered: {reply.detail}", err=True)
        ctx.exit(Exit.FAILED)


@alerts.command("run")
@pass_context
def run_alerts(context: Context) -> None:
    """Deliver the outbox to Telegram and watch the other daemons' heartbeats, until SIGTERM.

    \b
    Example:
      ibloop alerts run --data data
    """
    from ibloop import log
    from ibloop.adapters.telegram import redacted
    from ibloop.daemons.alerts import run

    log.configure("alerts", stream=redacted(sys.stderr))
    context.writable_data_dir()
    asyncio.run(run(context.profile))
