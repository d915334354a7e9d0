"""A run starts only if every gate has a good answer; a missing answer is a bad one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ibloop.core.gates import (
    Gate,
    Observed,
    Pulse,
    Rules,
    check_gates,
    first_failed,
    guard_silence,
    other_build,
    silence,
)
from ibloop.core.model import HaltLevel, Mode, Moment
from ibloop.core.windows import Quiet

NOW = Moment(datetime(2026, 11, 20, 15, 30, tzinfo=UTC), 10**12, "a" * 32)
RULES = Rules(
    heartbeat_age_s_max=10,
    account_age_s_max=60,
    targets_age_h_max=24,
    alert_age_minutes_max=10,
)
BUILD = "1.0+abc"
QUIET = Quiet("a restart", NOW.utc - timedelta(minutes=5), NOW.utc + timedelta(minutes=10))


def ago(seconds: float) -> datetime:
    """Return the wall time so many seconds before NOW."""
    return NOW.utc - timedelta(seconds=seconds)


def pulse(status: str, age_s: float = 1) -> Pulse:
    """Return a heartbeat of the same boot."""
    return Pulse(status, Moment(ago(age_s), NOW.boottime_ns - int(age_s * 1e9), NOW.boot_id), BUILD)


GOOD = Observed(
    mode=Mode.PAPER,
    unarmed="not armed",
    build=BUILD,
    halt=None,
    halt_reason="",
    gateway=pulse("connected"),
    stream=pulse("connected"),
    executor=pulse("ready"),
    guard=pulse("watching"),
    alerts=None,
    undelivered_since=None,
    market_open=True,
    quiet=None,
    minutes_to_deadline=30,
    targets_as_of=ago(3600),
    account_as_of=ago(5),
    equity_positive=True,
    unknown_orders=0,
    position_breaks=(),
    working_orders=0,
    other_run=None,
)


LIVE: dict[str, Any] = {"mode": Mode.LIVE, "unarmed": None, "alerts": pulse("ready")}
"""A live day on which all is well."""


def failed(**changes: Any) -> list[tuple[str, str]]:
    """Return name and reason of the gates that fail after these changes."""
    gates = check_gates(replace(GOOD, **changes), NOW, RULES)
    return [(gate.name, gate.reason.value) for gate in gates if not gate.passed]


def test_all_gates_pass_in_the_order_of_mending() -> None:
    """A good day passes every gate; daemons come first, the account last."""
    gates = check_gates(GOOD, NOW, RULES)
    assert [gate.name for gate in gates] == [
        *("gateway", "stream", "executor", "guard", "build", "halt", "armed", "alerts"),
        *("market", "quiet", "window", "targets", "account", "orders", "run", "positions"),
    ]
    assert all(gate.passed and gate.detail for gate in gates)
    assert first_failed(gates) is None


@pytest.mark.parametrize(
    ("changes", "gate", "reason"),
    [
        ({"gateway": None}, "gateway", "gateway_unavailable"),
        ({"position_breaks": ("AAA: 1 held, 2 expected",)}, "positions", "position_break"),
        ({"gateway": pulse("connected", 10.1)}, "gateway", "gateway_unavailable"),
        ({"gateway": pulse("degraded")}, "gateway", "gateway_unavailable"),
        ({"gateway": pulse("waiting_2fa")}, "gateway", "gateway_unavailable"),
        ({"stream": None}, "stream", "stream_stale"),
        ({"stream": pulse("degraded")}, "stream", "stream_stale"),
        ({"executor": None}, "executor", "executor_silent"),
        ({"executor": pulse("synchronising")}, "executor", "executor_silent"),
        ({"guard": None}, "guard", "guard_silent"),
        ({"guard": pulse("degraded")}, "guard", "guard_silent"),
        ({"guard": pulse("watching", -2.5)}, "guard", "guard_silent"),
        ({"stream": replace(pulse("connected"), build="0.9+def")}, "build", "build_mismatch"),
        ({"executor": replace(pulse("ready"), build=None)}, "build", "build_mismatch"),
        ({"halt": HaltLevel.PAUSE}, "halt", "guard_halted"),
        ({"halt": HaltLevel.KILL}, "halt", "guard_halted"),
        (LIVE | {"unarmed": "not armed"}, "armed", "unarmed"),
        (LIVE | {"alerts": None}, "alerts", "alerts_undelivered"),
        (LIVE | {"alerts": pulse("ready", 11)}, "alerts", "alerts_undelivered"),
        (LIVE | {"alerts": pulse("unconfigured")}, "alerts", "alerts_undelivered"),
        (LIVE | {"alerts": pulse("stopped")}, "alerts", "alerts_undelivered"),
        (LIVE | {"undelivered_since": ago(601)}, "alerts", "alerts_undelivered"),
        (LIVE | {"undelivered_since": ago(-60)}, "alerts", "alerts_undelivered"),
        ({"quiet": QUIET}, "quiet", "quiet_window"),
        ({"halt": HaltLevel.REDUCE_ONLY, "guard": None}, "guard", "guard_silent"),
        ({"market_open": False}, "market", "market_closed"),
        ({"minutes_to_deadline": None}, "window", "window_too_short"),
        ({"minutes_to_deadline": 0}, "window", "window_too_short"),
        ({"minutes_to_deadline": float("nan")}, "window", "window_too_short"),
        ({"targets_as_of": None}, "targets", "targets_stale"),
        ({"targets_as_of": ago(24 * 3600 + 1)}, "targets", "targets_stale"),
        ({"targets_as_of": ago(-3601)}, "targets", "targets_stale"),
        ({"account_as_of": None}, "account", "account_stale"),
        ({"account_as_of": ago(61)}, "account", "account_stale"),
        ({"account_as_of": ago(-3)}, "account", "account_stale"),
        ({"equity_positive": False}, "account", "account_stale"),
        ({"unknown_orders": 1}, "orders", "unknown_order"),
        ({"working_orders": 1}, "run", "run_active"),
        ({"other_run": "2026W46 is under way"}, "run", "run_active"),
    ],
)
def test_each_gate_fails_alone(changes: dict[str, Any], gate: str, reason: str) -> None:
    """One thing wrong fails one gate, with the code a blocked run carries."""
    assert failed(**changes) == [(gate, reason)]


@pytest.mark.parametrize(
    "changes",
    [
        {"gateway": pulse("connected", 10), "guard": pulse("watching", -2)},
        {"halt": HaltLevel.REDUCE_ONLY},
        LIVE,
        LIVE | {"alerts": pulse("degraded"), "undelivered_since": ago(600)},
        {"alerts": pulse("stopped"), "undelivered_since": ago(86400)},
        {"halt": HaltLevel.REDUCE_ONLY, "guard": pulse("degraded")},
        {"minutes_to_deadline": 0.5},
        {"targets_as_of": ago(24 * 3600)},
        {"targets_as_of": ago(-3600)},
        {"account_as_of": ago(60)},
        {"account_as_of": ago(-2)},
    ],
)
def test_the_limits_themselves_pass(changes: dict[str, Any]) -> None:
    """A limit names the last value that is fine; a reduce-only halt leaves the selling."""
    assert failed(**changes) == []


def test_nothing_known_passes_nothing_it_could_hide() -> None:
    """With every input missing only the gates that need none are open."""
    lost = dict.fromkeys(("gateway", "stream", "executor", "guard"))
    times = dict.fromkeys(("minutes_to_deadline", "targets_as_of", "account_as_of"))
    assert [name for name, _ in failed(**lost, **times)] == [
        *("gateway", "stream", "executor", "guard"),
        *("window", "targets", "account"),
    ]


def test_the_first_failed_gate_is_the_reason() -> None:
    """Of several faults the run carries the one to mend first."""
    gates = check_gates(replace(GOOD, market_open=False, unknown_orders=2), NOW, RULES)
    gate = first_failed(gates)
    assert isinstance(gate, Gate)
    assert (gate.name, gate.detail) == ("market", "closed")


def test_details_tell_what_was_found() -> None:
    """The detail names what blocks: the halt's reason, the other run, the orders that work."""
    wrong = replace(
        GOOD,
        halt=HaltLevel.KILL,
        halt_reason="day loss",
        unknown_orders=2,
        working_orders=3,
        equity_positive=False,
    )
    told = {gate.name: gate.detail for gate in check_gates(wrong, NOW, RULES)}
    assert told["halt"] == "kill: day loss"
    assert told["orders"] == "2 unknown"
    assert told["run"] == "3 orders of an earlier run still work at the broker"
    assert told["account"] == "net liquidation is not positive"
    busy = check_gates(replace(GOOD, other_run="2026W46 is under way"), NOW, RULES)
    assert {g.name: g.detail for g in busy}["run"] == "2026W46 is under way"


