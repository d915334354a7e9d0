"""TradeGuard: is the account losing more than it may?

Losses are measured from baselines that survive restarts and follow deposits and withdrawals. A
loss counts when it is seen in two of three valuations, so that neither one bad reading nor a
reading that flaps decides; a valuation that is an estimate blocks new risk and never halts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from ibloop.core.model import HALT_ORDER, ZERO, HaltLevel
from ibloop.core.valuing import Valuation

RECENT = 3
"""Valuations that decide together: the one in the middle counts."""
PRIOR_CLOSE_DAYS_MAX = 5
"""A close of longer ago (Thursday before a long weekend is five days) is not the day's start."""
YEAR = timedelta(weeks=52)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardLimits:
    """Losses that stop trading, as positive fractions of the baseline or of the peak.

    ``warn_fraction``: of each limit, from where a warning is due. ``year_drawdown_kill``: from the
    highest value of 52 weeks, not measured when left out. ``reduce_only_release``: the day loss
    below which the guard lifts its own reduce-only again, never when left out; a kill is lifted by
    people alone. ``order_failures_max`` orders refused by the broker or of unknown fate within
    ``order_failures_minutes`` make it reduce-only. ``evaluation_s`` is the pace in market hours,
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
    evaluation_s: float = 2.0
    evaluation_closed_s: float = 30.0
    price_jump_fraction: Decimal = Decimal("0.25")
    price_confirmations: int = 3
    price_missing_s_max: float = 300.0
    drop_copy_s: float = 10.0
    drop_copy_grace_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Baseline:
    """What losses are measured against, USD.

    ``day_*`` begin anew each trade date and after an operator's resume; ``peak_usd`` never falls
    but by a resume or a withdrawal. ``close_usd`` is the last value of this date in market hours,
    which becomes the next date's ``prior_close_usd``. ``year_high_usd`` is the highest value of
    52 weeks before this date. ``opening`` are the valuations of which the start is still being
    made, none once it is; ``is_anew`` when nothing of before counts, the peak neither.
    """

    trade_date: date
    set_at: datetime
    day_start_usd: Decimal
    day_high_usd: Decimal
    peak_usd: Decimal
    close_usd: Decimal | None = None
    prior_close_usd: Decimal | None = None
    prior_close_on: date | None = None
    year_high_usd: Decimal | None = None
    opening: tuple[Decimal, ...] = ()
    is_anew: bool = False

    @property
    def day_base_usd(self) -> Decimal:
        """Return what the day's loss is measured from: the prior close, else the day's start."""
        on = self.prior_close_on
        if self.prior_close_usd is None or on is None or self.prior_close_usd <= 0:
            return self.day_start_usd
        is_recent = (self.trade_date - on).days <= PRIOR_CLOSE_DAYS_MAX
        return self.prior_close_usd if is_recent else self.day_start_usd

    def scaled(self, factor: Decimal) -> "Baseline":
        """Return the baseline after a flow: every loss stays the same fraction it was."""
        return replace(
            self,
            day_start_usd=_cents(self.day_start_usd * factor),
            day_high_usd=_cents(self.day_high_usd * factor),
            peak_usd=_cents(self.peak_usd * factor),
            close_usd=_scaled(self.close_usd, factor),
            prior_close_usd=_scaled(self.prior_close_usd, factor),
            year_high_usd=_scaled(self.year_high_usd, factor),
            opening=tuple(_cents(value * factor) for value in self.opening),
        )


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
    highest value of the 52 weeks before today, as of today's money. ``troubles``: what makes the
    guard's own sight unreliable, each as a sentence.
    """

    today: date
    now: datetime
    market_open: bool = True
    resumed_at: datetime | None = None
    recent: tuple[Decimal, ...] = ()
    flow_usd: Decimal | None = None
    year_high_usd: Decimal | None = None
    order_failures: int = 0
    troubles: tuple[str, ...] = ()


def pause_s(limits: GuardLimits, *, market_open: bool) -> float:
    """Return the seconds between two evaluations."""
    return limits.evaluation_s if market_open else limits.evaluation_closed_s


