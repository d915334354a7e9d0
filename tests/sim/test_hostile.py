"""Clients that send rubbish, too much, too slowly, or read nothing: theirs is the only loss."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ibloop.sim import GatewayOptions, SimGateway, SimOptions, WorldOptions
from ibloop.sim.connection import UNSENT_BYTES_MAX
from ibloop.sim.protocol.wire import FRAME_BYTES_MAX, frame
from ibloop.sim.service import handlers
from tests.sim.layouts import place_order

GREETING = b"API\0\0\0\0\x0av157..176 "
HOST = "127.0.0.1"


@dataclass
class Peer:
    """A raw client over TCP."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, *fields: object) -> None:
        """Send one message."""
        self.writer.write(frame(tuple(map(str, fields))))

    async def until(self, *start: str) -> list[str]:
        """Return the next message that begins with these fields."""
        while True:
            length = int.from_bytes(await self.reader.readexactly(4), "big")
            message = (await self.reader.readexactly(length)).decode().split("\0")[:-1]
            if message[: len(start)] == list(start):
                return message

    async def next_id(self) -> int:
        """Ask for the next order id, which also shows that the connection is alive."""
        self.send(8, 1, 1)
        return int((await self.until("9", "1"))[2])

    async def is_cut_off(self) -> None:
        """Wait for the end of the connection."""
        with contextlib.suppress(ConnectionError):
            await self.reader.read()


