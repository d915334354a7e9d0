"""What is wrong with a configuration: each rule yields sentences that say what to write instead."""

import dataclasses
import math
import re
import typing
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ibloop.config.tree import Config, Gateway
from ibloop.core.model import Mode

PAPER_PORTS, LIVE_PORTS = frozenset({4002, 7497}), frozenset({4001, 7496})
PAPER_ACCOUNT = re.compile(r"D[UF][0-9]+")
LIVE_ACCOUNT = re.compile(r"[A-Z]{1,3}[0-9]+")
PORT_MAX = 65_535
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
DEADLINE_MINUTES_MAX = 1_440


def unknown_keys(raw: dict[str, Any], kind: type, prefix: str) -> list[str]:
    """Return a sentence for every key no dataclass knows: msgspec lets them pass."""
    hints = typing.get_type_hints(kind)
    problems = []
    for key, value in raw.items():
        if key not in hints:
            known = ", ".join(sorted(hints))
            problems.append(f"unknown key '{prefix}{key}' (known here: {known})")
        elif dataclasses.is_dataclass(hints[key]) and isinstance(value, dict):
            problems.extend(unknown_keys(value, hints[key], f"{prefix}{key}."))
    return problems


def bad_numbers(values: Any, prefix: str) -> list[str]:
    """Return a sentence for every number that is not finite or is negative.

    Looks at the converted values: msgspec makes ``Decimal("NaN")`` of a string and an infinite
    float of 1e400.
    """
    problems = []
    for name in (f.name for f in dataclasses.fields(values)):
        value = getattr(values, name)
        if dataclasses.is_dataclass(value):
            problems.extend(bad_numbers(value, f"{prefix}{name}."))
        elif isinstance(value, float | Decimal) and not math.isfinite(value):
            problems.append(f"'{prefix}{name}' must be a finite number, was {value}")
        elif isinstance(value, int | float | Decimal) and value < 0:
            problems.append(f"'{prefix}{name}' must not be negative, was {value}")
    return problems


def contradictions(config: Config) -> list[str]:
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
