"""TradeGuard: is the account losing more than it may?

Losses are measured from baselines that survive restarts and follow deposits and withdrawals. A
loss counts when it is seen in two of three valuations, so that neither one bad reading nor a
reading that flaps decides; a valuation that is an estimate blocks new risk and never halts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from ibloop.core.baselines import (
    RECENT,
    Baseline,
    Measure,
    cents,
    flow_factor,
    sure_high_usd,
    sure_loss_usd,
)
from ibloop.core.model import HALT_ORDER, ZERO, HaltLevel
from ibloop.core.valuing import Valuation


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardLimits:
    """Losses that stop trading, as positive fractions of the baseline or of the peak.

    ``warn_fraction``: of each limit, from where a warning is due. ``year_drawdown_kill``: from the
    highest value of 52 weeks, not measured when left out. ``reduce_only_release``: the day loss
    below which the guard lifts its own reduce-only again, never when left out; a kill is lifted by
    people alone. ``order_failures_max`` orders refused by the broker or of unknown fate within
    ``order_failures_minutes`` make it reduce-only, so do ``data_refusals_max`` orders of a day
    that were refused for want of good market data and ``stream_errors_max`` errors that the
    gateway told the stream within those minutes. With more than ``stream_degraded_fraction_max``
    of the stream's symbols without live quotes for ``price_missing_s_max`` it is degraded; so it
    is, until a person accepts, when more than ``flow_fraction_max`` of the account went out in a
    day without an execution. ``evaluation_s`` is the pace in market hours,
    ``evaluation_closed_s`` outside. A price more than ``price_jump_fraction`` from the last good
    one and from the prior close waits for ``price_confirmations`` quotes. A holding without a
    price of its own for ``price_missing_s_max`` makes it degraded. ``drop_copy_s`` is how often
    executions are asked for, ``drop_copy_grace_s`` how long ledger and broker may differ.
    """

    day_loss_reduce_only: Decimal
    day_loss_kill: Decimal
    intraday_drawdown_kill: Decimal
    peak_drawdown_kill: Decimal
    heartbeat_age_s_max: float
    global_cancel: bool
    warn_fraction: Decimal = Decimal("0.8")
    year_drawdown_kill: Decimal | None = None
    reduce_only_release: Decimal | None = None
    order_failures_max: int = 20
    order_failures_minutes: int = 30
    data_refusals_max: int = 100
    stream_errors_max: int = 1_000
    stream_degraded_fraction_max: Decimal = Decimal("0.5")
    flow_fraction_max: Decimal = Decimal("0.10")
    evaluation_s: float = 2.0
    evaluation_closed_s: float = 30.0
    price_jump_fraction: Decimal = Decimal("0.25")
    price_confirmations: int = 3
    price_missing_s_max: float = 300.0
    drop_copy_s: float = 10.0
    drop_copy_grace_s: float = 30.0


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """One evaluation: the status for ``trade_guard_state`` and the halt to raise, if any.

    ``recent`` are the sound valuations that decided, this one last; ``flow_factor`` is what a flow
    has multiplied them and the baseline by, ``None`` without one or without anything before it.
    """

    status: str
    valuation: Valuation
    baseline: Baseline | None
    day_loss: Decimal | None
    drawdown: Decimal | None
    halt: HaltLevel | None
    reason: str
    recent: tuple[Decimal, ...] = ()
    flow_factor: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What an evaluation knows beside the account's worth.

    ``recent``: the sound valuations before this one, oldest first. ``flow_usd``: what came in
    (negative: went out) and is in this valuation for the first time. ``year_high_usd``: the
    highest value of the 52 weeks before today, as of today's money. ``resumed``: for what the guard
    had halted and a person has resumed since the last evaluation. ``troubles``: what makes the
    guard's own sight unreliable, each as a sentence.
    """

    today: date
    now: datetime
    market_open: bool = True
    resumed: frozenset[Measure] = frozenset()
    recent: tuple[Decimal, ...] = ()
    flow_usd: Decimal | None = None
    year_high_usd: Decimal | None = None
    order_failures: int = 0
    data_refusals: int = 0
    stream_errors: int = 0
    troubles: tuple[str, ...] = ()


