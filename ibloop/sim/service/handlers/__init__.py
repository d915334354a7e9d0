"""Handlers: one function per request, one module per subject, one table of them all."""

from ibloop.sim.service.desk import Handlers
from ibloop.sim.service.handlers import (
    accounts,
    bars,
    contracts,
    marketdata,
    orders,
    pnl,
    system,
    tickbytick,
)

HANDLERS: Handlers = {
    **system.HANDLERS,
    **contracts.HANDLERS,
    **marketdata.HANDLERS,
    **bars.HANDLERS,
    **tickbytick.HANDLERS,
    **orders.HANDLERS,
    **accounts.HANDLERS,
    **pnl.HANDLERS,
}
