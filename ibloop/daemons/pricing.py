"""Why a price must not be used, with what the files and the stream know of the cause."""

from ibloop.adapters.ports import Quotes
from ibloop.core.model import Moment, Quote
from ibloop.core.quotes import QuoteLimits, problem


def quote_problem(
    quotes: Quotes, symbol: str, quote: Quote | None, now: Moment, limits: QuoteLimits
) -> str | None:
    """Return why the quote that ``quotes`` last read must not price an order; None when it may.

    What :func:`~ibloop.core.quotes.problem` finds decides. The cause of it, such as a damaged file
    or a symbol that the stream is not subscribed to, is added in words after a colon.
    """
    found = problem(quote, now, limits)
    if found is None:
        return None
    cause = quotes.explain(symbol)
    return found if cause is None else f"{found}: {cause}"
