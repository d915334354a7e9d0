"""The asyncio shell: sockets, timers and the control port around a Gateway.

`SimGateway` is also how tests embed the simulator: `async with SimGateway() as sim`
serves on `sim.port` and `sim.control_port` until the block ends.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from ibloop.sim.control import Control, ControlServer
from ibloop.sim.faults import Fault
from ibloop.sim.market.history import load_samples, samples_directory
from ibloop.sim.model import SimError
from ibloop.sim.protocol.wire import Fields, FrameDecoder, Hello, WireError
from ibloop.sim.service.desk import GatewayOptions
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.service.session import Session
from ibloop.sim.state import Journal, StateFile
from ibloop.sim.world import SAMPLE_S, SystemClock, World, WorldOptions

log = logging.getLogger(__name__)

# A client that reads nothing for so long is cut off, as TWS does.
UNSENT_BYTES_MAX = 16 * 2**20
# How exact delays of faults are.
AGENDA_S = 0.05
# SO_LINGER with zero seconds: closing sends RST and drops what was not sent.
LINGER_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class SimOptions:
    """Everything the simulator can be told at its start; ports 0 pick free ones."""

    world: WorldOptions = field(default_factory=WorldOptions)
    host: str = "127.0.0.1"
    port: int = 0
    control_port: int = 0
    state: Path | None = None
    faults: Sequence[Fault] = ()
    gateway: GatewayOptions = field(default_factory=GatewayOptions)
    samples: Path | None = None


class Connection(asyncio.Protocol):
    """One client's socket: bytes to messages on the way in, a Line on the way out."""

    def __init__(self, server: "SimGateway") -> None:
        """Wait for the connection."""
        self._server = server
        self._decoder = FrameDecoder()
        self._inbox: deque[Hello | Fields] = deque()
        self._held: list[bytes] = []
        self._frozen = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a session."""
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)
        self._session: Session = self._server.gateway.connect(self)

    def data_received(self, data: bytes) -> None:
        """Decode what came and act on it."""
        try:
            self._inbox.extend(self._decoder.feed(data))
        except WireError as error:
            log.warning("closing a connection: %s", error)
            self._transport.abort()
            return
        self._work()

    def _work(self) -> None:
        while self._inbox and not self._frozen:
            message = self._inbox.popleft()
            receive = self._server.gateway.receive
            self._server.guarded(partial(receive, self._session, message))

    def connection_lost(self, exc: Exception | None) -> None:
        """End the session."""
        log.info("client %s disconnected: %s", self._session.client_id, exc or "closed")
        self._server.connections.discard(self)
        self._server.gateway.disconnect(self._session)

    # ------------------------------------------------------------------ Line

    def write(self, data: bytes) -> None:
        """Send bytes, or hold them while frozen."""
        if self._frozen:
            self._held.append(data)
        elif not self._transport.is_closing():
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
                log.warning("client %s does not read: cut off", self._session.client_id)
                self._transport.abort()

    def close(self) -> None:
        """End the connection after what was written."""
        self._transport.close()

    def drop(self) -> None:
        """End the connection now; what was not sent is lost."""
        self._transport.abort()

    def reset(self) -> None:
        """Break the connection with a TCP RST."""
        handle = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        self._transport.abort()

    def freeze(self, *, frozen: bool) -> None:
        """Stop reading and writing, or go on with what has gathered meanwhile."""
        self._frozen = frozen
        if frozen:
            self._transport.pause_reading()
            return
        held, self._held = self._held, []
        for data in held:
            self.write(data)
        self._transport.resume_reading()
        asyncio.get_running_loop().call_soon(self._work)


class SimGateway:
    """The simulated IB Gateway on a TCP port, with its control port."""

    def __init__(self, options: SimOptions | None = None) -> None:
        """Prepare; nothing is opened yet."""
        self._options = options or SimOptions()
        self.connections: set[Connection] = set()
        self.port = 0
        self.control_port = 0
        self.failed = asyncio.Event()
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
            await self._listen()
            undo.push_async_callback(self._stop_listening)
            self._open_control()
            undo.push_async_callback(self._control.stop)
            self._ticking = asyncio.create_task(self._tick())
            self._ticking.add_done_callback(self._ticked)
            undo.push_async_callback(self._stop_ticking)
            self._undo = undo.pop_all()

    async def _listen(self) -> None:
        host, port = self._options.host, self._options.port
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
        """Pass a sample of the market every 250 ms, and what is due on the agenda in between."""
        gateway = self.gateway
        next_sample_s = gateway.world.monotonic_s()
        while self.failure is None:
            now_s = gateway.world.monotonic_s()
            if now_s >= next_sample_s:
                next_sample_s = max(next_sample_s + SAMPLE_S, now_s)
                self.guarded(gateway.tick)
            gateway.agenda.run(now_s)
            await asyncio.sleep(AGENDA_S)

    def _ticked(self, task: asyncio.Task[None]) -> None:
        """Fail as a whole when the market stops: half a simulator would mislead its clients."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(SimError(f"internal error: {error!r}"))
            log.error("the market stopped", exc_info=error)

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
