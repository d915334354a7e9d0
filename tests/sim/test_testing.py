"""`ibloop.sim.testing`, as people use it who test a program of their own."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.sim import SimError, SimOptions
from ibloop.sim.protocol.wire import FrameDecoder, frame
from ibloop.sim.testing import Simulator, frozen, running

ROOT = Path(__file__).resolve().parents[2]

Order = Callable[..., tuple[object, ...]]


class RawClient:
    """A client over a socket: waits for the messages it is asked for."""

    def __init__(self, line: socket.socket) -> None:
        """Greet and start; then `messages` has what was read so far."""
        self._line = line
        self._decoder = FrameDecoder()
        self._decoder.feed(b"API\0\0\0\0\x09v157..176")
        self.messages: list[tuple[str, ...]] = []
        line.sendall(b"API\0\0\0\0\x09v176..176")
        self.send(71, 2, 1, "")

    def send(self, *fields: object) -> None:
        """Send one message."""
        self._line.sendall(frame(str(field) for field in fields))

    def wait_for(self, *start: str) -> tuple[str, ...]:
        """Return the first message that begins with these fields."""
        while True:
            for message in self.messages:
                if message[: len(start)] == start:
                    return message
            data = self._line.recv(65_536)
            assert data, f"the connection ended before {start}; came: {self.messages}"
            self.messages += [item for item in self._decoder.feed(data) if type(item) is tuple]


@contextmanager
def connected(port: int) -> Iterator[RawClient]:
    """Connect a client that waits up to 10 s for what it expects."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        client = RawClient(line)
        client.wait_for("9", "1")
        yield client


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Return a simulator with a frozen market."""
    with running() as simulator:
        yield simulator


def test_a_client_trades_at_the_prices_the_test_has_fixed(
    simulator: Simulator, place_fields: Order
) -> None:
    """What the test says is the quote is what the order is filled at, and what truth tells."""
    simulator.quote("AAPL", bid=99.98, ask=Decimal("100.00"))
    with connected(simulator.port) as client:
        client.send(*place_fields(1, totalQuantity=10))
        client.wait_for("59")
    (order,) = simulator.orders()
    assert (order["status"], order["filled"], order["avgFillPrice"]) == ("Filled", 10, 100)
    (execution,) = simulator.executions()
    assert (execution["shares"], execution["price"], execution["side"]) == (10, 100, "BUY")
    (position,) = simulator.positions()
    assert (position["symbol"], position["quantity"]) == ("AAPL", 10)
    assert set(simulator.truth()) >= {"accounts", "positions", "orders", "executions", "frames"}


def test_quote_fixes_what_is_given_and_frees_the_rest(simulator: Simulator) -> None:
    """A second quote replaces the first: nothing of it is left over."""
    free = simulator.quote("AAPL")
    fixed = simulator.quote("AAPL", bid=10, ask=11, last=10.5)
    assert (fixed["bid"], fixed["ask"], fixed["last"]) == (10, 11, 10.5)
    simulator.shock(-0.5)
    assert simulator.quote("AAPL")["last"] == pytest.approx(free["last"] / 2, rel=0.01)


def test_halt_and_resume(simulator: Simulator, place_fields: Order) -> None:
    """A halted symbol takes orders and fills none; it fills them when trading resumes."""
    simulator.halt("AAPL")
    with connected(simulator.port) as client:
        client.send(*place_fields(1))
        client.wait_for("3", "1")
        assert simulator.executions() == []
        simulator.resume("AAPL")
        client.wait_for("11")
    assert len(simulator.executions()) == 1


def test_clock_moves_server_time(simulator: Simulator) -> None:
    """By seconds or to a moment, also as text; real time again with an offset of 0."""
    assert simulator.clock(offset_s=86_400) - datetime.now(UTC) > timedelta(hours=23)
    christmas = datetime(2026, 12, 25, 15, 0, tzinfo=UTC)
    assert abs(simulator.clock(to=christmas) - christmas) < timedelta(minutes=1)
    noon = datetime(2026, 11, 27, 17, 0, tzinfo=UTC)
    assert abs(simulator.clock(to="2026-11-27 12:00-05:00") - noon) < timedelta(minutes=1)
    assert abs(simulator.clock(offset_s=0) - datetime.now(UTC)) < timedelta(minutes=1)


def test_faults_begin_and_end(simulator: Simulator, place_fields: Order) -> None:
    """A fault acts from the call that begins it to the call that clears all."""
    number = simulator.fault("order_rejected", symbol="AAPL", times=0)
    other = simulator.fault("place_swallowed", symbol="IBM")
    with connected(simulator.port) as client:
        client.send(*place_fields(1))
        assert client.wait_for("4", "2", "1")[3] == "201"
        assert [(fault["id"], fault["struck"]) for fault in simulator.faults()] == [
            (number, 1),
            (other, 0),
        ]
        simulator.clear_fault(other)
        assert [fault["id"] for fault in simulator.faults()] == [number]
        simulator.clear_faults()
        assert simulator.faults() == []
        client.send(*place_fields(2))
        client.wait_for("59")
    assert [order["orderId"] for order in simulator.orders() if order["filled"]] == [2]


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda sim: sim.fault("no_such_fault"), "no fault named 'no_such_fault'"),
        (lambda sim: sim.fault("freeze", days=1), "no parameter 'days'"),
        (lambda sim: sim.quote("NOPE", bid=1), "NOPE"),
        (lambda sim: sim.quote("AAPL", bid=2, ask=1), "expected bid below ask"),
        (lambda sim: sim.shock(-1), "expected a shock above -1"),
        (lambda sim: sim.shock("x"), "expected shock as a number, was 'x'"),
        (lambda sim: sim.quote("AAPL", bid="x"), "expected bid as a number, was 'x'"),
        (lambda sim: sim.quote("AAPL", last=10**400), "expected last as a number"),
        (lambda sim: sim.clock(), "expected offset_s or to"),
        (lambda sim: sim.clock(to="2026-11-27T12:00:00Z", offset_s=1), "^expected offset_s or to$"),
        (lambda sim: sim.clock(to="2026-11-27 12:00"), "with its zone, as 2026-11-27T12:00:00-05"),
        (lambda sim: sim.clock(to="noon"), "expected to as an ISO-8601 time"),
        (lambda sim: sim.clock(offset_s="x"), "expected offset_s as a number"),
        (lambda sim: sim.fault("slow", delay_s=Decimal(1)), "expected values that JSON knows"),
        (lambda sim: sim.fault("order_rejected", symbol="ZZZ"), "a symbol of the universe"),
        (lambda sim: sim.fault("muted", messages="x"), "expected message ids"),
        (lambda sim: sim.fault("ack_dropped", probability=2), "a number from 0 to 1, was 2"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    simulator: Simulator, act: Callable[[Simulator], None], reason: str
) -> None:
    """A mistake in a test is an error in that line, not a puzzle later."""
    with pytest.raises(SimError, match=reason):
        act(simulator)


def test_restart_keeps_ports_and_state(simulator: Simulator, place_fields: Order) -> None:
    """Clients are cut off; orders, executions, ids and fixed quotes are still there."""
    simulator.quote("AAPL", bid=99.98, ask=100)
    with connected(simulator.port) as client:
        client.send(*place_fields(1))
        client.wait_for("59")
        before, port = simulator.truth(), simulator.port
        simulator.restart()
        with pytest.raises(AssertionError, match="the connection ended"):
            client.wait_for("nothing")
    after = simulator.truth()
    assert simulator.port == port
    assert after["orders"] == before["orders"]
    assert after["executions"] == before["executions"]
    with connected(port) as client:
        assert client.wait_for("9", "1")[2] == "2"
        client.send(*place_fields(2))
        client.wait_for("59")
    assert [execution["price"] for execution in simulator.executions()] == [100, 100]


def test_options_say_how_to_begin() -> None:
    """Accounts and cash are the user's choice; the market stays frozen unless told otherwise."""
    options = frozen(accounts=("DU7", "DU8"), cash_usd=Decimal(5_000))
    assert options.world.speed == 0
    with running(options) as simulator:
        accounts = simulator.truth()["accounts"]
        assert {name: account["cash"] for name, account in accounts.items()} == {
            "DU7": 5_000,
            "DU8": 5_000,
        }


