"""The guard halts at its limits, never for a missing price, and starts anew when told."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.core.baselines import Baseline, Measure, flow_factor, measure_of
from ibloop.core.guard import (
    CANCEL_AGAIN_S,
    KILL_PATIENCE_S,
    Circumstances,
    GuardLimits,
    GuardVerdict,
    evaluate,
    is_flow_doubted,
    kill_must_escalate,
    may_release,
    pause_s,
    rebase,
)
from ibloop.core.model import HaltLevel
from ibloop.core.valuing import Priced, PriceSource, Valuation

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
HELD = (Priced("AAA", 1, D(10), D(1), PriceSource.STREAM, 0.1),)


def seen(**changes: object) -> Circumstances:
    """Return the circumstances of an evaluation today."""
    return replace(Circumstances(today=TODAY, now=NOW), **changes)  # type: ignore[arg-type]


def verdict_of(
    equity: str | None,
    baseline: Baseline | None = FLAT,
    *,
    sound: bool = True,
    limits: GuardLimits = LIMITS,
    **changes: object,
) -> GuardVerdict:
    """Return the verdict on an account worth ``equity``; ``changes`` are to the circumstances."""
    worth = Valuation(
        None if equity is None else D(equity), "ib_stream", sound=sound, holdings=HELD
    )
    return evaluate(worth, baseline, limits, seen(**changes))


def play(
    path: Sequence[int],
    baseline: Baseline | None = FLAT,
    recent: tuple[Decimal, ...] | None = None,
    **changes: object,
) -> list[GuardVerdict]:
    """Return the verdicts on one valuation after the other."""
    if recent is None:
        recent = () if baseline is None else baseline.opening
    verdicts = []
    for equity in path:
        verdicts.append(verdict_of(str(equity), baseline, recent=recent, **changes))
        recent = verdicts[-1].recent
        baseline = verdicts[-1].baseline or baseline
    return verdicts


@pytest.mark.parametrize(
    ("equity", "baseline", "halt", "word"),
    [
        ("970.01", FLAT, None, "near the limit"),
        ("970", FLAT, HaltLevel.REDUCE_ONLY, "day loss 3.00% reached the limit of 3.00%"),
        ("950.01", FLAT, HaltLevel.REDUCE_ONLY, "day loss"),
        ("950", FLAT, HaltLevel.KILL, "day loss 5.00% reached"),
        ("1034.01", replace(FLAT, day_high_usd=D(1100), peak_usd=D(1100)), None, "near"),
        (
            "1034",
            replace(FLAT, day_high_usd=D(1100), peak_usd=D(1100)),
            HaltLevel.KILL,
            "intraday drawdown 6.00% reached",
        ),
        ("990.01", replace(FLAT, peak_usd=D(1100)), None, "near"),
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
    words = {None: {"ok", "warn"}, HaltLevel.KILL: {"kill"}}
    assert verdict.status in words.get(halt, {"reduce_only"})


@pytest.mark.parametrize("equity", ["500", "1", "-5"])
def test_an_estimate_never_halts_and_keeps_its_baseline(equity: str) -> None:
    """A missing price is no loss: it blocks new risk by its status, not by a halt."""
    verdict = verdict_of(equity, sound=False)
    assert (verdict.status, verdict.halt, verdict.baseline) == ("degraded", None, FLAT)
    assert (verdict.day_loss, verdict.drawdown) == (None, None)
    assert verdict_of(None).status == "degraded"
    assert verdict_of(None, None).baseline is None


# --- what decides is seen twice in three ----------------------------------------------------------


@pytest.mark.parametrize("path", [[1000, 900, 1000, 900], [900, 1000, 900], [1000, 900, 900]])
def test_a_loss_that_flaps_halts(path: list[int]) -> None:
    """A stale figure every other time hid the loss from whoever compares two values only."""
    assert play(path)[-1].halt is HaltLevel.KILL


@pytest.mark.parametrize("path", [[1000, 900, 1000], [1000, 1000, 900], [1000, 900]])
def test_one_low_value_in_three_halts_nothing(path: list[int]) -> None:
    """A fill seen half way is wrong by the whole trade, once."""
    assert all(verdict.halt is None for verdict in play(path))


def test_one_high_value_is_no_high() -> None:
    """Else the fall from it, back to the truth, would be a drawdown of its own."""
    last = play([1000, 1200, 1000, 1000, 1000])[-1]
    assert last.baseline == replace(FLAT, close_usd=D(1000))
    assert last.halt is None


@settings(deadline=None, max_examples=80)
@given(st.lists(st.integers(1, 2000), min_size=3, max_size=12))
def test_the_middle_of_three_decides(path: list[int]) -> None:
    """Along any path losses and highs are those of the median of the last three."""
    verdicts = play(path)
    middles = [sorted(path[i - 2 : i + 1])[1] for i in range(2, len(path))]
    first = (min(path[:1]), min(path[:2]))
    high = max(1000, *first, *middles)
    last = verdicts[-1]
    assert last.baseline is not None
    assert last.baseline.day_high_usd == high
    assert last.day_loss == D(1000 - middles[-1]) / 1000


# --- worth less than nothing ----------------------------------------------------------------------


def test_negative_equity_by_sound_inputs_is_a_kill() -> None:
    """Owing more than there is is the worst loss there is; one glimpse of it may be an error."""
    first, second = play([-5, -5])
    assert (first.status, first.halt) == ("degraded", None)
    assert (second.status, second.halt) == ("kill", HaltLevel.KILL)
    assert "not positive" in second.reason
    assert play([1000, -5])[-1].halt is None
    assert play([1000, -5, -5])[-1].halt is HaltLevel.KILL
    assert verdict_of("-5", recent=(D(-5), D(-5)), sound=False).halt is None


def test_an_empty_account_has_lost_nothing() -> None:
    """Nothing held and no cash: a new account, or one that was closed."""
    empty = Valuation(D(0), "ib_stream")
    verdict = evaluate(empty, None, LIMITS, seen(recent=(D(0), D(0))))
    assert (verdict.status, verdict.halt) == ("degraded", None)


# --- near a limit ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("equity", "status"), [("976.01", "ok"), ("976", "warn"), ("970.01", "warn")]
)
def test_a_loss_near_its_limit_warns(equity: str, status: str) -> None:
    """From four fifths of a limit on, and it halts nothing."""
    verdict = verdict_of(equity)
    assert (verdict.status, verdict.halt) == (status, None)


@pytest.mark.parametrize(
    ("failures", "status"), [(15, "ok"), (16, "warn"), (19, "warn"), (20, "reduce_only")]
)
def test_orders_that_fail_stop_buying(failures: int, status: str) -> None:
    """Twenty refused or unknown orders in half an hour are no chance."""
    assert verdict_of("1000", order_failures=failures).status == status


def test_what_cannot_be_trusted_blocks_but_a_loss_still_halts() -> None:
    """A clock that is wrong makes the guard degraded; it does not hide a loss."""
    troubled = verdict_of("1000", troubles=("our clock is 60 s ahead",))
    assert (troubled.status, troubled.halt) == ("degraded", None)
    assert troubled.day_loss == 0
    assert verdict_of("940", troubles=("our clock is 60 s ahead",)).halt is HaltLevel.KILL


def test_the_reduce_only_is_lifted_only_where_configured() -> None:
    """And below the release only, never at the limit itself: no flapping."""
    limits = replace(LIMITS, reduce_only_release=D("0.01"))
    for equity, released in (("990", True), ("989", False), ("965", False)):
        assert may_release(verdict_of(equity, limits=limits), limits) is released
        assert not may_release(verdict_of(equity), LIMITS)


def test_the_guard_looks_more_rarely_when_the_market_is_closed() -> None:
    """Every few seconds in market hours."""
    assert pause_s(LIMITS, market_open=True) < pause_s(LIMITS, market_open=False)


# --- baselines ------------------------------------------------------------------------------------


def test_the_first_evaluation_sets_every_baseline() -> None:
    """Without a past there is no loss."""
    verdict = verdict_of("800", None)
    opening = (D(800),)
    start = Baseline(
        *(TODAY, NOW, D(800), D(800), D(800)), opening=opening, is_anew=True, is_high_anew=True
    )
    assert verdict.baseline == start
    assert (verdict.status, verdict.day_loss, verdict.drawdown) == ("ok", D(0), D(0))


def test_highs_follow_equity_up_and_never_down() -> None:
    """A new high moves high and peak; a fall moves neither, nor the day's start."""
    up = verdict_of("1200").baseline
    assert up == replace(FLAT, day_high_usd=D(1200), peak_usd=D(1200), close_usd=D(1200))
    assert verdict_of("1190", up).baseline == replace(up, close_usd=D(1190))


