"""``ibloop stream subscribe`` and ``unsubscribe``: ask the stream, and wait for its answer."""

from contextlib import closing
from datetime import UTC, datetime

import click

from ibloop.cli.common import Context, operator, pass_context, wait_for_answer
from ibloop.errors import NotRunningError, RefusedError

WAIT_S = 10.0

_symbols = click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")


@click.command()
@_symbols
@pass_context
def subscribe(context: Context, symbols: tuple[str, ...]) -> None:
    """Have the prices of symbols before others of the universe, until unsubscribed.

    For when there are more symbols than market data lines: what is held, about to trade or was
    last decided comes first in any case, then these. The stream must be running; it answers.

    \b
    Example:
      ibloop stream subscribe SPY QQQ
    """
    from ibloop.daemons.streaming.wanted import SUBSCRIBE

    _ask(context, SUBSCRIBE, symbols)


@click.command()
@_symbols
@pass_context
def unsubscribe(context: Context, symbols: tuple[str, ...]) -> None:
    """Do without the prices of symbols, until subscribed again.

    Their files stay and grow old. What is held cannot be unsubscribed; what is about to trade is
    subscribed all the same. The stream must be running; it answers.

    \b
    Example:
      ibloop stream unsubscribe QQQ
    """
    from ibloop.daemons.streaming.wanted import UNSUBSCRIBE

    _ask(context, UNSUBSCRIBE, symbols)


def _ask(context: Context, kind: str, symbols: tuple[str, ...]) -> None:
    """Queue a request and tell the answer. Raises: RefusedError, NotRunningError."""
    from ibloop.adapters.ledger import commands
    from ibloop.adapters.streamfiles import wake

    with closing(context.open_ledger()) as ledger:
        with ledger.transaction() as tx:
            now, args = datetime.now(UTC), {"symbols": list(symbols)}
            number = commands.request(tx, kind, args, operator(), now)
        wake(context.profile.stream_dir)
        answer = wait_for_answer(ledger.db, number, WAIT_S)
    if answer is None:
        raise NotRunningError(
            "the stream has not answered yet: is it running? It will answer when it does"
        )
    if answer.status is not commands.CommandStatus.DONE:
        raise RefusedError(str(answer.result))
    click.echo(answer.result, err=True)
