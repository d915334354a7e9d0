"""``ibloop stream``: prices into files, and what is in them."""

import asyncio
from pathlib import Path

import click

from ibloop.cli.common import Context, emit, json_option, pass_context
from ibloop.cli.stream_ask import subscribe, unsubscribe
from ibloop.cli.terminal import is_terminal
from ibloop.errors import Exit


@click.group()
def stream() -> None:
    """Run the price stream, show how it is and what it writes."""


stream.add_command(subscribe)
stream.add_command(unsubscribe)


@stream.command("run")
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also record every price in FILE, or its next free number, for `ibloop sim --replay`.",
)
@pass_context
def run_stream(context: Context, record: Path | None) -> None:
    """Write the prices of the universe and of every position to ib/stream, until SIGTERM.

    A recording ends at 4 GiB, and pauses while its disk has less than 1 GiB free; neither ends
    the stream.

    \b
    Examples:
      ibloop stream run --data data
      ibloop stream run --data data --record monday.jsonl.gz
    """
    from ibloop import log
    from ibloop.daemons.stream import run

    log.configure("stream")
    context.writable_data_dir()
    asyncio.run(run(context.profile, record))


@stream.command("status")
@json_option
@pass_context
def show_status(context: Context, as_json: bool) -> None:
    """Show how the stream is: its lines, what is left out, the oldest prices, errors.

    Exits 3 when it is not running or degraded.

    \b
    Example:
      ibloop stream status --data data
    """
    from ibloop.adapters.host import SystemClock
    from ibloop.cli.stream_view import read_stream, status_page

    seen = read_stream(context.profile, SystemClock().now())
    emit("stream", seen, as_json, lambda: status_page(seen))
    raise SystemExit(Exit.OK if seen.problem is None else Exit.DEGRADED)


@stream.command("tail")
@click.argument("symbols", nargs=-1, metavar="[SYMBOL]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines on a terminal too.")
@pass_context
def tail(context: Context, symbols: tuple[str, ...], as_json: bool) -> None:
    """Follow prices as they come, of these symbols or of all that are subscribed, until Ctrl-C.

    A live table on a terminal. Elsewhere, or with --json, a line of JSON for each version of a
    quote file, as it is in the file; a symbol whose file cannot be used has a line with
    `unusable` and `detail` instead, whenever that changes.

    \b
    Examples:
      ibloop stream tail --data data
      ibloop stream tail SPY QQQ --json | jq -c '[.symbol, .bid, .ask]'
    """
    from ibloop.cli.stream_view import follow_lines, follow_table

    follow = follow_lines if as_json or not is_terminal() else follow_table
    follow(context.profile, symbols)
