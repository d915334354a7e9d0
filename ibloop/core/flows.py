"""Cash and shares by double entry: what executions explain, and what came or went otherwise.

A broker tells of cash, of shares and of the execution that moved both one after the other. An
execution has both legs, so the books of a moment at rest plus the executions since are never seen
half way. What is told and not explained has to stand for a while without a fill in between; then
it is a flow: a deposit is no profit and a withdrawal is no loss.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from ibloop.core.model import ZERO, Moment, Position
from ibloop.core.orders import commission_bound_usd

STANDS_EVALUATIONS = 5
"""How often in a row the same difference must be seen before it is believed."""
STANDS_S = 10.0
"""And for how long: figures of a fill come within seconds."""
PENDING_S_MAX = 120.0
"""A difference that never stands still is believed as it is after this."""
FLOW_FRACTION_MIN = Decimal("0.005")
"""Less than half a percent of the equity is interest, a dividend or a fee: part of the result."""
CASH_TOLERANCE_USD = Decimal(1)
"""Regulatory fees are charged beside the commission, and told later."""
POSTED_KEPT = timedelta(days=3)
TOLD_WITHIN = timedelta(seconds=30)
"""An execution of longer before the books is in them, though it was not told of until now."""


@dataclass(frozen=True, slots=True)
class Posting:
    """One execution as a booking: signed shares, USD a share, the fee once it is known."""

    con_id: int
    symbol: str
    quantity: Decimal
    price: Decimal
    fee: Decimal | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Books:
    """Cash and shares by contract at a moment at rest, and the executions that are in them.

    ``posted`` is by execution base: a correction or a commission that comes later is a difference
    to what was posted.
    """

    at: datetime
    cash_usd: Decimal
    holdings: Mapping[int, Position]
    posted: Mapping[str, Posting] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pending:
    """A difference that executions do not explain: what it is, how often seen, since when."""

    cash_usd: Decimal
    shares: tuple[tuple[int, Decimal], ...]
    executions: int
    times: int
    since: Moment
    first: Moment


@dataclass(frozen=True, slots=True)
class Reading:
    """What to value now, and the books from here on.

    ``flow_usd`` is set once, when a difference is believed: positive when it came in. ``moved``
    are the contracts whose shares changed without an execution and were believed just now.
    """

    books: Books
    pending: Pending | None
    cash_usd: Decimal
    positions: tuple[Position, ...]
    flow_usd: Decimal | None = None
    moved: tuple[int, ...] = ()


def read_books(
    books: Books | None,
    pending: Pending | None,
    cash_usd: Decimal,
    positions: Sequence[Position],
    executions: Mapping[str, Posting],
    *,
    prices: Mapping[int, Decimal],
    equity_usd: Decimal | None,
    splits: Collection[int],
    now: Moment,
) -> Reading:
    """Return what the account holds by double entry.

    Args: the books so far, ``None`` before the first; cash and positions as told; today's
    executions by base; last known prices by contract; the last equity, to tell a flow from
    interest; contracts recognised as split.
    """
    told = {p.con_id: p for p in positions if p.quantity}
    rest = _at_rest(books, cash_usd, told, executions, now.utc)
    if books is None:
        return Reading(rest, None, cash_usd, tuple(told.values()))
    cash, shares, tolerance = _expected(books, executions)
    for con_id in splits:
        shares[con_id] = told.get(con_id, shares.get(con_id, _nothing(con_id)))
        tolerance += prices.get(con_id, ZERO)  # a fraction is paid out in cash
    cash_off = cash_usd - cash
    shares_off = _differences(shares, told)
    if not shares_off and abs(cash_off) <= tolerance:
        return Reading(rest, None, cash_usd, tuple(told.values()))
    waiting = _waiting(pending, cash_off, shares_off, len(executions), now)
    if not _stands(waiting, now):
        held = tuple(p for p in shares.values() if p.quantity)
        return Reading(books, waiting, cash, held)
    worth = _prices_of(shares_off, told, shares, executions, prices)
    value = cash_off + sum((off * worth[con_id] for con_id, off in shares_off), ZERO)
    is_flow = equity_usd is None or abs(value) >= FLOW_FRACTION_MIN * abs(equity_usd)
    return Reading(
        rest,
        None,
        cash_usd,
        tuple(told.values()),
        value if is_flow else None,
        tuple(con_id for con_id, _ in shares_off),
    )


def _nothing(con_id: int) -> Position:
    return Position("", con_id, ZERO, ZERO)


def _at_rest(
    books: Books | None,
    cash_usd: Decimal,
    told: Mapping[int, Position],
    executions: Mapping[str, Posting],
    now: datetime,
) -> Books:
    known = {**(books.posted if books else {}), **executions}
    recent = {base: p for base, p in known.items() if now - p.at <= POSTED_KEPT}
    unmoved = books is not None and (books.cash_usd, books.holdings, books.posted) == (
        *(cash_usd, told),
        recent,
    )
    return books if books is not None and unmoved else Books(now, cash_usd, told, recent)


def expected_shares(books: Books, executions: Mapping[str, Posting]) -> dict[int, Position]:
    """Return what is held by contract if the executions since the books are all there is."""
    return _expected(books, executions)[1]


def _expected(
    books: Books, executions: Mapping[str, Posting]
) -> tuple[Decimal, dict[int, Position], Decimal]:
    """Return cash, shares and the tolerance in cash after the executions since."""
    cash, tolerance = books.cash_usd, CASH_TOLERANCE_USD
    shares = dict(books.holdings)
    for base, posting in executions.items():
        before = books.posted.get(base)
        if before == posting or (before is None and posting.at < books.at - TOLD_WITHIN):
            continue
        was = before.quantity if before else ZERO
        paid = before.quantity * before.price if before else ZERO
        cash -= posting.quantity * posting.price - paid
        fee, bound = _fee(before, posting)
        cash -= fee
        tolerance += bound
        held = shares.get(posting.con_id) or Position(posting.symbol, posting.con_id, ZERO, ZERO)
        quantity = held.quantity + posting.quantity - was
        shares[posting.con_id] = Position(held.symbol, held.con_id, quantity, held.avg_cost)
    return cash, shares, tolerance


def _fee(before: Posting | None, posting: Posting) -> tuple[Decimal, Decimal]:
    """Return what the fee changes in cash, and how far that may be wrong."""
    if posting.fee is None:
        bound = commission_bound_usd(abs(posting.quantity))
        return ZERO, bound if before is None else ZERO
    if before is None:
        return posting.fee, ZERO
    # Charged with the execution, told later: the cash at rest had it already.
    return (ZERO if before.fee is None else posting.fee - before.fee), ZERO


def _differences(
    expected: Mapping[int, Position], told: Mapping[int, Position]
) -> tuple[tuple[int, Decimal], ...]:
    found = []
    for con_id in sorted(expected.keys() | told.keys()):
        there = told[con_id].quantity if con_id in told else ZERO
        wanted = expected[con_id].quantity if con_id in expected else ZERO
        if there != wanted:
            found.append((con_id, there - wanted))
    return tuple(found)


def _prices_of(
    shares_off: tuple[tuple[int, Decimal], ...],
    told: Mapping[int, Position],
    expected: Mapping[int, Position],
    executions: Mapping[str, Posting],
    prices: Mapping[int, Decimal],
) -> dict[int, Decimal]:
    """Return a price for what moved: the known one, else that of a trade, else what it cost."""
    traded = {p.con_id: p.price for p in executions.values()}
    found = {}
    for con_id, _ in shares_off:
        position = told.get(con_id) or expected.get(con_id) or _nothing(con_id)
        found[con_id] = prices.get(con_id) or traded.get(con_id) or position.avg_cost
    return found


def _waiting(
    pending: Pending | None,
    cash_off: Decimal,
    shares_off: tuple[tuple[int, Decimal], ...],
    executions: int,
    now: Moment,
) -> Pending:
    """Return the difference with its age; a fill in between starts its count anew."""
    first = pending.first if pending else now
    same = pending is not None and (pending.cash_usd, pending.shares, pending.executions) == (
        *(cash_off, shares_off),
        executions,
    )
    if pending is None or not same:
        return Pending(cash_off, shares_off, executions, 1, now, first)
    return Pending(cash_off, shares_off, executions, pending.times + 1, pending.since, first)


def _stands(waiting: Pending, now: Moment) -> bool:
    long = waiting.times >= STANDS_EVALUATIONS and now.age_s(waiting.since) >= STANDS_S
    return long or now.age_s(waiting.first) >= PENDING_S_MAX
