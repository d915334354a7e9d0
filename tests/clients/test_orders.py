"""Market and limit orders and their times in force, by every client."""

from datetime import UTC, datetime, timedelta
from itertools import groupby

import pytest

from ibloop.sim.testing import Simulator
from tests.clients.bench import AAPL, ACCOUNT, IBM, limit, order, set_quote, stock
from tests.clients.client import Client, eventually
from tests.clients.process import RequestFailed

pytestmark = [pytest.mark.clients, pytest.mark.e2e]


def told(client: Client, order_id: int) -> list[str]:
    """Return what was told about an order: callbacks and statuses, repetitions once."""
    names = []
    for kind, record in client.of(order_id):
        status = record["state"]["status"] if kind == "open" else record.get("status")
        names.append(f"{kind} {status}" if status else kind)
    return [name for name, _same in groupby(names)]


def test_a_market_order_fills_at_the_ask(client: Client, sim: Simulator) -> None:
    """Status, execution and commission report carry price, size, ids and reference."""
    order_id = client.filled(AAPL, order("BUY", 10, orderRef="ibloop-1", account=ACCOUNT))
    status = client.wait_status(order_id, "Filled")
    assert (status["filled"], status["remaining"]) == (10, 0)
    assert (status["avgFillPrice"], status["lastFillPrice"]) == (660.10, 660.10)
    assert (status["clientId"], status["parentId"]) == (5, 0)
    execution = client.wait_event("fill", order_id)["execution"]
    assert (execution["shares"], execution["price"], execution["side"]) == (10, 660.10, "BOT")
    assert (execution["cumQty"], execution["avgPrice"]) == (10, 660.10)
    assert (execution["acctNumber"], execution["clientId"]) == (ACCOUNT, 5)
    assert execution["orderRef"] == "ibloop-1"
    assert execution["permId"] == status["permId"] > 0
    report = client.wait_event("commission", order_id, execId=execution["execId"])
    assert (report["commission"], report["currency"]) == (1.00, "USD")
    assert not report["realizedPNL"]
    (real,) = sim.executions()
    assert (real["execId"], real["price"]) == (execution["execId"], 660.10)


def test_the_sequence_of_a_filled_market_order(client: Client) -> None:
    """As recorded: PreSubmitted, the execution, Filled, commission report; never Submitted."""
    order_id = client.filled(AAPL, order("BUY", 10))
    if client.kind.is_insync:
        assert client.statuses(order_id) == ["PreSubmitted", "Filled"]
        return
    assert told(client, order_id) == [
        *("open PreSubmitted", "status PreSubmitted", "fill"),
        *("open Filled", "status Filled", "open Filled", "status Filled", "commission"),
    ]


def test_a_sale_fills_at_the_bid(client: Client) -> None:
    """What is held can be sold; the side is SLD."""
    client.filled(AAPL, order("BUY", 10))
    sold = client.filled(AAPL, order("SELL", 4))
    execution = client.wait_event("fill", sold)["execution"]
    assert (execution["price"], execution["shares"], execution["side"]) == (660.00, 4, "SLD")


def test_the_commission_is_half_a_cent_a_share(client: Client) -> None:
    """IB's fixed schedule above its minimum of one dollar."""
    order_id = client.filled(IBM, order("BUY", 400))
    reports = [r for kind, r in client.of(order_id) if kind == "commission"]
    eventually(
        lambda: sum(r["commission"] for kind, r in client.of(order_id) if kind == "commission"),
        lambda total: total == pytest.approx(2.00),
    )
    assert reports


def test_a_limit_order_rests_until_the_market_comes(client: Client, sim: Simulator) -> None:
    """Submitted, then filled at its price or better."""
    order_id = client.place(AAPL, limit("BUY", 10, 659.00))
    status = client.wait_status(order_id, "Submitted")
    assert (status["filled"], status["remaining"]) == (0, 10)
    set_quote(sim, "AAPL", 658.80, 658.90, 658.85)
    status = client.wait_status(order_id, "Filled")
    assert 658.90 <= status["avgFillPrice"] <= 659.00


