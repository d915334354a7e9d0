"""Faults of the connection between gateway and client."""

from dataclasses import dataclass, field, replace
from functools import partial

from ibloop.sim.faults.base import (
    AT_LEAST_ONE,
    Arrival,
    Asks,
    Door,
    Fault,
    Outgoing,
    Reaction,
    Stage,
    Step,
    parameter,
)
from ibloop.sim.faults.registry import register
from ibloop.sim.faults.striking import Striking
from ibloop.sim.model import SimError
from ibloop.sim.service.pacing import VIOLATIONS_MAX, Pace

# Ids of the messages the simulator sends.
SENT = frozenset(
    str(number)
    for first, last in (
        *((1, 11), (15, 15), (17, 17), (19, 19), (45, 46), (49, 50), (52, 55), (57, 59), (61, 64)),
        *((71, 74), (76, 82), (85, 85), (88, 90), (93, 102), (106, 109)),
    )
    for number in range(first, last + 1)
)


@register
@dataclass(kw_only=True, slots=True)
class SocketReset(Fault):
    """The connection is reset (TCP RST), once."""

    client_id: int | None = parameter(None, "only this client's connection")
    after_place: bool = parameter(False, "wait for the next placeOrder, take it, then reset")

    def begin(self, stage: Stage) -> None:
        """Reset now, unless it waits for an order."""
        if not self.after_place:
            self.struck = stage.reset(self.client_id)
            self.over = True

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Reset before the order is worked: nothing of it is told on the dying connection."""
        if self.over or arrival.message_id != Asks.PLACE_ORDER:
            return None
        if self.client_id not in {None, arrival.client_id}:
            return None
        self.struck, self.over = 1, True
        return Reaction(reset=True)


@register
@dataclass(kw_only=True, slots=True)
class Freeze(Fault):
    """The connection stays open; nothing is read and nothing is answered.

    What the client sends meanwhile waits, and is processed when the freeze ends.
    """

    client_id: int | None = parameter(None, "only this client's connection; none: new ones too")
    seconds: float = parameter(10.0, "how long, 0 until cleared")

    def begin(self, stage: Stage) -> None:
        """Thaw after the given time."""
        self.struck = 1
        if self.seconds:
            stage.later(self.seconds, lambda: stage.end(self))

    def freezes(self, client_id: int | None) -> bool:
        """Freeze this client, or all."""
        return self.client_id is None or self.client_id == client_id


@register
@dataclass(kw_only=True, slots=True)
class AcceptAndClose(Striking):
    """New connections are accepted and closed at once, as by a relay without a gateway behind it.

    Clients that are in stay in.
    """

    def admits(self, step: Step, client_id: int | None) -> Door | None:
        """Close at the door; with a client id, when the client names itself."""
        wanted = Step.CONNECT if self.client_id is None else Step.START
        if step is not wanted or not self.strikes(client_id):
            return None
        self.over = self.spent
        return Door()


@register
@dataclass(kw_only=True, slots=True)
class LoginNeverFinishes(Striking):
    """New connections are accepted and then left alone, as while a login dialog is open."""

    answer: str = parameter(
        "nothing",
        "how far a client comes before the silence",
        choices=("nothing", "handshake"),
    )

    def admits(self, step: Step, client_id: int | None) -> Door | None:
        """Never answer the greeting, or answer it and never startApi."""
        wanted = Step.HELLO if self.answer == "nothing" else Step.START
        if step is not wanted or not self.strikes(client_id):
            return None
        self.over = self.spent
        return Door(silent=True)


@register
@dataclass(kw_only=True, slots=True)
class StuckClientId(Fault):
    """The id of a client that has left stays in use for a while: 326 and a close for the next."""

    client_id: int | None = parameter(None, "only this client id")
    seconds: float = parameter(30.0, "how long after the client has left, 0 until cleared")
    stuck: set[int] = field(default_factory=set, init=False, repr=False, compare=False)

    def leaves(self, client_id: int, stage: Stage) -> None:
        """Keep the id of a client that leaves."""
        if self.client_id not in {None, client_id}:
            return
        self.stuck.add(client_id)
        if self.seconds:
            stage.later(self.seconds, lambda: self.stuck.discard(client_id))

    def admits(self, step: Step, client_id: int | None) -> Door | None:
        """Refuse a stuck id as one that is in use."""
        if step is not Step.START or client_id not in self.stuck:
            return None
        self.struck += 1
        text = "Unable to connect as the client id is already in use. Retry with a unique client id"
        return Door(code=326, text=f"{text}.")


@register
@dataclass(kw_only=True, slots=True)
class Slow(Striking):
    """Every message to the client is late by the same time, so the sequence stays."""

    delay_s: float = parameter(1.0, "seconds")

    def sends(self, outgoing: Outgoing) -> tuple[Outgoing, ...] | None:
        """Hold a message back."""
        if not self.strikes(outgoing.client_id):
            return None
        return (replace(outgoing, delay_s=outgoing.delay_s + self.delay_s),)


@register
@dataclass(kw_only=True, slots=True)
class Muted(Striking):
    """Messages of some kinds are never sent."""

    messages: str = parameter("55+102", "message ids, joined by +")

    def begin(self, stage: Stage) -> None:
        """Refuse what is never sent anyway. Raises: SimError."""
        del stage
        if not SENT.issuperset(self._kinds()):
            expected = "message ids the simulator sends, such as 3 for orderStatus, joined by +"
            raise SimError(f"fault muted: expected {expected}, was {self.messages!r}")

    def _kinds(self) -> list[str]:
        return self.messages.split("+")

    def sends(self, outgoing: Outgoing) -> tuple[Outgoing, ...] | None:
        """Drop a message of these kinds."""
        if outgoing.fields[0] not in self._kinds():
            return None
        return () if self.strikes(outgoing.client_id) else None


@register
@dataclass(kw_only=True, slots=True)
class Pacing(Fault):
    """A tighter limit of messages: error 100 for what is above it, which is then not acted on."""

    client_id: int | None = parameter(None, "only this client")
    rate: int = parameter(10, "messages a second", within=AT_LEAST_ONE)
    disconnects: bool = parameter(True, "reset the connection after repeated violations")
    paces: dict[int, Pace] = field(default_factory=dict, init=False, repr=False, compare=False)

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Count a message, and refuse it when it is too many."""
        if self.client_id not in {None, arrival.client_id}:
            return None
        pace = self.paces.setdefault(arrival.client_id, Pace(self.rate))
        if pace.admits(arrival.now_s):
            return None
        self.struck += 1
        text = pace.violation(arrival.now_s)
        errors = ((-1, 100, text),) if text else ()
        if self.disconnects and pace.violations >= VIOLATIONS_MAX:
            del self.paces[arrival.client_id]
            client_id = arrival.client_id
            arrival.stage.later(0.0, partial(arrival.stage.reset, client_id))
        return Reaction(swallow=True, errors=errors)
