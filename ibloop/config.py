"""One TOML file, one frozen tree of values. Unknown keys are errors; money limits are mandatory.

Where the file comes from: ``--config FILE``, else ``--profile NAME`` (``/etc/ibloop/NAME.toml``
and nothing else), else ``$IBLOOP_CONFIG``, else ``./ibloop.toml``, else the built-in sim profile.
Nothing but the path of the file is ever read from the environment.
"""

import dataclasses
import math
import os
import re
import tomllib
import typing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from ibloop.core.delivery import Telegram
from ibloop.core.guard import GuardLimits
from ibloop.core.model import Mode, OrderType, Tif
from ibloop.core.quotes import QuoteLimits
from ibloop.core.risk import Limits
from ibloop.core.schedule import Schedule
from ibloop.core.snapshot import Omitted, hash_of
from ibloop.errors import ConfigError

SYSTEM_CONFIG_DIR = Path("/etc/ibloop")
SYSTEM_DATA_DIR = Path("/var/lib/ibloop")
PAPER_PORTS, LIVE_PORTS = frozenset({4002, 7497}), frozenset({4001, 7496})
PAPER_ACCOUNT = re.compile(r"D[UF][0-9]+")
LIVE_ACCOUNT = re.compile(r"[A-Z]{1,3}[0-9]+")
PORT_MAX = 65_535
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
DEADLINE_MINUTES_MAX = 1_440


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


BUILTIN_TOML = (Path(__file__).parent / "builtin.toml").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Profile:
    """A configuration together with where it came from and where its data lives."""

    config: Config
    source: Path | None
    data_dir: Path

    @property
    def name(self) -> str:
        """Return the name people see: the file's stem, ``sim`` for the built-in one."""
        return self.source.stem if self.source else "sim"

    @property
    def ledger_path(self) -> Path:
        """Return where the ledger of this profile is."""
        return self.data_dir / "ibloop.db"

    @property
    def stream_dir(self) -> Path:
        """Return the directory of quotes and heartbeats."""
        return self.data_dir / "ib" / "stream"

    def resolve(self, file: str) -> Path:
        """Return ``file`` relative to the configuration's directory (else the current one)."""
        base = self.source.parent if self.source else Path.cwd()
        return (base / file).expanduser()


def load_profile(config_file: Path | None, profile: str | None, data: Path | None) -> Profile:
    """Return the profile that the command line and the surroundings name.

    Raises: ConfigError when the named file is missing, unreadable or wrong in any way.
    """
    source = _find(config_file, profile)
    config = parse(_read(source) if source else BUILTIN_TOML, str(source or "built-in profile"))
    if data is None and config.data_dir is not None:
        data = ((source.parent if source else Path.cwd()) / config.data_dir).expanduser()
    if data is None and source is not None and source.parent == SYSTEM_CONFIG_DIR:
        data = SYSTEM_DATA_DIR / source.stem
    return Profile(config, source, (data or Path("data")).absolute())


def _find(config_file: Path | None, profile: str | None) -> Path | None:
    if config_file is not None:
        return config_file.absolute()
    if profile is not None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", profile):
            raise ConfigError(f"expected a profile name like 'paper', was {profile!r}")
        return SYSTEM_CONFIG_DIR / f"{profile}.toml"
    if named := os.environ.get("IBLOOP_CONFIG"):
        return Path(named).absolute()
    here = Path("ibloop.toml").absolute()
    return here if here.exists() else None


def _read(source: Path) -> str:
    try:
        return source.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no configuration at {source}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {source}: {error}") from None


def parse(text: str, source: str) -> Config:
    """Return the configuration in ``text``.

    Raises: ConfigError naming ``source`` and everything that is wrong with it.
    """
    try:
        raw = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}") from None
    if problems := _unknown_keys(raw, Config, ""):
        raise ConfigError(f"{source}: {'; '.join(problems)}")
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {error}") from None
    if problems := _bad_numbers(config, ""):
        raise ConfigError(f"{source}: {'; '.join(problems)}")
    if problems := _contradictions(config):
        raise ConfigError(f"{source}: {'; '.join(problems)}")
    return config


def _unknown_keys(raw: dict[str, Any], kind: type, prefix: str) -> list[str]:
    """Return a sentence for every key no dataclass knows: msgspec lets them pass."""
    hints = typing.get_type_hints(kind)
    problems = []
    for key, value in raw.items():
        if key not in hints:
            known = ", ".join(sorted(hints))
            problems.append(f"unknown key '{prefix}{key}' (known here: {known})")
        elif dataclasses.is_dataclass(hints[key]) and isinstance(value, dict):
            problems.extend(_unknown_keys(value, hints[key], f"{prefix}{key}."))
    return problems


def _bad_numbers(values: Any, prefix: str) -> list[str]:
    """Return a sentence for every number that is not finite or is negative.

    Looks at the converted values: msgspec makes ``Decimal("NaN")`` of a string and an infinite
    float of 1e400.
    """
    problems = []
    for name in (f.name for f in dataclasses.fields(values)):
        value = getattr(values, name)
        if dataclasses.is_dataclass(value):
            problems.extend(_bad_numbers(value, f"{prefix}{name}."))
        elif isinstance(value, float | Decimal) and not math.isfinite(value):
            problems.append(f"'{prefix}{name}' must be a finite number, was {value}")
        elif isinstance(value, int | float | Decimal) and value < 0:
            problems.append(f"'{prefix}{name}' must not be negative, was {value}")
    return problems