@dataclass
class House:
    """A simulator and the peers that were connected to it."""

    sim: SimGateway
    peers: list[Peer] = field(default_factory=list)

    async def dial(self) -> Peer:
        """Open a connection and say nothing."""
        self.peers.append(Peer(*await asyncio.open_connection(HOST, self.sim.port)))
        return self.peers[-1]

    async def client(self, client_id: int) -> Peer:
        """Connect a client up to its first order id."""
        peer = await self.dial()
        peer.writer.write(GREETING)
        peer.send(71, 2, client_id, "")
        await peer.until("9", "1")
        return peer

    async def trades(self, client_id: int = 900) -> None:
        """Assert that a new client can connect and trade."""
        peer = await self.client(client_id)
        peer.writer.write(frame(place_order(await peer.next_id())))
        await peer.until("59")

    async def fewer_than(self, connections: int) -> None:
        """Wait until the simulator has noticed that peers have gone."""
        while len(self.sim.connections) >= connections:  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Close every peer."""
        for peer in self.peers:
            peer.writer.close()
            with contextlib.suppress(ConnectionError):
                await peer.writer.wait_closed()


@pytest.fixture
def run(samples_dir: Path) -> Callable[..., None]:
    """Return a runner of a test against an embedded simulator."""

    def runner(test: Callable[[House], Awaitable[None]], **changes: Any) -> None:
        async def main() -> None:
            options = SimOptions(world=WorldOptions(speed=0.0), samples=samples_dir, **changes)
            async with SimGateway(options) as sim, asyncio.timeout(60):
                house = House(sim)
                try:
                    await test(house)
                    assert sim.failure is None
                finally:
                    await house.close()

        asyncio.run(main())

    return runner


RUBBISH = {
    "another protocol": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a bad greeting": b"API\0\0\0\0\x03abc",
    "a greeting without end": b"API\0\0\0\xff\xff",
    "an endless frame": GREETING + b"\xff\xff\xff\xff" + b"x" * 1000,
    "a frame one byte too long": GREETING + (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
    "an empty frame": GREETING + b"\0\0\0\0",
    "no message of IB": GREETING + frame(("4711", "1")),
    "text for a number": GREETING + frame(("x", "y")),
    "bytes that are no text": GREETING + b"\0\0\0\x04\xff\xfe\x80\0",
    "no common version": b"API\0\0\0\0\x09v213..225",
}


@pytest.mark.parametrize("stream", RUBBISH.values(), ids=RUBBISH)
def test_rubbish_ends_its_own_connection(
    run: Callable[..., None], caplog: pytest.LogCaptureFixture, stream: bytes
) -> None:
    """With a log line; everybody else goes on."""

    async def test(house: House) -> None:
        other, hostile = await house.client(1), await house.dial()
        hostile.writer.write(stream)
        await hostile.is_cut_off()
        assert [r for r in caplog.records if r.name.startswith("ibloop.sim")]
        await other.next_id()
        await house.trades()

    with caplog.at_level(logging.WARNING):
        run(test)


NUMBERS = ("nan", "-nan", "inf", "Infinity", "Infinite", "1e308", "-1e308", "1e999999999", "1e-400")
MUTILATED = [
    *({"totalQuantity": text} for text in (*NUMBERS, "-5", "0", "1e14", "x", "9" * 5000)),
    *({"orderType": "LMT", "lmtPrice": text} for text in (*NUMBERS, "-5", "0", "1e14", "")),
    *({"orderType": "STP", "auxPrice": text} for text in (*NUMBERS, "-5", "")),
    *({"conId": text} for text in ("2147483648", "-1", "1.5", "9" * 5000)),
    {"algoStrategy": "Adaptive", "algoParams": [("a", "b")] * 500},
    {"symbol": "\udcff\udcfe", "conId": 0},
    {"orderRef": "😀" * 1000},
    {"action": "\n"},
    {"tif": "GTD", "goodTillDate": "99999999 99:99:99"},
    {"conditions": [(9, "a")]},
    {"account": "DU1234567\\u0000"},
    {"ocaGroup": "x" * 100_000},
]


def test_mutilated_orders_are_refused_or_served_and_nothing_else_happens(
    run: Callable[..., None],
) -> None:
    """Each leaves the connection, the broker and the next client as they were."""

    async def test(house: House) -> None:
        peer = await house.client(1)
        for given in MUTILATED:
            fields = place_order(await peer.next_id(), **given)
            text = "".join(f"{item}\0" for item in fields).encode(errors="surrogateescape")
            peer.writer.write(len(text).to_bytes(4, "big") + text)
            await peer.next_id()
        await house.trades()

    run(test, gateway=GatewayOptions(message_rate_max=0))


@pytest.mark.parametrize("count", ["2147483647", "2147483648", "-1", "1000000", "x"])
@pytest.mark.parametrize("group", ["algo", "conditions", "legs", "dates"])
def test_impossible_counts_are_refused(run: Callable[..., None], group: str, count: str) -> None:
    """A count is no reason to wait for, or make room for, what never comes."""
    order = [*place_order(7, algoStrategy="Adaptive")]
    combo = [*place_order(7, secType="BAG")]
    algo = order.index("Adaptive") + 1
    requests = {
        "algo": [*order[:algo], count, *order[algo + 1 :]],
        "conditions": [*order[: algo + 7], count, *order[algo + 8 :]],
        "legs": [*combo[:35], count, *combo[36:]],
        "dates": [7, 3, 5, 0, "", "", "", "", "", "", 2147483647, count],
    }

    async def test(house: House) -> None:
        peer = await house.client(1)
        peer.send(*requests[group])
        peer.send(17, 1)
        await peer.until("15", "1")
        await house.trades()

    run(test)


@pytest.mark.parametrize("stream", [b"", b"AP", b"API\0\0\0\0\x0av15", GREETING])
def test_a_client_that_does_not_introduce_itself_is_cut_off(
    run: Callable[..., None], stream: bytes
) -> None:
    """Neither silence nor one byte a minute holds a connection."""

    async def test(house: House) -> None:
        slow = await house.dial()
        slow.writer.write(stream)
        await slow.is_cut_off()
        await house.trades()

    run(test, handshake_s_max=0.3)


def test_an_introduced_client_may_be_silent(run: Callable[..., None]) -> None:
    """The limit is for the introduction only."""

    async def test(house: House) -> None:
        peer = await house.client(1)
        silent = await house.dial()
        await silent.is_cut_off()
        await peer.next_id()

    run(test, handshake_s_max=0.3)


def test_a_client_that_reads_nothing_is_cut_off(run: Callable[..., None]) -> None:
    """What it does not read is kept up to a limit; then its connection ends, and only that."""

    async def test(house: House) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as lazy:
            lazy.setblocking(False)
            await loop.sock_connect(lazy, (HOST, house.sim.port))
            await loop.sock_sendall(lazy, GREETING + frame(("71", "2", "1", "")))
            requests = frame(("9", "8", "1", "0", "AAPL", "STK", "", "", "", "", "SMART", "", "USD",
                              "", "", "0", "", "", "")) * 100  # fmt: skip
            most_bytes = 0
            while house.sim.connections:
                with contextlib.suppress(ConnectionError):
                    await loop.sock_sendall(lazy, requests)
                for connection in house.sim.connections:
                    unsent = connection._transport.get_write_buffer_size()
                    most_bytes = max(most_bytes, unsent)
        assert most_bytes <= UNSENT_BYTES_MAX
        await house.trades()

    run(test, gateway=GatewayOptions(message_rate_max=0))


def test_a_flood_of_one_client_does_not_keep_another_waiting(run: Callable[..., None]) -> None:
    """Messages are acted on by turns: an answer comes while thousands still wait."""

    async def test(house: House) -> None:
        flood, other = await house.client(1), await house.client(2)
        flood.writer.write(frame(("17", "1")) * 20_000)
        await flood.until("15", "1")
        await other.next_id()
        for _ in range(19_999):
            await flood.until("15", "1")

    run(test, gateway=GatewayOptions(message_rate_max=0))


def test_a_33rd_client_is_refused(run: Callable[..., None]) -> None:
    """IB serves 32; a place that becomes free is given to the next."""

    async def test(house: House) -> None:
        peers = [await house.client(number) for number in range(32)]
        refused = await house.dial()
        refused.writer.write(GREETING + frame(("71", "2", "99", "")))
        await refused.is_cut_off()
        peers.pop().writer.close()
        await house.fewer_than(32)
        await house.trades(99)

    run(test)


def test_ten_thousand_connections_come_and_go(run: Callable[..., None]) -> None:
    """Closed at once or left open without a word: the server serves the next client."""

    async def test(house: House) -> None:
        loop = asyncio.get_running_loop()
        idle: list[socket.socket] = []
        for number in range(10_000):
            one = socket.socket()
            one.setblocking(False)
            await loop.sock_connect(one, (HOST, house.sim.port))
            if number % 20:
                one.close()
            else:
                idle.append(one)
        await house.fewer_than(257)
        await house.trades()
        for one in idle:
            one.close()

    run(test)


def test_an_error_of_ours_ends_one_connection(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its client would wait for ever; the others are not concerned."""

    def broken(*_args: object) -> None:
        raise ZeroDivisionError

    async def test(house: House) -> None:
        peer, other = await house.client(1), await house.client(2)
        # Far enough behind others that it is not acted on as soon as it arrives.
        peer.writer.write(frame(("8", "1", "1")) * 250 + frame(("17", "1")))
        await peer.is_cut_off()
        await other.next_id()
        await house.trades()

    monkeypatch.setitem(handlers.HANDLERS, "managed_accounts", broken)
    run(test, gateway=GatewayOptions(message_rate_max=0))
    assert "ZeroDivisionError" in caplog.text
