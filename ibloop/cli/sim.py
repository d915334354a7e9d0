"""`ibloop sim`: run the simulated IB Gateway."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import signal
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ibloop.cli.grouped import GroupedCommand

if TYPE_CHECKING:
    from datetime import datetime

    from ibloop.sim import AccountSpec, SimError, SimOptions

EXIT_FAILED = 1
EXIT_CONFIG = 78
# Updates of one symbol that are closer than this in a recording are played as one.
REPLAY_SAMPLE_MS = 50


# How the help shows the options: by what they are about.
GROUPS = {
    "Where it listens": ("host", "port", "control"),
    "Market": ("speed", "hours", "date", "seed", "synthetic", "sample_ms", "replay"),
    "Accounts": ("accounts", "cash", "settled_only", "liquidation", "state"),
    "Login and gateway settings": (
        "market_data",
        "market_data_lines",
        "master_client_id",
        "visibility",
        "open_orders_on_connect",
        "message_rate",
        "historical_pacing",
        "max_server_version",
    ),
    "Faults": ("faults", "list_faults"),
}


class UsdAmount(click.ParamType[Decimal]):
    """A positive amount of US dollars."""

    name = "usd"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        """Return the amount, or fail as click does."""
        try:
            amount = Decimal(value)
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite() or not 0 < amount <= Decimal(10) ** 12:
            self.fail(f"expected an amount above 0 and up to 1e12, was {value}", param, ctx)
        return amount


class Speed(click.FloatRange):
    """A finite number within a range: NaN is neither above nor below anything."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or fail as click does."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"expected a number, was {value}", param, ctx)
        return number


@click.command(cls=GroupedCommand, groups=GROUPS)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the API port.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=4002, show_default=True, help="API port."
)
@click.option(
    "--control",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Control port, always on loopback.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of prices and sizes.")
@click.option(
    "--speed",
    type=Speed(0, 23_400),
    default=1.0,
    show_default=True,
    help="Market seconds per second: a session of 23,400 s lasts a minute at 390; 0 freezes it.",
)
@click.option(
    "--hours",
    type=click.Choice(["always", "exchange"]),
    default="always",
    show_default=True,
    help="Trade around the clock, session after session, or in the hours of NYSE.",
)
@click.option(
    "--synthetic",
    type=click.IntRange(0, 10_000),
    default=0,
    show_default=True,
    help="Further made-up symbols, SYN001 onwards.",
)
@click.option(
    "--sample-ms",
    type=click.IntRange(1, 60_000),
    default=250,
    show_default=True,
    help="Time between two samples of the market; 50 with --replay.",
)
@click.option(
    "--replay",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Play what `ibloop stream run --record` wrote, instead of the price history.",
)
@click.option(
    "--market-data",
    type=click.Choice(["live", "delayed", "none"]),
    default="live",
    show_default=True,
    help="What market data the login is entitled to.",
)
@click.option(
    "--market-data-lines",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Streams of prices a client may have at once before error 101; 0: any number.",
)
@click.option(
    "--date",
    type=click.DateTime(["%Y-%m-%d"]),
    default="2012-10-01",
    show_default=True,
    help="First session of the price history.",
)
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="ID[:cash|margin][:CASH_USD]",
    help="Account, a cash account unless told otherwise; may be repeated.",
)
@click.option(
    "--cash",
    type=UsdAmount(),
    default="100000",
    show_default=True,
    help="Cash of each account that does not say its own.",
)
@click.option(
    "--settled-only",
    is_flag=True,
    help="Cash accounts may not spend the proceeds of a sale before they settle (T+1).",
)
@click.option(
    "--liquidation/--no-liquidation",
    default=True,
    show_default=True,
    help="Whether the broker closes positions of margin accounts below maintenance margin.",
)
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that keeps orders, positions and ids over a restart.",
)
@click.option("--fault", "faults", multiple=True, help="NAME or NAME:key=value,key=value.")
@click.option(
    "--master-client-id", type=int, default=10, show_default=True, help="Sees everybody's orders."
)
@click.option(
    "--max-server-version",
    type=click.IntRange(157, 200),
    default=200,
    show_default=True,
    help="Highest protocol version offered to a client.",
)
@click.option(
    "--message-rate",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="Messages a client may send per second before error 100; 0: any number.",
)
@click.option(
    "--historical-pacing/--no-historical-pacing",
    default=True,
    show_default=True,
    help="Whether queries for bars of 30 seconds or less that come too often get error 162.",
)
@click.option(
    "--open-orders-on-connect",
    is_flag=True,
    help="Send a client its open orders when it connects, without being asked.",
)
@click.option(
    "--visibility",
    type=click.Choice(["own", "all"]),
    default="own",
    show_default=True,
    help="Whose orders and executions a client sees; client 0 and the master see all.",
)
@click.option("--list-faults", is_flag=True, help="List the faults and exit.")
@click.option("--verbose", is_flag=True, help="Log what happens on stderr.")
def sim(*, list_faults: bool, verbose: bool, **given: Any) -> None:
    """Run a simulated IB Gateway.

    Any TWS API client may connect to it. Prints one JSON line with its ports when it accepts
    connections, and ends on SIGTERM or SIGINT. Port 0 picks a free port.

    \b
    Examples:
      ibloop sim                                     at the pace of the clock, on port 4002
      ibloop sim --port 0 --speed 0                  frozen, on free ports: for tests
      ibloop sim --speed 390 --seed 7                a session a minute
      ibloop sim --hours exchange                    open when New York is
      ibloop sim --account DU1:margin:250000 --account DU2 --state sim.state
      ibloop sim --replay monday.jsonl.gz --speed 10  a recorded day, ten times as fast
      ibloop sim --fault partial_fills:shares=10 --fault commission_late:delay_s=5
    """
    from ibloop.sim import SimError

    if list_faults:
        _list_faults()
        return
    level = logging.DEBUG if verbose else logging.ERROR
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(message)s")
    if given["replay"] is not None:
        _fit_replay(given)
    try:
        failure = asyncio.run(_serve(_options(**given)))
    except SimError as error:
        _exit(error, EXIT_CONFIG)
    if failure is not None:
        _exit(failure, EXIT_FAILED)


