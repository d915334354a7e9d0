"""The gateway daemon: keeps one alive, proves it, and says where it is."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ib.broker import IbBroker
from ibloop.adapters.ib.errors import (
    ClientIdInUseError,
    GatewayAbsentError,
    GatewaySilentError,
    WrongAccountError,
)
from ibloop.adapters.ib.session import IbSession
from ibloop.adapters.streamfiles import read_heartbeat
from ibloop.config import BUILTIN_TOML, Config, parse
from ibloop.core import events as ev
from ibloop.core.model import Instrument, Order, OrderType, Side, Tif
from ibloop.daemons.gateway import GatewayKeeper, _kept_session, _launcher
from ibloop.daemons.launchers import Address, ExternalLauncher, SimLauncher
from ibloop.errors import ConfigError, GatewayUnavailableError

CLOCK = SystemClock()
DEADLINE_S = 30.0
CONFIG = parse(BUILTIN_TOML, "built-in")
AAPL = Instrument("AAPL", 265598, "Apple", "NASDAQ", "USD", Decimal("0.01"), Decimal(1), "x", None)


class FakeLauncher:
    """A gateway process that starts and ends as the test says."""

    def __init__(self) -> None:
        """Start on port 4002, at the first attempt."""
        self.failures: list[Exception] = []
        self.starts = 0
        self.stopped = False
        self.end: asyncio.Future[str] | None = None

    async def start(self) -> Address:
        """Fail as often as told, then listen."""
        self.starts += 1
        if self.failures:
            raise self.failures.pop(0)
        self.end = asyncio.get_running_loop().create_future()
        return Address("127.0.0.1", 4002, 4003)

    async def wait(self) -> str:
        """Wait for the end that the test sets."""
        assert self.end is not None
        return await self.end

    async def stop(self) -> None:
        """Note that the end was asked for."""
        self.stopped = True


class FakeProbe:
    """A connection whose proofs fail with the error set in ``trouble``."""

    trouble: Exception | None = None
    made = 0

    def __init__(self) -> None:
        """Begin unconnected."""
        FakeProbe.made += 1
        self._connected = False

    def is_connected(self) -> bool:
        """Return whether connect has succeeded."""
        return self._connected

    async def connect(self) -> None:
        """Connect, or fail."""
        await self.prove(0)
        self._connected = True

    async def prove(self, _timeout_s: float) -> None:
        """Answer, or fail."""
        await asyncio.sleep(0)
        if FakeProbe.trouble is not None:
            raise FakeProbe.trouble

    def disconnect(self) -> None:
        """Close."""
        self._connected = False


@pytest.fixture(autouse=True)
def _healthy_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin each test with a gateway that answers, and retry without pauses."""
    FakeProbe.trouble = None
    FakeProbe.made = 0
    monkeypatch.setattr("ibloop.daemons.gateway.RETRY_S", 0.01)


