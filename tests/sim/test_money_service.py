"""Positions, account values and profit as a client receives them."""

import itertools
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ibloop.sim.brokerage import statement
from ibloop.sim.market.history import Samples
from ibloop.sim.market.hours import new_york_date
from ibloop.sim.model import AccountKind, AccountSpec, SimError
from ibloop.sim.protocol.replies import holdings
from ibloop.sim.protocol.wire import UNSET_DOUBLE
from ibloop.sim.service.desk import GatewayOptions
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.state import StateFile
from ibloop.sim.truth import truth
from ibloop.sim.world import World

AAPL, IBM = 265598, 8314
ACCOUNTS = (
    AccountSpec("DU1", AccountKind.CASH, Decimal(50_000)),
    AccountSpec("DU2", AccountKind.MARGIN, Decimal(20_000)),
    "U3",
)
# What ib_insync and ib_async ask a summary for.
TAGS_OF_CLIENTS = (
    "AccountType,NetLiquidation,TotalCashValue,SettledCash,AccruedCash,BuyingPower,"
    "EquityWithLoanValue,PreviousDayEquityWithLoanValue,GrossPositionValue,RegTEquity,RegTMargin,"
    "SMA,InitMarginReq,MaintMarginReq,AvailableFunds,ExcessLiquidity,Cushion,FullInitMarginReq,"
    "FullMaintMarginReq,FullAvailableFunds,FullExcessLiquidity,LookAheadNextChange,"
    "LookAheadInitMarginReq,LookAheadMaintMarginReq,LookAheadAvailableFunds,"
    "LookAheadExcessLiquidity,HighestSeverity,DayTradesRemaining,DayTradesRemainingT+1,"
    "DayTradesRemainingT+2,DayTradesRemainingT+3,DayTradesRemainingT+4,Leverage"
)
Connect = Callable[..., Any]


@pytest.fixture
def gateway(make_world: Callable[..., World]) -> Gateway:
    """Return a gateway of three accounts in a market that stands still."""
    return Gateway(make_world(accounts=ACCOUNTS), GatewayOptions(None))


def numbers(message: tuple[str, ...]) -> list[float]:
    """Return the fields after the request id."""
    return [float(field) for field in message[2:]]


def by_kind(messages: list[tuple[str, ...]]) -> dict[str, list[tuple[str, ...]]]:
    """Return messages by their number."""
    ordered = sorted(messages, key=lambda fields: fields[0])
    return {kind: list(found) for kind, found in itertools.groupby(ordered, lambda f: f[0])}


# ---------------------------------------------------------------------- several accounts


def test_every_account_trades_for_itself(
    gateway: Gateway, connect: Connect, place_fields: Callable[..., Any]
) -> None:
    """A margin account sells short, the cash accounts do not; a missing account is error 435."""
    client = connect(gateway)
    client.send(*place_fields(1, account="DU2", action="SELL"))
    client.send(*place_fields(2, account="DU1", action="SELL"))
    refused = client.send(*place_fields(3, action="SELL"))
    assert refused[0][:4] == ("4", "2", "3", "435")
    held = [(row["account"], row["quantity"]) for row in truth(gateway.world)["positions"]]
    assert held == [("DU2", -50)]
    known = truth(gateway.world)["accounts"]
    assert {name: row["kind"] for name, row in known.items()} == {
        "DU1": "cash",
        "DU2": "margin",
        "U3": "cash",
    }
    assert [row["opening_cash"] for row in known.values()] == [50_000, 20_000, 100_000]


