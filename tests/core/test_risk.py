"""Each limit refuses just beyond itself and not at it; what reduces exposure passes."""

from dataclasses import fields, replace
from decimal import Decimal

import pytest

from ibloop.core.model import Instrument, Side
from ibloop.core.orders import Intent, Plan, PlanLine
from ibloop.core.risk import Breach, Limits, check_order, check_plan

D = Decimal
WIDE = Limits(
    order_value_usd_max=D(10**9),
    order_quantity_max=D(10**9),
    plan_turnover_weight_max=D(10**9),
    day_turnover_weight_max=D(10**9),
    position_weight_max=D(10**9),
    sector_weight_max=D(10**9),
    gross_weight_max=D(10**9),
    cash_weight_min=D(0),
    adv_participation_max=D(1),
    price_collar_fraction=D("0.05"),
    orders_per_run_max=10**9,
    orders_per_day_max=10**9,
    orders_per_second_max=10**9,
    rejections_in_a_row_max=10**9,
    short_allowed=False,
)
AAA = Instrument("AAA", 1, "A", "NYSE", "USD", D("0.01"), D(1), "Energy", D(10**9))


def buy(quantity: int, price: str = "100") -> Intent:
    """Return the wish to buy so many shares."""
    return Intent("AAA", 1, Side.BUY, D(quantity), D(price))


def sell(quantity: int, price: str = "100") -> Intent:
    """Return the wish to sell so many shares."""
    return Intent("AAA", 1, Side.SELL, D(quantity), D(price))


def names(breaches: tuple[Breach, ...]) -> list[str]:
    """Return the checks that refused."""
    return [breach.check for breach in breaches]


def order_breaches(
    intent: Intent,
    limits: Limits = WIDE,
    *,
    held: int = 0,
    equity: int = 100_000,
    instrument: Instrument = AAA,
) -> list[str]:
    """Return what :func:`check_order` refuses."""
    found = check_order(intent, instrument, equity_usd=D(equity), held=D(held), limits=limits)
    return names(found)


def line(
    symbol: str, before: int, after: int, price: str | None = "100", weight: str = "0.1"
) -> PlanLine:
    """Return a plan line that goes from ``before`` to ``after`` shares."""
    mid = None if price is None else D(price)
    return PlanLine(symbol, 1, D(weight), D(before), D(after), D(after), mid, None, "")


def plan_of(*lines: PlanLine, equity: int = 100_000, unvalued: int = 0) -> Plan:
    """Return the plan of these lines, with the intents they imply."""
    intents = []
    for one in lines:
        moved = one.planned_quantity - one.baseline_quantity
        if moved and one.price is not None:
            side = Side.BUY if moved > 0 else Side.SELL
            intents.append(Intent(one.symbol, 1, side, abs(moved), one.price))
    return Plan(D(equity), lines, tuple(intents), (), D(unvalued))


KNOWN = {
    "AAA": AAA,
    "BBB": replace(AAA, symbol="BBB"),
    "CCC": replace(AAA, symbol="CCC", sector="Health"),
    "DDD": replace(AAA, symbol="DDD", sector="Health"),
}


def plan_breaches(plan: Plan, limits: Limits, *, traded: int = 0, orders: int = 0) -> list[str]:
    """Return what :func:`check_plan` refuses."""
    found = check_plan(plan, KNOWN, limits, traded_today_usd=D(traded), orders_today=orders)
    return names(found)


@pytest.mark.parametrize(
    ("limits", "at", "beyond", "check"),
    [
        (replace(WIDE, order_value_usd_max=D(5000)), 50, 51, "order_value_usd_max"),
        (replace(WIDE, order_quantity_max=D(7)), 7, 8, "order_quantity_max"),
        (replace(WIDE, position_weight_max=D("0.25")), 250, 251, "position_weight_max"),
        (replace(WIDE, adv_participation_max=D("1e-8")), 10, 11, "adv_participation_max"),
    ],
)
def test_order_limits_name_the_last_allowed_value(
    limits: Limits, at: int, beyond: int, check: str
) -> None:
    """Exactly the limit passes; one share more is refused by that check alone."""
    assert order_breaches(buy(at), limits) == []
    assert order_breaches(buy(beyond), limits) == [check]


