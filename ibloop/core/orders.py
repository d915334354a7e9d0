"""OrderBuilder: targets minus positions gives intents, sells first, whole lots, funded by cash.

Sizing uses the mid, funding the limit price: the worst a fill can cost. Quantities are rounded
towards doing less. Every symbol considered gets a line that says why it trades or why it does not.

No order crosses zero: from long to short, or back, a position is closed first, and the other side
is opened by a later plan. So each order either reduces or opens, and what reduces is held back
neither by the caps, nor by a reduce-only halt, nor by shares that cannot be borrowed.
Source: SEC Regulation SHO, rule 200(g): a sale is marked long or short as a whole.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from ibloop.core.invariant import invariant, present
from ibloop.core.model import ZERO, Instrument, Side
from ibloop.core.snapshot import Omitted


@dataclass(frozen=True, slots=True)
class Intent:
    """An order that is wanted: ``price`` is the mid it was sized with, USD a share."""

    symbol: str
    con_id: int
    side: Side
    quantity: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class PlanLine:
    """Why one symbol trades or not.

    ``weight`` is ``None`` when the targets do not name the symbol, ``target_quantity`` when it
    could not be sized. ``planned_quantity`` is what we hold if every order fills.
    """

    symbol: str
    con_id: int
    weight: Decimal | None
    baseline_quantity: Decimal
    target_quantity: Decimal | None
    planned_quantity: Decimal
    price: Decimal | None
    quote_source: str | None
    note: str


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A wanted trade whose price cannot be used: it becomes a rejected order, not a guess.

    ``quantity`` is zero where it could not be sized without a price.
    """

    symbol: str
    con_id: int
    side: Side
    quantity: Decimal
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run wants to do; ``intents`` in the order in which they are to be sent.

    ``unvalued_usd`` is what holdings without any price are worth, by the broker's equity and cash:
    a missing price must not make the book look smaller than it is.
    """

    equity_usd: Decimal
    lines: tuple[PlanLine, ...]
    intents: tuple[Intent, ...]
    unpriced: tuple[Unpriced, ...]
    unvalued_usd: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRules:
    """How a plan is made: what to do with unnamed holdings, what is too small to bother."""

    omitted: Omitted
    order_value_usd_min: Decimal
    cash_weight_min: Decimal
    price_collar_fraction: Decimal


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one symbol for this plan and its source, or why there is none."""

    mid: Decimal | None
    problem: str | None
    source: str | None = None


def build_plan(
    weights: Mapping[str, Decimal],
    positions: Mapping[str, Decimal],
    instruments: Mapping[str, Instrument],
    prices: Mapping[str, Price],
    *,
    equity_usd: Decimal,
    cash_usd: Decimal,
    rules: PlanRules,
    settled_cash_usd: Decimal | None = None,
) -> Plan:
    """Return the plan that turns ``positions`` into ``weights`` of ``equity_usd``.

    Args: weights are fractions of 1 by symbol; positions in shares by symbol (negative = short);
    cash is what is there now, before any sell. Where ``settled_cash_usd`` is given, buys are paid
    from no more than that, and sells do not pay for them.
    Raises: InvariantError unless equity is positive (the gates have seen to it).
    """
    invariant(equity_usd > 0, f"equity {equity_usd} is not positive")
    lines: list[PlanLine] = []
    wanted: list[Intent] = []
    unpriced: list[Unpriced] = []
    for symbol in sorted({*weights, *(s for s, q in positions.items() if q)}):
        held = positions.get(symbol, ZERO)
        line = _line(
            symbol,
            weights.get(symbol),
            held,
            instruments,
            prices,
            equity_usd=equity_usd,
            rules=rules,
        )
        lines.append(line)
        if line.target_quantity is None and line.note.startswith(NO_PRICE):
            unpriced.append(_unpriced(line, weights.get(symbol)))
        elif line.planned_quantity != held:
            wanted.append(_intent(line))
    intents = _fund(
        wanted,
        positions,
        instruments,
        equity_usd=equity_usd,
        cash_usd=cash_usd if settled_cash_usd is None else min(cash_usd, settled_cash_usd),
        rules=rules,
        sells_pay=settled_cash_usd is None,
    )
    planned = {i.symbol: i for i in intents}
    return Plan(
        equity_usd,
        tuple(_as_funded(line, planned) for line in lines),
        intents,
        tuple(unpriced),
        _unvalued_usd(lines, equity_usd - cash_usd),
    )


