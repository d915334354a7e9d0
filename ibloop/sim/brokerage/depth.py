"""How much of the size a quote shows our orders have already taken."""

from decimal import Decimal

from ibloop.sim.model import ZERO, Action, Quote


class Depth:
    """The size taken of each side; it is whole again when the quote's `depth_id` changes."""

    def __init__(self) -> None:
        """Start with nothing taken."""
        self._taken: dict[tuple[int, Action], tuple[int, Decimal]] = {}

    def free(self, quote: Quote, action: Action) -> Decimal:
        """Return the shares still shown to orders of one side."""
        shown = quote.ask_size if action is Action.BUY else quote.bid_size
        return shown - self._taken_from(quote, action)

    def take(self, quote: Quote, action: Action, shares: Decimal) -> None:
        """Note that an order took shares from the size this quote shows."""
        taken = self._taken_from(quote, action) + shares
        self._taken[quote.con_id, action] = (quote.depth_id, taken)

    def _taken_from(self, quote: Quote, action: Action) -> Decimal:
        depth_id, taken = self._taken.get((quote.con_id, action), (-1, ZERO))
        return taken if depth_id == quote.depth_id else ZERO
