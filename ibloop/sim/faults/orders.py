"""Faults of placing, changing and cancelling orders."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from ibloop.sim.brokerage.checks import Refusal
from ibloop.sim.brokerage.events import Event, Filled, OrderUpdate, Problem
from ibloop.sim.faults.base import (
    AT_LEAST_ONE,
    Arrival,
    Asks,
    Delivery,
    Fault,
    Reaction,
    Stage,
    parameter,
)
from ibloop.sim.faults.codes import text_of
from ibloop.sim.faults.registry import register
from ibloop.sim.faults.striking import OrderFault, Striking
from ibloop.sim.model import Order

READ_ONLY = "The API interface is currently in Read-Only mode."


@register
@dataclass(kw_only=True, slots=True)
class PartialFills(Fault):
    """Orders fill in slices of a few shares until they are complete."""

    symbol: str | None = parameter(None, "only orders of this symbol")
    shares: int = parameter(10, "shares per fill", within=AT_LEAST_ONE)
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

    def happened(self, event: Event, stage: Stage) -> None:
        """Count the fills."""
        del stage
        if isinstance(event, Filled) and self.symbol in {None, event.execution.symbol}:
            self.struck += 1


@register
@dataclass(kw_only=True, slots=True)
class OrderRejected(Fault):
    """New orders are rejected, by an error and the status Inactive."""

    symbol: str | None = parameter(None, "only orders of this symbol")
    times: int = parameter(1, "how many orders it strikes, 0 for every one")
    code: int = parameter(201, "error code")
    text: str = parameter("", "error text, none for IB's own")
    status: str = parameter(
        "after",
        "whether the status Inactive comes after the error, before it, or never",
        choices=("after", "before", "never"),
    )
    held: dict[int, Delivery] = field(default_factory=dict, init=False, repr=False, compare=False)

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Reject an order of which nothing is kept."""
        if self.status != "never" or not arrival.fresh or not self._strikes(arrival.symbol):
            return None
        text = text_of(self.code, arrival.req_id, self.text)
        return Reaction(swallow=True, errors=((arrival.req_id, self.code, text),))

    def refusal(self, symbol: str) -> Refusal | None:
        """Let the broker reject an order."""
        if self.status == "never" or not self._strikes(symbol):
            return None
        return Refusal(self.code, text_of(self.code, 0, self.text), inactive=True)

    def _strikes(self, symbol: str) -> bool:
        spent = bool(self.times) and self.struck >= self.times
        if spent or self.symbol not in {None, symbol}:
            return False
        self.struck += 1
        # To be told in the other sequence it has to be there when the order is told.
        self.over = bool(self.times) and self.struck >= self.times and self.status != "before"
        return True

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Hold the error until the status was told."""
        event = delivery.event
        if self.status != "before":
            return None
        if isinstance(event, Problem) and event.code == self.code and event.perm_id:
            self.held[event.perm_id] = delivery
            return ()
        own = isinstance(event, OrderUpdate) and event.order.client_id == delivery.client_id
        if own and event.perm_id in self.held:
            self.over = bool(self.times) and self.struck >= self.times and len(self.held) == 1
            return (delivery, self.held.pop(event.perm_id))
        return None


@register
@dataclass(kw_only=True, slots=True)
class ErrorOnOrder(OrderFault):
    """An error, warning or notice about an order that lives on all the same."""

    code: int = parameter(399, "its code, such as 110, 201, 203, 321, 399, 404, 2109, 10311")
    text: str = parameter("", "its text, none for IB's own")
    status: str = parameter(
        "before",
        "whether the order's first status comes before or after",
        choices=("before", "after"),
    )
    delay_s: float = parameter(0.0, "seconds between the first status and the error")

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Add the error to an order's first status."""
        event = delivery.event
        if not isinstance(event, OrderUpdate) or not event.accepted or not event.order.live:
            return None
        order = event.order
        if order.client_id != delivery.client_id:
            return None
        if not self.strikes_order(order.client_id, order.symbol):
            return None
        self.over = self.spent
        text = text_of(self.code, order.order_id, self.text)
        problem = Problem(order.client_id, order.order_id, self.code, text, order.perm_id)
        error = replace(delivery, event=problem)
        if self.status == "after":
            return (error, delivery)
        return (delivery, replace(error, delay_s=delivery.delay_s + self.delay_s))


