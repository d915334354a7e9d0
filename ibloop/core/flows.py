"""Cash and shares by double entry: what executions explain, and what came or went otherwise.

A broker tells of cash, of shares and of the execution that moved both one after the other. An
execution has both legs, so the books of a moment at rest plus the executions since are never seen
half way. What is told and not explained has to stand for a while without a fill in between, and
until the broker has answered which executions there are: a trade nobody was told of is a profit or
a loss, whatever it looks like. What remains is a flow: a deposit is no profit and a withdrawal is
no loss. Shares of a held contract that have become more or fewer without money are none either,
for a stock dividend looks so: a person has to look.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from ibloop.core.books import (
    Books,
    Posting,
    at_rest,
    differences,
    expected_from,
    nothing,
)
from ibloop.core.model import ZERO, Moment, Position
from ibloop.core.splits import counted_shares, is_repriced

STANDS_EVALUATIONS = 5
"""How often in a row the same difference must be seen before it is believed."""
STANDS_S = 10.0
"""And for how long: figures of a fill come within seconds."""
PENDING_S_MAX = 120.0
"""A difference that never stands still is believed as it is after this."""
PRICES_KEPT = 3
"""Prices of what moved that decide together: the one in the middle counts."""
TRADE_LOSS_MAX = Decimal(2)
"""Money and shares that went opposite ways are a trade, unless it has cost twice what it is worth,
"""
TRADE_PROFIT_MAX = Decimal("1.25")
"""or has made more than a quarter since: then a flow each way is likelier, and hides no loss."""
FLOW_FRACTION_MIN = Decimal("0.005")
"""Less than half a percent of the equity is interest, a dividend or a fee: part of the result."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A difference that executions do not explain: what it is, how often seen, since when.

    ``prices`` are the last prices of what moved, by contract, newest last.
    """

    cash_usd: Decimal
    shares: tuple[tuple[int, Decimal], ...]
    executions: int
    times: int
    since: Moment
    first: Moment
    prices: tuple[Mapping[int, Decimal], ...] = ()


@dataclass(frozen=True, slots=True)
class Unexplained:
    """Shares of a held contract that came (negative: went) without an execution.

    ``price`` is what one was worth before, USD, ``None`` when that is not known; ``since`` is when
    just so many were seen first.
    """

    symbol: str
    quantity: Decimal
    price: Decimal | None
    since: Moment


@dataclass(frozen=True, slots=True)
class Reading:
    """What to value now, and the books from here on.

    ``flow_usd`` is set once, when a difference is believed: positive when it came in.
    ``unexplained`` is by contract. ``doubt`` says, for a person, what has stood for long enough and
    may still not be believed; empty when there is nothing.
    """

    books: Books
    pending: Pending | None
    cash_usd: Decimal
    positions: tuple[Position, ...]
    flow_usd: Decimal | None = None
    unexplained: Mapping[int, Unexplained] = field(default_factory=dict)
    doubt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What else it takes to read the books.

    ``prices``: those the valuation believes, by contract. ``equity_usd``: the last one, to tell a
    flow from interest. ``splits``: contracts recognised as split; ``accepted``: those a person has
    accepted since they differ. ``unexplained``: as of the reading before. ``answered``: when the
    last whole answer about executions was asked for. ``since``: from when a new difference may be,
    when nobody has looked for a while.
    """

    prices: Mapping[int, Decimal]
    equity_usd: Decimal | None
    answered: Moment | None
    splits: Collection[int] = ()
    accepted: Collection[int] = ()
    unexplained: Mapping[int, Unexplained] = field(default_factory=dict)
    since: Moment | None = None


