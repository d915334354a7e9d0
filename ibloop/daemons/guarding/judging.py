"""The verdict on a look at the account, against what the ledger remembers."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ibloop.adapters.ledger import freezes, guard_state
from ibloop.adapters.ledger.connection import Connection
from ibloop.adapters.ledger.guard_state import GuardRow
from ibloop.config import Config
from ibloop.core.baselines import Baseline
from ibloop.core.dropcopy import account_troubles
from ibloop.core.guard import Circumstances, GuardVerdict, evaluate, is_loss_resumed
from ibloop.core.model import Moment
from ibloop.core.sessions import day_start, trade_date
from ibloop.daemons.guarding import rows as guard_rows
from ibloop.daemons.guarding.look import Sight

COUNTED_FROM = "counted_from"
"""In a row's detail: failures before this were accepted with a resume."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, its row, the row before.

    ``is_opening`` while what the day's highest value begins with is made.
    """

    verdict: GuardVerdict
    row: GuardRow
    last: GuardRow | None
    is_opening: bool


def judge(db: Connection, config: Config, sight: Sight, now: Moment) -> Judged:
    """Return the verdict on what was seen, against what the ledger remembers; write nothing."""
    today = trade_date(now.utc, config.session.timezone)
    last, cleared = guard_state.last(db), guard_rows.resumed_now(db)
    baseline = guard_rows.baseline_of(last)
    resumed = guard_rows.resumed_since(last, cleared)
    counted_from = now.utc if resumed else _counted_from(last)
    standing = tuple((row.symbol, row.reason) for row in freezes.standing(db))
    seen = Circumstances(
        today=today,
        now=now.utc,
        market_open=sight.market_open,
        resumed=resumed,
        recent=guard_rows.recent_of(last),
        flow_usd=sight.flow_usd,
        year_high_usd=guard_rows.year_high(db, baseline, last, today),
        order_failures=0 if resumed else _order_failures(db, config, counted_from, now),
        data_refusals=0 if resumed else _data_refusals(db, config, counted_from, now),
        stream_errors=_stream_errors(sight, counted_from),
        troubles=(*sight.troubles, *account_troubles(standing)),
    )
    verdict = evaluate(sight.valuation, baseline, config.guard, seen)
    row = guard_rows.row_of(verdict, sight, last, cleared, today, now.utc)
    kept: dict[str, object] = {} if counted_from is None else {COUNTED_FROM: counted_from}
    is_valued = verdict.day_loss is not None
    if is_valued and _is_year_anew(baseline, verdict, seen):
        kept["since"] = today.isoformat()
    elif last is not None and "since" in last.detail:
        kept["since"] = last.detail["since"]
    bases = (baseline, verdict.baseline)
    is_opening = is_valued and any(b is None or (b.opening and b.is_high_anew) for b in bases)
    return Judged(verdict, replace(row, detail={**row.detail, **kept}), last, is_opening)


def _is_year_anew(before: Baseline | None, verdict: GuardVerdict, seen: Circumstances) -> bool:
    """Return whether the 52 weeks begin today: nothing was known, or a person has resumed them."""
    base = verdict.baseline
    return before is None or (is_loss_resumed(seen) and base is not None and base.is_high_anew)


def _counted_from(last: GuardRow | None) -> datetime | None:
    text = last.detail.get(COUNTED_FROM) if last else None
    return None if text is None else datetime.fromisoformat(str(text))


def _order_failures(db: Connection, config: Config, since: datetime | None, now: Moment) -> int:
    window = now.utc - timedelta(minutes=config.guard.order_failures_minutes)
    return guard_state.order_failures(db, max(window, since or window))


def _stream_errors(sight: Sight, since: datetime | None) -> int:
    return sum(count for at, count in sight.stream_errors if since is None or at > since)


def _data_refusals(db: Connection, config: Config, since: datetime | None, now: Moment) -> int:
    today = day_start(now.utc, config.session.timezone)
    return guard_state.data_refusals(db, max(today, since or today))
