"""May a run start at all? Each gate is one question; a missing answer is a no.

The rebalance command asks before it queues a run, the executor asks again before it sends.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ibloop.core.lifecycle import RunReason
from ibloop.core.model import HaltLevel, Mode, Moment
from ibloop.core.windows import Quiet

WATCHING, DEGRADED = "watching", "degraded"


@dataclass(frozen=True, slots=True)
class Pulse:
    """The last heartbeat of a daemon: what it said of itself, when, and which code it runs."""

    status: str
    stamp: Moment
    build: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The ages that count as silence."""

    heartbeat_age_s_max: float
    account_age_s_max: float
    targets_age_h_max: float
    alert_age_minutes_max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """All that the gates look at, read at one moment; ``None`` means that it could not be read.

    ``unarmed`` is why nothing may be sent live, ``None`` when a permission stands. ``quiet`` is the
    stretch without sending that this moment lies in, ``None`` outside. ``undelivered_since`` is
    when the oldest critical alert was raised that nobody has been told of, ``None`` without one.
    """

    mode: Mode
    unarmed: str | None
    build: str
    halt: HaltLevel | None
    halt_reason: str
    gateway: Pulse | None
    stream: Pulse | None
    executor: Pulse | None
    guard: Pulse | None
    alerts: Pulse | None
    undelivered_since: datetime | None
    market_open: bool
    quiet: Quiet | None
    minutes_to_deadline: float | None
    targets_as_of: datetime | None
    account_as_of: datetime | None
    equity_positive: bool
    unknown_orders: int
    position_breaks: tuple[str, ...]
    working_orders: int
    other_run: str | None


@dataclass(frozen=True, slots=True)
class Gate:
    """One question's answer. ``reason`` is the code a blocked run carries."""

    name: str
    passed: bool
    reason: RunReason
    detail: str


def check_gates(seen: Observed, now: Moment, rules: Rules) -> tuple[Gate, ...]:
    """Return every gate's answer, in the order in which a person would mend them."""
    return (
        *_daemons(seen, now, rules),
        _builds(seen),
        _halt(seen),
        _armed(seen),
        _alerts(seen, now, rules),
        *_market(seen),
        _targets(seen, now, rules),
        *_account(seen, now, rules),
    )


def first_failed(gates: tuple[Gate, ...]) -> Gate | None:
    """Return the gate that blocks the run, or ``None`` when all passed."""
    return next((gate for gate in gates if not gate.passed), None)


def silence(pulse: Pulse | None, now: Moment, age_s_max: float, healthy: str) -> str | None:
    """Return why a daemon cannot be relied on, ``None`` when it can.

    A heartbeat from the future beyond two seconds is as good as none.
    """
    if pulse is None:
        return "no heartbeat"
    age_s = now.age_s(pulse.stamp)
    if not -2 <= age_s <= age_s_max:
        return f"last heartbeat {age_s:.1f} s ago, allowed {age_s_max:g} s"
    if pulse.status != healthy:
        return f"it says {pulse.status}"
    return None


def _daemons(seen: Observed, now: Moment, rules: Rules) -> Iterator[Gate]:
    for name, pulse, healthy, reason in (
        ("gateway", seen.gateway, "connected", RunReason.GATEWAY_UNAVAILABLE),
        ("stream", seen.stream, "connected", RunReason.STREAM_STALE),
        ("executor", seen.executor, "ready", RunReason.EXECUTOR_SILENT),
        ("guard", seen.guard, _guard_word(seen), RunReason.GUARD_SILENT),
    ):
        problem = silence(pulse, now, rules.heartbeat_age_s_max, healthy)
        yield Gate(name, problem is None, reason, problem or healthy)


def guard_silence(pulse: Pulse | None, now: Moment, age_s_max: float) -> str | None:
    """Return why the guard is not there at all; ``None`` when it is, were it only half well.

    One that is ``degraded`` cannot value the account, but it would still see a halt: what lowers
    exposure may leave.
    """
    is_degraded = pulse is not None and pulse.status == DEGRADED
    return silence(pulse, now, age_s_max, DEGRADED if is_degraded else WATCHING)


def other_build(pulses: Mapping[str, Pulse | None], build: str) -> str | None:
    """Return which daemon runs other code than this; ``None`` when none of those heard does."""
    others = [
        f"the {name} runs {pulse.build or 'an unnamed build'}"
        for name, pulse in pulses.items()
        if pulse is not None and pulse.build != build
    ]
    return f"{', '.join(others)}, expected {build}" if others else None


def _builds(seen: Observed) -> Gate:
    # Whoever is silent fails a gate of its own.
    pulses = {
        "gateway": seen.gateway,
        "stream": seen.stream,
        "executor": seen.executor,
        "guard": seen.guard,
    }
    problem = other_build(pulses, seen.build)
    return Gate("build", problem is None, RunReason.BUILD_MISMATCH, problem or seen.build)


