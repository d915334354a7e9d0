"""Prices that are as fresh, as old or as absent as a test wants them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from ibloop.core.model import Instrument, MarketDataType, Moment, Quote, QuoteSource
from ibloop.core.unusable import FileFault, Unusable
from tests.fakes.clock import FakeClock

HALF_SPREAD = Decimal("0.01")


class FakeQuotes:
    """The port ``Quotes``: a quote of this very moment a cent around the price of each symbol.

    ``frozen`` are quotes given instead; ``missing`` are symbols without one; ``causes`` explain
    what is wrong with a symbol; ``odd`` are fields changed in quotes that stay fresh.
    """

    def __init__(
        self, clock: FakeClock, instruments: Mapping[str, Instrument], prices: dict[str, Decimal]
    ) -> None:
        """Quote ``prices``, in USD a share by symbol, which a test may change."""
        self._clock = clock
        self._instruments = instruments
        self.prices = prices
        self.frozen: dict[str, Quote] = {}
        self.missing: set[str] = set()
        self.odd: dict[str, dict[str, object]] = {}
        self.causes: dict[str, Unusable] = {}

    def read(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Return the quotes there are among ``symbols``."""
        wanted = [s for s in symbols if s in self.prices and s not in self.missing]
        return {symbol: self.frozen.get(symbol) or self.quote(symbol) for symbol in wanted}

    def explain(self, symbol: str) -> Unusable | None:
        """Say what it was told, else that there is no file where none is."""
        if symbol in self.causes or (symbol in self.prices and symbol not in self.missing):
            return self.causes.get(symbol)
        return Unusable(FileFault.MISSING, "there is no file")

    def freeze(self, symbol: str, **changes: object) -> None:
        """Give the present quote of a symbol from now on, with ``changes``."""
        self.frozen[symbol] = replace(self.quote(symbol), **changes)

    def quote(self, symbol: str, received: Moment | None = None) -> Quote:
        """Return a quote of this moment."""
        price = self.prices[symbol]
        fresh = Quote(
            symbol=symbol,
            con_id=self._instruments[symbol].con_id,
            seq=7,
            received=received or self._clock.now(),
            event_time=None,
            source=QuoteSource.STREAM,
            market_data_type=MarketDataType.LIVE,
            bid=price - HALF_SPREAD,
            ask=price + HALF_SPREAD,
            last=price,
            close=price,
        )
        return replace(fresh, **self.odd.get(symbol, {}))  # type: ignore[arg-type]
