"""The guard halts at its limits, never for a missing price, and starts anew when told."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.core.guard import (
    CANCEL_AGAIN_S,
    KILL_PATIENCE_S,
    Baseline,
    GuardLimits,
    GuardVerdict,
    Valuation,
    evaluate,
    kill_must_escalate,
    rebase,
    value_account,
)
from ibloop.core.model import AccountValues, HaltLevel, Position

D = Decimal
TODAY = date(2026, 11, 20)
NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
OPENED = NOW - timedelta(hours=1)
LIMITS = GuardLimits(
    day_loss_reduce_only=D("0.03"),
    day_loss_kill=D("0.05"),
    intraday_drawdown_kill=D("0.06"),
    peak_drawdown_kill=D("0.10"),
    heartbeat_age_s_max=10.0,
    global_cancel=True,
)
FLAT = Baseline(TODAY, OPENED, D(1000), D(1000), D(1000))
VALUES = AccountValues("DU1", net_liquidation=D(1500), total_cash=D(500), as_of=NOW)


def held(symbol: str, quantity: int) -> Position:
    """Return a position."""
    return Position(symbol, 1, D(quantity), D(1))


def verdict_of(
    equity: str | None, baseline: Baseline | None = FLAT, *, resumed_at: datetime | None = None
) -> GuardVerdict:
    """Return the verdict on an account worth ``equity``."""
    worth = Valuation(None if equity is None else D(equity), "ib_stream")
    return evaluate(worth, baseline, LIMITS, today=TODAY, now=NOW, resumed_at=resumed_at)


@pytest.mark.parametrize(
    ("equity", "baseline", "halt", "word"),
    [
        ("970.01", FLAT, None, "within limits"),
        ("970", FLAT, HaltLevel.REDUCE_ONLY, "day loss 3.00% reached the limit of 3.00%"),
        ("950.01", FLAT, HaltLevel.REDUCE_ONLY, "day loss"),
        ("950", FLAT, HaltLevel.KILL, "day loss 5.00% reached"),
        ("1034.01", replace(FLAT, day_high_usd=D(1100), peak_usd=D(1100)), None, "within"),
        (
            "1034",
            replace(FLAT, day_high_usd=D(1100), peak_usd=D(1100)),
            HaltLevel.KILL,
            "intraday drawdown 6.00% reached",
        ),
        ("990.01", replace(FLAT, peak_usd=D(1100)), None, "within"),
        ("990", replace(FLAT, peak_usd=D(1100)), HaltLevel.KILL, "drawdown from peak 10.00%"),
        ("1", FLAT, HaltLevel.KILL, "day loss 99.90%"),
        ("5000", FLAT, None, "within limits"),
    ],
)
def test_each_limit_halts_when_it_is_reached(
    equity: str, baseline: Baseline, halt: HaltLevel | None, word: str
) -> None:
    """Just above a limit nothing happens; at the limit the halt is raised, the severest first."""
    verdict = verdict_of(equity, baseline)
    assert verdict.halt is halt
    assert word in verdict.reason
    assert verdict.status == {None: "ok", HaltLevel.KILL: "kill"}.get(halt, "reduce_only")


@pytest.mark.parametrize(
    ("equity", "word"),
    [(None, "equity unknown"), ("0", "not positive"), ("-5", "not positive")],
)
def test_a_degraded_guard_never_halts_and_keeps_its_baseline(equity: str | None, word: str) -> None:
    """A missing value is no loss: it blocks new risk by its status, not by a halt."""
    verdict = verdict_of(equity)
    assert (verdict.status, verdict.halt, verdict.baseline) == ("degraded", None, FLAT)
    assert (verdict.day_loss, verdict.drawdown) == (None, None)
    assert word in verdict.reason
    assert verdict_of(equity, None).baseline is None


def test_the_first_evaluation_sets_every_baseline() -> None:
    """Without a past there is no loss."""
    verdict = verdict_of("800", None)
    assert verdict.baseline == Baseline(TODAY, NOW, D(800), D(800), D(800))
    assert (verdict.status, verdict.day_loss, verdict.drawdown) == ("ok", D(0), D(0))


def test_highs_follow_equity_up_and_never_down() -> None:
    """A new high moves high and peak; a fall moves neither, nor the day's start."""
    up = verdict_of("1200").baseline
    assert up == replace(FLAT, day_high_usd=D(1200), peak_usd=D(1200))
    assert verdict_of("1190", up).baseline == up


