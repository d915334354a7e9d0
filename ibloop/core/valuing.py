"""What each holding and the whole account are worth, by which source, and whether it is believed.

Prices come from the stream's files first, then from the broker's own mark of the position. The
middle of a wide spread is nobody's price and is not used. A price far from everything known is held
back until it is confirmed: one bad print must neither raise the peak nor look like a loss. What
cannot be priced leaves it to the broker's figure, and without that to the last known prices, which
are an estimate and decide nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from ibloop.core.model import ZERO, AccountValues, Moment, Position, Quote, QuoteSource
from ibloop.core.quotes import QuoteLimits, mid, valuation_price
from ibloop.core.splits import looks_like_split

MARK_AGE_S_MAX = 240.0
"""Portfolio marks and account figures come every three minutes, and when a position changes."""
SPLIT_PATIENCE = 5
"""Times as many confirmations for a price that looks split: its shares may arrive later."""


class PriceSource(StrEnum):
    """By what a holding was priced, best first."""

    STREAM = "ib_stream"
    SNAPSHOT = "ib_snapshot"
    HISTORY = "ib_history"
    PORTFOLIO = "ib_portfolio"
    LAST_GOOD = "last_good"
    LAST_CLOSE = "last_close"
    NONE = "none"


_SOURCE_ORDER = tuple(PriceSource)


@dataclass(frozen=True, slots=True)
class Mark:
    """The broker's own price of a position, USD a share, and when it was pushed to us."""

    price: Decimal
    received: Moment


@dataclass(frozen=True, slots=True)
class Remembered:
    """The last price that was believed, and one that waits to be confirmed.

    ``at`` is when it was believed, ``None`` when nobody knows. ``seq`` is the number of the quote
    that last spoke for the ``suspect``, ``times`` how many different ones did, ``since`` when the
    first came.
    """

    price: Decimal
    suspect: Decimal | None = None
    times: int = 0
    seq: int = 0
    since: Moment | None = None
    at: Moment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRules:
    """When a price is held back: ``jump_fraction`` from all that is known, and for how long."""

    quotes: QuoteLimits
    jump_fraction: Decimal
    confirmations: int


@dataclass(frozen=True, slots=True)
class Priced:
    """One holding: shares (negative when short) at a USD price, its source and age in seconds.

    ``price`` is ``None`` when nothing is known; ``note`` says why a better source was not used.
    """

    symbol: str
    con_id: int
    quantity: Decimal
    price: Decimal | None
    source: PriceSource
    age_s: float | None
    note: str = ""

    @property
    def is_usable(self) -> bool:
        """Return whether the price may decide something: an old close may not."""
        return self.source not in {PriceSource.LAST_CLOSE, PriceSource.NONE}