def sure_loss_usd(recent: Sequence[Decimal]) -> Decimal:
    """Return the worth that losses are measured with: the middle of three.

    Of two the higher one. One wrong reading in three, which a flapping quote or a fill seen half
    way can be, decides nothing; two do.
    """
    return sorted(recent)[len(recent) // 2] if len(recent) >= RECENT else max(recent)


def sure_high_usd(recent: Sequence[Decimal]) -> Decimal:
    """Return the worth that highs are made of: the middle of three, of two the lower one."""
    return sorted(recent)[len(recent) // 2] if len(recent) >= RECENT else min(recent)


def flow_factor(equity_usd: Decimal, flow_usd: Decimal) -> Decimal | None:
    """Return by how much a flow multiplies every baseline; ``None`` when nothing is comparable.

    As a fund counts its units: what was worth ``equity - flow`` is worth ``equity`` now.
    """
    before = equity_usd - flow_usd
    return equity_usd / before if before > 0 and equity_usd > 0 else None


def rebase(baseline: Baseline | None, recent: tuple[Decimal, ...], seen: Circumstances) -> Baseline:
    """Return the baseline this evaluation is measured against, before it is measured.

    A new day starts at its first evaluations. A resume by an operator is the decision to live with
    the loss so far: everything starts anew from there, so that the next loss trips again.
    ``recent`` are the valuations that decide, this one last. A start is the middle of three
    valuations: until they are there it is what this one is sure of, from which nothing is lost.
    """
    equity, sure, high = recent[-1], sure_loss_usd(recent), sure_high_usd(recent)
    if baseline is None or _is_resumed(baseline, seen):
        return Baseline(seen.today, seen.now, sure, sure, sure, opening=(equity,), is_anew=True)
    if baseline.trade_date != seen.today:
        is_closed = baseline.close_usd is not None
        return Baseline(
            *(seen.today, seen.now, sure, sure, max(baseline.peak_usd, high)),
            prior_close_usd=baseline.close_usd if is_closed else baseline.prior_close_usd,
            prior_close_on=baseline.trade_date if is_closed else baseline.prior_close_on,
            year_high_usd=seen.year_high_usd,
            opening=(equity,),
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
    if _is_resumed(baseline, seen):
        before = ()
    recent = (*before, equity)[-RECENT:]
    sure = sure_loss_usd(recent)
    if equity <= 0 or sure <= 0:
        return _owing(valuation, baseline, recent)
    base = rebase(baseline, recent, seen)
    losses = _losses(base, sure, limits)
    day_loss = losses[0][1]
    drawdown = max(loss for _, loss, _, _ in losses[1:] if loss is not None)
    halt, reason = _trigger(losses, seen.order_failures, limits)
    warning = None if halt else _warning(losses, seen.order_failures, limits)
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


def _is_resumed(baseline: Baseline | None, seen: Circumstances) -> bool:
    at = seen.resumed_at
    return baseline is not None and at is not None and at > baseline.set_at


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
    recent = tuple(_cents(value * factor) for value in seen.recent)
    return recent, baseline.scaled(factor) if baseline else None


def _owing(
    valuation: Valuation, baseline: Baseline | None, recent: tuple[Decimal, ...]
) -> GuardVerdict:
    """Return the verdict on an account that owes more than it has, by sound inputs."""
    if len(recent) < 2 or sure_loss_usd(recent) > 0:
        text = f"equity {valuation.equity_usd} is not positive, which the next valuation confirms"
        return _degraded(valuation, baseline, text, recent)
    text = f"equity {sure_loss_usd(recent)} is not positive: all is lost, or more than all"
    return GuardVerdict("kill", valuation, baseline, None, None, HaltLevel.KILL, text, recent)


_Loss = tuple[str, Decimal | None, Decimal | None, HaltLevel]


def _losses(base: Baseline, sure: Decimal, limits: GuardLimits) -> tuple[_Loss, ...]:
    """Return each loss with its name, its limit and what reaching it means; the severest first."""
    day_loss = (base.day_base_usd - sure) / base.day_base_usd
    intraday = (base.day_high_usd - sure) / base.day_high_usd
    peak = (base.peak_usd - sure) / base.peak_usd
    high = base.year_high_usd
    year = None if high is None else (high - sure) / high
    kill = HaltLevel.KILL
    return (
        ("day loss", day_loss, limits.day_loss_kill, kill),
        ("intraday drawdown", intraday, limits.intraday_drawdown_kill, kill),
        ("drawdown from peak", peak, limits.peak_drawdown_kill, kill),
        ("drawdown of 52 weeks", year, limits.year_drawdown_kill, kill),
    )


def _all_losses(losses: Sequence[_Loss], limits: GuardLimits) -> Iterator[_Loss]:
    yield from losses
    name, loss, _, _ = losses[0]
    yield name, loss, limits.day_loss_reduce_only, HaltLevel.REDUCE_ONLY


def _trigger(
    losses: Sequence[_Loss], failures: int, limits: GuardLimits
) -> tuple[HaltLevel | None, str]:
    for name, loss, limit, level in _all_losses(losses, limits):
        if loss is not None and limit is not None and loss >= limit:
            return level, f"{name} {loss:.2%} reached the limit of {limit:.2%}"
    if failures >= limits.order_failures_max:
        text = (
            f"{failures} orders refused or of unknown fate in {limits.order_failures_minutes} min"
        )
        return HaltLevel.REDUCE_ONLY, f"{text} reached the limit of {limits.order_failures_max}"
    return None, ""


def _warning(losses: Sequence[_Loss], failures: int, limits: GuardLimits) -> str | None:
    """Return what has come near its limit, the nearest to acting first."""
    part = limits.warn_fraction
    for name, loss, limit, level in reversed(tuple(_all_losses(losses, limits))):
        if loss is not None and limit is not None and loss > 0 and loss >= limit * part:
            return f"{name} {loss:.2%} is near the limit of {limit:.2%} ({level})"
    if failures and failures >= limits.order_failures_max * part:
        return f"{failures} orders refused or of unknown fate: {limits.order_failures_max} halt"
    return None


def may_release(verdict: GuardVerdict, limits: GuardLimits) -> bool:
    """Return whether the guard may lift the reduce-only that it raised for a day loss itself."""
    release = limits.reduce_only_release
    is_well = verdict.status in {"ok", "warn"} and verdict.day_loss is not None
    return release is not None and is_well and (verdict.day_loss or ZERO) <= release


def is_as_severe(standing: HaltLevel | None, level: HaltLevel) -> bool:
    """Return whether a halt that stands does all that ``level`` would."""
    return standing is not None and HALT_ORDER.index(standing) >= HALT_ORDER.index(level)


def _cents(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.0001"))


def _scaled(value: Decimal | None, factor: Decimal) -> Decimal | None:
    return None if value is None else _cents(value * factor)


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