def _contradictions(config: Config) -> list[str]:
    """Return a sentence for every pair of values that cannot both be meant."""
    problems = []
    paper_account = bool(PAPER_ACCOUNT.fullmatch(config.account))
    if config.mode is Mode.PAPER:
        if not paper_account:
            problems.append(f"mode paper expects an account DU... or DF..., was {config.account!r}")
        if config.gateway.port in LIVE_PORTS:
            problems.append(f"mode paper refuses the live port {config.gateway.port}")
    else:
        if paper_account or not LIVE_ACCOUNT.fullmatch(config.account):
            problems.append(f"mode live expects a live account, was {config.account!r}")
        if config.gateway.port in PAPER_PORTS:
            problems.append(f"mode live refuses the paper port {config.gateway.port}")
        if config.gateway.launcher == "sim":
            problems.append("mode live cannot use the simulated gateway")
    if config.gateway.launcher != "sim" and config.universe.file is None:
        problems.append("universe.file is missing: name what may be traded")
    if config.guard.day_loss_reduce_only > config.guard.day_loss_kill:
        problems.append("guard.day_loss_reduce_only must not exceed guard.day_loss_kill")
    problems.extend((*_gateway_problems(config.gateway), *_zeros(config), *_too_large(config)))
    if config.web.host not in LOOPBACK_HOSTS:
        problems.append(f"web.host must be one of {', '.join(LOOPBACK_HOSTS)}")
    try:
        ZoneInfo(config.session.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        problems.append(f"unknown session.timezone {config.session.timezone!r}")
    return problems


def _zeros(config: Config) -> list[str]:
    """Return a sentence for every value that makes no sense at zero."""
    positive: dict[str, float | Decimal] = {
        "execution.window": config.order_window,
        "execution.ack_timeout_s": config.execution.ack_timeout_s,
        "execution.absence_spacing_s": config.execution.absence_spacing_s,
        "execution.absence_after_expiry_s": config.execution.absence_after_expiry_s,
        "execution.deadline_minutes": config.execution.deadline_minutes,
        "schedule.catch_up_minutes": config.schedule.catch_up_minutes,
        "targets.age_h_max": config.targets.age_h_max,
        "quotes.quote_age_s_max": config.quotes.quote_age_s_max,
        "guard.heartbeat_age_s_max": config.guard.heartbeat_age_s_max,
        "guard.day_loss_reduce_only": config.guard.day_loss_reduce_only,
        "guard.intraday_drawdown_kill": config.guard.intraday_drawdown_kill,
        "guard.peak_drawdown_kill": config.guard.peak_drawdown_kill,
        "limits.orders_per_second_max": config.limits.orders_per_second_max,
        "limits.rejections_in_a_row_max": config.limits.rejections_in_a_row_max,
    }
    return [f"{name} must be positive" for name, value in positive.items() if value <= 0]


def _too_large(config: Config) -> list[str]:
    """Return a sentence for every value beyond what it can mean.

    A loss limit of 5, meant as five per cent, would never be reached.
    """
    limits, guard = config.limits, config.guard
    fractions = {
        "limits.position_weight_max": limits.position_weight_max,
        "limits.cash_weight_min": limits.cash_weight_min,
        "limits.adv_participation_max": limits.adv_participation_max,
        "limits.price_collar_fraction": limits.price_collar_fraction,
        "quotes.spread_fraction_max": config.quotes.spread_fraction_max,
        "guard.day_loss_reduce_only": guard.day_loss_reduce_only,
        "guard.day_loss_kill": guard.day_loss_kill,
        "guard.intraday_drawdown_kill": guard.intraday_drawdown_kill,
        "guard.peak_drawdown_kill": guard.peak_drawdown_kill,
    }
    problems = [
        f"{name} is a fraction of 1, was {value}; write 0.05 for five per cent"
        for name, value in fractions.items()
        if value > 1
    ]
    for name, port in (("gateway.port", config.gateway.port), ("web.port", config.web.port)):
        if port > PORT_MAX:
            problems.append(f"{name} must be at most {PORT_MAX}, was {port}")
    if config.execution.deadline_minutes > DEADLINE_MINUTES_MAX:
        problems.append(f"execution.deadline_minutes must be at most {DEADLINE_MINUTES_MAX}")
    return problems


def _gateway_problems(gateway: Gateway) -> list[str]:
    problems = []
    if gateway.launcher != "sim" and gateway.port == 0:
        problems.append(f"launcher {gateway.launcher} needs gateway.port")
    if (gateway.launcher == "command") != bool(gateway.command):
        problems.append('launcher "command" and the list gateway.command need each other')
    ids = [getattr(gateway.client_ids, f.name) for f in dataclasses.fields(gateway.client_ids)]
    if len(set(ids)) < len(ids):
        problems.append("gateway.client_ids must all differ: two holders lock each other out")
    return problems
