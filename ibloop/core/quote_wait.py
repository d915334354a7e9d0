"""Whether a claimed run waits for prices before it is planned, and for how long yet.

A run is claimed within milliseconds of its decision, and the stream subscribes what the decision
names beyond its lines only then. A plan made at once would refuse those orders for want of a price
that is a second away. So the run waits, for a bounded time, for what time can still bring.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ibloop.core.model import MarketDataType, Moment, Quote, QuoteSource
from ibloop.core.quotes import FUTURE_S_MAX, QuoteLimits, problem
from ibloop.core.unusable import FileFault, Unusable

HOPELESS: Final = frozenset({FileFault.REFUSED, FileFault.UNNAMEABLE})
"""Faults that no waiting ends: the gateway knows no such contract, or no file can have the name."""

_DELAYED: Final = frozenset({MarketDataType.DELAYED, MarketDataType.DELAYED_FROZEN})


@dataclass(frozen=True, slots=True)
class Wait:
    """What is waited for: the symbols without a price, and for how many seconds yet at most."""

    symbols: tuple[str, ...]
    left_s: float


def may_come(quote: Quote | None, con_id: int, now: Moment, limits: QuoteLimits) -> bool:
    """Return whether time may bring the usable price of a contract that this quote is not.

    It may where there is no quote, an old one, one of another contract or not yet a whole one, one
    of history, or one from the last close. It does not where there is a fresh word: delayed data is
    all that this account gets, and a halt, a wide spread, crossed prices or a jump are how the
    market is. A usable quote is not waited for either.
    """
    if quote is None or quote.con_id != con_id:
        return True
    if problem(quote, now, limits) is None:
        return False
    is_fresh = -FUTURE_S_MAX <= now.age_s(quote.received) <= limits.quote_age_s_max
    if quote.source is QuoteSource.HISTORY or not is_fresh:
        return True
    if quote.market_data_type in _DELAYED or quote.halted:
        return False
    is_whole = None not in {quote.bid, quote.ask, quote.close}
    return quote.market_data_type is not MarketDataType.LIVE or not is_whole


def is_hopeless(cause: Unusable | None) -> bool:
    """Return whether what files and stream say of a symbol will not change by waiting."""
    return cause is not None and cause.fault in HOPELESS


def wait_for(
    awaited: Sequence[str], waited_s: float, wait_s_max: float, spare_s: float
) -> Wait | None:
    """Return what a run waits for now; ``None`` when it is to be planned with the prices there are.

    Args: the symbols whose price may come; seconds waited so far, and at most; ``spare_s``, for how
    long the plan can be put off and still fit the time the run has.
    """
    left_s = min(wait_s_max - waited_s, spare_s)
    return Wait(tuple(awaited), left_s) if awaited and left_s > 0 else None