def read_books(
    books: Books | None,
    pending: Pending | None,
    cash_usd: Decimal,
    positions: Sequence[Position],
    executions: Mapping[str, Posting],
    known: Known,
    now: Moment,
) -> Reading:
    """Return what the account holds by double entry.

    Args: the books so far, ``None`` before the first; cash and positions as told; today's
    executions by base.
    """
    told = {p.con_id: p for p in positions if p.quantity}
    rest = at_rest(books, cash_usd, told, executions, now.utc)
    as_told = Reading(rest, None, cash_usd, tuple(told.values()))
    if books is None:
        return as_told
    cash, shares, tolerance = expected_from(books, executions)
    for con_id in known.splits:
        shares[con_id] = told.get(con_id, shares.get(con_id, nothing(con_id)))
        tolerance += known.prices.get(con_id, ZERO)  # a fraction is paid out in cash
    cash_off = cash_usd - cash
    shares_off = differences(shares, told)
    if not shares_off and abs(cash_off) <= tolerance:
        return as_told
    waiting = _waiting(pending, cash_off, shares_off, len(executions), known.prices, now)
    strange = _unexplained(books, shares, told, shares_off, known, now)
    held = _counted(shares, told, strange, known.prices)
    by_books = Reading(books, waiting, cash, held, unexplained=strange)
    prices = _sure_prices(waiting.prices)
    is_answered = _is_answered(waiting, known.answered, now)
    stands = _stands(waiting, now)
    if stands and _is_trade(cash_off, shares_off, prices):
        # Both legs are there: it is worth what it is worth now, and nothing came or went.
        if is_answered:
            return as_told
        doubt = _doubt(waiting, told, shares)
        return Reading(books, waiting, cash_usd, as_told.positions, None, strange, doubt)
    refused = {c: u for c, u in strange.items() if c not in known.accepted}
    if any(now.age_s(u.since) >= STANDS_S for u in refused.values()):
        return replace(by_books, doubt=_needs_a_person(refused, told))
    if not stands or refused:
        return by_books
    if not is_answered or any(con_id not in prices for con_id, _ in shares_off):
        return replace(by_books, doubt=_doubt(waiting, told, shares))
    value = cash_off + _worth(shares_off, prices, strange, told)
    equity_usd = known.equity_usd
    is_flow = equity_usd is None or abs(value) >= FLOW_FRACTION_MIN * abs(equity_usd)
    return replace(as_told, flow_usd=value if is_flow else None)


def _unexplained(
    books: Books,
    expected: Mapping[int, Position],
    told: Mapping[int, Position],
    shares_off: tuple[tuple[int, Decimal], ...],
    known: Known,
    now: Moment,
) -> dict[int, Unexplained]:
    """Return what differs of contracts that were held, with the price of before it differed."""
    found = {}
    for con_id, off in shares_off:
        if con_id not in expected or not (expected[con_id].quantity or con_id in books.holdings):
            continue
        before = known.unexplained.get(con_id)
        if before is not None and before.quantity == off:
            found[con_id] = before
            continue
        symbol = (told.get(con_id) or expected[con_id]).symbol
        price = known.prices.get(con_id) if before is None else before.price
        found[con_id] = Unexplained(symbol, off, price, known.since or now)
    return found


def _counted(
    expected: Mapping[int, Position],
    told: Mapping[int, Position],
    strange: Mapping[int, Unexplained],
    prices: Mapping[int, Decimal],
) -> tuple[Position, ...]:
    """Return the holdings to value while some have changed and nobody explains why."""
    held = dict(expected)
    for con_id, odd in strange.items():
        before = expected[con_id].quantity
        after = told[con_id].quantity if con_id in told else ZERO
        shares = counted_shares(before, after, odd.price, prices.get(con_id))
        held[con_id] = replace(expected[con_id], quantity=shares)
    return tuple(p for p in held.values() if p.quantity)


def _worth(
    shares_off: tuple[tuple[int, Decimal], ...],
    prices: Mapping[int, Decimal],
    accepted: Mapping[int, Unexplained],
    told: Mapping[int, Position],
) -> Decimal:
    """Return what the shares that came or went are worth, USD.

    Of a held contract whose price has moved with its shares nothing came: each is worth less.
    """
    worth = ZERO
    for con_id, off in shares_off:
        odd = accepted.get(con_id)
        after = told[con_id].quantity if con_id in told else ZERO
        price = prices[con_id]
        if odd is None or not is_repriced(after - off, after, odd.price, price):
            worth += off * price
    return worth


