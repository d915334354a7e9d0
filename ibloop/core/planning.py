"""From a plan to the orders that are written down: each one planned, or refused with a reason."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from ibloop.core.lifecycle import OrderState
from ibloop.core.model import Instrument, Order, OrderType, Side, Tif
from ibloop.core.orders import Intent, Plan, Unpriced, limit_price
from ibloop.core.risk import MARKET_DATA_ERROR, Limits, check_order
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


def planned_orders(
    plan: Plan, instruments: Mapping[str, Instrument], limits: Limits, terms: OrderTerms
) -> tuple[Order, ...]:
    """Return the run's orders in sending order, those refused already last.

    A refused order is ``rejected`` by us, with the check's name as its code. The limit price is
    provisional: the one that leaves is set from a fresh quote when the send is journalled.
    """
    checked = [
        _checked(intent, plan, instruments[intent.symbol], limits, terms) for intent in plan.intents
    ]
    planned = [order for order in checked if order.status == OrderState.PLANNED]
    refused = [order for order in checked if order.status != OrderState.PLANNED]
    return (*planned, *refused, *_unpriced(plan, terms))


def _checked(
    intent: Intent, plan: Plan, instrument: Instrument, limits: Limits, terms: OrderTerms
) -> Order:
    held = next(line.baseline_quantity for line in plan.lines if line.symbol == intent.symbol)
    price = limit_price(intent.side, intent.price, instrument, limits.price_collar_fraction)
    if price <= 0:
        text = f"no price of {intent.symbol} on its tick grid lies inside the collar"
        return _unsendable(intent, terms, ("price_collar_fraction", text))
    # At the limit price, the worst a fill can cost: the send will be measured by it, too.
    worst = replace(intent, price=price)
    breaches = check_order(worst, instrument, equity_usd=plan.equity_usd, held=held, limits=limits)
    refusal = (breaches[0].check, "; ".join(map(str, breaches))) if breaches else None
    return _order(terms, intent.symbol, intent.con_id, intent.side, intent.quantity, price, refusal)


def _unpriced(plan: Plan, terms: OrderTerms) -> Iterator[Order]:
    for wish in plan.unpriced:
        yield _unsendable(wish, terms, (MARKET_DATA_ERROR, wish.reason))


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
        tif=terms.tif if is_limit else Tif.DAY,
        good_till=terms.good_till,
        status=OrderState.REJECTED if refusal else OrderState.PLANNED,
        reject_source="ibloop" if refusal else None,
        reject_code=refusal[0] if refusal else None,
        reject_reason=refusal[1] if refusal else None,
    )
