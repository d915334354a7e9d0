"""Faults of orders, fills and their callbacks."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from ibloop.sim.brokerage.checks import Refusal
from ibloop.sim.brokerage.events import Commissioned, OrderUpdate
from ibloop.sim.faults.base import Delivery, Fault, parameter, register
from ibloop.sim.model import Order


@dataclass(kw_only=True, slots=True)
class CountedFault(Fault):
    """A fault that strikes a number of orders and is over then."""

    symbol: str | None = parameter(None, "only orders of this symbol")
    times: int = parameter(1, "how many orders it strikes, 0 for every one")
    struck: int = field(default=0, init=False, repr=False)

    def strikes(self, symbol: str) -> bool:
        """Tell whether this order is struck, and count it."""
        if self.spent or self.symbol not in {None, symbol}:
            return False
        self.struck += 1
        return True

    @property
    def spent(self) -> bool:
        """Tell whether no further order will be struck."""
        return bool(self.times) and self.struck >= self.times


@register
@dataclass(kw_only=True, slots=True)
class PartialFills(Fault):
    """Orders fill in slices of a few shares until they are complete."""

    symbol: str | None = parameter(None, "only orders of this symbol")
    shares: int = parameter(10, "shares per fill")
    interval_s: float = parameter(0.5, "least seconds between two fills of an order")

    def slice(self, order: Order, now: datetime) -> Decimal | None:
        """Allow one slice, and the next one when the interval is over."""
        if self.symbol not in {None, order.symbol}:
            return None
        if order.last_fill_at is not None:
            since_s = (now - order.last_fill_at).total_seconds()
            # A clock set back must not stop the fills.
            if 0 <= since_s < self.interval_s:
                return Decimal(0)
        return Decimal(self.shares)


@register
@dataclass(kw_only=True, slots=True)
class OrderRejected(CountedFault):
    """New orders are rejected: the error, then the status Inactive."""

    code: int = parameter(201, "error code")
    text: str = parameter("Order rejected - reason:injected fault", "error text")

    def refusal(self, symbol: str) -> Refusal | None:
        """Reject the next orders."""
        if not self.strikes(symbol):
            return None
        self.over = self.spent
        return Refusal(self.code, self.text, inactive=True)


@register
@dataclass(kw_only=True, slots=True)
class PlaceSwallowed(CountedFault):
    """placeOrder is received and never processed: no order, no answer."""

    def swallows(self, symbol: str) -> bool:
        """Swallow the next orders."""
        struck = self.strikes(symbol)
        self.over = self.spent
        return struck


@register
@dataclass(kw_only=True, slots=True)
class AckDropped(CountedFault):
    """Orders are accepted and worked, but nothing is said of them until a client asks.

    Asking is reqOpenOrders, reqAllOpenOrders, reqCompletedOrders or reqExecutions, answered with
    such an order in it.
    """

    muted: set[int] = field(default_factory=set, init=False, repr=False)

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Drop what concerns a muted order; mute new ones."""
        event = delivery.event
        if event.perm_id in self.muted:
            return ()
        if isinstance(event, OrderUpdate) and event.accepted and self.strikes(event.order.symbol):
            self.muted.add(event.perm_id)
            return ()
        return None

    def asked(self, perm_ids: set[int]) -> None:
        """Speak again about orders that were asked for."""
        self.muted -= perm_ids
        self.over = self.spent and not self.muted


@register
@dataclass(kw_only=True, slots=True)
class AckLate(CountedFault):
    """Everything about an order is said in the right sequence, but late."""

    delay_s: float = parameter(5.0, "seconds from acceptance to the first callback")
    due_s: dict[int, float] = field(default_factory=dict, init=False, repr=False)

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Hold back an order's callbacks until its delay is over."""
        event = delivery.event
        if (
            isinstance(event, OrderUpdate)
            and event.accepted
            and event.perm_id not in self.due_s
            and self.strikes(event.order.symbol)
        ):
            self.due_s[event.perm_id] = delivery.now_s + self.delay_s
        if event.perm_id not in self.due_s:
            return None
        wait_s = self.due_s[event.perm_id] - delivery.now_s
        return (replace(delivery, delay_s=max(delivery.delay_s, wait_s)),)


@register
@dataclass(kw_only=True, slots=True)
class CallbacksDuplicated(Fault):
    """Every order callback is sent more than once, executions and commissions too."""

    copies: int = parameter(2, "how often each is sent")

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Repeat what concerns an order."""
        return (delivery,) * self.copies if delivery.event.perm_id else None


@register
@dataclass(kw_only=True, slots=True)
class CommissionLate(Fault):
    """commissionReport comes late; cash is charged at once all the same."""

    delay_s: float = parameter(5.0, "seconds after the execution")

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Hold back the report and the order update that shows the commission."""
        event = delivery.event
        shows = isinstance(event, OrderUpdate) and event.commissioned
        if not shows and not isinstance(event, Commissioned):
            return None
        return (replace(delivery, delay_s=max(delivery.delay_s, self.delay_s)),)