NO_PRICE = "no usable price"


def _line(
    symbol: str,
    weight: Decimal | None,
    held: Decimal,
    instruments: Mapping[str, Instrument],
    prices: Mapping[str, Price],
    *,
    equity_usd: Decimal,
    rules: PlanRules,
) -> PlanLine:
    """Size one symbol: the line before the cash budget."""
    instrument = instruments.get(symbol)
    price = prices.get(symbol, Price(None, "no quote"))
    con_id = instrument.con_id if instrument else 0

    def line(target: Decimal | None, planned: Decimal, note: str) -> PlanLine:
        return PlanLine(
            symbol, con_id, weight, held, target, planned, price.mid, price.source, note
        )

    if weight is None and rules.omitted is Omitted.KEEP:
        return line(held, held, "not named by the targets: kept")
    if instrument is None:
        return line(None, held, "not in the universe: left alone")
    if not weight and not held:
        return line(ZERO, held, "on target")
    if price.mid is None or price.problem is not None:
        return line(None, held, f"{NO_PRICE}: {price.problem}")
    exact = (weight or ZERO) * equity_usd / price.mid
    target = _whole_lots(exact, instrument.lot)
    nearest = ZERO if exact * held < 0 else exact
    # The change is rounded, not the target: a holding less than a lot away from it is left alone.
    delta = _whole_lots(nearest - held, instrument.lot)
    if delta == 0:
        close = "on target" if target == held else f"on target: {exact:.2f} is less than a lot away"
        return line(target, held, close if nearest == exact else "less than a lot to zero")
    value = abs(delta) * price.mid
    closes = nearest == 0 and held + delta == 0
    if value < rules.order_value_usd_min and not closes:
        least = f"{value:.2f} USD is below order_value_usd_min {rules.order_value_usd_min}"
        return line(target, held, f"too small: {least}")
    first = "" if nearest == exact else f" to zero first; {target} is for a later plan"
    if nearest == exact and held + delta != target:
        first = f", the change of {abs(exact - held):.2f} rounded down to whole lots"
    return line(target, held + delta, ("sell" if delta < 0 else "buy") + first)


def _whole_lots(quantity: Decimal, lot: Decimal) -> Decimal:
    """Return the whole lots in ``quantity``, rounded towards zero."""
    return Decimal(int(quantity / lot)) * lot


def _unpriced(line: PlanLine, weight: Decimal | None) -> Unpriced:
    """Return the trade that cannot be priced.

    Leaving a position needs no price to be sized. Anything else has size zero, and the side is
    that of building the position, for without a price nobody knows in which direction it is off.
    """
    held = line.baseline_quantity
    if not weight:
        side = Side.SELL if held > 0 else Side.BUY
        return Unpriced(line.symbol, line.con_id, side, abs(held), line.note)
    side = Side.BUY if weight > 0 else Side.SELL
    return Unpriced(line.symbol, line.con_id, side, ZERO, line.note)


def _unvalued_usd(lines: Iterable[PlanLine], invested_usd: Decimal) -> Decimal:
    """Return what is left of the invested money for the holdings that have no price, USD.

    Unsigned; shorts and longs without a price can hide each other. Zero when all have one.
    """
    held = [line for line in lines if line.baseline_quantity]
    if all(line.price is not None for line in held):
        return ZERO
    valued = (line.baseline_quantity * line.price for line in held if line.price is not None)
    return abs(invested_usd - sum(valued, ZERO))


def changing_sides(lines: Iterable[PlanLine]) -> frozenset[str]:
    """Return the symbols that a plan only takes to zero, on their way to the other side."""
    return frozenset(
        line.symbol
        for line in lines
        if line.target_quantity and line.target_quantity * line.baseline_quantity < 0
    )


def _intent(line: PlanLine) -> Intent:
    delta = line.planned_quantity - line.baseline_quantity
    side = Side.BUY if delta > 0 else Side.SELL
    return Intent(line.symbol, line.con_id, side, abs(delta), present(line.price, "price"))


