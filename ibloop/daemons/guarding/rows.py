"""Between an evaluation and its row in the ledger: what is kept, and what is read back."""

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal

from ibloop.adapters.ledger import guard_days, halts
from ibloop.adapters.ledger.connection import Connection, Tx
from ibloop.adapters.ledger.guard_days import GuardDay
from ibloop.adapters.ledger.guard_state import GuardRow
from ibloop.core.baselines import (
    YEAR,
    Baseline,
    Measure,
    measure_of,
    sure_high_usd,
    sure_loss_usd,
)
from ibloop.core.guard import GuardVerdict
from ibloop.core.invariant import present
from ibloop.core.model import ZERO
from ibloop.core.valuing import Priced, PriceSource, Valuation
from ibloop.daemons.guarding.look import Sight

HOLDINGS_NAMED_MAX = 20
"""Holdings by another source than the stream that each row names; the kept rows name all."""


def baseline_of(row: GuardRow | None) -> Baseline | None:
    """Return what the last evaluation was measured against."""
    if row is None or row.baseline_equity is None or row.baseline_at is None:
        return None
    detail = row.detail
    on = detail.get("prior_close_on")
    return Baseline(
        trade_date=date.fromisoformat(str(detail.get("baseline_date", row.trade_date))),
        set_at=row.baseline_at,
        day_start_usd=Decimal(str(detail.get("day_start_usd", row.baseline_equity))),
        day_high_usd=Decimal(str(detail.get("day_high_usd", row.baseline_equity))),
        peak_usd=present(row.peak_equity, "peak of a baseline"),
        close_usd=_decimal(detail.get("close_usd")),
        prior_close_usd=_decimal(detail.get("prior_close_usd")),
        prior_close_on=None if on is None else date.fromisoformat(str(on)),
        year_high_usd=_decimal(detail.get("year_high_usd")),
        opening=_decimals(detail.get("opening")),
        is_anew=detail.get("anew") is True,
        is_high_anew=detail.get("high_anew") is True,
    )


def _decimal(text: object) -> Decimal | None:
    return None if text is None else Decimal(str(text))


def recent_of(row: GuardRow | None) -> tuple[Decimal, ...]:
    """Return the sound valuations that the last evaluation decided by."""
    return _decimals(row.detail.get("recent")) if row else ()


def _decimals(found: object) -> tuple[Decimal, ...]:
    return tuple(Decimal(str(text)) for text in found) if isinstance(found, list) else ()


def resumed_now(db: Connection) -> Counter[str]:
    """Return how many halts of the guard people have cleared so far, by what they were for."""
    return Counter(measure_of(reason).value for reason in halts.resumed_reasons(db))


def resumed_since(last: GuardRow | None, cleared: Mapping[str, int]) -> frozenset[Measure]:
    """Return what a person has resumed since the last evaluation that had a value.

    Told by the number of halts cleared: by their times a resume in the baseline's own
    millisecond, or after the clock was set back, would be missed and the halt raised again.
    """
    known = last.detail.get("resumed") if last else None
    if not isinstance(known, dict):
        return frozenset()
    return frozenset(Measure(name) for name, n in cleared.items() if n > known.get(name, 0))