YESTERDAY = replace(FLAT, trade_date=TODAY - timedelta(days=1), close_usd=D(1000), peak_usd=D(1000))


def test_a_new_day_is_measured_from_the_prior_close() -> None:
    """A gap over night is a loss of the day; the first value of the day would hide it."""
    verdict = verdict_of("960", YESTERDAY)
    base = verdict.baseline
    assert base is not None
    assert (base.day_start_usd, base.prior_close_usd, base.peak_usd) == (960, 1000, 1000)
    assert (verdict.day_loss, verdict.halt) == (D("0.04"), HaltLevel.REDUCE_ONLY)


@pytest.mark.parametrize(("days", "base"), [(1, 1000), (5, 1000), (6, 990)])
def test_a_close_of_long_ago_is_no_day_s_start(days: int, base: int) -> None:
    """After two weeks without a guard the loss of two weeks is not that of a day."""
    old = replace(YESTERDAY, trade_date=TODAY - timedelta(days=days))
    verdict = verdict_of("990", old)
    assert verdict.baseline is not None
    assert verdict.baseline.day_base_usd == base


def test_out_of_hours_the_close_stands() -> None:
    """What is traded at night is not the close."""
    closed = verdict_of("980", verdict_of("1000").baseline, market_open=False)
    assert closed.baseline is not None
    assert closed.baseline.close_usd == 1000


