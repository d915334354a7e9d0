"""The faults in force: what the gateway asks, answered for all of them together."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from itertools import count

from ibloop.sim.brokerage.checks import Refusal
from ibloop.sim.brokerage.events import Event
from ibloop.sim.faults.base import Arrival, Delivery, Door, Fault, Outgoing, Reaction, Stage, Step
from ibloop.sim.model import Order


class ActiveFaults:
    """Faults by number, in the order in which they began; those that are over leave by themselves.

    `filtering` tells whether any fault wants to see outgoing messages: without one they are not
    even taken apart. `stage` is where they act; it must be set before the first fault begins.
    """

    stage: Stage

    def __init__(self) -> None:
        """Start with a well-behaved gateway."""
        self._faults: dict[int, Fault] = {}
        self._numbers = count(1)
        self.filtering = False

    def __iter__(self) -> Iterator[Fault]:
        """Return the faults in force."""
        return iter(tuple(self.numbered().values()))

    def numbered(self) -> dict[int, Fault]:
        """Return the faults in force by number."""
        if any(fault.over for fault in self._faults.values()):
            self._keep({key: item for key, item in self._faults.items() if not item.over})
        return self._faults

    def add(self, fault: Fault) -> int:
        """Let a fault begin, and return its number."""
        number = next(self._numbers)
        self._keep(self._faults | {number: fault})
        return number

    def end(self, fault: Fault) -> bool:
        """End one fault; tell whether it was still in force."""
        rest = {key: item for key, item in self._faults.items() if item is not fault}
        ended = len(rest) < len(self._faults)
        self._keep(rest)
        return ended

    def _keep(self, faults: dict[int, Fault]) -> None:
        self._faults = faults
        self.filtering = any(type(item).sends is not Fault.sends for item in faults.values())

    # ------------------------------------------------------------------ connections

    def admits(self, step: Step, client_id: int | None) -> Door | None:
        """Return what a client meets instead of being let in."""
        return next(filter(None, (fault.admits(step, client_id) for fault in self)), None)

    def leaves(self, client_id: int) -> None:
        """Tell the faults that a client's connection is gone."""
        for fault in self:
            fault.leaves(client_id, self.stage)

    @property
    def listening(self) -> bool:
        """Tell whether the gateway's port is open."""
        return not any(fault.listens() is False for fault in self)

    def freeze(self, client_id: int | None) -> bool:
        """Tell whether this connection is frozen."""
        return any(fault.freezes(client_id) for fault in self)

    # ------------------------------------------------------------------ requests

    def receives(self, arrival: Arrival) -> Reaction:
        """Return what becomes of a request; once it is swallowed no later fault sees it."""
        result = Reaction()
        for fault in self:
            if result.swallow:
                break
            one = fault.receives(arrival)
            if one is not None:
                result = Reaction(
                    swallow=one.swallow,
                    delay_s=max(result.delay_s, one.delay_s),
                    errors=result.errors + one.errors,
                    replies=result.replies + one.replies,
                    reset=result.reset or one.reset,
                    request=one.request or result.request,
                )
                arrival = replace(arrival, request=one.request or arrival.request)
        return result

    def refusal(self, symbol: str) -> Refusal | None:
        """Return the rejection a new order gets."""
        return next(filter(None, (fault.refusal(symbol) for fault in self)), None)

    def asked(self, perm_ids: set[int]) -> None:
        """Tell the faults which orders a client asked for and was told of."""
        for fault in self:
            fault.asked(perm_ids)

    # ------------------------------------------------------------------ broker

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

    def happened(self, event: Event) -> None:
        """Tell the faults of an event of the broker."""
        for fault in self:
            fault.happened(event, self.stage)

    # ------------------------------------------------------------------ messages

    def sends(self, outgoing: Outgoing) -> list[Outgoing]:
        """Return what becomes of an outgoing message."""
        messages = [outgoing]
        for fault in self:
            changed: list[Outgoing] = []
            for message in messages:
                result = fault.sends(message)
                changed += [message] if result is None else result
            messages = changed
        return messages
