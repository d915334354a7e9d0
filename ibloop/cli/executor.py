"""``ibloop executor``: the one process that sends orders."""

import asyncio

import click

from ibloop.cli.common import Context, pass_context


@click.group()
def executor() -> None:
    """Run the executor."""


@executor.command("run")
@pass_context
def run_executor(context: Context) -> None:
    """Claim queued runs, send their orders and record what becomes of them, until SIGTERM.

    \b
    Example:
      ibloop executor run --data data
    """
    from ibloop import log
    from ibloop.daemons.executor import run

    log.configure("executor")
    context.writable_data_dir()
    asyncio.run(run(context.profile))
