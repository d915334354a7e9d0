"""What is wrong with a configuration: each rule yields sentences that say what to write instead."""

import dataclasses
import difflib
import math
import re
import typing
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ibloop.config.guard_rules import guard_problems
from ibloop.config.tree import Config, Gateway
from ibloop.core.binding import LIVE_ACCOUNT, LIVE_PORTS, PAPER_PORTS, is_paper
from ibloop.core.model import SYMBOL, Mode, OrderType
from ibloop.core.risk import Limits

PORT_MAX = 65_535
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
DEADLINE_MINUTES_MAX = 1_440
QUOTE_WAIT_S_MAX = 600
MARGIN_MINUTES_MAX = 180
TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


def unknown_keys(raw: dict[str, Any], kind: type, prefix: str) -> list[str]:
    """Return a sentence for every key no dataclass knows: msgspec lets them pass."""
    hints = typing.get_type_hints(kind)
    problems = []
    for key, value in raw.items():
        if key not in hints:
            problems.append(f"unknown key '{prefix}{key}'{_meant(key, hints, prefix)}")
        elif dataclasses.is_dataclass(hints[key]) and isinstance(value, dict):
            problems.extend(unknown_keys(value, hints[key], f"{prefix}{key}."))
    return problems


def _meant(key: str, hints: Iterable[str], prefix: str) -> str:
    """Return what may have been meant by an unknown key, else what there is."""
    if close := difflib.get_close_matches(key, hints, n=1):
        return f"; did you mean '{prefix}{close[0]}'?"
    for name, table in typing.get_type_hints(Config).items():
        if dataclasses.is_dataclass(table) and key in typing.get_type_hints(table):
            return f"; did you mean '{name}.{key}'? It belongs under [{name}]"
    return f" (known here: {', '.join(sorted(hints))})"


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


def doubts(config: Config) -> list[str]:
    """Return a sentence for every value that is allowed and probably not meant."""
    limits, found = config.limits, []
    if limits.price_collar_fraction == 0:
        found.append(
            "limits.price_collar_fraction = 0 leaves no tick for a limit price off the mid: "
            "most orders will be refused"
        )
    if limits.gross_weight_max > 1 and not (limits.short_allowed or limits.margin_check):
        found.append(
            f"limits.gross_weight_max = {limits.gross_weight_max} can only be used by shorts or "
            "on margin: set limits.margin_check for a margin account, or at most 1"
        )
    return found + _live_doubts(config) if config.mode is Mode.LIVE else found


_OFF = {
    "limits.net_weight_max": "longs less shorts are bounded by limits.gross_weight_max alone",
    "limits.submissions_per_symbol_max": "one symbol can be sent again and again in a day",
    "limits.duplicate_window_s": "the same order again is not taken for a mistake",
    "limits.day_trades_max": "day trades are not counted, as an account below 25,000 USD needs",
    "limits.settled_cash_only": "sales pay for purchases before they have settled",
    "limits.margin_check": "the broker is not asked what a run costs in margin",
    "guard.global_cancel": "a kill leaves the orders of other programs and of people working",
}
"""What does not happen while a check is off, by the key that switches it on."""


def checks_off(config: Config) -> tuple[str, ...]:
    """Return the keys of the checks that a configuration leaves off, by their dotted names.

    A number that is left out, or a window of no time, or ``false``.
    """
    return tuple(name for name in _OFF if not _value_of(config, name))


def _value_of(config: Config, name: str) -> object:
    table, _, key = name.partition(".")
    return getattr(getattr(config, table), key)


def _live_doubts(config: Config) -> list[str]:
    """Return what is off or odd where real money is traded."""
    off = list(checks_off(config))
    kinds = ("limits.settled_cash_only", "limits.margin_check")
    if not set(kinds) <= set(off):
        # Each is for one kind of account: a person has said which this is.
        off = [name for name in off if name not in kinds]
    found = [f"{name} is off: {_OFF[name]}" for name in off]
    if config.session.calendar == "always":
        found.append(
            'session.calendar = "always" knows no close, half day or holiday: it is for simulated '
            'gateways; write "nyse" for a real one'
        )
    return found


def contradictions(config: Config) -> list[str]:
    """Return a sentence for every pair of values that cannot both be meant."""
    problems = [*_mode_problems(config)]
    if config.gateway.launcher != "sim" and config.universe.file is None:
        problems.append("universe.file is missing: name what may be traded")
    if (config.limits.net_weight_max or 0) > config.limits.gross_weight_max:
        problems.append("limits.net_weight_max must not exceed limits.gross_weight_max")
    if config.limits.short_allowed and config.limits.settled_cash_only:
        problems.append(
            "limits.short_allowed needs a margin account, limits.settled_cash_only is for a cash "
            "account: one of them must be false"
        )
    if config.guard.day_loss_reduce_only > config.guard.day_loss_kill:
        problems.append("guard.day_loss_reduce_only must not exceed guard.day_loss_kill")
    if config.stream.silence_s >= config.quotes.quote_age_s_max > 0:
        problems.append("stream.silence_s must be less than quotes.quote_age_s_max")
    problems.extend((*_gateway_problems(config.gateway), *_zeros(config), *_too_large(config)))
    if config.web.host not in LOOPBACK_HOSTS:
        problems.append(f"web.host must be one of {', '.join(LOOPBACK_HOSTS)}")
    problems.extend((*_window_problems(config), *_symbol_problems(config.limits)))
    problems.extend(guard_problems(config.guard))
    return problems


