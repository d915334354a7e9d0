"""The account's worth at a send: the more careful of what the plan and the broker say.

A plan can be an hour and a half old when its orders leave. Money may have gone since, or the
market have fallen, and a weight is a fraction of what there is now.
"""

from decimal import Decimal

from ibloop.core.model import ZERO
from ibloop.core.risk.verdict import Verdict

ACCOUNT_AGE_S_MAX = 60.0
"""The executor refreshes the broker's values every 15 s; four missed rounds are too many."""
FUTURE_S_MAX = 2.0
"""Figures from further ahead were stored before the clock was set back: nobody knows their age."""
EQUITY_SLACK = Decimal("0.01")
"""A fraction of the plan's equity. Positions are valued at the plan's prices, so the equity that
goes with them is the plan's until the market has moved by more than it does in minutes."""


def careful_equity(planned_usd: Decimal, told_usd: Decimal | None) -> Decimal:
    """Return the net liquidation that weights are fractions of, USD.

    The broker's present figure where it is more than a hundredth below the plan's, else the
    plan's. What the broker does not tell (``None``) changes nothing here: its age denies then.
    """
    if told_usd is None or told_usd >= planned_usd * (1 - EQUITY_SLACK):
        return planned_usd
    return max(told_usd, ZERO)


def check_account_age(age_s: float | None) -> Verdict:
    """Return whether the broker's account values are young enough to take risk on them.

    ``age_s`` is ``None`` when a figure that the limits need is not known.
    """
    known = None if age_s is None or age_s < -FUTURE_S_MAX else round(max(age_s, 0.0), 3)
    in_time = known is not None and known <= ACCOUNT_AGE_S_MAX
    return Verdict("account_age_s_max", known, ACCOUNT_AGE_S_MAX, in_time)