@pytest.mark.parametrize(
    ("changes", "gate", "detail"),
    [
        ({}, "account", "broker values 5 s old"),
        ({"account_as_of": None}, "account", "never synchronised"),
        ({"account_as_of": None, "equity_positive": False}, "account", "never synchronised"),
        ({}, "targets", "1.0 h old, allowed 24 h"),
        ({}, "window", "30 min"),
        ({}, "armed", "paper"),
        ({"unarmed": None}, "armed", "paper"),
        (LIVE, "armed", "armed"),
        (
            LIVE | {"unarmed": "the 1 armed runs are used up"},
            "armed",
            "the 1 armed runs are used up",
        ),
        (LIVE, "alerts", "nothing waits"),
        (LIVE | {"alerts": None}, "alerts", "the alerts daemon: no heartbeat"),
        (
            LIVE | {"undelivered_since": ago(1200)},
            "alerts",
            "a critical alert waits for 20 min, allowed 10",
        ),
        ({"quiet": QUIET}, "quiet", "a restart until 15:40 UTC"),
    ],
)
def test_details_carry_their_numbers(changes: dict[str, Any], gate: str, detail: str) -> None:
    """A person reads how old, how long and in which mode, also where all is well."""
    told = {g.name: g.detail for g in check_gates(replace(GOOD, **changes), NOW, RULES)}
    assert told[gate] == detail


