"""Every wish of a plan becomes one written order: planned, or refused with its reason."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from ibloop.core.lifecycle import OrderState
from ibloop.core.model import Instrument, Order, OrderType, Side, Tif
from ibloop.core.orders import Intent, Plan, PlanLine, Unpriced
from ibloop.core.planning import OrderTerms, planned_orders
from ibloop.core.risk import Limits

D = Decimal
LIMITS = Limits(
    order_value_usd_max=D(10_000),
    order_quantity_max=D(1000),
    plan_turnover_weight_max=D(1),
    day_turnover_weight_max=D(1),
    position_weight_max=D("0.5"),
    sector_weight_max=D(1),
    gross_weight_max=D(1),
    cash_weight_min=D(0),
    adv_participation_max=D("0.1"),
    price_collar_fraction=D("0.01"),
    orders_per_run_max=10,
    orders_per_day_max=10,
    orders_per_second_max=10,
    rejections_in_a_row_max=3,
    short_allowed=False,
)
TERMS = OrderTerms(
    run_id="r1",
    run_key="2026W47",
    attempt=2,
    order_type=OrderType.LMT,
    tif=Tif.GTD,
    good_till=datetime(2026, 11, 20, 20, 55, tzinfo=UTC),
)
SHARE = Instrument("AAA", 1, "A", "NYSE", "USD", D("0.01"), D(1), "Any", D(10**6))
KNOWN = {s: replace(SHARE, symbol=s, con_id=n) for n, s in enumerate(("AAA", "BBB", "CCC"), 1)}


def intent(symbol: str, side: Side, quantity: int, price: str = "10") -> Intent:
    """Return an intent for a known symbol."""
    return Intent(symbol, KNOWN[symbol].con_id, side, D(quantity), D(price))


def orders_of(
    *intents: Intent, unpriced: tuple[Unpriced, ...] = (), held: int = 0, terms: OrderTerms = TERMS
) -> list[Order]:
    """Return the orders of a plan with these intents, ``held`` shares of each before."""
    lines = tuple(
        PlanLine(i.symbol, i.con_id, None, D(held), None, D(held), i.price, None, "")
        for i in intents
    )
    plan = Plan(D(50_000), lines, intents, unpriced)
    return [one.order for one in planned_orders(plan, KNOWN, LIMITS, terms)]


def test_an_intent_becomes_a_planned_order() -> None:
    """Everything the send needs is written down, with the collar as limit price."""
    (order,) = orders_of(intent("AAA", Side.BUY, 7))
    assert order == Order(
        client_order_id="ibl:2026W47:AAA:B:2",
        run_id="r1",
        symbol="AAA",
        con_id=1,
        side=Side.BUY,
        quantity=D(7),
        order_type=OrderType.LMT,
        limit_price=D("10.10"),
        tif=Tif.GTD,
        good_till=TERMS.good_till,
        status=OrderState.PLANNED,
    )


def test_a_market_order_has_no_limit_and_lives_for_the_day() -> None:
    """GTD is not proven for plain market orders at IB."""
    (order,) = orders_of(intent("AAA", Side.BUY, 7), terms=replace(TERMS, order_type=OrderType.MKT))
    assert (order.limit_price, order.tif) == (None, Tif.DAY)


def test_a_refused_order_carries_the_check_as_its_code() -> None:
    """Two thousand shares break two limits: the first is the code, both are the reason."""
    (order,) = orders_of(intent("AAA", Side.BUY, 2000))
    assert (order.status, order.reject_source) == (OrderState.REJECTED, "ibloop")
    assert order.reject_code == "order_value_usd_max"
    assert order.reject_reason is not None
    assert "order_quantity_max: 2000 shares, allowed 1000 shares" in order.reject_reason


def test_the_position_before_the_order_is_taken_into_account() -> None:
    """600 more on top of 2000 is above half of the account; selling them is not."""
    (more,) = orders_of(intent("AAA", Side.BUY, 600), held=2000)
    assert more.reject_code == "position_weight_max"
    (less,) = orders_of(intent("AAA", Side.SELL, 600), held=4000)
    assert less.status == OrderState.PLANNED


def test_a_wish_without_price_becomes_a_market_data_error() -> None:
    """It is an order a person can find, without a price and without a guessed size."""
    (order,) = orders_of(unpriced=(Unpriced("BBB", 2, Side.SELL, D(9), "the quote is stale"),))
    assert (order.status, order.reject_source) == (OrderState.REJECTED, "ibloop")
    assert (order.reject_code, order.reject_reason) == ("market_data_error", "the quote is stale")
    assert (order.limit_price, order.quantity, order.side) == (None, D(9), Side.SELL)


def test_a_price_below_the_tick_grid_is_refused() -> None:
    """Half a cent with ticks of a cent has no limit price inside any collar."""
    (order,) = orders_of(intent("AAA", Side.BUY, 7, "0.005"))
    assert (order.reject_code, order.limit_price) == ("price_collar_fraction", None)


def test_planned_orders_keep_their_sequence_and_refused_ones_follow() -> None:
    """What will be sent comes first, in sending order; then ours refused, then the unpriced."""
    found = orders_of(
        intent("AAA", Side.BUY, 2000),
        intent("BBB", Side.BUY, 7),
        intent("CCC", Side.BUY, 8),
        unpriced=(Unpriced("DDD", 4, Side.BUY, D(0), "no usable price"),),
    )
    assert [(o.symbol, o.status.value) for o in found if isinstance(o.status, OrderState)] == [
        ("BBB", "planned"),
        ("CCC", "planned"),
        ("AAA", "rejected"),
        ("DDD", "rejected"),
    ]


def test_each_attempt_has_its_own_references() -> None:
    """A retry never repeats a reference; the same attempt always makes the same."""
    first = orders_of(intent("AAA", Side.BUY, 7))
    assert first == orders_of(intent("AAA", Side.BUY, 7))
    second = orders_of(intent("AAA", Side.BUY, 7), terms=replace(TERMS, attempt=3))
    assert first[0].client_order_id != second[0].client_order_id
