"""Handlers: one function per request, one module per subject, one table of them all."""

from ibloop.sim.service.desk import Handlers
from ibloop.sim.service.handlers import accounts, contracts, marketdata, orders, system

HANDLERS: Handlers = {
    **system.HANDLERS,
    **contracts.HANDLERS,
    **marketdata.HANDLERS,
    **orders.HANDLERS,
    **accounts.HANDLERS,
}
