"""The ports: what the daemons ask of the world, small enough to fake by hand.

Every method returns at once. Whatever takes time is begun by a call and answered by an event, so
the daemons are plain loops of steps and a simulated world needs no event loop.
"""

from collections.abc import Sequence
from typing import Protocol

from ibloop.core.events import BrokerEvent
from ibloop.core.model import Instrument, Moment, Order, Quote
from ibloop.core.unusable import Unusable


class Clock(Protocol):
    """Reads the time."""

    def now(self) -> Moment:
        """Return the present moment on both clocks."""
        ...


class NotSentError(Exception):
    """Closed before the first byte, or an order without room: the one certain "not sent"."""


class Broker(Protocol):
    """One IB connection that may send orders."""

    def is_connected(self) -> bool:
        """Return whether the transport is up and the account proven to be ours."""
        ...

    def proof_age_s(self) -> float:
        """Return the seconds since the gateway last answered a round trip; inf if never."""
        ...

    def events(self) -> list[BrokerEvent]:
        """Return and forget what has arrived since the last call, in order of arrival."""
        ...

    def room(self) -> int:
        """Return how many orders can leave now, each at once.

        Ask before journalling a send: an order without room is not sent, for none waits in a queue.
        """
        ...

    def place(self, order: Order, instrument: Instrument) -> None:
        """Write one placeOrder with every field explicit.

        ``order.ib_order_id``, ``order.limit_price`` (for LMT) must be set.
        Raises: NotSentError when the socket is known to be closed, or when there is no room for it,
        and nothing was written.
        """
        ...

    def cancel(self, order: Order) -> None:
        """Ask for the cancellation of one order; the answer comes as events, or never."""
        ...

    def collect_evidence(self) -> None:
        """Begin a pass over everything the broker knows; a pass under way is joined.

        Ends in exactly one ``EvidenceCollected`` or ``EvidenceFailed`` event.
        """
        ...

    def ask_margin(self, orders: Sequence[tuple[Order, Instrument]]) -> None:
        """Ask what each order would cost in margin, placing none of them.

        ``ib_order_id`` must be set as for :meth:`place`, and is used up. Ends in exactly one
        ``MarginAnswered`` event with one impact an order, whatever happens to the connection.
        """
        ...


class Quotes(Protocol):
    """Reads the prices of ``data/ib/stream``."""

    def read(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Return the usable files among ``symbols``; what is missing or damaged is left out."""
        ...

    def explain(self, symbol: str) -> Unusable | None:
        """Return why the last :meth:`read` gave no quote of a symbol, or an old one, if known."""
        ...
