"""From a plan to the orders that are written down: each one planned, or refused with a reason."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from ibloop.core.lifecycle import OrderState
from ibloop.core.model import Algo, Instrument, Order, OrderType, Side, Tif
from ibloop.core.orders import Intent, Plan, Unpriced, limit_price
from ibloop.core.risk import MARKET_DATA_ERROR, Limits, Verdict, breaches, check_order
from ibloop.core.snapshot import client_order_id


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTerms:
    """What all orders of a run share."""

    run_id: str
    run_key: str
    attempt: int
    order_type: OrderType
    tif: Tif
    good_till: datetime
    algo: Algo | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """Why no order of a symbol may be sent: the code it is refused with, and one sentence."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Planned:
    """One order of a plan, and what every check said of it; nothing where none could be asked."""

    order: Order
    verdicts: tuple[Verdict, ...] = ()


def planned_orders(
    plan: Plan,
    instruments: Mapping[str, Instrument],
    limits: Limits,
    terms: OrderTerms,
    barred: Mapping[str, Bar] | None = None,
) -> tuple[Planned, ...]:
    """Return the run's orders in sending order, those refused already last.

    A refused order is ``rejected`` by us, with the check's name as its code, or the code of its
    symbol in ``barred``. The limit price is provisional: the one that leaves is set from a fresh
    quote when the send is journalled.
    """
    bars = barred or {}
    checked = [
        _barred(intent, bars[intent.symbol], terms)
        if intent.symbol in bars
        else _checked(intent, plan, instruments[intent.symbol], limits, terms)
        for intent in plan.intents
    ]
    planned = [one for one in checked if one.order.status == OrderState.PLANNED]
    refused = [one for one in checked if one.order.status != OrderState.PLANNED]
    return (*planned, *refused, *_unpriced(plan, terms))


def without_settled(plan: Plan, settled: Collection[str]) -> Plan:
    """Return a plan that leaves alone what an earlier attempt has traded as it was meant to.

    Prices move on, so a plan made anew would trade a little of every symbol again.
    """
    lines = (
        replace(line, planned_quantity=line.baseline_quantity, note=SETTLED)
        if line.symbol in settled
        else line
        for line in plan.lines
    )
    return replace(
        plan,
        lines=tuple(lines),
        intents=tuple(i for i in plan.intents if i.symbol not in settled),
        unpriced=tuple(u for u in plan.unpriced if u.symbol not in settled),
    )


SETTLED = "filled by the attempt before: left alone"


def _barred(intent: Intent, bar: Bar, terms: OrderTerms) -> Planned:
    return Planned(_unsendable(intent, terms, (bar.code, bar.reason)))


def _checked(
    intent: Intent, plan: Plan, instrument: Instrument, limits: Limits, terms: OrderTerms
) -> Planned:
    held = next(line.baseline_quantity for line in plan.lines if line.symbol == intent.symbol)
    price = limit_price(intent.side, intent.price, instrument, limits.price_collar_fraction)
    if price <= 0:
        off_grid = Verdict(
            "price_collar_fraction", "no price on the tick grid", "one", passed=False
        )
        return Planned(_unsendable(intent, terms, _refusal((off_grid,))), (off_grid,))
    # At the worst a fill can cost: a sell may find the mid. The send is measured by it, too.
    worst = replace(intent, price=max(price, intent.price))
    verdicts = check_order(worst, instrument, equity_usd=plan.equity_usd, held=held, limits=limits)
    found = breaches(verdicts)
    refusal = _refusal(found) if found else None
    quantity, side = intent.quantity, intent.side
    order = _order(terms, intent.symbol, intent.con_id, side, quantity, price, refusal)
    return Planned(order, verdicts)


def _refusal(found: Sequence[Verdict]) -> tuple[str, str]:
    return found[0].code, "; ".join(map(str, found))


def _unpriced(plan: Plan, terms: OrderTerms) -> Iterator[Planned]:
    for wish in plan.unpriced:
        yield Planned(_unsendable(wish, terms, (MARKET_DATA_ERROR, wish.reason)))


def _unsendable(wish: Intent | Unpriced, terms: OrderTerms, refusal: tuple[str, str]) -> Order:
    return _order(terms, wish.symbol, wish.con_id, wish.side, wish.quantity, None, refusal)


def _order(
    terms: OrderTerms,
    symbol: str,
    con_id: int,
    side: Side,
    quantity: Decimal,
    price: Decimal | None,
    refusal: tuple[str, str] | None,
) -> Order:
    is_limit = terms.order_type is OrderType.LMT
    return Order(
        client_order_id=client_order_id(terms.run_key, symbol, side, terms.attempt),
        run_id=terms.run_id,
        symbol=symbol,
        con_id=con_id,
        side=side,
        quantity=quantity,
        order_type=terms.order_type,
        limit_price=price if is_limit else None,
        # IB has no GTD for plain market orders that we have proven: they get DAY and a cancel.
        # Nor of the Adaptive algo, which IB takes for the day.
        tif=terms.tif if is_limit and terms.algo is None else Tif.DAY,
        good_till=terms.good_till,
        status=OrderState.REJECTED if refusal else OrderState.PLANNED,
        reject_source="ibloop" if refusal else None,
        reject_code=refusal[0] if refusal else None,
        reject_reason=refusal[1] if refusal else None,
        algo=terms.algo,
    )