def test_the_highest_of_52_weeks_counts_where_configured() -> None:
    """A peak of two years ago may be forgiven; that of the year is not."""
    limits = replace(LIMITS, peak_drawdown_kill=D(1), year_drawdown_kill=D("0.2"))
    for equity, halt in (("961", None), ("960", HaltLevel.KILL)):
        verdict = verdict_of(
            equity,
            replace(YESTERDAY, close_usd=D(961)),
            limits=limits,
            year_high_usd=D(1200),
        )
        assert verdict.halt is halt


@pytest.mark.parametrize("flow", [1000, -500, 9000])
def test_a_deposit_is_no_profit_and_a_withdrawal_no_loss(flow: int) -> None:
    """Each loss stays the fraction it was."""
    before = verdict_of("980", recent=(D(980), D(980)))
    after = verdict_of(str(980 + flow), before.baseline, recent=before.recent, flow_usd=D(flow))
    assert (after.status, after.halt) == (before.status, None)
    assert after.day_loss is not None
    assert round(after.day_loss, 4) == D("0.02")
    assert round(after.drawdown or D(0), 4) == D("0.02")


def test_a_flow_that_leaves_nothing_starts_anew() -> None:
    """There is nothing to compare with before a first deposit."""
    assert flow_factor(D(1000), D(1000)) is None
    assert flow_factor(D(1000), D(1500)) is None
    verdict = verdict_of("1000", replace(FLAT, peak_usd=D(9000)), flow_usd=D(1000))
    assert verdict.baseline is not None
    assert verdict.baseline.peak_usd == 1000


HIGH = replace(
    FLAT,
    peak_usd=D(1050),
    year_high_usd=D(1020),
    prior_close_usd=D(1001),
    prior_close_on=TODAY - timedelta(days=1),
)
YEARLY = replace(LIMITS, year_drawdown_kill=D("0.12"))


def resumed(equity: str, *measures: Measure) -> Baseline:
    """Return the baseline after a person has resumed the guard's halts for these."""
    verdict = verdict_of(
        equity,
        HIGH,
        limits=YEARLY,
        resumed=frozenset(measures),
        recent=(D(equity),) * 2,
        year_high_usd=HIGH.year_high_usd,
    )
    assert verdict.baseline is not None
    return verdict.baseline