def test_kinds_and_cash_outlive_a_restart(
    make_world: Callable[..., World],
    state_file: Callable[[], StateFile],
    connect: Connect,
    place_fields: Callable[..., Any],
) -> None:
    """The cash an account began with is the state file's; its kind may be changed at a start."""
    first = state_file()
    gateway = Gateway(make_world(first, accounts=ACCOUNTS), GatewayOptions(None))
    connect(gateway).send(*place_fields(1, account="DU2", action="SELL"))
    before = truth(gateway.world)
    first.close()
    second = state_file()
    world = make_world(second, accounts=["DU2", "U3"])
    second.close()
    after = truth(world)
    assert after["positions"] == before["positions"]
    assert after["accounts"]["DU1"] == before["accounts"]["DU1"]
    assert (before["accounts"]["DU2"]["kind"], after["accounts"]["DU2"]["kind"]) == (
        "margin",
        "cash",
    )
    assert after["accounts"]["DU2"]["cash"] == before["accounts"]["DU2"]["cash"]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("DU1", AccountSpec("DU1")),
        ("DU1:margin", AccountSpec("DU1", AccountKind.MARGIN)),
        ("U2:2500.50", AccountSpec("U2", cash_usd=Decimal("2500.50"))),
        ("DF3:cash:7", AccountSpec("DF3", AccountKind.CASH, Decimal(7))),
    ],
)
def test_an_account_is_read_from_text(text: str, spec: AccountSpec) -> None:
    """ID[:cash|margin][:CASH_USD]."""
    assert AccountSpec.parse(text) == spec


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected an account id of letters and digits, was ''"),
        ("DU1,DU2", "expected an account id of letters and digits, was 'DU1,DU2'"),
        ("D U:margin", "expected an account id of letters and digits, was 'D U'"),
        ("DU1:foo", "account DU1: expected cash, margin or USD above 0 .*, was 'foo'"),
        ("DU1:1e9", "account DU1: expected cash, margin or USD above 0 .*, was '1e9'"),
        ("DU1:inf", "account DU1: expected cash, margin or USD above 0 .*, was 'inf'"),
        ("DU1:margin:1e30", "account DU1: expected USD above 0 and below 1e12.*, was '1e30'"),
        ("DU1:margin:0", "account DU1: expected USD above 0 .*, was '0'"),
        ("DU1:cash:1.234", "account DU1: expected USD .* two decimals, was '1.234'"),
        ("DU1:", "account DU1: expected cash, margin or USD .*, was ''"),
        ("DU1:5:cash", "account DU1: no more expected after its cash: 'cash'"),
    ],
)
def test_anything_else_is_no_account(text: str, reason: str) -> None:
    """One sentence names the part that is wrong."""
    with pytest.raises(SimError, match=reason):
        AccountSpec.parse(text)


def test_an_account_is_asked_for_once(make_world: Callable[..., World]) -> None:
    """Of two accounts of the same name neither would be the one that was meant."""
    with pytest.raises(SimError, match="expected each account once, was DU1 more than once"):
        make_world(accounts=(AccountSpec("DU1", AccountKind.MARGIN), "DU1"))


# ---------------------------------------------------------------------- account values


def test_account_values_hold_together(gateway: Gateway) -> None:
    """A cash account: equity is cash plus stocks, and what is available is the cash."""
    world = gateway.world
    account = world.broker.accounts["U3"]
    rows = statement.values(account, world.quote_of, new_york_date(world.now()))
    values = {(key, currency): value for key, value, currency in rows}
    assert len(values) == len(rows)
    for key in (
        *("NetLiquidation", "TotalCashValue", "SettledCash", "AvailableFunds", "BuyingPower"),
        *("EquityWithLoanValue", "CashBalance", "PreviousDayEquityWithLoanValue", "SMA"),
    ):
        assert values[key, "USD"] == "100000.00"
    for key in ("GrossPositionValue", "InitMarginReq", "MaintMarginReq", "AccruedCash"):
        assert values[key, "USD"] == "0.00"
    assert values["CashBalance", "BASE"] == "100000.00"
    assert values["UnrealizedPnL", "BASE"] == values["RealizedPnL", "USD"] == "0.00"
    assert values["AccountType", ""] == "INDIVIDUAL"
    assert (values["Cushion", ""], values["Leverage", ""]) == ("1.000000", "0.00")
    assert (values["TradingType-S", ""], values["DayTradesRemaining", ""]) == ("STKCASH", "-1")
    assert [key for key, _, _ in rows] == sorted(key for key, _, _ in rows)


