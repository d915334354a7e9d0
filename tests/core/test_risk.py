"""Each limit refuses just beyond itself and not at it; what reduces exposure passes."""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

import pytest

from ibloop.core.model import Instrument, Side
from ibloop.core.orders import Intent, Plan, PlanLine
from ibloop.core.risk import Limits, Verdict, breaches, check_order, check_plan
from tests.fakes.risk_cases import AAA, WIDE

D = Decimal


def buy(quantity: int | str, price: str = "100") -> Intent:
    """Return the wish to buy so many shares."""
    return Intent("AAA", 1, Side.BUY, D(quantity), D(price))


def sell(quantity: int | str, price: str = "100") -> Intent:
    """Return the wish to sell so many shares."""
    return Intent("AAA", 1, Side.SELL, D(quantity), D(price))


def names(verdicts: Iterable[Verdict]) -> list[str]:
    """Return the checks that refused, with what they are about."""
    return [f"{v.check} ({v.subject})" if v.subject else v.check for v in breaches(verdicts)]


def order_breaches(
    intent: Intent,
    limits: Limits = WIDE,
    *,
    held: int = 0,
    working: int = 0,
    equity: str = "100000",
    instrument: Instrument | None = AAA,
) -> list[str]:
    """Return what :func:`check_order` refuses."""
    found = check_order(
        intent, instrument, equity_usd=D(equity), held=D(held), limits=limits, working=D(working)
    )
    return names(found)


def line(
    symbol: str, before: int, after: int, price: str | None = "100", weight: str = "0.1"
) -> PlanLine:
    """Return a plan line that goes from ``before`` to ``after`` shares."""
    mid = None if price is None else D(price)
    return PlanLine(symbol, 1, D(weight), D(before), D(after), D(after), mid, None, "")


def plan_of(*lines: PlanLine, equity: str = "100000", unvalued: int = 0) -> Plan:
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


def plan_verdicts(
    plan: Plan, limits: Limits, *, traded: int = 0, orders: int = 0, settled: str | None = "0"
) -> tuple[Verdict, ...]:
    """Return all that :func:`check_plan` says."""
    return check_plan(
        plan,
        KNOWN,
        limits,
        traded_today_usd=D(traded),
        orders_today=orders,
        settled_cash_usd=None if settled is None else D(settled),
    )


def plan_breaches(plan: Plan, limits: Limits, *, traded: int = 0, orders: int = 0) -> list[str]:
    """Return what :func:`check_plan` refuses."""
    return names(plan_verdicts(plan, limits, traded=traded, orders=orders))


# --- one order ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "below", "at", "beyond", "check"),
    [
        (replace(WIDE, order_value_usd_max=D(5000)), 49, 50, 51, "order_value_usd_max"),
        (replace(WIDE, order_quantity_max=D(7)), 6, 7, 8, "order_quantity_max"),
        (replace(WIDE, position_weight_max=D("0.25")), 249, 250, 251, "position_weight_max"),
        (replace(WIDE, adv_participation_max=D("1e-8")), 9, 10, 11, "adv_participation_max"),
    ],
)
def test_order_limits_name_the_last_allowed_value(
    limits: Limits, below: int, at: int, beyond: int, check: str
) -> None:
    """Exactly the limit passes; one share more is refused by that check alone."""
    assert order_breaches(buy(below), limits) == []
    assert order_breaches(buy(at), limits) == []
    assert order_breaches(buy(beyond), limits) == [check]


def test_a_refusal_says_what_is_allowed_and_what_to_do() -> None:
    """A refusal is one sentence with the numbers in it."""
    limits = replace(WIDE, order_value_usd_max=D(5000))
    found = check_order(buy(51), AAA, equity_usd=D(100_000), held=D(0), limits=limits)
    (breach,) = breaches(found)
    told = "order_value_usd_max: 5100 USD, allowed 5000 USD; lower the target or raise the limit"
    assert str(breach).startswith(f"{told}; to get out of positions see docs/how-to/")


def test_every_check_of_an_order_is_told_not_only_the_refusals() -> None:
    """Whoever asks later why an order left sees each number against its limit."""
    said = check_order(buy(10), AAA, equity_usd=D(100_000), held=D(0), limits=WIDE)
    found = {verdict.check: (verdict.found, verdict.passed) for verdict in said}
    assert found["order_value_usd_max"] == (D(1000), True)
    assert found["position_weight_max"] == (D("0.01"), True)
    assert {"lot", "symbols_denied", "order_quantity_max", "adv_participation_max"} <= set(found)


