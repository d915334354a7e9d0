"""What a halt lets through: nothing, or what makes a position smaller."""

from decimal import Decimal

from ibloop.core.model import HaltLevel, Side


def reduces(side: Side, quantity: Decimal, held: Decimal) -> bool:
    """Return whether an order moves the position towards zero without crossing it."""
    return held * side.sign < 0 and quantity <= abs(held)


def halt_allows(halt: HaltLevel | None, side: Side, quantity: Decimal, held: Decimal) -> bool:
    """Return whether an order may leave under the severest active halt.

    Reduce-only lets through what moves the position towards zero without crossing it.
    """
    if halt is None:
        return True
    if halt is not HaltLevel.REDUCE_ONLY:
        return False
    return reduces(side, quantity, held)
