"""What a fault is: a dataclass with hooks.

The gateway asks every active fault at a few fixed points (the hooks of `Fault`) and knows no
fault by name: at the door, when a request comes in, when the broker says something, when a
message goes out. What a fault does of its own accord it does through its `Stage`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from ibloop.sim.brokerage.checks import Refusal
from ibloop.sim.brokerage.events import Event
from ibloop.sim.model import Order
from ibloop.sim.protocol.wire import Fields

if TYPE_CHECKING:
    from ibloop.sim.world import World

# What an order update shows, by message id: openOrder and orderStatus.
OPEN_ORDER, ORDER_STATUS = "5", "3"


# The largest number a client can send, and large enough for every parameter.
LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers a parameter may be: from `least`, or only `above` it, to `most`."""

    least: float = 0
    most: float = LARGEST
    above: bool = False

    def __contains__(self, number: float) -> bool:
        """Tell whether a number is one of them; NaN is not."""
        return self.least <= number <= self.most and not (self.above and number == self.least)

    def __str__(self) -> str:
        """Return the range in words."""
        if self.above:
            return f"above {self.least:,} and up to {self.most:,}"
        return f"from {self.least:,} to {self.most:,}"


NOT_NEGATIVE, POSITIVE, SIGNED = Range(), Range(above=True), Range(-LARGEST)
AT_LEAST_ONE = Range(1)
FRACTION = Range(most=1)


def parameter(
    default: Any, doc: str, *, choices: Sequence[str] = (), within: Range = NOT_NEGATIVE
) -> Any:
    """Declare a fault's parameter: default, meaning, and what it may be."""
    return field(default=default, metadata={"doc": doc, "choices": choices, "within": within})


class Asks(IntEnum):
    """Message ids of the requests that faults know."""

    MARKET_DATA = 1
    CANCEL_MARKET_DATA = 2
    PLACE_ORDER = 3
    CANCEL_ORDER = 4
    OPEN_ORDERS = 5
    ACCOUNT_UPDATES = 6
    EXECUTIONS = 7
    IDS = 8
    CONTRACT_DETAILS = 9
    SERVER_LOG_LEVEL = 14
    AUTO_OPEN_ORDERS = 15
    ALL_OPEN_ORDERS = 16
    MANAGED_ACCOUNTS = 17
    HISTORICAL_DATA = 20
    CURRENT_TIME = 49
    REAL_TIME_BARS = 50
    GLOBAL_CANCEL = 58
    POSITIONS = 61
    ACCOUNT_SUMMARY = 62
    MATCHING_SYMBOLS = 81
    HEAD_TIMESTAMP = 87
    HISTORICAL_TICKS = 96
    TICK_BY_TICK = 97
    COMPLETED_ORDERS = 99
    CURRENT_TIME_MILLIS = 105


class Says(IntEnum):
    """Message ids of the replies that faults know."""

    TICK_PRICE = 1
    TICK_SIZE = 2
    EXECUTION = 11
    TICK_GENERIC = 45
    TICK_STRING = 46
    CURRENT_TIME = 49
    REAL_TIME_BAR = 50
    OPEN_ORDERS_END = 53
    EXECUTIONS_END = 55
    MARKET_DATA_TYPE = 58
    COMMISSION = 59
    POSITIONS_END = 62
    HISTORICAL_UPDATE = 90
    TICK_BY_TICK = 99
    COMPLETED_ORDERS_END = 102
    CURRENT_TIME_MILLIS = 109


TICKS = frozenset({Says.TICK_PRICE, Says.TICK_SIZE, Says.TICK_GENERIC, Says.TICK_STRING})
STREAMED = TICKS | {Says.REAL_TIME_BAR, Says.HISTORICAL_UPDATE, Says.TICK_BY_TICK}


class Step(StrEnum):
    """How far a client has come: the connection, its greeting, its startApi."""

    CONNECT = "connect"
    HELLO = "hello"
    START = "start"


@dataclass(frozen=True, slots=True)
class Door:
    """What a client meets instead of being let in: silence, or a close, after an error if any."""

    silent: bool = False
    code: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it came in.

    `req_id` is its request or order id, -1 without one. `fresh` marks a placeOrder (no what-if)
    under an order id that has no order yet. `handle` lets the gateway act on it past the faults.
    """

    client_id: int
    message_id: int
    req_id: int
    symbol: str
    fresh: bool
    request: Any
    now: datetime
    now_s: float
    handle: Callable[[], None]
    stage: Stage


@dataclass(frozen=True, slots=True)
class Reaction:
    """What becomes of a request.

    In this order: the connection is reset; errors (id, code, text) and replies are sent; the
    request, or the one put in its place, is handled after `delay_s`, or never if swallowed.
    """

    swallow: bool = False
    delay_s: float = 0.0
    errors: tuple[tuple[int, int, str], ...] = ()
    replies: tuple[Fields, ...] = ()
    reset: bool = False
    request: Any = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to one client: at `now_s` on the monotonic clock plus `delay_s`.

    `without` holds the ids of messages it is not to show: OPEN_ORDER or ORDER_STATUS.
    """

    event: Event
    client_id: int
    now_s: float
    delay_s: float = 0.0
    without: frozenset[str] = frozenset()


