"""A simulated IB Gateway: any TWS API client may connect to it and trade stocks.

    bytes -> wire -> requests -> gateway -> broker, market -> events -> faults -> replies -> bytes

`wire`, `requests`, `replies`, `orderlayout` know the protocol; `market`, `broker`, `checks`,
`account` the brokerage, without clocks or sockets; `world` joins them with time and the state
file; `gateway` serves clients; `server` and `control` are the sockets. Nothing here imports the
rest of ibloop.
"""

from ibloop.sim.model import SimError
from ibloop.sim.server import SimGateway, SimOptions
from ibloop.sim.world import WorldOptions

__all__ = ["SimError", "SimGateway", "SimOptions", "WorldOptions"]
