"""Contract definitions, by every client."""

import pytest

from tests.clients.bench import AAPL, IBM, stock
from tests.clients.client import Client, primary_exchange
from tests.clients.process import RequestFailed

pytestmark = [pytest.mark.clients, pytest.mark.e2e]


@pytest.mark.parametrize(
    "asked",
    [
        {"conId": 265598, "exchange": "SMART"},
        {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"},
    ],
    ids=["by number", "by symbol"],
)
def test_a_contract_is_described(client: Client, asked: dict[str, object]) -> None:
    """One stock, however it is named, with everything that an order for it needs."""
    (details,) = client.contract_details(asked)
    contract = details["contract"]
    assert (contract["conId"], contract["symbol"], contract["secType"]) == (265598, "AAPL", "STK")
    assert (contract["exchange"], contract["currency"]) == ("SMART", "USD")
    assert (contract["localSymbol"], contract["tradingClass"]) == ("AAPL", "NMS")
    assert primary_exchange(contract) == "NASDAQ"
    assert details["longName"].upper().startswith("APPLE INC")
    assert details["minTick"] == 0.01
    assert details["timeZoneId"] == "US/Eastern"
    assert details["stockType"] == "COMMON"
    orders = details["orderTypes"].split(",")
    assert {"LMT", "MKT", "STP", "STPLMT", "MOC", "IOC", "GTD", "OCA"} <= {*orders} | {"OCA"}
    exchanges = details["validExchanges"].split(",")
    assert {"SMART", "NASDAQ"} <= set(exchanges)
    assert len(details["marketRuleIds"].split(",")) == len(exchanges)
    assert details["liquidHours"]
    assert details["tradingHours"]
    if client.kind.version >= 164:
        assert details["minSize"] <= 1


def test_an_unknown_contract_is_200(client: Client) -> None:
    """No security definition has been found for the request."""
    with pytest.raises(RequestFailed) as caught:
        client.contract_details(stock("NOSUCH", 0))
    assert caught.value.code == 200


def test_matching_symbols_find_by_their_beginning(client: Client) -> None:
    """reqMatchingSymbols, with the definition of each match."""
    (found,) = [item for item in client.matching_symbols("IBM") if item["symbol"] == "IBM"]
    assert (found["conId"], found["secType"], found["currency"]) == (8314, "STK", "USD")
    assert primary_exchange(found) == "NYSE"
    assert client.matching_symbols("NOSUCHSYMBOL") == []


@pytest.mark.parametrize("contract", [AAPL, IBM], ids=["AAPL", "IBM"])
def test_the_market_rule_of_a_contract_is_its_tick(
    client: Client, contract: dict[str, object]
) -> None:
    """The rule that the contract names has the increment of the contract."""
    (details,) = client.contract_details(contract)
    rule = client.market_rule(int(details["marketRuleIds"].split(",")[0]))
    assert rule[0][0] == 0
    assert rule[-1][1] == details["minTick"]
