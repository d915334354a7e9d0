"""Faults of the callbacks about orders, executions and commissions."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from ibloop.sim.brokerage.events import Commissioned, Event, Filled, OrderUpdate
from ibloop.sim.faults.base import (
    OPEN_ORDER,
    ORDER_STATUS,
    Delivery,
    Fault,
    Outgoing,
    Range,
    Says,
    Stage,
    parameter,
)
from ibloop.sim.faults.registry import register
from ibloop.sim.faults.striking import OrderFault, Striking
from ibloop.sim.model import Status

# Callbacks by the names clients give them.
KINDS = ("openOrder", "orderStatus", "execDetails", "commissionReport")
PENDING = Decimal(-1)


def parts(delivery: Delivery) -> list[tuple[str, Delivery]]:
    """Return the callbacks a delivery consists of, by name; none when it is not about an order."""
    match delivery.event:
        case OrderUpdate():
            # Each half shows what the other one does not.
            halves = (
                ("openOrder", OPEN_ORDER, ORDER_STATUS),
                ("orderStatus", ORDER_STATUS, OPEN_ORDER),
            )
            return [
                (name, replace(delivery, without=delivery.without | {other}))
                for name, own, other in halves
                if own not in delivery.without
            ]
        case Filled():
            return [("execDetails", delivery)]
        case Commissioned():
            return [("commissionReport", delivery)]
    return []


def later(delivery: Delivery, delay_s: float) -> Delivery:
    """Return the delivery, that much later."""
    return replace(delivery, delay_s=delivery.delay_s + delay_s)


def shows_commission(event: Event) -> bool:
    """Tell whether clients learn a commission by this event."""
    return isinstance(event, Commissioned) or (
        isinstance(event, OrderUpdate) and event.commissioned
    )


def symbol_of(event: Event) -> str:
    """Return the symbol of what happened to an order, '' for other events."""
    if isinstance(event, OrderUpdate):
        return event.order.symbol
    return event.execution.symbol if isinstance(event, Filled | Commissioned) else ""


@dataclass(kw_only=True, slots=True)
class CallbackFault(Striking):
    """A fault that strikes callbacks about orders."""

    symbol: str | None = parameter(None, "only orders of this symbol")

    def concerns(self, delivery: Delivery) -> bool:
        """Tell whether a delivery is a callback about an order it may strike."""
        symbol = symbol_of(delivery.event)
        return bool(symbol) and self.symbol in {None, symbol}


@register
@dataclass(kw_only=True, slots=True)
class AckDropped(OrderFault):
    """Orders are accepted and worked, but nothing is said of them until a client asks.

    Asking is reqOpenOrders, reqAllOpenOrders, reqCompletedOrders or reqExecutions, answered with
    such an order in it.
    """

    muted: set[int] = field(default_factory=set, init=False, repr=False, compare=False)

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Drop what concerns a muted order; mute new ones."""
        event = delivery.event
        if event.perm_id in self.muted:
            return ()
        if not isinstance(event, OrderUpdate) or not event.accepted:
            return None
        if not self.strikes_order(event.order.client_id, event.order.symbol):
            return None
        self.muted.add(event.perm_id)
        return ()

    def asked(self, perm_ids: set[int]) -> None:
        """Speak again about orders that were asked for."""
        self.muted -= perm_ids
        self.over = self.spent and not self.muted


