"""``ibloop guard``: watch the account and halt when it loses too much."""

import asyncio
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ibloop.cli.common import Context, Reason, emit, json_option, operator, pass_context
from ibloop.cli.terminal import coloured, facts, table, usd
from ibloop.errors import Exit, RefusedError

if TYPE_CHECKING:
    from ibloop.adapters.ledger.freezes import FreezeRow
    from ibloop.adapters.ledger.guard_state import GuardRow

WELL = ("ok", "warn")


@click.group()
def guard() -> None:
    """Run the guard, ask it, and release what it has frozen."""


@guard.command("run")
@pass_context
def run_guard(context: Context) -> None:
    """Value the account every few seconds and halt at the limits, until SIGTERM.

    \b
    Example:
      ibloop guard run --data data
    """
    from ibloop import log
    from ibloop.daemons.guard import run

    log.configure("guard")
    context.writable_data_dir()
    asyncio.run(run(context.profile))


@guard.command()
@json_option
@pass_context
def once(context: Context, as_json: bool) -> None:
    """Value the account once and say what the guard would do; write nothing.

    From the positions and figures in the ledger and the prices of the stream, without an IB
    session, so it can be asked while the guard runs and while it does not. Exits 3 unless the
    verdict is ok or warn.

    \b
    Example:
      ibloop guard once --data data/demo
    """
    from ibloop.adapters.host import SystemClock
    from ibloop.adapters.streamfiles import QuoteReader
    from ibloop.daemons.guarding.once import evaluate_once

    with closing(context.open_readonly()) as db:
        quotes = QuoteReader(context.profile.stream_dir)
        row = _whole(evaluate_once(db, context.config, quotes, SystemClock()))
    emit("guard", {"evaluation": row}, as_json, lambda: _evaluation(row))
    raise SystemExit(Exit.OK if row.status in WELL else Exit.DEGRADED)


def _whole(row: "GuardRow") -> "GuardRow":
    """Return a verdict that is well only if every holding has a price.

    The guard waits for a late price; who asks once has nothing to wait with.
    """
    unpriced = row.detail.get("unpriced")
    if row.status not in WELL or not isinstance(unpriced, list) or not unpriced:
        return row
    reason = f"no price of {', '.join(map(str, unpriced))}; see `ibloop stream status`"
    return replace(row, status="degraded", detail={**row.detail, "reason": reason})


@guard.command()
@json_option
@pass_context
def status(context: Context, as_json: bool) -> None:
    """Show the guard's last evaluation, what it measures against, and what is frozen.

    Exits 3 when the guard is silent or degraded, or a loss has reached a limit.

    \b
    Example:
      ibloop guard status --data data/demo
    """
    from ibloop.adapters.host import SystemClock
    from ibloop.adapters.ledger import freezes, guard_state
    from ibloop.core.gates import silence
    from ibloop.daemons.pretrade import pulse

    with closing(context.open_readonly()) as db:
        row, frozen = guard_state.last(db), freezes.standing(db)
    beat = pulse(context.profile, "guard")
    limit_s = context.config.guard.heartbeat_age_s_max
    problem = silence(beat, SystemClock().now(), limit_s, "watching")
    found = GuardStatus(problem is None, problem or "watching", row, frozen)
    emit("guard", found, as_json, lambda: _page(found))
    well = found.running and row is not None and row.status in WELL
    raise SystemExit(Exit.OK if well else Exit.DEGRADED)


@guard.command()
@click.argument("symbol")
@click.argument("reason", type=Reason())
@pass_context
def release(context: Context, symbol: str, reason: str) -> None:
    """Release a frozen SYMBOL although nothing has explained the difference.

    * is the account, and cash is money that has gone out: with that you say you took it.

    With that you also accept the shares as they are: the guard's own books take over what is held
    of SYMBOL. Look first: `ibloop positions explain` and the broker's own page. The ledger is not
    changed: where its fills do not explain the position it is frozen again, until you say
    `ibloop positions accept`.

    \b
    Example:
      ibloop guard release AAPL "the broker booked it twice and took it back"
    """
    from ibloop.adapters.ledger import freezes
    from ibloop.adapters.streamfiles import wake
    from ibloop.daemons.guarding.dropcopy import release as release_symbol

    with closing(context.open_ledger()) as ledger, ledger.transaction() as tx:
        released = release_symbol(tx, symbol, reason, datetime.now(UTC), operator())
        frozen = sorted(freezes.frozen_symbols(tx.db))
    if not released:
        raise RefusedError(f"{symbol} is not frozen; frozen: {', '.join(frozen) or 'nothing'}")
    wake(context.profile.stream_dir)
    click.echo(f"{symbol} is free again", err=True)


@dataclass(frozen=True, slots=True)
class GuardStatus:
    """What ``guard status`` shows; ``said`` is why the guard cannot be relied on, if so."""

    running: bool
    said: str
    evaluation: "GuardRow | None"
    frozen: "tuple[FreezeRow, ...]"


def _page(found: GuardStatus) -> str:
    row = found.evaluation
    parts = [facts([("guard", coloured(found.said))])]
    parts.append(_evaluation(row) if row else "it has not valued the account yet")
    if found.frozen:
        rows = [(f.symbol, f.kind, f"{f.created_at:%F %T}", f.reason) for f in found.frozen]
        parts.append(table(("FROZEN", "KIND", "SINCE (UTC)", "WHY"), rows))
    return "\n\n".join(parts)


def _evaluation(row: "GuardRow") -> str:
    pairs: list[tuple[str, str]] = [
        ("verdict", f"{coloured(row.status)}: {row.detail.get('reason', '')}"),
        ("at", f"{row.evaluated_at:%F %T} UTC"),
        ("equity", f"{usd(row.equity)} ({row.equity_source})"),
    ]
    if row.day_loss is not None and row.drawdown is not None:
        pairs.append(("day loss", f"{row.day_loss:z.2%} of {usd(row.baseline_equity)}"))
        pairs.append(("drawdown", f"{row.drawdown:z.2%}, peak {usd(row.peak_equity)}"))
    unpriced = row.detail.get("unpriced")
    if isinstance(unpriced, list) and unpriced:
        pairs.append(("no price", ", ".join(str(symbol) for symbol in unpriced)))
    return facts(pairs)