def test_a_heartbeat_of_another_boot_is_judged_by_wall_time() -> None:
    """After a reboot the boot clocks cannot be compared; an old wall time is silence."""
    fresh = Pulse("ready", Moment(ago(3), 10**15, "b" * 32))
    assert silence(fresh, NOW, 10, "ready") is None
    old = Pulse("ready", Moment(ago(30), NOW.boottime_ns, "b" * 32))
    assert silence(old, NOW, 10, "ready") == "last heartbeat 30.0 s ago, allowed 10 s"


def test_silence_says_what_is_wrong() -> None:
    """No heartbeat, an old one and an unhealthy one are told apart."""
    assert silence(None, NOW, 10, "ready") == "no heartbeat"
    assert silence(pulse("blocked"), NOW, 10, "ready") == "it says blocked"


def test_a_guard_that_cannot_value_is_there_and_a_dead_one_is_not() -> None:
    """While a run goes on: degraded keeps risk back, silence keeps everything back."""
    assert guard_silence(pulse("watching"), NOW, 10) is None
    assert guard_silence(pulse("degraded"), NOW, 10) is None
    for dead in (None, pulse("watching", 11), pulse("degraded", 11), pulse("starting")):
        assert guard_silence(dead, NOW, 10) is not None


def test_whoever_runs_other_code_is_named() -> None:
    """One machine of eight with the old program is how Knight went down (F34)."""
    same = pulse("ready")
    assert other_build({"guard": same, "stream": None}, BUILD) is None
    told = other_build({"guard": replace(same, build="0.9+def"), "stream": same}, BUILD)
    assert told == "the guard runs 0.9+def, expected 1.0+abc"
    assert "an unnamed build" in str(other_build({"guard": replace(same, build=None)}, BUILD))
