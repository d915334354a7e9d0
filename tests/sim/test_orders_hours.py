"""Orders and the parts of the trading day: what waits, what works, what is said about it."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

import pytest

from ibloop.sim.brokerage.events import Problem
from ibloop.sim.market.history import Samples
from ibloop.sim.market.venue import Phase
from ibloop.sim.model import NEW_YORK, OrderTicket, Quote
from tests.fakes.brokerdesk import FILL, BrokerDesk, story

MakeTicket = Callable[..., OrderTicket]
CHEAP, DEAR = Decimal(90), Decimal(101)


@pytest.fixture
def desk(samples: Samples, make_quote: Callable[..., Quote]) -> BrokerDesk:
    """Return a desk before the bell, at 99.99 to 100.01."""
    desk = BrokerDesk(samples, make_quote())
    desk.trading = Phase.PRE_MARKET
    desk.opens_at = datetime(2026, 6, 11, 9, 30, tzinfo=NEW_YORK)
    return desk


@pytest.mark.parametrize("phase", [Phase.CLOSED, Phase.PRE_MARKET, Phase.POST_MARKET])
def test_an_order_waits_for_the_bell_with_a_warning(
    desk: BrokerDesk, make_ticket: MakeTicket, phase: Phase
) -> None:
    """PreSubmitted and 399 when placed, Submitted at the open, and then it fills."""
    desk.trading = phase
    placed = desk.place(1, make_ticket(quantity=Decimal(1), limit_price=DEAR))
    assert story(placed) == ["PreSubmitted", "error 399"]
    warning = placed[-1]
    assert isinstance(warning, Problem)
    assert warning.text == (
        "Order Message:\nBUY 1 AAPL NASDAQ.NMS\nWarning: Your order will not be placed at the"
        " exchange until 2026-06-11 09:30:00 US/Eastern."
    )
    assert warning.perm_id == desk.order(1).perm_id
    assert desk.match() == []
    desk.trading = Phase.OPEN
    assert story(desk.match())[:3] == ["Submitted", "fill 1", "Filled"]


def test_a_market_order_fills_at_the_bell_without_submitted(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """As it does during the day: PreSubmitted, then Filled."""
    assert story(desk.place(1, make_ticket())) == ["PreSubmitted", "error 399"]
    desk.trading = Phase.OPEN
    assert story(desk.match()) == ["fill 50", *FILL]


def test_outside_rth_limits_work_before_and_after_hours(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """Not while everything is closed."""
    ticket = make_ticket(limit_price=DEAR, outside_rth=True)
    assert story(desk.place(1, ticket) + desk.match()) == ["Submitted", "fill 50", *FILL]
    desk.trading = Phase.CLOSED
    assert story(desk.place(2, ticket)) == ["PreSubmitted", "error 399"]
    assert desk.match() == []
    desk.trading = Phase.POST_MARKET
    assert story(desk.match())[:2] == ["Submitted", "fill 50"]


@pytest.mark.parametrize("order_type", ["MKT", "MOC"])
def test_outside_rth_means_nothing_to_a_market_order(
    desk: BrokerDesk, make_ticket: MakeTicket, order_type: str
) -> None:
    """2109, and the order waits for the bell as others do."""
    placed = desk.place(1, make_ticket(order_type=order_type, outside_rth=True))
    assert story(placed) == ["PreSubmitted", "error 2109", "error 399"]
    assert desk.match() == []
    assert not desk.order(1).outside_rth
    # What is ignored does not end it with the hours after the close either.
    assert desk.order(1).good_till == (desk.ends_at if order_type == "MKT" else None)
    limit = make_ticket(limit_price=CHEAP, outside_rth=True)
    desk.place(2, limit)
    assert desk.order(2).good_till == desk.day_end(outside_rth=True)


def test_stops_are_elected_in_regular_hours_only(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """Unless they may work outside."""
    stop = {"order_type": "STP", "aux_price": Decimal(101)}
    desk.place(1, make_ticket(**stop))
    desk.place(2, make_ticket(**stop, outside_rth=True))
    assert story(desk.at("102.00"), ids=True)[:2] == ["2:Submitted", "2:fill 50"]
    desk.trading = Phase.OPEN
    assert story(desk.match(), ids=True)[:2] == ["1:Submitted", "1:fill 50"]


def test_at_the_close_resting_orders_wait_again(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """Status follows the exchange; a second look says nothing new."""
    desk.trading = Phase.OPEN
    desk.place(1, make_ticket(limit_price=CHEAP, tif="GTC"))
    desk.trading = Phase.POST_MARKET
    assert story(desk.match()) == ["PreSubmitted"]
    assert desk.at("80.00") == []
    desk.trading = Phase.OPEN
    assert story(desk.match())[:2] == ["Submitted", "fill 50"]


def test_day_orders_end_with_their_own_day(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """The one that may work after hours lives as long as they do."""
    desk.place(1, make_ticket(limit_price=CHEAP))
    desk.place(2, make_ticket(limit_price=CHEAP, outside_rth=True))
    assert story(desk.broker.expire(desk.ends_at), ids=True) == ["1:Cancelled", "1:error 202"]
    later = desk.day_end(outside_rth=True)
    assert story(desk.broker.expire(later), ids=True) == ["2:Cancelled", "2:error 202"]


@pytest.mark.parametrize("tif", ["IOC", "FOK"])
def test_immediate_orders_wait_for_the_bell_too(
    desk: BrokerDesk, make_ticket: MakeTicket, tif: str
) -> None:
    """There is no exchange to answer them before."""
    desk.place(1, make_ticket(limit_price=CHEAP, tif=tif))
    assert desk.match() == []
    desk.trading = Phase.OPEN
    assert story(desk.match())[-1] == ("Cancelled" if tif == "IOC" else "Inactive")
