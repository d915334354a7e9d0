"""``ibloop demo``: one story, told by the real daemons on the simulated gateway."""

from pathlib import Path

import click

from ibloop.cli.common import Context, pass_context
from ibloop.cli.terminal import is_terminal


@click.command()
@click.option("--once", is_flag=True, help="End after the story instead of running on.")
@pass_context
def demo(context: Context, once: bool) -> None:
    """Play a whole week on the simulated gateway: no account needed.

    Starts gateway, stream, executor and guard as systemd would, rebalances, meets a partial fill
    and a rejection, and sees the guard halt a crash. Everything is in the directory demo of the
    data directory (default: data), made anew each time. Runs on until Ctrl-C; with --once, or
    without a terminal, it ends after the story.

    \b
    Example:
      ibloop demo --once
    """
    from ibloop.cli.demo_stage import play

    directory = (context.data_option or Path("data")).absolute() / "demo"
    raise SystemExit(play(directory, once=once or not is_terminal()))
