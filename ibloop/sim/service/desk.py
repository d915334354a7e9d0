"""The desk: what every handler of a request works with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ibloop.sim.faults import ActiveFaults
from ibloop.sim.service.agenda import Agenda
from ibloop.sim.service.session import Session
from ibloop.sim.world import World


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """What a user of the real gateway sets in its configuration dialog.

    The master client sees everybody's orders, as client 0 does.
    """

    master_client_id: int | None = 10


@dataclass(slots=True)
class Desk:
    """World, faults, agenda and the connected clients of one gateway."""

    world: World
    options: GatewayOptions
    faults: ActiveFaults = field(default_factory=ActiveFaults)
    agenda: Agenda = field(default_factory=Agenda)
    sessions: list[Session] = field(default_factory=list)
    clients: dict[int, Session] = field(default_factory=dict)

    def sees_all(self, client_id: int) -> bool:
        """Tell whether a client hears of everybody's orders and executions."""
        return client_id in {0, self.options.master_client_id}


# What answers a request; requests without a type of their own are known by name.
Handler = Callable[[Desk, Session, Any], None]
Handlers = dict[str | type, Handler]
