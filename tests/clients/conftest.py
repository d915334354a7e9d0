"""Each test of this directory runs once for every client of the matrix.

The clients' processes live as long as a module's tests of that client; each test has a simulator
and connections of its own.
"""

from collections.abc import Iterator

import pytest

from ibloop.sim import GatewayOptions
from ibloop.sim.testing import Simulator
from tests.clients.bench import ACCOUNT, quoted
from tests.clients.callback_client import CallbackClient
from tests.clients.client import Client
from tests.clients.insync_client import InsyncClient
from tests.clients.matrix import KINDS, Kind
from tests.clients.process import Driver


@pytest.fixture(scope="module", params=KINDS, ids=[kind.name for kind in KINDS])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return each client of the matrix in turn."""
    kind: Kind = request.param
    kind.require()
    return kind


@pytest.fixture(scope="module")
def drivers(kind: Kind) -> Iterator[list[Driver]]:
    """Return the running processes of a client; a test that needs more of them adds some."""
    started: list[Driver] = []
    yield started
    for driver in started:
        driver.stop()


@pytest.fixture
def accounts() -> tuple[str, ...]:
    """Return the accounts of the simulator; a module with two defines a fixture of this name."""
    return (ACCOUNT,)


@pytest.fixture
def gateway() -> GatewayOptions:
    """Return the settings of the gateway; a test may be parametrized with others."""
    return GatewayOptions()


@pytest.fixture
def sim(accounts: tuple[str, ...], gateway: GatewayOptions) -> Iterator[Simulator]:
    """Run a simulator with a frozen market and fixed quotes."""
    with quoted(accounts, gateway) as sim:
        yield sim


class Clients:
    """The connections of one test, each from a process of its own."""

    def __init__(self, kind: Kind, drivers: list[Driver], port: int) -> None:
        """Begin with none."""
        self._kind, self._drivers, self._port = kind, drivers, port
        self.made: list[Client] = []

    def connect(self, client_id: int) -> Client:
        """Connect another one. Raises: RequestFailed when it is refused."""
        if len(self.made) == len(self._drivers):
            self._drivers.append(Driver(self._kind.command()))
        make = InsyncClient if self._kind.is_insync else CallbackClient
        client = make(self._kind, self._drivers[len(self.made)])
        self.made.append(client)
        client.connect(self._port, client_id)
        return client


@pytest.fixture
def clients(kind: Kind, drivers: list[Driver], sim: Simulator) -> Iterator[Clients]:
    """Return the test's connections; in the end every one must have understood everything."""
    clients = Clients(kind, drivers, sim.port)
    yield clients
    complaints = [client.complaints() for client in clients.made]
    for client in clients.made:
        client.disconnect()
    assert complaints == [[] for _client in clients.made]


@pytest.fixture
def client(clients: Clients) -> Client:
    """Return a connection with client id 5."""
    return clients.connect(5)