def row_of(
    verdict: GuardVerdict,
    sight: Sight,
    last: GuardRow | None,
    cleared: Mapping[str, int],
    today: date,
    now: datetime,
) -> GuardRow:
    """Return the row of an evaluation, without the prices of its holdings (``prices_of``)."""
    base, valuation = verdict.baseline, verdict.valuation
    detail: dict[str, object] = {"reason": verdict.reason, "unpriced": list(valuation.missing)}
    # An evaluation without a value has not taken note of a resume: the next valued one must.
    noted = verdict.day_loss is not None or verdict.status != "degraded"
    known = last.detail.get("resumed", cleared) if last else cleared
    detail["resumed"] = dict(cleared) if noted else known
    detail["recent"] = list(verdict.recent)
    detail["sources"] = Counter(p.source.value for p in valuation.holdings)
    detail["other_prices"] = _named(valuation)
    if sight.flow_usd is not None and base is not None:
        detail["flow_usd"] = sight.flow_usd
    if sight.pending is not None:
        detail["unexplained_cash_usd"] = sight.pending.cash_usd
    if sight.splits:
        detail["splits"] = dict(sight.splits)
    if base is not None:
        detail |= _of_baseline(base)
    return GuardRow(
        trade_date=today,
        evaluated_at=now,
        status=verdict.status,
        equity=valuation.equity_usd,
        equity_source=valuation.source,
        baseline_equity=base.day_base_usd if base else None,
        baseline_at=base.set_at if base else None,
        peak_equity=base.peak_usd if base else None,
        day_loss=_rounded(verdict.day_loss),
        drawdown=_rounded(verdict.drawdown),
        detail=detail,
    )


def _of_baseline(base: Baseline) -> dict[str, object]:
    known = {
        "day_start_usd": base.day_start_usd,
        "day_high_usd": base.day_high_usd,
        "baseline_date": base.trade_date.isoformat(),
        "close_usd": base.close_usd,
        "prior_close_usd": base.prior_close_usd,
        "prior_close_on": base.prior_close_on.isoformat() if base.prior_close_on else None,
        "year_high_usd": base.year_high_usd,
        "opening": list(base.opening) or None,
        "anew": base.is_anew or None,
        "high_anew": base.is_high_anew or None,
    }
    return {name: value for name, value in known.items() if value is not None}


def prices_of(valuation: Valuation) -> list[list[object]]:
    """Return every holding as symbol, shares, price, source and age in seconds."""
    return [_listed(p) for p in valuation.holdings]


def _named(valuation: Valuation) -> list[list[object]]:
    others = [p for p in valuation.holdings if p.source is not PriceSource.STREAM]
    return [_listed(p) for p in others[:HOLDINGS_NAMED_MAX]]


def _listed(priced: Priced) -> list[object]:
    age_s = None if priced.age_s is None else round(priced.age_s, 1)
    entry = [priced.symbol, priced.quantity, priced.price, priced.source.value, age_s]
    return [*entry, priced.note] if priced.note else entry


def _rounded(fraction: Decimal | None) -> Decimal | None:
    """Return a loss to a hundredth of a basis point: a quotient need not end."""
    return None if fraction is None else fraction.quantize(Decimal("0.000001"))


def year_high(
    db: Connection, baseline: Baseline | None, last: GuardRow | None, today: date
) -> Decimal | None:
    """Return the highest value of 52 weeks; asked of the days when a date begins."""
    if baseline is None or baseline.trade_date == today:
        return baseline.year_high_usd if baseline else None
    newest = guard_days.newest(db)
    if newest is None:
        return None
    since = last.detail.get("since") if last else None
    first = date.fromisoformat(str(since)) if since else None
    return guard_days.year_high_usd(db, today, newest.units, first, YEAR)


def store_day(
    tx: Tx, verdict: GuardVerdict, flow_usd: Decimal | None, *, is_opening: bool, today: date
) -> GuardDay | None:
    """Bring the day's row up to date and return it if it has changed.

    ``is_opening``: the day's highest value is being started, with the day itself, with the first
    value or with a resume of what the 52 weeks have lost; what was worth more before does not
    count any more.
    """
    if verdict.baseline is None or not verdict.recent or verdict.day_loss is None:
        return None
    low, high = sure_loss_usd(verdict.recent), sure_high_usd(verdict.recent)
    known = guard_days.find(tx.db, today)
    day = known
    if day is None:
        newest = guard_days.newest(tx.db)
        units = newest.units if newest else Decimal(1)
        day = GuardDay(today, high, high, low, low, ZERO, units)
    if flow_usd is not None:
        day = day.with_flow(flow_usd, verdict.flow_factor)
    if is_opening:
        day = GuardDay(today, high, high, low, low, day.flow_usd, day.units)
    day = day.with_value(high).with_value(low)
    return None if day == known else day
