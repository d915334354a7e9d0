"""Order types beyond market and limit: stops, touches, trails, auctions, the Adaptive algo."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ibloop.sim.brokerage.broker import Broker
from ibloop.sim.brokerage.events import Problem
from ibloop.sim.market.history import Samples
from ibloop.sim.market.venue import Phase
from ibloop.sim.model import AccountKind, OrderTicket, Quote
from tests.fakes.brokerdesk import FILL, BrokerDesk, story

MakeTicket = Callable[..., OrderTicket]


@pytest.fixture
def desk(samples: Samples, make_quote: Callable[..., Quote]) -> BrokerDesk:
    """Return a margin account (so that it may sell) at 99.99 to 100.01, last 100."""
    return BrokerDesk(samples, make_quote(), kind=AccountKind.MARGIN)


def price(text: str) -> Decimal:
    """Return a price."""
    return Decimal(text)


# ---------------------------------------------------------------------- stops


@pytest.mark.parametrize(
    ("action", "stop", "short_of_it", "reached"),
    [("BUY", "101.00", "100.99", "101.00"), ("SELL", "99.00", "99.01", "99.00")],
)
def test_a_stop_waits_for_the_last_price_and_becomes_a_market_order(
    desk: BrokerDesk,
    make_ticket: MakeTicket,
    action: str,
    stop: str,
    short_of_it: str,
    reached: str,
) -> None:
    """PreSubmitted with whyHeld trigger twice, Submitted when elected, filled at the market."""
    ticket = make_ticket(action=action, order_type="STP", aux_price=price(stop))
    assert story(desk.place(1, ticket)) == ["PreSubmitted trigger"] * 2
    assert desk.at(short_of_it) == []
    assert story(desk.at(reached)) == ["Submitted", "fill 50", *FILL]
    expected = price(reached) + desk.order(1).action.sign * price("0.01")
    assert desk.broker.executions[0].price == expected


def test_bid_and_ask_alone_elect_no_stop(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """IB's default for stocks is the last price."""
    desk.place(1, make_ticket(order_type="STP", aux_price=price("101.00")))
    assert desk.at("100.50", spread="2.00") == []