def _fit_replay(given: dict[str, Any]) -> None:
    """Sample a recording as closely as it may have been recorded; refuse what it cannot do."""
    if given["hours"] != "always" or given["market_data"] == "delayed":
        raise click.UsageError("a recording has hours of its own, and no prices of before")
    source = click.get_current_context().get_parameter_source("sample_ms")
    if source is click.core.ParameterSource.DEFAULT:
        given["sample_ms"] = REPLAY_SAMPLE_MS


def _options(
    *,
    host: str,
    port: int,
    control: int,
    seed: int,
    speed: float,
    hours: str,
    synthetic: int,
    sample_ms: int,
    replay: Path | None,
    market_data: str,
    market_data_lines: int,
    date: datetime,
    accounts: tuple[str, ...],
    cash: Decimal,
    settled_only: bool,
    liquidation: bool,
    state: Path | None,
    faults: tuple[str, ...],
    master_client_id: int,
    visibility: str,
    max_server_version: int,
    message_rate: int,
    historical_pacing: bool,
    open_orders_on_connect: bool,
) -> SimOptions:
    """Return what the command line says. Raises: SimError for an unknown fault or account."""
    from ibloop.sim import GatewayOptions, MarketDataAccess, SimOptions, WorldOptions
    from ibloop.sim.faults import parse

    return SimOptions(
        world=WorldOptions(
            accounts=_accounts(accounts),
            cash_usd=cash,
            seed=seed,
            speed=speed,
            start=date.date(),
            hours=hours,
            sample_s=sample_ms / 1000,
            synthetic=synthetic,
            replay=replay,
            settled_only=settled_only,
            liquidation=liquidation,
        ),
        host=host,
        port=port,
        control_port=control,
        state=state,
        faults=tuple(parse(text) for text in faults),
        gateway=GatewayOptions(
            master_client_id=master_client_id,
            visibility=visibility,
            server_version_max=max_server_version,
            message_rate_max=message_rate,
            historical_pacing=historical_pacing,
            open_orders_on_connect=open_orders_on_connect,
            market_data=MarketDataAccess(market_data),
            market_data_lines=market_data_lines,
        ),
    )


def _exit(error: SimError, code: int) -> NoReturn:
    click.echo(f"ibloop sim: {error}", err=True)
    sys.exit(code)


def _accounts(texts: tuple[str, ...]) -> tuple[AccountSpec, ...]:
    from ibloop.sim import AccountSpec

    return tuple(AccountSpec.parse(text) for text in texts or ("DU1234567",))


def _list_faults() -> None:
    from ibloop.sim.faults import describe, shown

    for fault in describe():
        click.echo(f"{fault['name']}: {fault['what']}")
        for key, item in fault["parameters"].items():
            click.echo(f"    {key}={shown(item['default'])}  {item['what']}")


async def _serve(options: SimOptions) -> SimError | None:
    """Serve until a signal, and return None, or until a failure, and return that.

    Raises: SimError when it cannot start.
    """
    from ibloop.sim import SimGateway

    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with SimGateway(options) as gateway:
        ready = {
            "event": "sim.ready",
            "host": options.host,
            "port": gateway.port,
            "control_port": gateway.control_port,
        }
        click.echo(json.dumps(ready))
        sys.stdout.flush()
        ended = asyncio.create_task(_tell_end(gateway.replayed))
        waits = [asyncio.create_task(event.wait()) for event in (stop, gateway.failed)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in (*waits, ended):
            wait.cancel()
    return gateway.failure


async def _tell_end(replayed: asyncio.Event) -> None:
    """Say when the recording is over, for the prices of a simulator seldom stand still."""
    await replayed.wait()
    click.echo("ibloop sim: the recording is over; its prices stand still from now on", err=True)
