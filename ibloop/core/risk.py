"""Limits on orders, on the plan and on every single send.

Three moments, three functions. :func:`check_order` refuses one planned order, :func:`check_plan`
refuses the whole run, :func:`check_send` runs inside the transaction that journals the send, with
what is committed at that instant. A missing input denies. What lowers exposure is never held back
by a cap on exposure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ibloop.core.model import ZERO, HaltLevel, Instrument, Quote, Side
from ibloop.core.orders import Intent, Plan, PlanLine, commission_bound_usd
from ibloop.core.quotes import mid

MARKET_DATA_ERROR = "market_data_error"
GUARD_HALTED = "guard_halted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits that guard money: all mandatory, none has a default in code.

    ``_usd`` is base currency, ``_weight`` a fraction of net liquidation, ``_fraction`` a fraction
    of 1. Source: SEC rule 15c3-5(c), FIA best practices; values in the shipped example.
    """

    order_value_usd_max: Decimal
    order_quantity_max: Decimal
    plan_turnover_weight_max: Decimal
    day_turnover_weight_max: Decimal
    position_weight_max: Decimal
    sector_weight_max: Decimal
    gross_weight_max: Decimal
    cash_weight_min: Decimal
    adv_participation_max: Decimal
    price_collar_fraction: Decimal
    orders_per_run_max: int
    orders_per_day_max: int
    orders_per_second_max: int
    rejections_in_a_row_max: int
    short_allowed: bool


@dataclass(frozen=True, slots=True)
class Breach:
    """One refusal: which check, what was found, what is allowed, what to do."""

    check: str
    found: str
    allowed: str
    advice: str

    def __str__(self) -> str:
        return f"{self.check}: {self.found}, allowed {self.allowed}; {self.advice}"


def check_order(
    intent: Intent,
    instrument: Instrument,
    *,
    equity_usd: Decimal,
    held: Decimal,
    limits: Limits,
) -> tuple[Breach, ...]:
    """Return why this planned order must not be sent; empty means it may.

    Args: the intent, sized and priced; net liquidation in USD; shares held now; the limits.
    """
    value = intent.quantity * intent.price
    resulting = held + intent.side.sign * intent.quantity
    breaches = [*_size(intent.quantity, value, instrument, limits)]
    if resulting < 0 and resulting < held and not limits.short_allowed:
        breaches.append(
            Breach("short_allowed", f"resulting position {resulting}", ">= 0", "sell what is held")
        )
    if not reduces(intent.side, intent.quantity, held):
        weight = _weight(abs(resulting) * intent.price, equity_usd)
        if weight > limits.position_weight_max:
            breaches.append(
                Breach(
                    "position_weight_max",
                    f"resulting weight {weight:.4f}",
                    f"{limits.position_weight_max}",
                    "lower the target or raise the limit",
                )
            )
        breaches.extend(_participation(intent, instrument, limits))
    return tuple(breaches)


def reduces(side: Side, quantity: Decimal, held: Decimal) -> bool:
    """Return whether an order moves the position towards zero without crossing it."""
    return held * side.sign < 0 and quantity <= abs(held)


def _weight(value_usd: Decimal, equity_usd: Decimal) -> Decimal:
    """Return the value as a fraction of equity; infinite, so refused, without positive equity."""
    return value_usd / equity_usd if equity_usd > 0 else Decimal("Infinity")


def _size(
    quantity: Decimal, value: Decimal, instrument: Instrument, limits: Limits
) -> Iterable[Breach]:
    if quantity <= 0 or quantity % instrument.lot:
        yield Breach(
            "lot", f"{quantity} shares", f"whole lots of {instrument.lot}", "a bug: report it"
        )
    if value > limits.order_value_usd_max:
        yield Breach(
            "order_value_usd_max",
            f"{value:.2f} USD",
            f"{limits.order_value_usd_max} USD",
            "lower the target or raise the limit",
        )
    if quantity > limits.order_quantity_max:
        yield Breach(
            "order_quantity_max",
            f"{quantity} shares",
            f"{limits.order_quantity_max} shares",
            "lower the target or raise the limit",
        )


