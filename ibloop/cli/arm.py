"""``ibloop arm`` and ``disarm``: a person's permission to trade live, which ends by itself."""

import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import click

from ibloop.cli.common import Context, Reason, emit, json_option, operator, pass_context
from ibloop.cli.terminal import facts, usd
from ibloop.core.arming import HOURS_MAX, Arming
from ibloop.errors import Exit, RefusedError

if TYPE_CHECKING:
    from ibloop.adapters.ledger.connection import Connection

RUNS_MAX = 100
NOTIONAL_USD_MAX = Decimal(10) ** 12


class Usd(click.ParamType[Decimal]):
    """A positive amount of USD."""

    name = "usd"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        """Return the amount, or fail as click does."""
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite() or not 0 < amount <= NOTIONAL_USD_MAX:
            self.fail(f"expected an amount above 0 and up to 1e12, was {value}", param, ctx)
        return amount


@click.command()
@click.option("--account", help="The account to arm, in full [default: asked for].")
@click.option("--hours", type=click.FloatRange(0, HOURS_MAX, min_open=True), help="For how long.")
@click.option("--notional", type=Usd(), help="USD that may be sent in all, buys and sells.")
@click.option(
    "--runs",
    default=1,
    show_default=True,
    type=click.IntRange(1, RUNS_MAX),
    help="How many runs may send.",
)
@click.option("--status", is_flag=True, help="Show the permission that stands; change nothing.")
@json_option
@pass_context
def arm(
    context: Context,
    account: str | None,
    hours: float | None,
    notional: Decimal | None,
    runs: int,
    status: bool,
    as_json: bool,
) -> None:
    """Permit live trading for a while, an amount and a number of runs.

    It ends by itself: with its time, by either clock; with the next boot; when amount or runs are
    used up; when the configuration, the universe or the program changes. Each run still needs its
    approval (`ibloop run approve`). With --status it exits 3 when nothing may be sent.

    \b
    Example:
      ibloop arm --account U1234567 --hours 3 --notional 50000 --runs 1
    """
    if status:
        _show(context, as_json)
        return
    config = context.config
    if config.mode != "live":
        raise RefusedError(
            f"profile {context.profile.name} trades paper, which needs no arming; "
            "name the live profile with --profile"
        )
    if hours is None or notional is None:
        raise click.UsageError("--hours and --notional are needed: what is permitted, for how long")
    _confirm(account, config.account, f"{usd(notional)} in {runs} runs for {hours:g} h")
    found = _arm(context, hours, notional, runs)
    emit("arming", _data(found, None), as_json, lambda: facts(_facts(found, None)))
    context.tell("`ibloop disarm REASON` ends it at once")


@click.command()
@click.argument("reason", type=Reason(), default="by hand")
@pass_context
def disarm(context: Context, reason: str) -> None:
    """End the permission to trade live, now.

    \b
    Example:
      ibloop disarm "done for today"
    """
    from ibloop.adapters.ledger import arming
    from ibloop.adapters.streamfiles import wake

    with closing(context.open_ledger()) as ledger, ledger.transaction() as tx:
        was = arming.disarm(tx, operator(), reason, datetime.now(UTC))
    wake(context.profile.stream_dir)
    click.echo("disarmed" if was else "nothing was armed", err=True)


def _confirm(given: str | None, account: str, what: str) -> None:
    """Let a person type the account: nobody arms another one than they think.

    Raises: RefusedError for another account; UsageError when nobody can be asked.
    """
    if given is None:
        if not sys.stdin.isatty():
            raise click.UsageError("name the account with --account: nobody is there to be asked")
        click.echo(f"This permits LIVE trading: {what}.", err=True)
        given = click.prompt("Type the account number to arm it", err=True)
    if given.strip() != account:
        raise RefusedError(
            f"expected the account of this profile, was {given.strip()!r}; nothing is armed"
        )


def _arm(context: Context, hours: float, notional: Decimal, runs: int) -> Arming:
    from ibloop.adapters.host import SystemClock, build_id
    from ibloop.adapters.ledger import alerts, arming
    from ibloop.adapters.streamfiles import wake
    from ibloop.adapters.universe import load_universe
    from ibloop.core.arming import term_from
    from ibloop.core.invariant import present

    config, by = context.config, operator()
    with closing(context.open_ledger()) as ledger, ledger.transaction() as tx:
        now = SystemClock().now()
        wanted = arming.Wanted(
            account=config.account,
            term=term_from(now, timedelta(hours=hours)),
            config_hash=config.config_hash,
            universe_hash=load_universe(context.profile).content_hash,
            build=build_id(),
            notional_usd_max=notional,
            runs_max=runs,
        )
        arming_id = arming.arm(tx, wanted, by, now.utc)
        until = f"{wanted.term.expires.utc:%F %H:%M} UTC"
        text = f"live trading armed by {by}: {usd(notional)} in {runs} runs until {until}"
        alerts.raise_alert(tx, "warning", "live.armed", str(arming_id), text, None, now.utc, by)
        found = present(arming.current(tx.db), "the permission just given")
    wake(context.profile.stream_dir)
    return found


def _show(context: Context, as_json: bool) -> None:
    if context.config.mode != "live":
        data = {"armed": False, "problem": None}
        emit("arming", data, as_json, lambda: facts([("armed", "not needed on paper")]))
        return
    with closing(context.open_readonly()) as db:
        found, problem = standing(context, db)
    emit("arming", _data(found, problem), as_json, lambda: facts(_facts(found, problem)))
    raise SystemExit(Exit.OK if problem is None else Exit.DEGRADED)


def standing(context: Context, db: "Connection") -> tuple[Arming | None, str | None]:
    """Return the permission nobody has ended, and why a new run may not send under it."""
    from ibloop.adapters.host import SystemClock, build_id
    from ibloop.adapters.ledger import arming
    from ibloop.adapters.universe import universe_hash
    from ibloop.core.arming import why_unarmed

    config = context.config
    found = arming.current(db)
    problem = why_unarmed(
        found,
        SystemClock().now(),
        account=config.account,
        config_hash=config.config_hash,
        universe_hash=universe_hash(context.profile),
        build=build_id(),
        run_id=None,
    )
    return found, problem


def _data(found: Arming | None, problem: str | None) -> dict[str, object]:
    if found is None:
        return {"armed": False, "problem": problem}
    return {
        "armed": problem is None,
        "problem": problem,
        "account": found.account,
        "armed_by": found.armed_by,
        "armed_at": found.armed_at,
        "expires_at": found.term.expires.utc,
        "notional_usd_max": found.notional_usd_max,
        "notional_usd_left": found.left_usd,
        "runs_max": found.runs_max,
        "runs_left": found.runs_left,
        "build": found.build,
        "config_hash": found.config_hash,
        "universe_hash": found.universe_hash,
    }


def _facts(found: Arming | None, problem: str | None) -> list[tuple[str, str]]:
    if found is None:
        return [("armed", f"no: {problem}")]
    return [
        ("armed", "yes" if problem is None else f"no: {problem}"),
        ("account", found.account),
        ("by", f"{found.armed_by}, {found.armed_at:%F %T} UTC"),
        ("until", f"{found.term.expires.utc:%F %T} UTC, or the next boot"),
        ("amount", f"{usd(found.left_usd)} left of {usd(found.notional_usd_max)}"),
        ("runs", f"{found.runs_left} left of {found.runs_max}"),
    ]
