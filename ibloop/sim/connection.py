"""One client's socket: bytes to messages on the way in, a Line of the gateway on the way out.

Nothing a client does may cost more than its own connection: what it sends and what it does not
read is bounded, and a connection that never introduces itself ends.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

from ibloop.sim.protocol.wire import Fields, FrameDecoder, Hello, WireError
from ibloop.sim.service.gateway import Gateway

log = logging.getLogger(__name__)

# A client that reads nothing for so long is cut off, as TWS does.
UNSENT_BYTES_MAX = 16 * 2**20
# Messages of one client that are acted on before the others get their turn.
TURN_MESSAGES = 100
# How long a client has to take what was written before its connection was closed.
CLOSING_S_MAX = 5.0
# A client introduces itself with two messages: its greeting and startApi.
INTRODUCTION = 2
# SO_LINGER with zero seconds: closing sends RST and drops what was not sent.
LINGER_RESET = struct.pack("ii", 1, 0)


class Server(Protocol):
    """What a connection asks of the server it belongs to."""

    gateway: Gateway
    handshake_s_max: float

    def opened(self, connection: "Connection") -> None:
        """Take note of a new connection."""
        ...

    def introduced(self, connection: "Connection") -> None:
        """Take note that a connection has said who it is."""
        ...

    def closed(self, connection: "Connection") -> None:
        """Forget a connection."""
        ...

    def guarded(self, action: Callable[[], None]) -> None:
        """Do something unless the server has failed."""
        ...


class Connection(asyncio.Protocol):
    """One client's socket."""

    def __init__(self, server: Server) -> None:
        """Wait for the connection."""
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._decoder = FrameDecoder()
        self._inbox: deque[Hello | Fields] = deque()
        self._received = 0
        self._held = bytearray()
        self._frozen = False
        self._turn: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a session."""
        self._transport = cast(asyncio.Transport, transport)
        self._session = self._server.gateway.connect(self)
        self._server.opened(self)
        self._await_introduction()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the session."""
        log.info("client %s disconnected: %s", self._session.client_id, exc or "closed")
        for handle in (self._turn, self._timer):
            if handle is not None:
                handle.cancel()
        self._inbox.clear()
        self._held.clear()
        self._server.closed(self)
        self._server.gateway.disconnect(self._session)

    # ------------------------------------------------------------------ in

    def data_received(self, data: bytes) -> None:
        """Decode what came and act on it."""
        try:
            messages = self._decoder.feed(data)
        except WireError as error:
            log.warning("client %s cut off: %s", self._session.client_id, error)
            self._transport.abort()
            return
        self._inbox += messages
        if self._received < INTRODUCTION <= self._received + len(messages):
            self._server.introduced(self)
        self._received += len(messages)
        if self._turn is None:
            self._work()

    def _work(self) -> None:
        """Act on some messages; go on in another turn when there are more, reading none before."""
        self._turn = None
        done = False
        try:
            for _ in range(TURN_MESSAGES):
                if not self._inbox or self._wait_s():
                    break
                receive = self._server.gateway.receive
                self._server.guarded(partial(receive, self._session, self._inbox.popleft()))
            done = True
        finally:
            # An error of ours ends this connection, its log line comes from asyncio; a client
            # that went on without its answer would wait for ever.
            if not done:
                self._transport.abort()
        self._go_on()

    def _wait_s(self) -> float:
        """Return how long the next message waits: for ever while frozen, else by its pace."""
        if self._frozen:
            return float("inf")
        return self._session.pace.wait_s(self._server.gateway.world.monotonic_s())

    def _go_on(self) -> None:
        """Read on when everything is done; else leave what else was sent in the socket."""
        if not self._inbox and not self._frozen:
            self._transport.resume_reading()
            return
        self._transport.pause_reading()
        if not self._frozen and not self._transport.is_closing():
            self._turn = self._loop.call_later(self._wait_s(), self._work)

    def _await_introduction(self) -> None:
        wait_s = self._server.handshake_s_max
        self._timer = self._loop.call_later(wait_s, self._introduction_due)

    def _introduction_due(self) -> None:
        """Cut a silent client off; one that is itself kept waiting for an answer may wait."""
        self._timer = None
        unanswered = self._received > 0 and self._session.version == 0
        if self._frozen or unanswered:
            self._await_introduction()
        elif self._received < INTRODUCTION:
            log.warning("a connection cut off: it did not introduce itself")
            self._transport.abort()

    # ------------------------------------------------------------------ Line

    def write(self, data: bytes) -> None:
        """Send bytes, or hold them while frozen; cut off a client that takes too few."""
        if self._frozen:
            self._held += data
            unsent_bytes = len(self._held)
        elif self._transport.is_closing():
            return
        else:
            self._transport.write(data)
            unsent_bytes = self._transport.get_write_buffer_size()
        if unsent_bytes > UNSENT_BYTES_MAX:
            log.warning("client %s cut off: it does not read", self._session.client_id)
            self._held.clear()
            self._transport.abort()

    def close(self) -> None:
        """End the connection after what was written, or when that is not taken in time."""
        if self._timer is not None:
            self._timer.cancel()
        self._transport.close()
        self._timer = self._loop.call_later(CLOSING_S_MAX, self._transport.abort)

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
        held, self._held = self._held, bytearray()
        if held:
            self.write(bytes(held))
        if self._turn is None:
            self._turn = self._loop.call_soon(self._work)
