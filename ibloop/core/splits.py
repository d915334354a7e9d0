"""More shares at a lower price, or fewer at a higher one: splits, and changes nobody explains.

What holds for all of them is that shares times price stays. Usual ratios are recognised; other ones
(a stock dividend of a fifth, say) look like a purchase or a transfer until a person has looked.
"""

from decimal import ROUND_DOWN, Decimal
from fractions import Fraction

SPLIT_TOLERANCE = Decimal("0.10")
"""How far shares times price may move in a split: the market goes on meanwhile."""
SPLIT_LOOK = Decimal("0.02")
"""How close a price's jump must be to a split's ratio to be taken for one."""
_RATIOS = frozenset(
    {Fraction(n) for n in range(2, 31)}
    | {Fraction(1, n) for n in range(2, 51)}
    | {Fraction(3, 2), Fraction(2, 3), Fraction(5, 2), Fraction(4, 3), Fraction(5, 4)}
)


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


def is_repriced(
    before: Decimal, after: Decimal, price_before: Decimal | None, price: Decimal | None
) -> bool:
    """Return whether a price has moved as if each share had become more, or fewer.

    It is then nearer to ``price_before * before / after`` than to ``price_before``, by factors. Any
    ratio counts; shares that came from elsewhere leave the price where it was.
    """
    if before * after <= 0 or price_before is None or price is None:
        return False
    # The boundary is the geometric mean of both: price / price_before = sqrt(before / after).
    moved, half_way = price * price * after / before, price_before * price_before
    return moved < half_way if abs(after) > abs(before) else moved > half_way


def counted_shares(
    before: Decimal, after: Decimal, price_before: Decimal | None, price: Decimal | None
) -> Decimal:
    """Return the shares to value while nobody explains why there are others than before.

    Those of before, or those of now once the price has moved with them; then so many at the most
    that they are not worth more than before.
    """
    if price_before is None or price is None or price <= 0:
        return before
    if not is_repriced(before, after, price_before, price):
        return before
    return min(after, before * price_before / price, key=abs)
