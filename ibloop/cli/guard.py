"""``ibloop guard``: watch the account and halt when it loses too much."""

import asyncio

import click

from ibloop.cli.common import Context, pass_context


@click.group()
def guard() -> None:
    """Run the guard."""


@guard.command("run")
@pass_context
def run_guard(context: Context) -> None:
    """Value the account every two seconds and halt at the limits, until SIGTERM.

    \b
    Example:
      ibloop guard run --data data
    """
    from ibloop import log
    from ibloop.daemons.guard import run

    log.configure("guard")
    context.writable_data_dir()
    asyncio.run(run(context.profile))
