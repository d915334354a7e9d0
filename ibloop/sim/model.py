"""The nouns of the simulated brokerage: instrument, quote, ticket, order, execution.

All are frozen: an event may carry an order as it was, and nothing later changes it.
Money and prices are USD Decimals, quantities are shares, times are aware UTC.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Self
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
ZERO = Decimal(0)
CENT = Decimal("0.01")
SUB_PENNY = Decimal("0.0001")


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
    API_CANCELLED = "ApiCancelled"
    FILLED = "Filled"
    INACTIVE = "Inactive"


LIVE = frozenset({Status.PRE_SUBMITTED, Status.SUBMITTED, Status.PENDING_CANCEL})


ACCOUNT_ID = re.compile(r"[A-Za-z0-9]+")
ACCOUNT_CASH = re.compile(r"[0-9]{1,12}([.][0-9]{1,2})?")


class AccountKind(StrEnum):
    """Whether an account pays in full, or may borrow and sell short."""

    CASH = "cash"
    MARGIN = "margin"


@dataclass(frozen=True, slots=True)
class AccountSpec:
    """An account to open: its id, its kind, and its cash in USD (None: the default amount)."""

    account_id: str
    kind: AccountKind = AccountKind.CASH
    cash_usd: Decimal | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `ID[:cash|margin][:CASH_USD]`. Raises: SimError naming the part that is wrong."""
        account_id, *rest = text.split(":")
        if not ACCOUNT_ID.fullmatch(account_id):
            raise SimError(f"expected an account id of letters and digits, was {account_id!r}")
        kind = AccountKind(rest.pop(0)) if rest and rest[0] in set(AccountKind) else None
        cash = rest.pop(0) if rest else None
        if cash is not None and not (ACCOUNT_CASH.fullmatch(cash) and Decimal(cash)):
            expected = "USD above 0 and below 1e12, with up to two decimals"
            if kind is None:
                expected = f"cash, margin or {expected}"
            raise SimError(f"account {account_id}: expected {expected}, was {cash!r}")
        if rest:
            raise SimError(f"account {account_id}: no more expected after its cash: {rest[0]!r}")
        return cls(account_id, kind or AccountKind.CASH, Decimal(cash) if cash else None)


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

    def tick_at(self, price: Decimal) -> Decimal:
        """Return the price step at a price: from one dollar on it is never below a cent."""
        return max(self.min_tick, CENT) if price >= 1 else self.min_tick


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
    is gone, the new depth is whole. `close` is the previous session's. Before a day's first trade
    `open`, `high` and `low` are 0: there are none yet.
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
    """What a client asks for in placeOrder; `unserved` names a feature we do not simulate.

    `aux_price` is the stop or touch price, of a TRAIL order the trailing amount; the percentage
    is of the last price. `algo_params` are tag, value, tag, value.
    """

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
    aux_price: Decimal | None = None
    trail_stop: Decimal | None = None
    trailing_percent: Decimal | None = None
    trigger_method: int = 0
    oca_group: str = ""
    oca_type: int = 0
    parent_id: int = 0
    algo: str = ""
    algo_params: tuple[str, ...] = ()
    override_percentage: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """An order the broker has taken, in its present state.

    `commission_usd` is what its executions cost so far; `good_till` is when GTD and DAY orders
    die; `completed_text` is IB's completedStatus. `aux_price` is the stop or touch price, of a
    TRAIL order the trailing amount; `trail_stop` is where such a stop stands now, `elected` that
    the price was reached. `parent_perm_id` is the order it waits for, `auction_session` the
    session whose opening (tif OPG) or closing auction (MOC, LOC) it takes part in; `why_held` is
    orderStatus' word for what it waits for. Orders not entered through the API have order id 0;
    `liquidation` marks those of the broker itself.
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
    aux_price: Decimal | None = None
    trail_stop: Decimal | None = None
    trailing_percent: Decimal | None = None
    trigger_method: int = 0
    elected: bool = False
    oca_group: str = ""
    oca_type: int = 3
    parent_id: int = 0
    parent_perm_id: int = 0
    algo: str = ""
    algo_params: tuple[str, ...] = ()
    auction_session: int | None = None
    why_held: str = ""
    liquidation: bool = False

    @property
    def remaining(self) -> Decimal:
        """Return the shares not yet filled."""
        return self.quantity - self.filled

    @property
    def live(self) -> bool:
        """Tell whether it can still fill; Inactive orders that wait for shares can."""
        waits = self.status is Status.INACTIVE and self.why_held == "locate"
        return waits or self.status in LIVE


@dataclass(frozen=True, slots=True)
class Margins:
    """What an account must have and has, USD: initial and maintenance margin, equity with loan."""

    initial: Decimal
    maintenance: Decimal
    equity: Decimal


@dataclass(frozen=True, slots=True)
class Preview:
    """Answer to a what-if order: the account without and with it, and the commission, USD."""

    before: Margins
    after: Margins
    commission: Decimal


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill. `realized_pnl` is None when the fill only opened or added to a position.

    `liquidation` marks an order of the broker itself, `corporate` what came of a split, which is
    no trade: the split with its `ratio`, and the fraction of a share that was paid out.
    """

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
    liquidation: bool = False
    corporate: bool = False
    ratio: Decimal | None = None

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
