"""Faults: ways in which a gateway misbehaves, as data with a few hooks.

To add one, write a registered dataclass in a module of this package and import that module here.
"""

from ibloop.sim.faults import (
    broker,
    callbacks,
    clock,
    connection,
    marketdata,
    orders,
    outages,
    queries,
)
from ibloop.sim.faults.active import ActiveFaults
from ibloop.sim.faults.base import Delivery, Fault
from ibloop.sim.faults.registry import (
    build,
    check,
    describe,
    markdown_table,
    name_of,
    parse,
    settings,
    shown,
)

__all__ = [
    "ActiveFaults",
    "Delivery",
    "Fault",
    "broker",
    "build",
    "callbacks",
    "check",
    "clock",
    "connection",
    "describe",
    "markdown_table",
    "marketdata",
    "name_of",
    "orders",
    "outages",
    "parse",
    "queries",
    "settings",
    "shown",
]
