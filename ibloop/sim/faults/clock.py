"""Faults of the clock."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ibloop.sim.faults.base import SIGNED, Arrival, Asks, Outgoing, Reaction, Says, parameter
from ibloop.sim.faults.registry import register
from ibloop.sim.faults.striking import Striking

# Messages that tell the time, and their units in a second.
UNITS: dict[int, int] = {Says.CURRENT_TIME: 1, Says.CURRENT_TIME_MILLIS: 1000}


@register
@dataclass(kw_only=True, slots=True)
class ServerTimeSameSecond(Striking):
    """reqCurrentTime stays unanswered when repeated within the same second of server time."""

    answered: dict[int, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Swallow a question that comes too soon."""
        if arrival.message_id != Asks.CURRENT_TIME:
            return None
        second = int(arrival.now.timestamp())
        if self.answered.get(arrival.client_id) != second:
            self.answered[arrival.client_id] = second
            return None
        return Reaction(swallow=True) if self.strikes(arrival.client_id) else None


@register
@dataclass(kw_only=True, slots=True)
class ClockSkew(Striking):
    """Server time as reqCurrentTime tells it is wrong; executions carry the true time."""

    seconds: float = parameter(60.0, "how far it is ahead, below 0 behind", within=SIGNED)

    def sends(self, outgoing: Outgoing) -> Iterable[Outgoing] | None:
        """Tell a wrong time."""
        factor = UNITS.get(outgoing.message_id)
        if factor is None or not self.strikes(outgoing.client_id):
            return None
        shown = int(outgoing.fields[-1]) + int(self.seconds * factor)
        return (replace(outgoing, fields=(*outgoing.fields[:-1], str(shown))),)
