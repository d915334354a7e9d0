"""Price steps: the market rules of US stocks, and prices counted in whole ticks.

Pure. Rule 26 is one cent at any price. Rule 557 is 0.0001 USD below one dollar and a cent from
there on; it belongs to instruments whose smallest tick is 0.0001 (numbers and steps as
reqMarketRule of a real gateway answers them).
"""

from decimal import Decimal

from ibloop.sim.model import CENT, SUB_PENNY

# Rule number -> (lowest price, step from there on).
RULES: dict[int, tuple[tuple[Decimal, Decimal], ...]] = {
    26: ((Decimal(0), CENT),),
    557: ((Decimal(0), SUB_PENNY), (Decimal(1), CENT)),
}
RULE_OF_TICK = {CENT: 26, SUB_PENNY: 557}
_KEPT_MAX = 200_000


class Grid:
    """Prices as whole numbers of an instrument's smallest tick."""

    def __init__(self, min_tick: Decimal) -> None:
        """Count in this tick, one of `RULE_OF_TICK`."""
        self._tick = min_tick
        self._per_dollar = float(1 / min_tick)
        # From one dollar on an instrument with a smaller tick steps in cents.
        self._coarse = int(CENT / min_tick)
        self._prices: dict[int, Decimal] = {}

    def count(self, price: float) -> int:
        """Return the ticks of the allowed price nearest to `price`, at least one."""
        ticks = round(price * self._per_dollar)
        if self._coarse > 1 and ticks >= self._per_dollar:
            return round(price * self._per_dollar / self._coarse) * self._coarse
        return ticks if ticks > 1 else 1

    def step(self, ticks: int) -> int:
        """Return the ticks from one allowed price to the next above it."""
        return self._coarse if ticks >= self._per_dollar else 1

    def price(self, ticks: int) -> Decimal:
        """Return a count of ticks as a price in USD."""
        found = self._prices.get(ticks)
        if found is None:
            if len(self._prices) >= _KEPT_MAX:
                self._prices.clear()
            found = self._prices[ticks] = ticks * self._tick
        return found

    def nearest(self, price: float) -> Decimal:
        """Return the allowed price nearest to `price`."""
        return self.price(self.count(price))
