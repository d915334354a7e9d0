"""Faults of the connection between gateway and client."""

from dataclasses import dataclass

from ibloop.sim.faults.base import Fault, parameter, register


@register
@dataclass(kw_only=True, slots=True)
class SocketReset(Fault):
    """The connection is reset (TCP RST), once."""

    client_id: int | None = parameter(None, "only this client's connection")
    after_place: bool = parameter(False, "wait for the next placeOrder, take it, then reset")

    def resets(self, client_id: int, *, placed: bool) -> bool:
        """Reset at once, or after the next order that reaches the broker."""
        if placed != self.after_place or self.client_id not in {None, client_id}:
            return False
        self.over = self.after_place
        return True

    def lasts_s(self) -> float | None:
        """Be over at once, unless it waits for an order."""
        return None if self.after_place else 0.0


@register
@dataclass(kw_only=True, slots=True)
class Freeze(Fault):
    """The connection stays open; nothing is read and nothing is answered.

    What the client sends meanwhile waits, and is processed when the freeze ends.
    """

    client_id: int | None = parameter(None, "only this client's connection; none: new ones too")
    seconds: float = parameter(10.0, "how long, 0 until cleared")

    def freezes(self, client_id: int | None) -> bool:
        """Freeze this client, or all."""
        return self.client_id is None or self.client_id == client_id

    def lasts_s(self) -> float | None:
        """End after the given time."""
        return self.seconds or None