def test_a_new_day_forgives_the_day_but_not_the_peak() -> None:
    """Day loss and intraday drawdown begin anew; the drawdown from the peak goes on."""
    yesterday = replace(FLAT, trade_date=TODAY - timedelta(days=1), peak_usd=D(1000))
    verdict = verdict_of("940", yesterday)
    assert verdict.baseline == Baseline(TODAY, NOW, D(940), D(940), D(1000))
    assert (verdict.day_loss, verdict.drawdown, verdict.halt) == (D(0), D("0.06"), None)
    assert verdict_of("900", yesterday).halt is HaltLevel.KILL


def test_a_resume_starts_everything_anew_once() -> None:
    """After an operator's resume the loss so far is accepted, the next one counts again."""
    resumed_at = OPENED + timedelta(minutes=1)
    verdict = verdict_of("900", resumed_at=resumed_at)
    assert verdict.baseline == Baseline(TODAY, NOW, D(900), D(900), D(900))
    assert verdict.halt is None
    again = verdict_of("850", verdict.baseline, resumed_at=resumed_at)
    assert again.halt is HaltLevel.KILL
    assert again.baseline == replace(
        FLAT, set_at=NOW, day_start_usd=D(900), day_high_usd=D(900), peak_usd=D(900)
    )


def test_a_resume_before_the_baseline_changes_nothing() -> None:
    """Only a resume after the baseline was set is news."""
    for resumed_at in (None, OPENED, OPENED - timedelta(hours=1)):
        assert rebase(FLAT, D(900), TODAY, NOW, resumed_at) == FLAT


@settings(deadline=None, max_examples=80)
@given(st.lists(st.integers(1, 2000), min_size=1, max_size=12))
def test_losses_are_measured_against_the_worst_of_the_past(path: list[int]) -> None:
    """Along any path of one day the drawdown is that from the highest value seen."""
    baseline: Baseline | None = None
    for index, equity in enumerate(path):
        verdict = verdict_of(str(equity), baseline)
        baseline = verdict.baseline
        high = max(path[: index + 1])
        assert verdict.drawdown == D(high - equity) / high
        assert verdict.day_loss == D(path[0] - equity) / path[0]
        assert (verdict.halt is None) == (verdict.status == "ok")


def test_the_account_is_worth_cash_plus_positions() -> None:
    """Longs add and shorts subtract at stream prices; an empty line needs no price."""
    positions = [held("AAA", 10), held("BBB", -4), held("CCC", 0)]
    worth = value_account(positions, {"AAA": D(100), "BBB": D(50)}, VALUES)
    assert worth == Valuation(D(500 + 1000 - 200), "ib_stream")
    assert value_account([], {}, VALUES) == Valuation(D(500), "ib_stream")


def test_one_missing_price_leaves_it_to_the_broker() -> None:
    """Half a valuation is none: the broker's own figure stands, and the gap is named."""
    positions = [held("AAA", 10), held("BBB", 1), held("CCC", -1)]
    worth = value_account(positions, {"AAA": D(100), "BBB": None}, VALUES)
    assert worth == Valuation(D(1500), "ib_net_liquidation", ("BBB", "CCC"))


def test_without_account_values_nobody_knows() -> None:
    """Prices alone are worth nothing without the cash."""
    assert value_account([held("AAA", 1)], {"AAA": D(1)}, None) == Valuation(None, "none")


@pytest.mark.parametrize(
    ("kill_age_s", "working", "last_cancel_age_s", "cancels"),
    [
        (None, 3, None, False),
        (KILL_PATIENCE_S - 0.01, 3, None, False),
        (KILL_PATIENCE_S, 3, None, True),
        (KILL_PATIENCE_S, 0, None, False),
        (60, 1, CANCEL_AGAIN_S - 0.01, False),
        (60, 1, CANCEL_AGAIN_S, True),
    ],
)
def test_a_kill_is_escalated_while_orders_work(
    kill_age_s: float | None, working: int, last_cancel_age_s: float | None, cancels: bool
) -> None:
    """The executor gets its seconds; then the guard cancels, and again until nothing works."""
    assert kill_must_escalate(kill_age_s, working, last_cancel_age_s) is cancels
