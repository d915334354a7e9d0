"""The plan moves the book towards the targets and never further than money and rules allow."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from ibloop.core.invariant import InvariantError
from ibloop.core.model import Instrument, Side
from ibloop.core.orders import (
    Intent,
    Plan,
    PlanLine,
    PlanRules,
    Price,
    build_plan,
    commission_bound_usd,
    wave,
)
from ibloop.core.snapshot import Omitted

D = Decimal
RULES = PlanRules(
    omitted=Omitted.SELL,
    order_value_usd_min=D(0),
    cash_weight_min=D("0.02"),
    price_collar_fraction=D("0.01"),
)
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF")


def share(symbol: str, *, tick: str = "0.01", lot: str = "1", sector: str = "Any") -> Instrument:
    """Return an instrument whose con_id follows from its symbol."""
    return Instrument(symbol, ord(symbol[0]), symbol, "NYSE", "USD", D(tick), D(lot), sector, None)


def priced(**prices: str) -> dict[str, Price]:
    """Return usable prices by symbol."""
    return {symbol: Price(D(mid), None) for symbol, mid in prices.items()}


def shares(**quantities: int) -> dict[str, Decimal]:
    """Return holdings by symbol."""
    return {symbol: D(quantity) for symbol, quantity in quantities.items()}


def weights(**fractions: str) -> dict[str, Decimal]:
    """Return target weights by symbol."""
    return {symbol: D(fraction) for symbol, fraction in fractions.items()}


def plan_of(
    wanted: Mapping[str, Decimal],
    held: Mapping[str, Decimal],
    prices: Mapping[str, Price],
    *,
    equity: int = 100_000,
    cash: int = 100_000,
    rules: PlanRules = RULES,
    instruments: Mapping[str, Instrument] | None = None,
) -> Plan:
    """Return the plan for a small book of one-share lots."""
    known = {s: share(s) for s in SYMBOLS} if instruments is None else instruments
    return build_plan(
        wanted, held, known, prices, equity_usd=D(equity), cash_usd=D(cash), rules=rules
    )


def line_of(plan: Plan, symbol: str) -> PlanLine:
    """Return the one line of a symbol."""
    (line,) = (line for line in plan.lines if line.symbol == symbol)
    return line


def test_a_book_is_bought_from_cash() -> None:
    """Weights times equity over the mid, rounded down, smallest order first."""
    plan = plan_of(weights(AAA="0.5", BBB="0.1"), {}, priced(AAA="33", BBB="10"))
    assert plan.intents == (
        Intent("BBB", 66, Side.BUY, D(1000), D(10)),
        Intent("AAA", 65, Side.BUY, D(1515), D(33)),
    )
    assert line_of(plan, "AAA").target_quantity == D(1515)
    assert line_of(plan, "AAA").note == "buy"


def test_a_book_on_target_orders_nothing() -> None:
    """No intent, no rejected wish, and each line says so."""
    plan = plan_of(weights(AAA="0.5"), shares(AAA=500), priced(AAA="100"))
    assert (plan.intents, plan.unpriced) == ((), ())
    assert line_of(plan, "AAA").note == "on target"


@pytest.mark.parametrize(("held", "planned"), [(199, 199), (201, 201), (299, 299), (300, 200)])
def test_less_than_a_lot_above_the_target_is_left_alone(held: int, planned: int) -> None:
    """With lots of 100 and 200 wanted, only whole lots in excess are sold."""
    lots = {"AAA": share("AAA", lot="100")}
    plan = plan_of(weights(AAA="0.2"), shares(AAA=held), priced(AAA="100"), instruments=lots)
    assert line_of(plan, "AAA").planned_quantity == planned


def test_money_for_buys_counts_sells_reserve_and_commissions() -> None:
    """Without cash, buys get what the sells bring at their worst, less reserve and fees."""
    plan = plan_of(weights(BBB="1"), shares(AAA=1000), priced(AAA="100", BBB="1"), cash=0)
    sell, buy = plan.intents
    assert (sell.side, sell.quantity) == (Side.SELL, D(1000))
    # 1000 * 99 less 5 of commission, 2000 of reserve and 500 for the buy, at 1.01 a share
    assert buy.quantity == D(96_495) // D("1.01")
    assert line_of(plan, "BBB").note == "buy, cut from 100000 by the cash budget"


def test_minimum_commissions_do_not_shrink_with_the_orders() -> None:
    """Many small buys on a short budget still leave a dollar of commission each."""
    wanted = {s: D("0.16") for s in SYMBOLS}
    plan = plan_of(wanted, {}, priced(**dict.fromkeys(SYMBOLS, "1")), equity=100, cash=60)
    spent = sum(i.quantity * D("1.01") + commission_bound_usd(i.quantity) for i in plan.intents)
    assert plan.intents
    assert spent <= 58


@pytest.mark.parametrize("cash", [-10, 0, 5])
def test_without_money_nothing_is_bought(cash: int) -> None:
    """An empty or overdrawn account buys nothing and its lines say why."""
    plan = plan_of(weights(AAA="1"), {}, priced(AAA="3"), equity=1000, cash=cash)
    assert plan.intents == ()
    assert line_of(plan, "AAA").note == "buy, cut from 333 by the cash budget"


def test_what_the_budget_makes_too_small_is_not_bought() -> None:
    """A buy that shrank below the smallest worthwhile order is left out."""
    rules = replace(RULES, order_value_usd_min=D(100), cash_weight_min=D(0))
    plan = plan_of(weights(AAA="0.5"), {}, priced(AAA="10"), equity=1000, cash=90, rules=rules)
    assert plan.intents == ()


@pytest.mark.parametrize(
    ("held", "wanted", "ordered"),
    [(0, "0.00099", 0), (0, "0.001", 50), (50, "0", 50), (100, "0.00101", 0)],
)
def test_small_changes_are_left_undone_unless_they_close(
    held: int, wanted: str, ordered: int
) -> None:
    """Below the smallest value nothing is ordered, except what ends a position."""
    rules = replace(RULES, order_value_usd_min=D(100))
    plan = plan_of(weights(AAA=wanted), shares(AAA=held), priced(AAA="2"), rules=rules)
    assert sum(i.quantity for i in plan.intents) == ordered
    if not ordered:
        assert line_of(plan, "AAA").note.startswith("too small: ")


def test_a_tiny_position_is_closed() -> None:
    """A position below the smallest order value can still be left."""
    rules = replace(RULES, order_value_usd_min=D(100))
    (intent,) = plan_of({}, shares(AAA=3), priced(AAA="1"), rules=rules).intents
    assert (intent.side, intent.quantity) == (Side.SELL, D(3))


def test_a_part_of_a_tiny_position_is_not_sold() -> None:
    """What cannot be closed in whole lots is no reason for a small order."""
    rules, lots = replace(RULES, order_value_usd_min=D(100)), {"AAA": share("AAA", lot="100")}
    plan = plan_of({}, shares(AAA=150), priced(AAA="0.5"), rules=rules, instruments=lots)
    assert plan.intents == ()


def test_omitted_holdings_are_sold_or_kept_as_told() -> None:
    """``sell`` leaves a holding the targets do not name, ``keep`` does not look at it."""
    held, prices = shares(AAA=10), priced(AAA="100")
    assert [i.side for i in plan_of({}, held, prices).intents] == [Side.SELL]
    kept = plan_of({}, held, {}, rules=replace(RULES, omitted=Omitted.KEEP))
    assert (kept.intents, kept.unpriced) == ((), ())
    assert line_of(kept, "AAA").note == "not named by the targets: kept"


def test_a_short_position_is_bought_back() -> None:
    """Whatever made a short, the way to any target is a buy."""
    plan = plan_of(weights(AAA="0"), shares(AAA=-40), priced(AAA="100"))
    assert plan.intents == (Intent("AAA", 65, Side.BUY, D(40), D(100)),)


@pytest.mark.parametrize(
    ("weight", "held", "side", "first"),
    [("0.01", -40, Side.BUY, "buy"), ("-0.01", 40, Side.SELL, "sell")],
)
def test_no_order_crosses_zero(weight: str, held: int, side: Side, first: str) -> None:
    """From short to long, or back, the position is closed; a later plan opens the other side."""
    plan = plan_of(weights(AAA=weight), shares(AAA=held), priced(AAA="100"))
    assert [(i.side, i.quantity) for i in plan.intents] == [(side, D(40))]
    line = line_of(plan, "AAA")
    target = D(10) * side.sign
    assert (line.planned_quantity, line.target_quantity) == (0, target)
    assert line.note == f"{first} to zero first; {target} is for a later plan"
    then = plan_of(weights(AAA=weight), {}, priced(AAA="100"))
    assert [(i.side, i.quantity) for i in then.intents] == [(side, D(10))]


def test_less_than_a_lot_to_zero_is_left_alone() -> None:
    """What cannot be closed in whole lots is not crossed either."""
    hundreds = {"AAA": share("AAA", lot="100")}
    plan = plan_of(weights(AAA="-0.5"), shares(AAA=30), priced(AAA="10"), instruments=hundreds)
    assert plan.intents == ()
    assert line_of(plan, "AAA").note == "less than a lot to zero"


def test_what_reduces_leaves_before_what_opens() -> None:
    """Sells of what is held, covers, short sales, buys: each wave makes room for the next."""
    held = shares(AAA=50, BBB=-50)
    wanted = weights(AAA="0", BBB="0", CCC="-0.05", DDD="0.05")
    plan = plan_of(wanted, held, priced(AAA="100", BBB="100", CCC="100", DDD="100"))
    assert [(i.symbol, i.side) for i in plan.intents] == [
        ("AAA", Side.SELL),
        ("BBB", Side.BUY),
        ("CCC", Side.SELL),
        ("DDD", Side.BUY),
    ]
    waves = [wave(i.side, held.get(i.symbol, D(0))) for i in plan.intents]
    assert waves == [0, 1, 2, 3]


def test_buying_back_is_paid_first_and_never_cut() -> None:
    """Without money the short is covered all the same, and nothing is bought beside it."""
    plan = plan_of(
        weights(AAA="0", BBB="0.5"), shares(AAA=-100), priced(AAA="100", BBB="100"), cash=0
    )
    assert [(i.symbol, i.quantity) for i in plan.intents] == [("AAA", D(100))]


def test_what_covers_cost_is_not_spent_twice() -> None:
    """20,000 of cash less the cover at its limit, two commissions and the reserve buys the rest."""
    plan = plan_of(
        weights(AAA="0", BBB="0.5"),
        shares(AAA=-100),
        priced(AAA="100", BBB="100"),
        cash=20_000,
    )
    left = D(20_000) - (100 * D(101) + 1) - 2000 - 1
    assert [(i.symbol, i.quantity) for i in plan.intents] == [
        ("AAA", D(100)),
        ("BBB", left // D(101)),
    ]


def test_a_name_outside_the_universe_is_left_alone() -> None:
    """It is neither sold nor bought nor a rejected order, whatever its price."""
    plan = plan_of({}, shares(ZZZ=7), priced(ZZZ="5"))
    assert (plan.intents, plan.unpriced) == ((), ())
    assert line_of(plan, "ZZZ").note == "not in the universe: left alone"


def test_an_unusable_price_makes_a_wish_not_a_guess() -> None:
    """Leaving needs no price to be sized; building has no size, even where a stale mid exists."""
    stale = {"AAA": Price(D(10), "the quote is stale"), "CCC": Price(None, "there is no quote")}
    wanted = weights(AAA="0.5", CCC="0", EEE="0.1")
    plan = plan_of(wanted, shares(CCC=5, DDD=-6, EEE=8), stale)
    assert plan.intents == ()
    assert [(u.symbol, u.side, u.quantity) for u in plan.unpriced] == [
        ("AAA", Side.BUY, D(0)),
        ("CCC", Side.SELL, D(5)),
        ("DDD", Side.BUY, D(6)),
        ("EEE", Side.BUY, D(0)),
    ]
    assert plan.unpriced[0].reason == "no usable price: the quote is stale"
    assert line_of(plan, "AAA").target_quantity is None


def test_wanting_nothing_of_what_is_not_held_needs_no_price() -> None:
    """A weight of zero for a name nobody holds is on target: no order is refused for it."""
    plan = plan_of(weights(AAA="0"), {}, {})
    assert (plan.intents, plan.unpriced) == ((), ())
    assert line_of(plan, "AAA").note == "on target"


def test_holdings_without_a_price_are_worth_what_the_others_do_not_explain() -> None:
    """100 of equity, 20 in cash, 50 in AAA: what has no price is worth the remaining 30."""
    held = shares(AAA=5, BBB=7, ZZZ=1)
    plan = plan_of({}, held, priced(AAA="10"), equity=100, cash=20)
    assert plan.unvalued_usd == 30
    assert plan_of({}, shares(AAA=5), priced(AAA="10"), equity=100, cash=0).unvalued_usd == 0
    assert plan_of({}, shares(BBB=-5), {}, equity=100, cash=140).unvalued_usd == 40


@pytest.mark.parametrize("equity", [0, -1])
def test_no_plan_without_positive_equity(equity: int) -> None:
    """Weights of nothing mean nothing: that is an error of the caller."""
    with pytest.raises(InvariantError, match="not positive"):
        plan_of({}, {}, {}, equity=equity)


@pytest.mark.parametrize(("quantity", "bound"), [(1, "1"), (200, "1"), (201, "1.005"), (1000, "5")])
def test_commission_bound(quantity: int, bound: str) -> None:
    """Half a cent a share, at least a dollar."""
    assert commission_bound_usd(D(quantity)) == D(bound)


@pytest.mark.parametrize(
    ("wanted", "held", "target", "planned", "note"),
    [
        ("0.146", 20, 14, 15, "sell, the change of 5.40 rounded down to whole lots"),
        ("0.146", 15, 14, 15, "on target: 14.60 is less than a lot away"),
        ("0.146", 0, 14, 14, "buy"),
        ("0.14", 20, 14, 14, "sell"),
        ("0.0001", 1, 0, 1, "on target: 0.01 is less than a lot away"),
    ],
)
def test_a_line_says_why_plan_and_target_differ(
    wanted: str, held: int, target: int, planned: int, note: str
) -> None:
    """Whoever reads 14 and 15 in one line reads the reason beside them."""
    plan = plan_of(weights(AAA=wanted), shares(AAA=held), priced(AAA="1"), equity=100, cash=100)
    line = line_of(plan, "AAA")
    assert (line.target_quantity, line.planned_quantity, line.note) == (target, planned, note)
