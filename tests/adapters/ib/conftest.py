"""The adapter against the simulated gateway over real TCP, with a proxy that can misbehave."""

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Self

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ib.account import IbAccountWatch
from ibloop.adapters.ib.broker import IbBroker
from ibloop.adapters.ib.market import IbMarketData
from ibloop.adapters.ib.session import IbSession
from ibloop.core.events import EvidenceCollected
from ibloop.core.model import Instrument, Order, OrderType, Side, Tif
from ibloop.sim.control import Control
from ibloop.sim.server import SimGateway, SimOptions
from ibloop.sim.world import WorldOptions

ACCOUNT = "DU1234567"
DEADLINE_S = 10.0


class Proxy:
    """Passes frames between one client and the simulator, except those it is told to lose.

    ``muted``: ids of requests that get lost; ``received``: fields of every request that came.
    """

    def __init__(self, target_port: int) -> None:
        """Stand before the simulator on ``target_port``."""
        self._target_port = target_port
        self.muted: set[int] = set()
        self.received: list[list[str]] = []
        self.port = 0
        self.open = 0
        self._to_client: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def inject(self, *fields: object) -> None:
        """Send the client a message as if the gateway had."""
        assert self._to_client is not None
        payload = "".join(f"{field}\0" for field in fields).encode()
        self._to_client.write(struct.pack(">I", len(payload)) + payload)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._to_client = writer
        self.open += 1
        up = asyncio.ensure_future(self._requests(reader, up_writer))
        down = asyncio.ensure_future(self._replies(up_reader, writer))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.open -= 1
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            for side in (writer, up_writer):
                side.close()
            await asyncio.gather(
                writer.wait_closed(), up_writer.wait_closed(), return_exceptions=True
            )

    async def _requests(self, reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        out.write(await reader.readexactly(4))  # API\0
        out.write(await _frame(reader))
        while True:
            frame = await _frame(reader)
            fields = frame[4:].decode().split("\0")[:-1]
            self.received.append(fields)
            if int(fields[0]) not in self.muted:
                out.write(frame)

    async def _replies(self, reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        while True:
            out.write(await _frame(reader))


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack(">I", head)[0])


class Bench:
    """A running simulator, the proxy before it, and everything a scenario connects to them."""

    def __init__(self, sim: SimGateway, proxy: Proxy) -> None:
        """Wrap both."""
        self.sim = sim
        self.proxy = proxy
        self.port = sim.port
        self._control = Control(sim.gateway)
        self._sessions: list[IbSession] = []

    def control(self, method: str, path: str, **body: Any) -> Any:
        """Ask the simulator's control port."""
        status, value = self._control.answer(method, path, json.dumps(body).encode())
        assert status is HTTPStatus.OK, value
        return value

    def fault(self, name: str, **values: Any) -> None:
        """Let a fault begin, or end all with ``clear``."""
        self.control("POST", "/fault", name=name, **values)

    def truth(self) -> Any:
        """Return what the simulator knows."""
        return self.control("GET", "/truth")

    def instrument(self, symbol: str) -> Instrument:
        """Return an instrument of the simulator's universe."""
        known = self.sim.gateway.world.samples.by_symbol(symbol)
        assert known is not None
        tick, lot = Decimal("0.01"), Decimal(1)
        return Instrument(symbol, known.con_id, symbol, "NASDAQ", "USD", tick, lot, "x", None)

    def session(self, client_id: int = 19, account: str = ACCOUNT, port: int = 0) -> IbSession:
        """Return a plain session that the bench closes."""
        return self._keep(IbSession("127.0.0.1", port or self.port, client_id, account, CLOCK))

    def broker(self, client_id: int = 11, port: int = 0, timeout_s: float = 5.0) -> IbBroker:
        """Return a broker that the bench closes."""
        port = port or self.port
        return self._keep(
            IbBroker("127.0.0.1", port, client_id, ACCOUNT, CLOCK, query_timeout_s=timeout_s)
        )

    def market(self, port: int = 0) -> IbMarketData:
        """Return market data that the bench closes."""
        return self._keep(IbMarketData("127.0.0.1", port or self.port, 12, ACCOUNT, CLOCK))

    def watch(self) -> IbAccountWatch:
        """Return an account watch that the bench closes."""
        return self._keep(IbAccountWatch("127.0.0.1", self.port, 10, ACCOUNT, CLOCK))

    def close(self) -> None:
        """Disconnect everything."""
        for session in self._sessions:
            session.disconnect()

    def _keep(self, session: Any) -> Any:
        self._sessions.append(session)
        return session


CLOCK = SystemClock()
Scenario = Callable[[Bench], Awaitable[None]]
Play = Callable[..., None]


@pytest.fixture
def play() -> Play:
    """Return a function that plays a scenario against a fresh simulator, its market standing."""

    def run(scenario: Scenario, accounts: tuple[str, ...] = (ACCOUNT,)) -> None:
        asyncio.run(_play(scenario, accounts))

    return run


async def _play(scenario: Scenario, accounts: tuple[str, ...]) -> None:
    # The orders of these tests name any price that fills at once, however far through the market.
    world = WorldOptions(accounts=accounts, speed=0, price_band=Decimal(1000))
    async with SimGateway(SimOptions(world=world)) as sim:
        proxy = Proxy(sim.port)
        await proxy.start()
        bench = Bench(sim, proxy)
        try:
            await scenario(bench)
        finally:
            bench.close()
            await proxy.stop()
            await asyncio.sleep(0)


async def _until(condition: Callable[[], Any], what: str) -> Any:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_S
    while loop.time() < deadline:
        found = condition()
        if found:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"expected within {DEADLINE_S} s: {what}")


