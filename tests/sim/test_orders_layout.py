"""Orders on the wire: what is read from placeOrder, and where openOrder and the others say it.

Positions are those of IB's field tables, counted from the message id, below version 177.
"""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from ibloop.sim.market.history import Samples
from ibloop.sim.model import Action, Order, OrderTicket, Status
from ibloop.sim.protocol.orderlayout import completed_order, open_order
from ibloop.sim.protocol.replies.fills import order_bound, order_status
from ibloop.sim.protocol.requests import parse
from ibloop.sim.protocol.requests.orders import Executions, PlaceOrder
from tests.sim.sample_orders import NOW, an_order

VERSIONS = [
    *(157, 159, 160, 162, 163, 164, 166, 169, 170, 173, 174, 176, 177, 178),
    *(182, 183, 184, 185, 186, 190, 192, 193, 194, 195, 196, 197, 198, 199, 200),
]
# Fields that came with a version: (version, how many). 177 took one away.
OPEN_ORDER_GREW = [
    *((159, 1), (160, 1), (162, 1), (170, 5), (177, -1), (183, 1), (184, 1), (185, 1), (189, 1)),
    *((193, 2), (195, 13), (198, 1), (199, 1)),
]
COMPLETED_GREW = [(170, 5), (177, -1), (183, 1), (184, 1), (198, 1)]
PLACE_GREW = [
    *((158, 1), (160, 1), (162, 1), (166, 1), (169, 1), (177, -1), (183, 1), (184, 1), (189, 1)),
    *((192, 1), (199, 1)),
]
# placeOrder of a plain stock order below 177, up to algoStrategy, from the message id on.
PLACE_FIELDS = (
    "id orderId conId symbol secType lastTradeDate strike right multiplier exchange"
    " primaryExchange currency localSymbol tradingClass secIdType secId"
    " action totalQuantity orderType lmtPrice auxPrice tif ocaGroup account openClose origin"
    " orderRef transmit parentId blockOrder sweepToFill displaySize triggerMethod outsideRth hidden"
    " sharesAllocation discretionaryAmt goodAfterTime goodTillDate faGroup faMethod faPercentage"
    " faProfile modelCode shortSaleSlot designatedLocation exemptCode ocaType rule80A settlingFirm"
    " allOrNone minQty percentOffset eTradeOnly firmQuoteOnly nbboPriceCap auctionStrategy"
    " startingPrice stockRefPrice delta stockRangeLower stockRangeUpper"
    " overridePercentageConstraints volatility volatilityType deltaNeutralOrderType"
    " deltaNeutralAuxPrice continuousUpdate referencePriceType trailStopPrice trailingPercent"
    " scaleInitLevelSize scaleSubsLevelSize scalePriceIncrement scaleTable activeStartTime"
    " activeStopTime hedgeType optOutSmartRouting clearingAccount clearingIntent notHeld"
    " deltaNeutralContract algoStrategy"
)
PLACE_NAMES = PLACE_FIELDS.split()


def with_values(fields: tuple[object, ...], **values: object) -> list[object]:
    """Return placeOrder fields with others set by their name."""
    changed = list(fields)
    for name, value in values.items():
        changed[PLACE_NAMES.index(name)] = value
    return changed


def grown(base: int, changes: list[tuple[int, int]], version: int) -> int:
    """Return the field count of a message at a version, from its count at 157."""
    return base + sum(count for since, count in changes if version >= since)


