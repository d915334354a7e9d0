"""Whether an account can carry an order beside its other working ones, and what it would cost."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from ibloop.sim.brokerage.account import Account, commission_usd
from ibloop.sim.brokerage.checks import Refusal, rejected
from ibloop.sim.brokerage.margin import (
    QuoteOf,
    balances,
    initial_margin,
    maintenance_margin,
    mark,
)
from ibloop.sim.market.hours import new_york_date
from ibloop.sim.market.venue import Venue
from ibloop.sim.model import ZERO, AccountKind, Action, Margins, Order, Preview

NO_PRICE = "no market price to check the funds for a market order"


def short_of(
    order: Order, account: Account, working: Iterable[Order], venue: Venue
) -> Refusal | None:
    """Return why the account cannot carry the order beside its other working ones."""
    quote_of, today = venue.quote_of, new_york_date(venue.now())
    others = [
        other
        for other in working
        if other.perm_id != order.perm_id and other.account == order.account
    ]
    if account.kind is AccountKind.MARGIN:
        return _short_of_margin(order, account, others, quote_of, today)
    if order.action is Action.SELL:
        return _short_of_shares(order, account, others)
    return _short_of_cash(order, account, others, quote_of, today)


def preview(order: Order, account: Account, venue: Venue) -> Preview:
    """Return what an order would change once filled; as IB's, equity only by the commission."""
    quote_of, today = venue.quote_of, new_york_date(venue.now())
    price = expected_price(order, quote_of) or ZERO
    last = mark(quote_of(order.con_id)) or price
    commission = commission_usd(order.quantity, order.quantity * price)
    before = balances(account, quote_of, today).margins
    held = account.held(order.con_id)
    then, now = (held + order.action.sign * order.quantity) * last, held * last
    after = Margins(
        before.initial + initial_margin(account.kind, then) - initial_margin(account.kind, now),
        before.maintenance
        + maintenance_margin(account.kind, then)
        - maintenance_margin(account.kind, now),
        before.equity - commission,
    )
    return Preview(before, after, commission)


def expected_price(order: Order, quote_of: QuoteOf) -> Decimal | None:
    """Return the price an order may fill at: its limit, its stop, or the market.

    None when there is no market.
    """
    stop = order.trail_stop if order.order_type == "TRAIL" else order.aux_price
    if order.limit_price is not None or (stop is not None and not order.elected):
        return order.limit_price if order.limit_price is not None else stop
    quote = quote_of(order.con_id)
    if quote is None:
        return None
    shown = quote.ask if order.action is Action.BUY else quote.bid
    return shown if shown > 0 else quote.last


# ---------------------------------------------------------------------- cash accounts


def _short_of_shares(order: Order, account: Account, others: list[Order]) -> Refusal | None:
    sales = (o for o in others if o.con_id == order.con_id and o.action is Action.SELL)
    offered = sum((other.remaining for other in sales), ZERO)
    held = account.held(order.con_id)
    if offered + order.remaining <= held:
        return None
    return rejected(f"no short sales in a cash account: {held} held, {offered} being sold")


def _short_of_cash(
    order: Order, account: Account, others: list[Order], quote_of: QuoteOf, today: date
) -> Refusal | None:
    needed = _reserve(order, quote_of)
    if needed is None:
        return rejected(NO_PRICE)
    purchases = (other for other in others if other.action is Action.BUY)
    needed += sum((_reserve(other, quote_of) or ZERO for other in purchases), ZERO)
    available = account.spendable(today)
    if needed <= available:
        return None
    settled = "settled cash " if account.settled_only else ""
    return rejected(
        f"Available {settled}converted to base: {available:.2f} USD "
        f"Cash needed for this order and other pending orders: {needed:.2f} USD"
    )


def _reserve(order: Order, quote_of: QuoteOf) -> Decimal | None:
    """Return the cash a working purchase may still take, None without a price to tell."""
    price = expected_price(order, quote_of)
    if price is None:
        return None
    return order.remaining * price + _commission_left(order, price)


def _commission_left(order: Order, price: Decimal) -> Decimal:
    value = order.filled * order.avg_fill_price + order.remaining * price
    return max(ZERO, commission_usd(order.quantity, value) - order.commission_usd)


# ---------------------------------------------------------------------- margin accounts


def _short_of_margin(
    order: Order, account: Account, others: list[Order], quote_of: QuoteOf, today: date
) -> Refusal | None:
    """Refuse what would need more initial margin than there is equity; closing is always let."""
    if expected_price(order, quote_of) is None:
        return rejected(NO_PRICE)
    growth = _margin_growth(account, [*others, order], quote_of)
    if growth <= _margin_growth(account, others, quote_of):
        return None
    now = balances(account, quote_of, today)
    initial = now.initial + growth
    equity = now.equity - sum(
        _commission_left(each, expected_price(each, quote_of) or ZERO) for each in [*others, order]
    )
    if initial <= equity:
        return None
    return rejected(
        "YOUR ORDER IS NOT ACCEPTED. IN ORDER TO OBTAIN THE DESIRED POSITION YOUR EQUITY WITH "
        f"LOAN VALUE [{equity:.2f} USD] MUST EXCEED THE INITIAL MARGIN [{initial:.2f} USD]"
    )


def _margin_growth(account: Account, working: list[Order], quote_of: QuoteOf) -> Decimal:
    """Return the initial margin working orders may add: of each instrument, the worse side.

    Shares that close what is held, or turn it around up to its own size, add none.
    """
    sides: dict[tuple[int, Action], tuple[Decimal, Decimal]] = {}
    for order in working:
        start, key = account.held(order.con_id), (order.con_id, order.action)
        held, added = sides.get(key, (start, ZERO))
        after = held + order.action.sign * order.remaining
        grown = max(ZERO, abs(after) - max(abs(held), abs(start)))
        value = grown * (expected_price(order, quote_of) or ZERO)
        sides[key] = (after, added + initial_margin(account.kind, value))
    worst: dict[int, Decimal] = {}
    for (con_id, _), (_, added) in sides.items():
        worst[con_id] = max(worst.get(con_id, ZERO), added)
    return sum(worst.values(), ZERO)
