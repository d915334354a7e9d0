"""Open and completed orders and executions, by every client."""

from datetime import UTC, datetime, timedelta

import pytest

from ibloop.sim.testing import Simulator
from tests.clients.bench import AAPL, ACCOUNT, IBM, limit, order
from tests.clients.client import Client, Record, eventually
from tests.clients.conftest import Clients

pytestmark = [pytest.mark.clients, pytest.mark.e2e]


@pytest.fixture
def traded(client: Client) -> Client:
    """Return a client with a purchase, a sale, a cancelled and a resting order."""
    client.filled(AAPL, order("BUY", 10, orderRef="bought"))
    client.filled(AAPL, order("SELL", 4, orderRef="sold"))
    client.filled(IBM, order("BUY", 20, orderRef="ibm"))
    cancelled = client.place(IBM, limit("BUY", 3, 200.00, orderRef="cancelled"))
    client.wait_status(cancelled, "Submitted")
    client.cancel(cancelled)
    client.wait_status(cancelled, "Cancelled")
    resting = client.place(IBM, limit("BUY", 5, 201.00, orderRef="resting", tif="GTC"))
    client.wait_status(resting, "Submitted")
    return client


def references(found: list[Record]) -> list[str]:
    """Return the references of orders or executions."""
    return [item.get("order", item.get("execution"))["orderRef"] for item in found]


def test_open_orders_are_told_whole(traded: Client) -> None:
    """Every attribute that was sent comes back."""
    (found,) = traded.open_orders()
    contract, sent, state = found["contract"], found["order"], found["state"]
    assert (contract["conId"], contract["symbol"], contract["exchange"]) == (8314, "IBM", "SMART")
    assert (sent["action"], sent["totalQuantity"], sent["orderType"]) == ("BUY", 5, "LMT")
    assert (sent["lmtPrice"], sent["tif"], sent["orderRef"]) == (201.00, "GTC", "resting")
    assert (sent["clientId"], sent["parentId"] or 0) == (5, 0)
    if not traded.kind.is_insync:  # which keep the account as it was sent: empty
        assert sent["account"] == ACCOUNT
    assert sent["permId"] > 0
    assert state["status"] == "Submitted"
    assert references(traded.all_open_orders()) == ["resting"]


def test_completed_orders_are_told(traded: Client) -> None:
    """Filled and cancelled ones, each with what was filled; none of them open."""
    found = {item["order"]["orderRef"]: item for item in traded.completed_orders()}
    assert set(found) == {"bought", "sold", "ibm", "cancelled"}
    bought, cancelled = found["bought"], found["cancelled"]
    assert (bought["contract"]["symbol"], bought["order"]["action"]) == ("AAPL", "BUY")
    assert bought["state"]["status"] == "Filled"
    assert cancelled["state"]["status"] == "Cancelled"
    assert bought["order"]["filledQuantity"] == 10
    assert cancelled["order"]["totalQuantity"] == 3
    assert cancelled["order"]["lmtPrice"] == 200.00
    assert not cancelled["order"]["filledQuantity"]
    assert bought["order"]["permId"] > 0
    if not traded.kind.is_insync:  # which keep no completedTime
        assert bought["state"]["completedTime"].startswith("20")
        assert bought["state"]["completedStatus"] == "Filled Size: 10"
        assert cancelled["state"]["completedStatus"].startswith("Cancelled by Trader")


def test_executions_are_told_with_their_commissions(traded: Client) -> None:
    """All of today's, each with its report."""
    found = {item["execution"]["orderRef"]: item for item in traded.executions()}
    assert set(found) == {"bought", "sold", "ibm"}
    sold = found["sold"]["execution"]
    assert (sold["side"], sold["shares"], sold["price"]) == ("SLD", 4, 660.00)
    assert (sold["acctNumber"], sold["clientId"], sold["avgPrice"]) == (ACCOUNT, 5, 660.00)
    assert found["sold"]["contract"]["conId"] == 265598
    commission = found["sold"]["commission"]
    assert (commission["execId"], commission["commission"]) == (sold["execId"], 1.00)
    assert commission["realizedPNL"] == pytest.approx(4 * (660.00 - 660.20) - 1, abs=0.01)


def test_the_time_of_an_execution_is_now(traded: Client) -> None:
    """With the zone from 174 on; before that as the gateway's own local time, without one."""
    moment = traded.executions()[0]["execution"]["time"]
    if traded.kind.is_insync:
        assert moment == pytest.approx(traded.current_time(), abs=60)
        return
    day, clock, *zone = moment.split()
    assert zone == (["US/Eastern"] if traded.kind.version >= 174 else [])
    assert (len(day), len(clock)) == (8, 8)


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        ({"symbol": "IBM"}, ["ibm"]),
        ({"side": "SELL"}, ["sold"]),
        ({"secType": "STK"}, ["bought", "sold", "ibm"]),
        ({"secType": "FUT"}, []),
        ({"acctCode": ACCOUNT}, ["bought", "sold", "ibm"]),
        ({"acctCode": "DU999"}, []),
        ({"clientId": 5}, ["bought", "sold", "ibm"]),
        ({"clientId": 77}, []),
        ({"symbol": "AAPL", "side": "BUY"}, ["bought"]),
    ],
    ids=str,
)
def test_executions_can_be_filtered(traded: Client, chosen: Record, wanted: list[str]) -> None:
    """Each attribute of ExecutionFilter narrows the answer."""
    assert references(traded.executions(**chosen)) == wanted


def test_executions_can_be_filtered_by_time(traded: Client) -> None:
    """Those at or after a time, in UTC."""
    now = datetime.fromtimestamp(traded.current_time(), UTC)
    before = (now - timedelta(minutes=5)).strftime("%Y%m%d-%H:%M:%S")
    after = (now + timedelta(minutes=5)).strftime("%Y%m%d-%H:%M:%S")
    assert len(traded.executions(time=before)) == 3
    assert traded.executions(time=after) == []


def test_executions_of_several_days(traded: Client, sim: Simulator) -> None:
    """Without a number of days only today's; version 200 can ask for more, and for dates."""
    day = datetime.fromtimestamp(traded.current_time(), UTC)
    sim.clock(offset_s=86_400)
    assert eventually(traded.executions, lambda found: not found) == []
    if traded.kind.version < 200:
        return
    assert references(traded.executions(lastNDays=3)) == ["bought", "sold", "ibm"]
    around = [int((day + timedelta(days=n)).strftime("%Y%m%d")) for n in (-1, 0)]
    assert len(traded.executions(specificDates=around)) == 3
    assert traded.executions(specificDates=[20200102]) == []


def test_completed_orders_are_forgotten_at_midnight(traded: Client, sim: Simulator) -> None:
    """They are those of today."""
    sim.clock(offset_s=2 * 86_400)
    assert eventually(traded.completed_orders, lambda found: not found) == []


def test_a_restarted_gateway_still_knows_them(
    traded: Client, sim: Simulator, clients: Clients
) -> None:
    """Orders, completed orders and executions come back with the same permIds and execIds."""
    before = {e["execution"]["execId"] for e in traded.executions()}
    sim.restart()
    traded.reconnect()
    assert {e["execution"]["execId"] for e in traded.executions()} == before
    assert references(traded.open_orders()) == ["resting"]
    assert len(traded.completed_orders()) == 4
