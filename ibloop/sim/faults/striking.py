"""What most faults have in common: whom they strike, how often, and for how long."""

from dataclasses import dataclass, field

from ibloop.sim.faults.base import (
    AT_LEAST_ONE,
    FRACTION,
    TICKS,
    Fault,
    Outgoing,
    Stage,
    Wire,
    parameter,
)
from ibloop.sim.protocol.wire import Fields


@dataclass(kw_only=True, slots=True)
class Striking(Fault):
    """A fault that strikes some of what passes by, and is over after a number of times."""

    client_id: int | None = parameter(None, "only this client")
    times: int = parameter(0, "how often it strikes, 0 for always")
    every_n: int = parameter(1, "strikes every n-th time only", within=AT_LEAST_ONE)
    probability: float = parameter(1.0, "chance of each strike", within=FRACTION)
    seed: int = parameter(0, "seed of its chance, beside the world's")
    passed: int = field(default=0, init=False, repr=False, compare=False)

    def strikes(self, client_id: int | None) -> bool:
        """Tell whether this one is struck, and count it."""
        if self.spent or self.client_id not in {None, client_id}:
            return False
        self.passed += 1
        if self.passed % self.every_n or self.rng.random() >= self.probability:
            return False
        self.struck += 1
        return True

    @property
    def spent(self) -> bool:
        """Tell whether nothing more will be struck."""
        return bool(self.times) and self.struck >= self.times


@dataclass(kw_only=True, slots=True)
class OrderFault(Striking):
    """A fault that strikes orders, once unless told otherwise."""

    symbol: str | None = parameter(None, "only this symbol")
    times: int = parameter(1, "how often it strikes, 0 for always")

    def strikes_order(self, client_id: int | None, symbol: str) -> bool:
        """Tell whether this order is struck, and count it."""
        return self.symbol in {None, symbol} and self.strikes(client_id)


@dataclass(kw_only=True, slots=True)
class Dam(Fault):
    """Holds ticks back; when it breaks, the latest of each kind flow."""

    held: dict[tuple[Wire, Fields], Outgoing] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def hold(self, outgoing: Outgoing) -> tuple[Outgoing, ...]:
        """Keep a tick as the latest of its kind; bars and tick-by-tick data are lost."""
        self.struck += 1
        if outgoing.message_id in TICKS:
            message_id, _version, req_id, tick = outgoing.fields[:4]
            self.held[outgoing.wire, (message_id, req_id, tick)] = outgoing
        return ()

    def release(self, stage: Stage) -> None:
        """Write what was held for streams that are still asked for."""
        wanted = set(stage.data_requests(None))
        held, self.held = self.held, {}
        for outgoing in held.values():
            if (outgoing.client_id, int(outgoing.fields[2])) in wanted:
                outgoing.wire.put(outgoing.fields)