async def drive(keeper: GatewayKeeper, condition: Callable[[], Any], what: str) -> Any:
    """Step until the condition holds."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        keeper.step()
        if found := condition():
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"expected {what}, was {keeper.report()}")


def status(keeper: GatewayKeeper) -> str:
    """Return the published status."""
    return keeper.report().status


def play(
    scenario: Callable[[GatewayKeeper, FakeLauncher], Awaitable[None]],
    launcher: Any = None,
    session_id: str | None = None,
) -> None:
    """Play a scenario with a fake gateway."""

    async def run() -> None:
        taken = launcher or FakeLauncher()
        keeper = GatewayKeeper(taken, lambda *_: FakeProbe(), "DU1234567", CLOCK, session_id)
        try:
            await scenario(keeper, taken)
        finally:
            await keeper.close()

    asyncio.run(run())


def test_connected_is_published_with_everything_needed_to_connect() -> None:
    """Starting until a round trip proves the gateway, then its address, account and session."""

    async def scenario(keeper: GatewayKeeper, launcher: FakeLauncher) -> None:
        assert status(keeper) == "starting"
        await drive(keeper, lambda: status(keeper) == "connected", "connected")
        fields = dict(keeper.report().fields)
        assert len(str(fields.pop("session_id"))) == 32
        assert fields == {
            "host": "127.0.0.1",
            "port": 4002,
            "account": "DU1234567",
            "control_port": 4003,
        }
        await keeper.close()
        assert launcher.stopped

    play(scenario)


def test_a_dead_gateway_is_started_again_as_a_new_session() -> None:
    """Restarting says how it ended; what was sent in the old session can no longer wake up."""

    async def scenario(keeper: GatewayKeeper, launcher: FakeLauncher) -> None:
        await drive(keeper, lambda: status(keeper) == "connected", "connected")
        before = keeper.report().fields["session_id"]
        assert launcher.end is not None
        launcher.end.set_result("it ended by signal SIGKILL")
        await drive(keeper, lambda: status(keeper) == "restarting", "restarting")
        assert "SIGKILL" in keeper.report().detail
        await drive(keeper, lambda: status(keeper) == "connected", "connected again")
        assert launcher.starts == 2
        assert FakeProbe.made == 2, "the old connection is no proof of the new process"
        assert keeper.report().fields["session_id"] != before

    play(scenario)


def test_a_gateway_that_does_not_start_is_tried_again() -> None:
    """A failed start is an end like any other."""
    launcher = FakeLauncher()
    launcher.failures = [GatewayUnavailableError("no memory")]

    async def scenario(keeper: GatewayKeeper, _: FakeLauncher) -> None:
        await drive(keeper, lambda: "no memory" in keeper.report().detail, "the reason")
        assert status(keeper) == "restarting"
        await drive(keeper, lambda: status(keeper) == "connected", "connected")

    play(scenario, launcher)


@pytest.mark.parametrize(
    ("trouble", "wanted"),
    [
        (GatewaySilentError("no answer"), "waiting_login"),
        (GatewayAbsentError("nobody listens"), "degraded"),
        (ClientIdInUseError("client id 19 is in use"), "degraded"),
    ],
)
def test_what_keeps_us_out_is_told(trouble: Exception, wanted: str) -> None:
    """Silence before the first proof is a login; the detail carries the sentence."""
    FakeProbe.trouble = trouble

    async def scenario(keeper: GatewayKeeper, _: FakeLauncher) -> None:
        await drive(keeper, lambda: status(keeper) == wanted, wanted)
        assert keeper.report().detail == str(trouble)
        FakeProbe.trouble = None
        await drive(keeper, lambda: status(keeper) == "connected", "connected")
        assert keeper.report().detail == ""

    play(scenario)


def test_a_gateway_that_falls_silent_keeps_its_session() -> None:
    """A frozen gateway may still process what it was sent: no new session for it."""

    async def scenario(keeper: GatewayKeeper, _: FakeLauncher) -> None:
        await drive(keeper, lambda: status(keeper) == "connected", "connected")
        before = keeper.report().fields["session_id"]
        FakeProbe.trouble = GatewaySilentError("frozen")
        await drive(keeper, lambda: status(keeper) == "degraded", "degraded")
        FakeProbe.trouble = None
        await drive(keeper, lambda: status(keeper) == "connected", "connected")
        assert keeper.report().fields["session_id"] == before

    play(scenario)


def test_an_external_gateway_that_was_gone_is_a_new_session() -> None:
    """Only when nobody listened in between is it certain that the old process has ended."""

    async def scenario(keeper: GatewayKeeper, _: FakeLauncher) -> None:
        await drive(keeper, lambda: status(keeper) == "connected", "connected")
        assert keeper.report().fields["session_id"] == "kept"
        assert "control_port" not in keeper.report().fields
        FakeProbe.trouble = GatewayUnavailableError("network unreachable")
        await drive(keeper, lambda: status(keeper) == "degraded", "degraded")
        FakeProbe.trouble = None
        await drive(keeper, lambda: status(keeper) == "connected", "connected")
        assert keeper.report().fields["session_id"] == "kept"
        FakeProbe.trouble = GatewayAbsentError("nobody listens")
        await drive(keeper, lambda: status(keeper) == "degraded", "degraded")
        FakeProbe.trouble = None
        await drive(keeper, lambda: status(keeper) == "connected", "connected")
        assert keeper.report().fields["session_id"] != "kept"

    play(scenario, ExternalLauncher("127.0.0.1", 4002), "kept")


def test_a_wrong_account_ends_the_daemon() -> None:
    """Only a person can mend it: the step raises, and the unit is not restarted (exit 77)."""
    FakeProbe.trouble = WrongAccountError("expected DU1234567, was U7")

    async def scenario(keeper: GatewayKeeper, _: FakeLauncher) -> None:
        with pytest.raises(WrongAccountError):
            await drive(keeper, lambda: False, "an error")

    play(scenario)


# --- the simulator as a child -------------------------------------------------------------------


def sim_config(**gateway: Any) -> Config:
    """Return the built-in profile with changes to its gateway."""
    return replace(CONFIG, gateway=replace(CONFIG.gateway, **gateway))


async def connected_broker(address: Address) -> tuple[IbBroker, int]:
    """Return a connected broker and the gateway's next order id."""
    broker = IbBroker(address.host, address.port, 11, "DU1234567", CLOCK)
    await broker.connect()
    [event] = [e for e in broker.events() if isinstance(e, ev.Connected)]
    return broker, event.next_order_id


