"""Faults: ways in which a gateway misbehaves, as data with a few hooks.

To add one, write a registered dataclass in a module of this package and import that module here.
"""

from ibloop.sim.faults import connection, orders
from ibloop.sim.faults.active import ActiveFaults
from ibloop.sim.faults.base import Delivery, Fault, build, describe, name_of, parse, settings

__all__ = [
    "ActiveFaults",
    "Delivery",
    "Fault",
    "build",
    "connection",
    "describe",
    "name_of",
    "orders",
    "parse",
    "settings",
]
