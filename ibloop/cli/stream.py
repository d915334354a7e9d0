"""``ibloop stream``: prices into files."""

import asyncio

import click

from ibloop.cli.common import Context, pass_context


@click.group()
def stream() -> None:
    """Run the price stream."""


@stream.command("run")
@pass_context
def run_stream(context: Context) -> None:
    """Write the prices of the universe and of every position to ib/stream, until SIGTERM.

    \b
    Example:
      ibloop stream run --data data
    """
    from ibloop import log
    from ibloop.daemons.stream import run

    log.configure("stream")
    context.writable_data_dir()
    asyncio.run(run(context.profile))