async def next_event(broker: IbBroker, kind: type) -> Any:
    """Wait for an event of a kind."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        for event in broker.events():
            if isinstance(event, kind):
                return event
        await asyncio.sleep(0.01)
    raise AssertionError(f"expected {kind.__name__}")


@pytest.mark.e2e
def test_a_killed_simulator_comes_back_with_its_orders(tmp_path: Path) -> None:
    """SIGKILL the child: restarting, connected on the same ports, and the same orders work."""

    async def scenario() -> None:
        launcher = SimLauncher(sim_config(sim_args=("--speed", "0")), tmp_path)
        keeper = GatewayKeeper(
            launcher, lambda h, p: IbSession(h, p, 19, "DU1234567", CLOCK), "DU1234567", CLOCK
        )
        try:
            await drive(keeper, lambda: status(keeper) == "connected", "connected")
            before = dict(keeper.report().fields)
            address = Address(before["host"], before["port"])
            broker, order_id = await connected_broker(address)
            broker.place(resting(order_id), AAPL)
            await next_event(broker, ev.OrderReported)
            assert launcher._process is not None
            launcher._process.send_signal(signal.SIGKILL)
            await drive(keeper, lambda: status(keeper) == "restarting", "restarting")
            assert "SIGKILL" in keeper.report().detail
            await drive(keeper, lambda: status(keeper) == "connected", "connected again")
            after = dict(keeper.report().fields)
            assert after.pop("session_id") != before.pop("session_id")
            assert after == before
            broker.disconnect()
            broker, again = await connected_broker(address)
            assert again == order_id + 1
            broker.collect_evidence()
            evidence = (await next_event(broker, ev.EvidenceCollected)).evidence
            assert [o.client_order_id for o in evidence.open_orders] == ["ibl:test"]
            broker.disconnect()
        finally:
            await keeper.close()

    asyncio.run(scenario())


@pytest.mark.e2e
def test_a_simulator_that_refuses_its_arguments_is_a_configuration_error(tmp_path: Path) -> None:
    """Trying again would not help: exit 78, and the unit stays down."""

    async def scenario() -> None:
        launcher = SimLauncher(sim_config(sim_args=("--no-such-option",)), tmp_path)
        with pytest.raises(ConfigError, match="sim_args"):
            await launcher.start()
        await launcher.stop()

    asyncio.run(scenario())


def resting(order_id: int) -> Order:
    """Return a buy order far below the market."""
    return Order(
        "ibl:test",
        "run",
        "AAPL",
        AAPL.con_id,
        Side.BUY,
        Decimal(1),
        OrderType.LMT,
        Decimal(1),
        Tif.GTD,
        datetime.now(UTC) + timedelta(hours=1),
        "sending",
        ib_order_id=order_id,
    )


DAEMON = """
import asyncio, sys
from pathlib import Path
from ibloop.config import BUILTIN_TOML, parse
from ibloop.daemons.gateway import run
asyncio.run(run(parse(BUILTIN_TOML, "built-in"), Path(sys.argv[1])))
"""


def read_until(tmp_path: Path, wanted: str) -> dict[str, Any]:
    """Wait until ``_gateway.json`` shows a status and return the document."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        beat = read_heartbeat(tmp_path / "ib" / "stream", "gateway")
        if beat is not None and beat.status == wanted:
            return beat.document
        time.sleep(0.02)
    raise AssertionError(f"expected _gateway.json to say {wanted}, was {beat}")