@pytest.mark.parametrize("quantity", ["150", "0.5", "100.5"])
def test_only_whole_lots_leave(quantity: str) -> None:
    """Broken lots are refused, and so are fractions of a share whatever the lot says."""
    assert order_breaches(buy(quantity), instrument=replace(AAA, lot=D(100))) == ["lot"]
    half = replace(AAA, lot=D("0.5"))
    assert order_breaches(buy("1.5"), instrument=half) == ["lot"]
    assert order_breaches(buy(100), instrument=replace(AAA, lot=D(100))) == []


@pytest.mark.parametrize(
    ("held", "working", "quantity", "refused"),
    [
        *((0, 0, 1, True), (5, 0, 4, False), (5, 0, 5, False), (5, 0, 6, True), (-5, 0, 1, True)),
        *((5, 3, 2, False), (5, 3, 3, True)),
    ],
)
def test_short_positions_are_neither_opened_nor_enlarged(
    held: int, working: int, quantity: int, refused: bool
) -> None:
    """A sell may end at zero, not below it, even with all that works filled; unless allowed."""
    found = order_breaches(sell(quantity), held=held, working=working)
    assert ("short_allowed" in found) is refused
    allowed = replace(WIDE, short_allowed=True)
    assert order_breaches(sell(quantity), allowed, held=held, working=working) == []


def test_a_short_has_a_weight_too() -> None:
    """Where shorts are allowed they meet the same cap as longs."""
    limits = replace(WIDE, short_allowed=True, position_weight_max=D("0.25"))
    assert order_breaches(sell(250), limits) == []
    assert order_breaches(sell(251), limits) == ["position_weight_max"]


def test_the_resulting_position_counts_what_still_works() -> None:
    """100 held, 100 on their way, 50 more: a quarter of the account, and not one share more."""
    limits = replace(WIDE, position_weight_max=D("0.25"))
    assert order_breaches(buy(50), limits, held=100, working=100) == []
    assert order_breaches(buy(51), limits, held=100, working=100) == ["position_weight_max"]


@pytest.mark.parametrize(("held", "intent"), [(900, sell(900)), (-900, buy(900)), (900, sell(1))])
def test_reducing_orders_pass_the_caps_on_exposure(held: int, intent: Intent) -> None:
    """Neither weight nor volume, known or not, nor the allow-list holds back a way out."""
    tight = replace(
        WIDE,
        position_weight_max=D("0.001"),
        adv_participation_max=D("1e-9"),
        symbols_allowed=("ZZZ",),
    )
    unknown = replace(AAA, adv_shares=None)
    assert order_breaches(intent, tight, held=held, instrument=unknown) == []


def test_what_works_beside_it_may_make_a_sell_cross_zero() -> None:
    """Selling 60 of 100 reduces; with 60 more at work it opens a short, and meets every cap."""
    tight = replace(WIDE, position_weight_max=D("0.001"), short_allowed=True)
    assert order_breaches(sell(60), tight, held=100) == []
    assert order_breaches(sell(60), tight, held=100, working=60) == ["position_weight_max"]


def test_crossing_zero_is_a_new_position() -> None:
    """An order that turns a short into a long meets every cap, even if the long is smaller."""
    tight = replace(WIDE, position_weight_max=D("0.05"), adv_participation_max=D("1e-9"))
    found = order_breaches(buy(190), tight, held=-100)
    assert found == ["position_weight_max", "adv_participation_max"]


def test_an_unknown_average_volume_denies() -> None:
    """What cannot be measured against its limit is not allowed."""
    unknown = replace(AAA, adv_shares=None)
    assert order_breaches(buy(1), instrument=unknown) == ["adv_participation_max"]


def test_lists_of_symbols() -> None:
    """A denied symbol is not traded at all, one that is not allowed is only sold down."""
    denied = replace(WIDE, symbols_denied=("BBB", "AAA"))
    assert order_breaches(buy(1), denied) == ["symbols_denied"]
    assert order_breaches(sell(1), denied, held=1) == ["symbols_denied"]
    other = replace(WIDE, symbols_allowed=("BBB",))
    assert order_breaches(buy(1), other) == ["symbols_allowed"]
    assert order_breaches(sell(1), other, held=1) == []
    assert order_breaches(sell(2), replace(other, short_allowed=True), held=1) == [
        "symbols_allowed"
    ]
    assert order_breaches(buy(1), replace(WIDE, symbols_allowed=("BBB", "AAA"))) == []


