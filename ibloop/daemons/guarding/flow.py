"""Money that came or went without an execution: told, and doubted when much has gone."""

from datetime import date, datetime

from ibloop.adapters.ledger import alerts, audit, freezes, guard_state
from ibloop.adapters.ledger.connection import Tx
from ibloop.core.dropcopy import CASH, Break, BreakKind
from ibloop.core.guard import GuardLimits, is_flow_doubted
from ibloop.core.invariant import present
from ibloop.core.model import ZERO
from ibloop.daemons.guarding.look import Sight

ACTOR = "guard"


def tell_flow(tx: Tx, limits: GuardLimits, sight: Sight, today: date, now: datetime) -> None:
    """Write a flow down and tell people; what has gone beyond the limit waits for one of them.

    Several flows of a day count together, those a person has accepted excepted. Called before the
    evaluation itself is stored.
    """
    flow = present(sight.flow_usd, "flow")
    equity = present(sight.valuation.equity_usd, "equity of a flow")
    way = "came in" if flow > 0 else "went out"
    text = f"{abs(flow):.2f} USD {way} without a fill: a flow, no profit or loss; baselines follow"
    audit.append(
        tx, ACTOR, "guard.flow_seen", "", {"flow_usd": flow, "equity_usd": equity}, now=now
    )
    alerts.raise_alert(tx, "warning", "guard.flow_seen", "", text, None, now, ACTOR)
    if flow >= ZERO:
        return
    earlier = guard_state.gone_usd(tx.db, today, freezes.last_cleared_at(tx.db, CASH))
    gone = earlier - flow
    if is_flow_doubted(gone, equity, limits):
        part = gone / (equity + gone) if equity + gone > 0 else 1
        _doubt(tx, f"{gone:.2f} USD ({part:.0%}) went out today without an execution", now)


def _doubt(tx: Tx, what: str, now: datetime) -> None:
    """Let nothing new be bought until a person says that it was a withdrawal."""
    if all(row.symbol != CASH for row in freezes.standing(tx.db)):
        freezes.freeze(tx, Break(BreakKind.POSITION, CASH, CASH, what), now, ACTOR)
    text = (
        f"{what}; nothing is bought until you say that it was a withdrawal (`ibloop guard release "
        f"{CASH} REASON`). If it was not: `ibloop halt`, and ask the broker"
    )
    alerts.raise_alert(tx, "critical", "guard.flow_doubted", CASH, text, None, now, ACTOR)