def is_listening(port: int) -> bool:
    """Return whether somebody listens on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until_closed(port: int) -> None:
    """Wait until nobody listens on the port."""
    deadline = time.monotonic() + DEADLINE_S
    while is_listening(port):
        assert time.monotonic() < deadline, "expected the simulator to end"
        time.sleep(0.02)


@pytest.mark.e2e
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_simulator_does_not_outlive_the_daemon(tmp_path: Path, end: signal.Signals) -> None:
    """Asked to end it stops its child and says so; killed, the kernel takes the child along."""
    with subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(tmp_path)], stderr=subprocess.DEVNULL
    ) as daemon:
        try:
            document = read_until(tmp_path, "connected")
            assert document["pid"] == daemon.pid
            assert is_listening(document["port"])
            with socket.create_connection(("127.0.0.1", document["control_port"])) as control:
                control.sendall(b"GET /faults HTTP/1.0\r\n\r\n")
                assert control.recv(15).startswith(b"HTTP/1.0 200")
            os.kill(daemon.pid, end)
            code = daemon.wait(DEADLINE_S)
        finally:
            daemon.kill()
    until_closed(document["port"])
    assert code == (0 if end is signal.SIGTERM else -signal.SIGKILL)
    if end is signal.SIGTERM:
        read_until(tmp_path, "stopped")


# --- composition --------------------------------------------------------------------------------


def test_the_configuration_chooses_the_launcher(tmp_path: Path) -> None:
    """``sim`` runs a child, ``external`` runs nothing."""
    assert isinstance(_launcher(CONFIG, tmp_path), SimLauncher)
    external = _launcher(sim_config(launcher="external", port=4002), tmp_path)
    assert isinstance(external, ExternalLauncher)
    assert asyncio.run(external.start()) == Address("127.0.0.1", 4002)


def test_only_an_external_gateways_session_is_kept(tmp_path: Path) -> None:
    """Our own child died with us; somebody else's gateway at the same address may have lived on."""
    stream = tmp_path / "ib" / "stream"
    stream.mkdir(parents=True)
    document = {
        "status": "stopped",
        "last_heartbeat": "2026-07-01T12:00:00.000Z",
        "boottime_ns": 1,
        "boot_id": "b" * 32,
        "host": "127.0.0.1",
        "port": 4002,
        "session_id": "earlier",
    }
    (stream / "_gateway.json").write_text(json.dumps(document), encoding="utf-8")
    external = sim_config(launcher="external", port=4002)
    assert _kept_session(external, tmp_path) == "earlier"
    assert _kept_session(sim_config(port=4002), tmp_path) is None
    assert _kept_session(sim_config(launcher="external", port=4001), tmp_path) is None
    assert _kept_session(external, tmp_path / "nothing") is None
