"""The desk: what every handler of a request works with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ibloop.sim.faults import ActiveFaults
from ibloop.sim.protocol.wire import SERVER_VERSION_MAX
from ibloop.sim.service.agenda import Agenda
from ibloop.sim.service.boards import Boards
from ibloop.sim.service.historical import HistoricalPace
from ibloop.sim.service.pacing import MESSAGES_PER_S
from ibloop.sim.service.session import Session
from ibloop.sim.world import World

# Whose orders and executions a client sees: its own, or everybody's.
OWN, ALL = "own", "all"
VISIBILITIES = (OWN, ALL)


# IB's own limit depends on commissions and equity; this is where everybody begins.
MARKET_DATA_LINES = 100


class MarketDataAccess(StrEnum):
    """What market data a login is entitled to."""

    LIVE = "live"
    DELAYED = "delayed"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """What a user of the real gateway sets in its configuration dialog, and which build it is.

    The master client sees everybody's orders, as client 0 does. `server_version_max` is the
    highest version offered; `message_rate_max` the messages a client may send in a second, 0 for
    any number; `open_orders_on_connect` tells a client its open orders without being asked;
    `repeats_time` answers reqCurrentTime also when repeated within a second, as builds before
    10.1.68 do; `notices_early` sends the first notices between the accounts and the next id;
    `historical_pacing` refuses queries for small bars that come too often.
    `market_data` is what the login may see, `market_data_lines` how many streams a client may
    have at once, 0 for any number.
    `visibility` "all" lets every client see everybody's orders and executions; `foreign_cancel`
    lets cancelOrder end other clients' orders; `push_completed` tells a client that has asked for
    completed orders of later ones unasked. Real gateways were seen doing either of each.
    """

    master_client_id: int | None = 10
    server_version_max: int = SERVER_VERSION_MAX
    message_rate_max: int = MESSAGES_PER_S
    open_orders_on_connect: bool = False
    repeats_time: bool = False
    notices_early: bool = False
    historical_pacing: bool = True
    market_data: MarketDataAccess = MarketDataAccess.LIVE
    market_data_lines: int = MARKET_DATA_LINES
    visibility: str = OWN
    foreign_cancel: bool = False
    push_completed: bool = False


@dataclass(slots=True)
class Desk:
    """World, faults, agenda and the connected clients of one gateway.

    `follow_port` is the transport's: it closes the port at once when it is to be closed.
    """

    world: World
    options: GatewayOptions
    faults: ActiveFaults = field(default_factory=ActiveFaults)
    agenda: Agenda = field(default_factory=Agenda)
    sessions: list[Session] = field(default_factory=list)
    clients: dict[int, Session] = field(default_factory=dict)
    historical: HistoricalPace = field(default_factory=HistoricalPace)
    follow_port: Callable[[], None] = lambda: None
    boards: Boards = field(init=False)

    def __post_init__(self) -> None:
        """Show the world's prices."""
        self.boards = Boards(self.world)

    def sees_all(self, client_id: int) -> bool:
        """Tell whether a client hears of everybody's orders and executions."""
        everybody = self.options.visibility == ALL
        return everybody or client_id in {0, self.options.master_client_id}


# What answers a request; requests without a type of their own are known by name.
Handler = Callable[[Desk, Session, Any], None]
Handlers = dict[str | type, Handler]