def test_the_users_own_state_file_outlives_the_block(tmp_path: Path, place_fields: Order) -> None:
    """With a state file two blocks are one story; without, each begins anew."""
    options = SimOptions(world=frozen().world, state=tmp_path / "state")
    with running(options) as simulator, connected(simulator.port) as client:
        client.send(*place_fields(1))
        client.wait_for("59")
    with running(options) as simulator:
        assert len(simulator.executions()) == 1
    with running() as simulator:
        assert simulator.executions() == []


def test_a_running_event_loop_is_no_hindrance() -> None:
    """The simulator has a loop of its own: an async test calls it like any other."""

    async def use() -> int:
        with running() as simulator:
            _, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
            simulator.quote("AAPL", bid=99.98, ask=100)
            writer.close()
            await writer.wait_closed()
            return len(simulator.orders())

    assert asyncio.run(use()) == 0


def test_any_thread_may_call(simulator: Simulator) -> None:
    """Many threads at once fix quotes and read the truth; each gets its own answer."""

    def use(cents: int) -> tuple[float, int]:
        simulator.truth()
        price = simulator.quote("AAPL", last=100 + cents / 100)["last"]
        return price, cents

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(use, range(100)))
    assert all(price == 100 + cents / 100 for price, cents in answers)


def test_two_at_once_are_strangers(simulator: Simulator) -> None:
    """Ports and state are each one's own."""
    with running() as other:
        assert other.port != simulator.port
        other.quote("AAPL", last=50)
        assert simulator.quote("AAPL")["last"] != 50


