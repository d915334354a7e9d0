"""The broker as a pure machine: acceptance, fills, rejections, endings, money."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.sim.brokerage.account import commission_usd
from ibloop.sim.brokerage.broker import Broker
from ibloop.sim.brokerage.checks import Refusal, parse_good_till
from ibloop.sim.brokerage.events import (
    Problem,
    WhatIf,
)
from ibloop.sim.market.history import Samples
from ibloop.sim.model import Execution, Order, OrderTicket, Quote, Status
from tests.fakes.brokerdesk import AAPL, BrokerDesk, story
from tests.fakes.venue import NOON

MakeQuote = Callable[..., Quote]
MakeTicket = Callable[..., OrderTicket]


@pytest.fixture
def desk(samples: Samples, make_quote: MakeQuote) -> BrokerDesk:
    """Return a desk at 99.99 to 100.01, 1,000 shares a side."""
    return BrokerDesk(samples, make_quote())


def test_a_market_order_fills_at_the_ask_in_the_recorded_sequence(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """PreSubmitted, execution, Filled, Filled with commission, commission; never Submitted."""
    assert story(desk.place(1, make_ticket())) == ["PreSubmitted"]
    assert story(desk.match()) == ["fill 50", "Filled", "Filled", "commission 1.00", "account"]
    (execution,) = desk.broker.executions
    assert execution.price == Decimal("100.01")
    assert execution.exec_id == "0000e0d5.000001f4.01.01"
    assert desk.broker.accounts["DU1"].cash == Decimal(100_000) - Decimal("5001.50")
    assert desk.match() == []


def test_a_resting_limit_fills_when_the_market_comes(
    desk: BrokerDesk, make_ticket: MakeTicket, make_quote: MakeQuote
) -> None:
    """A limit is never filled beyond its price, and gets the better price of the market."""
    assert story(desk.place(1, make_ticket(limit_price=Decimal("99.50")))) == ["Submitted"]
    assert desk.match() == []
    desk.quote = make_quote(bid=Decimal("99.20"), ask=Decimal("99.40"))
    assert story(desk.match())[:2] == ["fill 50", "Filled"]
    assert desk.broker.executions[0].price == Decimal("99.40")


def test_fills_are_no_deeper_than_the_shown_size(
    desk: BrokerDesk, make_ticket: MakeTicket, make_quote: MakeQuote
) -> None:
    """What one order took is gone for the next until new depth is shown."""
    desk.quote = make_quote(ask_size=Decimal(70))
    desk.place(1, make_ticket())
    desk.place(2, make_ticket())
    assert story(desk.match())[0] == "fill 50"
    assert desk.order(2).filled == 20
    assert desk.match() == []
    desk.quote = make_quote(ask_size=Decimal(70), depth_id=2)
    assert story(desk.match()) == ["fill 30", "Filled", "Filled", "commission 0", "account"]
    ids = [execution.exec_id[-5:] for execution in desk.broker.executions]
    assert ids == ["01.01", "01.01", "02.01"]


def test_a_halted_symbol_does_not_trade(
    desk: BrokerDesk, make_ticket: MakeTicket, make_quote: MakeQuote
) -> None:
    """Orders are taken and wait."""
    desk.quote = make_quote(halted=True)
    desk.place(1, make_ticket())
    assert desk.match() == []
    desk.quote = make_quote()
    assert desk.order(1).live
    assert story(desk.match())[0] == "fill 50"


@pytest.mark.parametrize(
    ("tif", "size", "expected"),
    [
        ("IOC", 1000, ["fill 50", "Filled", "Filled", "commission 1.00", "account"]),
        (
            "IOC",
            20,
            [
                *("fill 20", "PreSubmitted", "PreSubmitted", "commission 1.00", "account"),
                *("PendingCancel", "Cancelled"),
            ],
        ),
        ("FOK", 1000, ["fill 50", "Filled", "Filled", "commission 1.00", "account"]),
        ("FOK", 20, ["Inactive"]),
    ],
)
def test_immediate_orders_never_rest(
    desk: BrokerDesk,
    make_ticket: MakeTicket,
    make_quote: MakeQuote,
    tif: str,
    size: int,
    expected: list[str],
) -> None:
    """IOC takes what is there; FOK takes all or nothing, and failing shows as Inactive."""
    desk.quote = make_quote(ask_size=Decimal(size))
    desk.place(1, make_ticket(tif=tif))
    assert story(desk.match()) == expected
    assert not desk.order(1).live


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"limit_price": Decimal("99.505")}, 110),
        ({"limit_price": Decimal(-1)}, 110),
        ({"quantity": Decimal(0)}, 434),
        ({"quantity": Decimal("1.5")}, 10243),
        ({"order_type": "STP"}, 321),
        ({"order_type": "STP", "aux_price": Decimal("99.505")}, 110),
        ({"order_type": "STP LMT", "aux_price": Decimal(101)}, 321),
        ({"order_type": "TRAIL"}, 321),
        ({"order_type": "TRAIL", "aux_price": Decimal(1), "trailing_percent": Decimal(1)}, 321),
        ({"order_type": "TRAIL", "trailing_percent": Decimal(100)}, 321),
        ({"order_type": "TRAIL", "aux_price": Decimal("0.005")}, 110),
        ({"order_type": "LMT"}, 321),
        ({"order_type": "REL"}, 321),
        ({"order_type": "MOC", "tif": "GTC"}, 113),
        ({"order_type": "LOC", "tif": "IOC", "limit_price": Decimal(100)}, 113),
        ({"order_type": "MOC", "tif": "OPG"}, 113),
        ({"order_type": "STP", "aux_price": Decimal(101), "tif": "OPG"}, 111),
        ({"action": "SSHORT"}, 321),
        ({"tif": "AUC"}, 321),
        ({"trigger_method": 4}, 321),
        ({"oca_type": 4}, 321),
        ({"algo": "Twap"}, 321),
        ({"algo": "Adaptive", "order_type": "MOC"}, 321),
        ({"parent_id": 77}, 135),
        ({"parent_id": 1}, 135),
        ({"tif": "GTD", "good_till": "soon"}, 321),
        ({"account": "DU9"}, 321),
        ({"unserved": "algo strategies"}, 321),
    ],
)
def test_a_senseless_order_gets_an_error_and_no_status(
    desk: BrokerDesk, make_ticket: MakeTicket, changes: dict[str, Any], code: int
) -> None:
    """Nothing is kept, and the order id is still free."""
    assert story(desk.place(1, make_ticket(**changes))) == [f"error {code}"]
    assert desk.broker.orders == {}
    assert desk.broker.take_changes() == []
    assert story(desk.place(1, make_ticket())) == ["PreSubmitted"]


def test_an_unknown_contract_is_error_200(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """placeOrder is answered like contract details."""
    events = desk.broker.place(1, 1, None, make_ticket(), venue=desk)
    assert story(events) == ["error 200"]


def test_a_cash_account_rejects_what_it_cannot_carry(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """201 and Inactive: too little cash, counting other orders; or nothing to sell."""
    rejected = ["error 201", "Inactive"]
    fits = make_ticket(quantity=Decimal(999), limit_price=Decimal(100))
    assert story(desk.place(1, make_ticket(quantity=Decimal(1000)))) == rejected
    assert story(desk.place(2, fits)) == ["Submitted"]
    assert story(desk.place(3, make_ticket(quantity=Decimal(1)))) == rejected
    assert story(desk.place(4, make_ticket(action="SELL"))) == rejected
    desk.broker.cancel(1, 2, NOON)
    desk.place(5, make_ticket())
    desk.match()
    assert story(desk.place(6, make_ticket(action="SELL"))) == ["PreSubmitted"]
    assert story(desk.place(7, make_ticket(action="SELL", quantity=Decimal(1)))) == rejected
    desk.quote = None
    assert story(desk.place(8, make_ticket(quantity=Decimal(1)))) == rejected


def test_a_forced_refusal_rejects_a_good_order(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """Faults reject the way the broker does."""
    refusal = Refusal(203, "not allowed", inactive=True)
    assert story(desk.place(1, make_ticket(), refusal=refusal)) == ["error 203", "Inactive"]
    assert desk.match() == []


def test_order_ids_count_per_client(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """A used id is 103, a filled one 104; another client's ids are its own."""
    resting = make_ticket(limit_price=Decimal(90))
    desk.place(5, make_ticket())
    desk.match()
    assert desk.broker.next_order_id(1) == 6
    assert desk.broker.next_order_id(2) == 1
    assert story(desk.place(5, resting)) == ["error 104"]
    assert story(desk.place(4, resting)) == ["error 103"]
    assert story(desk.place(5, resting, client_id=2)) == ["Submitted"]
    desk.broker.cancel(2, 5, NOON)
    assert story(desk.place(5, resting, client_id=2)) == ["error 103"]


