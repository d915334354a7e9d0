"""The gateway daemon: keeps a gateway alive, proves it, and tells everybody where it is.

Three launchers: ``sim`` runs the simulated gateway as a child and restarts it on its own state;
``command`` runs any other, such as ``bin/ib-gateway``; ``external`` starts nothing and only
watches. Proof is a round trip on a connection of our own, about once a second; everybody else goes
where ``_gateway.json`` points.
"""

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ibloop import log
from ibloop.adapters.host import SystemClock
from ibloop.adapters.ib.errors import GatewayAbsentError, GatewaySilentError
from ibloop.adapters.ports import Clock
from ibloop.adapters.streamfiles import read_heartbeat
from ibloop.config import Config
from ibloop.core.gateway import (
    LOGIN_PACE,
    QUICK_PACE,
    GatewayEvent,
    GatewayState,
    GatewayView,
    RestartPace,
    after,
    restart_delay_s,
)
from ibloop.daemons.launchers import (
    Address,
    CommandLauncher,
    ExternalLauncher,
    Launcher,
    SimLauncher,
)
from ibloop.daemons.loop import Report, run_daemon
from ibloop.errors import GatewayUnavailableError

PROVE_S_MAX = 3.0
RETRY_S = 1.0

_T = TypeVar("_T")
_log = log.get(__name__)


class Probe(Protocol):
    """The daemon's own connection to the gateway (``IbSession``)."""

    def is_connected(self) -> bool:
        """Return whether the transport is up and the account proven to be ours."""
        ...

    async def connect(self) -> None:
        """Connect and prove the account. Raises: GatewayUnavailableError, RefusedError."""
        ...

    async def prove(self, timeout_s: float) -> None:
        """Complete one round trip, at least 1.1 s after the one before."""
        ...

    def disconnect(self) -> None:
        """Close; harmless when closed."""
        ...


