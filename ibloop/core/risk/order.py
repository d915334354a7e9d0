"""The checks of one order by itself: its size, its lot, its lists, the position it makes."""

from collections.abc import Iterator
from decimal import Decimal

from ibloop.core.model import ZERO, Instrument, Side
from ibloop.core.orders import Intent
from ibloop.core.risk.halts import reduces
from ibloop.core.risk.limits import Limits
from ibloop.core.risk.verdict import Verdict, at_most, multiples_of


def check_order(
    intent: Intent,
    instrument: Instrument | None,
    *,
    equity_usd: Decimal,
    held: Decimal,
    limits: Limits,
    working: Decimal = ZERO,
) -> tuple[Verdict, ...]:
    """Return what every check says of this order.

    Args: the intent at its worst price; its instrument, ``None`` outside the universe; net
    liquidation in USD; shares held now, and shares still at work on the intent's side.
    """
    known = instrument is not None and instrument.con_id == intent.con_id
    if instrument is None or not known:
        found = f"{intent.symbol} as contract {intent.con_id}"
        return (Verdict("universe", found, "what the universe holds", passed=False),)
    numbers = (intent.quantity, intent.price)
    if not (all(n.is_finite() and n > 0 for n in numbers) and equity_usd.is_finite()):
        told = f"{intent.quantity} shares at {intent.price}, equity {equity_usd}"
        return (Verdict("number", told, "positive, finite numbers", passed=False),)
    is_reducing = reduces(intent.side, intent.quantity + working, held)
    return tuple(_verdicts(intent, instrument, equity_usd, held, working, is_reducing, limits))


def weight(value_usd: Decimal, equity_usd: Decimal) -> Decimal:
    """Return the value as a fraction of equity; infinite, so refused, without positive equity."""
    return value_usd / equity_usd if equity_usd > 0 else Decimal("Infinity")


def _verdicts(
    intent: Intent,
    instrument: Instrument,
    equity_usd: Decimal,
    held: Decimal,
    working: Decimal,
    is_reducing: bool,
    limits: Limits,
) -> Iterator[Verdict]:
    quantity, symbol = intent.quantity, intent.symbol
    whole = not quantity % instrument.lot and quantity == quantity.to_integral_value()
    yield Verdict("lot", quantity, multiples_of(instrument.lot), whole)
    denied = symbol in limits.symbols_denied
    yield Verdict("symbols_denied", symbol, "not on the deny-list", not denied)
    yield at_most("order_value_usd_max", quantity * intent.price, limits.order_value_usd_max)
    yield at_most("order_quantity_max", quantity, limits.order_quantity_max)
    resulting = held + intent.side.sign * (quantity + working)
    if intent.side is Side.SELL and not limits.short_allowed:
        told = f"resulting position {resulting}"
        yield Verdict("short_allowed", told, ">= 0", resulting >= 0)
    if is_reducing:
        return
    if limits.symbols_allowed:
        allowed = symbol in limits.symbols_allowed
        yield Verdict("symbols_allowed", symbol, "on the allow-list", allowed)
    resulting_weight = weight(abs(resulting) * intent.price, equity_usd)
    yield at_most("position_weight_max", resulting_weight, limits.position_weight_max)
    volume = instrument.adv_shares
    share = None if volume is None else quantity / volume
    yield at_most("adv_participation_max", share, limits.adv_participation_max)
