"""Stops, auctions, groups and brackets, by every client."""

import pytest

from ibloop.sim.testing import Simulator
from tests.clients.bench import AAPL, ACCOUNT, IBM, limit, order, set_quote
from tests.clients.client import Client

pytestmark = [pytest.mark.clients, pytest.mark.e2e]


def test_a_stop_waits_for_its_price(client: Client, sim: Simulator) -> None:
    """PreSubmitted and held by its trigger; a market order once the last price is there."""
    order_id = client.place(AAPL, order("BUY", 10, "STP", auxPrice=665.00))
    assert client.wait_status(order_id, "PreSubmitted")["whyHeld"] == "trigger"
    (found,) = client.open_orders()
    assert (found["order"]["orderType"], found["order"]["auxPrice"]) == ("STP", 665.00)
    set_quote(sim, "AAPL", 664.90, 665.00, 664.95)
    assert sim.executions() == []
    set_quote(sim, "AAPL", 665.20, 665.30, 665.25)
    assert client.wait_status(order_id, "Filled")["avgFillPrice"] == 665.30


def test_a_stop_loss_sells_below_the_market(client: Client, sim: Simulator) -> None:
    """The other direction."""
    client.filled(AAPL, order("BUY", 10))
    order_id = client.place(AAPL, order("SELL", 10, "STP", auxPrice=655.00))
    client.wait_status(order_id, "PreSubmitted")
    set_quote(sim, "AAPL", 654.80, 654.90, 654.85)
    assert client.wait_status(order_id, "Filled")["avgFillPrice"] == 654.80


def test_a_stop_limit_becomes_a_limit_order(client: Client, sim: Simulator) -> None:
    """Elected, it works at its limit and no worse."""
    order_id = client.place(AAPL, order("BUY", 10, "STP LMT", auxPrice=665.00, lmtPrice=665.50))
    assert client.wait_status(order_id, "PreSubmitted")["whyHeld"] == "trigger"
    set_quote(sim, "AAPL", 666.00, 666.10, 666.05)
    client.wait_status(order_id, "Submitted")
    set_quote(sim, "AAPL", 665.30, 665.40, 665.35)
    status = client.wait_status(order_id, "Filled")
    assert 665.40 <= status["avgFillPrice"] <= 665.50


def test_one_fill_cancels_the_group(client: Client, sim: Simulator) -> None:
    """OCA type 1: the others are cancelled, in whatever stock."""
    group = {"ocaGroup": "either", "ocaType": 1}
    apple = client.place(AAPL, limit("BUY", 10, 655.00, **group))
    ibm = client.place(IBM, limit("BUY", 10, 205.00, **group))
    for order_id in (apple, ibm):
        client.wait_status(order_id, "Submitted")
    shown = {found["order"]["ocaGroup"] for found in client.open_orders()}
    assert shown == {"either"}
    set_quote(sim, "IBM", 204.90, 204.94, 204.92)
    client.wait_status(ibm, "Filled")
    client.wait_status(apple, "Cancelled")
    assert set(client.positions()) == {(ACCOUNT, "IBM")}


def placed_bracket(client: Client) -> tuple[int, int, int]:
    """Place entry, target and stop as programs do: only the last one is transmitted at once."""
    entry, target, stop = (client.reserve_id() for _ in range(3))
    parent = {"parentId": entry}
    client.place(AAPL, limit("BUY", 10, 655.00, orderId=entry, transmit=False))
    client.place(AAPL, limit("SELL", 10, 670.00, orderId=target, transmit=False, **parent))
    last = order("SELL", 10, "STP", auxPrice=650.00, orderId=stop, transmit=True, **parent)
    client.place(AAPL, last)
    return entry, target, stop


def test_a_bracket_ends_with_its_target(client: Client, sim: Simulator) -> None:
    """The children wait for the entry; the target's fill cancels the stop."""
    entry, target, stop = placed_bracket(client)
    client.wait_status(entry, "Submitted")
    for child in (target, stop):
        status = client.wait_status(child, "PreSubmitted")
        assert "child" in status["whyHeld"]
        assert status["parentId"] == entry
    assert {found["order"]["orderId"] for found in client.open_orders()} == {entry, target, stop}
    set_quote(sim, "AAPL", 654.80, 654.90, 654.85)
    client.wait_status(entry, "Filled")
    client.wait_status(target, "Submitted")
    set_quote(sim, "AAPL", 670.20, 670.30, 670.25)
    assert client.wait_status(target, "Filled")["avgFillPrice"] >= 670.00
    client.wait_status(stop, "Cancelled")
    assert client.positions().get((ACCOUNT, "AAPL"), (0, 0))[0] == 0


def test_a_bracket_ends_with_its_stop(client: Client, sim: Simulator) -> None:
    """The other way out."""
    entry, target, stop = placed_bracket(client)
    client.wait_status(stop, "PreSubmitted")
    set_quote(sim, "AAPL", 654.80, 654.90, 654.85)
    client.wait_status(entry, "Filled")
    set_quote(sim, "AAPL", 649.80, 649.90, 649.85)
    assert client.wait_status(stop, "Filled")["avgFillPrice"] == 649.80
    client.wait_status(target, "Cancelled")


def test_cancelling_the_entry_cancels_its_children(client: Client) -> None:
    """What waits for an order that ended unfilled ends too."""
    entry, target, stop = placed_bracket(client)
    client.wait_status(stop, "PreSubmitted")
    client.cancel(entry)
    for order_id in (entry, target, stop):
        client.wait_status(order_id, "Cancelled")
    assert client.open_orders() == []


def test_an_order_that_is_not_transmitted_waits(client: Client, sim: Simulator) -> None:
    """Nothing is told about it and nothing works, until it is sent again with transmit."""
    order_id = client.place(AAPL, limit("BUY", 10, 650.00, transmit=False))
    assert client.current_time() > 0
    assert [
        kind for kind, record in client.of(order_id) if kind != "status" or record["permId"]
    ] == []
    assert not [real for real in sim.orders() if real["status"] == "Submitted"]
    client.modify(order_id, transmit=True)
    client.wait_status(order_id, "Submitted")