@pytest.fixture
def until() -> Callable[[Callable[[], Any], str], Awaitable[Any]]:
    """Return a wait for a condition, with a deadline."""
    return _until


class Log:
    """All events of one broker so far, in order."""

    def __init__(self, broker: IbBroker) -> None:
        """Listen to ``broker``."""
        self._broker = broker
        self.events: list[Any] = []

    def all(self, kind: type, **values: object) -> list[Any]:
        """Return the events of a kind with these attributes, after taking in new ones."""
        self.events += self._broker.events()
        return [
            event
            for event in self.events
            if isinstance(event, kind)
            and all(getattr(event, name) == value for name, value in values.items())
        ]

    async def first(self, kind: type, **values: object) -> Any:
        """Wait for such an event and return it."""
        return (await _until(lambda: self.all(kind, **values), f"{kind.__name__} {values}"))[0]

    async def settle(self) -> None:
        """Wait until the gateway has dealt with everything written so far."""
        before = len(self.all(EvidenceCollected))
        self._broker.collect_evidence()
        await _until(lambda: len(self.all(EvidenceCollected)) > before, "evidence")


@pytest.fixture
def log_of() -> Callable[[IbBroker], Log]:
    """Return what collects the events of a broker."""
    return Log


@pytest.fixture
def make_order() -> Callable[..., Order]:
    """Return a maker of orders: 10 shares, marketable unless told otherwise, GTD in an hour."""

    def make(instrument: Instrument, order_id: int, **changes: Any) -> Order:
        values: dict[str, Any] = {
            "client_order_id": f"ibl:test:{instrument.symbol}:B:{order_id}",
            "run_id": "run",
            "symbol": instrument.symbol,
            "con_id": instrument.con_id,
            "side": Side.BUY,
            "quantity": Decimal(10),
            "order_type": OrderType.LMT,
            "limit_price": Decimal(1000),
            "tif": Tif.GTD,
            "good_till": datetime.now(UTC) + timedelta(hours=1),
            "status": "sending",
            "ib_order_id": order_id,
        }
        return Order(**(values | changes))

    return make


class Bare(asyncio.Protocol):
    """A listener that says nothing, or hangs up at once."""

    def __init__(self, opened: set[asyncio.BaseTransport], *, hangs_up: bool) -> None:
        """Note each connection in ``opened``."""
        self._opened = opened
        self._hangs_up = hangs_up

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = transport
        self._opened.add(transport)
        if self._hangs_up:
            transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Forget the connection."""
        self._opened.discard(self._transport)


class BareServer:
    """Serves :class:`Bare` while its block runs."""

    def __init__(self, *, hangs_up: bool = False) -> None:
        """Prepare."""
        self.opened: set[asyncio.BaseTransport] = set()
        self.port = 0
        self._hangs_up = hangs_up

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Bare(self.opened, hangs_up=self._hangs_up), "127.0.0.1", 0
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Close the listener and what is connected."""
        self._server.close()
        for transport in list(self.opened):
            transport.close()
        await self._server.wait_closed()
        await asyncio.sleep(0)


@pytest.fixture
def bare_server() -> type[BareServer]:
    """Return the listener that lets nobody in."""
    return BareServer
