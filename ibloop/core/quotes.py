"""Is this price usable, and what is a position worth at it.

The rules that keep a bad price from becoming an order, and nothing that reads one.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ibloop.core.model import MarketDataType, Moment, Quote, QuoteSource

# Two processes of one boot share a clock; over a reboot a wall clock may be this much off.
FUTURE_S_MAX = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteLimits:
    """What a quote must keep to price an order; all mandatory.

    ``quote_age_s_max``: seconds since we received it. ``spread_fraction_max``: (ask - bid) / mid.
    ``jump_fraction_max``: distance of the mid from the prior close, as a fraction of the close.
    Fractions are of 1.
    """

    quote_age_s_max: float
    spread_fraction_max: Decimal
    jump_fraction_max: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class TickState:
    """All ticks of one symbol merged, as the market data adapter has cleaned them.

    IB's marks for "no value" (-1, 0, NaN and unset) are ``None`` here, each for itself: a size of
    0 does not take the price beside it away. ``market_data_type`` is the worst until it is told.
    Units as in :class:`~ibloop.core.model.Quote`; ``event_time`` is the exchange's.
    """

    symbol: str
    con_id: int
    market_data_type: MarketDataType
    event_time: datetime | None
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    close: Decimal | None
    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    bid_size: Decimal | None
    ask_size: Decimal | None
    last_size: Decimal | None
    volume: Decimal | None
    halted: bool | None
    currency: str
    exchange: str


_KINDS = tuple(MarketDataType)  # from the best to the worst


def is_worse(kind: MarketDataType, than: MarketDataType) -> bool:
    """Return whether market data of one kind is worth less than that of another."""
    return _KINDS.index(kind) > _KINDS.index(than)


def quote_of(state: TickState, seq: int, received: Moment, source: QuoteSource) -> Quote:
    """Return the quote to publish for a merged state."""
    return Quote(
        symbol=state.symbol,
        con_id=state.con_id,
        seq=seq,
        received=received,
        event_time=state.event_time,
        source=source,
        market_data_type=state.market_data_type,
        bid=state.bid,
        ask=state.ask,
        last=state.last,
        close=state.close,
        open=state.open,
        high=state.high,
        low=state.low,
        bid_size=state.bid_size,
        ask_size=state.ask_size,
        last_size=state.last_size,
        volume=state.volume,
        halted=state.halted,
        currency=state.currency,
        exchange=state.exchange,
    )


def mid(quote: Quote) -> Decimal | None:
    """Return the middle of bid and ask; None when one is missing, not positive, or they cross."""
    bid, ask = quote.bid, quote.ask
    if bid is None or ask is None or bid <= 0 or ask < bid:
        return None
    return (bid + ask) / 2


def problem(quote: Quote | None, now: Moment, limits: QuoteLimits) -> str | None:
    """Return why this quote must not price an order, as one sentence; None when it may.

    Only live data may: delayed data is 15 minutes old however fresh the file, frozen data is from
    the last close, and a bar of history is no market at all. Without a known prior close a jump
    cannot be measured, which denies.
    """
    if quote is None:
        return "there is no quote"
    if quote.market_data_type is not MarketDataType.LIVE:
        return f"the market data is {quote.market_data_type}, not live"
    if quote.source is QuoteSource.HISTORY:
        return "the price is from history, not from the market"
    return _age_problem(quote, now, limits) or _halt_problem(quote) or _price_problem(quote, limits)


def valuation_price(quote: Quote | None, now: Moment, limits: QuoteLimits) -> Decimal | None:
    """Return the price to value a position at: mid, else last, else prior close.

    The age rule holds, for a price from history by the time of its bar; spread, jump, halt and kind
    of data do not matter for a valuation. None when the quote is missing or stale or has no
    positive price.
    """
    if quote is None or _age_problem(quote, now, limits):
        return None
    for price in (mid(quote), quote.last, quote.close):
        if price is not None and price > 0:
            return price
    return None


def _age_problem(quote: Quote, now: Moment, limits: QuoteLimits) -> str | None:
    problem = _stamp_problem("the quote", now.age_s(quote.received), limits)
    if problem or quote.source is not QuoteSource.HISTORY:
        return problem
    # Received just now, and traded long ago: only the bar's own time tells how old the price is.
    if quote.event_time is None:
        return "the price is from history, without the time of its bar"
    bar_age_s = (now.utc - quote.event_time).total_seconds()
    return _stamp_problem("the bar of history", bar_age_s, limits)


def _stamp_problem(what: str, age_s: float, limits: QuoteLimits) -> str | None:
    if age_s > limits.quote_age_s_max:
        return f"{what} is {age_s:.1f} s old, more than {limits.quote_age_s_max:g} s"
    if age_s < -FUTURE_S_MAX:
        return f"{what}'s stamp is {-age_s:.1f} s ahead of our clock"
    return None


def _halt_problem(quote: Quote) -> str | None:
    return "trading is halted" if quote.halted else None


def _price_problem(quote: Quote, limits: QuoteLimits) -> str | None:
    bid, ask = quote.bid, quote.ask
    if bid is None or ask is None:
        return f"bid is {_shown(bid)}, ask is {_shown(ask)}"
    middle = mid(quote)
    if middle is None:
        return f"bid {bid} and ask {ask} are crossed or not positive"
    spread = (ask - bid) / middle
    if spread > limits.spread_fraction_max:
        return (
            f"the spread of {bid} to {ask} is {spread:.4f} of the mid, "
            f"more than {limits.spread_fraction_max}"
        )
    return _jump_problem(middle, quote.close, limits)


def _jump_problem(middle: Decimal, close: Decimal | None, limits: QuoteLimits) -> str | None:
    if close is None or close <= 0:
        return "there is no prior close to measure the price against"
    jump = abs(middle - close) / close
    if jump <= limits.jump_fraction_max:
        return None
    return (
        f"the mid {middle} is {jump:.4f} away from the prior close {close}, "
        f"more than {limits.jump_fraction_max}"
    )


def _shown(price: Decimal | None) -> str:
    return "missing" if price is None else str(price)