def test_a_live_order_may_change_price_and_quantity(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """Placing a live id again is a change; a refused one leaves the order as it was."""
    desk.place(1, make_ticket(limit_price=Decimal(90)))
    changed = make_ticket(limit_price=Decimal(91), quantity=Decimal(60))
    assert story(desk.place(1, changed)) == ["Submitted", "Submitted"]
    before = desk.order(1)
    assert [before.limit_price, before.quantity, before.perm_id] == [91, 60, 500]
    assert story(desk.place(1, make_ticket(limit_price=Decimal("91.005")))) == ["error 110"]
    assert story(desk.place(1, make_ticket(action="SELL"))) == ["error 105"]
    too_much = make_ticket(limit_price=Decimal(91), quantity=Decimal(9999))
    assert story(desk.place(1, too_much)) == ["error 201"]
    assert desk.order(1) == before
    desk.place(1, make_ticket())
    assert story(desk.match())[0] == "fill 50"


def test_a_change_cannot_undo_what_is_filled(
    desk: BrokerDesk, make_ticket: MakeTicket, make_quote: MakeQuote
) -> None:
    """The quantity must stay above the filled one, and fills stay counted."""
    desk.quote = make_quote(ask_size=Decimal(30))
    desk.place(1, make_ticket())
    desk.match()
    assert story(desk.place(1, make_ticket(quantity=Decimal(30)))) == ["error 105"]
    assert story(desk.place(1, make_ticket(quantity=Decimal(40)))) == ["PreSubmitted"] * 2
    assert desk.order(1).remaining == 10


def test_cancelling(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """Cancelled, then 202; unknown, done and foreign orders have their own errors."""
    desk.place(1, make_ticket(limit_price=Decimal(90)))
    assert story(desk.broker.cancel(2, 1, NOON)) == ["error 10147"]
    assert story(desk.broker.cancel(1, 1, NOON)) == ["Cancelled", "error 202"]
    (problem,) = desk.broker.cancel(1, 1, NOON)
    assert isinstance(problem, Problem)
    assert problem.code == 10148
    assert problem.text.endswith("state: Cancelled.")


def test_global_cancel_takes_every_clients_orders(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """It knows no owner."""
    desk.place(1, make_ticket(limit_price=Decimal(90)))
    desk.place(1, make_ticket(limit_price=Decimal(90)), client_id=2)
    assert story(desk.broker.cancel_all(NOON)) == ["Cancelled", "error 202"] * 2
    assert desk.broker.live_orders() == []


def test_orders_end_at_their_time(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """GTD at its date, DAY at midnight in New York, GTC never; a past date is rejected."""
    price = Decimal(90)
    gtd = make_ticket(limit_price=price, tif="GTD", good_till="20261118-17:05:00")
    desk.place(1, gtd)
    desk.place(2, make_ticket(limit_price=price))
    desk.place(3, make_ticket(limit_price=price, tif="GTC"))
    assert desk.broker.expire(NOON + timedelta(minutes=4, seconds=59)) == []
    expired = desk.broker.expire(NOON + timedelta(minutes=5))
    assert story(expired) == ["Cancelled", "error 202"]
    assert desk.order(1).status is Status.CANCELLED
    midnight = datetime(2026, 11, 19, 5, 0, tzinfo=UTC)
    assert desk.broker.expire(midnight - timedelta(seconds=1)) == []
    desk.broker.expire(midnight)
    assert [order.order_id for order in desk.broker.live_orders()] == [3]
    desk.time = midnight
    assert story(desk.place(4, gtd)) == ["error 201", "Inactive"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20261118-17:05:00", datetime(2026, 11, 18, 17, 5, tzinfo=UTC)),
        ("20261118 12:05:00 US/Eastern", datetime(2026, 11, 18, 17, 5, tzinfo=UTC)),
        ("20261118 18:05:00 Europe/Berlin", datetime(2026, 11, 18, 17, 5, tzinfo=UTC)),
        ("20261118 12:05:00", datetime(2026, 11, 18, 17, 5, tzinfo=UTC)),
        ("20261118 12:05:00 Mars/Base", None),
        ("20261318-12:05:00", None),
        ("", None),
    ],
)
def test_good_till_dates_are_read_in_ibs_forms(text: str, expected: datetime | None) -> None:
    """With a dash the time is UTC, with a zone local, without one New York."""
    assert parse_good_till(text) == expected


def test_an_untransmitted_order_waits_for_its_second_call(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """transmit=0 is silent and works nothing until the same id comes with transmit=1."""
    assert desk.place(1, make_ticket(transmit=False)) == []
    assert desk.match() == []
    assert story(desk.place(1, make_ticket())) == ["PreSubmitted"]
    assert story(desk.match())[0] == "fill 50"


def test_a_what_if_order_is_never_worked(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """It is answered with margins and commission, and forgotten."""
    (event,) = desk.place(1, make_ticket(what_if=True))
    assert isinstance(event, WhatIf)
    before, after = event.preview.before, event.preview.after
    assert after.initial - before.initial == Decimal("5000.00")
    assert event.preview.commission == Decimal("1.00")
    assert desk.match() == []
    assert desk.broker.orders == {}


@pytest.mark.parametrize(
    ("shares", "value", "expected"),
    [(50, 5000, "1.00"), (1000, 50_000, "5.00"), (1, 20, "0.20"), (300, 30_000, "1.50")],
)
def test_commission_follows_the_fixed_schedule(shares: int, value: int, expected: str) -> None:
    """0.005 USD a share, at least 1.00, at most 1 % of the value."""
    assert commission_usd(Decimal(shares), Decimal(value)) == Decimal(expected)


def test_selling_realizes_profit_with_commissions(
    desk: BrokerDesk, make_ticket: MakeTicket, make_quote: MakeQuote
) -> None:
    """Average cost carries the purchase's commission, realized profit the sale's as well."""
    desk.place(1, make_ticket())
    desk.match()
    desk.quote = make_quote(bid=Decimal("110.00"), ask=Decimal("110.02"), depth_id=2)
    desk.place(2, make_ticket(action="SELL", quantity=Decimal(20)))
    desk.match()
    bought, sold = desk.broker.executions
    assert bought.realized_pnl is None
    assert sold.realized_pnl == Decimal("198.40")
    position = desk.broker.accounts["DU1"].positions[AAPL]
    assert [position.quantity, position.avg_cost] == [Decimal(30), Decimal("100.03")]


ONE = Decimal(1)
BLANK = Quote(AAPL, ONE, ONE, ONE, ONE, ONE, ONE, ONE, ONE, ONE, ONE, 0, False, 0)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["BUY", "SELL"]),
        st.integers(1, 400),
        st.integers(8_000, 12_000),
        st.integers(1, 500),
        st.sampled_from([None, 7, 40]),
        st.sampled_from(["DAY", "IOC", "FOK"]),
    ),
    max_size=25,
)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_cash_and_positions_are_the_sum_of_the_fills(
    samples: Samples, steps: list[tuple[str, int, int, int, int | None, str]]
) -> None:
    """Whatever happens: money is conserved, nothing is sold short, and a replay is the same."""
    desk = BrokerDesk(samples, None, cash=50_000)
    changes: list[Order | Execution] = []
    for number, (action, shares, cents, depth, limit, tif) in enumerate(steps, start=1):
        price = Decimal(cents) / 100
        cent, size = Decimal("0.01"), Decimal(depth)
        desk.quote = replace(
            BLANK, bid=price - cent, ask=price + cent, bid_size=size, ask_size=size, depth_id=number
        )
        ticket = OrderTicket(action, Decimal(shares), "MKT", None, tif, "", "", "")
        desk.place(number, ticket)
        desk.match(None if limit is None else lambda _order, _now, most=limit: Decimal(most))
        changes += desk.broker.take_changes()
    account = desk.broker.accounts["DU1"]
    fills = desk.broker.executions
    paid = sum(fill.action.sign * fill.shares * fill.price for fill in fills)
    assert account.cash - 50_000 == -paid - sum(fill.commission for fill in fills)
    assert account.held(AAPL) == sum(fill.action.sign * fill.shares for fill in fills) >= 0
    for order in desk.broker.orders.values():
        filled = sum(fill.shares for fill in fills if fill.perm_id == order.perm_id)
        assert order.filled == filled <= order.quantity
    again = Broker(samples.instruments, {"DU1": Decimal(50_000)}, first_perm_id=1)
    again.restore(changes)
    assert (again.orders, again.executions) == (desk.broker.orders, fills)
    assert again.accounts == desk.broker.accounts
    assert again.next_order_id(1) == desk.broker.next_order_id(1)
