"""What the broker needs to know of the exchange: time, prices, and whether it is open."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from ibloop.sim.model import Quote


class Phase(StrEnum):
    """Part of the trading day; orders without outsideRth work only while it is open."""

    CLOSED = "closed"
    PRE_MARKET = "pre-market"
    OPEN = "open"
    POST_MARKET = "post-market"


class Venue(Protocol):
    """The exchange as the broker sees it at one moment; the simulated world is one.

    Sessions are numbered in the order in which they are played; a session that is over never
    comes back, and its opening and closing price do not change any more.
    """

    def now(self) -> datetime:
        """Return server time, aware UTC."""
        ...

    def quote_of(self, con_id: int) -> Quote | None:
        """Return an instrument's quote, None while it has no price."""
        ...

    def phase(self) -> Phase:
        """Return the part of the trading day."""
        ...

    def session(self) -> int:
        """Return the number of the session being played, or of the next one while closed."""
        ...

    def next_open(self) -> datetime:
        """Return when regular trading begins next, aware UTC; now while it is open."""
        ...

    def day_end(self, *, outside_rth: bool) -> datetime:
        """Return when a DAY order that is placed now ends, aware UTC."""
        ...

    def opening_price(self, con_id: int, session: int) -> Decimal | None:
        """Return the price of a session's opening auction, None without one."""
        ...

    def closing_price(self, con_id: int, session: int) -> Decimal | None:
        """Return the price of a session's closing auction, None without one."""
        ...