@dataclass(frozen=True, slots=True)
class Valuation:
    """What the account is worth, USD; ``None`` when nobody can say. ``source`` says by what.

    ``sound`` is false for an estimate, which blocks new risk and halts nothing. ``missing`` are
    symbols without a usable price of their own.
    """

    equity_usd: Decimal | None
    source: str
    missing: tuple[str, ...] = ()
    sound: bool = True
    holdings: tuple[Priced, ...] = ()
    note: str = ""

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is held: worth nothing is no loss then."""
        return self.equity_usd == ZERO and not any(p.quantity for p in self.holdings)

    @property
    def unseen(self) -> tuple[str, ...]:
        """Return the symbols that nobody prices now, those at their last good price too."""
        held_back = (p.symbol for p in self.holdings if p.source is PriceSource.LAST_GOOD)
        return (*self.missing, *held_back)


def price_holding(
    position: Position,
    quote: Quote | None,
    mark: Mark | None,
    known: Remembered | None,
    live: Decimal | None,
    *,
    now: Moment,
    rules: PriceRules,
    is_alone: bool = True,
) -> tuple[Priced, Remembered | None]:
    """Return a holding's price and what to remember of it.

    Args: a quote of this very contract; the broker's mark, while it is recent; what was remembered;
    what the quote says (:func:`live_price`); ``is_alone`` is false when most holdings jump at once,
    which no split explains.
    """
    if live is None or quote is None:
        return _without_price(position, quote, mark, known, now, rules.quotes)
    source = PriceSource(quote.source.value)
    waiting = None
    if not _is_plausible(live, quote.close, known, rules, is_alone):
        waiting = _confirmed(live, quote, mark, known, now, rules, is_alone)
    if waiting is None:
        return _priced(position, live, source, _age_s(quote, now)), Remembered(live, at=now)
    last = waiting.price
    if mark is not None and _near(mark.price, last, rules.jump_fraction):
        found = _priced(position, mark.price, PriceSource.PORTFOLIO, now.age_s(mark.received))
    else:
        found = _last_good(position, waiting, now)
    note = f"{live} of {source} is far from {last} and waits for confirmation"
    return replace(found, note=note), waiting


def live_price(
    quote: Quote | None, mark: Mark | None, now: Moment, limits: QuoteLimits
) -> Decimal | None:
    """Return what a fresh quote says a share is worth: its mid, else its last.

    A close alone says nothing of today. Of a spread wider than ``spread_fraction_max`` the middle
    is nobody's price: a ``mark`` of the broker goes before the last price, which counts only where
    it lies inside. ``None`` when the quote says nothing, or less than the mark.
    """
    if quote is None or valuation_price(quote, now, limits) is None:
        return None
    last = quote.last if quote.last is not None and quote.last > 0 else None
    if not _is_wide(quote, limits):
        return mid(quote) or last
    if last is None or mark is not None or quote.bid is None or quote.ask is None:
        return None
    return last if quote.bid <= last <= quote.ask else None


def quoted_price(
    position: Position, quote: Quote | None, now: Moment, limits: QuoteLimits
) -> Decimal | None:
    """Return what to show a position at where nothing but a quote is known.

    As the guard believes it (:func:`live_price`, for the very contract), or else the prior close,
    which is an estimate. ``None`` when the quote is missing or stale, or its spread is too wide and
    no last price lies inside.
    """
    own = _of(quote, position)
    live = live_price(own, None, now, limits)
    if live is not None or own is None or _is_wide(own, limits):
        return live
    return valuation_price(own, now, limits)


def _is_wide(quote: Quote, limits: QuoteLimits) -> bool:
    middle = mid(quote)
    if middle is None or quote.bid is None or quote.ask is None:
        return False
    return quote.ask - quote.bid > limits.spread_fraction_max * middle


def _age_s(quote: Quote, now: Moment) -> float:
    """Return how old a quote's price is: a bar of history arrives long after it was traded."""
    age_s = now.age_s(quote.received)
    if quote.source is QuoteSource.HISTORY and quote.event_time is not None:
        age_s = max(age_s, (now.utc - quote.event_time).total_seconds())
    return max(0.0, age_s)


def _without_price(
    position: Position,
    quote: Quote | None,
    mark: Mark | None,
    known: Remembered | None,
    now: Moment,
    limits: QuoteLimits,
) -> tuple[Priced, Remembered | None]:
    """Return the price of what the stream does not price: nothing there, or nothing believable."""
    if mark is not None and mark.price > 0:
        age_s = max(0.0, now.age_s(mark.received))
        return _priced(position, mark.price, PriceSource.PORTFOLIO, age_s), known
    is_timely = quote is not None and valuation_price(quote, now, limits) is not None
    if quote is not None and is_timely and known is not None and _is_wide(quote, limits):
        note = f"the spread of {quote.bid} to {quote.ask} is too wide, the last price {quote.last}"
        return replace(_last_good(position, known, now), note=note), known
    closes = (known.price if known else None, quote.close if quote else None)
    price = next((p for p in closes if p is not None and p > 0), None)
    source = PriceSource.NONE if price is None else PriceSource.LAST_CLOSE
    return _priced(position, price, source, None), known


def _last_good(position: Position, known: Remembered, now: Moment) -> Priced:
    """Return a holding at the last price believed; as a mark it counts for four minutes."""
    age_s = None if known.at is None else max(0.0, now.age_s(known.at))
    is_recent = age_s is not None and age_s <= MARK_AGE_S_MAX
    source = PriceSource.LAST_GOOD if is_recent else PriceSource.LAST_CLOSE
    return _priced(position, known.price, source, age_s)


def _priced(
    position: Position, price: Decimal | None, source: PriceSource, age_s: float | None
) -> Priced:
    return Priced(position.symbol, position.con_id, position.quantity, price, source, age_s)


def _near(price: Decimal, other: Decimal | None, fraction: Decimal) -> bool:
    return other is not None and other > 0 and abs(price - other) <= fraction * other


def _is_plausible(
    live: Decimal,
    close: Decimal | None,
    known: Remembered | None,
    rules: PriceRules,
    is_alone: bool,
) -> bool:
    """Return whether a price is near the last good one or the prior close.

    A close that was adjusted for a split vouches for a price before the shares have come, so a
    price that looks split from the last good one is not plausible by its close.
    """
    if known is None:
        return close is None or close <= 0 or _near(live, close, rules.jump_fraction)
    if _near(live, known.price, rules.jump_fraction):
        return True
    looks_split = is_alone and looks_like_split(live, known.price)
    return not looks_split and _near(live, close, rules.jump_fraction)