def _is_trade(
    cash_off: Decimal,
    shares_off: tuple[tuple[int, Decimal], ...],
    prices: Mapping[int, Decimal],
) -> bool:
    """Return whether cash and shares went opposite ways, one about as much as the other."""
    if not shares_off or any(con_id not in prices for con_id, _ in shares_off):
        return False
    worth = sum((off * prices[con_id] for con_id, off in shares_off), ZERO)
    paid = -cash_off
    if worth * paid <= 0:
        return False
    # Bought for more than it is worth, or sold for less: a loss either way.
    lost = paid / worth if worth > 0 else worth / paid
    return 1 / TRADE_PROFIT_MAX <= lost <= TRADE_LOSS_MAX


def _sure_prices(seen: tuple[Mapping[int, Decimal], ...]) -> dict[int, Decimal]:
    """Return the middle one of each contract's last prices; none for what has no price now."""
    found = {}
    for con_id in seen[-1]:
        prices = sorted(each[con_id] for each in seen if con_id in each)
        found[con_id] = prices[len(prices) // 2]
    return found


def _doubt(waiting: Pending, told: Mapping[int, Position], expected: Mapping[int, Position]) -> str:
    """Return what waits for the broker's word: an answer about executions, or a price."""
    names = sorted(
        (told.get(con_id) or expected.get(con_id) or nothing(con_id)).symbol
        for con_id, _ in waiting.shares
    )
    cash = f"{waiting.cash_usd:.2f} USD" if waiting.cash_usd else ""
    what = " and ".join(text for text in (cash, f"shares of {', '.join(names[:5])}") if text)
    if not names:
        what = cash
    return f"{what} changed, and the broker has not said yet by which executions or at which price"


def _needs_a_person(refused: Mapping[int, Unexplained], told: Mapping[int, Position]) -> str:
    """Return what a person has to look at, and how it is accepted."""
    texts = []
    for con_id, odd in sorted(refused.items()):
        now = told[con_id].quantity if con_id in told else ZERO
        texts.append(f"{odd.symbol}: {now} held, {now - odd.quantity} explained by executions")
    way = "look, then `ibloop positions accept` or `ibloop guard release`"
    return f"{'; '.join(texts[:5])}; {way}"


def _waiting(
    pending: Pending | None,
    cash_off: Decimal,
    shares_off: tuple[tuple[int, Decimal], ...],
    executions: int,
    prices: Mapping[int, Decimal],
    now: Moment,
) -> Pending:
    """Return the difference with its age; a fill in between starts its count anew."""
    first = pending.first if pending else now
    now_worth = {con_id: prices[con_id] for con_id, _ in shares_off if con_id in prices}
    seen = (*(pending.prices if pending else ()), now_worth)[-PRICES_KEPT:]
    same = pending is not None and (pending.cash_usd, pending.shares, pending.executions) == (
        *(cash_off, shares_off),
        executions,
    )
    if pending is None or not same:
        return Pending(cash_off, shares_off, executions, 1, now, first, seen)
    times, since = pending.times + 1, pending.since
    return Pending(cash_off, shares_off, executions, times, since, first, seen)


def _stands(waiting: Pending, now: Moment) -> bool:
    return _is_settled(waiting, now) or now.age_s(waiting.first) >= PENDING_S_MAX


def _is_settled(waiting: Pending, now: Moment) -> bool:
    return waiting.times >= STANDS_EVALUATIONS and now.age_s(waiting.since) >= STANDS_S


def _is_answered(waiting: Pending, answered: Moment | None, now: Moment) -> bool:
    """Return whether the broker was asked for all executions after the difference was seen."""
    if answered is None:
        return False
    seen = waiting.since if _is_settled(waiting, now) else waiting.first
    return answered.age_s(seen) >= 0