def test_a_summary_knows_every_tag_clients_ask_for(
    gateway: Gateway, connect: Connect, place_fields: Callable[..., Any]
) -> None:
    """Of every account, each tag once, and the ledger as $LEDGER asks for it."""
    client = connect(gateway)
    client.send(*place_fields(1, account="DU2", action="SELL", totalQuantity=100))
    messages = client.send(62, 1, 7, "All", TAGS_OF_CLIENTS)
    assert messages[-1] == ("64", "1", "7")
    rows = [fields[3:] for fields in messages[:-1]]
    accounts = sorted(["DU1", "DU2", "U3"])
    assert sorted({account for account, *_ in rows}) == accounts
    tags = sorted(TAGS_OF_CLIENTS.split(","))
    for name in accounts:
        assert sorted(tag for account, tag, *_ in rows if account == name) == tags
    short = {tag: value for account, tag, value, _ in rows if account == "DU2"}
    quote = gateway.world.quote_of(AAPL)
    assert quote is not None
    assert Decimal(short["GrossPositionValue"]) == quote.last * 100
    assert Decimal(short["InitMarginReq"]) == quote.last * 50
    assert Decimal(short["MaintMarginReq"]) == quote.last * 30
    assert Decimal(short["BuyingPower"]) == 2 * Decimal(short["AvailableFunds"])
    assert short["DayTradesRemaining"] == "3"


@pytest.mark.parametrize(
    ("tags", "currencies"),
    [("$LEDGER", {"BASE"}), ("$LEDGER:USD", {"USD"}), ("$LEDGER:ALL", {"BASE", "USD"})],
)
def test_a_ledger_comes_in_the_currencies_asked_for(
    gateway: Gateway, connect: Connect, tags: str, currencies: set[str]
) -> None:
    """Ledger rows only, of one account when it is named as the group."""
    *rows, end = connect(gateway).send(62, 1, 7, "DU1", tags)
    assert end == ("64", "1", "7")
    assert {fields[6] for fields in rows} == currencies
    assert {fields[4] for fields in rows} == statement.LEDGER_KEYS
    assert {fields[3] for fields in rows} == {"DU1"}


def test_summaries_are_two_and_groups_known(gateway: Gateway, connect: Connect) -> None:
    """A third is 322, until one is cancelled; an unknown group is 321."""
    client = connect(gateway)
    for req_id in (1, 2, 1):
        assert client.send(62, 1, req_id, "All", "NetLiquidation")[-1][0] == "64"
    (error,) = client.send(62, 1, 3, "All", "NetLiquidation")
    assert error[3] == "322"
    assert "desubscribe to previous request first" in error[4]
    client.send(63, 1, 1)
    (error,) = client.send(62, 1, 3, "Friends", "NetLiquidation")
    assert error[2:4] == ("3", "321")
    assert client.send(62, 1, 3, "All", "NetLiquidation")[-1][0] == "64"


def test_account_updates_are_of_one_account_at_a_time(gateway: Gateway, connect: Connect) -> None:
    """Another account's replace them with 2100; so does the end of them."""
    client = connect(gateway)
    first = client.send(6, 2, 1, "DU1")
    assert first[0][:3] == ("6", "2", "AccountCode")
    assert first[-1] == ("54", "1", "DU1")
    assert "4" not in {fields[0] for fields in first}
    second = client.send(6, 2, 1, "DU2")
    assert second[0][3:5] == ("2100", "API client has been unsubscribed from account data.")
    assert {fields[-1] for fields in second if fields[0] == "6"} == {"DU2"}
    assert [fields[3] for fields in client.send(6, 2, 0, "DU2")] == ["2100"]
    assert client.send(6, 2, 0, "DU2") == []
    (error,) = client.send(6, 2, 1, "DU9")
    assert error[3] == "321"