def _mode_problems(config: Config) -> Iterator[str]:
    """Yield what does not belong together with the mode: account, port, launcher, order type."""
    paper_account, port = is_paper(config.account), config.gateway.port
    if config.mode is Mode.PAPER:
        if not paper_account:
            yield f"mode paper expects an account DU... or DF..., was {config.account!r}"
        if port in LIVE_PORTS:
            yield f"mode paper refuses the live port {port}"
    else:
        if paper_account or not LIVE_ACCOUNT.fullmatch(config.account):
            yield f"mode live expects a live account, was {config.account!r}"
        if port in PAPER_PORTS:
            yield f"mode live refuses the paper port {port}"
        if config.gateway.launcher == "sim":
            yield "mode live cannot use the simulated gateway"
        if port in LIVE_PORTS and config.session.calendar == "always":
            yield f'port {port} is a real gateway\'s: session.calendar must be "nyse", was "always"'
    if config.needs_approval and config.execution.order_type is not OrderType.LMT:
        yield "a run is approved at prices: execution.order_type must be LMT where it has to be"


def _symbol_problems(limits: Limits) -> list[str]:
    """Return a sentence for every name in the lists of symbols that says nothing, or both."""
    problems = [
        f"limits.{name} has {symbol!r}, which is not a symbol"
        for name in ("symbols_allowed", "symbols_denied")
        for symbol in getattr(limits, name)
        if not SYMBOL.fullmatch(symbol)
    ]
    problems += [
        f"{symbol} is in limits.symbols_allowed and in limits.symbols_denied"
        for symbol in sorted({*limits.symbols_allowed} & {*limits.symbols_denied})
    ]
    return problems


def _window_problems(config: Config) -> list[str]:
    """Return a sentence for every zone, time of day or margin that says nothing."""
    gateway, session, problems = config.gateway, config.session, []
    zones = {"session.timezone": session.timezone}
    if gateway.restart_timezone is not None:
        zones["gateway.restart_timezone"] = gateway.restart_timezone
    for name, zone in zones.items():
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            problems.append(f"unknown {name} {zone!r}")
    if gateway.restart_at is not None and not TIME_OF_DAY.fullmatch(gateway.restart_at):
        problems.append(f"gateway.restart_at must be like 23:45, was {gateway.restart_at!r}")
    margins = {
        "gateway.restart_before_minutes": gateway.restart_before_minutes,
        "gateway.restart_after_minutes": gateway.restart_after_minutes,
        "session.close_margin_minutes": session.close_margin_minutes,
    }
    problems += [
        f"{name} must be at most {MARGIN_MINUTES_MAX}, was {minutes}"
        for name, minutes in margins.items()
        if minutes > MARGIN_MINUTES_MAX
    ]
    return problems


def _zeros(config: Config) -> list[str]:
    """Return a sentence for every value that makes no sense at zero."""
    positive: dict[str, float | Decimal] = {
        "execution.window": config.order_window,
        "execution.ack_timeout_s": config.execution.ack_timeout_s,
        "execution.absence_spacing_s": config.execution.absence_spacing_s,
        "execution.absence_after_expiry_s": config.execution.absence_after_expiry_s,
        "execution.deadline_minutes": config.execution.deadline_minutes,
        "session.close_margin_minutes": config.session.close_margin_minutes,
        "execution.approval_minutes": config.execution.approval_minutes,
        "execution.alert_age_minutes_max": config.execution.alert_age_minutes_max,
        "execution.stalled_after_s": config.execution.stalled_after_s,
        "schedule.catch_up_minutes": config.schedule.catch_up_minutes,
        "targets.age_h_max": config.targets.age_h_max,
        "quotes.quote_age_s_max": config.quotes.quote_age_s_max,
        "stream.lines_max": config.stream.lines_max,
        "stream.silence_s": config.stream.silence_s,
        "guard.heartbeat_age_s_max": config.guard.heartbeat_age_s_max,
        "guard.day_loss_reduce_only": config.guard.day_loss_reduce_only,
        "guard.intraday_drawdown_kill": config.guard.intraday_drawdown_kill,
        "guard.peak_drawdown_kill": config.guard.peak_drawdown_kill,
        "limits.orders_per_second_max": config.limits.orders_per_second_max,
        "limits.rejections_in_a_row_max": config.limits.rejections_in_a_row_max,
    }
    if config.limits.submissions_per_symbol_max is not None:
        positive["limits.submissions_per_symbol_max"] = config.limits.submissions_per_symbol_max
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
    if config.execution.quote_wait_s_max > QUOTE_WAIT_S_MAX:
        problems.append(f"execution.quote_wait_s_max must be at most {QUOTE_WAIT_S_MAX}")
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
