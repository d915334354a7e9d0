"""The asyncio shell: sockets, timers and the control port around a Gateway.

`SimGateway` is also how tests embed the simulator: `async with SimGateway() as sim`
serves on `sim.port` and `sim.control_port` until the block ends.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from ibloop.sim.clock import SystemClock
from ibloop.sim.connection import Connection
from ibloop.sim.control import Control, ControlServer
from ibloop.sim.faults import Fault
from ibloop.sim.market.history import load_samples, samples_directory
from ibloop.sim.market.replay import ReplayMarket
from ibloop.sim.model import SimError
from ibloop.sim.service.desk import GatewayOptions
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.state import Journal, StateFile
from ibloop.sim.world import World, WorldOptions

log = logging.getLogger(__name__)

# How exact delays of faults are.
AGENDA_S = 0.05
# Connections that have not introduced themselves; of more, the oldest one goes.
STRANGERS_MAX = 256


@dataclass(frozen=True, slots=True)
class SimOptions:
    """Everything the simulator can be told at its start; ports 0 pick free ones.

    A client that does not introduce itself within `handshake_s_max` seconds is cut off.
    """

    world: WorldOptions = field(default_factory=WorldOptions)
    host: str = "127.0.0.1"
    port: int = 0
    control_port: int = 0
    state: Path | None = None
    faults: Sequence[Fault] = ()
    gateway: GatewayOptions = field(default_factory=GatewayOptions)
    samples: Path | None = None
    handshake_s_max: float = 30.0


class SimGateway:
    """The simulated IB Gateway on a TCP port, with its control port."""

    def __init__(self, options: SimOptions | None = None) -> None:
        """Prepare; nothing is opened yet."""
        self._options = options or SimOptions()
        self.handshake_s_max = self._options.handshake_s_max
        self.connections: set[Connection] = set()
        self._strangers: dict[Connection, None] = {}
        self.port = 0
        self.control_port = 0
        self.failed = asyncio.Event()
        self.replayed = asyncio.Event()
        self.failure: SimError | None = None

    async def start(self) -> None:
        """Read samples and state, and listen.

        Raises: SimError with one sentence when a file cannot be used or a port is taken.
        """
        options = self._options
        samples = load_samples(options.samples or samples_directory())
        journal = StateFile(options.state) if options.state else Journal()
        async with contextlib.AsyncExitStack() as undo:
            undo.callback(journal.close)
            world = World(options.world, samples, journal, SystemClock())
            self.gateway = Gateway(world, options.gateway, options.faults)
            await self._listen(options.port)
            self.gateway.desk.follow_port = self._close_port
            self._close_port()
            undo.push_async_callback(self._stop_listening)
            self._open_control()
            undo.push_async_callback(self._control.stop)
            self._ticking = asyncio.create_task(self._tick())
            self._ticking.add_done_callback(self._ticked)
            undo.push_async_callback(self._stop_ticking)
            self._undo = undo.pop_all()

    async def _listen(self, port: int) -> None:
        host = self._options.host
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: Connection(self), host, port)
        except OSError as error:
            raise SimError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        self.port = int(self._server.sockets[0].getsockname()[1])

    def _open_control(self) -> None:
        port, loop = self._options.control_port, asyncio.get_running_loop()
        try:
            self._control = ControlServer(Control(self.gateway), port, loop)
        except OSError as error:
            text = f"cannot listen on control port {port}: {error.strerror or error}"
            raise SimError(text) from error
        self.control_port = self._control.port

    async def stop(self) -> None:
        """Close every connection and file; the state file knows how far the market has run."""
        self.guarded(self.gateway.world.note_market_time)
        await self._undo.aclose()

    async def _stop_ticking(self) -> None:
        self._ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ticking

    async def _stop_listening(self) -> None:
        self._server.close()
        for connection in tuple(self.connections):
            connection.close()
        await asyncio.sleep(0)
        # What a client does not read now is dropped, or stopping would wait for it.
        while self.connections:
            for connection in tuple(self.connections):
                connection.drop()
            await asyncio.sleep(0)
        await self._server.wait_closed()

    async def _tick(self) -> None:
        """Pass the samples of the market, and what is due on the agenda in between."""
        gateway = self.gateway
        sample_s = gateway.world.sample_s
        next_sample_s = gateway.world.monotonic_s()
        while self.failure is None:
            now_s = gateway.world.monotonic_s()
            if now_s >= next_sample_s:
                next_sample_s = max(next_sample_s + sample_s, now_s)
                self.guarded(gateway.tick)
            self._note_end_of_replay()
            gateway.agenda.run(now_s)
            await self._follow_port()
            left_s = next_sample_s - gateway.world.monotonic_s()
            await asyncio.sleep(max(0.0, min(AGENDA_S, left_s)))

    def _note_end_of_replay(self) -> None:
        """Set `replayed` once a recording was played to its end: its prices stand still then."""
        world = self.gateway.world
        if isinstance(world.market, ReplayMarket) and world.market.play(world.moment().market_s):
            self.replayed.set()

    async def _follow_port(self) -> None:
        """Open or close the port as the gateway wants it: a fault may have it down."""
        if self.gateway.listening and not self._server.is_serving():
            await self._listen(self.port)
        self._close_port()

    def _close_port(self) -> None:
        """Close the port if the gateway wants it closed."""
        if self._server.is_serving() and not self.gateway.listening:
            self._server.close()

    def _ticked(self, task: asyncio.Task[None]) -> None:
        """Fail as a whole when the market stops: half a simulator would mislead its clients."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(SimError(f"internal error: {error!r}"))
            log.error("the market stopped", exc_info=error)

    def opened(self, connection: Connection) -> None:
        """Take note of a new connection; of too many unknown ones the oldest is dropped."""
        self.connections.add(connection)
        self._strangers[connection] = None
        if len(self._strangers) > STRANGERS_MAX:
            oldest = next(iter(self._strangers))
            log.warning("a connection cut off: %d others wait as well", STRANGERS_MAX)
            del self._strangers[oldest]
            oldest.drop()

    def introduced(self, connection: Connection) -> None:
        """Take note that a connection has said who it is."""
        self._strangers.pop(connection, None)

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        self._strangers.pop(connection, None)

    def guarded(self, action: Callable[[], None]) -> None:
        """Do something unless the simulator has failed; fail when it cannot be stored."""
        if self.failure is not None:
            return
        try:
            action()
        except SimError as error:
            self._fail(error)

    def _fail(self, error: SimError) -> None:
        """Cut every client off: none may be told of what is not stored."""
        self.failure = error
        self.failed.set()
        for connection in tuple(self.connections):
            connection.drop()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()