def pause_s(limits: GuardLimits, *, market_open: bool) -> float:
    """Return the seconds between two evaluations."""
    return limits.evaluation_s if market_open else limits.evaluation_closed_s


def rebase(
    baseline: Baseline | None,
    recent: tuple[Decimal, ...],
    seen: Circumstances,
    limits: GuardLimits,
) -> Baseline:
    """Return the baseline this evaluation is measured against, before it is measured.

    A new day starts at its first evaluations. ``recent`` are the valuations that decide, this one
    last. A start is the middle of three valuations: until they are there it is what this one is
    sure of, from which nothing is lost.
    """
    equity, sure, high = recent[-1], sure_loss_usd(recent), sure_high_usd(recent)
    if baseline is None:
        return Baseline(
            *(seen.today, seen.now, sure, sure, sure),
            opening=(equity,),
            is_anew=True,
            is_high_anew=True,
        )
    if is_loss_resumed(seen):
        return _resumed(baseline, equity, sure, seen, limits)
    if baseline.trade_date != seen.today:
        is_closed = baseline.close_usd is not None
        return Baseline(
            *(seen.today, seen.now, sure, sure, max(baseline.peak_usd, high)),
            prior_close_usd=baseline.close_usd if is_closed else baseline.prior_close_usd,
            prior_close_on=baseline.trade_date if is_closed else baseline.prior_close_on,
            year_high_usd=seen.year_high_usd,
            opening=(equity,),
            is_high_anew=True,
        )
    if baseline.opening:
        return _opened(baseline, (*baseline.opening, equity), sure, high)
    return replace(
        baseline,
        day_high_usd=max(baseline.day_high_usd, high),
        peak_usd=max(baseline.peak_usd, high),
        # Out of hours the last value of the session stands; without one the day's last does.
        close_usd=sure if seen.market_open else baseline.close_usd,
    )


def is_loss_resumed(seen: Circumstances) -> bool:
    """Return whether a person has resumed a halt that the guard had raised for a loss."""
    return bool(seen.resumed - {Measure.COUNT})


def _resumed(
    baseline: Baseline, equity: Decimal, sure: Decimal, seen: Circumstances, limits: GuardLimits
) -> Baseline:
    """Return the baseline after a person has decided to live with a loss.

    The day starts anew from here, so that the next loss trips again. Peak and 52 weeks stay, for
    they count what was accepted piece by piece, unless the halt was for the fall from them or would
    be raised again at once.
    """
    high = seen.year_high_usd
    peak_lost = _reaches(baseline.peak_usd, sure, limits.peak_drawdown_kill)
    year_lost = _reaches(high, sure, limits.year_drawdown_kill)
    is_anew = peak_lost or Measure.PEAK in seen.resumed
    is_year_anew = year_lost or Measure.YEAR in seen.resumed
    return Baseline(
        *(seen.today, seen.now, sure, sure, sure if is_anew else baseline.peak_usd),
        year_high_usd=None if is_year_anew else high,
        opening=(equity,),
        is_anew=is_anew,
        is_high_anew=is_year_anew,
    )


def _reaches(high: Decimal | None, sure: Decimal, limit: Decimal | None) -> bool:
    return high is not None and limit is not None and (high - sure) / high >= limit


