"""A connection over a fake transport: what it holds for its client, and for the gateway."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ibloop.sim import GatewayOptions
from ibloop.sim.connection import UNSENT_BYTES_MAX, Connection
from ibloop.sim.protocol.wire import frame
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.world import World
from tests.sim.layouts import requests

GREETING = b"API\0\0\0\0\x0av157..176 "


@pytest.mark.parametrize("message_id", [76, 92, 94, 74])
def test_subscriptions_are_limited(
    make_gateway: Callable[..., Gateway], connect: Callable[..., Any], message_id: int
) -> None:
    """A client that never cancels fills no memory: beyond a thousand it gets error 322."""
    client = connect(make_gateway())
    for req_id in range(1500):
        answer = client.send(*requests(176, req_id)[message_id])
    assert [fields[2:4] for fields in answer] == [("1499", "322")]
    held = client.session
    assert len(held.subscriptions) + len(held.multis) == 1000


@pytest.fixture
def make_gateway(make_world: Callable[..., World]) -> Callable[..., Gateway]:
    """Return a maker of gateways over a frozen market."""
    return lambda options=None: Gateway(make_world(), options)


@dataclass
class FakeTransport:
    """A transport that takes nothing away."""

    unsent: int = 0
    reading: bool = True
    aborted: bool = False

    def write(self, data: bytes) -> None:
        """Keep count."""
        self.unsent += len(data)

    def get_write_buffer_size(self) -> int:
        """Return what was written."""
        return self.unsent

    def is_closing(self) -> bool:
        """Tell whether it was aborted."""
        return self.aborted

    def abort(self) -> None:
        """Note it."""
        self.aborted = True

    def pause_reading(self) -> None:
        """Note it."""
        self.reading = False

    def resume_reading(self) -> None:
        """Note it."""
        self.reading = True


@dataclass
class FakeServer:
    """A server of one gateway, without sockets."""

    gateway: Any
    handshake_s_max: float = 30.0
    known: list[Connection] = field(default_factory=list)

    def opened(self, connection: Connection) -> None:
        """Keep it."""
        self.known.append(connection)

    def introduced(self, connection: Connection) -> None:
        """Do nothing."""

    def closed(self, connection: Connection) -> None:
        """Forget it."""
        self.known.remove(connection)

    def guarded(self, action: Callable[[], None]) -> None:
        """Do it."""
        action()


def a_connection(gateway: Any) -> tuple[Connection, FakeTransport]:
    """Return a connection over a fake transport; needs a running loop."""
    connection, transport = Connection(FakeServer(gateway)), FakeTransport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    return connection, transport


def test_what_a_frozen_client_is_to_be_told_is_bounded(make_gateway: Callable[..., Any]) -> None:
    """A freeze of hours must not fill memory with what happened meanwhile."""

    async def test() -> None:
        connection, transport = a_connection(make_gateway())
        connection.freeze(frozen=True)
        for _ in range(UNSENT_BYTES_MAX // 2**20):
            connection.write(b"x" * 2**20)
        assert (transport.unsent, transport.aborted) == (0, False)
        connection.write(b"x")
        assert transport.aborted
        connection.connection_lost(None)

    asyncio.run(test())


def test_a_frozen_or_busy_connection_reads_nothing(make_gateway: Callable[..., Any]) -> None:
    """What cannot be acted on yet stays in the socket, where the peer feels it."""

    async def test() -> None:
        gateway = make_gateway(GatewayOptions(message_rate_max=0))
        connection, transport = a_connection(gateway)
        connection.data_received(GREETING + frame(("71", "2", "1", "")) + frame(("17", "1")) * 250)
        assert not transport.reading
        turns = 0
        while not transport.reading and turns < 20:
            await asyncio.sleep(0)
            turns += 1
        assert turns > 1
        assert transport.unsent > 250 * len(frame(("15", "1", "DU1234567")))
        connection.freeze(frozen=True)
        assert not transport.reading
        connection.connection_lost(None)

    asyncio.run(test())