def test_a_breach_says_what_is_allowed_and_what_to_do() -> None:
    """A refusal is one sentence with the numbers in it."""
    limits = replace(WIDE, order_value_usd_max=D(5000))
    (breach,) = check_order(buy(51), AAA, equity_usd=D(100_000), held=D(0), limits=limits)
    told = "order_value_usd_max: 5100.00 USD, allowed 5000 USD; lower the target or raise the limit"
    assert str(breach) == told


@pytest.mark.parametrize("quantity", [0, -5, 150])
def test_only_whole_lots_leave(quantity: int) -> None:
    """Zero, negative and broken lots are refused."""
    assert "lot" in order_breaches(buy(quantity), instrument=replace(AAA, lot=D(100)))


@pytest.mark.parametrize(
    ("held", "quantity", "refused"),
    [(0, 1, True), (5, 5, False), (5, 6, True), (-5, 1, True)],
)
def test_short_positions_are_neither_opened_nor_enlarged(
    held: int, quantity: int, refused: bool
) -> None:
    """A sell may end at zero, not below it, unless shorts are allowed."""
    assert ("short_allowed" in order_breaches(sell(quantity), held=held)) is refused
    allowed = replace(WIDE, short_allowed=True)
    assert order_breaches(sell(quantity), allowed, held=held) == []


def test_a_short_has_a_weight_too() -> None:
    """Where shorts are allowed they meet the same cap as longs."""
    limits = replace(WIDE, short_allowed=True, position_weight_max=D("0.25"))
    assert order_breaches(sell(250), limits) == []
    assert order_breaches(sell(251), limits) == ["position_weight_max"]


@pytest.mark.parametrize(("held", "intent"), [(900, sell(900)), (-900, buy(900)), (900, sell(1))])
def test_reducing_orders_pass_the_caps_on_exposure(held: int, intent: Intent) -> None:
    """Neither position weight nor volume nor an unknown volume holds back a way out."""
    tight = replace(WIDE, position_weight_max=D("0.001"), adv_participation_max=D("1e-9"))
    unknown = replace(AAA, adv_shares=None)
    assert order_breaches(intent, tight, held=held, instrument=unknown) == []


def test_crossing_zero_is_a_new_position() -> None:
    """An order that turns a short into a long meets every cap, even if the long is smaller."""
    tight = replace(WIDE, position_weight_max=D("0.05"), adv_participation_max=D("1e-9"))
    found = order_breaches(buy(190), tight, held=-100)
    assert found == ["position_weight_max", "adv_participation_max"]


def test_an_unknown_average_volume_denies() -> None:
    """What cannot be measured against its limit is not allowed."""
    unknown = replace(AAA, adv_shares=None)
    assert order_breaches(buy(1), instrument=unknown) == ["adv_participation_max"]


@pytest.mark.parametrize("equity", [0, -100_000])
def test_without_positive_equity_every_weight_is_too_large(equity: int) -> None:
    """No equity is no room: no division by zero and no negative weight that passes."""
    assert order_breaches(buy(1), equity=equity) == ["position_weight_max"]
    plan = plan_of(line("AAA", 0, 1), equity=equity)
    assert "gross_weight_max" in plan_breaches(plan, WIDE)


