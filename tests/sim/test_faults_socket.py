"""Faults of the connection as a client's socket sees them, against a real server."""

import asyncio
import contextlib
import json
import struct
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ibloop.sim import SimGateway, SimOptions, WorldOptions
from ibloop.sim.protocol.wire import frame
from tests.sim.layouts import place_order
from tests.sim.stand import FILLED, RESTING, kinds

WAIT_S = 10.0


@dataclass
class Socket:
    """A raw client on a real socket."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, *fields: object) -> None:
        """Write a message."""
        self.writer.write(frame(str(field) for field in fields))

    async def read(self) -> tuple[str, ...]:
        """Return the next message. Raises: as the socket does."""
        (length,) = struct.unpack(">I", await self.reader.readexactly(4))
        return tuple((await self.reader.readexactly(length)).decode().split("\0")[:-1])

    async def until(self, message_id: str) -> list[tuple[str, ...]]:
        """Return the messages up to the first of this id."""
        messages = [await self.read()]
        while messages[-1][0] != message_id:
            messages.append(await self.read())
        return messages

    async def start(self, client_id: int = 1) -> None:
        """Greet and name the client, and wait until it is in and was told of the farms."""
        self.greet()
        await self.read()
        self.send(71, 2, client_id, "")
        while "2158" not in await self.read():
            pass

    def greet(self) -> None:
        """Write the greeting."""
        text = b"v157..176"
        self.writer.write(b"API\0" + struct.pack(">I", len(text)) + text)

    async def ended(self) -> type[Exception] | None:
        """Read to the end; return how it ended, None for an orderly close."""
        try:
            while await self.reader.read(4096):
                pass
        except ConnectionError as error:
            return type(error)
        return None


Dial = Callable[[], Awaitable[Socket]]


async def fault(sim: SimGateway, **body: object) -> Any:
    """Post a fault to the control port."""

    def call() -> Any:
        url = f"http://127.0.0.1:{sim.control_port}/fault"
        request = urllib.request.Request(url, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310 - loopback
            return json.load(answer)

    return await asyncio.to_thread(call)


@pytest.fixture
def run(samples_dir: Path) -> Callable[..., None]:
    """Return a runner of a test against an embedded simulator."""

    def runner(test: Callable[[SimGateway, Dial], Awaitable[None]]) -> None:
        opened: list[Socket] = []
        world = WorldOptions(speed=0.0, start=date(2012, 10, 1))

        async def main() -> None:
            async with (
                asyncio.timeout(2 * WAIT_S),
                SimGateway(SimOptions(world=world, samples=samples_dir)) as sim,
            ):

                async def dial() -> Socket:
                    opened.append(Socket(*await asyncio.open_connection("127.0.0.1", sim.port)))
                    return opened[-1]

                await test(sim, dial)
                for client in opened:
                    client.writer.close()
                    with contextlib.suppress(ConnectionError):
                        await client.writer.wait_closed()

        asyncio.run(main())

    return runner


def test_socket_reset_is_a_tcp_reset(run: Callable[..., None]) -> None:
    """The client's read fails with ECONNRESET, not with an end of file."""

    async def test(sim: SimGateway, dial: Dial) -> None:
        client = await dial()
        await client.start()
        await fault(sim, name="socket_reset", client_id=1)
        assert await client.ended() is ConnectionResetError

    run(test)


def test_accept_and_close_is_an_end_of_file(run: Callable[..., None]) -> None:
    """Connecting works, and then there is nothing."""

    async def test(sim: SimGateway, dial: Dial) -> None:
        await fault(sim, name="accept_and_close", times=1)
        assert await (await dial()).ended() is None
        await (await dial()).start()

    run(test)


def test_login_never_finishes_is_silence(run: Callable[..., None]) -> None:
    """The greeting stays unanswered while the fault lasts."""

    async def test(sim: SimGateway, dial: Dial) -> None:
        await fault(sim, name="login_never_finishes", times=1)
        silent, other = await dial(), await dial()
        silent.greet()
        await silent.writer.drain()
        await asyncio.sleep(0)
        # The second one is let in after the first one was left alone.
        await other.start()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(silent.read(), 0.3)
        assert not silent.reader.at_eof()

    run(test)


def test_a_restarting_gateway_refuses_connections(run: Callable[..., None]) -> None:
    """Reset, then ECONNREFUSED at once, and the same port afterwards with the same orders.

    The port is closed before the first reset: nobody is let in who only comes back quickly.
    """

    async def test(sim: SimGateway, dial: Dial) -> None:
        client = await dial()
        await client.start()
        client.send(*place_order(1, **RESTING))
        assert kinds(await client.until("3")) == ["Submitted"]
        await fault(sim, name="nightly_restart", down_s=0)
        with pytest.raises(ConnectionRefusedError):
            await dial()
        assert await client.ended() is ConnectionResetError
        with pytest.raises(ConnectionRefusedError):
            await dial()
        await fault(sim, name="clear")
        while True:
            try:
                again = await dial()
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
        await again.start()
        again.send(5, 1)
        assert kinds(await again.until("53")) == ["Submitted", "53"]

    run(test)


def test_delays_come_by_themselves(run: Callable[..., None]) -> None:
    """What a fault holds back is sent when its time has come, without any other traffic."""

    async def test(sim: SimGateway, dial: Dial) -> None:
        client = await dial()
        await client.start()
        await fault(sim, name="ack_late", delay_s=0.2)
        client.send(*place_order(1))
        assert kinds(await client.until("59")) == FILLED

    run(test)


def test_a_dying_gateway_loses_orders_on_the_wire(run: Callable[..., None]) -> None:
    """What was written before the reset was received and never existed."""

    async def test(sim: SimGateway, dial: Dial) -> None:
        client = await dial()
        await client.start()
        await fault(sim, name="order_id_rollback", orders=2)
        client.send(*place_order(1))
        client.send(*place_order(2))
        assert await client.ended() is ConnectionResetError
        again = await dial()
        again.greet()
        await again.read()
        again.send(71, 2, 1, "")
        assert (await again.until("9"))[-1] == ("9", "1", "1")
        assert len(sim.gateway.world.frames) == 2
        assert sim.gateway.world.broker.orders == {}

    run(test)