def wave(side: Side, held: Decimal) -> int:
    """Return when an order leaves: 0 sells what is held, 1 covers, 2 sells short, 3 buys.

    What opens follows what reduces, which makes room and cash for it. ``held`` in shares, negative
    when short, before any order of the plan.
    """
    opens = held * side.sign >= 0
    return 2 * opens + (side is Side.BUY)


def _fund(
    wanted: Iterable[Intent],
    positions: Mapping[str, Decimal],
    instruments: Mapping[str, Instrument],
    *,
    equity_usd: Decimal,
    cash_usd: Decimal,
    rules: PlanRules,
    sells_pay: bool,
) -> tuple[Intent, ...]:
    """Return what reduces, short sales, then the buys that there is money for; smallest first.

    Smallest first, because the first order of a run travels alone. When money is short every buy
    shrinks by the same factor and then to whole lots; what becomes too small is left out. What
    buys back a short is paid for first and never cut.
    """
    waves: list[list[Intent]] = [[], [], [], []]
    for intent in sorted(wanted, key=lambda i: (i.quantity * i.price, i.symbol)):
        waves[wave(intent.side, positions.get(intent.symbol, ZERO))].append(intent)
    sells, covers, shorts, buys = waves
    paying = [*sells, *shorts] if sells_pay else []
    proceeds = sum((_proceeds(i, instruments[i.symbol], rules) for i in paying), ZERO)
    spent = sum((_cost(i, instruments[i.symbol], rules) for i in covers), ZERO)
    spent += sum((commission_bound_usd(i.quantity) for i in covers), ZERO)
    budget = cash_usd + proceeds - spent - rules.cash_weight_min * equity_usd
    need = sum((_cost(i, instruments[i.symbol], rules) for i in buys), ZERO)
    # A commission has a minimum: it does not shrink with the order and comes off the budget first.
    fees = sum((commission_bound_usd(i.quantity) for i in buys), ZERO)
    if need + fees > budget:
        factor = max(budget - fees, ZERO) / need if need else ZERO
        buys = [_shrunk(i, instruments[i.symbol].lot, factor) for i in buys]
        buys = [i for i in buys if i.quantity * i.price >= max(rules.order_value_usd_min, _CENT)]
    return (*sells, *covers, *shorts, *buys)


_CENT = Decimal("0.01")


def _cost(intent: Intent, instrument: Instrument, rules: PlanRules) -> Decimal:
    limit = limit_price(intent.side, intent.price, instrument, rules.price_collar_fraction)
    return intent.quantity * limit


def _proceeds(intent: Intent, instrument: Instrument, rules: PlanRules) -> Decimal:
    limit = limit_price(intent.side, intent.price, instrument, rules.price_collar_fraction)
    return intent.quantity * limit - commission_bound_usd(intent.quantity)


def _shrunk(intent: Intent, lot: Decimal, factor: Decimal) -> Intent:
    return replace(intent, quantity=_whole_lots(intent.quantity * factor, lot))


def _as_funded(line: PlanLine, planned: Mapping[str, Intent]) -> PlanLine:
    """Return the line as the cash budget left it."""
    if line.planned_quantity <= line.baseline_quantity:
        return line
    intent = planned.get(line.symbol)
    bought = intent.quantity if intent else ZERO
    if line.baseline_quantity + bought == line.planned_quantity:
        return line
    return replace(
        line,
        planned_quantity=line.baseline_quantity + bought,
        note=f"buy, cut from {line.planned_quantity - line.baseline_quantity} by the cash budget",
    )


def limit_price(
    side: Side, middle: Decimal, instrument: Instrument, price_collar_fraction: Decimal
) -> Decimal:
    """Return the worst price an order accepts: the collar around the mid, on the tick grid.

    Rounded to the inside, so that the collar holds after rounding. USD a share.
    Source: price collar, SEC 15c3-5(c)(1)(ii).
    """
    raw = middle * (1 + side.sign * price_collar_fraction)
    rounding = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
    ticks = (raw / instrument.min_tick).to_integral_value(rounding=rounding)
    return ticks * instrument.min_tick


def commission_bound_usd(quantity: Decimal) -> Decimal:
    """Return an upper bound of IB's fixed commission for US stocks, in USD.

    0.005 USD a share, at least 1 USD. IB also caps it at 1 % of the value; the bound does not.
    """
    return max(Decimal(1), quantity * Decimal("0.005"))
