"""Whether an account can carry an order beside its other working ones."""

from collections.abc import Callable, Iterable
from decimal import Decimal

from ibloop.sim.brokerage.account import Account, commission_usd
from ibloop.sim.brokerage.checks import Refusal, rejected
from ibloop.sim.model import ZERO, Action, Order, Quote

QuoteOf = Callable[[int], Quote | None]


def short_of(
    order: Order, account: Account, working: Iterable[Order], quote_of: QuoteOf
) -> Refusal | None:
    """Return why a cash account cannot carry the order beside its other working ones."""
    others = [
        other
        for other in working
        if other.perm_id != order.perm_id
        and other.account == order.account
        and other.action is order.action
    ]
    if order.action is Action.SELL:
        offered = sum((o.remaining for o in others if o.con_id == order.con_id), ZERO)
        held = account.held(order.con_id)
        if offered + order.remaining <= held:
            return None
        return rejected(f"no short sales in a cash account: {held} held, {offered} being sold")
    needed = _reserve(order, quote_of)
    if needed is None:
        return rejected("no market price to check the funds for a market order")
    reserved = sum((_reserve(other, quote_of) or ZERO for other in others), ZERO)
    if needed + reserved <= account.cash:
        return None
    return rejected(
        f"insufficient funds: {needed:.2f} USD needed, {account.cash - reserved:.2f} USD available"
    )


def _reserve(order: Order, quote_of: QuoteOf) -> Decimal | None:
    """Return the cash a working purchase may still take, None without a price to tell."""
    price = order.limit_price
    if price is None:
        quote = quote_of(order.con_id)
        if quote is None:
            return None
        price = quote.ask
    value = order.remaining * price
    filled_value = order.filled * order.avg_fill_price
    commission = commission_usd(order.quantity, filled_value + value) - order.commission_usd
    return value + max(ZERO, commission)
