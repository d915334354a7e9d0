"""The nouns of the simulated brokerage: instrument, quote, ticket, order, execution.

All are frozen: an event may carry an order as it was, and nothing later changes it.
Money and prices are USD Decimals, quantities are shares, times are aware UTC.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
ZERO = Decimal(0)


class SimError(Exception):
    """Say in one sentence why the simulator cannot start or do what it was told."""


class Action(StrEnum):
    """Side of an order, as TWS writes it."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """Return +1 for a purchase, -1 for a sale."""
        return 1 if self is Action.BUY else -1

    @property
    def execution_side(self) -> str:
        """Return the side as execDetails writes it."""
        return "BOT" if self is Action.BUY else "SLD"


class Status(StrEnum):
    """Order statuses the simulator uses, in TWS spelling (partial fills have no status)."""

    PRE_SUBMITTED = "PreSubmitted"
    SUBMITTED = "Submitted"
    PENDING_CANCEL = "PendingCancel"
    CANCELLED = "Cancelled"
    FILLED = "Filled"
    INACTIVE = "Inactive"


LIVE = frozenset({Status.PRE_SUBMITTED, Status.SUBMITTED, Status.PENDING_CANCEL})


@dataclass(frozen=True, slots=True)
class Instrument:
    """A stock of the sample universe; `history` is False when its prices are made up."""

    con_id: int
    symbol: str
    name: str
    primary_exchange: str
    currency: str
    min_tick: Decimal
    lot: int
    sector: str
    adv_shares: int
    history: bool
    start_price: Decimal
    volatility: float

    @property
    def trading_class(self) -> str:
        """Return NMS for Nasdaq listings and the symbol for others, as IB does."""
        return "NMS" if self.primary_exchange == "NASDAQ" else self.symbol


@dataclass(frozen=True, slots=True)
class ContractKey:
    """The contract of a request: what a client says to name an instrument."""

    con_id: int
    symbol: str
    sec_type: str
    exchange: str
    primary_exchange: str
    currency: str
    local_symbol: str
    trading_class: str


@dataclass(frozen=True, slots=True)
class Quote:
    """The market of one instrument at one moment.

    `depth_id` changes when new size is shown at bid and ask: what was taken from the old depth
    is gone, the new depth is whole. `close` is the previous session's.
    """

    con_id: int
    bid: Decimal
    ask: Decimal
    last: Decimal
    bid_size: Decimal
    ask_size: Decimal
    last_size: Decimal
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int
    halted: bool
    depth_id: int


@dataclass(frozen=True, slots=True)
class OrderTicket:
    """What a client asks for in placeOrder; `unserved` names a feature we do not simulate."""

    action: str
    quantity: Decimal
    order_type: str
    limit_price: Decimal | None
    tif: str
    good_till: str
    order_ref: str
    account: str
    transmit: bool = True
    outside_rth: bool = False
    hidden: bool = False
    what_if: bool = False
    unserved: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """An order the broker has taken, in its present state.

    `commission_usd` is what its executions cost so far; `good_till` is when GTD and DAY orders
    die; `completed_text` is IB's completedStatus.
    """

    perm_id: int
    client_id: int
    order_id: int
    account: str
    con_id: int
    symbol: str
    action: Action
    quantity: Decimal
    order_type: str
    limit_price: Decimal | None
    tif: str
    good_till: datetime | None
    good_till_text: str
    order_ref: str
    outside_rth: bool
    hidden: bool
    status: Status
    accepted_at: datetime
    filled: Decimal = ZERO
    avg_fill_price: Decimal = ZERO
    last_fill_price: Decimal = ZERO
    last_fill_at: datetime | None = None
    fills: int = 0
    commission_usd: Decimal = ZERO
    completed_at: datetime | None = None
    completed_text: str = ""

    @property
    def remaining(self) -> Decimal:
        """Return the shares not yet filled."""
        return self.quantity - self.filled

    @property
    def live(self) -> bool:
        """Tell whether it can still fill."""
        return self.status in LIVE


@dataclass(frozen=True, slots=True)
class Preview:
    """Answer to a what-if order, USD: margins before and after, and the commission."""

    init_margin_before: Decimal
    init_margin_change: Decimal
    equity_before: Decimal
    commission: Decimal


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill. `realized_pnl` is None when the fill only opened or added to a position."""

    exec_id: str
    perm_id: int
    client_id: int
    order_id: int
    order_ref: str
    account: str
    con_id: int
    symbol: str
    action: Action
    shares: Decimal
    price: Decimal
    time: datetime
    commission: Decimal
    realized_pnl: Decimal | None
    cum_quantity: Decimal
    avg_price: Decimal
    exchange: str

    @property
    def cash_change(self) -> Decimal:
        """Return what the fill does to the account's cash, commission included."""
        return -self.action.sign * self.shares * self.price - self.commission


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """A placeOrder, cancelOrder or globalCancel as it arrived, whatever became of it."""

    seq: int
    received_at: datetime
    client_id: int
    kind: str
    order_id: int
    order_ref: str
    symbol: str
    action: str
    quantity: Decimal
    limit_price: Decimal | None