@pytest.mark.parametrize("instrument", [None, replace(AAA, con_id=2)])
def test_what_is_not_in_the_universe_is_not_judged_further(instrument: Instrument | None) -> None:
    """An unknown symbol, or a known one as another contract: nothing else can be measured."""
    assert order_breaches(buy(1), instrument=instrument) == ["universe"]


@pytest.mark.parametrize(
    ("intent", "equity"),
    [
        *((buy(0), "1"), (buy(-5), "1"), (buy("NaN"), "1"), (buy("Infinity"), "1")),
        *((buy(1, "NaN"), "1"), (buy(1, "sNaN"), "1"), (buy(1, "0"), "1"), (buy(1, "-3"), "1")),
        *((buy(1), "NaN"), (buy(1), "Infinity")),
    ],
)
def test_nonsense_numbers_are_refused_before_anything_is_computed(
    intent: Intent, equity: str
) -> None:
    """NaN compares with nothing and infinity with everything: neither gets that far."""
    assert order_breaches(intent, equity=equity) == ["number"]


@pytest.mark.parametrize("equity", ["0", "-100000"])
def test_without_positive_equity_every_weight_is_too_large(equity: str) -> None:
    """No equity is no room: no division by zero and no negative weight that passes."""
    assert order_breaches(buy(1), equity=equity) == ["position_weight_max"]
    assert order_breaches(sell(1), held=1, equity=equity) == []
    plan = plan_of(line("AAA", 0, 1), equity=equity)
    assert "gross_weight_max" in plan_breaches(plan, WIDE)


# --- the plan -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "at", "beyond", "below", "check"),
    [
        ("orders_per_run_max", 2, 1, 3, ""),
        ("orders_per_day_max", 5, 4, 6, ""),
        ("plan_turnover_weight_max", D("0.3"), D("0.299"), D("0.31"), ""),
        ("day_turnover_weight_max", D("0.5"), D("0.499"), D("0.51"), ""),
        ("gross_weight_max", D("0.5"), D("0.499"), D("0.51"), ""),
        ("net_weight_max", D("0.5"), D("0.499"), D("0.51"), ""),
        ("sector_weight_max", D("0.4"), D("0.399"), D("0.41"), " (Energy)"),
    ],
)
def test_plan_limits_name_the_last_allowed_value(
    key: str, at: Decimal, beyond: Decimal, below: Decimal, check: str
) -> None:
    """30 % turnover, 20 % traded before, 3 orders before, 50 % gross and net, 40 % of it Energy."""
    plan = plan_of(line("AAA", 100, 300), line("BBB", 0, 100), line("CCC", 100, 100))
    for value, refused in ((at, []), (below, []), (beyond, [key + check])):
        limits = replace(WIDE, **{key: value})  # type: ignore[arg-type]
        assert plan_breaches(plan, limits, traded=20_000, orders=3) == refused


def test_net_counts_longs_less_shorts_either_way() -> None:
    """300 long and 100 short are 20 % net; 300 short and 100 long as well, the other way."""
    limits = replace(WIDE, net_weight_max=D("0.2"))
    assert plan_breaches(plan_of(line("AAA", 0, 300), line("BBB", 0, -100)), limits) == []
    tight = replace(WIDE, net_weight_max=D("0.199"))
    for sign in (1, -1):
        plan = plan_of(line("AAA", 0, 300 * sign), line("BBB", 0, -100 * sign))
        assert plan_breaches(plan, tight) == ["net_weight_max"]


def test_a_cap_that_is_left_out_is_not_asked() -> None:
    """Without a net cap the gross one is what bounds the net."""
    off = replace(WIDE, net_weight_max=None)
    said = {verdict.check for verdict in plan_verdicts(plan_of(line("AAA", 0, 1)), off)}
    assert "net_weight_max" not in said
    assert "gross_weight_max" in said


def test_a_plan_that_lowers_exposure_passes_its_caps() -> None:
    """A book above every cap may shrink, and may shift within what does not grow."""
    tight = replace(WIDE, gross_weight_max=D("0.1"), sector_weight_max=D("0.1"))
    assert plan_breaches(plan_of(line("AAA", 900, 500)), tight) == []
    assert plan_breaches(plan_of(line("AAA", -900, -500)), tight) == []
    shift = plan_of(line("AAA", 500, 400), line("BBB", 0, 100))
    assert plan_breaches(shift, tight) == []
    other = plan_of(line("AAA", 500, 300), line("CCC", 100, 200))
    assert plan_breaches(other, tight) == ["sector_weight_max (Health)"]


