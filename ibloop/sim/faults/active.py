"""The faults in force: what the gateway asks, answered for all of them together."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from ibloop.sim.brokerage.checks import Refusal
from ibloop.sim.brokerage.events import Event
from ibloop.sim.faults.base import Delivery, Fault
from ibloop.sim.model import Order


class ActiveFaults:
    """Faults in the order in which they began; those that are over leave by themselves."""

    def __init__(self) -> None:
        """Start with a well-behaved gateway."""
        self._faults: list[Fault] = []

    def __iter__(self) -> Iterator[Fault]:
        """Return the faults in force."""
        self._faults = [fault for fault in self._faults if not fault.over]
        return iter(tuple(self._faults))

    def add(self, fault: Fault) -> None:
        """Let a fault begin."""
        self._faults.append(fault)

    def end(self, fault: Fault) -> None:
        """End one fault, if it is still in force."""
        self._faults = [other for other in self._faults if other is not fault]

    def clear(self) -> None:
        """End all faults."""
        self._faults.clear()

    def swallow(self, symbol: str) -> bool:
        """Tell whether a placeOrder vanishes."""
        return any(fault.swallows(symbol) for fault in self)

    def refusal(self, symbol: str) -> Refusal | None:
        """Return the rejection a new order gets."""
        return next(filter(None, (fault.refusal(symbol) for fault in self)), None)

    def slice(self, order: Order, now: datetime) -> Decimal | None:
        """Return the most shares an order may fill now, None for no limit."""
        limits = (fault.slice(order, now) for fault in self)
        return min((limit for limit in limits if limit is not None), default=None)

    def through(self, event: Event, client_id: int, now_s: float) -> list[Delivery]:
        """Return what becomes of an event for one client."""
        deliveries = [Delivery(event, client_id, now_s)]
        for fault in self:
            changed: list[Delivery] = []
            for delivery in deliveries:
                result = fault.deliver(delivery)
                changed += [delivery] if result is None else result
            deliveries = changed
        return deliveries

    def asked(self, perm_ids: set[int]) -> None:
        """Tell the faults which orders a client asked for and was told of."""
        for fault in self:
            fault.asked(perm_ids)

    def reset(self, client_id: int, *, placed: bool) -> bool:
        """Tell whether this connection is reset now."""
        return any(fault.resets(client_id, placed=placed) for fault in self)

    def freeze(self, client_id: int | None) -> bool:
        """Tell whether this connection is frozen."""
        return any(fault.freezes(client_id) for fault in self)