@pytest.fixture
def order() -> Order:
    """Return a stop-loss of a bracket with everything set that is echoed."""
    return replace(
        an_order(),
        action=Action.SELL,
        order_type="STP LMT",
        order_ref="ref",
        outside_rth=True,
        hidden=True,
        status=Status.PRE_SUBMITTED,
        commission_usd=Decimal(0),
        completed_at=None,
        completed_text="",
        aux_price=Decimal("99.75"),
        trigger_method=2,
        oca_group="76",
        oca_type=1,
        parent_id=13,
        parent_perm_id=76,
        why_held="child,trigger",
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_open_order_says_everything_in_its_place(
    samples: Samples, order: Order, version: int
) -> None:
    """At every version the same positions up to 33, one less from 177 on after that."""
    fields = open_order(order, samples.instruments[265598], version)
    assert len(fields) == grown(128, OPEN_ORDER_GREW, version)
    assert fields[:2] == ("5", "14")
    assert fields[2:13] == (
        *("265598", "AAPL", "STK", "", "0", "?", "", "SMART", "USD", "AAPL", "NMS"),
    )
    assert fields[13:26] == (
        *("SELL", "100", "STP LMT", "99.5", "99.75", "GTD", "76", "DU1234567", "", "0", "ref"),
        *("3", "77"),
    )
    assert fields[26:31] == ("1", "1", "0", "", "77.0/DU1234567/100")
    shift = 0 if version < 177 else -1

    def at(position: int) -> str:
        return fields[position + shift]

    assert at(36) == "20260413-20:00:00"
    assert (at(54), at(58), at(59)) == ("1", "13", "2")
    assert (at(62), at(74), at(75)) == ("None", "99.75", "")
    assert (at(88), at(90), at(91), at(92), at(93)) == ("IB", "0", "", "0", "0")
    assert at(94) == "PreSubmitted"
    shift += 13 if version >= 195 else 0
    assert at(112) == "None"
    assert at(124) == "1"


@pytest.mark.parametrize(
    ("version", "count"), [(173, 136), (176, 136), (178, 135), (193, 141), (200, 156)]
)
def test_open_order_has_the_recorded_length(
    samples: Samples, order: Order, version: int, count: int
) -> None:
    """As measured at real gateways."""
    assert len(open_order(order, samples.instruments[265598], version)) == count


@pytest.mark.parametrize("version", [157, 176, 200])
def test_an_algo_comes_with_its_parameters(samples: Samples, order: Order, version: int) -> None:
    """Strategy, count, then tags and values; all later fields move on by that."""
    plain = open_order(order, samples.instruments[265598], version)
    adaptive = replace(order, algo="Adaptive", algo_params=("adaptivePriority", "Normal"))
    fields = open_order(adaptive, samples.instruments[265598], version)
    at = 91 if version < 177 else 90
    assert fields[at : at + 4] == ("Adaptive", "1", "adaptivePriority", "Normal")
    assert fields[:at] == plain[:at]
    assert fields[at + 4 :] == plain[at + 1 :]


def test_a_trailing_stop_shows_where_it_stands(samples: Samples, order: Order) -> None:
    """auxPrice is the amount; 74 the stop of the moment, 75 the percentage."""
    trail = replace(
        order,
        order_type="TRAIL",
        limit_price=None,
        aux_price=None,
        trail_stop=Decimal("97.5"),
        trailing_percent=Decimal("2.5"),
    )
    fields = open_order(trail, samples.instruments[265598], 176)
    assert (fields[15], fields[16], fields[17]) == ("TRAIL", "0.0", "0.0")
    assert fields[74:76] == ("97.5", "2.5")
    amount = replace(trail, aux_price=Decimal(2), trailing_percent=None)
    fields = open_order(amount, samples.instruments[265598], 176)
    assert (fields[17], fields[75]) == ("2.0", "")


@pytest.mark.parametrize("version", VERSIONS)
def test_completed_order_says_the_same_without_ids(
    samples: Samples, order: Order, version: int
) -> None:
    """Neither order id nor client id, but the permId, also of the parent."""
    done = replace(
        order, status=Status.CANCELLED, completed_at=NOW, completed_text="Cancelled by Trader"
    )
    fields = completed_order(done, samples.instruments[265598], version)
    assert len(fields) == grown(96, COMPLETED_GREW, version)
    assert fields[0] == "101"
    assert fields[12:23] == (
        *("SELL", "100", "STP LMT", "99.5", "99.75", "GTD", "76", "DU1234567", "", "0", "ref"),
    )
    assert fields[23:26] == ("77", "1", "1")
    where = fields.index("Cancelled by Trader")
    assert fields[where - 2] == "76"
    assert where == (95 if version < 177 else 94)


def test_order_status_names_parent_reason_and_canceller(order: Order) -> None:
    """parentId and whyHeld; the client id is the canceller's when it was another one."""
    assert order_status(order, 176) == (
        *("3", "14", "PreSubmitted", "0", "100", "0.0", "77", "13", "0.0", "3"),
        *("child,trigger", "0.0"),
    )
    assert order_status(order, 176, 2)[9] == "2"
    assert order_bound(order) == ("100", "77", "3", "14")


# ---------------------------------------------------------------------- requests


@pytest.mark.parametrize("version", VERSIONS)
def test_place_order_is_read_at_every_version(
    place_fields: Callable[..., tuple[object, ...]], version: int
) -> None:
    """Nothing is left over, and what is needed is found in its place."""
    fields = list(place_fields(5, 176, orderType="STP LMT", lmtPrice="99.5", auxPrice="99.75"))
    assert len(fields) == 115
    # The last five of 176 are those of 158 to 169.
    del fields[-5:]
    if version >= 177:
        del fields[PLACE_NAMES.index("faProfile")]
    came = [since for since, count in PLACE_GREW if count > 0 and version >= since]
    fields += [0 if since in {162, 184, 189, 199} else "" for since in came]
    assert len(fields) == grown(110, PLACE_GREW, version)
    parsed = parse(tuple(map(str, fields)), version)
    assert parsed.left == ()
    request = parsed.request
    assert isinstance(request, PlaceOrder)
    assert (request.order_id, request.contract.symbol) == (5, "AAPL")
    ticket = request.ticket
    assert (ticket.order_type, ticket.limit_price, ticket.aux_price) == (
        *("STP LMT", Decimal("99.5"), Decimal("99.75")),
    )
    assert not ticket.unserved


def read(fields: list[object]) -> OrderTicket:
    """Return the ticket of a placeOrder at 176."""
    request = parse(tuple(map(str, fields)), 176).request
    assert isinstance(request, PlaceOrder)
    return request.ticket


def test_place_order_keeps_what_the_broker_works_with(
    place_fields: Callable[..., tuple[object, ...]],
) -> None:
    """Group, parent, trigger, trail and algo, found by their position in section 4.1."""
    fields = with_values(
        place_fields(5, orderType="TRAIL", auxPrice="1.5"),
        ocaGroup="g",
        parentId=4,
        triggerMethod=2,
        outsideRth=1,
        hidden=1,
        ocaType=2,
        overridePercentageConstraints=1,
        trailStopPrice="98.5",
        trailingPercent="2.5",
    )
    algo = PLACE_NAMES.index("algoStrategy")
    fields[algo : algo + 1] = ["Adaptive", 1, "adaptivePriority", "Urgent"]
    ticket = read(fields)
    assert (ticket.oca_group, ticket.parent_id, ticket.trigger_method) == ("g", 4, 2)
    assert (ticket.outside_rth, ticket.hidden, ticket.oca_type) == (True, True, 2)
    assert ticket.override_percentage
    assert (ticket.aux_price, ticket.trail_stop, ticket.trailing_percent) == (
        *(Decimal("1.5"), Decimal("98.5"), Decimal("2.5")),
    )
    assert (ticket.algo, ticket.algo_params) == ("Adaptive", ("adaptivePriority", "Urgent"))
    assert not ticket.unserved


@pytest.mark.parametrize(
    ("name", "value", "called"),
    [
        ("goodAfterTime", "20261118 12:00:00", "good-after times"),
        ("displaySize", 50, "display sizes"),
        ("discretionaryAmt", "0.05", "discretionary amounts"),
        ("allOrNone", 1, "all-or-none orders"),
        ("minQty", 10, "minimum quantities"),
    ],
)
def test_what_would_change_an_order_is_not_dropped_in_silence(
    place_fields: Callable[..., tuple[object, ...]], name: str, value: object, called: str
) -> None:
    """The feature is named, and the broker refuses the order."""
    assert read(with_values(place_fields(5), **{name: value})).unserved == called


@pytest.mark.parametrize(
    ("more", "days", "dates"),
    [
        ((2147483647, 0), 0, ()),
        ((3, 0), 3, ()),
        ((2147483647, 2, "20260410", "20260413"), 0, ("20260410", "20260413")),
    ],
)
def test_executions_of_other_days_are_asked_for_at_200(
    more: tuple[object, ...], days: int, dates: tuple[str, ...]
) -> None:
    """lastNDays is unset as the largest integer."""
    fields = (7, 3, 9, 0, "DU1", "", "AAPL", "STK", "NASDAQ", "BUY", *more)
    parsed = parse(tuple(map(str, fields)), 200)
    expected = Executions(9, 0, "DU1", "", "AAPL", "STK", "BUY", "NASDAQ", days, dates)
    assert (parsed.request, parsed.left) == (expected, ())
