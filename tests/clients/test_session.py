"""Connecting, starting up and the time, by every client."""

import time

import pytest

from ibloop.sim.testing import Simulator
from tests.clients.bench import AAPL, ACCOUNT, IBM, limit, order
from tests.clients.client import Client, eventually
from tests.clients.conftest import Clients
from tests.clients.insync_client import InsyncClient
from tests.clients.process import RequestFailed

pytestmark = [pytest.mark.clients, pytest.mark.e2e]


def test_farm_notices_follow_the_connection(client: Client) -> None:
    """A gateway says that market data, historical data and definitions are there."""
    eventually(client.errors, lambda codes: {2104, 2106, 2158} <= set(codes))


def test_the_time_is_told(client: Client) -> None:
    """reqCurrentTime answers in epoch seconds."""
    assert client.current_time() == pytest.approx(time.time(), abs=5)


def test_a_used_client_id_is_refused(clients: Clients) -> None:
    """The second connection of an id is told 326 and closed; the first one goes on."""
    first = clients.connect(5)
    with pytest.raises(RequestFailed):
        clients.connect(5)
    assert 326 in clients.made[1].errors()
    assert first.current_time() > 0


def test_a_client_that_left_finds_its_orders_again(clients: Clients) -> None:
    """Orders live on without their client, under the same ids; ids are not given twice."""
    first = clients.connect(5)
    resting = first.place(AAPL, limit("BUY", 10, 650.00, orderRef="resting"))
    perm_id = first.wait_status(resting, "Submitted")["permId"]
    first.reconnect()
    (found,) = first.open_orders()
    assert found["order"]["orderId"] == resting
    assert found["order"]["permId"] == perm_id
    assert found["order"]["orderRef"] == "resting"
    assert first.reserve_id() > resting


def test_connecting_brings_orders_positions_fills_and_values(clients: Clients) -> None:
    """What ib_insync and ib_async ask for by themselves is answered completely."""
    first = clients.connect(5)
    if not isinstance(first, InsyncClient):
        return  # the others ask for nothing by themselves
    resting = first.place(AAPL, limit("BUY", 10, 650.00))
    first.wait_status(resting, "Submitted")
    first.filled(IBM, order("BUY", 20))
    first.reconnect()
    found = first.synced()
    statuses = {o["contract"]["symbol"]: o["state"]["status"] for o in found["orders"]}
    assert statuses == {"AAPL": "Submitted", "IBM": "Filled"}
    (position,) = found["positions"]
    assert (position["contract"]["symbol"], position["position"]) == ("IBM", 20)
    (fill,) = found["fills"]
    assert (fill["execution"]["price"], fill["commission"]["commission"]) == (210.04, 1.00)
    (item,) = found["portfolio"]
    assert item["marketValue"] == pytest.approx(20 * 210.02, abs=0.5)
    values = {(v["tag"], v["currency"]): v["value"] for v in found["values"]}
    assert values["TotalCashValue", "USD"] == "95798.20"


def test_orders_of_a_restarted_gateway_are_found_again(client: Client, sim: Simulator) -> None:
    """A gateway that restarts closes its connections and knows everything afterwards."""
    resting = client.place(AAPL, limit("BUY", 10, 650.00))
    client.wait_status(resting, "Submitted")
    sim.restart()
    client.reconnect()
    (found,) = client.open_orders()
    assert found["order"]["orderId"] == resting
    assert client.account_values(ACCOUNT)["TotalCashValue", "USD"] == "100000.00"