def test_a_marketable_limit_order_fills_better_than_its_limit(client: Client) -> None:
    """The limit is no price but a bound."""
    order_id = client.filled(AAPL, limit("BUY", 10, 665.00))
    assert client.wait_status(order_id, "Filled")["avgFillPrice"] == 660.10


def test_an_order_can_be_modified(client: Client, sim: Simulator) -> None:
    """The same id with another price and size is the same order, permId and all."""
    order_id = client.place(AAPL, limit("BUY", 10, 650.00))
    perm_id = client.wait_status(order_id, "Submitted")["permId"]
    client.modify(order_id, lmtPrice=655.00, totalQuantity=7)
    client.wait_event("status", order_id, remaining=7)
    (found,) = client.open_orders()
    assert (found["order"]["lmtPrice"], found["order"]["totalQuantity"]) == (655.00, 7)
    assert found["order"]["permId"] == perm_id
    client.modify(order_id, lmtPrice=661.00)
    status = client.wait_status(order_id, "Filled")
    assert (status["filled"], status["avgFillPrice"]) == (7, 660.10)
    assert len(sim.orders()) == 1


def test_an_order_can_be_cancelled(client: Client) -> None:
    """Cancelled, then error 202, and it is open no more."""
    order_id = client.place(AAPL, limit("BUY", 10, 650.00))
    client.wait_status(order_id, "Submitted")
    client.cancel(order_id)
    status = client.wait_status(order_id, "Cancelled")
    assert (status["filled"], status["remaining"]) == (0, 10)
    eventually(lambda: client.errors(order_id), lambda codes: codes == [202])
    assert client.open_orders() == []


def test_cancelling_what_is_not_there(client: Client) -> None:
    """10147 for an unknown order, 10148 for a filled one."""
    filled = client.filled(AAPL, order("BUY", 10))
    client.cancel(filled)
    eventually(lambda: client.errors(filled), lambda codes: codes == [10148])
    client.cancel(99_999)
    eventually(lambda: client.errors(99_999), lambda codes: codes == [10147])


def test_cancelling_everything(client: Client) -> None:
    """reqGlobalCancel ends all working orders."""
    placed = [client.place(AAPL, limit("BUY", 1, 650.00 - n)) for n in range(3)]
    for order_id in placed:
        client.wait_status(order_id, "Submitted")
    client.global_cancel()
    for order_id in placed:
        client.wait_status(order_id, "Cancelled")
    assert client.open_orders() == []


@pytest.mark.parametrize("tif", ["DAY", "GTC"])
def test_day_and_gtc_orders_rest(client: Client, tif: str) -> None:
    """They work, and are shown with their time in force."""
    order_id = client.place(AAPL, limit("BUY", 10, 650.00, tif=tif))
    client.wait_status(order_id, "Submitted")
    (found,) = client.open_orders()
    assert found["order"]["tif"] == tif


def test_a_gtd_order_ends_at_its_time(client: Client) -> None:
    """goodTillDate in UTC; then Cancelled."""
    moment = datetime.fromtimestamp(client.current_time(), UTC) + timedelta(seconds=2)
    until = moment.strftime("%Y%m%d-%H:%M:%S")
    order_id = client.place(AAPL, limit("BUY", 10, 650.00, tif="GTD", goodTillDate=until))
    client.wait_status(order_id, "Submitted")
    (found,) = client.open_orders()
    assert found["order"]["tif"] == "GTD"
    assert found["order"]["goodTillDate"]
    client.wait_status(order_id, "Cancelled")


def test_an_ioc_order_fills_or_ends(client: Client) -> None:
    """Marketable it fills; else it is cancelled at once."""
    good = client.filled(AAPL, limit("BUY", 10, 661.00, tif="IOC"))
    assert client.wait_status(good, "Filled")["avgFillPrice"] == 660.10
    bad = client.place(AAPL, limit("BUY", 10, 650.00, tif="IOC"))
    assert client.wait_status(bad, "Cancelled")["filled"] == 0


