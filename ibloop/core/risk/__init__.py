"""Limits on orders, on the plan and on every single send.

Three moments. :func:`check_order` judges one planned order, :func:`check_plan` the whole run and
:func:`check_margin` what the broker says that it would cost. :func:`check_send` runs inside the
transaction that journals the send, with what is committed at that instant. Each returns what every
check says: :func:`breaches` are the refusals, and all of it is stored with the run. A missing
input denies. What lowers exposure is never held back by a cap on exposure. What each check means
and what to do about it is one line of :data:`CHECKS`.
"""

from ibloop.core.risk.daytrades import DAY_TRADER_EQUITY_USD, DayTrades, Trade, count_day_trades
from ibloop.core.risk.exposure import Exposure, Holding, exposure_of
from ibloop.core.risk.funds import ACCOUNT_AGE_S_MAX, careful_equity, check_account_age
from ibloop.core.risk.halts import halt_allows, reduces
from ibloop.core.risk.limits import Limits
from ibloop.core.risk.margin import check_margin
from ibloop.core.risk.order import check_order
from ibloop.core.risk.plan import check_plan, holdings_of
from ibloop.core.risk.quote import check_quote
from ibloop.core.risk.send import SendContext, SentOrder, check_send
from ibloop.core.risk.table import CHECKS, GUARD_HALTED, MARKET_DATA_ERROR, Check, Moment
from ibloop.core.risk.verdict import Verdict, because, breaches, shown

__all__ = [
    "ACCOUNT_AGE_S_MAX",
    "CHECKS",
    "DAY_TRADER_EQUITY_USD",
    "GUARD_HALTED",
    "MARKET_DATA_ERROR",
    "Check",
    "DayTrades",
    "Exposure",
    "Holding",
    "Limits",
    "Moment",
    "SendContext",
    "SentOrder",
    "Trade",
    "Verdict",
    "because",
    "breaches",
    "careful_equity",
    "check_account_age",
    "check_margin",
    "check_order",
    "check_plan",
    "check_quote",
    "check_send",
    "count_day_trades",
    "exposure_of",
    "halt_allows",
    "holdings_of",
    "reduces",
    "shown",
]
