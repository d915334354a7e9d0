"""The tree of values a profile is made of. Limits that guard money have no default here."""

from dataclasses import dataclass, field
from datetime import time, timedelta
from decimal import Decimal
from typing import Literal

import msgspec

from ibloop.core.delivery import Telegram
from ibloop.core.guard import GuardLimits
from ibloop.core.model import Algo, Mode, OrderType, Tif
from ibloop.core.quotes import QuoteLimits
from ibloop.core.retrying import Retry
from ibloop.core.risk import Limits
from ibloop.core.schedule import Schedule
from ibloop.core.snapshot import Omitted, hash_of
from ibloop.core.windows import RESETS, Recurring, Region, gateway_restart

RESTART_AT = "23:45"
"""When IB Gateway restarts unless it is told otherwise, by the clock of its host."""


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
    ``ibloop sim``; ``["--account", "DU1234567:margin:100000"]`` makes it a margin account.

    A gateway restarts once a day at ``restart_at``, a time of day in ``restart_timezone`` (left
    out: the session's); nothing is sent from ``restart_before_minutes`` before until
    ``restart_after_minutes`` after it. Left out it is 23:45, a real gateway's own default; the
    simulated one does not restart.
    """

    launcher: Literal["sim", "command", "external"]
    host: str = "127.0.0.1"
    port: int = 0
    command: tuple[str, ...] = ()
    sim_args: tuple[str, ...] = ()
    client_ids: ClientIds = field(default_factory=ClientIds)
    restart_at: str | None = None
    restart_timezone: str | None = None
    restart_before_minutes: int = 10
    restart_after_minutes: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """When the market is open: ``nyse``, or ``always`` for simulations.

    No order outlives ``close_margin_minutes`` before the close. ``server_reset`` says where IB
    keeps the account (americas, europe, asia): nothing is sent during the published resets of
    that region. Left out it is ``americas``, and ``none`` in paper with the calendar ``always``.
    """

    calendar: Literal["nyse", "always"] = "nyse"
    timezone: str = "America/New_York"
    close_margin_minutes: int = 5
    server_reset: Region | None = None


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
class Stream:
    """How prices are received.

    ``fast_receive`` takes ticks past the client library's decoder. Where the library or the
    gateway is not as expected the library's own path is taken anyway, and ``_status.json`` says so.

    ``lines_max`` is how many symbols are subscribed at once: IB allows 100, more with boosters.
    ``silence_s`` is how long a symbol may be silent in the session before it is asked about by a
    snapshot; less than ``quotes.quote_age_s_max``, or quiet symbols are too old before that.
    """

    fast_receive: bool = True
    lines_max: int = 100
    silence_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How orders are sent.

    ``window`` is the number of unacknowledged orders allowed at once; the first of a run always
    travels alone. Left out it is 8 in paper and 1 in live mode. ``order_value_usd_min`` leaves
    smaller changes undone, unless they close a position.

    An order that was never heard of is proven not sent by collections ``absence_spacing_s`` apart,
    the first as long after connecting, once it has expired ``absence_after_expiry_s`` ago.

    ``algo`` lets IB's Adaptive algo work the orders, as urgently as ``adaptive_priority`` says;
    they are then orders for the day, cancelled at the deadline.

    ``retry`` says what follows when orders were not sent or died unfilled: with ``remainder`` one
    more attempt, planned anew from what is held by then; the first one then ends half way to the
    deadline. Left out it is ``remainder`` in paper, and ``none`` where a person has to approve.

    A claimed run waits for at most ``quote_wait_s_max`` until every symbol it may trade has a
    price: what its targets name beyond the lines of the stream is subscribed only then. What has
    none by then is refused. 0 waits for nothing.

    A run that has not moved for ``stalled_after_s`` is told of by an alert.

    A live run waits for a person's approval; with ``approval = "required"`` a paper run does, too.
    An approval is of no use ``approval_minutes`` after it was asked for. In live mode a critical
    alert that could not be delivered for ``alert_age_minutes_max`` blocks new runs.
    """

    order_type: OrderType = OrderType.LMT
    tif: Tif = Tif.GTD
    window: int | None = None
    ack_timeout_s: float = 10.0
    absence_spacing_s: float = 30.0
    absence_after_expiry_s: float = 60.0
    deadline_minutes: int = 30
    order_value_usd_min: Decimal = Decimal(100)
    algo: Literal["none", "adaptive"] = "none"
    adaptive_priority: Literal["urgent", "normal", "patient"] = "normal"
    retry: Retry | None = None
    quote_wait_s_max: float = 120.0
    stalled_after_s: float = 300.0
    approval: Literal["live", "required"] = "live"
    approval_minutes: int = 60
    alert_age_minutes_max: int = 10


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
    stream: Stream = field(default_factory=Stream)
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
    def order_algo(self) -> Algo | None:
        """Return the algo that works the orders, ``None`` for plain ones."""
        if self.execution.algo == "none":
            return None
        return Algo(f"{self.execution.algo}_{self.execution.adaptive_priority}")

    @property
    def retry(self) -> Retry:
        """Return what follows when orders were not sent or died unfilled."""
        if self.execution.retry is not None:
            return self.execution.retry
        return Retry.NONE if self.needs_approval else Retry.REMAINDER

    @property
    def needs_approval(self) -> bool:
        """Return whether a run waits until a person has approved what it may send."""
        return self.mode is Mode.LIVE or self.execution.approval == "required"

    @property
    def close_margin(self) -> timedelta:
        """Return how long before the close every order must be dead."""
        return timedelta(minutes=self.session.close_margin_minutes)

    @property
    def quiet(self) -> tuple[Recurring, ...]:
        """Return the stretches of the day and the week in which nothing is sent."""
        session, gateway = self.session, self.gateway
        region = session.server_reset
        if region is None:
            # Live money has a real broker behind it until somebody says otherwise.
            is_simulated = session.calendar == "always" and self.mode is Mode.PAPER
            region = Region.NONE if is_simulated else Region.AMERICAS
        restart_at = gateway.restart_at
        if restart_at is None and gateway.launcher != "sim":
            restart_at = RESTART_AT
        if restart_at is None:
            return RESETS[region]
        restart = gateway_restart(
            time.fromisoformat(restart_at),
            gateway.restart_timezone or session.timezone,
            timedelta(minutes=gateway.restart_before_minutes),
            timedelta(minutes=gateway.restart_after_minutes),
        )
        return (restart, *RESETS[region])

    @property
    def limits_in_force(self) -> dict[str, object]:
        """Return ``[limits]`` and ``[quotes]`` as plain values, to be stored with each run."""
        return {
            "limits": msgspec.to_builtins(self.limits),
            "quotes": msgspec.to_builtins(self.quotes),
        }

    @property
    def config_hash(self) -> str:
        """Return the SHA-256 of all values: what a run was made under."""
        return hash_of(msgspec.to_builtins(self))
