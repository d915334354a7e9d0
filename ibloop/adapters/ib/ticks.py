"""One line of market data: ticks in, one merged state out.

Live and delayed ticks have different numbers and mean the same; which of the two a line carries
is its market data type. Tick numbers: IB's "Available Tick Types".
"""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from ibloop.adapters.ib.convert import decimal_of
from ibloop.core.model import Instrument, MarketDataType
from ibloop.core.quotes import TickState

_LIVE_PRICES = {1: "bid", 2: "ask", 4: "last", 6: "high", 7: "low", 9: "close", 14: "open"}
_DELAYED_PRICES = {66: "bid", 67: "ask", 68: "last", 72: "high", 73: "low", 75: "close", 76: "open"}
_PRICES: Final = _LIVE_PRICES | _DELAYED_PRICES
_LIVE_SIZES = {0: "bid_size", 3: "ask_size", 5: "last_size", 8: "volume"}
_DELAYED_SIZES = {69: "bid_size", 70: "ask_size", 71: "last_size", 74: "volume"}
_SIZES: Final = _LIVE_SIZES | _DELAYED_SIZES
_SIZE_BESIDE: Final = {"bid": "bid_size", "ask": "ask_size", "last": "last_size"}
_TIMES: Final = frozenset({45, 88})
_HALTED: Final = 49

_TYPES: Final = {
    1: MarketDataType.LIVE,
    2: MarketDataType.FROZEN,
    3: MarketDataType.DELAYED,
    4: MarketDataType.DELAYED_FROZEN,
}


class Line:
    """The present state of one instrument. Each ``take_*`` returns whether the tick was of use."""

    def __init__(self, instrument: Instrument) -> None:
        """Begin with nothing known."""
        self.instrument = instrument
        self._numbers: dict[str, Decimal | None] = {}
        self._halted: bool | None = None
        self._event_time: datetime | None = None
        self._type = MarketDataType.LIVE

    def take_price(self, tick_type: int, price: float, size: float) -> bool:
        """Take a price and the size beside it; -1, 0 and NaN mean that there is none."""
        name = _PRICES.get(tick_type)
        if name is None:
            return False
        self._numbers[name] = _positive(price)
        if name in _SIZE_BESIDE:
            self._numbers[_SIZE_BESIDE[name]] = _positive(size)
        return True

    def take_size(self, tick_type: int, size: float) -> bool:
        """Take a size or the day's volume, in shares."""
        name = _SIZES.get(tick_type)
        if name is None:
            return False
        self._numbers[name] = _positive(size)
        return True

    def take_text(self, tick_type: int, text: str) -> bool:
        """Take the time of the last trade, in seconds since 1970."""
        if tick_type not in _TIMES or not text.isascii() or not text.isdigit():
            return False
        self._event_time = datetime.fromtimestamp(int(text), UTC)
        return True

    def take_generic(self, tick_type: int, value: float) -> bool:
        """Take the halt state: 0 trading, 1 and 2 halted, -1 not known."""
        if tick_type != _HALTED:
            return False
        self._halted = None if math.isnan(value) or value < 0 else value > 0
        return True

    def take_type(self, number: int) -> bool:
        """Take the market data type, IB's 1 to 4."""
        if number not in _TYPES:
            return False
        self._type = _TYPES[number]
        return True

    def state(self) -> TickState:
        """Return everything known, merged; missing is ``None``."""
        get = self._numbers.get
        return TickState(
            symbol=self.instrument.symbol,
            con_id=self.instrument.con_id,
            market_data_type=self._type,
            event_time=self._event_time,
            bid=get("bid"),
            ask=get("ask"),
            last=get("last"),
            close=get("close"),
            open=get("open"),
            high=get("high"),
            low=get("low"),
            bid_size=get("bid_size"),
            ask_size=get("ask_size"),
            last_size=get("last_size"),
            volume=get("volume"),
            halted=self._halted,
            currency=self.instrument.currency,
            exchange="SMART",
        )


def _positive(number: float) -> Decimal | None:
    found = decimal_of(number)
    return found if found is not None and found > 0 else None