def _guard_word(seen: Observed) -> str:
    """Return what the guard has to say of itself.

    Under a reduce-only halt nothing else can leave than what a degraded guard lets leave, too.
    """
    is_degraded = seen.guard is not None and seen.guard.status == DEGRADED
    return DEGRADED if is_degraded and seen.halt is HaltLevel.REDUCE_ONLY else WATCHING


def _halt(seen: Observed) -> Gate:
    # Reduce-only still lets a run sell: each send is checked again on its own.
    passed = seen.halt in {None, HaltLevel.REDUCE_ONLY}
    detail = f"{seen.halt}: {seen.halt_reason}" if seen.halt else "no halt"
    return Gate("halt", passed, RunReason.GUARD_HALTED, detail)


def _armed(seen: Observed) -> Gate:
    if seen.mode is Mode.PAPER:
        return Gate("armed", True, RunReason.UNARMED, "paper")
    return Gate("armed", seen.unarmed is None, RunReason.UNARMED, seen.unarmed or "armed")


def _alerts(seen: Observed, now: Moment, rules: Rules) -> Gate:
    """Ask whether a person would be told (promise L3); only live money needs one."""
    reason = RunReason.ALERTS_UNDELIVERED
    if seen.mode is Mode.PAPER:
        return Gate("alerts", True, reason, "paper")
    # A delivery that limps shows in what waits; one that is not set up has nobody to tell.
    limps = seen.alerts is not None and seen.alerts.status == DEGRADED
    problem = silence(seen.alerts, now, rules.heartbeat_age_s_max, DEGRADED if limps else "ready")
    if problem is not None:
        return Gate("alerts", False, reason, f"the alerts daemon: {problem}")
    if seen.undelivered_since is None:
        return Gate("alerts", True, reason, "nothing waits")
    minutes = (now.utc - seen.undelivered_since).total_seconds() / 60
    allowed = rules.alert_age_minutes_max
    detail = f"a critical alert waits for {minutes:.0f} min, allowed {allowed:g}"
    return Gate("alerts", 0 <= minutes <= allowed, reason, detail)


def _market(seen: Observed) -> Iterator[Gate]:
    yield Gate("market", seen.market_open, RunReason.MARKET_CLOSED, _open_text(seen.market_open))
    quiet = seen.quiet
    detail = f"{quiet.name} until {quiet.closes:%H:%M} UTC" if quiet else "none"
    yield Gate("quiet", quiet is None, RunReason.QUIET_WINDOW, detail)
    minutes = seen.minutes_to_deadline
    detail = "no time left" if minutes is None else f"{minutes:.0f} min"
    yield Gate("window", minutes is not None and minutes > 0, RunReason.WINDOW_TOO_SHORT, detail)


def _open_text(market_open: bool) -> str:
    return "open" if market_open else "closed"


def _targets(seen: Observed, now: Moment, rules: Rules) -> Gate:
    if seen.targets_as_of is None:
        return Gate("targets", False, RunReason.TARGETS_STALE, "age unknown")
    age = now.utc - seen.targets_as_of
    passed = timedelta(hours=-1) <= age <= timedelta(hours=rules.targets_age_h_max)
    hours = age.total_seconds() / 3600
    detail = f"{hours:.1f} h old, allowed {rules.targets_age_h_max:g} h"
    return Gate("targets", passed, RunReason.TARGETS_STALE, detail)


def _account(seen: Observed, now: Moment, rules: Rules) -> Iterator[Gate]:
    age_s = None if seen.account_as_of is None else (now.utc - seen.account_as_of).total_seconds()
    fresh = age_s is not None and -2 <= age_s <= rules.account_age_s_max and seen.equity_positive
    detail = "never synchronised" if age_s is None else f"broker values {age_s:.0f} s old"
    if not seen.equity_positive and age_s is not None:
        detail = "net liquidation is not positive"
    yield Gate("account", fresh, RunReason.ACCOUNT_STALE, detail)
    known = seen.unknown_orders == 0
    detail = "none" if known else f"{seen.unknown_orders} unknown"
    yield Gate("orders", known, RunReason.UNKNOWN_ORDER, detail)
    busy = seen.other_run
    if busy is None and seen.working_orders:
        busy = f"{seen.working_orders} orders of an earlier run still work at the broker"
    yield Gate("run", busy is None, RunReason.RUN_ACTIVE, busy or "no other run")
    breaks = "; ".join(seen.position_breaks)
    yield Gate("positions", not breaks, RunReason.POSITION_BREAK, breaks or "as the fills say")
