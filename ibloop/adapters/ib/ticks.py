"""One line of market data: ticks in, one merged state out.

Live and delayed ticks have different numbers and tell the same things; which of the two a line
carries is its market data type, which a delayed tick tells as well as the message that names it.
Until one of them has, the data counts as the worst kind. Tick numbers: IB's "Available Tick Types".

A tick costs what it takes to note it. Numbers become decimals when the state is asked for, which
is once per packet however many ticks it held, and only those that arrived since the last time.
"""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from ibloop.core.model import Instrument, MarketDataType
from ibloop.core.quotes import TickState, is_worse

_LIVE_PRICES = {1: "bid", 2: "ask", 4: "last", 6: "high", 7: "low", 9: "close", 14: "open"}
_DELAYED_PRICES = {66: "bid", 67: "ask", 68: "last", 72: "high", 73: "low", 75: "close", 76: "open"}
PRICES: Final = _LIVE_PRICES | _DELAYED_PRICES
"""Price ticks of use, by their number: the name of what they tell."""

_DELAYED_TIME = 88

_LIVE_SIZES = {0: "bid_size", 3: "ask_size", 5: "last_size", 8: "volume"}
_DELAYED_SIZES = {69: "bid_size", 70: "ask_size", 71: "last_size", 74: "volume"}
SIZES: Final = _LIVE_SIZES | _DELAYED_SIZES
"""Size ticks of use, by their number: the name of what they tell."""

SIZE_BESIDE: Final = {"bid": "bid_size", "ask": "ask_size", "last": "last_size"}
"""Prices whose message carries a size as well, and the name of that size."""

_NUMBERS: Final = (*_LIVE_PRICES.values(), *_LIVE_SIZES.values())

NUMBER_MIN, NUMBER_MAX = 1e-18, 1e18
"""Whatever is outside cannot be published, and is no price or size of anything."""

TIMES: Final = frozenset({45, _DELAYED_TIME})
"""Text ticks that are the time of the last trade."""

DELAYED: Final = frozenset({*_DELAYED_PRICES, *_DELAYED_SIZES, _DELAYED_TIME})
"""Ticks that are some fifteen minutes old, whatever was said of the line."""

HALTED: Final = 49
"""The generic tick that tells whether trading is halted."""

_LATE: Final = frozenset({MarketDataType.DELAYED, MarketDataType.DELAYED_FROZEN})
_OF_THE_MOMENT: Final = ("bid", "ask", "last", "bid_size", "ask_size", "last_size")

_TYPES: Final = {
    1: MarketDataType.LIVE,
    2: MarketDataType.FROZEN,
    3: MarketDataType.DELAYED,
    4: MarketDataType.DELAYED_FROZEN,
}


class Line:
    """The present state of one instrument. Each ``take_*`` returns whether the tick was of use.

    ``kind`` is the market data type that was told, ``None`` before. ``news`` holds the numbers that
    arrived since the last :meth:`state`, as IB sent them; ``news_time`` the digits of the last
    trade's time, at most ten of them. The fast receive path writes both without a call.
    """

    __slots__ = ("_event_time", "_halted", "_numbers", "instrument", "kind", "news", "news_time")

    def __init__(self, instrument: Instrument, kind: MarketDataType | None = None) -> None:
        """Begin with nothing known, except perhaps the market data type."""
        self.instrument = instrument
        self.news: dict[str, float] = {}
        self.news_time: bytes | None = None
        self._numbers: dict[str, Decimal | None] = dict.fromkeys(_NUMBERS)
        self._halted: bool | None = None
        self._event_time: datetime | None = None
        self.kind = kind

    def take_price(self, tick_type: int, price: float, size: float) -> bool:
        """Take a price and the size beside it; -1, 0 and NaN mean that there is none.

        Each for itself: a price beside a size of 0 stands. An index has no size, and IB cuts the
        size of less than a share to 0 (warning 2176); where there is no quote the price is -1.
        """
        name = PRICES.get(tick_type)
        if name is None:
            return False
        self._note_delay(tick_type)
        self.news[name] = price
        if name in SIZE_BESIDE:
            self.news[SIZE_BESIDE[name]] = size
        return True

    def take_size(self, tick_type: int, size: float) -> bool:
        """Take a size or the day's volume, in shares."""
        name = SIZES.get(tick_type)
        if name is None:
            return False
        self._note_delay(tick_type)
        self.news[name] = size
        return True

    def take_text(self, tick_type: int, text: str) -> bool:
        """Take the time of the last trade, in seconds since 1970."""
        if tick_type not in TIMES or not text.isascii() or not text.isdigit():
            return False
        self._note_delay(tick_type)
        self._event_time = datetime.fromtimestamp(int(text), UTC)
        self.news_time = None
        return True

    def take_generic(self, tick_type: int, value: float) -> bool:
        """Take the halt state: 0 trading, 1 and 2 halted, -1 not known."""
        if tick_type != HALTED:
            return False
        self._halted = None if math.isnan(value) or value < 0 else value > 0
        return True

    def take_type(self, number: int) -> bool:
        """Take the market data type, IB's 1 to 4; return whether what is known became worse by it.

        It is no price, and proves none: the gateway names the type of a line at once, also of one
        that will carry nothing. What was of a worse kind does not become better by the word.
        """
        kind = _TYPES.get(number)
        if kind is None:
            return False
        old, self.kind = self.kind, kind
        if old is None or kind is old:
            return False
        if is_worse(kind, old):
            return self._knows_numbers()
        for name in _OF_THE_MOMENT:
            self.news.pop(name, None)
            self._numbers[name] = None
        return False

    def _note_delay(self, tick_type: int) -> None:
        """Call the line delayed with its first delayed tick, which may come before the word."""
        if tick_type in DELAYED and self.kind not in _LATE:
            self.kind = MarketDataType.DELAYED

    def _knows_numbers(self) -> bool:
        return bool(self.news) or any(value is not None for value in self._numbers.values())

    def is_untold(self) -> bool:
        """Return whether the gateway has said nothing of the line, not even its type."""
        return self.kind is None and not self._knows_numbers()

    def state(self) -> TickState:
        """Return everything known, merged; missing is ``None``, an untold type the worst."""
        for name, number in self.news.items():
            self._numbers[name] = _positive(number)
        self.news.clear()
        if self.news_time is not None:
            self._event_time = datetime.fromtimestamp(int(self.news_time), UTC)
            self.news_time = None
        instrument = self.instrument
        return TickState(
            symbol=instrument.symbol,
            con_id=instrument.con_id,
            market_data_type=self.kind or MarketDataType.DELAYED_FROZEN,
            event_time=self._event_time,
            halted=self._halted,
            currency=instrument.currency,
            exchange="SMART",
            **self._numbers,
        )


def _positive(number: float) -> Decimal | None:
    """Return a price or size as its shortest decimal; ``None`` for none, NaN, unset, nonsense."""
    if not NUMBER_MIN <= number <= NUMBER_MAX:
        return None
    whole = int(number)
    return Decimal(whole) if whole == number else Decimal(repr(number))
