"""The simulator that the clients are tested against: a frozen market with fixed quotes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from typing import Any

from ibloop.sim import GatewayOptions
from ibloop.sim.testing import Simulator, frozen, running

ACCOUNT = "DU1234567"
SECOND_ACCOUNT = "U7654321"
SESSION = date(2012, 10, 1)
QUOTES = {"AAPL": (660.00, 660.10, 660.05), "IBM": (210.00, 210.04, 210.02)}
"""Bid, ask and last at the start of each test, in USD; within the day's range of the history."""


def stock(symbol: str, con_id: int) -> dict[str, Any]:
    """Return a contract that needs no qualifying."""
    names = {"secType": "STK", "exchange": "SMART", "currency": "USD"}
    return {"conId": con_id, "symbol": symbol, **names}


AAPL = stock("AAPL", 265598)
IBM = stock("IBM", 8314)


def order(action: str, quantity: float, kind: str = "MKT", **values: Any) -> dict[str, Any]:
    """Return an order, by the API's names; DAY and transmitted unless told otherwise."""
    given = {"action": action, "totalQuantity": quantity, "orderType": kind}
    return {"tif": "DAY", "transmit": True, **given, **values}


def limit(action: str, quantity: float, price: float, **values: Any) -> dict[str, Any]:
    """Return a limit order."""
    return order(action, quantity, "LMT", lmtPrice=price, **values)


def set_quote(sim: Simulator, symbol: str, bid: float, ask: float, last: float) -> None:
    """Fix the quote of a symbol; all three, so that nothing else moves."""
    sim.quote(symbol, bid=bid, ask=ask, last=last)


@contextmanager
def quoted(accounts: Sequence[str], gateway: GatewayOptions) -> Iterator[Simulator]:
    """Run a simulator with these accounts and settings, and the quotes above."""
    options = replace(frozen(accounts=accounts, start=SESSION), gateway=gateway)
    with running(options) as sim:
        for symbol, quote in QUOTES.items():
            set_quote(sim, symbol, *quote)
        yield sim