def test_a_portfolio_holds_what_is_held_or_was_traded_today(
    gateway: Gateway, connect: Connect, place_fields: Callable[..., Any], clock: Any
) -> None:
    """A closed position stays with its realized profit until the day ends, then is gone."""
    client = connect(gateway)
    client.send(*place_fields(1, account="DU2"))
    client.send(*place_fields(2, account="DU2", conId=IBM, symbol="IBM"))
    clock.advance(2)
    client.send(*place_fields(3, account="DU2", conId=IBM, symbol="IBM", action="SELL"))
    rows = by_kind(client.send(6, 2, 1, "DU2"))["7"]
    assert {fields[3]: fields[13] for fields in rows} == {"AAPL": "50", "IBM": "0"}
    realized = {fields[3]: Decimal(fields[18]) for fields in rows}
    sold = gateway.world.broker.executions[-1]
    assert realized["IBM"].quantize(Decimal("0.01")) == sold.realized_pnl
    client.send(6, 2, 0, "")
    gateway.world.set_clock(86_400)
    rows = by_kind(client.send(6, 2, 1, "DU2"))["7"]
    assert {fields[3]: fields[18] for fields in rows} == {"AAPL": "0.0"}


def test_ledger_only_updates_carry_ledger_and_net_liquidation(
    gateway: Gateway, connect: Connect
) -> None:
    """ledgerAndNLV of reqAccountUpdatesMulti; without it everything comes."""
    client = connect(gateway)
    few = client.send(76, 1, 5, "DU1", "", 1)
    assert few[-1] == ("74", "1", "5")
    assert {fields[5] for fields in few[:-1]} == statement.LEDGER_KEYS | {"NetLiquidation"}
    assert len(client.send(76, 1, 6, "DU1", "", 0)) > len(few)


# ---------------------------------------------------------------------- positions


def test_positions_multi_are_of_one_account_and_follow_it(
    gateway: Gateway, connect: Connect, place_fields: Callable[..., Any]
) -> None:
    """Those held, the end, then every change, until cancelled; a position that is gone is 0."""
    client = connect(gateway)
    client.send(*place_fields(1, account="DU1"))
    client.send(*place_fields(2, account="DU2", action="SELL"))
    first = client.send(74, 1, 9, "DU2", "")
    assert [fields[0] for fields in first] == ["71", "72"]
    position = first[0]
    assert position[2:6] == ("9", "DU2", str(AAPL), "AAPL")
    assert (position[15], position[-1]) == ("-50", "")
    assert [f[3] for f in client.send(74, 1, 10, "", "") if f[0] == "71"] == ["DU1", "DU2"]
    client.send(75, 1, 10)
    client.send(*place_fields(3, account="DU2"))
    gateway.tick()
    changed = by_kind(client.line.take()).get("71", [])
    assert [(fields[2], fields[15], fields[16]) for fields in changed] == [("9", "0", "0.0")]
    assert client.send(74, 1, 11, "DU1", "Model") == [("72", "1", "11")]
    (error,) = client.send(74, 1, 12, "DU9", "")
    assert error[2:4] == ("12", "321")


# ---------------------------------------------------------------------- profit


def test_profit_comes_at_once_and_then_when_it_changed(
    make_world: Callable[..., World],
    connect: Connect,
    place_fields: Callable[..., Any],
    clock: Any,
) -> None:
    """About once a second, and nothing while nothing changes."""
    gateway = Gateway(make_world(), GatewayOptions(None))
    client, name = connect(gateway), "DU1234567"
    (message,) = client.send(92, 1, name, "")
    assert (message[0], message[1], numbers(message)) == ("94", "1", [0, 0, 0])
    client.send(*place_fields(1))
    (fill,) = gateway.world.broker.executions
    quote = gateway.world.quote_of(AAPL)
    assert quote is not None
    clock.advance(0.5)
    gateway.tick()
    assert "94" not in by_kind(client.line.take())
    clock.advance(0.5)
    gateway.tick()
    (message,) = by_kind(client.line.take())["94"]
    lost = 50 * (quote.last - fill.price) - 1
    assert numbers(message) == pytest.approx([float(lost), float(lost), 0])
    clock.advance(5)
    gateway.tick()
    assert "94" not in by_kind(client.line.take())
    client.send(93, 1)
    gateway.world.shock(0.1)
    clock.advance(5)
    gateway.tick()
    assert "94" not in by_kind(client.line.take())


