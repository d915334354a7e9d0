"""A simulated IB Gateway: any TWS API client may connect to it and trade stocks.

    bytes -> protocol -> service -> brokerage, market -> events -> faults -> protocol -> bytes

`protocol` knows the TWS messages; `market` the prices; `brokerage` orders, fills and money, all
three without clocks or sockets. `world` joins market and brokerage with time and the state file;
`service` serves clients; `faults` are the ways in which it misbehaves; `server` and `control` are
the sockets. Nothing here imports the rest of ibloop.
"""

from ibloop.sim.model import AccountKind, AccountSpec, SimError
from ibloop.sim.server import SimGateway, SimOptions
from ibloop.sim.service.desk import GatewayOptions, MarketDataAccess
from ibloop.sim.world import WorldOptions

__all__ = [
    "AccountKind",
    "AccountSpec",
    "GatewayOptions",
    "MarketDataAccess",
    "SimError",
    "SimGateway",
    "SimOptions",
    "WorldOptions",
]
