"""Orders bound to each other: one-cancels-all groups, brackets, chains with transmit=0."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ibloop.sim.brokerage.events import Problem
from ibloop.sim.market.history import Samples
from ibloop.sim.model import OrderTicket, Quote, Status
from tests.fakes.brokerdesk import FILL, BrokerDesk, story

MakeTicket = Callable[..., OrderTicket]
SELL: dict[str, Any] = {"action": "SELL"}


@pytest.fixture
def desk(samples: Samples, make_quote: Callable[..., Quote]) -> BrokerDesk:
    """Return a cash account at 99.99 to 100.01."""
    return BrokerDesk(samples, make_quote())


def bracket(desk: BrokerDesk, make_ticket: MakeTicket, **parent: Any) -> list[str]:
    """Place parent 1, take-profit 2 at 110 and stop-loss 3 at 90, the last one transmitting."""
    entry = make_ticket(transmit=False, **parent)
    profit = make_ticket(limit_price=Decimal(110), parent_id=1, transmit=False, **SELL)
    loss = make_ticket(order_type="STP", aux_price=Decimal(90), parent_id=1, **SELL)
    events = desk.place(1, entry) + desk.place(2, profit)
    assert events == []
    return story(desk.place(3, loss), ids=True)


# ---------------------------------------------------------------------- one cancels all


@pytest.mark.parametrize(
    ("oca_type", "told"),
    [
        (1, ["2:Cancelled", "2:error 202"]),
        (2, ["2:Submitted"]),
        (3, ["2:Submitted"]),
        (0, ["2:Submitted"]),
    ],
)
def test_a_partial_fill_cancels_or_reduces_the_group(
    desk: BrokerDesk, make_ticket: MakeTicket, oca_type: int, told: list[str]
) -> None:
    """Type 1 cancels, 2 and 3 (the default) leave in proportion what the fill left."""
    group = {"oca_group": "pair", "oca_type": oca_type}
    desk.place(1, make_ticket(limit_price=Decimal(99), quantity=Decimal(100), **group))
    desk.place(2, make_ticket(limit_price=Decimal(98), quantity=Decimal(50), **group))
    events = desk.at("98.90", ask_size=Decimal(25))
    assert story(events, ids=True)[5:] == told
    assert desk.order(2).remaining == (50 if oca_type == 1 else 37)
    assert desk.order(2).oca_type == (oca_type or 3)
    rest = desk.at("98.90", ask_size=Decimal(1000))
    assert ("2:Cancelled" in story(rest, ids=True)) is (oca_type != 1)
    assert desk.broker.live_orders() == []


def test_groups_are_kept_apart(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """Only orders of the same name are bound; a cancellation binds nobody."""
    rest = {"limit_price": Decimal(90)}
    for order_id, group in enumerate(["a", "a", "b", ""], start=1):
        desk.place(order_id, make_ticket(oca_group=group, quantity=Decimal(9), **rest))
    assert story(desk.cancel(1)) == ["Cancelled", "error 202"]
    desk.at("89.00")
    assert [desk.order(number).status for number in (2, 3, 4)] == [Status.FILLED] * 3


def test_a_groups_members_need_cash_only_once(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """Only one of them can fill: 100,000 USD carry two orders of 90,000, but not a third apart."""
    big = {"limit_price": Decimal(90), "quantity": Decimal(1000)}
    assert story(desk.place(1, make_ticket(oca_group="g", **big))) == ["Submitted"]
    assert story(desk.place(2, make_ticket(oca_group="g", **big))) == ["Submitted"]
    assert story(desk.place(3, make_ticket(**big))) == ["error 201", "Inactive"]


@pytest.mark.parametrize("oca_type", [1, 2, 3])
def test_an_order_that_comes_when_its_group_is_filled_is_refused(
    desk: BrokerDesk, make_ticket: MakeTicket, oca_type: int
) -> None:
    """201 and Inactive, also when the first filled at once; another day may use the name again."""
    first = make_ticket(limit_price=Decimal(101), oca_group="pair", oca_type=oca_type)
    second = make_ticket(limit_price=Decimal(102), oca_group="pair", oca_type=oca_type)
    desk.place(1, first)
    assert story(desk.match())[-1] == "account"
    refused = desk.place(2, second)
    assert story(refused) == ["error 201", "Inactive"]
    assert isinstance(refused[0], Problem)
    assert refused[0].text == "Order rejected - reason:OCA group is already filled"
    assert desk.broker.accounts["DU1"].held(265598) == 50
    assert story(desk.place(3, make_ticket(limit_price=Decimal(90), oca_group="two"))) == [
        "Submitted"
    ]
    desk.time += timedelta(days=1)
    assert story(desk.place(4, second)) == ["Submitted"]


@pytest.mark.parametrize(("oca_type", "told"), [(1, "error 201"), (2, "Submitted")])
def test_a_group_of_which_a_part_is_filled_takes_others_only_if_something_is_left(
    desk: BrokerDesk, make_ticket: MakeTicket, oca_type: int, told: str
) -> None:
    """Any fill cancels the others of type 1; of types 2 and 3 it leaves a part."""
    group: dict[str, Any] = {"oca_group": "pair", "oca_type": oca_type}
    desk.place(1, make_ticket(limit_price=Decimal(99), quantity=Decimal(100), **group))
    desk.at("98.90", ask_size=Decimal(25))
    assert desk.order(1).filled == 25
    assert story(desk.place(2, make_ticket(limit_price=Decimal(90), **group)))[0] == told


# ---------------------------------------------------------------------- brackets


def test_a_bracket_is_transmitted_by_its_last_child(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """All three at once, the parent first; the children wait and are one group."""
    told = bracket(desk, make_ticket, limit_price=Decimal(99))
    assert told == [
        *("1:Submitted", "2:PreSubmitted child"),
        *["3:PreSubmitted child,trigger"] * 2,
    ]
    parent = desk.order(1)
    for order_id in (2, 3):
        child = desk.order(order_id)
        assert (child.oca_group, child.oca_type) == (str(parent.perm_id), 3)
        assert (child.parent_id, child.parent_perm_id) == (1, parent.perm_id)


def test_the_children_live_when_the_parent_is_filled(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """Not before, not after a part of it; then the one that fills cancels the other."""
    bracket(desk, make_ticket, limit_price=Decimal(99))
    assert desk.at("120.00") == []
    assert len(desk.at("98.90", ask_size=Decimal(20))) == 5
    filled = story(desk.at("98.90", ask_size=Decimal(1000)), ids=True)
    assert filled[-2:] == ["2:Submitted", "3:PreSubmitted trigger"]
    assert story(desk.at("110.01"), ids=True) == [
        "2:fill 50",
        *(word if word == "account" else f"2:{word}" for word in FILL),
        *("3:Cancelled", "3:error 202"),
    ]
    assert desk.broker.accounts["DU1"].held(265598) == 0


def test_a_stop_loss_closes_the_position(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """A market parent fills at once, the stop at its price; the profit order is cancelled."""
    assert bracket(desk, make_ticket)[0] == "1:PreSubmitted"
    assert story(desk.match(), ids=True)[-2:] == ["2:Submitted", "3:PreSubmitted trigger"]
    told = story(desk.at("89.90"), ids=True)
    assert told[:2] == ["3:Submitted", "3:fill 50"]
    assert told[-2:] == ["2:Cancelled", "2:error 202"]


def test_children_end_with_their_parent(desk: BrokerDesk, make_ticket: MakeTicket) -> None:
    """Cancelled by the trader, or by a rejection."""
    bracket(desk, make_ticket, limit_price=Decimal(99))
    ended = story(desk.cancel(1), ids=True)
    assert ended == [f"{n}:{word}" for n in (1, 2, 3) for word in ("Cancelled", "error 202")]
    child = make_ticket(limit_price=Decimal(110), parent_id=1, **SELL)
    assert story(desk.place(4, child)) == ["error 201", "Inactive"]


def test_a_rejected_parent_takes_its_children_along(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """None of the three may live without the position."""
    told = bracket(desk, make_ticket, quantity=Decimal(5000), limit_price=Decimal(99))
    assert told == [
        f"{number}:{word}" for number in (1, 2, 3) for word in ("error 201", "Inactive")
    ]


def test_a_child_may_not_sell_more_than_its_parent_bought(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """A cash account is not sold short by way of a bracket."""
    desk.place(1, make_ticket(quantity=Decimal(10)))
    child = make_ticket(quantity=Decimal(20), limit_price=Decimal(110), parent_id=1, **SELL)
    assert story(desk.place(2, child)) == ["PreSubmitted child"]
    assert story(desk.match(), ids=True)[-2:] == ["2:error 201", "2:Inactive"]


def test_an_attached_order_needs_a_parent_that_works(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """135 for an id nobody knows or that is filled."""
    child = make_ticket(limit_price=Decimal(110), parent_id=1, **SELL)
    assert story(desk.place(2, child)) == ["error 135"]
    desk.place(1, make_ticket())
    desk.match()
    assert story(desk.place(2, child)) == ["error 135"]


# ---------------------------------------------------------------------- transmit


def test_sending_the_same_id_again_transmits_it_alone(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """What is attached waits for its own word."""
    desk.place(1, make_ticket(transmit=False, limit_price=Decimal(99)))
    desk.place(2, make_ticket(transmit=False, limit_price=Decimal(110), parent_id=1, **SELL))
    assert story(desk.place(1, make_ticket(limit_price=Decimal(98))), ids=True) == ["1:Submitted"]
    assert desk.order(1).limit_price == 98
    last = make_ticket(limit_price=Decimal(120), parent_id=1, **SELL)
    assert story(desk.place(3, last), ids=True) == [
        "2:PreSubmitted child",
        "3:PreSubmitted child",
    ]


def test_orders_of_other_clients_are_no_relatives(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """Order ids count per client, so a parent id means one's own order."""
    desk.place(1, make_ticket(transmit=False, limit_price=Decimal(99)))
    child = make_ticket(limit_price=Decimal(110), parent_id=1, **SELL)
    assert story(desk.place(2, child, client_id=2)) == ["error 135"]


