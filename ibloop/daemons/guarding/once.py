"""One evaluation from what the ledger and the stream say, without a session and without a trace."""

from dataclasses import replace

from ibloop.adapters.calendar import session_at
from ibloop.adapters.ledger import account, guard_memory
from ibloop.adapters.ledger.connection import Connection
from ibloop.adapters.ledger.guard_memory import GuardMemory
from ibloop.adapters.ledger.guard_state import GuardRow
from ibloop.adapters.ports import Clock, Quotes
from ibloop.config import Config
from ibloop.core.valuing import price_all, value_account
from ibloop.daemons.guarding.judging import judge
from ibloop.daemons.guarding.look import BLIND, Sight, price_rules
from ibloop.daemons.guarding.rows import prices_of

LEDGER_AGE_S_MAX = 240.0
"""The executor writes figures as the broker pushes them: every three minutes at the least."""


def evaluate_once(db: Connection, config: Config, quotes: Quotes, clock: Clock) -> GuardRow:
    """Return the evaluation the guard would record now; nothing is written.

    Against the baselines the guard has recorded. Degraded when the executor has not written
    positions and figures for four minutes.
    """
    now = clock.now()
    values, as_of = account.values(db), account.positions_as_of(db)
    market_open = session_at(config.session.calendar, now.utc) is not None
    sight = Sight(BLIND, market_open, GuardMemory())
    stamps = [stamp for stamp in (as_of, values.as_of if values else None) if stamp is not None]
    fresh = all(abs((now.utc - stamp).total_seconds()) <= LEDGER_AGE_S_MAX for stamp in stamps)
    if values is not None and len(stamps) == 2 and fresh:
        held = account.positions(db)
        priced, _ = price_all(
            held,
            quotes.read([p.symbol for p in held]),
            {},
            guard_memory.load(db).prices,
            now=now,
            rules=price_rules(config),
        )
        sight = Sight(value_account(priced, values.total_cash, values), market_open, GuardMemory())
    judged = judge(db, config, sight, now)
    return replace(judged.row, detail={**judged.row.detail, "prices": prices_of(sight.valuation)})
