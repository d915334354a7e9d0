"""The tree of values a profile is made of. Limits that guard money have no default here."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

import msgspec

from ibloop.core.delivery import Telegram
from ibloop.core.guard import GuardLimits
from ibloop.core.model import Mode, OrderType, Tif
from ibloop.core.quotes import QuoteLimits
from ibloop.core.risk import Limits
from ibloop.core.schedule import Schedule
from ibloop.core.snapshot import Omitted, hash_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientIds:
    """One fixed IB client id a role: a second holder gets error 326, a free fence."""

    executor: int = 11
    stream: int = 12
    guard: int = 10
    probe: int = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The gateway to talk to. ``sim`` starts the simulated one, ``external`` starts nothing.

    ``command`` starts the program named by the key ``command`` (a list: program and arguments),
    which runs a gateway in the foreground that listens on ``port``. ``port`` 0 (with ``sim``)
    picks a free one, which ``_gateway.json`` then tells. ``sim_args`` are further arguments for
    ``ibloop sim``.
    """

    launcher: Literal["sim", "command", "external"]
    host: str = "127.0.0.1"
    port: int = 0
    command: tuple[str, ...] = ()
    sim_args: tuple[str, ...] = ()
    client_ids: ClientIds = field(default_factory=ClientIds)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """When the market is open: ``nyse``, or ``always`` for simulations."""

    calendar: Literal["nyse", "always"] = "nyse"
    timezone: str = "America/New_York"


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Where the weights come from; a relative path is relative to the configuration file."""

    file: str = "targets.csv"
    age_h_max: float = 168.0
    omitted: Omitted = Omitted.SELL


@dataclass(frozen=True, slots=True, kw_only=True)
class Universe:
    """What may be traded: a CSV file; the samples' universe only with the simulated gateway."""

    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How orders are sent.

    ``window`` is the number of unacknowledged orders allowed at once; the first of a run always
    travels alone. Left out it is 8 in paper and 1 in live mode. ``order_value_usd_min`` leaves
    smaller changes undone, unless they close a position.

    An order that was never heard of is proven not sent by collections ``absence_spacing_s`` apart,
    the first as long after connecting, once it has expired ``absence_after_expiry_s`` ago.
    """

    order_type: OrderType = OrderType.LMT
    tif: Tif = Tif.GTD
    window: int | None = None
    ack_timeout_s: float = 10.0
    absence_spacing_s: float = 30.0
    absence_after_expiry_s: float = 60.0
    deadline_minutes: int = 30
    order_value_usd_min: Decimal = Decimal(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """Where the page listens: a loopback address only. ``port`` 0 picks a free one."""

    host: str = "127.0.0.1"
    port: int = 8791


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One profile: one account, one mode, one ledger, one host."""

    mode: Mode
    account: str
    gateway: Gateway
    limits: Limits
    quotes: QuoteLimits
    guard: GuardLimits
    session: SessionConfig = field(default_factory=SessionConfig)
    schedule: Schedule = field(default_factory=Schedule)
    targets: Targets = field(default_factory=Targets)
    universe: Universe = field(default_factory=Universe)
    execution: Execution = field(default_factory=Execution)
    telegram: Telegram = field(default_factory=Telegram)
    web: Web = field(default_factory=Web)
    data_dir: str | None = None

    @property
    def order_window(self) -> int:
        """Return how many orders may be unacknowledged at once."""
        if self.execution.window is not None:
            return self.execution.window
        return 8 if self.mode is Mode.PAPER else 1

    @property
    def config_hash(self) -> str:
        """Return the SHA-256 of all values: what a run was made under."""
        return hash_of(msgspec.to_builtins(self))