class GatewayKeeper:
    """The gateway daemon without its loop: :meth:`step` again and again.

    Launching, the life of the process and probing are tasks; a step takes in what they found.
    """

    def __init__(
        self,
        launcher: Launcher,
        probe_at: Callable[[str, int], Probe],
        account: str,
        clock: Clock,
        session_id: str | None = None,
        pace: RestartPace = QUICK_PACE,
    ) -> None:
        """Take ``probe_at(host, port)``, and the session to go on with if it may still live."""
        self.wake = asyncio.Event()
        self._launcher = launcher
        self._probe_at = probe_at
        self._account = account
        self._clock = clock
        self._kept_session_id = session_id
        self._pace = pace
        self._session_id: str | None = None
        self._view = GatewayView()
        self._detail = ""
        self._address: Address | None = None
        self._probe: Probe | None = None
        self._launch: asyncio.Task[Address] | None = None
        self._life: asyncio.Task[str] | None = None
        self._proof: asyncio.Task[None] | None = None
        self._was_absent = False

    def step(self) -> bool:
        """Take in what the tasks found and begin what is due.

        Raises: RefusedError, ConfigError: what only a person can mend.
        """
        if self._launch is not None and self._launch.done():
            self._take_launch(self._launch)
        if self._life is not None and self._life.done():
            self._take_end(self._life.result())
        if self._proof is not None and self._proof.done():
            self._take_proof(self._proof)
        if self._address is None and self._launch is None:
            self._launch = self._begin(self._launch_again())
        if self._address is not None and self._proof is None:
            self._proof = self._begin(self._prove(self._address))
        return False

    def report(self) -> Report:
        """Return the contract's ``_gateway.json``."""
        address = self._address
        fields: dict[str, object] = {
            "host": address.host if address else None,
            "port": address.port if address else None,
            "account": self._account,
            "session_id": self._session_id,
        }
        if address is not None and address.control_port is not None:
            fields["control_port"] = address.control_port
        return Report(self._view.state, self._detail, fields)

    def second_factor_asked(self) -> None:
        """Take note that the login waits for a person."""
        self._note(GatewayEvent.ASKED_2FA, "the login waits for the second factor: confirm it")
        self.wake.set()

    async def close(self) -> None:
        """End the tasks, the probe and the gateway, if it is ours."""
        tasks = [t for t in (self._launch, self._life, self._proof) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._drop_probe()
        await self._launcher.stop()

    def _begin(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda _: self.wake.set())
        return task

    async def _launch_again(self) -> Address:
        if self._view.failures:
            await asyncio.sleep(restart_delay_s(self._view.failures, self._pace))
        return await self._launcher.start()

    async def _prove(self, address: Address) -> None:
        if self._view.state is not GatewayState.CONNECTED and self._probe is not None:
            await asyncio.sleep(RETRY_S)
        if self._probe is None:
            self._probe = self._probe_at(address.host, address.port)
        if self._probe.is_connected():
            await self._probe.prove(PROVE_S_MAX)
        else:
            self._probe.disconnect()
            await self._probe.connect()

    def _take_launch(self, launch: asyncio.Task[Address]) -> None:
        self._launch = None
        try:
            self._address = launch.result()
        except GatewayUnavailableError as error:
            self._note(GatewayEvent.EXITED, str(error))
            return
        self._new_session()
        self._life = self._begin(self._launcher.wait())
        self._note(GatewayEvent.LAUNCHED, "")

    def _take_end(self, how: str) -> None:
        self._life = None
        self._address = None
        if self._proof is not None:
            self._proof.cancel()
            self._proof = None
        self._drop_probe()
        self._note(GatewayEvent.EXITED, how)

    def _take_proof(self, proof: asyncio.Task[None]) -> None:
        self._proof = None
        try:
            proof.result()
        except GatewaySilentError as error:
            self._note(GatewayEvent.SILENT, str(error))
        except GatewayUnavailableError as error:
            self._was_absent = self._was_absent or isinstance(error, GatewayAbsentError)
            self._note(GatewayEvent.ABSENT, str(error))
        else:
            if self._was_absent:
                # Nobody listened in between, so the process that got our bytes has ended.
                self._new_session()
            self._was_absent = False
            self._note(GatewayEvent.PROVEN, "")

    def _new_session(self) -> None:
        """Name the gateway's present life; orders sent in an earlier one can no longer wake up."""
        kept, self._kept_session_id = self._kept_session_id, None
        self._session_id = kept or uuid.uuid4().hex

    def _drop_probe(self) -> None:
        if self._probe is not None:
            self._probe.disconnect()
            self._probe = None

    def _note(self, event: GatewayEvent, detail: str) -> None:
        before = self._view.state
        self._view = after(self._view, event, self._clock.now())
        self._detail = detail
        if self._view.state is not before:
            _log.info("gateway.state_changed", state=self._view.state, was=before, detail=detail)


async def run(config: Config, data_dir: Path) -> None:
    """Run the gateway daemon of one profile until SIGTERM or SIGINT.

    Raises: LockHeldError when it is already running; RefusedError when the gateway is logged in to
    another account; ConfigError when the simulator refuses its arguments, or the configured command
    cannot be run or says that its configuration is wrong.
    """
    from ibloop.adapters.ib.session import IbSession  # noqa: PLC0415  # why: 0.35 s of imports

    clock = SystemClock()
    client_id = config.gateway.client_ids.probe

    def probe_at(host: str, port: int) -> Probe:
        return IbSession(host, port, client_id, config.account, clock)

    launcher = _launcher(config, data_dir)
    keeper = GatewayKeeper(
        launcher,
        probe_at,
        config.account,
        clock,
        _kept_session(config, data_dir),
        LOGIN_PACE if isinstance(launcher, CommandLauncher) else QUICK_PACE,
    )
    if isinstance(launcher, CommandLauncher):
        launcher.on_second_factor = keeper.second_factor_asked
    try:
        await run_daemon(
            "gateway", data_dir, keeper.step, keeper.report, clock=clock, wake=keeper.wake
        )
    finally:
        await keeper.close()


def _launcher(config: Config, data_dir: Path) -> Launcher:
    gateway = config.gateway
    if gateway.launcher == "external":
        return ExternalLauncher(gateway.host, gateway.port)
    if gateway.launcher == "command":
        return CommandLauncher(gateway.command, gateway.host, gateway.port)
    return SimLauncher(config, data_dir)


def _kept_session(config: Config, data_dir: Path) -> str | None:
    """Return the session of an external gateway that may have lived on while we did not."""
    beat = read_heartbeat(data_dir / "ib" / "stream", "gateway")
    gateway = config.gateway
    if beat is None or gateway.launcher != "external":
        return None
    if (beat.document.get("host"), beat.document.get("port")) != (gateway.host, gateway.port):
        return None
    kept = beat.document.get("session_id")
    return kept if isinstance(kept, str) else None