class Wire(Protocol):
    """One connection, written to past all faults."""

    def put(self, fields: Fields) -> None:
        """Write a message."""
        ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message about to be written to a connection.

    `client_id` is None before startApi; `symbol` is that of the request a tick or bar belongs to.
    """

    fields: Fields
    client_id: int | None
    symbol: str
    now_s: float
    wire: Wire
    delay_s: float = 0.0

    @property
    def message_id(self) -> int:
        """Return the message id, -1 for what is not a message."""
        return int(self.fields[0]) if self.fields[0].isdecimal() else -1


class Stage(Protocol):
    """What a fault can do of its own accord."""

    @property
    def world(self) -> World:
        """Return market, broker, server time and monotonic time."""
        ...

    def later(self, delay_s: float, action: Callable[[], object]) -> None:
        """Do something after so many seconds, whether the fault is still in force or not."""
        ...

    def end(self, fault: Fault) -> None:
        """End a fault."""
        ...

    def tell(self, events: Iterable[Event]) -> None:
        """Store what changed and let the clients hear these events of the broker."""
        ...

    def match(self) -> None:
        """Let the market fill what it can fill now."""
        ...

    def post(self, delivery: Delivery) -> None:
        """Let a client hear of an event now, past the faults."""
        ...

    def error(self, client_id: int | None, req_id: int, code: int, text: str) -> None:
        """Send an error or (with request id -1) a notice to one client, or to all."""
        ...

    def completed(self, order: Order) -> None:
        """Send completedOrder, which nobody asked for, to the clients that may see the order."""
        ...

    def follow_port(self) -> None:
        """Close the gateway's port now if a fault wants it closed, not with the next sample."""
        ...

    def reset(self, client_id: int | None) -> int:
        """Reset one client's connection, or all connections; return how many."""
        ...

    def data_requests(self, client_id: int | None) -> list[tuple[int, int]]:
        """Return (client id, request id) of the data streams of one client, or of all."""
        ...

    def data_type(self, client_id: int) -> int:
        """Return the type of market data that a client asked for, IB's 1 to 4; 1 if it did not."""
        ...

    def end_data(self, client_id: int, req_id: int) -> None:
        """Forget a data stream without a word."""
        ...


@dataclass(kw_only=True, slots=True)
class Fault:
    """A fault that changes nothing: every hook's None or False leaves things as they are.

    A fault sets `over` when it has nothing left to do; the gateway then forgets it. `struck`
    counts what it did, `rng` is its own source of chance, seeded by the gateway.
    """

    over: bool = field(default=False, init=False, repr=False)
    struck: int = field(default=0, init=False, repr=False, compare=False)
    rng: Random = field(default_factory=lambda: Random(0), init=False, repr=False, compare=False)

    def begin(self, stage: Stage) -> None:
        """Act when the fault comes into force."""

    def finish(self, stage: Stage) -> None:
        """Mend what is to be mended when it ends or is cleared."""

    def admits(self, step: Step, client_id: int | None) -> Door | None:
        """Return what a client meets at this step instead of being let in."""

    def leaves(self, client_id: int, stage: Stage) -> None:
        """Learn that a client's connection is gone."""

    def listens(self) -> bool | None:
        """Return False while the gateway's port is closed."""

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Return what becomes of a request."""

    def refusal(self, symbol: str) -> Refusal | None:
        """Return the rejection a new order gets."""

    def slice(self, order: Order, now: datetime) -> Decimal | None:
        """Return the most shares an order may fill now, None for no limit."""

    def happened(self, event: Event, stage: Stage) -> None:
        """Learn of an event of the broker, once, after the clients were told."""

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Return what becomes of a delivery: nothing, later, more than one; None: as it is."""

    def sends(self, outgoing: Outgoing) -> Iterable[Outgoing] | None:
        """Return what becomes of an outgoing message: nothing, later, changed; None: as it is."""

    def asked(self, perm_ids: set[int]) -> None:
        """Learn that a client asked for orders and was told of these."""

    def freezes(self, client_id: int | None) -> bool | None:
        """Tell whether this connection is frozen; None is one that has not named itself."""