@register
@dataclass(kw_only=True, slots=True)
class TifPreset(OrderFault):
    """The order preset changes the time in force to DAY: 10349, and the order lives on as DAY."""

    times: int = parameter(0, "how many orders it strikes, 0 for every one")
    changed: set[tuple[int, int]] = field(
        default_factory=set, init=False, repr=False, compare=False
    )

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Change the order before the broker sees it."""
        if not arrival.fresh or arrival.request.ticket.tif in {"", "DAY"}:
            return None
        if not self.strikes_order(arrival.client_id, arrival.symbol):
            return None
        self.changed.add((arrival.client_id, arrival.req_id))
        ticket = replace(arrival.request.ticket, tif="DAY", good_till="")
        return Reaction(request=replace(arrival.request, ticket=ticket))

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Say so, before the first status."""
        event = delivery.event
        if not isinstance(event, OrderUpdate) or not event.accepted:
            return None
        order = event.order
        key = (delivery.client_id, order.order_id)
        if order.client_id != delivery.client_id or key not in self.changed:
            return None
        self.changed.remove(key)
        self.over = self.spent and not self.changed
        text = text_of(10349, order.order_id)
        problem = Problem(order.client_id, order.order_id, 10349, text, order.perm_id)
        return (replace(delivery, event=problem), delivery)


@register
@dataclass(kw_only=True, slots=True)
class PlaceSwallowed(OrderFault):
    """placeOrder is received and never processed: no order, no answer."""

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Swallow the next new orders."""
        if not arrival.fresh or not self.strikes_order(arrival.client_id, arrival.symbol):
            return None
        self.over = self.spent
        return Reaction(swallow=True)


@register
@dataclass(kw_only=True, slots=True)
class PlaceLate(OrderFault):
    """placeOrder is received and processed late, as after a frozen gateway woke up."""

    delay_s: float = parameter(5.0, "seconds")

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Hold the next new orders back."""
        if not arrival.fresh or not self.strikes_order(arrival.client_id, arrival.symbol):
            return None
        self.over = self.spent
        return Reaction(delay_s=self.delay_s)


@register
@dataclass(kw_only=True, slots=True)
class CancelSwallowed(OrderFault):
    """cancelOrder is received and never processed: the order lives on, no answer."""

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Swallow the next cancels."""
        cancels = arrival.message_id == Asks.CANCEL_ORDER
        if not cancels or not self.strikes_order(arrival.client_id, arrival.symbol):
            return None
        self.over = self.spent
        return Reaction(swallow=True)


@register
@dataclass(kw_only=True, slots=True)
class CancelLate(OrderFault):
    """cancelOrder is processed late: the order may fill in between."""

    delay_s: float = parameter(5.0, "seconds")

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Hold the next cancels back."""
        cancels = arrival.message_id == Asks.CANCEL_ORDER
        if not cancels or not self.strikes_order(arrival.client_id, arrival.symbol):
            return None
        self.over = self.spent
        return Reaction(delay_s=self.delay_s)


@register
@dataclass(kw_only=True, slots=True)
class CancelRejected(OrderFault):
    """cancelOrder is refused although the order lives, and it lives on."""

    code: int = parameter(10147, "error code: 10147, 10148, 135, 161")
    text: str = parameter("", "error text, none for IB's own")

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Refuse the next cancels."""
        cancels = arrival.message_id == Asks.CANCEL_ORDER
        if not cancels or not self.strikes_order(arrival.client_id, arrival.symbol):
            return None
        self.over = self.spent
        text = text_of(self.code, arrival.req_id, self.text)
        return Reaction(swallow=True, errors=((arrival.req_id, self.code, text),))


@register
@dataclass(kw_only=True, slots=True)
class ReadOnly(Striking):
    """The API is in read-only mode: 321 for orders, cancels and questions about orders."""

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Refuse what has to do with orders; questions with id -1."""
        entry = arrival.message_id in {Asks.PLACE_ORDER, Asks.CANCEL_ORDER}
        other = arrival.message_id in {
            *(Asks.GLOBAL_CANCEL, Asks.OPEN_ORDERS, Asks.ALL_OPEN_ORDERS, Asks.AUTO_OPEN_ORDERS),
        }
        if not (entry or other) or not self.strikes(arrival.client_id):
            return None
        text = f"Error validating request.-'bF' : cause - {READ_ONLY}"
        return Reaction(swallow=True, errors=((arrival.req_id if entry else -1, 321, text),))
