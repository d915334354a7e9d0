"""``ibloop gateway``: keep a gateway alive and proven."""

import asyncio

import click

from ibloop.cli.common import Context, pass_context


@click.group()
def gateway() -> None:
    """Run the gateway keeper."""


@gateway.command("run")
@pass_context
def run_gateway(context: Context) -> None:
    """Keep the gateway alive and prove it, until SIGTERM.

    With the launcher `sim` the simulated gateway runs as its child and keeps its state under the
    data directory.

    \b
    Example:
      ibloop gateway run --data data
    """
    from ibloop import log
    from ibloop.daemons.gateway import run

    log.configure("gateway")
    asyncio.run(run(context.config, context.writable_data_dir()))
