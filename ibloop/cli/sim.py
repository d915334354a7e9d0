"""`ibloop sim`: run the simulated IB Gateway."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from datetime import datetime

    from ibloop.sim import SimError, SimOptions

EXIT_FAILED = 1
EXIT_CONFIG = 78


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


@click.command()
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
    type=click.FloatRange(0, 23_400),
    default=1.0,
    show_default=True,
    help="Market seconds per second; 0 freezes the market.",
)
@click.option(
    "--date",
    type=click.DateTime(["%Y-%m-%d"]),
    default="2012-10-01",
    show_default=True,
    help="First session of the price history.",
)
@click.option("--account", "accounts", multiple=True, help="Account id; may be repeated.")
@click.option(
    "--cash", type=UsdAmount(), default="100000", show_default=True, help="Cash per account."
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
@click.option("--list-faults", is_flag=True, help="List the faults and exit.")
@click.option("--verbose", is_flag=True, help="Log what happens on stderr.")
def sim(
    *,
    host: str,
    port: int,
    control: int,
    seed: int,
    speed: float,
    date: datetime,
    accounts: tuple[str, ...],
    cash: Decimal,
    state: Path | None,
    faults: tuple[str, ...],
    master_client_id: int,
    list_faults: bool,
    verbose: bool,
) -> None:
    """Run a simulated IB Gateway.

    Any TWS API client may connect to it. Prints one JSON line when it accepts connections, and
    ends on SIGTERM or SIGINT. Port 0 picks a free port.

    \b
    Example:
      ibloop sim --port 0 --speed 60 --fault partial_fills:shares=10
    """
    from ibloop.sim import GatewayOptions, SimError, SimOptions, WorldOptions
    from ibloop.sim.faults import parse

    if list_faults:
        _list_faults()
        return
    level = logging.DEBUG if verbose else logging.ERROR
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(message)s")
    try:
        options = SimOptions(
            world=WorldOptions(_accounts(accounts), cash, seed, speed, date.date()),
            host=host,
            port=port,
            control_port=control,
            state=state,
            faults=tuple(parse(text) for text in faults),
            gateway=GatewayOptions(master_client_id),
        )
        failure = asyncio.run(_serve(options))
    except SimError as error:
        _exit(error, EXIT_CONFIG)
    if failure is not None:
        _exit(failure, EXIT_FAILED)


def _exit(error: SimError, code: int) -> NoReturn:
    click.echo(f"ibloop sim: {error}", err=True)
    sys.exit(code)


def _accounts(names: tuple[str, ...]) -> tuple[str, ...]:
    from ibloop.sim import SimError

    for name in names:
        if not (name.isascii() and name.isalnum()):
            raise SimError(f"expected an account id of letters and digits, was {name!r}")
    return tuple(dict.fromkeys(names)) or ("DU1234567",)


def _list_faults() -> None:
    from ibloop.sim.faults import describe

    for fault in describe():
        click.echo(f"{fault['name']}: {fault['what']}")
        for key, item in fault["parameters"].items():
            default = "none" if item["default"] is None else str(item["default"]).lower()
            click.echo(f"    {key}={default}  {item['what']}")


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
        waits = [asyncio.create_task(event.wait()) for event in (stop, gateway.failed)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
    return gateway.failure
