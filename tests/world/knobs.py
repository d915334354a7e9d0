"""How bad a world is: each seed switches a random subset of faults on and draws their strength."""

from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any


@dataclass(frozen=True, slots=True)
class Knobs:
    """Probabilities per occasion where nothing else is said; zero means that there is none of it.

    ``*_s`` are seconds: the longest of a random wait. ``*_each_s`` are mean seconds between two.
    """

    # What becomes of an order's bytes.
    swallow: float = 0.0
    park: float = 0.0
    park_s: float = 60.0
    refuse_bytes: float = 0.0
    reject: float = 0.0
    reject_silently: float = 0.0
    # What an order does at the exchange.
    rest: float = 0.0
    partial: float = 0.0
    fill_s: float = 1.0
    late_fill: float = 0.0
    correct: float = 0.0
    inactive: float = 0.0
    # What becomes of a cancel.
    ignore_cancel: float = 0.0
    false_cancel: float = 0.0
    cancel_s: float = 0.2
    # What becomes of a callback.
    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    callback_s: float = 0.05
    commission_late: float = 0.0
    # What becomes of a question.
    evidence_fails: float = 0.0
    evidence_s: float = 0.3
    lag_s: float = 0.0
    # The connection.
    cut_each_s: float = 0.0
    link_each_s: float = 0.0
    link_s: float = 30.0
    away_s: float = 5.0
    freeze_each_s: float = 0.0
    freeze_s: float = 20.0
    rollback: float = 0.0
    # The executor's process.
    crash: float = 0.0
    crash_each_s: float = 0.0
    stop_each_s: float = 0.0
    stop_s: float = 30.0
    twin_each_s: float = 0.0
    # People, prices, clocks and the guard.
    halt_each_s: float = 0.0
    foreign_each_s: float = 0.0
    cancel_run_each_s: float = 0.0
    quote_each_s: float = 0.0
    quote_s: float = 30.0
    guard_each_s: float = 0.0
    guard_s: float = 20.0
    step_clock_each_s: float = 0.0
    halt_race: float = 0.0
    midnight: float = 0.0
    # An operator who puts an old ledger back.
    back_up_each_s: float = 0.0
    restore_each_s: float = 0.0
    # --- Of the second stream, from here on ---
    # The line behind the gateway, its nightly restart, and room for messages.
    other_code: float = 0.0
    data_lost: float = 0.0
    restart_in_s: float = 0.0
    crowd_each_s: float = 0.0
    crowd_s: float = 10.0
    # Prices that move, quotes that are fresh and mean nothing, IB's price cap.
    drift_each_s: float = 0.0
    odd_quote_each_s: float = 0.0
    odd_quote_s: float = 30.0
    stale_each_s: float = 0.0
    cap: float = 0.0
    # A ledger that cannot be written, and a builder that asks for anything.
    full_each_s: float = 0.0
    full_s: float = 5.0
    busy_ledger: float = 0.0
    hostile_each_s: float = 0.0


CALM = Knobs()

_STRENGTH: dict[str, tuple[float, float]] = {
    "swallow": (0.05, 0.5),
    "park": (0.05, 0.4),
    "park_s": (5, 180),
    "refuse_bytes": (0.05, 0.4),
    "reject": (0.05, 0.4),
    "reject_silently": (0.3, 1.0),
    "rest": (0.05, 0.5),
    "partial": (0.2, 1.0),
    "fill_s": (0.1, 90),
    "late_fill": (0.1, 0.6),
    "correct": (0.05, 0.3),
    "inactive": (0.05, 0.3),
    "ignore_cancel": (0.1, 0.7),
    "false_cancel": (0.1, 0.5),
    "cancel_s": (0.2, 20),
    "drop": (0.02, 0.5),
    "duplicate": (0.1, 0.8),
    "reorder": (0.1, 0.8),
    "callback_s": (0.02, 8),
    "commission_late": (0.1, 1.0),
    "evidence_fails": (0.05, 0.5),
    "evidence_s": (0.1, 8),
    "lag_s": (0.2, 3),
    "cut_each_s": (8, 200),
    "link_each_s": (8, 200),
    "link_s": (2, 90),
    "away_s": (1, 40),
    "freeze_each_s": (10, 200),
    "freeze_s": (2, 90),
    "rollback": (0.2, 1.0),
    "crash": (0.002, 0.04),
    "crash_each_s": (5, 120),
    "stop_each_s": (10, 120),
    "stop_s": (1, 90),
    "twin_each_s": (10, 120),
    "halt_each_s": (15, 200),
    "foreign_each_s": (10, 200),
    "cancel_run_each_s": (30, 300),
    "quote_each_s": (10, 100),
    "quote_s": (5, 60),
    "guard_each_s": (10, 150),
    "guard_s": (2, 60),
    "step_clock_each_s": (20, 200),
    "halt_race": (0.005, 0.05),
    "midnight": (0.5, 1.0),
    "restore_each_s": (60, 400),
}


_STRENGTH_LATER: dict[str, tuple[float, float]] = {
    "other_code": (0.2, 1.0),
    "data_lost": (0.2, 1.0),
    "restart_in_s": (30, 600),
    "crowd_each_s": (5, 100),
    "crowd_s": (1, 30),
    "drift_each_s": (1, 30),
    "odd_quote_each_s": (10, 100),
    "odd_quote_s": (5, 60),
    "cap": (0.05, 0.4),
    "full_each_s": (20, 200),
    "full_s": (1, 20),
    "busy_ledger": (0.001, 0.02),
    "hostile_each_s": (30, 300),
    "stale_each_s": (1, 20),
}
"""Drawn from a stream of their own, so that the worlds from before they were known stay as bad."""


def draw(seed: int, random: Random) -> Knobs:
    """Return the knobs of a seed: about a quarter of the faults, or nearly none, or many.

    ``random`` is the world's own stream, which goes on with what happens.
    """
    later = Random(f"knobs {seed}")
    chosen = _draw(random, random.choice((0.08, 0.2, 0.2, 0.35, 0.6)), _STRENGTH)
    if "restore_each_s" in chosen:
        chosen["back_up_each_s"] = random.uniform(5, 60)
    more = _draw(later, later.choice((0.0, 0.1, 0.2, 0.4)), _STRENGTH_LATER)
    if "link_each_s" not in chosen and more.keys() & {"other_code", "data_lost"}:
        more["link_each_s"] = later.uniform(*_STRENGTH["link_each_s"])
    return replace(Knobs(**chosen), **more)


def _draw(random: Random, share: float, strength: dict[str, tuple[float, float]]) -> dict[str, Any]:
    return {
        name: random.uniform(*bounds)
        for name, bounds in strength.items()
        if random.random() < share
    }


def told(knobs: Knobs) -> str:
    """Return the knobs that differ from a calm world, for the report about a failed seed."""
    turned = (f.name for f in fields(knobs) if getattr(knobs, f.name) != getattr(CALM, f.name))
    return ", ".join(f"{name}={getattr(knobs, name):.3g}" for name in turned)