def test_an_ioc_order_takes_what_is_there(client: Client, sim: Simulator) -> None:
    """More than the displayed size: a part fills, the rest is cancelled."""
    with client.subscribed("market_data", IBM, "") as read:
        size = int(eventually(read, lambda ticks: ticks.get("askSize"))["askSize"])
    order_id = client.place(IBM, limit("BUY", min(size + 50, 470), 210.04, tif="IOC"))
    eventually(lambda: client.statuses(order_id), lambda s: s[-1:] in (["Cancelled"], ["Filled"]))
    bought = sum(e["shares"] for e in sim.executions())
    assert client.positions()[ACCOUNT, "IBM"][0] == bought


def test_a_fok_order_fills_at_once_or_not_at_all(client: Client) -> None:
    """One that cannot becomes Inactive, as recorded from paper accounts, and never fills."""
    good = client.filled(AAPL, limit("BUY", 10, 661.00, tif="FOK"))
    assert client.wait_status(good, "Filled")["filled"] == 10
    bad = client.place(AAPL, limit("BUY", 10, 650.00, tif="FOK"))
    ended = {"Inactive", "Cancelled"}
    eventually(lambda: client.statuses(bad), lambda statuses: ended & set(statuses))
    assert not [kind for kind, _record in client.of(bad) if kind == "fill"]
    assert client.open_orders() == []


def test_outside_rth_is_kept(client: Client) -> None:
    """The flag comes back in openOrder."""
    order_id = client.place(AAPL, limit("BUY", 10, 650.00, outsideRth=True))
    client.wait_status(order_id, "Submitted")
    (found,) = client.open_orders()
    assert found["order"]["outsideRth"] is True


def test_a_price_off_the_tick_is_110(client: Client, sim: Simulator) -> None:
    """Not accepted: an error and no order."""
    order_id = client.place(AAPL, limit("BUY", 10, 650.001))
    eventually(lambda: client.errors(order_id), lambda codes: codes == [110])
    assert sim.orders() == []


def test_no_money_is_201(client: Client) -> None:
    """Rejected, with the reason in the text; it fills nothing."""
    order_id = client.place(AAPL, order("BUY", 10_000))
    error = client.wait_event("error", order_id, code=201)
    assert error["text"].startswith("Order rejected - reason:")
    assert client.positions() == {}
    assert client.open_orders() == []


def test_a_short_sale_of_a_cash_account_is_201(client: Client) -> None:
    """More than is held cannot be sold."""
    client.filled(AAPL, order("BUY", 10))
    order_id = client.place(AAPL, order("SELL", 11))
    client.wait_event("error", order_id, code=201)
    assert client.positions()[ACCOUNT, "AAPL"][0] == 10


def test_an_unknown_contract_is_200(client: Client) -> None:
    """Nothing to trade."""
    order_id = client.place(stock("NOSUCH", 999_999_999), order("BUY", 1))
    client.wait_event("error", order_id, code=200)


def test_what_if_tells_margin_and_commission(client: Client, sim: Simulator) -> None:
    """Plain numbers for before, change and after, and no order."""
    state = client.what_if(AAPL, order("BUY", 10))
    assert state["status"] == "PreSubmitted"
    change = state["initMarginAfter"] - state["initMarginBefore"]
    assert state["initMarginBefore"] == 0
    assert state["initMarginChange"] == pytest.approx(change)
    assert 0 < state["initMarginChange"] <= 10 * 660.10 + 1
    assert 0 < state["maintMarginChange"] <= state["initMarginChange"]
    assert state["equityWithLoanBefore"] == pytest.approx(100_000)
    equity = state["equityWithLoanBefore"] + state["equityWithLoanChange"]
    assert state["equityWithLoanAfter"] == pytest.approx(equity)
    assert state["commission"] == 1.00
    assert sim.orders() == []
    assert client.positions() == {}


def test_what_if_of_an_impossible_order_is_refused(client: Client) -> None:
    """The answer is the rejection."""
    with pytest.raises(RequestFailed) as caught:
        client.what_if(AAPL, limit("BUY", 10, 650.001))
    assert caught.value.code == 110