@register
@dataclass(kw_only=True, slots=True)
class AckLate(OrderFault):
    """Everything about an order is said in the right sequence, but late."""

    delay_s: float = parameter(5.0, "seconds from acceptance to the first callback")
    due_s: dict[int, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Hold back an order's callbacks until its delay is over."""
        event = delivery.event
        if (
            isinstance(event, OrderUpdate)
            and event.accepted
            and event.perm_id not in self.due_s
            and self.strikes_order(event.order.client_id, event.order.symbol)
        ):
            self.due_s[event.perm_id] = delivery.now_s + self.delay_s
        if event.perm_id not in self.due_s:
            return None
        wait_s = self.due_s[event.perm_id] - delivery.now_s
        return (replace(delivery, delay_s=max(delivery.delay_s, wait_s)),)


@register
@dataclass(kw_only=True, slots=True)
class CallbacksDuplicated(CallbackFault):
    """Order callbacks are sent more than once, executions and commissions too."""

    copies: int = parameter(2, "how often each is sent", within=Range(2))

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Repeat what concerns an order."""
        if not self.concerns(delivery) or not self.strikes(delivery.client_id):
            return None
        return (delivery,) * self.copies


@register
@dataclass(kw_only=True, slots=True)
class CallbacksReordered(CallbackFault):
    """Order callbacks arrive in another sequence: each is late by a time of its own."""

    spread_s: float = parameter(0.5, "most seconds a callback is late")

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Delay each callback by chance, openOrder and orderStatus each for itself."""
        if not self.concerns(delivery) or not self.strikes(delivery.client_id):
            return None
        return [later(part, self.rng.uniform(0, self.spread_s)) for _, part in parts(delivery)]


@register
@dataclass(kw_only=True, slots=True)
class CallbacksLate(CallbackFault):
    """Order callbacks of one kind, or all, are late."""

    kind: str = parameter("all", "which", choices=("all", *KINDS))
    delay_s: float = parameter(5.0, "seconds")

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Delay a callback of the kind."""
        if not self.concerns(delivery):
            return None
        return [
            later(part, self.delay_s)
            if self.kind in {"all", name} and self.strikes(delivery.client_id)
            else part
            for name, part in parts(delivery)
        ]


@register
@dataclass(kw_only=True, slots=True)
class CallbacksMissing(CallbackFault):
    """Order callbacks of one kind, or all, are never sent; answers to questions are."""

    kind: str = parameter("orderStatus", "which", choices=("all", *KINDS))

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Drop a callback of the kind."""
        if not self.concerns(delivery):
            return None
        return [
            part
            for name, part in parts(delivery)
            if self.kind not in {"all", name} or not self.strikes(delivery.client_id)
        ]


@register
@dataclass(kw_only=True, slots=True)
class ExecutionBeforeStatus(CallbackFault):
    """execDetails arrives before any status of its order, the first one included."""

    delay_s: float = parameter(0.5, "seconds every status is late")

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Delay order updates."""
        if not isinstance(delivery.event, OrderUpdate) or not self.concerns(delivery):
            return None
        return (later(delivery, self.delay_s),) if self.strikes(delivery.client_id) else None


@register
@dataclass(kw_only=True, slots=True)
class StatusBeforeExecution(CallbackFault):
    """orderStatus says Filled before the execDetails and its commission arrive."""

    delay_s: float = parameter(0.5, "seconds executions and commissions are late")

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Delay executions and what follows from them."""
        event = delivery.event
        follows = isinstance(event, Filled) or shows_commission(event)
        if not follows or not self.concerns(delivery):
            return None
        return (later(delivery, self.delay_s),) if self.strikes(delivery.client_id) else None


@register
@dataclass(kw_only=True, slots=True)
class FilledWithoutStatus(CallbackFault):
    """An order fills and no status ever says so: only execDetails and commissionReport."""

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Drop updates of orders with fills."""
        event = delivery.event
        if not isinstance(event, OrderUpdate) or event.order.status is not Status.FILLED:
            return None
        if not self.concerns(delivery) or not self.strikes(delivery.client_id):
            return None
        return ()


@register
@dataclass(kw_only=True, slots=True)
class CommissionLate(CallbackFault):
    """commissionReport comes late; cash is charged at once all the same."""

    delay_s: float = parameter(5.0, "seconds after the execution")

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Hold back the report and the order update that shows the commission."""
        if not shows_commission(delivery.event) or not self.concerns(delivery):
            return None
        return (later(delivery, self.delay_s),) if self.strikes(delivery.client_id) else None


@register
@dataclass(kw_only=True, slots=True)
class CommissionNever(CallbackFault):
    """commissionReport is never sent; cash is charged all the same."""

    asked_too: bool = parameter(False, "not even in the answer to reqExecutions")

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Drop the report and the order update that shows the commission."""
        if not shows_commission(delivery.event) or not self.concerns(delivery):
            return None
        return () if self.strikes(delivery.client_id) else None

    def sends(self, outgoing: Outgoing) -> Iterable[Outgoing] | None:
        """Drop reports of any origin."""
        if not self.asked_too or outgoing.message_id != Says.COMMISSION:
            return None
        return () if self.client_id in {None, outgoing.client_id} else None


@register
@dataclass(kw_only=True, slots=True)
class CommissionFirst(CallbackFault):
    """commissionReport arrives before its execDetails."""

    delay_s: float = parameter(0.1, "seconds the execution is late")

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Hold back the execution."""
        if not isinstance(delivery.event, Filled) or not self.concerns(delivery):
            return None
        return (later(delivery, self.delay_s),) if self.strikes(delivery.client_id) else None


@register
@dataclass(kw_only=True, slots=True)
class CommissionPending(CallbackFault):
    """commissionReport says -1.0 first, for not known yet, and the true amount later."""

    delay_s: float = parameter(1.0, "seconds between the two")

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Put a report without an amount before the report."""
        event = delivery.event
        if not shows_commission(event) or not self.concerns(delivery):
            return None
        if not self.strikes(delivery.client_id):
            return None
        due = later(delivery, self.delay_s)
        if not isinstance(event, Commissioned):
            return (due,)
        unknown = replace(event.execution, commission=PENDING, realized_pnl=None)
        return (replace(delivery, event=Commissioned(unknown)), due)


@register
@dataclass(kw_only=True, slots=True)
class UnsolicitedCompleted(Fault):
    """completedOrder is pushed when an order ends, though nobody asked."""

    symbol: str | None = parameter(None, "only orders of this symbol")
    last: int = field(default=0, init=False, repr=False, compare=False)

    def happened(self, event: Event, stage: Stage) -> None:
        """Push it, once for each order that ends."""
        if not isinstance(event, OrderUpdate) or event.order.completed_at is None:
            return
        if event.perm_id == self.last or self.symbol not in {None, event.order.symbol}:
            return
        self.last = event.perm_id
        self.struck += 1
        stage.completed(event.order)
