"""What all working orders together could cost at the worst, as a running sum.

`funds.short_of` weighs an order against every other working one. With thousands of them that is
slow, and mostly needless: an account that could pay for all of them carries one more, whatever
the details.
"""

from dataclasses import dataclass
from decimal import Decimal

from ibloop.sim.brokerage.account import COMMISSION_MIN, COMMISSION_PER_SHARE, Account
from ibloop.sim.brokerage.funds import expected_price
from ibloop.sim.brokerage.margin import balances
from ibloop.sim.market.hours import new_york_date
from ibloop.sim.market.venue import Venue
from ibloop.sim.model import ZERO, AccountKind, Action, Order, Quote

Side = tuple[str, int, Action]


@dataclass(slots=True)
class Pledge:
    """Orders of one account, instrument and side: `value` of those whose price is known.

    `fees` is the most their commissions can be; both are USD.
    """

    shares: Decimal = ZERO
    unpriced_shares: Decimal = ZERO
    value: Decimal = ZERO
    fees: Decimal = ZERO

    def add(self, order: Order, sign: int) -> None:
        """Count an order in, or out with sign -1."""
        price = expected_price(order, _no_market)
        self.shares += sign * order.remaining
        self.fees += sign * (COMMISSION_MIN + order.quantity * COMMISSION_PER_SHARE)
        if price is None:
            self.unpriced_shares += sign * order.remaining
        else:
            self.value += sign * order.remaining * price


class Pledges:
    """The pledges of all working orders."""

    def __init__(self) -> None:
        """Start without orders."""
        self._sides: dict[Side, Pledge] = {}
        self._counted: dict[int, Order] = {}

    def put(self, order: Order) -> None:
        """Count an order, or count it anew."""
        self.drop(order.perm_id)
        self._counted[order.perm_id] = order
        self._sides.setdefault(_side(order), Pledge()).add(order, 1)

    def drop(self, perm_id: int) -> None:
        """Count an order no longer."""
        order = self._counted.pop(perm_id, None)
        if order is not None:
            self._sides[_side(order)].add(order, -1)

    def plainly_allow(self, order: Order, account: Account, venue: Venue) -> bool:
        """Tell whether the account could pay for this order and all others; False if unsure."""
        cash = account.kind is AccountKind.CASH
        if cash and order.action is Action.SELL:
            offered = self._sides.get(_side(order), Pledge()).shares
            return offered + order.remaining <= account.held(order.con_id)
        asked = Pledge()
        asked.add(order, 1)
        cost = _cost(order.con_id, order.action, asked, venue)
        for (name, con_id, action), pledge in self._sides.items():
            if cost is None:
                return False
            if name == order.account and pledge.shares and (action is Action.BUY or not cash):
                other = _cost(con_id, action, pledge, venue)
                cost = None if other is None else cost + other
        if cost is None:
            return False
        today = new_york_date(venue.now())
        if cash:
            return cost <= account.spendable(today)
        now = balances(account, venue.quote_of, today)
        return now.initial + cost <= now.equity


def _side(order: Order) -> Side:
    return order.account, order.con_id, order.action


def _cost(con_id: int, action: Action, pledge: Pledge, venue: Venue) -> Decimal | None:
    """Return what orders may cost at the most, USD, None without a price to tell."""
    cost = pledge.value + pledge.fees
    if not pledge.unpriced_shares:
        return cost
    quote = venue.quote_of(con_id)
    if quote is None:
        return None
    shown = quote.ask if action is Action.BUY else quote.bid
    return cost + pledge.unpriced_shares * max(shown, quote.last)


def _no_market(_con_id: int) -> Quote | None:
    return None