def test_a_taken_port_is_an_error_at_the_start(simulator: Simulator) -> None:
    """The test that starts it fails, with the reason, and no thread stays behind."""
    threads = threading.active_count()
    with (
        pytest.raises(SimError, match="cannot listen on"),
        running(SimOptions(port=simulator.port)),
    ):
        pass
    assert threading.active_count() == threads


def test_a_failure_on_the_way_is_an_error_at_the_end(tmp_path: Path, place_fields: Order) -> None:
    """A simulator that could not store what happened does not let the test pass."""
    options = SimOptions(world=frozen().world, state=tmp_path / "state")

    def fail() -> None:
        with running(options) as simulator:
            (journal,) = open_as(tmp_path / "state")
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, journal)
            os.close(full)
            with connected(simulator.port) as client:
                client.send(*place_fields(1))
                with pytest.raises((AssertionError, ConnectionError)):
                    client.wait_for("59")

    with pytest.raises(SimError, match="No space left"):
        fail()


def open_as(path: Path) -> list[int]:
    """Return this process's descriptors of a file."""
    links = Path("/proc/self/fd")
    return [int(link.name) for link in links.iterdir() if link.resolve() == path]


# ---------------------------------------------------------------------- as a pytest plugin

CONFTEST = 'pytest_plugins = ["ibloop.sim.testing"]\n'
USERS_TESTS = """
import asyncio
from decimal import Decimal

import ib_insync
import pytest

from ibloop.sim.testing import frozen

APPLE = ib_insync.Stock("AAPL", "SMART", "USD")


def buy(ib):
    order = ib_insync.MarketOrder("BUY", 10, tif="DAY")
    trade = ib.placeOrder(APPLE, order)
    while not trade.isDone():
        ib.waitOnUpdate(timeout=10)
    return trade.orderStatus.avgFillPrice


def test_sync(ib_gateway):
    ib_gateway.quote("AAPL", bid=99.98, ask=100.00)
    ib = ib_insync.IB()
    ib.connect(ib_gateway.host, ib_gateway.port, clientId=1)
    assert buy(ib) == 100.00
    ib.disconnect()
    assert ib_gateway.executions()[0]["price"] == 100.00


def test_async(ib_gateway):
    async def trade():
        ib = ib_insync.IB()
        await ib.connectAsync(ib_gateway.host, ib_gateway.port, clientId=1)
        ib_gateway.quote("AAPL", bid=49.98, ask=50.00)
        trade = ib.placeOrder(APPLE, ib_insync.MarketOrder("BUY", 10, tif="DAY"))
        while not trade.isDone():
            await trade.statusEvent
        ib.disconnect()
        return trade.orderStatus.avgFillPrice

    assert asyncio.run(trade()) == 50.00


def test_every_test_has_its_own(ib_gateway):
    assert ib_gateway.executions() == []


class TestPoor:
    @pytest.fixture
    def ib_gateway_options(self):
        return frozen(cash_usd=Decimal(7))

    def test_options(self, ib_gateway):
        assert ib_gateway.truth()["accounts"]["DU1234567"]["cash"] == 7
"""


def run_python(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a directory of its own, with ibloop importable, and return what came out."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_fixture_in_a_suite_of_its_own(tmp_path: Path) -> None:
    """One line in conftest.py; warnings, as of sockets left open, would be errors."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_bot.py").write_text(USERS_TESTS)
    # What ib_insync's own dependency warns of at import is not ours.
    warnings = ("-W", "error", "-W", "ignore:There is no current event loop:DeprecationWarning")
    done = run_python(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", *warnings)
    assert "4 passed" in done.stdout, done.stdout + done.stderr


def test_without_pytest_there_is_running(tmp_path: Path) -> None:
    """A program without pytest imports the module and runs a simulator."""
    script = (
        "import sys; sys.modules['pytest'] = None\n"
        "from ibloop.sim import testing\n"
        "with testing.running() as simulator: print(simulator.orders())\n"
        "print(hasattr(testing, 'ib_gateway'))\n"
    )
    done = run_python(tmp_path, "-W", "error", "-c", script)
    assert (done.stdout, done.stderr) == ("[]\nFalse\n", "")
