"""The nouns: moments, instruments, quotes, orders, executions, positions, accounts.

Money and quantities are ``Decimal``; USD where nothing else is said; quantities in shares, never
negative where a side stands beside them. Times are aware UTC. Missing is ``None``, never zero.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

ZERO = Decimal(0)
SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9 .-]{0,11}")
"""What a symbol looks like; it becomes part of file names and order references."""


class Mode(StrEnum):
    """Whether real money is at stake."""

    PAPER = "paper"
    LIVE = "live"


class Side(StrEnum):
    """FIX side, as IB's order action spells it."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """Return +1 for BUY, -1 for SELL."""
        return 1 if self is Side.BUY else -1


class OrderType(StrEnum):
    """Order types the builder makes: ``LMT`` is marketable inside the price collar."""

    MKT = "MKT"
    LMT = "LMT"


class Algo(StrEnum):
    """IB's Adaptive algo, by how urgently it works an order: fast fill or better price."""

    ADAPTIVE_URGENT = "adaptive_urgent"
    ADAPTIVE_NORMAL = "adaptive_normal"
    ADAPTIVE_PATIENT = "adaptive_patient"


class Tif(StrEnum):
    """Time in force. GTD orders carry the run's deadline and die by themselves."""

    DAY = "DAY"
    GTD = "GTD"


class HaltLevel(StrEnum):
    """How much a halt stops; see :data:`HALT_ORDER` for which one wins."""

    PAUSE = "pause"
    REDUCE_ONLY = "reduce-only"
    KILL = "kill"


# The severest of several halts counts. PAUSE stops more than REDUCE_ONLY; KILL also cancels.
HALT_ORDER = (HaltLevel.REDUCE_ONLY, HaltLevel.PAUSE, HaltLevel.KILL)


@dataclass(frozen=True, slots=True)
class Moment:
    """A reading of both clocks: wall time for people, boot time for ages.

    ``boottime_ns`` is CLOCK_BOOTTIME: shared by all processes of one boot and running on in
    suspend, so a stepped wall clock neither hides a dead process nor trips a guard.
    """

    utc: datetime
    boottime_ns: int
    boot_id: str

    def age_s(self, stamp: "Moment") -> float:
        """Return the seconds from ``stamp`` to this moment.

        By boot time within one boot, by wall time otherwise. Negative when ``stamp`` lies ahead.
        """
        if stamp.boot_id == self.boot_id:
            return (self.boottime_ns - stamp.boottime_ns) / 1e9
        return (self.utc - stamp.utc).total_seconds()


@dataclass(frozen=True, slots=True)
class Instrument:
    """One stock of the universe.

    ``adv_shares`` is the average daily volume; ``None`` when unknown, which denies an order that
    has to be measured against it.
    """

    symbol: str
    con_id: int
    name: str
    primary_exchange: str
    currency: str
    min_tick: Decimal
    lot: Decimal
    sector: str
    adv_shares: Decimal | None


class QuoteSource(StrEnum):
    """Where a price came from, best first."""

    STREAM = "ib_stream"
    SNAPSHOT = "ib_snapshot"
    HISTORY = "ib_history"


class MarketDataType(StrEnum):
    """IB's market data types 1 to 4."""

    LIVE = "live"
    FROZEN = "frozen"
    DELAYED = "delayed"
    DELAYED_FROZEN = "delayed_frozen"


@dataclass(frozen=True, slots=True)
class Quote:
    """The merged state of one symbol, as ``data/ib/stream/SYMBOL.json`` holds it.

    Prices in ``currency`` per share, sizes and volume in shares. ``seq`` only grows.
    ``received`` is our clock, ``event_time`` the exchange's.
    """

    symbol: str
    con_id: int
    seq: int
    received: Moment
    event_time: datetime | None
    source: QuoteSource
    market_data_type: MarketDataType
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    close: Decimal | None
    open: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None
    bid_size: Decimal | None = None
    ask_size: Decimal | None = None
    last_size: Decimal | None = None
    volume: Decimal | None = None
    halted: bool | None = None
    currency: str = "USD"
    exchange: str = "SMART"


