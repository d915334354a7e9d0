"""The trading floor: every live order at the place where it waits, so that none is searched for.

Orders that may trade stand in the book of their instrument and side, the best price first and at
one price the oldest. Stops stand by their stop price. The rest waits: for an auction, for a
parent, for the exchange to open. Looking at the market costs a few comparisons an instrument,
however many orders rest.
"""

from bisect import bisect_left, bisect_right, insort
from decimal import Decimal
from math import inf

from ibloop.sim.brokerage.triggers import rises, trigger_price, waits
from ibloop.sim.market.venue import Phase
from ibloop.sim.model import Action, Order, Quote, Status

IMMEDIATE = frozenset({"IOC", "FOK"})
# A place in a queue: the price, so that the smallest comes first, and the permId.
Key = tuple[Decimal, int]
ANY_PRICE = Decimal("-Infinity")


def may_trade(order: Order, phase: Phase | None) -> bool:
    """Tell whether an order works in this part of the day."""
    if phase is Phase.OPEN:
        return True
    return order.outside_rth and phase in {Phase.PRE_MARKET, Phase.POST_MARKET}


def standing(order: Order, phase: Phase | None, *, child: bool) -> tuple[Status, str]:
    """Return a live order's status and whyHeld.

    PreSubmitted is what waits: for a parent, a price, the opening; and, as recorded at IB, a
    market order until it is filled.
    """
    words = (("child", child), ("trigger", waits(order)))
    why_held = ",".join(word for word, so in words if so)
    if why_held or order.order_type == "MKT" or order.tif == "OPG" or not may_trade(order, phase):
        return Status.PRE_SUBMITTED, why_held
    return Status.SUBMITTED, ""


class Floor:
    """Where the live orders wait. `phase` is None before the market was ever looked at."""

    def __init__(self) -> None:
        """Start empty."""
        self.phase: Phase | None = None
        self.session: int | None = None
        self.auctions: dict[int, None] = {}
        self.immediate: dict[int, None] = {}
        self._books: dict[tuple[int, Action], list[Key]] = {}
        self._stops: dict[tuple[int, bool], list[Key]] = {}
        self._trails: dict[int, dict[int, None]] = {}
        self._queues: dict[int, tuple[list[Key], Key]] = {}

    def seat(self, order: Order, *, child: bool) -> None:
        """Put a live order where it belongs now; a `child` waits for its parent."""
        self.leave(order)
        if child or self.phase is None:
            return
        if order.auction_session is not None:
            self.auctions[order.perm_id] = None
        elif may_trade(order, self.phase):
            self._queue_up(order)

    def leave(self, order: Order) -> None:
        """Take an order off the floor."""
        queued = self._queues.pop(order.perm_id, None)
        if queued is not None:
            keys, key = queued
            keys.pop(bisect_left(keys, key))
        self.auctions.pop(order.perm_id, None)
        self.immediate.pop(order.perm_id, None)
        self._trails.get(order.con_id, {}).pop(order.perm_id, None)

    def _queue_up(self, order: Order) -> None:
        if not waits(order):
            if order.tif in IMMEDIATE:
                self.immediate[order.perm_id] = None
            price = order.limit_price
            rank = ANY_PRICE if price is None else -order.action.sign * price
            keys = self._books.setdefault((order.con_id, order.action), [])
        else:
            if order.order_type == "TRAIL":
                self._trails.setdefault(order.con_id, {})[order.perm_id] = None
            price = trigger_price(order)
            if price is None:
                return
            rising = rises(order)
            rank = price if rising else -price
            keys = self._stops.setdefault((order.con_id, rising), [])
        key = (rank, order.perm_id)
        insort(keys, key)
        self._queues[order.perm_id] = (keys, key)

    def con_ids(self) -> list[int]:
        """Return the instruments somebody waits to trade, in a fixed order."""
        queues = (*self._books.items(), *self._stops.items())
        found = {con_id for (con_id, _), keys in queues if keys}
        found.update(con_id for con_id, orders in self._trails.items() if orders)
        return sorted(found)

    def marketable(self, quote: Quote, action: Action) -> list[int]:
        """Return the orders of one side the quote satisfies, in the order of their right."""
        keys = self._books.get((quote.con_id, action))
        price = quote.ask if action is Action.BUY else quote.bid
        if not keys or price <= 0:
            return []
        return _up_to(keys, -action.sign * price)

    def elected(self, quote: Quote) -> list[int]:
        """Return the waiting orders whose price the last one has reached, oldest first."""
        found: list[int] = []
        if quote.last > 0:
            for rising in (True, False):
                keys = self._stops.get((quote.con_id, rising))
                if keys:
                    found += _up_to(keys, quote.last if rising else -quote.last)
        return sorted(found)

    def trailing(self, con_id: int) -> tuple[int, ...]:
        """Return an instrument's trailing stops that are not elected."""
        return tuple(self._trails.get(con_id, ()))


def _up_to(keys: list[Key], rank: Decimal) -> list[int]:
    return [perm_id for _, perm_id in keys[: bisect_right(keys, (rank, inf))]]
