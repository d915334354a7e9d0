"""Orders and the exchange's hours: auctions, warnings, outside regular hours; by every client."""

import csv
from collections.abc import Iterator
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from ibloop.sim.testing import Simulator, frozen, running
from tests.clients.bench import AAPL, limit, order, set_quote
from tests.clients.client import Client, eventually
from tests.clients.matrix import ROOT

pytestmark = [pytest.mark.clients, pytest.mark.e2e]

NEW_YORK = ZoneInfo("America/New_York")


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """Return a time of June 2031 in New York; the 10th is a Tuesday."""
    return datetime(2031, 6, day, hour, minute, tzinfo=NEW_YORK)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """Run a simulator that keeps the exchange's hours; it is Tuesday noon.

    The sessions between today and then have been played, so the history begins well before.
    """
    with running(frozen(hours="exchange", start=date(2006, 1, 3))) as sim:
        sim.clock(to=at(10, 12))
        yield sim


@pytest.fixture(scope="module")
def history() -> dict[str, set[float]]:
    """Return all opening and closing prices of AAPL in the sample history."""
    with (ROOT / "data/samples/prices/AAPL.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: {round(float(row[name]), 2) for row in rows} for name in ("open", "close")}


def test_a_market_on_close_order_gets_the_close(
    client: Client, sim: Simulator, history: dict[str, set[float]]
) -> None:
    """It rests until 16:00 and fills whole at the session's closing price."""
    order_id = client.place(AAPL, order("BUY", 10, "MOC"))
    status = eventually(lambda: client.statuses(order_id), bool)[0]
    assert status in {"PreSubmitted", "Submitted"}
    (found,) = client.open_orders()
    assert found["order"]["orderType"] == "MOC"
    sim.clock(to=at(10, 16, 0))
    filled = client.wait_status(order_id, "Filled")
    assert filled["filled"] == 10
    assert filled["avgFillPrice"] in history["close"]
    (bar,) = client.bars(AAPL, "1 D", "1 day")
    assert bar["close"] == filled["avgFillPrice"]


def test_a_market_on_open_order_gets_the_next_open(
    client: Client, sim: Simulator, history: dict[str, set[float]]
) -> None:
    """MKT with tif OPG, given in the evening, fills at the next morning's opening price."""
    sim.clock(to=at(10, 18))
    order_id = client.place(AAPL, order("BUY", 10, tif="OPG"))
    client.wait_status(order_id, "PreSubmitted")
    (found,) = client.open_orders()
    assert found["order"]["tif"] == "OPG"
    sim.clock(to=at(11, 9, 30))
    filled = client.wait_status(order_id, "Filled")
    assert filled["avgFillPrice"] in history["open"]


def test_an_order_at_night_is_held_with_a_warning(client: Client, sim: Simulator) -> None:
    """PreSubmitted and warning 399 that names the time of the opening; then it works."""
    sim.clock(to=at(10, 22))
    order_id = client.place(AAPL, limit("BUY", 10, 1.00, tif="GTC"))
    client.wait_status(order_id, "PreSubmitted")
    error = client.wait_event("error", order_id, code=399)
    assert "2031-06-11 09:30:00 US/Eastern" in error["text"]
    sim.clock(to=at(11, 9, 31))
    eventually(client.open_orders, lambda found: found[0]["state"]["status"] == "Submitted")


def test_an_order_outside_regular_hours_fills_before_the_open(
    client: Client, sim: Simulator
) -> None:
    """At eight in the morning it works only where outsideRth says so."""
    sim.clock(to=at(11, 8))
    set_quote(sim, "AAPL", 660.00, 660.10, 660.05)
    held = client.place(AAPL, limit("BUY", 5, 661.00))
    client.wait_status(held, "PreSubmitted")
    early = client.filled(AAPL, limit("BUY", 10, 661.00, outsideRth=True))
    assert client.wait_status(early, "Filled")["filled"] == 10
    assert "Filled" not in client.statuses(held)
    sim.clock(to=at(11, 9, 31))
    client.wait_status(held, "Filled")


def test_a_day_order_ends_with_the_day(client: Client, sim: Simulator) -> None:
    """GTC goes on, DAY does not."""
    day = client.place(AAPL, limit("BUY", 10, 1.00))
    gtc = client.place(AAPL, limit("BUY", 10, 1.00, tif="GTC"))
    for order_id in (day, gtc):
        client.wait_status(order_id, "Submitted")
    sim.clock(to=at(10, 16, 1))
    client.wait_status(day, "Cancelled")
    assert [found["order"]["orderId"] for found in client.open_orders()] == [gtc]


def test_the_hours_are_told(client: Client) -> None:
    """liquidHours of the day and of those after it, holidays and weekends closed."""
    (details,) = client.contract_details(AAPL)
    hours = dict(part.split(":", 1) for part in details["liquidHours"].split(";"))
    assert hours["20310610"] == "0930-20310610:1600"
    assert hours["20310614"] == "CLOSED"
    trading = dict(part.split(":", 1) for part in details["tradingHours"].split(";"))
    assert trading["20310610"] == "0400-20310610:2000"