def _participation(intent: Intent, instrument: Instrument, limits: Limits) -> Iterable[Breach]:
    if instrument.adv_shares is None:
        yield Breach(
            "adv_participation_max",
            "average daily volume unknown",
            f"{limits.adv_participation_max} of it",
            f"fill in adv_shares of {instrument.symbol} in the universe",
        )
    elif intent.quantity > limits.adv_participation_max * instrument.adv_shares:
        yield Breach(
            "adv_participation_max",
            f"{intent.quantity} of {instrument.adv_shares} shares a day",
            f"{limits.adv_participation_max}",
            "lower the target or raise the limit",
        )


def check_plan(
    plan: Plan,
    instruments: Mapping[str, Instrument],
    limits: Limits,
    *,
    traded_today_usd: Decimal,
    orders_today: int,
) -> tuple[Breach, ...]:
    """Return why the whole run must not start; empty means it may.

    Turnover counts buys and sells at the planned price. Weights are of the book as it would be
    after every order filled. Caps on exposure bind only where the plan raises that exposure.
    """
    equity = plan.equity_usd
    turnover_usd = sum((i.quantity * i.price for i in plan.intents), ZERO)
    count = len(plan.intents)
    found = [
        ("orders_per_run_max", Decimal(count), Decimal(limits.orders_per_run_max)),
        ("orders_per_day_max", Decimal(count + orders_today), Decimal(limits.orders_per_day_max)),
        (
            "plan_turnover_weight_max",
            _weight(turnover_usd, equity),
            limits.plan_turnover_weight_max,
        ),
        (
            "day_turnover_weight_max",
            _weight(turnover_usd + traded_today_usd, equity),
            limits.day_turnover_weight_max,
        ),
    ]
    before, after = _exposures(plan, instruments)
    for name, cap in _exposure_caps(after, limits):
        if after[name] > before.get(name, ZERO):
            found.append((name, _weight(after[name], equity), cap))
    return tuple(
        Breach(name, f"{_short(value)}", f"{cap}", "mend the targets or the limits")
        for name, value, cap in found
        if value > cap
    )


def _short(value: Decimal) -> str:
    return f"{value:.4f}" if value != value.to_integral_value() else f"{value:.0f}"


def _exposures(
    plan: Plan, instruments: Mapping[str, Instrument]
) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """Return USD exposure before and after the plan: gross, and one figure a sector.

    Holdings without a price count with all that no other holding explains, in gross and in each
    of their sectors.
    """
    before: dict[str, Decimal] = {}
    after: dict[str, Decimal] = {}
    for line in plan.lines:
        if line.price is None and line.baseline_quantity:
            for name in _groups(line, instruments):
                before[name] = after[name] = plan.unvalued_usd
    for line in plan.lines:
        price = line.price or ZERO
        for name in _groups(line, instruments):
            before[name] = before.get(name, ZERO) + abs(line.baseline_quantity) * price
            after[name] = after.get(name, ZERO) + abs(line.planned_quantity) * price
    return before, after


def _groups(line: PlanLine, instruments: Mapping[str, Instrument]) -> tuple[str, ...]:
    """Return the names of the sums a line counts in."""
    instrument = instruments.get(line.symbol)
    sector = (f"sector_weight_max ({instrument.sector})",) if instrument else ()
    return ("gross_weight_max", *sector)


def _exposure_caps(names: Iterable[str], limits: Limits) -> Iterable[tuple[str, Decimal]]:
    for name in names:
        yield (
            name,
            limits.gross_weight_max if name == "gross_weight_max" else limits.sector_weight_max,
        )


