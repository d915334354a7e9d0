"""The simulator in other people's tests: a pytest fixture, and a context manager without pytest.

    pytest_plugins = ["ibloop.sim.testing"]           # conftest.py

    def test_my_bot(ib_gateway):
        ib_gateway.quote("AAPL", bid=99.98, ask=100.00)
        my_bot.run(port=ib_gateway.port)
        assert ib_gateway.executions()[0]["price"] == 100.00

The simulator runs in a thread with an event loop of its own, so that any client library may
connect, from tests with and without asyncio. The market is frozen unless told otherwise: a test
knows every price. It is no entry point: whoever only installs ibloop gets no pytest plugin.
"""

import asyncio
import contextlib
import http.client
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from threading import Event, Thread
from typing import Any

from ibloop.sim.model import SimError
from ibloop.sim.server import SimGateway, SimOptions
from ibloop.sim.world import WorldOptions

START_S_MAX = 30.0
STOP_S_MAX = 30.0
ANSWER_S_MAX = 30.0

Row = dict[str, Any]
Price = float | Decimal | None


class Simulator:
    """A running simulator; every method may be called from any thread.

    `host` and `port` are where clients connect, `control_port` is the HTTP port that the methods
    use. Rows are as in `GET /truth`: prices and quantities are JSON numbers.
    """

    def __init__(self, options: SimOptions) -> None:
        """Prepare; the state file is needed for `restart`."""
        self._options = options
        self.host = options.host
        self.port = options.port
        self.control_port = options.control_port
        self._error: Exception | None = None

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Serve. Raises: SimError when it cannot start, as with a port in use."""
        self._ready = Event()
        self._error = None
        self._thread = Thread(target=self._run, name="ib-gateway", daemon=True)
        self._thread.start()
        if not self._ready.wait(START_S_MAX):
            raise SimError(f"the simulator did not start in {START_S_MAX:.0f} s")
        if self._error is not None:
            self._thread.join()
            raise self._error

    def stop(self) -> None:
        """End every connection and stop. Raises: SimError when it had failed before."""
        # It may have failed and gone already.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(STOP_S_MAX)
        if self._thread.is_alive():
            raise SimError(f"the simulator did not stop in {STOP_S_MAX:.0f} s")
        if self._error is not None:
            raise self._error

    def restart(self) -> None:
        """Stop and start again on the same ports, with everything it knew but the faults."""
        self.stop()
        self._options = replace(self._options, port=self.port, control_port=self.control_port)
        self.start()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001  # why: raised again by start or stop
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with SimGateway(self._options) as gateway:
            self.port, self.control_port = gateway.port, gateway.control_port
            self._ready.set()
            waits = [asyncio.create_task(event.wait()) for event in (self._end, gateway.failed)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        if gateway.failure is not None:
            raise gateway.failure

    # ------------------------------------------------------------------ market and time

    def quote(
        self, symbol: str, *, bid: Price = None, ask: Price = None, last: Price = None
    ) -> Row:
        """Fix prices of one symbol, in USD, and return the quote; what is None moves freely.

        Raises: SimError for an unknown symbol, what is no price in the symbol's price steps, or a
        bid that is not below the ask.
        """
        prices = {"bid": bid, "ask": ask, "last": last}
        return self._post(
            "/quote", symbol=symbol, **{key: _number(prices[key], key) for key in prices}
        )

    def halt(self, symbol: str) -> None:
        """Stop trading in one symbol."""
        self._post("/quote", symbol=symbol, halted=1)

    def resume(self, symbol: str) -> None:
        """Let one symbol trade again."""
        self._post("/quote", symbol=symbol, halted=0)

    def shock(self, fraction: float) -> None:
        """Multiply every price by 1 + fraction, from now on."""
        self._post("/quote", shock=_number(fraction, "shock"))

    def clock(self, *, to: datetime | str | None = None, offset_s: float | None = None) -> datetime:
        """Set server time to an aware time, or to real time plus seconds; return it.

        A text is an ISO-8601 time with its zone. `offset_s=0` is real time again.
        Raises: SimError without either, with both, or for what is no time.
        """
        moment = to.isoformat() if isinstance(to, datetime) else to
        given = {"to": moment, "offset_s": _number(offset_s, "offset_s")}
        body = {key: value for key, value in given.items() if value is not None}
        return datetime.fromisoformat(self._post("/clock", **body)["server_time"])

    # ------------------------------------------------------------------ faults

    def fault(self, name: str, **parameters: Any) -> int:
        """Let a fault begin, and return its number for `clear_fault`.

        `ibloop sim --list-faults` names faults and parameters.
        Raises: SimError naming the one that is wrong.
        """
        return int(self._post("/fault", name=name, **parameters)["id"])

    def clear_fault(self, number: int) -> None:
        """End one fault. Raises: SimError when it is not in force."""
        self._post("/fault", clear=number)

    def clear_faults(self) -> None:
        """End all faults."""
        self._post("/fault", name="clear")

    def faults(self) -> list[Row]:
        """Return the faults in force: `id`, `name`, parameters and `struck`, how often it did."""
        return list(self._ask("GET", "/faults")["active"])

    # ------------------------------------------------------------------ what really happened

    def truth(self) -> Row:
        """Return what really happened, whatever the clients were told."""
        return self._ask("GET", "/truth")

    def orders(self) -> list[Row]:
        """Return every order, finished ones too, in the order in which they were accepted."""
        return list(self.truth()["orders"])

    def executions(self) -> list[Row]:
        """Return every execution, in the order in which they happened."""
        return list(self.truth()["executions"])

    def positions(self) -> list[Row]:
        """Return what the accounts hold."""
        return list(self.truth()["positions"])

    # ------------------------------------------------------------------ control port

    def _post(self, path: str, **body: Any) -> Row:
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: Row | None = None) -> Row:
        """Return the control port's answer. Raises: SimError with its reason."""
        line = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=ANSWER_S_MAX)
        with contextlib.closing(line):
            line.request(method, path, _written(body) if body is not None else None)
            answer = line.getresponse()
            value: Row = json.load(answer)
        if answer.status != HTTPStatus.OK:
            raise SimError(value["error"])
        return value


