"""The checks of a whole plan, before its first order: counts, turnover, the book it leads to."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal

from ibloop.core.model import ZERO, Instrument
from ibloop.core.orders import Plan, PlanLine
from ibloop.core.risk.exposure import Exposure, Holding, exposure_of
from ibloop.core.risk.halts import reduces
from ibloop.core.risk.limits import Limits
from ibloop.core.risk.order import weight
from ibloop.core.risk.verdict import Verdict, at_most


def check_plan(
    plan: Plan,
    instruments: Mapping[str, Instrument],
    limits: Limits,
    *,
    traded_today_usd: Decimal,
    orders_today: int,
    settled_cash_usd: Decimal | None,
) -> tuple[Verdict, ...]:
    """Return what every check says of a plan.

    Turnover counts buys and sells at the planned price. Weights are of the book as its orders
    would leave it, all filled; on the way there every send is checked by itself. Caps on exposure
    bind only where the plan raises that exposure. ``settled_cash_usd`` is the broker's figure.
    """
    if broken := tuple(_broken(plan, instruments)):
        return broken
    equity = plan.equity_usd
    turnover_usd = sum((i.quantity * i.price for i in plan.intents), ZERO)
    day_usd = turnover_usd + traded_today_usd
    count = len(plan.intents)
    found = [
        at_most("orders_per_run_max", Decimal(count), limits.orders_per_run_max),
        at_most("orders_per_day_max", Decimal(count + orders_today), limits.orders_per_day_max),
    ]
    if plan.intents:
        turnover, day = weight(turnover_usd, equity), weight(day_usd, equity)
        found.append(at_most("plan_turnover_weight_max", turnover, limits.plan_turnover_weight_max))
        found.append(at_most("day_turnover_weight_max", day, limits.day_turnover_weight_max))
    if limits.settled_cash_only:
        known = settled_cash_usd is not None and settled_cash_usd.is_finite()
        found.append(Verdict("settled_cash_only", settled_cash_usd, "a known amount", known))
    return (*found, *_exposures(plan, instruments, limits))


def holdings_of(
    lines: Iterable[PlanLine], instruments: Mapping[str, Instrument]
) -> dict[str, Holding]:
    """Return what was held of each symbol when the plan was made, at the plan's prices."""
    return {
        line.symbol: Holding(
            line.symbol,
            instruments[line.symbol].sector if line.symbol in instruments else None,
            line.baseline_quantity,
            line.price,
        )
        for line in lines
    }


def _broken(plan: Plan, instruments: Mapping[str, Instrument]) -> Iterator[Verdict]:
    """Yield why a plan cannot even be measured: it came from a builder gone wrong."""
    numbers = [plan.equity_usd, plan.unvalued_usd]
    numbers += [line.baseline_quantity for line in plan.lines]
    numbers += [line.price for line in plan.lines if line.price is not None]
    if not all(number.is_finite() for number in numbers):
        told = "a figure of the book is NaN or infinite"
        yield Verdict("number", told, "positive, finite numbers", passed=False)
    symbols = {line.symbol for line in plan.lines}
    seen: set[str] = set()
    for intent in plan.intents:
        amounts = (intent.quantity, intent.price)
        if not all(n.is_finite() and n > 0 for n in amounts):
            told = f"{intent.quantity} shares at {intent.price}"
            yield Verdict("number", told, "positive, finite numbers", False, intent.symbol)
        if intent.symbol not in instruments or intent.symbol not in symbols:
            yield Verdict("universe", intent.symbol, "what the plan and the universe name", False)
        if intent.symbol in seen:
            yield Verdict("one_order_per_symbol", "ordered twice", "once", False, intent.symbol)
        seen.add(intent.symbol)


def _exposures(
    plan: Plan, instruments: Mapping[str, Instrument], limits: Limits
) -> Iterator[Verdict]:
    holdings = holdings_of(plan.lines, instruments)
    before = exposure_of(holdings.values(), plan.unvalued_usd)
    adds = False
    for intent in plan.intents:
        one = holdings[intent.symbol]
        adds |= not reduces(intent.side, intent.quantity, one.held)
        moved = one.held + intent.side.sign * intent.quantity
        holdings[intent.symbol] = replace(one, held=moved, price_usd=one.price_usd or intent.price)
    after = exposure_of(holdings.values(), plan.unvalued_usd)
    yield from cap_verdicts(before, after, plan.equity_usd, limits, after.sectors_usd, adds=adds)


def cap_verdicts(
    before: Exposure,
    after: Exposure,
    equity_usd: Decimal,
    limits: Limits,
    sectors: Iterable[str],
    *,
    adds: bool,
) -> Iterator[Verdict]:
    """Yield what the caps on exposure say of the way from ``before`` to ``after``.

    A cap refuses what ends above it and above ``before``: a book that the market has carried over
    a cap may shrink and shift. ``adds`` is whether anything on the way opens or enlarges a
    position: what only reduces passes whatever it does to the net.
    """
    figures = [("gross_weight_max", "", before.gross_usd, after.gross_usd, limits.gross_weight_max)]
    if limits.net_weight_max is not None:
        net = (before.net_usd, after.net_usd, limits.net_weight_max)
        figures.append(("net_weight_max", "", *net))
    for name in sectors:
        then, now = before.sectors_usd.get(name, ZERO), after.sectors_usd.get(name, ZERO)
        figures.append(("sector_weight_max", name, then, now, limits.sector_weight_max))
    for check, subject, then, now, cap in figures:
        found = weight(now, equity_usd)
        passed = not adds or now <= then or found <= cap
        yield Verdict(check, found, cap, passed, subject)
