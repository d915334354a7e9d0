"""Several connections at once: who sees and may cancel what; by every client."""

import pytest

from ibloop.sim import GatewayOptions
from ibloop.sim.testing import Simulator
from tests.clients.bench import AAPL, IBM, limit, order
from tests.clients.client import Client, Record, eventually
from tests.clients.conftest import Clients

pytestmark = [pytest.mark.clients, pytest.mark.e2e]

MASTER = 10


def ids(found: list[Record]) -> set[tuple[int, int]]:
    """Return client and order ids."""
    return {(item["order"]["clientId"], item["order"]["orderId"]) for item in found}


def resting(client: Client, price: float = 650.00) -> int:
    """Place an order that rests."""
    order_id = client.place(AAPL, limit("BUY", 1, price))
    client.wait_status(order_id, "Submitted")
    return order_id


def test_order_ids_are_each_clients_own(clients: Clients, sim: Simulator) -> None:
    """Both may use the same id; permIds tell the orders apart."""
    one, two = clients.connect(1), clients.connect(2)
    first, second = resting(one), resting(two)
    assert ids(one.open_orders()) == {(1, first)}
    assert ids(two.open_orders()) == {(2, second)}
    perm_ids = {real["permId"] for real in sim.orders()}
    assert len(perm_ids) == 2


def test_all_open_orders_are_everybodys(clients: Clients) -> None:
    """reqAllOpenOrders shows them with their client and order ids."""
    one, two = clients.connect(1), clients.connect(2)
    first, second = resting(one), resting(two)
    assert ids(one.all_open_orders()) == {(1, first), (2, second)}
    assert ids(two.all_open_orders()) == {(1, first), (2, second)}


def test_positions_are_pushed_to_everybody(clients: Clients) -> None:
    """An account belongs to no client."""
    one, two = clients.connect(1), clients.connect(2)
    one.filled(IBM, order("BUY", 20))
    ((key, (quantity, _cost)),) = two.positions().items()
    assert (key[1], quantity) == ("IBM", 20)


@pytest.mark.parametrize("watcher_id", [MASTER, 0], ids=["master", "client 0"])
def test_the_master_and_client_zero_hear_of_all_orders(clients: Clients, watcher_id: int) -> None:
    """Statuses and executions of another client reach them as they happen."""
    watcher, trader = clients.connect(watcher_id), clients.connect(1)
    order_id = trader.filled(AAPL, order("BUY", 10))

    def heard() -> list[Record]:
        fills = [record for kind, record in watcher.events if kind == "fill"]
        return [fill for fill in fills if fill["execution"]["clientId"] == 1]

    if watcher.kind.is_insync:  # they keep fills of orders they do not know to themselves
        found = eventually(watcher.executions, bool)
        assert found[0]["execution"]["clientId"] == 1
    else:
        (fill,) = eventually(heard, bool)
        assert (fill["execution"]["orderId"], fill["execution"]["shares"]) == (order_id, 10)
        watcher.wait_event("status", order_id, status="Filled", clientId=1)
    assert len(watcher.executions()) == 1


def test_other_clients_hear_nothing(clients: Clients) -> None:
    """Orders and executions are private to the client that placed them."""
    other, trader = clients.connect(3), clients.connect(1)
    trader.filled(AAPL, order("BUY", 10))
    assert other.current_time() > 0
    assert [kind for kind, _record in other.events if kind in {"open", "status", "fill"}] == []
    assert other.executions() == []
    assert other.open_orders() == []


def test_completed_orders_are_everybodys(clients: Clients) -> None:
    """reqCompletedOrders knows no client."""
    one, two = clients.connect(1), clients.connect(2)
    one.filled(AAPL, order("BUY", 10, orderRef="of one"))
    (found,) = two.completed_orders()
    assert found["order"]["orderRef"] == "of one"


def test_global_cancel_reaches_other_clients_orders(clients: Clients) -> None:
    """Their owner is told."""
    one, two = clients.connect(1), clients.connect(2)
    first, second = resting(one), resting(two)
    two.global_cancel()
    one.wait_status(first, "Cancelled")
    two.wait_status(second, "Cancelled")
    assert one.all_open_orders() == []


def stolen(clients: Clients, sim: Simulator) -> tuple[Client, int, str]:
    """Let client 0 cancel an order of client 1; return client 0, the order's id, its status."""
    one, zero = clients.connect(1), clients.connect(0)
    for _ in range(3):  # so that client 0 has not used the id itself
        order_id = resting(one)
    assert (1, order_id) in ids(zero.all_open_orders())
    zero.cancel(order_id)
    eventually(lambda: zero.errors(order_id) or one.errors(order_id), bool)
    return zero, order_id, next(r["status"] for r in sim.orders() if r["orderId"] == order_id)


def test_another_clients_order_cannot_be_cancelled(clients: Clients, sim: Simulator) -> None:
    """An id belongs to its client: for another one it is not found."""
    zero, order_id, status = stolen(clients, sim)
    assert status == "Submitted"
    assert zero.errors(order_id) == [10147]


@pytest.mark.parametrize("gateway", [GatewayOptions(foreign_cancel=True)], ids=["may cancel"])
def test_client_zero_may_cancel_where_gateways_allow_it(clients: Clients, sim: Simulator) -> None:
    """As recorded from a paper account: a plain cancelOrder after reqAllOpenOrders."""
    _zero, _order_id, status = stolen(clients, sim)
    assert status == "Cancelled"


@pytest.mark.parametrize("gateway", [GatewayOptions(visibility="all")], ids=["all see all"])
def test_executions_of_others_are_seen_where_gateways_show_them(clients: Clients) -> None:
    """The other behaviour of real gateways."""
    other, trader = clients.connect(3), clients.connect(1)
    trader.filled(AAPL, order("BUY", 10))
    (found,) = eventually(other.executions, bool)
    assert found["execution"]["clientId"] == 1


@pytest.mark.parametrize("gateway", [GatewayOptions(master_client_id=77)], ids=["77"])
def test_any_client_may_be_the_master(clients: Clients) -> None:
    """The id is a setting of the gateway."""
    master, trader = clients.connect(77), clients.connect(1)
    trader.filled(AAPL, order("BUY", 10))
    assert len(master.executions()) == 1


def test_an_id_is_free_again_when_its_client_left(clients: Clients) -> None:
    """Three connections, one leaves and comes back; the others notice nothing."""
    one, two, three = (clients.connect(number) for number in (1, 2, 3))
    two.reconnect()
    for client in (one, two, three):
        assert client.current_time() > 0
        assert not {326, 1100} & set(client.errors())