def test_a_stop_beyond_the_market_is_elected_at_once(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """The callbacks of placing come first all the same."""
    placed = desk.place(1, make_ticket(order_type="STP", aux_price=price("99.00")))
    assert story(placed) == ["PreSubmitted trigger"] * 2
    assert story(desk.match())[:2] == ["Submitted", "fill 50"]


def test_an_elected_stop_limit_keeps_to_its_limit(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """Once elected it rests as a limit order, also when the price goes back."""
    terms = {"order_type": "STP LMT", "aux_price": price("101.00"), "limit_price": price("101.00")}
    desk.place(1, make_ticket(**terms))
    assert story(desk.at("101.50")) == ["Submitted"]
    assert story(desk.at("100.50")) == ["fill 50", *FILL]
    assert desk.broker.executions[0].price == price("100.51")


@pytest.mark.parametrize(
    ("action", "touch", "reached", "kind"),
    [("BUY", "99.00", "98.99", "MIT"), ("SELL", "101.00", "101.01", "LIT")],
)
def test_touched_orders_wait_for_the_better_price(
    desk: BrokerDesk,
    make_ticket: MakeTicket,
    action: str,
    touch: str,
    reached: str,
    kind: str,
) -> None:
    """MIT buys when the price has fallen, LIT sells when it has risen, within its limit."""
    limit = price(touch) if kind == "LIT" else None
    terms = {"order_type": kind, "aux_price": price(touch), "limit_price": limit}
    desk.place(1, make_ticket(action=action, **terms))
    assert desk.at("100.00") == []
    assert story(desk.at(reached)) == ["Submitted", "fill 50", *FILL]


def test_a_halt_elects_no_stop(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """There is no last price then, and nothing to fill with."""
    desk.place(1, make_ticket(order_type="STP", aux_price=price("101.00")))
    assert desk.at("102.00", halted=True) == []
    assert story(desk.at("102.00", halted=False))[0] == "Submitted"


# ---------------------------------------------------------------------- trails


@pytest.mark.parametrize(
    ("action", "amount", "path", "stops"),
    [
        ("SELL", {"aux_price": Decimal(2)}, ["101.00", "100.00", "103.00"], ["99", "99", "101"]),
        ("BUY", {"aux_price": Decimal(2)}, ["99.00", "100.00", "97.00"], ["101", "101", "99"]),
        ("SELL", {"trailing_percent": Decimal(1)}, ["100.55"], ["99.54"]),
    ],
)
def test_a_trailing_stop_only_comes_closer(
    desk: BrokerDesk,
    make_ticket: MakeTicket,
    action: str,
    amount: dict[str, Decimal],
    path: list[str],
    stops: list[str],
) -> None:
    """It follows the last price by its amount or percentage, on the tick grid, never back."""
    desk.place(1, make_ticket(action=action, order_type="TRAIL", **amount))
    for last, stop in zip(path, stops, strict=True):
        assert desk.at(last) == []
        assert desk.order(1).trail_stop == price(stop)
    reached = price(stops[-1])
    assert story(desk.at(str(reached)))[:2] == ["Submitted", "fill 50"]


def test_a_trailing_stop_may_begin_where_it_is_told(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """The first stop is trailStopPrice, until the trail comes closer."""
    terms = {"aux_price": Decimal(1), "trail_stop": price("99.50")}
    desk.place(1, make_ticket(action="SELL", order_type="TRAIL", **terms))
    desk.at("100.20")
    assert desk.order(1).trail_stop == price("99.50")
    desk.at("101.00")
    assert desk.order(1).trail_stop == price("100.00")


# ---------------------------------------------------------------------- auctions


@pytest.mark.parametrize(
    ("terms", "close", "told"),
    [
        ({"order_type": "MOC"}, "104.50", ["fill 50", *FILL]),
        ({"order_type": "LOC", "limit_price": Decimal(105)}, "104.50", ["fill 50", *FILL]),
        ({"order_type": "LOC", "limit_price": Decimal(104)}, "104.50", ["Cancelled", "error 202"]),
        ({"order_type": "MOC"}, None, ["Cancelled", "error 202"]),
    ],
)
def test_closing_orders_trade_at_the_close_of_their_session(
    desk: BrokerDesk,
    make_ticket: MakeTicket,
    terms: dict[str, Any],
    close: str | None,
    told: list[str],
) -> None:
    """Whole, whatever size was shown, at the closing price; beyond the limit it is cancelled."""
    desk.number = 3
    if close:
        desk.auctions["close", 3] = price(close)
    assert story(desk.place(1, make_ticket(**terms))) == ["Submitted"]
    assert desk.at("100.00", ask_size=Decimal(10)) == []
    desk.number = 4
    assert story(desk.match()) == told
    assert not desk.order(1).live
    assert [fill.price for fill in desk.broker.executions] == (
        [price(close)] if told[1:] == FILL else []
    )


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ({}, ["fill 50", *FILL]),
        ({"limit_price": Decimal(98)}, ["fill 50", *FILL]),
        ({"limit_price": Decimal(97)}, ["Cancelled", "error 202"]),
    ],
)
def test_opening_orders_trade_at_the_next_open(
    desk: BrokerDesk, make_ticket: MakeTicket, terms: dict[str, Any], told: list[str]
) -> None:
    """tif OPG: placed during a session it waits for the next one's first price."""
    desk.number, desk.auctions = 3, {("open", 3): price("95"), ("open", 4): price("98")}
    assert story(desk.place(1, make_ticket(tif="OPG", **terms))) == ["PreSubmitted"]
    assert desk.match() == []
    desk.number = 4
    assert story(desk.match()) == told


def test_opening_orders_placed_before_the_bell_trade_that_day(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """While the exchange is not open the session is the next one; its bell is the auction."""
    desk.number, desk.trading = 4, Phase.PRE_MARKET
    desk.auctions["open", 4] = price("98")
    assert story(desk.place(1, make_ticket(tif="OPG"))) == ["PreSubmitted"]
    assert desk.match() == []
    desk.trading = Phase.OPEN
    assert story(desk.match()) == ["fill 50", *FILL]


def test_auctions_do_not_end_with_the_day(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """The close is the end of the day: an order for it must not die a moment before."""
    desk.place(1, make_ticket(order_type="MOC"))
    assert desk.order(1).good_till is None
    assert desk.broker.expire(desk.ends_at) == []


# ---------------------------------------------------------------------- algo


def test_the_adaptive_algo_works_as_its_base_type(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """It fills as a market order would, and its parameters are kept."""
    params = ("adaptivePriority", "Patient")
    desk.place(1, make_ticket(algo="Adaptive", algo_params=params))
    assert desk.order(1).algo_params == params
    assert story(desk.match())[0] == "fill 50"


# ---------------------------------------------------------------------- memory


def test_waiting_orders_survive_a_restart(
    desk: BrokerDesk, make_ticket: MakeTicket, samples: Samples
) -> None:
    """A trail's stop, an election, an auction and a wait for a parent are all in the record."""
    sell = {"action": "SELL", "tif": "GTC"}
    desk.place(1, make_ticket(order_type="TRAIL", aux_price=Decimal(2), **sell))
    desk.at("104.00")
    stop_limit = {"order_type": "STP LMT", "aux_price": price("103"), "limit_price": price("110")}
    desk.place(2, make_ticket(**stop_limit, **sell))
    desk.at("103.00")
    desk.place(3, make_ticket(order_type="MOC"))
    desk.place(4, make_ticket(limit_price=price("90.00"), tif="GTC"))
    desk.place(5, make_ticket(parent_id=4, order_type="STP", aux_price=price("80"), **sell))
    former = desk.broker
    desk.broker = Broker(samples.instruments, {"DU1": Decimal(1)}, first_perm_id=1)
    desk.broker.restore(former.take_changes())
    assert desk.match() == []
    assert desk.broker.orders == former.orders
    assert desk.order(1).trail_stop == 102
    assert desk.order(2).elected
    assert desk.order(5).why_held == "child,trigger"
    desk.auctions["close", 0] = price("103.00")
    desk.number = 1
    assert story(desk.match(), ids=True)[0] == "3:fill 50"
    assert story(desk.at("102.00"), ids=True)[:2] == ["1:Submitted", "1:fill 50"]


def test_a_limit_far_through_the_market_is_taken_for_a_mistake(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """109 beyond half the price, unless overridden; far on the safe side an order only rests."""
    assert story(desk.place(1, make_ticket(limit_price=price("150.02")))) == ["error 109"]
    assert story(desk.place(1, make_ticket(limit_price=price("1.00")))) == ["Submitted"]
    sell = make_ticket(action="SELL", limit_price=price("49.99"))
    assert story(desk.place(2, sell)) == ["error 109"]
    assert story(desk.place(2, replace(sell, override_percentage=True))) == ["Submitted"]
    assert story(desk.place(3, make_ticket(limit_price=price("150.01")))) == ["Submitted"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("REL", "The simulator does not serve order type REL"),
        ("MIDPRICE", "The simulator does not serve order type MIDPRICE"),
        ("TRAIL LIMIT", "The simulator does not serve order type TRAIL LIMIT"),
        ("LIMIT", "Invalid order type was entered"),
        ("", "Invalid order type was entered"),
    ],
)
def test_it_says_whether_a_type_is_unknown_or_only_not_served(
    desk: BrokerDesk, make_ticket: MakeTicket, kind: str, reason: str
) -> None:
    """Whoever sends a type that IB knows is not told that it is none."""
    (refusal,) = desk.place(1, make_ticket(order_type=kind, limit_price=Decimal(99)))
    assert isinstance(refusal, Problem)
    assert refusal.text == f"Error validating request.-'bF' : cause - {reason}"
