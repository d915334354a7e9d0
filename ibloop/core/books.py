"""Double entry: cash and shares at a moment at rest, and what the executions since make of them.

An execution has both legs, so what the books expect is never a fill seen half way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from ibloop.core.model import ZERO, Position
from ibloop.core.orders import commission_bound_usd

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


def nothing(con_id: int) -> Position:
    """Return a holding of no shares."""
    return Position("", con_id, ZERO, ZERO)


def at_rest(
    books: Books | None,
    cash_usd: Decimal,
    told: Mapping[int, Position],
    executions: Mapping[str, Posting],
    now: datetime,
) -> Books:
    """Return the books of now, where all is as told: the same object when nothing has moved."""
    known = {**(books.posted if books else {}), **executions}
    recent = {base: p for base, p in known.items() if now - p.at <= POSTED_KEPT}
    unmoved = books is not None and (books.cash_usd, books.holdings, books.posted) == (
        *(cash_usd, told),
        recent,
    )
    return books if books is not None and unmoved else Books(now, cash_usd, told, recent)


def expected_shares(books: Books, executions: Mapping[str, Posting]) -> dict[int, Position]:
    """Return what is held by contract if the executions since the books are all there is."""
    return expected_from(books, executions)[1]


def expected_from(
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


def differences(
    expected: Mapping[int, Position], told: Mapping[int, Position]
) -> tuple[tuple[int, Decimal], ...]:
    """Return by contract the shares that are there beyond those expected, negative when fewer."""
    found = []
    for con_id in sorted(expected.keys() | told.keys()):
        there = told[con_id].quantity if con_id in told else ZERO
        wanted = expected[con_id].quantity if con_id in expected else ZERO
        if there != wanted:
            found.append((con_id, there - wanted))
    return tuple(found)