def test_an_untransmitted_order_is_cancelled_in_the_gateway(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """ApiCancelled, with what is attached to it; IB never heard of them."""
    desk.place(1, make_ticket(transmit=False, limit_price=Decimal(99)))
    desk.place(2, make_ticket(transmit=False, limit_price=Decimal(110), parent_id=1, **SELL))
    told = story(desk.cancel(1), ids=True)
    assert told == [f"{n}:{word}" for n in (1, 2) for word in ("ApiCancelled", "error 202")]
    assert desk.broker.orders == {}
    assert story(desk.cancel(2)) == ["error 10147"]
    assert story(desk.place(2, make_ticket())) == ["error 103"]
    desk.place(3, make_ticket(transmit=False))
    assert story(desk.broker.cancel_all(desk.now())) == ["ApiCancelled", "error 202"]


def test_an_order_that_names_itself_or_goes_in_circles_is_refused_or_ends(
    desk: BrokerDesk, make_ticket: MakeTicket
) -> None:
    """A hostile chain is finite."""
    assert story(desk.place(1, make_ticket(transmit=False, parent_id=1))) == ["error 135"]
    desk.place(1, make_ticket(transmit=False))
    desk.place(2, make_ticket(transmit=False, parent_id=1))
    desk.place(1, make_ticket(transmit=False, parent_id=2))
    assert story(desk.place(3, make_ticket(parent_id=2)), ids=True)[-1] == "3:error 135"
