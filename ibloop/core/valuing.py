"""What each holding and the whole account are worth, by which source, and whether it is believed.

Prices come from the stream's files first, then from the broker's own mark of the position. A price
far from everything known is held back until it is confirmed: one bad print must neither raise the
peak nor look like a loss. What cannot be priced leaves it to the broker's figure, and without that
to the last known prices, which are an estimate and decide nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from fractions import Fraction

from ibloop.core.model import ZERO, AccountValues, Moment, Position, Quote
from ibloop.core.quotes import QuoteLimits, mid, valuation_price

MARK_AGE_S_MAX = 240.0
"""Portfolio marks and account figures come every three minutes, and when a position changes."""
SPLIT_PATIENCE = 5
"""Times as many confirmations for a price that looks split: its shares may arrive later."""
SPLIT_TOLERANCE = Decimal("0.10")
"""How far shares times price may move in a split: the market goes on meanwhile."""
SPLIT_LOOK = Decimal("0.02")
"""How close a price's jump must be to a split's ratio to be taken for one."""
_RATIOS = frozenset(
    {Fraction(n) for n in range(2, 31)}
    | {Fraction(1, n) for n in range(2, 51)}
    | {Fraction(3, 2), Fraction(2, 3), Fraction(5, 2), Fraction(4, 3), Fraction(5, 4)}
)


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

    ``seq`` is the number of the quote that last spoke for the ``suspect``, ``times`` how many
    different ones did, ``since`` when the first came.
    """

    price: Decimal
    suspect: Decimal | None = None
    times: int = 0
    seq: int = 0
    since: Moment | None = None


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


def price_holding(
    position: Position,
    quote: Quote | None,
    mark: Mark | None,
    known: Remembered | None,
    *,
    now: Moment,
    rules: PriceRules,
    is_alone: bool = True,
) -> tuple[Priced, Remembered | None]:
    """Return a holding's price and what to remember of it.

    Args: a quote of this very contract; the broker's mark; what was remembered; ``is_alone`` is
    false when most holdings jump at once, which no split explains.
    """
    live = _live(quote, now, rules.quotes)
    recent = mark if mark is not None and now.age_s(mark.received) <= MARK_AGE_S_MAX else None
    if live is None or quote is None:
        return _without_quote(position, quote, recent, known, now)
    age_s = max(0.0, now.age_s(quote.received))
    source = PriceSource(quote.source.value)
    if _is_plausible(live, quote.close, known, rules, is_alone):
        return _priced(position, live, source, age_s), Remembered(live)
    waiting = _confirmed(live, quote, recent, known, now, rules, is_alone)
    if waiting is None:
        return _priced(position, live, source, age_s), Remembered(live)
    last = waiting.price
    if recent is not None and _near(recent.price, last, rules.jump_fraction):
        price, by, age = recent.price, PriceSource.PORTFOLIO, now.age_s(recent.received)
    else:
        price, by, age = last, PriceSource.LAST_GOOD, None
    note = f"{live} of {source} is far from {last} and waits for confirmation"
    return replace(_priced(position, price, by, age), note=note), waiting


def _live(quote: Quote | None, now: Moment, limits: QuoteLimits) -> Decimal | None:
    """Return a fresh quote's mid or last; a close alone says nothing of today."""
    if quote is None or valuation_price(quote, now, limits) is None:
        return None
    last = quote.last if quote.last is not None and quote.last > 0 else None
    return mid(quote) or last


def _without_quote(
    position: Position,
    quote: Quote | None,
    mark: Mark | None,
    known: Remembered | None,
    now: Moment,
) -> tuple[Priced, Remembered | None]:
    if mark is not None and mark.price > 0:
        age_s = max(0.0, now.age_s(mark.received))
        return _priced(position, mark.price, PriceSource.PORTFOLIO, age_s), known
    closes = (known.price if known else None, quote.close if quote else None)
    price = next((p for p in closes if p is not None and p > 0), None)
    source = PriceSource.NONE if price is None else PriceSource.LAST_CLOSE
    return _priced(position, price, source, None), known


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
    return Remembered(last, live, times, quote.seq, since)


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
    lives = [(_live(own[p.con_id], now, rules.quotes), before.get(p.con_id)) for p in positions]
    is_alone = not most_jump(lives, rules.jump_fraction)
    found, memory = list[Priced](), dict[int, Remembered]()
    for position in positions:
        con_id = position.con_id
        quote = own[con_id]
        priced, remembered = price_holding(
            position,
            quote if con_id not in void or quote is None else replace(quote, close=None),
            marks.get(con_id),
            before.get(con_id),
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


def looks_like_split(price: Decimal, before: Decimal) -> bool:
    """Return whether a price is that of before divided by a usual split ratio."""
    if before <= 0 or price <= 0:
        return False
    ratio = before / price
    return any(abs(ratio * r.denominator / r.numerator - 1) <= SPLIT_LOOK for r in _RATIOS)


def split_ratio(
    before: Decimal, after: Decimal, price_before: Decimal | None, price_after: Decimal | None
) -> Fraction | None:
    """Return new shares for one old share if a split explains the change, ``None`` otherwise.

    A whole share less is its fraction paid out in cash. With both prices shares times price must
    have stayed; without them nothing is called a split: two shares for one may be a purchase.
    """
    if not before or not after or price_before is None or price_after is None:
        return None
    was, now = before * price_before, after * price_after
    if not was or abs(now / was - 1) > SPLIT_TOLERANCE:
        return None
    found = [ratio for ratio in _RATIOS if _splits_to(before, ratio, after)]
    actual = Fraction(after) / Fraction(before)
    return min(found, key=lambda ratio: abs(ratio - actual), default=None)


def _splits_to(before: Decimal, ratio: Fraction, after: Decimal) -> bool:
    exact = before * ratio.numerator / ratio.denominator
    return after in {exact, exact.to_integral_value(rounding=ROUND_DOWN)}