@dataclass(frozen=True, slots=True)
class Target:
    """The wanted share of net liquidation, as a fraction of 1."""

    symbol: str
    weight: Decimal


@dataclass(frozen=True, slots=True)
class Position:
    """What the broker says we hold; ``quantity`` is negative when short."""

    symbol: str
    con_id: int
    quantity: Decimal
    avg_cost: Decimal


@dataclass(frozen=True, slots=True)
class AccountValues:
    """The broker's own figures for the account, in base currency, as of ``as_of``.

    ``settled_cash`` counts purchases when they are made and sales when they settle;
    ``day_trades_left`` is -1 where there is no limit; ``available_funds`` is what initial margin
    leaves for new positions. ``None``: the broker did not say.
    """

    account: str
    net_liquidation: Decimal
    total_cash: Decimal
    as_of: datetime
    settled_cash: Decimal | None = None
    day_trades_left: int | None = None
    available_funds: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """One order of a run: the row of ``trade_orders`` the protocol works on.

    ``client_order_id`` is the identity everywhere and IB's orderRef; ``ib_order_id`` is only a
    handle of the connection. ``filled_quantity`` and ``avg_fill_price`` come from executions.
    ``algo`` says how the broker works it, ``None`` for a plain order of its type.
    """

    client_order_id: str
    run_id: str
    symbol: str
    con_id: int
    side: Side
    quantity: Decimal
    order_type: OrderType
    limit_price: Decimal | None
    tif: Tif
    good_till: datetime
    status: str
    filled_quantity: Decimal = ZERO
    avg_fill_price: Decimal | None = None
    ib_order_id: int | None = None
    perm_id: int | None = None
    reject_source: str | None = None
    reject_code: str | None = None
    reject_reason: str | None = None
    sent_at: datetime | None = None
    algo: Algo | None = None

    @property
    def remaining(self) -> Decimal:
        """Return the shares not yet executed."""
        return self.quantity - self.filled_quantity


@dataclass(frozen=True, slots=True)
class MarginImpact:
    """What the broker says that one order would do to the account's margin, in USD.

    Initial margin: by how much it would grow, and what it would be after the order; the equity
    with loan value after it; the commission. ``None``: not told. ``problem`` says why there is no
    answer, empty when there is one.
    """

    ib_order_id: int
    initial_change_usd: Decimal | None = None
    initial_after_usd: Decimal | None = None
    equity_after_usd: Decimal | None = None
    commission_usd: Decimal | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill as the broker reports it.

    ``exec_id`` is IB's ``base.NN`` where NN counts corrections. ``client_order_id`` is the
    orderRef, empty for an order that is not ours. ``commission`` is ``None`` until reported.
    """

    exec_id: str
    account: str
    client_order_id: str
    perm_id: int
    symbol: str
    con_id: int
    side: Side
    quantity: Decimal
    price: Decimal
    executed_at: datetime
    commission: Decimal | None = None
    realized_pnl: Decimal | None = None


@dataclass(frozen=True, slots=True)
class BrokerOrder:
    """An order as an open-order or completed-order query shows it.

    ``ended_at`` is the broker's own time of the end of a completed order, to the second; ``None``
    where it does not say.
    """

    client_order_id: str
    account: str
    perm_id: int
    client_id: int
    ib_order_id: int
    symbol: str
    side: Side
    quantity: Decimal
    ib_status: str
    filled_quantity: Decimal | None
    why_held: str = ""
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the broker knows, collected in one pass in which no query failed.

    There is no partial evidence: a failed query makes the pass fail, because failed is not empty.
    ``next_order_id`` is the lowest the broker takes next; ``None`` where nobody asked a broker.
    """

    collected_at: datetime
    account_values: AccountValues
    positions: tuple[Position, ...]
    open_orders: tuple[BrokerOrder, ...]
    completed_orders: tuple[BrokerOrder, ...]
    executions: tuple[Execution, ...]
    next_order_id: int | None = None
