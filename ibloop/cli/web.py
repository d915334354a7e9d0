"""``ibloop web``: the page that shows the loop."""

import asyncio

import click

from ibloop.cli.common import Context, pass_context


@click.group()
def web() -> None:
    """Run the page that shows the loop."""


@web.command("run")
@pass_context
def run_web(context: Context) -> None:
    """Serve LiveTrade, its JSON API and /metrics on this machine, until SIGTERM.

    Prints the page's URL once it answers. It only reads: it needs no gateway and no other daemon,
    and nobody can trade or halt through it.

    \b
    Example:
      ibloop web run --data data
    """
    from ibloop import log
    from ibloop.web.server import run

    log.configure("web")
    context.writable_data_dir()
    asyncio.run(run(context.profile, click.echo))