def _number(value: Price, name: str) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise SimError(f"expected {name} as a number, was {value!r}") from error


def _written(body: Row) -> str:
    try:
        return json.dumps(body)
    except TypeError as error:
        raise SimError(f"expected values that JSON knows, was {body!r}") from error


def frozen(**world: Any) -> SimOptions:
    """Return options with a frozen market; the arguments are those of WorldOptions.

    Example: `frozen(accounts=("DU1", "DU2"), cash_usd=Decimal(5_000))`.
    """
    return SimOptions(world=WorldOptions(**{"speed": 0.0} | world))


@contextlib.contextmanager
def running(options: SimOptions | None = None) -> Iterator[Simulator]:
    """Run a simulator until the block ends; by default the market is frozen.

    Raises: SimError when it cannot start, or failed on the way.
    """
    options = options or frozen()
    with tempfile.TemporaryDirectory(prefix="ib-gateway-") as scratch:
        state = options.state or Path(scratch) / "state"
        simulator = Simulator(replace(options, state=state))
        simulator.start()
        try:
            yield simulator
        finally:
            simulator.stop()


# pytest is not needed to run ibloop, nor for `running`.
with contextlib.suppress(ImportError):
    import pytest

    @pytest.fixture
    def ib_gateway_options() -> SimOptions:
        """Return how `ib_gateway` begins; define a fixture of this name to begin otherwise."""
        return frozen()

    @pytest.fixture
    def ib_gateway(ib_gateway_options: SimOptions) -> Iterator[Simulator]:
        """Return a simulated IB Gateway of the test's own."""
        with running(ib_gateway_options) as simulator:
            yield simulator
