"""TradeGuard: is the account losing more than it may?

Valuation prefers the stream's prices, then the broker's own figure; without either it is degraded,
which blocks new risk but never halts: a missing price is no loss.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from ibloop.core.model import ZERO, AccountValues, HaltLevel, Position


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardLimits:
    """Losses that stop trading, as positive fractions of the baseline or of the peak."""

    day_loss_reduce_only: Decimal
    day_loss_kill: Decimal
    intraday_drawdown_kill: Decimal
    peak_drawdown_kill: Decimal
    heartbeat_age_s_max: float
    global_cancel: bool


@dataclass(frozen=True, slots=True)
class Valuation:
    """What the account is worth, USD; ``None`` when nobody can say. ``source`` says by what."""

    equity_usd: Decimal | None
    source: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Baseline:
    """What losses are measured against.

    ``day_*`` begin anew each trade date and after an operator's resume; ``peak_usd`` never falls
    but by a resume. USD.
    """

    trade_date: date
    set_at: datetime
    day_start_usd: Decimal
    day_high_usd: Decimal
    peak_usd: Decimal


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """One evaluation: the status for ``trade_guard_state`` and the halt to raise, if any."""

    status: str
    valuation: Valuation
    baseline: Baseline | None
    day_loss: Decimal | None
    drawdown: Decimal | None
    halt: HaltLevel | None
    reason: str


def value_account(
    positions: Iterable[Position],
    prices: Mapping[str, Decimal | None],
    values: AccountValues | None,
) -> Valuation:
    """Return the account's worth: cash plus positions at stream prices, else the broker's figure.

    Args: broker positions; a usable price per symbol or ``None``; the broker's account values,
    ``None`` when they are too old to be used.
    """
    if values is None:
        return Valuation(None, "none", ())
    held = [p for p in positions if p.quantity]
    missing = tuple(p.symbol for p in held if prices.get(p.symbol) is None)
    if missing:
        return Valuation(values.net_liquidation, "ib_net_liquidation", missing)
    worth = sum((p.quantity * (prices[p.symbol] or ZERO) for p in held), ZERO)
    return Valuation(values.total_cash + worth, "ib_stream")


def rebase(
    baseline: Baseline | None,
    equity_usd: Decimal,
    today: date,
    now: datetime,
    resumed_at: datetime | None,
    high_usd: Decimal | None = None,
) -> Baseline:
    """Return the baseline this evaluation is measured against, before it is measured.

    A new day starts at its first evaluation. A resume by an operator is the decision to live with
    the loss so far: everything starts anew from there, so that the next loss trips again.
    ``high_usd`` is what a new high may be, the equity itself when left out.
    """
    high_usd = equity_usd if high_usd is None else high_usd
    resumed = baseline is not None and resumed_at is not None and resumed_at > baseline.set_at
    if baseline is None or resumed:
        return Baseline(today, now, equity_usd, equity_usd, equity_usd)
    if baseline.trade_date != today:
        peak = max(baseline.peak_usd, high_usd)
        return Baseline(today, now, equity_usd, equity_usd, peak)
    return replace(
        baseline,
        day_high_usd=max(baseline.day_high_usd, high_usd),
        peak_usd=max(baseline.peak_usd, high_usd),
    )


def evaluate(
    valuation: Valuation,
    baseline: Baseline | None,
    limits: GuardLimits,
    *,
    today: date,
    now: datetime,
    resumed_at: datetime | None,
    previous_usd: Decimal | None = None,
) -> GuardVerdict:
    """Return what the guard has to do about this valuation.

    Losses are fractions: day loss of the day's start, drawdown of the day's high and of the peak.
    A broker tells of cash and shares one after the other, so that a valuation in the middle of a
    fill is wrong by the whole trade: a loss and a high count when the valuation before
    (``previous_usd``) had them, too.
    """
    equity = valuation.equity_usd
    if equity is None or equity <= 0:
        text = "equity unknown" if equity is None else f"equity {equity} is not positive"
        return GuardVerdict("degraded", valuation, baseline, None, None, None, text)
    before = equity if previous_usd is None else previous_usd
    base = rebase(baseline, equity, today, now, resumed_at, min(equity, before))
    sure = max(equity, before)
    day_loss = (base.day_start_usd - sure) / base.day_start_usd
    intraday = (base.day_high_usd - sure) / base.day_high_usd
    peak = (base.peak_usd - sure) / base.peak_usd
    halt, reason = _trigger(day_loss, intraday, peak, limits)
    status = {None: "ok", HaltLevel.REDUCE_ONLY: "reduce_only", HaltLevel.KILL: "kill"}[halt]
    return GuardVerdict(status, valuation, base, day_loss, max(intraday, peak), halt, reason)


def _trigger(
    day_loss: Decimal, intraday: Decimal, peak: Decimal, limits: GuardLimits
) -> tuple[HaltLevel | None, str]:
    for name, loss, limit, level in (
        ("day loss", day_loss, limits.day_loss_kill, HaltLevel.KILL),
        ("intraday drawdown", intraday, limits.intraday_drawdown_kill, HaltLevel.KILL),
        ("drawdown from peak", peak, limits.peak_drawdown_kill, HaltLevel.KILL),
        ("day loss", day_loss, limits.day_loss_reduce_only, HaltLevel.REDUCE_ONLY),
    ):
        if loss >= limit:
            return level, f"{name} {loss:.2%} reached the limit of {limit:.2%}"
    return None, "within limits"


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
