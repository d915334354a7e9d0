"""What the book is exposed to, at the worst that orders still working can make of it.

All values are at the prices of the plan: what was paid does not change what is at stake, and a
plan that kept a cap when it was made keeps it for as long as its orders travel.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from ibloop.core.model import ZERO, Side


@dataclass(frozen=True, slots=True)
class Holding:
    """Shares of one symbol: held (negative when short), still being bought, still being sold.

    ``price_usd`` is ``None`` when nobody knows it: such a holding counts in
    :attr:`Exposure.gross_usd` with what the broker's equity leaves unexplained. ``sector`` is
    ``None`` outside the universe.
    """

    symbol: str
    sector: str | None
    held: Decimal
    price_usd: Decimal | None
    buying: Decimal = ZERO
    selling: Decimal = ZERO

    def with_order(self, side: Side, quantity: Decimal) -> "Holding":
        """Return the holding with one more order at work."""
        buying, selling = self.buying, self.selling
        if side is Side.BUY:
            buying += quantity
        else:
            selling += quantity
        # Made anew rather than replaced: `replace` looks at every field, and a send pays for it.
        return Holding(self.symbol, self.sector, self.held, self.price_usd, buying, selling)

    def working(self, side: Side) -> Decimal:
        """Return the shares still being bought, or sold."""
        return self.buying if side is Side.BUY else self.selling

    def extent_usd(self) -> tuple[Decimal, Decimal, Decimal]:
        """Return the highest and the lowest value on the way, and the largest size.

        Highest: everything bought has come and nothing sold has gone; lowest the other way round.
        Partial fills of any of its orders lie between.
        """
        price = self.price_usd or ZERO
        high = (self.held + self.buying) * price
        low = (self.held - self.selling) * price
        return high, low, max(abs(high), abs(low))


@dataclass(frozen=True, slots=True)
class Exposure:
    """USD at stake: gross, the highest and lowest net, gross of each sector."""

    gross_usd: Decimal
    net_high_usd: Decimal
    net_low_usd: Decimal
    sectors_usd: Mapping[str, Decimal]

    def moved(self, before: Holding, after: Holding) -> "Exposure":
        """Return the exposure with one holding replaced."""
        return self.all_moved(((before, after),))

    def all_moved(self, pairs: Iterable[tuple[Holding, Holding]]) -> "Exposure":
        """Return the exposure with holdings replaced: pairs of one before and after."""
        gross, net_high, net_low = self.gross_usd, self.net_high_usd, self.net_low_usd
        sectors = dict(self.sectors_usd)
        for before, after in pairs:
            high, low, worst = before.extent_usd()
            high_after, low_after, worst_after = after.extent_usd()
            change = worst_after - worst
            gross += change
            net_high += high_after - high
            net_low += low_after - low
            if after.sector is not None and change:
                sectors[after.sector] = sectors.get(after.sector, ZERO) + change
        return Exposure(gross, net_high, net_low, sectors)

    @property
    def net_usd(self) -> Decimal:
        """Return the larger of the two ways in which longs and shorts can differ."""
        return max(abs(self.net_high_usd), abs(self.net_low_usd))


def exposure_of(holdings: Iterable[Holding], unvalued_usd: Decimal) -> Exposure:
    """Return the exposure of a book; ``unvalued_usd`` is what its priceless holdings are worth.

    They count with all of it in gross, on both sides of net, and in each of their sectors.
    """
    gross = high = low = ZERO
    sectors: dict[str, Decimal] = {}
    unknown: set[str | None] = set()
    for holding in holdings:
        highest, lowest, worst = holding.extent_usd()
        gross, high, low = gross + worst, high + highest, low + lowest
        if holding.sector is not None:
            sectors[holding.sector] = sectors.get(holding.sector, ZERO) + worst
        if holding.price_usd is None and holding.held:
            unknown.add(holding.sector)
    if unknown:
        gross, high, low = gross + unvalued_usd, high + unvalued_usd, low - unvalued_usd
    for sector in unknown - {None}:
        sectors[str(sector)] += unvalued_usd
    return Exposure(gross, high, low, sectors)
