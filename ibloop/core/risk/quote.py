"""The checks of the quote that prices an order, each with the number it found."""

from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache

from ibloop.core.model import MarketDataType, Moment, Quote, QuoteSource
from ibloop.core.quotes import FUTURE_S_MAX, QuoteLimits, mid
from ibloop.core.risk.verdict import Verdict, at_most


def check_quote(
    quote: Quote | None,
    con_id: int,
    now: Moment,
    limits: QuoteLimits,
) -> tuple[Verdict, ...]:
    """Return what every check says of a quote for an order of contract ``con_id``.

    They pass together exactly when :func:`ibloop.core.quotes.problem` has nothing to say and the
    contract is the order's. All refuse with the code ``market_data_error``.
    """
    if quote is None:
        wanted = _named(MarketDataType.LIVE, con_id)
        return (Verdict("market_data", "there is no quote", wanted, passed=False),)
    return tuple(_verdicts(quote, con_id, now, limits))


_TWO_SIDED = Verdict("two_sided", "0 < bid <= ask", "0 < bid <= ask", passed=True)


@lru_cache(maxsize=4096)
def _named(kind: str, con_id: int) -> str:
    return f"a {kind} quote of contract {con_id}"


def _halt_word(halted: bool | None) -> str:
    """Return what is known of a halt.

    IB tells that a symbol is *not* halted only of some (those on a TWS watchlist), and of no
    snapshot: to refuse what it does not tell would refuse nearly every order. A halt it does tell,
    and a halted symbol has no ticks either: its quote ages, or has one side.
    """
    if halted is None:
        return "unknown, taken as not halted"
    return "halted" if halted else "not halted"


def _verdicts(quote: Quote, con_id: int, now: Moment, limits: QuoteLimits) -> Iterator[Verdict]:
    kind = quote.market_data_type
    is_market = kind is MarketDataType.LIVE and quote.source is not QuoteSource.HISTORY
    wanted = _named(MarketDataType.LIVE, con_id)
    found = _named(kind if is_market else f"{kind} {quote.source}", quote.con_id)
    yield Verdict("market_data", found, wanted, is_market and quote.con_id == con_id)
    age_s = now.age_s(quote.received)
    in_time = -FUTURE_S_MAX <= age_s <= limits.quote_age_s_max
    yield Verdict("quote_age_s_max", round(age_s, 3), limits.quote_age_s_max, in_time)
    yield Verdict("halted_symbol", _halt_word(quote.halted), "not halted", not quote.halted)
    middle = mid(quote)
    if middle is None or quote.bid is None or quote.ask is None:
        sides = f"bid {quote.bid}, ask {quote.ask}"
        yield Verdict("two_sided", sides, "0 < bid <= ask", passed=False)
        return
    yield _TWO_SIDED
    yield at_most(
        "spread_fraction_max", (quote.ask - quote.bid) / middle, limits.spread_fraction_max
    )
    close = quote.close
    jump: Decimal | None = None if close is None or close <= 0 else abs(middle - close) / close
    yield at_most("jump_fraction_max", jump, limits.jump_fraction_max)
