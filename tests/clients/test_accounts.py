"""Accounts, values, positions, portfolio and profit and loss, by every client."""

import pytest

from ibloop.sim.testing import Simulator
from tests.clients.bench import AAPL, ACCOUNT, IBM, SECOND_ACCOUNT, order, set_quote
from tests.clients.client import Client, Record, eventually, primary_exchange
from tests.clients.conftest import Clients

pytestmark = [pytest.mark.clients, pytest.mark.e2e]


@pytest.fixture
def accounts() -> tuple[str, ...]:
    """Return a paper account and another one."""
    return (ACCOUNT, SECOND_ACCOUNT)


@pytest.fixture
def holder(client: Client) -> Client:
    """Return a client that has bought 10 AAPL at 660.10 and 20 IBM at 210.04, 1.00 each."""
    client.filled(AAPL, order("BUY", 10, account=ACCOUNT))
    client.filled(IBM, order("BUY", 20, account=ACCOUNT))
    return client


def test_every_account_is_named(clients: Clients) -> None:
    """managedAccounts lists them in order."""
    client = clients.connect(5)
    assert client.accounts == [ACCOUNT, SECOND_ACCOUNT]


def test_account_values_follow_the_trades(holder: Client) -> None:
    """Cash falls by price and commission; each account has its own."""
    values = holder.account_values(ACCOUNT)
    cash = 100_000 - 10 * 660.10 - 20 * 210.04 - 2
    assert float(values["TotalCashValue", "USD"]) == pytest.approx(cash)
    assert float(values["CashBalance", "BASE"]) == pytest.approx(cash)
    worth = cash + 10 * 660.05 + 20 * 210.02
    assert float(values["NetLiquidation", "USD"]) == pytest.approx(worth, abs=1)
    assert float(values["GrossPositionValue", "USD"]) == pytest.approx(worth - cash, abs=1)
    other = holder.account_values(SECOND_ACCOUNT)
    assert other["TotalCashValue", "USD"] == "100000.00"


def test_the_summary_has_all_accounts(holder: Client) -> None:
    """reqAccountSummary for the group All."""
    summary = holder.account_summary()
    assert float(summary[ACCOUNT, "TotalCashValue"]) == pytest.approx(89_196.20)
    assert float(summary[SECOND_ACCOUNT, "NetLiquidation"]) == 100_000
    assert {account for account, _tag in summary} >= {ACCOUNT, SECOND_ACCOUNT}


def test_positions_carry_the_average_cost(holder: Client) -> None:
    """Average cost contains commissions."""
    assert holder.positions() == {
        (ACCOUNT, "AAPL"): (10, pytest.approx(660.20)),
        (ACCOUNT, "IBM"): (20, pytest.approx(210.09)),
    }


def test_positions_of_one_account(holder: Client) -> None:
    """reqPositionsMulti; ib_insync and ib_async do not offer it."""
    if holder.kind.is_insync:
        return
    assert holder.positions_multi(ACCOUNT) == holder.positions()
    assert holder.positions_multi(SECOND_ACCOUNT) == {}


def test_the_portfolio_is_valued(holder: Client) -> None:
    """Position, price, value, cost and profit of each holding."""
    portfolio = holder.portfolio(ACCOUNT)
    assert set(portfolio) == {"AAPL", "IBM"}
    apple = portfolio["AAPL"]
    assert apple["contract"]["conId"] == 265598
    assert primary_exchange(apple["contract"]) == "NASDAQ"
    assert (apple["position"], apple["account"]) == (10, ACCOUNT)
    assert apple["marketPrice"] == pytest.approx(660.05, abs=0.051)
    assert apple["marketValue"] == pytest.approx(10 * apple["marketPrice"], abs=0.01)
    assert apple["averageCost"] == pytest.approx(660.20)
    gain = apple["marketValue"] - 10 * 660.20
    assert apple["unrealizedPNL"] == pytest.approx(gain, abs=0.01)
    assert apple["realizedPNL"] == 0


def test_a_sale_realises_its_profit(holder: Client, sim: Simulator) -> None:
    """Half of the holding sold 10 dollars higher: profit less commissions, in the report too."""
    set_quote(sim, "AAPL", 670.10, 670.20, 670.15)
    sold = holder.filled(AAPL, order("SELL", 5, account=ACCOUNT))
    report = holder.wait_event("commission", sold)
    realised = 5 * 670.10 - 1 - 5 * 660.20
    assert report["realizedPNL"] == pytest.approx(realised, abs=0.01)
    apple = holder.portfolio(ACCOUNT)["AAPL"]
    assert (apple["position"], apple["averageCost"]) == (5, pytest.approx(660.20))
    assert apple["realizedPNL"] == pytest.approx(realised, abs=0.01)


def arrived(pnl: Record) -> bool:
    """Return whether a profit and loss has come."""
    return pnl["dailyPnL"] is not None


def test_profit_and_loss_of_an_account(holder: Client, sim: Simulator) -> None:
    """reqPnL tells daily, unrealised and realised, and tells again when prices move."""
    with holder.subscribed("pnl", ACCOUNT) as read:
        first = eventually(read, arrived)
        cost = 10 * 660.20 + 20 * 210.09
        worth = 10 * 660.05 + 20 * 210.02
        assert first["unrealizedPnL"] == pytest.approx(worth - cost, abs=1)
        assert first["realizedPnL"] == 0
        assert first["dailyPnL"] == pytest.approx(first["unrealizedPnL"], abs=0.01)
        set_quote(sim, "AAPL", 670.00, 670.10, 670.05)
        later = eventually(read, lambda pnl: pnl["unrealizedPnL"] > first["unrealizedPnL"] + 50)
        assert later["unrealizedPnL"] == pytest.approx(first["unrealizedPnL"] + 100, abs=1)


def test_profit_and_loss_of_a_position(holder: Client) -> None:
    """reqPnLSingle adds the size and the value."""
    with holder.subscribed("pnl_single", ACCOUNT, 8314) as read:
        found = eventually(read, arrived)
        assert found["position"] == 20
        assert found["value"] == pytest.approx(20 * 210.02, abs=0.5)
        assert found["unrealizedPnL"] == pytest.approx(found["value"] - 20 * 210.09, abs=0.01)