def _confirmed(
    live: Decimal,
    quote: Quote,
    mark: Mark | None,
    known: Remembered | None,
    now: Moment,
    rules: PriceRules,
    is_alone: bool,
) -> Remembered | None:
    """Return what is remembered of a far price until it is believed, ``None`` when it is."""
    last = known.price if known else quote.close
    if last is None or last <= 0:
        return None
    looks_split = is_alone and looks_like_split(live, last)
    if mark is not None and not looks_split and _near(live, mark.price, rules.jump_fraction):
        return None
    before = known or Remembered(last)
    again = _near(live, before.suspect, rules.jump_fraction)
    is_news = not again or quote.seq != before.seq
    times = (before.times if again else 0) + (1 if is_news else 0)
    since = before.since if again and before.since is not None else now
    # A mark that came after the jump and does not show it speaks against it.
    vetoed = mark is not None and now.age_s(mark.received) < now.age_s(since)
    needed = rules.confirmations * (SPLIT_PATIENCE if looks_split else 1)
    if times >= needed and not vetoed:
        return None
    return Remembered(last, live, times, quote.seq, since, before.at)


def most_jump(lives: Sequence[tuple[Decimal | None, Remembered | None]], fraction: Decimal) -> bool:
    """Return whether more than half of at least three holdings are far from their last price."""
    pairs = [(live, known.price) for live, known in lives if live is not None and known is not None]
    far = sum(1 for live, price in pairs if not _near(live, price, fraction))
    return len(pairs) > 2 and far * 2 > len(pairs)


def price_all(
    positions: Sequence[Position],
    quotes: Mapping[str, Quote],
    marks: Mapping[int, Mark],
    known: Mapping[int, Remembered],
    *,
    now: Moment,
    rules: PriceRules,
    splits: Iterable[int] = (),
) -> tuple[tuple[Priced, ...], dict[int, Remembered]]:
    """Return every holding priced, and what to remember by contract id.

    A quote counts for the very contract that is held. ``splits`` are contracts whose shares have
    split just now: what was remembered of their price is void.
    """
    void = frozenset(splits)
    before = {con_id: known[con_id] for con_id in known.keys() - void}
    own = {p.con_id: _of(quotes.get(p.symbol), p) for p in positions}
    recent = {c: m for c, m in marks.items() if now.age_s(m.received) <= MARK_AGE_S_MAX}
    lives = {c: live_price(q, recent.get(c), now, rules.quotes) for c, q in own.items()}
    pairs = [(live, before.get(con_id)) for con_id, live in lives.items()]
    is_alone = not most_jump(pairs, rules.jump_fraction)
    found, memory = list[Priced](), dict[int, Remembered]()
    for position in positions:
        con_id = position.con_id
        quote = own[con_id]
        priced, remembered = price_holding(
            position,
            quote if con_id not in void or quote is None else replace(quote, close=None),
            recent.get(con_id),
            before.get(con_id),
            lives[con_id],
            now=now,
            rules=rules,
            is_alone=is_alone,
        )
        found.append(priced)
        if remembered is not None:
            memory[con_id] = remembered
    return tuple(found), memory


def _of(quote: Quote | None, position: Position) -> Quote | None:
    """Return the quote if it is of the very contract that is held."""
    return quote if quote is not None and quote.con_id == position.con_id else None


def value_account(
    holdings: Sequence[Priced], cash_usd: Decimal | None, values: AccountValues | None
) -> Valuation:
    """Return the account's worth: cash plus holdings, else the broker's figure, else an estimate.

    Args: priced holdings; the cash that belongs to them; the broker's figures, ``None`` when they
    are too old to be used.
    """
    held = tuple(p for p in holdings if p.quantity)
    if cash_usd is None:
        return Valuation(None, "none", (), sound=False, holdings=held, note="no account figures")
    missing = tuple(p.symbol for p in held if not p.is_usable)
    known = all(p.price is not None for p in held)
    worth = cash_usd + sum((p.quantity * (p.price or ZERO) for p in held), ZERO)
    if not missing:
        return Valuation(worth, str(_worst(held)), (), holdings=held)
    if values is not None:
        figure = values.net_liquidation
        # One figure alone does not say that everything is gone: a login that is not complete
        # reports zero.
        agrees = figure > 0 or (known and worth <= 0)
        note = "" if agrees else f"the broker says {figure}, which nothing confirms"
        return Valuation(figure, "ib_net_liquidation", missing, agrees, held, note)
    estimate = worth if known else None
    note = f"no usable price for {', '.join(missing[:5])}, and no figure of the broker"
    source = "last_close" if known else "none"
    return Valuation(estimate, source, missing, sound=False, holdings=held, note=note)


def _worst(held: Sequence[Priced]) -> PriceSource:
    return max((p.source for p in held), key=_SOURCE_ORDER.index, default=PriceSource.STREAM)
