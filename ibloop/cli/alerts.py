"""``ibloop alerts``: what people should know, and whether it has reached them."""

import asyncio
import sys
from contextlib import closing
from datetime import UTC, datetime

import click

from ibloop.cli.common import (
    Context,
    emit,
    is_text,
    json_option,
    limit_option,
    operator,
    pass_context,
)
from ibloop.cli.terminal import table
from ibloop.errors import ConfigError, Exit

EVENT_LENGTH_MAX = 64
TEXT_LENGTH_MAX = 10_000
TEST_ROOM = 3500
"""A test is one message: with its first and last line it must fit into 4096 characters."""


@click.group()
def alerts() -> None:
    """List, raise, test and deliver alerts."""


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

    with closing(context.open_readonly()) as db:
        rows = listing(db, limit, undelivered=undelivered)
    lines = [
        (a.alert_id, a.created_at, a.severity, a.event, a.state, a.text, a.last_error) for a in rows
    ]
    columns = ("ALERT", "CREATED (UTC)", "SEVERITY", "EVENT", "STATE", "TEXT", "LAST ERROR")
    emit("alerts", rows, as_json, lambda: table(columns, lines))


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