def _opened(
    baseline: Baseline, opening: tuple[Decimal, ...], sure: Decimal, high: Decimal
) -> Baseline:
    """Return the baseline with one more valuation of its start; the third one settles it."""
    is_settled = len(opening) >= RECENT
    start = sorted(opening)[len(opening) // 2] if is_settled else sure
    return replace(
        baseline,
        day_start_usd=start,
        day_high_usd=start,
        peak_usd=start if baseline.is_anew else max(baseline.peak_usd, high),
        opening=() if is_settled else opening,
        is_anew=baseline.is_anew and not is_settled,
        is_high_anew=baseline.is_high_anew and not is_settled,
    )


def evaluate(
    valuation: Valuation, baseline: Baseline | None, limits: GuardLimits, seen: Circumstances
) -> GuardVerdict:
    """Return what the guard has to do about this valuation.

    Losses are fractions: day loss of the prior close, drawdown of the day's high, of the peak and
    of 52 weeks.
    """
    equity = valuation.equity_usd
    if equity is None or not valuation.sound or valuation.is_empty:
        text = valuation.note or ("equity unknown" if equity is None else "the account is empty")
        return _degraded(valuation, baseline, text, seen.recent)
    factor = None if seen.flow_usd is None else _factor(equity, seen.flow_usd, seen.recent)
    before, baseline = _after_flow(factor, baseline, seen)
    recent = (*before, equity)[-RECENT:]
    sure = sure_loss_usd(recent)
    if equity <= 0 or sure <= 0:
        return _owing(valuation, baseline, recent)
    base = rebase(baseline, recent, seen, limits)
    losses = _losses(base, sure, limits)
    day_loss = losses[0][1]
    drawdown = max(loss for _, loss, _, _ in losses[1:] if loss is not None)
    counts = _counts(seen, limits)
    halt, reason = _trigger(losses, counts, limits)
    warning = None if halt else _warning(losses, counts, limits)
    if halt is None and seen.troubles:
        text = "; ".join(seen.troubles)
        verdict = _degraded(valuation, base, text, recent)
        return replace(verdict, day_loss=day_loss, drawdown=drawdown, flow_factor=factor)
    status = _STATUSES[halt] if halt else "warn" if warning else "ok"
    text = reason if halt else warning or "within limits"
    return GuardVerdict(status, valuation, base, day_loss, drawdown, halt, text, recent, factor)


_STATUSES = {HaltLevel.REDUCE_ONLY: "reduce_only", HaltLevel.KILL: "kill"}


def _degraded(
    valuation: Valuation, baseline: Baseline | None, text: str, recent: tuple[Decimal, ...]
) -> GuardVerdict:
    return GuardVerdict("degraded", valuation, baseline, None, None, None, text, recent)


def _factor(equity_usd: Decimal, flow_usd: Decimal, recent: Sequence[Decimal]) -> Decimal | None:
    """Return the factor of a flow by what the account was surely worth before it.

    This valuation alone may be wrong, and what it is wrong by would stay in every baseline.
    """
    after = sure_loss_usd(recent) + flow_usd if recent else equity_usd
    return flow_factor(after, flow_usd)


def _after_flow(
    factor: Decimal | None, baseline: Baseline | None, seen: Circumstances
) -> tuple[tuple[Decimal, ...], Baseline | None]:
    """Return the valuations before and the baseline in the money of after the flow."""
    if seen.flow_usd is None:
        return seen.recent, baseline
    if factor is None:
        return (), None  # nothing was there, or nothing is left: there is nothing to compare
    recent = tuple(cents(value * factor) for value in seen.recent)
    return recent, baseline.scaled(factor) if baseline else None


def _owing(
    valuation: Valuation, baseline: Baseline | None, recent: tuple[Decimal, ...]
) -> GuardVerdict:
    """Return the verdict on an account that owes more than it has, by sound inputs."""
    if len(recent) < 2 or sure_loss_usd(recent) > 0:
        text = f"equity {valuation.equity_usd} is not positive, which the next valuation confirms"
        return _degraded(valuation, baseline, text, recent)
    sure = sure_loss_usd(recent)
    text = f"{Measure.EQUITY} {sure} is not positive: all is lost, or more than all"
    return GuardVerdict("kill", valuation, baseline, None, None, HaltLevel.KILL, text, recent)


_Loss = tuple[Measure, Decimal | None, Decimal | None, HaltLevel]


def _losses(base: Baseline, sure: Decimal, limits: GuardLimits) -> tuple[_Loss, ...]:
    """Return each loss with its name, its limit and what reaching it means; the severest first."""
    day_loss = (base.day_base_usd - sure) / base.day_base_usd
    intraday = (base.day_high_usd - sure) / base.day_high_usd
    peak = (base.peak_usd - sure) / base.peak_usd
    high = base.year_high_usd
    year = None if high is None else (high - sure) / high
    kill = HaltLevel.KILL
    return (
        (Measure.DAY, day_loss, limits.day_loss_kill, kill),
        (Measure.INTRADAY, intraday, limits.intraday_drawdown_kill, kill),
        (Measure.PEAK, peak, limits.peak_drawdown_kill, kill),
        (Measure.YEAR, year, limits.year_drawdown_kill, kill),
    )


def _all_losses(losses: Sequence[_Loss], limits: GuardLimits) -> Iterator[_Loss]:
    yield from losses
    name, loss, _, _ = losses[0]
    yield name, loss, limits.day_loss_reduce_only, HaltLevel.REDUCE_ONLY


_Count = tuple[int, int, str]


def _counts(seen: Circumstances, limits: GuardLimits) -> tuple[_Count, ...]:
    """Return each number of failures with its limit and what it counts."""
    within = f"in {limits.order_failures_minutes} min"
    orders = f"orders refused or of unknown fate {within}"
    data = "orders refused today for want of good market data"
    errors = f"errors told by the gateway to the stream {within}"
    return (
        (seen.order_failures, limits.order_failures_max, orders),
        (seen.data_refusals, limits.data_refusals_max, data),
        (seen.stream_errors, limits.stream_errors_max, errors),
    )


def _trigger(
    losses: Sequence[_Loss], counts: Sequence[_Count], limits: GuardLimits
) -> tuple[HaltLevel | None, str]:
    for name, loss, limit, level in _all_losses(losses, limits):
        if loss is not None and limit is not None and loss >= limit:
            return level, f"{name} {loss:.2%} reached the limit of {limit:.2%}"
    for found, most, what in counts:
        if found >= most:
            return HaltLevel.REDUCE_ONLY, f"{found} {what} reached the limit of {most}"
    return None, ""


def _warning(losses: Sequence[_Loss], counts: Sequence[_Count], limits: GuardLimits) -> str | None:
    """Return what has come near its limit, the nearest to acting first."""
    part = limits.warn_fraction
    for name, loss, limit, level in reversed(tuple(_all_losses(losses, limits))):
        if loss is not None and limit is not None and loss > 0 and loss >= limit * part:
            return f"{name} {loss:.2%} is near the limit of {limit:.2%} ({level})"
    for found, most, what in counts:
        if found and found >= most * part:
            return f"{found} {what} are near the limit of {most}"
    return None


def is_flow_doubted(gone_usd: Decimal, equity_usd: Decimal, limits: GuardLimits) -> bool:
    """Return whether so much has gone out that a person has to say it was a withdrawal.

    Args: what went out today without an execution, USD, and what the account is worth since. Money
    that came in is not doubted: it hides no loss, and going out again it is.
    """
    return gone_usd > 0 and gone_usd >= limits.flow_fraction_max * (equity_usd + gone_usd)


def may_release(verdict: GuardVerdict, limits: GuardLimits) -> bool:
    """Return whether the guard may lift the reduce-only that it raised for a day loss itself."""
    release = limits.reduce_only_release
    is_well = verdict.status in {"ok", "warn"} and verdict.day_loss is not None
    return release is not None and is_well and (verdict.day_loss or ZERO) <= release


def is_as_severe(standing: HaltLevel | None, level: HaltLevel) -> bool:
    """Return whether a halt that stands does all that ``level`` would."""
    return standing is not None and HALT_ORDER.index(standing) >= HALT_ORDER.index(level)


KILL_PATIENCE_S = 5.0
"""How long the executor has to cancel its orders under a kill before the guard cancels all."""
CANCEL_AGAIN_S = 10.0


def kill_must_escalate(
    kill_age_s: float | None, working_orders: int, last_cancel_age_s: float | None
) -> bool:
    """Return whether the guard must send a global cancel now.

    Args: seconds since the kill was first seen (``None`` without one); orders of ours that may
    still work; seconds since the last global cancel (``None`` before the first).
    """
    if kill_age_s is None or kill_age_s < KILL_PATIENCE_S or working_orders == 0:
        return False
    return last_cancel_age_s is None or last_cancel_age_s >= CANCEL_AGAIN_S
