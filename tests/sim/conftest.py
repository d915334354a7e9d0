"""What the simulator's tests share: tiny samples, and hand-written fakes for clock and line."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibloop.sim.market.history import Samples, load_samples
from ibloop.sim.model import OrderTicket, Quote
from ibloop.sim.protocol.wire import FrameDecoder, Hello
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.service.session import Session
from ibloop.sim.state import Journal, StateFile
from ibloop.sim.world import World, WorldOptions
from tests.sim.layouts import place_order
from tests.sim.stand import Stand

UNIVERSE = """\
symbol,con_id,name,primary_exchange,currency,min_tick,lot,sector,adv_shares,prices,start_price,volatility
AAPL,265598,Apple Inc.,NASDAQ,USD,0.01,1,Technology,1000000,history,,
IBM,8314,International Business Machines,NYSE,USD,0.01,1,Technology,900000,history,,
FB,107113386,Facebook Inc.,NASDAQ,USD,0.01,1,Communication,900000,history,,
ZZT,990001,Made-up Trust,NYSE,USD,0.01,1,Financials,500000,synthetic,50.00,0.25
"""
PRICES = {
    "AAPL": "2012-09-28,99.00,101.00,98.00,100.00,900000\n"
    "2012-10-01,100.00,110.00,95.00,105.00,1000000\n"
    "2012-10-02,106.00,108.00,104.00,107.00,1100000\n"
    "2012-10-03,107.00,109.00,101.00,102.00,1200000\n",
    "IBM": "2012-10-01,200.00,210.00,195.00,205.00,800000\n"
    "2012-10-02,205.00,206.00,203.00,204.00,800000\n"
    "2012-10-03,204.00,207.00,203.00,206.00,800000\n",
    "FB": "2012-10-02,20.00,22.00,19.00,21.00,700000\n",
}
NOON = datetime(2026, 11, 18, 17, 0, tzinfo=UTC)


@dataclass
class FakeClock:
    """Both clocks of the host, moved by the test."""

    now: datetime = NOON
    elapsed_s: float = 1000.0

    def utc(self) -> datetime:
        """Return the set time."""
        return self.now

    def monotonic_s(self) -> float:
        """Return the set seconds."""
        return self.elapsed_s

    def advance(self, seconds: float) -> None:
        """Let time pass on both."""
        self.now += timedelta(seconds=seconds)
        self.elapsed_s += seconds


@dataclass
class FakeLine:
    """A transport that keeps what was written, as messages."""

    written: bytearray = field(default_factory=bytearray)
    state: str = "open"
    frozen: bool = False

    def write(self, data: bytes) -> None:
        """Keep bytes."""
        self.written += data

    def close(self) -> None:
        """Note the close."""
        self.state = "closed"

    def reset(self) -> None:
        """Note the reset."""
        self.state = "reset"

    def freeze(self, *, frozen: bool) -> None:
        """Note the freeze."""
        self.frozen = frozen

    def take(self) -> list[tuple[str, ...]]:
        """Return the messages since the last call."""
        decoder = FrameDecoder()
        decoder.feed(b"API\0\0\0\0\x09v157..200")
        messages = [item for item in decoder.feed(bytes(self.written)) if type(item) is tuple]
        self.written.clear()
        return messages


@pytest.fixture(scope="session")
def samples_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with three sessions of history and one synthetic symbol."""
    directory = tmp_path_factory.mktemp("samples")
    (directory / "universe.csv").write_text(UNIVERSE)
    (directory / "prices").mkdir()
    for symbol, rows in PRICES.items():
        text = f"date,open,high,low,close,volume\n{rows}"
        (directory / "prices" / f"{symbol}.csv").write_text(text)
    return directory


@pytest.fixture(scope="session")
def samples(samples_dir: Path) -> Samples:
    """Return the tiny samples, read."""
    return load_samples(samples_dir)


@pytest.fixture
def clock() -> FakeClock:
    """Return clocks that stand still."""
    return FakeClock()


@pytest.fixture
def make_world(samples: Samples, clock: FakeClock) -> Callable[..., World]:
    """Return a maker of worlds with a frozen market, from options and a state file."""

    def make(journal: Journal | None = None, **options: Any) -> World:
        chosen: dict[str, Any] = {"speed": 0.0, "start": date(2012, 10, 1)} | options
        settings = WorldOptions(**chosen)
        return World(settings, samples, journal or Journal(), clock)

    return make


@dataclass
class Client:
    """A raw client of a gateway: sends fields, reads messages."""

    gateway: Gateway
    line: FakeLine
    session: Session

    def send(self, *fields: object) -> list[tuple[str, ...]]:
        """Send one message and return what came back so far."""
        self.gateway.receive(self.session, tuple(str(value) for value in fields))
        return self.line.take()


@pytest.fixture
def connect() -> Callable[..., Client]:
    """Return a function that connects a raw client to a gateway."""

    def make(gateway: Gateway, client_id: int = 1, version: int = 176) -> Client:
        line = FakeLine()
        session = gateway.connect(line)
        # Its clock stands still: everything a test sends would be sent within one second.
        session.pace.per_second = 0
        gateway.receive(session, Hello(version, version, ""))
        client = Client(gateway, line, session)
        client.send(71, 2, client_id, "")
        return client

    return make


@pytest.fixture
def make_ticket() -> Callable[..., OrderTicket]:
    """Return a maker of tickets: a market order for 50 shares unless told otherwise."""

    def make(**values: Any) -> OrderTicket:
        defaults: dict[str, Any] = {
            "action": "BUY",
            "quantity": Decimal(50),
            "order_type": "LMT" if "limit_price" in values else "MKT",
            "limit_price": None,
            "tif": "DAY",
            "good_till": "",
            "order_ref": "ref",
            "account": "",
        }
        return OrderTicket(**(defaults | values))

    return make


@pytest.fixture
def make_quote() -> Callable[..., Quote]:
    """Return a maker of quotes: 99.99 to 100.01 with 1,000 shares on both sides."""

    def make(con_id: int = 265598, **values: Any) -> Quote:
        price, size = Decimal("100.00"), Decimal(1000)
        defaults: dict[str, Any] = {
            "bid": price - Decimal("0.01"),
            "ask": price + Decimal("0.01"),
            "last": price,
            "bid_size": size,
            "ask_size": size,
            "last_size": Decimal(100),
            "open": price,
            "high": price,
            "low": price,
            "close": price,
            "volume": 1000,
            "halted": False,
            "depth_id": 1,
        }
        return Quote(con_id=con_id, **(defaults | values))

    return make


@pytest.fixture
def place_fields() -> Callable[..., tuple[object, ...]]:
    """Return a writer of placeOrder for a plain stock order at a server version."""
    return place_order


@pytest.fixture
def state_file(tmp_path: Path) -> Callable[[], StateFile]:
    """Return a function that opens the test's state file."""
    return lambda: StateFile(tmp_path / "sim.state")


@pytest.fixture
def stand(
    make_world: Callable[..., World], clock: FakeClock, connect: Callable[..., Client]
) -> Stand:
    """Return a stand for faults over a frozen market."""
    return Stand(Gateway(make_world()), clock, connect)
