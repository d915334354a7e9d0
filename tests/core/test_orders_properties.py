"""Whatever the book, the plan moves towards its targets, in whole lots, with money there is."""

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.core.model import Instrument, Side
from ibloop.core.orders import (
    Intent,
    Plan,
    PlanRules,
    Price,
    build_plan,
    commission_bound_usd,
    limit_price,
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
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE")


def share(symbol: str, *, tick: str = "0.01", lot: str = "1", sector: str = "Any") -> Instrument:
    """Return an instrument whose con_id follows from its symbol."""
    return Instrument(symbol, ord(symbol[0]), symbol, "NYSE", "USD", D(tick), D(lot), sector, None)


@dataclass(frozen=True)
class Case:
    """Everything a plan is made of."""

    weights: dict[str, Decimal]
    held: dict[str, Decimal]
    instruments: dict[str, Instrument]
    prices: dict[str, Price]
    equity_usd: Decimal
    cash_usd: Decimal
    rules: PlanRules

    def plan(self) -> Plan:
        """Return the plan of this case."""
        return build_plan(
            self.weights,
            self.held,
            self.instruments,
            self.prices,
            equity_usd=self.equity_usd,
            cash_usd=self.cash_usd,
            rules=self.rules,
        )


ROWS = st.tuples(
    st.none() | st.integers(-100, 100),  # parts of the weights
    st.none() | st.integers(-300, 3000),  # shares held
    st.none() | st.integers(1, 50_000),  # mid in cents
    st.sampled_from([*["1:0.01"] * 3, "10:0.05", "100:0.0001", "unusable price", "no instrument"]),
)


def case_of(
    rows: list[tuple[int | None, int | None, int | None, str]],
    equity_cents: int,
    cash_cents: int,
    omitted: Omitted,
    rules: tuple[int, str, str],
) -> Case:
    """Return the case that a draw of small numbers stands for."""
    names = dict(zip(SYMBOLS, rows, strict=False))
    total = max(100, sum(abs(part or 0) for part, _, _, _ in rows))
    case = Case({}, {}, {}, {}, D(equity_cents) / 100, D(cash_cents) / 100, RULES)
    for symbol, (part, held, mid_cents, kind) in names.items():
        lot, _, tick = kind.partition(":")
        problem = "it is stale" if kind == "unusable price" else None
        if part is not None:
            case.weights[symbol] = D(part) / total
        if held is not None:
            case.held[symbol] = D(held)
        if kind != "no instrument":
            case.instruments[symbol] = share(symbol, lot=lot, tick=tick) if tick else share(symbol)
        if mid_cents is not None:
            case.prices[symbol] = Price(D(mid_cents) / 100, problem)
        elif held:
            case.prices[symbol] = Price(None, "there is no quote")
    value_min, reserve, collar = rules
    return replace(
        case,
        rules=PlanRules(
            omitted=omitted,
            order_value_usd_min=D(value_min),
            cash_weight_min=D(reserve),
            price_collar_fraction=D(collar),
        ),
    )


CASES = st.builds(
    case_of,
    rows=st.lists(ROWS, min_size=1, max_size=5),
    equity_cents=st.integers(1, 10**8),
    cash_cents=st.integers(-(10**6), 10**8),
    omitted=st.sampled_from(Omitted),
    rules=st.tuples(
        st.sampled_from([0, 100]),
        st.sampled_from(["0", "0.02", "0.5"]),
        st.sampled_from(["0", "0.001", "0.015", "0.1"]),
    ),
)
"""Any book: odd lots, shorts, missing and unusable prices, strangers, no money."""


def usable(case: Case, symbol: str) -> bool:
    """Return whether a symbol may be traded at all."""
    price = case.prices.get(symbol)
    return symbol in case.instruments and price is not None and price.problem is None


def limit_of(case: Case, intent: Intent) -> Decimal:
    """Return the limit price of an intent."""
    collar = case.rules.price_collar_fraction
    return limit_price(intent.side, intent.price, case.instruments[intent.symbol], collar)


many = settings(deadline=None, max_examples=60)


@many
@given(CASES)
def test_every_considered_symbol_has_one_line_that_adds_up(case: Case) -> None:
    """A line a symbol: what is held plus the signed intent is what is planned."""
    plan = case.plan()
    considered = {*case.weights, *(s for s, q in case.held.items() if q)}
    assert [line.symbol for line in plan.lines] == sorted(considered)
    assert len({intent.symbol for intent in plan.intents}) == len(plan.intents)
    moved = {i.symbol: i.side.sign * i.quantity for i in plan.intents}
    for line in plan.lines:
        assert line.baseline_quantity == case.held.get(line.symbol, D(0))
        assert line.planned_quantity == line.baseline_quantity + moved.get(line.symbol, D(0))
        assert line.note


@many
@given(CASES)
def test_orders_are_whole_lots_and_what_reduces_leaves_first(case: Case) -> None:
    """Sells, covers, short sales, buys, in positive whole lots; no order crosses zero."""
    plan = case.plan()
    held = {intent.symbol: case.held.get(intent.symbol, D(0)) for intent in plan.intents}
    waves = [wave(intent.side, held[intent.symbol]) for intent in plan.intents]
    assert waves == sorted(waves)
    for intent in plan.intents:
        assert intent.quantity > 0
        assert intent.quantity % case.instruments[intent.symbol].lot == 0
        after = held[intent.symbol] + intent.side.sign * intent.quantity
        assert after * held[intent.symbol] >= 0


@many
@given(CASES)
def test_nothing_is_sold_short_that_no_weight_asks_for(case: Case) -> None:
    """Without negative weights no position becomes negative, and no short grows."""
    longs = {symbol: abs(weight) for symbol, weight in case.weights.items()}
    for line in replace(case, weights=longs).plan().lines:
        assert line.planned_quantity >= min(line.baseline_quantity, D(0))


@many
@given(CASES)
def test_buying_back_a_short_is_never_cut(case: Case) -> None:
    """The way to zero depends on no money: a poor book covers as much as a rich one."""
    covers = [
        {
            i.symbol: i.quantity
            for i in plan.intents
            if wave(i.side, case.held.get(i.symbol, D(0))) == 1
        }
        for plan in (case.plan(), replace(case, cash_usd=D(10) ** 12).plan())
    ]
    assert covers[0] == covers[1]


@many
@given(CASES)
def test_buys_are_funded_at_their_worst_price(case: Case) -> None:
    """Opening buys at their limits, with all commissions and covers, never exceed the money."""
    plan = case.plan()
    buys = [i for i in plan.intents if i.side is Side.BUY]
    opening = [i for i in buys if case.held.get(i.symbol, D(0)) >= 0]
    sells = [i for i in plan.intents if i.side is Side.SELL]
    spent = sum(
        (i.quantity * limit_of(case, i) + commission_bound_usd(i.quantity) for i in buys), D(0)
    )
    proceeds = sum(
        (i.quantity * limit_of(case, i) - commission_bound_usd(i.quantity) for i in sells), D(0)
    )
    reserve = case.rules.cash_weight_min * case.equity_usd
    if opening:
        assert spent <= case.cash_usd + proceeds - reserve


@many
@given(CASES)
def test_a_plan_never_moves_away_from_the_target(case: Case) -> None:
    """What is planned lies between what is held and the exact target."""
    for line in case.plan().lines:
        if not usable(case, line.symbol):
            continue
        if line.weight is None and case.rules.omitted is Omitted.KEEP:
            continue
        assert line.price is not None
        wanted = Fraction(line.weight or 0) * Fraction(case.equity_usd) / Fraction(line.price)
        held, planned = Fraction(line.baseline_quantity), Fraction(line.planned_quantity)
        assert min(held, wanted) <= planned <= max(held, wanted)


@many
@given(CASES)
def test_nothing_is_traded_without_a_price_or_outside_the_universe(case: Case) -> None:
    """A name without a usable price or instrument keeps its holding and gets no intent."""
    plan = case.plan()
    assert all(usable(case, intent.symbol) for intent in plan.intents)
    for line in plan.lines:
        if not usable(case, line.symbol):
            assert line.planned_quantity == line.baseline_quantity
    for wish in plan.unpriced:
        assert wish.symbol in case.instruments
        assert wish.quantity in {D(0), abs(case.held.get(wish.symbol, D(0)))}


@many
@given(CASES)
def test_the_plan_does_not_depend_on_the_order_of_its_inputs(case: Case) -> None:
    """The same book gives the same plan, however its parts were listed."""
    backwards = replace(
        case,
        weights=dict(reversed(case.weights.items())),
        held=dict(reversed(case.held.items())),
        instruments=dict(reversed(case.instruments.items())),
        prices=dict(reversed(case.prices.items())),
    )
    assert backwards.plan() == case.plan()


@many
@given(CASES)
def test_a_reached_plan_orders_nothing_more(case: Case) -> None:
    """Asked again with what was planned in hand and the cash budget out of the way: silence.

    Where a position changes sides that is after a second plan.
    """
    rich = replace(case, cash_usd=D(10) ** 12)
    half = {line.symbol: line.planned_quantity for line in rich.plan().lines}
    reached = {line.symbol: line.planned_quantity for line in replace(rich, held=half).plan().lines}
    assert replace(rich, held=reached).plan().intents == ()


@many
@given(
    side=st.sampled_from(Side),
    cents=st.integers(1, 10**7),
    tick=st.sampled_from(["0.0001", "0.01", "0.05", "0.25"]),
    collar=st.sampled_from(["0", "0.001", "0.015", "0.2"]),
)
def test_limit_prices_are_on_tick_and_inside_the_collar(
    side: Side, cents: int, tick: str, collar: str
) -> None:
    """A buy never pays more than the collar, a sell never takes less; both are whole ticks."""
    middle = D(cents) / 100
    price = limit_price(side, middle, share("AAA", tick=tick), D(collar))
    assert price % D(tick) == 0
    edge = middle * (1 + side.sign * D(collar))
    assert price <= edge if side is Side.BUY else price >= edge
    assert abs(edge - price) < D(tick)