def test_profit_of_one_position(
    gateway: Gateway, connect: Connect, place_fields: Callable[..., Any], clock: Any
) -> None:
    """Position, daily, unrealized, realized (unset when not traded today) and value."""
    client = connect(gateway)
    client.send(*place_fields(1, account="DU2", action="SELL"))
    (message,) = client.send(94, 4, "DU2", "", AAPL)
    quote = gateway.world.quote_of(AAPL)
    assert quote is not None
    assert message[:3] == ("95", "4", "-50")
    assert numbers(message)[4] == float(-50 * quote.last)
    gateway.world.set_clock(timedelta(days=1).total_seconds())
    (message,) = client.send(94, 5, "DU2", "", AAPL)
    daily = float(-50 * (quote.last - quote.close))
    assert numbers(message)[:2] == pytest.approx([-50, daily])
    assert message[5] == UNSET_DOUBLE
    client.send(95, 4)
    client.send(95, 5)
    gateway.world.shock(0.5)
    clock.advance(5)
    gateway.tick()
    assert "95" not in by_kind(client.line.take())


def test_profit_of_what_is_not_held_is_nothing(gateway: Gateway, connect: Connect) -> None:
    """Of an instrument never traded, and of one that does not exist, everything is 0."""
    client = connect(gateway)
    for con_id in (IBM, 999_999_999):
        (message,) = client.send(94, 1, "DU1", "", con_id)
        assert message == ("95", "1", "0", "0.0", "0.0", UNSET_DOUBLE, "0.0")
        client.send(95, 1)


@pytest.mark.parametrize("request_fields", [(92, 8, "DU9", ""), (94, 8, "DU9", "", AAPL)])
def test_profit_of_an_unknown_account_is_refused(
    gateway: Gateway, connect: Connect, request_fields: tuple[object, ...]
) -> None:
    """321 under the request's id."""
    (error,) = connect(gateway).send(*request_fields)
    assert error[2:4] == ("8", "321")


# ---------------------------------------------------------------------- layouts


def test_messages_have_their_lengths(samples: Samples) -> None:
    """71 has 18 fields, 94 five and 95 seven; shares are whole below version 163."""
    instrument, half = samples.instruments[AAPL], Decimal("1.5")
    position = holdings.position_multi(1, "DU1", instrument, half, Decimal(2), 176)
    assert len(position) == 18
    assert len(holdings.pnl(1, half, half, half)) == 5
    amounts = {"daily": half, "unrealized": half, "realized": None, "value": half}
    assert holdings.pnl_single(1, half, **amounts, version=157) == (
        *("95", "1", "1", "1.5", "1.5"),
        *(UNSET_DOUBLE, "1.5"),
    )


def test_a_what_if_order_tells_the_margins(
    gateway: Gateway, connect: Connect, place_fields: Callable[..., Any]
) -> None:
    """openOrder 95-103: before, change, after of initial, maintenance and equity; commission."""
    client = connect(gateway, version=176)
    (shown,) = client.send(*place_fields(1, account="DU2", totalQuantity=100, whatIf=1))
    quote = gateway.world.quote_of(AAPL)
    assert quote is not None
    value = float(quote.last) * 100
    before, change, after = ([float(shown[i]) for i in range(at, at + 3)] for at in (95, 98, 101))
    assert before == [0, 0, 20_000]
    assert change == pytest.approx([value / 2, value / 4, -1])
    assert after == pytest.approx([value / 2, value / 4, 19_999])
    assert shown[104] == "1.0"


def test_the_day_is_new_yorks(gateway: Gateway) -> None:
    """Account values of a UTC evening are still the same day's in New York."""
    assert new_york_date(gateway.world.now()) == date(2026, 11, 18)
