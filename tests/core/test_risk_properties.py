"""Whatever a builder asks for and whatever part of it is executed: no limit is ever exceeded.

The executor of this test is mad: it sends any order of the plan at any time and as often as it
likes, and the market fills any part of any of them. All that stands between it and a broken limit
is what the checks say. The book is added up anew at each step, without the code under test.
"""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import ibloop.core.risk.send as module
from ibloop.core.model import ZERO, Instrument, Side
from ibloop.core.orders import Intent, Plan, PlanLine
from ibloop.core.risk import (
    Holding,
    Limits,
    SendContext,
    Verdict,
    breaches,
    check_order,
    check_plan,
    check_quote,
    check_send,
    exposure_of,
)
from tests.fakes.risk_cases import AAA, NOW, QUOTE, QUOTE_LIMITS, RECEIVED, WIDE

D = Decimal
EQUITY = D(100_000)
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
SECTORS = dict(zip(SYMBOLS, ("Energy", "Energy", "Health", "Health"), strict=True))
COLLAR = D("0.02")
LIMITS = replace(
    *(WIDE,),
    order_value_usd_max=D(30_000),
    position_weight_max=D("0.3"),
    sector_weight_max=D("0.45"),
    gross_weight_max=D("0.8"),
    net_weight_max=D("0.7"),
    day_turnover_weight_max=D("1.5"),
    cash_weight_min=D("0.1"),
    price_collar_fraction=COLLAR,
    orders_per_run_max=4,
)


@dataclass(slots=True)
class Working:
    """An order at the broker."""

    intent: Intent
    limit: Decimal
    remaining: Decimal


@dataclass(slots=True)
class World:
    """What is true: shares, cash, orders at work; and what was sent."""

    prices: dict[str, Decimal]
    held: dict[str, Decimal]
    cash: Decimal
    limits: Limits
    working: list[Working] = field(default_factory=list)
    sent_usd: Decimal = ZERO
    executed_usd: Decimal = ZERO
    count: int = 0

    def holding(self, symbol: str) -> Holding:
        """Return a symbol's shares with what still works."""
        mine = [w for w in self.working if w.intent.symbol == symbol]
        buying = sum((w.remaining for w in mine if w.intent.side is Side.BUY), D(0))
        selling = sum((w.remaining for w in mine if w.intent.side is Side.SELL), D(0))
        price, held = self.prices[symbol], self.held[symbol]
        return Holding(symbol, SECTORS[symbol], held, price, buying, selling)

    def instrument(self, symbol: str) -> Instrument:
        """Return the instrument."""
        return replace(AAA, symbol=symbol, con_id=1, sector=SECTORS[symbol])

    def send(self, intent: Intent, start: "World") -> tuple[Verdict, ...]:
        """Ask the checks about an order and let it work if they let it."""
        price = self.prices[intent.symbol]
        limit = price * (1 + intent.side.sign * COLLAR)
        quote = replace(QUOTE, symbol=intent.symbol, bid=price, ask=price, close=price)
        reserved = sum(
            (w.remaining * w.limit + max(D(1), w.remaining / 200) for w in self.working
             if w.intent.side is Side.BUY),
            D(0),
        )  # fmt: skip
        context = SendContext(
            now=NOW,
            halt=None,
            equity_usd=EQUITY,
            planned_equity_usd=EQUITY,
            account_age_s=0.0,
            holding=self.holding(intent.symbol),
            exposure=exposure_of([self.holding(s) for s in SYMBOLS], D(0)),
            baseline=exposure_of([start.holding(s) for s in SYMBOLS], D(0)),
            cash_usd=self.cash - reserved,
            orders_today=self.count,
            orders_this_run=self.count,
            traded_today_usd=self.sent_usd,
            quote=quote,
            quote_verdicts=check_quote(quote, 1, RECEIVED, QUOTE_LIMITS),
        )
        said = check_send(intent, self.instrument(intent.symbol), limit, context, self.limits)
        if not breaches(said):
            self.working.append(Working(intent, limit, intent.quantity))
            self.sent_usd += intent.quantity * limit
            self.count += 1
        return said

    def fill(self, number: int, percent: int) -> None:
        """Execute part of an order at its limit, the worst price there is."""
        order = self.working[number % len(self.working)]
        shares = (order.remaining * percent / 100).to_integral_value()
        sign = order.intent.side.sign
        self.held[order.intent.symbol] += sign * shares
        self.cash -= sign * shares * order.limit
        self.executed_usd += shares * order.limit
        order.remaining -= shares
        if not order.remaining:
            self.working.remove(order)

    def cancel(self, number: int) -> None:
        """End an order."""
        self.working.pop(number % len(self.working))

    def value(self, symbol: str) -> Decimal:
        """Return what a holding is worth, with its sign."""
        return self.held[symbol] * self.prices[symbol]


def within(now: Decimal, before: Decimal, cap: Decimal) -> bool:
    """Return whether a figure keeps its cap, or at least what it was."""
    return now <= max(before, cap * EQUITY)