def test_a_resume_of_a_loss_starts_the_day_anew_once() -> None:
    """The loss so far is accepted, the next one counts again; what adds up in the peak stays."""
    start = resumed("960", Measure.DAY)
    assert start == Baseline(
        *(TODAY, NOW, D(960), D(960), D(1050)), year_high_usd=D(1020), opening=(D(960),)
    )
    later = play([960, 960, 945, 945], start, recent=(D(960),) * 3)
    assert [v.halt for v in later] == [None, None, None, HaltLevel.KILL]
    assert "drawdown from peak" in later[-1].reason


@pytest.mark.parametrize(
    ("equity", "measure", "peak", "year"),
    [
        ("960", Measure.DAY, 1050, 1020),
        ("960", Measure.INTRADAY, 1050, 1020),
        ("945.01", Measure.DAY, 1050, 1020),
        ("945", Measure.DAY, 945, 1020),  # it would halt again at once
        ("960", Measure.PEAK, 960, 1020),
        ("960", Measure.YEAR, 1050, None),
        ("897.6", Measure.DAY, D("897.6"), None),
        ("960", Measure.COUNT, 1050, 1020),
    ],
)
def test_a_resume_moves_what_the_halt_was_for(
    equity: str, measure: Measure, peak: object, year: object
) -> None:
    """And what would be halted for in the next evaluation; peak and 52 weeks else stay."""
    base = resumed(equity, measure)
    assert (base.peak_usd, base.year_high_usd) == (peak, year)
    is_loss = measure is not Measure.COUNT
    assert base.day_base_usd == (D(equity) if is_loss else D(1001))


def test_every_reason_of_a_halt_says_what_it_was_for() -> None:
    """A resume is told by it."""
    peak = replace(FLAT, peak_usd=D(1100))
    high = replace(FLAT, day_high_usd=D(1100), peak_usd=D(1100))
    year = replace(FLAT, year_high_usd=D(1150))
    cases = {
        Measure.DAY: verdict_of("970"),
        Measure.INTRADAY: verdict_of("1034", high),
        Measure.PEAK: verdict_of("990", peak),
        Measure.YEAR: verdict_of("1000", year, limits=YEARLY),
        Measure.EQUITY: verdict_of("-1", recent=(D(-1), D(-1))),
        Measure.COUNT: verdict_of("1000", order_failures=20),
    }
    for measure, verdict in cases.items():
        assert verdict.halt is not None, measure
        assert measure_of(verdict.reason) is measure


def test_without_a_resume_nothing_moves() -> None:
    """The baseline follows the market only."""
    found = rebase(FLAT, (D(900),), seen(), LIMITS)
    assert found == replace(FLAT, close_usd=D(900))


@pytest.mark.parametrize(
    ("name", "most"),
    [("order_failures", 20), ("data_refusals", 100), ("stream_errors", 1000)],
)
def test_each_count_warns_and_then_makes_it_reduce_only(name: str, most: int) -> None:
    """Below four fifths of its limit nothing, from there a warning, at the limit the halt."""
    near = most * 4 // 5
    table = {0: "ok", near - 1: "ok", near: "warn", most - 1: "warn", most: "reduce_only"}
    for number, status in table.items():
        verdict = verdict_of("1000", **{name: number})
        assert (number, verdict.status) == (number, status)
    assert verdict.halt is HaltLevel.REDUCE_ONLY
    assert verdict.reason.startswith(f"{most} ")
    assert verdict.reason.endswith(f"reached the limit of {most}")


@pytest.mark.parametrize(
    ("gone", "equity", "doubted"),
    [
        ("99.99", "900", False),
        ("100", "900", True),
        ("100.01", "900", True),
        ("50", "0", True),
        ("0", "0", False),
        ("-500", "900", False),
    ],
)
def test_much_that_has_gone_is_doubted(gone: str, equity: str, doubted: bool) -> None:
    """A tenth of what there was; what came in hides no loss."""
    assert is_flow_doubted(D(gone), D(equity), LIMITS) is doubted


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