@dataclass(frozen=True, slots=True)
class SendContext:
    """What is committed at the instant of a send.

    ``held`` is the position of the symbol now, ``cash_usd`` what is there for buys once every
    order already sent is paid for. ``quote_problem`` is :func:`core.quotes.problem`'s word.
    """

    halt: HaltLevel | None
    equity_usd: Decimal
    held: Decimal
    cash_usd: Decimal
    orders_today: int
    orders_this_run: int
    traded_today_usd: Decimal
    quote: Quote | None
    quote_problem: str | None


def check_send(
    intent: Intent,
    instrument: Instrument,
    limit_price: Decimal,
    context: SendContext,
    limits: Limits,
) -> tuple[Breach, ...]:
    """Return why this order must not leave now; run inside the transaction that journals it."""
    if not halt_allows(context.halt, intent.side, intent.quantity, context.held):
        found = f"{intent.side} of {intent.quantity} with {context.held} held"
        return (Breach(GUARD_HALTED, found, f"what {context.halt} allows", "see `ibloop status`"),)
    if context.quote is None or context.quote_problem is not None:
        return (
            Breach(
                MARKET_DATA_ERROR,
                context.quote_problem or "no quote",
                "a fresh, two-sided quote",
                "see `ibloop status`",
            ),
        )
    priced = Intent(intent.symbol, intent.con_id, intent.side, intent.quantity, limit_price)
    breaches = [
        *check_order(
            priced, instrument, equity_usd=context.equity_usd, held=context.held, limits=limits
        ),
        *_collar(limit_price, context.quote, limits),
        *_counts(priced, context, limits),
    ]
    # Buying back a short needs no spare cash, but what goes on beyond zero does.
    if intent.side is Side.BUY and not reduces(intent.side, intent.quantity, context.held):
        need = intent.quantity * limit_price + commission_bound_usd(intent.quantity)
        spare = context.cash_usd - limits.cash_weight_min * context.equity_usd
        if need > spare:
            breaches.append(
                Breach(
                    "cash_weight_min",
                    f"{need:.2f} USD needed",
                    f"{max(spare, ZERO):.2f} USD",
                    "the sells that should have paid for it did not fill",
                )
            )
    return tuple(breaches)


def _collar(limit_price: Decimal, quote: Quote, limits: Limits) -> Iterable[Breach]:
    middle = mid(quote)
    beyond = middle is None or abs(limit_price / middle - 1) > limits.price_collar_fraction
    if beyond or limit_price <= 0:
        yield Breach(
            "price_collar_fraction",
            f"limit {limit_price} against mid {middle}",
            f"{limits.price_collar_fraction}",
            "no tick of this instrument lies inside the collar",
        )


def _counts(intent: Intent, context: SendContext, limits: Limits) -> Iterable[Breach]:
    turnover = context.traded_today_usd + intent.quantity * intent.price
    checks = (
        ("orders_per_run_max", Decimal(context.orders_this_run + 1), limits.orders_per_run_max),
        ("orders_per_day_max", Decimal(context.orders_today + 1), limits.orders_per_day_max),
        (
            "day_turnover_weight_max",
            _weight(turnover, context.equity_usd),
            limits.day_turnover_weight_max,
        ),
    )
    for name, value, cap in checks:
        if value > cap:
            yield Breach(name, _short(value), f"{cap}", "nothing more is sent today")


def halt_allows(halt: HaltLevel | None, side: Side, quantity: Decimal, held: Decimal) -> bool:
    """Return whether an order may leave under the severest active halt.

    Reduce-only lets through what moves the position towards zero without crossing it.
    """
    if halt is None:
        return True
    if halt is not HaltLevel.REDUCE_ONLY:
        return False
    return reduces(side, quantity, held)


def second_is_free(sent: Iterable[datetime], now: datetime, orders_per_second_max: int) -> bool:
    """Return whether one more order may go out in the sliding second that ends at ``now``."""
    since = now - timedelta(seconds=1)
    return sum(1 for at in sent if at > since) < orders_per_second_max
