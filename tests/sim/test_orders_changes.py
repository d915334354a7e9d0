"""Changes, cancellations and ids: what may be revised, by whom, and what stays."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ibloop.sim.brokerage.events import OrderUpdate
from ibloop.sim.market.history import Samples
from ibloop.sim.model import AccountKind, Order, OrderTicket, Quote, Status
from tests.fakes.brokerdesk import FILL, BrokerDesk, story

MakeTicket = Callable[..., OrderTicket]


@pytest.fixture
def desk(samples: Samples, make_quote: Callable[..., Quote]) -> BrokerDesk:
    """Return a margin account at 99.99 to 100.01."""
    return BrokerDesk(samples, make_quote(), kind=AccountKind.MARGIN)


@pytest.fixture
def resting(make_ticket: MakeTicket) -> OrderTicket:
    """Return a limit that rests."""
    return make_ticket(limit_price=Decimal(90))


# ---------------------------------------------------------------------- changes


def test_a_change_is_told_twice_and_keeps_the_permid(
    desk: BrokerDesk, resting: OrderTicket
) -> None:
    """Twice and identical, as recorded."""
    desk.place(1, resting)
    perm_id = desk.order(1).perm_id
    first, second = desk.place(1, replace(resting, limit_price=Decimal(91)))
    assert first == second
    assert isinstance(first, OrderUpdate)
    assert (first.order.perm_id, first.order.limit_price) == (perm_id, 91)


def test_sizes_are_written_without_zeros(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """Also when a client wrote 20.0 to change a stop: completedStatus says 20."""
    stop = make_ticket(order_type="STP", aux_price=Decimal(105), quantity=Decimal(20))
    desk.place(1, stop)
    desk.place(1, replace(stop, aux_price=Decimal(104), quantity=Decimal("20.0")))
    desk.at("104.00")
    assert desk.order(1).completed_text == "Filled Size: 20"
    assert str(desk.order(1).quantity) == "20"


def test_a_limit_may_become_a_market_order(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """It stays Submitted and fills."""
    desk.place(1, make_ticket(limit_price=Decimal(90)))
    assert story(desk.place(1, make_ticket())) == ["Submitted"] * 2
    assert story(desk.match()) == ["fill 50", *FILL]


def test_a_stop_may_be_moved_until_it_is_elected(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """The new price elects it; an elected one does not wait again."""
    stop = make_ticket(
        order_type="STP LMT", aux_price=Decimal(105), limit_price=Decimal(105), quantity=Decimal(9)
    )
    desk.place(1, stop)
    moved = replace(stop, aux_price=Decimal(102), limit_price=Decimal(102))
    assert story(desk.place(1, moved)) == ["PreSubmitted trigger"] * 2
    assert story(desk.at("103.00")) == ["Submitted"]
    assert story(desk.place(1, replace(stop, limit_price=Decimal(104))))[0] == "Submitted"
    assert desk.order(1).elected
    assert story(desk.match())[0] == "fill 9"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"action": "SELL"}, 105),
        ({"algo": "Adaptive"}, 105),
        ({"parent_id": 9}, 105),
        ({"oca_group": "other"}, 10326),
        ({"oca_group": "mine", "oca_type": 2}, 10327),
        ({"limit_price": Decimal("90.001")}, 110),
        ({"quantity": Decimal(100_000)}, 201),
        ({"order_type": "REL"}, 321),
    ],
)
def test_a_refused_change_leaves_the_order_as_it_was(
    desk: BrokerDesk, resting: OrderTicket, changes: dict[str, Any], code: int
) -> None:
    """The error, no status; the order still works."""
    mine = replace(resting, oca_group="mine", oca_type=1)
    desk.place(1, mine)
    before = desk.order(1)
    desk.broker.take_changes()
    assert story(desk.place(1, replace(mine, **changes))) == [f"error {code}"]
    assert desk.order(1) == before
    assert desk.broker.take_changes() == []


def test_another_contract_is_no_change(desk: BrokerDesk, resting: OrderTicket) -> None:
    """105, as for any basic of the order."""
    desk.place(1, resting)
    assert story(desk.place(1, resting, con_id=8314)) == ["error 105"]


def test_a_child_is_changed_while_it_waits_and_while_it_works(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """It stays in its place, and in the group it was put into."""
    desk.place(1, make_ticket(limit_price=Decimal(99)))
    stop = make_ticket(action="SELL", order_type="STP", aux_price=Decimal(80), parent_id=1)
    desk.place(2, stop)
    group = desk.order(2).oca_group
    told = desk.place(2, replace(stop, aux_price=Decimal(85)))
    assert story(told) == ["PreSubmitted child,trigger"] * 2
    desk.at("98.00")
    told = desk.place(2, replace(stop, aux_price=Decimal(97)))
    assert story(told) == ["PreSubmitted trigger"] * 2
    assert (desk.order(2).oca_group, desk.order(2).parent_id) == (group, 1)
    assert story(desk.at("96.90"), ids=True)[:2] == ["2:Submitted", "2:fill 50"]


def test_an_untransmitted_change_waits(desk: BrokerDesk, resting: OrderTicket) -> None:
    """The order works on under its old terms until the change is transmitted."""
    desk.place(1, resting)
    assert desk.place(1, replace(resting, limit_price=Decimal(91), transmit=False)) == []
    assert desk.order(1).limit_price == 90
    desk.place(1, replace(resting, limit_price=Decimal(91)))
    assert desk.order(1).limit_price == 91


# ---------------------------------------------------------------------- priority


def test_the_better_price_goes_first_then_the_older_order(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """Market orders before limits, dear buyers before cheap ones, cheap sellers before dear."""
    limits = {1: 95, 2: 97, 3: 96, 4: 97, 5: None}
    for order_id, limit in limits.items():
        terms = {"limit_price": Decimal(limit)} if limit else {}
        desk.place(order_id, make_ticket(**terms), client_id=order_id)
    events = desk.at("94.00", ask_size=Decimal(240))
    filled = [word for word in story(events, ids=True) if "fill" in word]
    assert filled == ["5:fill 50", "2:fill 50", "4:fill 50", "3:fill 50", "1:fill 40"]


def test_an_all_or_nothing_order_lets_others_pass(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """What is too little for the first one in the row may be enough for the next."""
    desk.place(1, make_ticket(limit_price=Decimal(101), tif="FOK", quantity=Decimal(60)))
    desk.place(2, make_ticket(limit_price=Decimal(101), quantity=Decimal(20)))
    events = desk.at("100.00", ask_size=Decimal(30))
    assert story(events, ids=True)[0] == "2:fill 20"
    assert story(events, ids=True)[-1] == "1:Inactive"


# ---------------------------------------------------------------------- cancellations


def test_foreign_orders_are_cancelled_only_where_it_is_allowed(
    desk: BrokerDesk, resting: OrderTicket
) -> None:
    """10147 by default; else the update names the client that did it, the error its owner."""
    desk.place(7, resting)
    assert story(desk.cancel(7, client_id=2)) == ["error 10147"]
    update, problem = desk.cancel(7, client_id=2, foreign=True)
    assert isinstance(update, OrderUpdate)
    assert (update.canceller, update.order.client_id) == (2, 1)
    assert story([problem]) == ["error 202"]
    assert story(desk.cancel(7, client_id=2, foreign=True)) == ["error 10147"]


def test_ones_own_order_is_meant_before_a_foreign_one(
    desk: BrokerDesk, resting: OrderTicket
) -> None:
    """Two clients may use the same order id."""
    desk.place(7, resting)
    desk.place(7, resting, client_id=2)
    assert story(desk.cancel(7, client_id=2, foreign=True)) == ["Cancelled", "error 202"]
    assert desk.order(7).live


# ---------------------------------------------------------------------- ids


@pytest.mark.parametrize(("order_id", "code"), [(0, 103), (-5, 103), (2**31 - 1, 321)])
def test_ids_nobody_gave_out_are_refused(
    desk: BrokerDesk, resting: OrderTicket, order_id: int, code: int
) -> None:
    """Zero and below belong to manual orders, the highest number means unset."""
    assert story(desk.place(order_id, resting)) == [f"error {code}"]
    assert desk.broker.next_order_id(1) == 1


def test_manual_orders_do_not_collide(desk: BrokerDesk, resting: OrderTicket) -> None:
    """Two with client 0 and order id 0 are two orders, each found by its permId."""
    desk.place(1, resting)
    for perm_id in (900, 901):
        desk.broker.store(replace(desk.order(1), perm_id=perm_id, client_id=0, order_id=0))
    assert [order.perm_id for order in desk.broker.live_orders()] == [500, 900, 901]
    assert list(desk.broker.manual) == [900, 901]
    assert story(desk.cancel(0, client_id=0)) == ["error 10147"]
    bound = [desk.broker.bind(desk.broker.orders[perm_id]) for perm_id in (900, 901)]
    assert [order.order_id for order in bound] == [-1, -2]
    assert not desk.broker.manual
    assert story(desk.cancel(-2, client_id=0)) == ["Cancelled", "error 202"]
    assert desk.broker.orders[901].status is Status.CANCELLED
    again = replace(resting, limit_price=Decimal(80))
    assert story(desk.place(-1, again, client_id=0)) == ["Submitted"] * 2
    assert desk.broker.next_order_id(0) == 1


def test_order_ids_can_roll_back(desk: BrokerDesk, resting: OrderTicket) -> None:
    """As after a restart that lost orders; a used id is still known."""
    desk.place(5, resting)
    desk.broker.roll_back_order_ids(1, 4)
    assert desk.broker.next_order_id(1) == 4
    assert story(desk.place(4, resting)) == ["Submitted"]
    assert story(desk.place(5, replace(resting, limit_price=Decimal(91)))) == ["Submitted"] * 2


def test_completions_are_listed_in_their_order(desk: BrokerDesk, resting: OrderTicket) -> None:
    """For those who are told of completed orders as they happen."""
    for order_id in (1, 2, 3):
        desk.place(order_id, resting)
    for order_id in (2, 1):
        desk.cancel(order_id)
    done: list[Order] = [desk.broker.orders[perm_id] for perm_id in desk.broker.completed]
    assert [order.order_id for order in done] == [2, 1]


# ---------------------------------------------------------------------- time and means


def test_an_extended_order_outlives_its_first_date(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """The date it has now counts, not the one it was placed with."""
    order = make_ticket(limit_price=Decimal(90), tif="GTD", good_till="20261118-17:05:00")
    desk.place(1, order)
    desk.place(1, replace(order, good_till="20261118-17:10:00"))
    assert desk.broker.expire(desk.time + timedelta(minutes=6)) == []
    assert story(desk.broker.expire(desk.time + timedelta(minutes=10)))[0] == "Cancelled"


@pytest.mark.parametrize("terms", [{"limit_price": Decimal(90)}, {}])
def test_changed_and_ended_orders_leave_no_pledge_behind(
    desk: BrokerDesk, make_ticket: MakeTicket, terms: dict[str, Any]
) -> None:
    """After any number of changes, fills and cancellations the means are plainly all there."""
    ticket = make_ticket(quantity=Decimal(400), **terms)
    desk.at("100.00", halted=True)
    for order_id in range(1, 30):
        desk.place(order_id, ticket)
        desk.place(order_id, replace(ticket, quantity=Decimal(500)))
        desk.cancel(order_id)
    desk.place(30, replace(ticket, quantity=Decimal(900)))
    probe, account = desk.order(30), desk.broker.accounts["DU1"]
    desk.cancel(30)
    assert desk.broker.pledges.plainly_allow(probe, account, desk)