@pytest.mark.parametrize(
    ("at", "beyond", "check"),
    [
        (replace(WIDE, orders_per_run_max=2), replace(WIDE, orders_per_run_max=1), ""),
        (replace(WIDE, orders_per_day_max=5), replace(WIDE, orders_per_day_max=4), ""),
        (
            replace(WIDE, plan_turnover_weight_max=D("0.3")),
            replace(WIDE, plan_turnover_weight_max=D("0.299")),
            "",
        ),
        (
            replace(WIDE, day_turnover_weight_max=D("0.5")),
            replace(WIDE, day_turnover_weight_max=D("0.499")),
            "",
        ),
        (
            replace(WIDE, gross_weight_max=D("0.5")),
            replace(WIDE, gross_weight_max=D("0.499")),
            "",
        ),
        (
            replace(WIDE, sector_weight_max=D("0.4")),
            replace(WIDE, sector_weight_max=D("0.399")),
            " (Energy)",
        ),
    ],
)
def test_plan_limits_name_the_last_allowed_value(at: Limits, beyond: Limits, check: str) -> None:
    """30 % turnover, 20 % traded before, 3 orders before, 50 % gross, 40 % of it Energy."""
    plan = plan_of(line("AAA", 100, 300), line("BBB", 0, 100), line("CCC", 100, 100))
    assert plan_breaches(plan, at, traded=20_000, orders=3) == []
    (changed,) = (f.name for f in fields(Limits) if getattr(at, f.name) != getattr(WIDE, f.name))
    assert plan_breaches(plan, beyond, traded=20_000, orders=3) == [changed + check]


def test_a_plan_that_lowers_exposure_passes_its_caps() -> None:
    """A book above every cap may shrink, and may shift within what does not grow."""
    tight = replace(WIDE, gross_weight_max=D("0.1"), sector_weight_max=D("0.1"))
    assert plan_breaches(plan_of(line("AAA", 900, 500)), tight) == []
    assert plan_breaches(plan_of(line("AAA", -900, -500)), tight) == []
    shift = plan_of(line("AAA", 500, 400), line("BBB", 0, 100))
    assert plan_breaches(shift, tight) == []
    other = plan_of(line("AAA", 500, 300), line("CCC", 100, 200))
    assert plan_breaches(other, tight) == ["sector_weight_max (Health)"]


def test_shorts_count_in_gross_with_their_size() -> None:
    """Exposure has no sign."""
    plan = plan_of(line("AAA", -300, -300), line("BBB", 0, 300))
    assert plan_breaches(plan, replace(WIDE, gross_weight_max=D("0.5"))) == ["gross_weight_max"]


def test_holdings_without_a_price_still_count() -> None:
    """A missing price must not make room: gross and its sector count what is unaccounted for."""
    gap, strange = line("BBB", 500, 500, None), line("ZZZ", 9, 9, None)
    bought = line("AAA", 0, 100)
    gross = replace(WIDE, gross_weight_max=D("0.5"))
    sector = replace(WIDE, sector_weight_max=D("0.5"))
    for unvalued, found in ((40_000, []), (40_001, ["gross_weight_max"])):
        assert plan_breaches(plan_of(bought, gap, unvalued=unvalued), gross) == found
        assert plan_breaches(plan_of(bought, strange, unvalued=unvalued), gross) == found
    assert plan_breaches(plan_of(bought, gap, unvalued=40_001), sector) == [
        "sector_weight_max (Energy)"
    ]
    assert plan_breaches(plan_of(bought, strange, unvalued=40_001), sector) == []
    unheld = plan_of(line("DDD", 1, 100), line("CCC", 0, 0, None), strange, unvalued=90_000)
    assert plan_breaches(unheld, sector) == []


def test_breaches_of_a_plan_tell_weights_and_counts() -> None:
    """Weights have four places, counts none."""
    tight = replace(WIDE, orders_per_run_max=0, gross_weight_max=D("0.1"))
    plan = plan_of(line("AAA", 0, 125))
    found = check_plan(plan, KNOWN, tight, traded_today_usd=D(0), orders_today=0)
    assert [(b.found, b.allowed) for b in found] == [("1", "0"), ("0.1250", "0.1")]


def test_an_empty_plan_breaches_nothing() -> None:
    """Nothing to do is always allowed."""
    assert plan_breaches(plan_of(), WIDE) == []