def broken(world: World, start: World) -> list[str]:
    """Return the limits that the book breaks, added up anew."""
    limits, found = world.limits, []
    sizes = {s: abs(world.value(s)) for s in SYMBOLS}
    then = {s: abs(start.value(s)) for s in SYMBOLS}
    if not all(within(sizes[s], then[s], limits.position_weight_max) for s in SYMBOLS):
        found.append("position")
    if not within(sum(sizes.values()), sum(then.values()), limits.gross_weight_max):
        found.append("gross")
    for sector in set(SECTORS.values()):
        mine = [s for s in SYMBOLS if SECTORS[s] == sector]
        now, before = sum(sizes[s] for s in mine), sum(then[s] for s in mine)
        if not within(D(now), D(before), limits.sector_weight_max):
            found.append(f"sector {sector}")
    if world.executed_usd > limits.day_turnover_weight_max * EQUITY:
        found.append("turnover")
    if world.count > limits.orders_per_run_max:
        found.append("orders")
    if not limits.short_allowed:
        net, before = sum(map(world.value, SYMBOLS)), sum(map(start.value, SYMBOLS))
        assert limits.net_weight_max is not None
        if not within(D(net), D(before), limits.net_weight_max):
            found.append("net")
        if world.cash < min(start.cash, limits.cash_weight_min * EQUITY):
            found.append("cash")
        if any(shares < min(0, start.held[s]) for s, shares in world.held.items()):
            found.append("short")
    return found


@dataclass(frozen=True, slots=True)
class Case:
    """A book, a wish for each symbol, and what happens."""

    prices: tuple[int, ...]
    held: tuple[int, ...]
    wishes: tuple[int, ...]
    cash: int
    events: tuple[tuple[str, int, int], ...]
    short_allowed: bool

    def world(self) -> World:
        """Return the book before anything happens."""
        return World(
            {s: D(p) for s, p in zip(SYMBOLS, self.prices, strict=True)},
            {
                s: D(h if self.short_allowed else abs(h))
                for s, h in zip(SYMBOLS, self.held, strict=True)
            },
            D(self.cash),
            replace(LIMITS, short_allowed=self.short_allowed),
        )

    def intents(self) -> list[Intent]:
        """Return the wishes as orders."""
        return [
            Intent(s, 1, Side.BUY if w > 0 else Side.SELL, D(abs(w)), D(p))
            for s, w, p in zip(SYMBOLS, self.wishes, self.prices, strict=True)
            if w
        ]

    def plan(self) -> Plan:
        """Return them as a plan."""
        lines = [
            PlanLine(s, 1, None, h, None, h + w, D(p), None, "")
            for (s, h), w, p in zip(
                self.world().held.items(), self.wishes, self.prices, strict=True
            )
        ]
        return Plan(EQUITY, tuple(lines), tuple(self.intents()), ())

    def violations(self) -> list[str]:
        """Let it all happen; return the first broken limits, with the event that broke them."""
        world, start, intents = self.world(), self.world(), self.intents()
        for kind, number, percent in self.events:
            if kind == "send" and intents:
                world.send(intents[number % len(intents)], start)
            elif kind == "fill" and world.working:
                world.fill(number, percent)
            elif kind == "cancel" and world.working:
                world.cancel(number)
            if found := broken(world, start):
                return [f"after {kind}: {what}" for what in found]
        return []


FOUR = 4
CASES = st.builds(
    Case,
    prices=st.tuples(*[st.integers(20, 200)] * FOUR),
    held=st.tuples(*[st.integers(-200, 300)] * FOUR),
    wishes=st.tuples(*[st.integers(-400, 600)] * FOUR),
    cash=st.integers(-10_000, 90_000),
    events=st.lists(
        st.tuples(
            st.sampled_from(["send", "send", "fill", "fill", "cancel"]),
            st.integers(0, 7),
            st.sampled_from([1, 30, 50, 100, 100]),
        ),
        max_size=25,
    ).map(tuple),
    short_allowed=st.booleans(),
)


@settings(deadline=None, max_examples=300)
@given(CASES)
def test_no_partial_execution_of_any_subset_breaks_a_limit(case: Case) -> None:
    """Position, gross, net, sector, turnover, cash, number: at every instant, in any order."""
    assert case.violations() == []


@settings(deadline=None, max_examples=200)
@given(CASES, st.lists(st.integers(0, 100), min_size=FOUR, max_size=FOUR))
def test_a_plan_that_passes_keeps_its_limits_however_much_is_filled(
    case: Case, percents: list[int]
) -> None:
    """Position, turnover and number bind already when planned; the rest where raised by all."""
    world, limits = case.world(), case.world().limits
    allowed = [
        intent
        for intent in case.intents()
        if not breaches(
            check_order(
                intent,
                world.instrument(intent.symbol),
                equity_usd=EQUITY,
                held=world.held[intent.symbol],
                limits=limits,
            )
        )
    ]
    plan = replace(case.plan(), intents=tuple(allowed))
    known = {s: world.instrument(s) for s in SYMBOLS}
    said = check_plan(
        plan, known, limits, traded_today_usd=D(0), orders_today=0, settled_cash_usd=None
    )
    if breaches(said):
        return
    start = case.world()
    for intent, percent in zip(allowed, percents, strict=False):
        shares = (intent.quantity * percent / 100).to_integral_value()
        world.held[intent.symbol] += intent.side.sign * shares
        world.executed_usd += shares * intent.price
    found = broken(world, start)
    assert not {"position", "turnover", "orders", "short"} & {*found}
    if all(p == 100 for p in percents):
        adds = any(abs(world.held[s]) > abs(start.held[s]) for s in SYMBOLS)
        assert not adds or not {"gross", "net", "sector Energy", "sector Health"} & {*found}


@pytest.mark.parametrize(
    ("without", "told"),
    [("_caps", "sector"), ("_cash", "cash"), ("_counts", "orders"), ("check_order", "position")],
)
def test_each_check_is_needed(monkeypatch: pytest.MonkeyPatch, without: str, told: str) -> None:
    """Taken out, a check is missed: the invariants above can tell, and a case is soon found."""
    monkeypatch.setattr(module, without, lambda *_, **__: ())
    searched = settings(max_examples=5_000, deadline=None, database=None, phases=[Phase.generate])
    found = find(
        CASES,
        lambda case: told in "".join(case.violations()),
        settings=searched,
        random=Random(7),
    )
    assert found.violations()