def test_what_only_reduces_may_tilt_the_net() -> None:
    """Selling longs beside a short makes the net more negative: a way out is still a way out."""
    tight = replace(WIDE, net_weight_max=D("0.1"))
    assert plan_breaches(plan_of(line("AAA", 300, 0), line("BBB", -300, -300)), tight) == []
    enlarged = plan_of(line("AAA", 300, 0), line("BBB", -300, -301))
    assert plan_breaches(enlarged, tight) == ["net_weight_max"]


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


@pytest.mark.parametrize("side", [1, -1])
def test_holdings_without_a_price_count_against_both_ends_of_the_net(side: int) -> None:
    """Nobody knows whether they are long or short: with 40 % of them, 10 % more make half."""
    plan = plan_of(line("AAA", 0, 100 * side), line("BBB", 5, 5, None), unvalued=40_000)
    assert plan_breaches(plan, replace(WIDE, net_weight_max=D("0.5"))) == []
    assert plan_breaches(plan, replace(WIDE, net_weight_max=D("0.499"))) == ["net_weight_max"]


@pytest.mark.parametrize(("settled", "refused"), [("0", False), (None, True), ("NaN", True)])
def test_settled_cash_must_be_known_where_only_it_may_be_spent(
    settled: str | None, refused: bool
) -> None:
    """A cash account whose settled cash nobody told buys nothing; others do not ask."""
    plan = plan_of(line("AAA", 0, 1))
    cash_account = replace(WIDE, settled_cash_only=True)
    found = names(plan_verdicts(plan, cash_account, settled=settled))
    assert found == (["settled_cash_only"] if refused else [])
    assert names(plan_verdicts(plan, WIDE, settled=settled)) == []


def test_refusals_of_a_plan_tell_weights_and_counts() -> None:
    """Weights have their places, counts none."""
    tight = replace(WIDE, orders_per_run_max=0, gross_weight_max=D("0.1"))
    found = breaches(plan_verdicts(plan_of(line("AAA", 0, 125)), tight))
    told = [str(breach).partition(";")[0] for breach in found]
    assert told == ["orders_per_run_max: 1, allowed 0", "gross_weight_max: 0.125, allowed 0.1"]


def test_an_empty_plan_breaches_nothing() -> None:
    """Nothing to do is always allowed."""
    assert plan_breaches(plan_of(), WIDE) == []
    assert plan_breaches(plan_of(line("AAA", 9, 9), equity="-1"), WIDE) == []


# --- builders gone wrong ------------------------------------------------------------------------


def test_ten_thousand_orders_are_refused_in_one_word() -> None:
    """A builder that has lost its mind is stopped by the number of its orders."""
    known = {f"S{n}": replace(AAA, symbol=f"S{n}") for n in range(10_000)}
    plan = plan_of(*(line(symbol, 0, 1) for symbol in known))
    limits = replace(WIDE, orders_per_run_max=50)
    found = check_plan(
        plan, known, limits, traded_today_usd=D(0), orders_today=0, settled_cash_usd=None
    )
    assert names(found) == ["orders_per_run_max"]
    assert breaches(found)[0].found == 10_000


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (plan_of(line("AAA", 0, 1, "NaN")), {"number", "number (AAA)"}),
        (plan_of(line("AAA", 0, 1, "Infinity")), {"number", "number (AAA)"}),
        (plan_of(line("AAA", 0, 1), equity="NaN"), {"number"}),
        (replace(plan_of(), unvalued_usd=D("NaN")), {"number"}),
        (replace(plan_of(line("AAA", 0, 1)), intents=(buy(0),)), {"number (AAA)"}),
        (replace(plan_of(line("AAA", 0, 1)), intents=(buy(-9),)), {"number (AAA)"}),
        (plan_of(line("ZZZ", 0, 1)), {"universe"}),
        (replace(plan_of(line("BBB", 0, 0)), intents=(buy(1),)), {"universe"}),
        (
            replace(plan_of(line("AAA", 0, 2)), intents=(buy(1), buy(1))),
            {"one_order_per_symbol (AAA)"},
        ),
    ],
)
def test_a_plan_that_cannot_be_measured_is_refused(plan: Plan, told: set[str]) -> None:
    """NaN, infinity, nothing, strangers and repetitions end in a refusal, not in a traceback."""
    assert set(plan_breaches(plan, WIDE)) == told


def test_the_orders_count_not_what_the_lines_say_of_them() -> None:
    """A line that claims to stay flat does not hide the order that does not."""
    lying = replace(plan_of(line("AAA", 0, 0)), intents=(buy(600),))
    found = plan_breaches(lying, replace(WIDE, gross_weight_max=D("0.5")))
    assert found == ["gross_weight_max"]
