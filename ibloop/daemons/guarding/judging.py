"""The verdict on a look at the account, against what the ledger remembers."""

from dataclasses import dataclass, replace
from datetime import timedelta

from ibloop.adapters.ledger import guard_state
from ibloop.adapters.ledger.connection import Connection
from ibloop.adapters.ledger.guard_state import GuardRow
from ibloop.config import Config
from ibloop.core.guard import Circumstances, GuardVerdict, evaluate
from ibloop.core.model import Moment
from ibloop.core.sessions import trade_date
from ibloop.daemons.guarding import rows as guard_rows
from ibloop.daemons.guarding.look import Sight


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, its row, the row before; ``is_opening`` while what it is measured from is made."""

    verdict: GuardVerdict
    row: GuardRow
    last: GuardRow | None
    is_opening: bool


def judge(db: Connection, config: Config, sight: Sight, now: Moment) -> Judged:
    """Return the verdict on what was seen, against what the ledger remembers; write nothing."""
    limits = config.guard
    today = trade_date(now.utc, config.session.timezone)
    last, cleared = guard_state.last(db), guard_rows.cleared_now(db)
    baseline = guard_rows.baseline_of(last)
    resumed = guard_rows.resumed_at(last, baseline, cleared, now.utc)
    window = now.utc - timedelta(minutes=limits.order_failures_minutes)
    # What happened before a resume is accepted with it.
    since = max(window, baseline.set_at) if baseline else window
    seen = Circumstances(
        today=today,
        now=now.utc,
        market_open=sight.market_open,
        resumed_at=resumed,
        recent=guard_rows.recent_of(last),
        flow_usd=sight.flow_usd,
        year_high_usd=guard_rows.year_high(db, baseline, last, today),
        order_failures=0 if resumed else guard_state.order_failures(db, since),
        troubles=sight.troubles,
    )
    verdict = evaluate(sight.valuation, baseline, limits, seen)
    is_valued = verdict.day_loss is not None
    is_anew = is_valued and (resumed is not None or baseline is None)
    row = guard_rows.row_of(verdict, sight, last, cleared, today, now.utc)
    began = today.isoformat() if is_anew else (last.detail.get("since") if last else None)
    if began is not None:
        row = replace(row, detail={**row.detail, "since": began})
    bases = (baseline, verdict.baseline)
    is_opening = is_valued and any(base is None or base.opening for base in bases)
    return Judged(verdict, row, last, is_opening)
