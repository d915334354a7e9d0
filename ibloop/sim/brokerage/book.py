"""What an order can trade against now: the price shown to it, and the size not yet taken."""

from decimal import Decimal

from ibloop.sim.model import ZERO, Action, Order, Quote


def marketable_price(order: Order, quote: Quote) -> Decimal | None:
    """Return ask for purchases, bid for sales; None when halted or beyond the order's limit."""
    if quote.halted:
        return None
    price = quote.ask if order.action is Action.BUY else quote.bid
    if order.limit_price is None:
        return price
    beyond = (price - order.limit_price) * order.action.sign
    return None if beyond > 0 else price


class Depth:
    """Remembers how much of each side's shown size our orders have already taken.

    The size is whole again when the quote's `depth_id` changes.
    """

    def __init__(self) -> None:
        """Start with nothing taken."""
        self._taken: dict[tuple[int, Action], tuple[int, Decimal]] = {}

    def free(self, order: Order, quote: Quote) -> Decimal:
        """Return the shares still shown to this order."""
        shown = quote.ask_size if order.action is Action.BUY else quote.bid_size
        return shown - self._taken_from(order, quote)

    def take(self, order: Order, quote: Quote, shares: Decimal) -> None:
        """Note that an order took shares from the size this quote shows."""
        taken = self._taken_from(order, quote) + shares
        self._taken[order.con_id, order.action] = (quote.depth_id, taken)

    def _taken_from(self, order: Order, quote: Quote) -> Decimal:
        depth_id, taken = self._taken.get((order.con_id, order.action), (-1, ZERO))
        return taken if depth_id == quote.depth_id else ZERO
