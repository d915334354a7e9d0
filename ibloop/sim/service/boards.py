"""Boards: what an instrument's market looks like in ticks of the protocol, once for all clients.

A board holds texts as they go over the wire. It is made once for each change of the market and
shared by every stream of the instrument, so that many clients cost little more than one.
"""

from decimal import Decimal
from typing import NamedTuple

from ibloop.sim.market.grid import Grid
from ibloop.sim.market.market import Moment
from ibloop.sim.market.stock import Sampled
from ibloop.sim.market.venue import Phase
from ibloop.sim.model import Quote
from ibloop.sim.protocol.replies.ticks import price_text
from ibloop.sim.world import World

_KEPT_MAX = 200_000


class Board(NamedTuple):
    """Prices and sizes as texts; open, high and low are empty before the first trade of a day."""

    bid: str
    bid_size: str
    ask: str
    ask_size: str
    last: str
    last_size: str
    volume: str
    high: str
    low: str
    close: str
    open: str
    halted: str
    phase: Phase


class _PriceTexts(dict[int, str]):
    """Prices of a grid in ticks, as texts."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self._grid = grid

    def __missing__(self, ticks: int) -> str:
        if len(self) >= _KEPT_MAX:
            self.clear()
        text = self[ticks] = price_text(self._grid.price(ticks)) if ticks else ""
        return text


class Boards:
    """The boards of one world: of now, and of a quarter of an hour ago."""

    def __init__(self, world: World) -> None:
        """Begin with none."""
        self._world = world
        self._moment: Moment | None = None
        self._now: dict[int, Board | None] = {}
        self._then: dict[int, Board | None] = {}
        self._trade_times: dict[bool, str] = {}
        self._made: dict[int, tuple[Sampled, Board]] = {}
        self._texts: dict[Decimal, _PriceTexts] = {}

    def now(self, con_id: int) -> Board | None:
        """Return the board of this sample, the same object if nothing changed; None: no price."""
        self._enter()
        if con_id not in self._now:
            self._now[con_id] = self._make(con_id)
        return self._now[con_id]

    def delayed(self, con_id: int) -> Board | None:
        """Return the board of a quarter of an hour ago."""
        self._enter()
        if con_id not in self._then:
            quote, phase = self._world.delayed_quote_of(con_id), self._world.phase()
            self._then[con_id] = _of_quote(quote, phase) if quote else None
        return self._then[con_id]

    def trade_time(self, *, delayed: bool) -> str:
        """Return when stocks last traded, seconds since 1970."""
        self._enter()
        if delayed not in self._trade_times:
            last = self._world.last_trade(delayed=delayed)
            self._trade_times[delayed] = str(int(last.timestamp()))
        return self._trade_times[delayed]

    def _enter(self) -> None:
        moment = self._world.moment()
        if moment is not self._moment:
            self._moment, self._now, self._then, self._trade_times = moment, {}, {}, {}

    def _make(self, con_id: int) -> Board | None:
        market, moment = self._world.market, self._world.moment()
        if con_id in market.pins or not market.sampling:
            quote = self._world.quote_of(con_id)
            return _of_quote(quote, moment.phase) if quote else None
        sampled = market.sampled(con_id, moment)
        if sampled is None:
            return None
        made = self._made.get(con_id)
        if made is None or made[0] is not sampled:
            made = self._made[con_id] = (sampled, self._of_sampled(con_id, sampled))
        return made[1]

    def _of_sampled(self, con_id: int, sampled: Sampled) -> Board:
        market = self._world.market
        stock = market.stock(con_id)
        texts = self._texts.get(stock.instrument.min_tick)
        if texts is None:
            texts = self._texts[stock.instrument.min_tick] = _PriceTexts(stock.grid)
        sizes = stock.sizes(sampled.depth_id, sampled.phase)
        opening, close = market.ends(con_id, sampled)
        day = (texts[sampled.high], texts[sampled.low]) if opening else ("", "")
        # Around the slow constructor of a named tuple: this is the heart of a stream.
        return tuple.__new__(
            Board,
            (
                *(texts[sampled.bid], str(sizes.bid), texts[sampled.ask], str(sizes.ask)),
                *(texts[sampled.last], str(sizes.last), str(market.volume(con_id, sampled))),
                *(*day, texts[close], texts[opening], "0.0", sampled.phase),
            ),
        )


def _of_quote(quote: Quote, phase: Phase) -> Board:
    bid, ask, last = (price_text(price) for price in (quote.bid, quote.ask, quote.last))
    day = (quote.high, quote.low, quote.close, quote.open)
    high, low, close, opening = (price_text(price) if price else "" for price in day)
    # Displayed sizes are whole shares: no server version wants them trimmed.
    sizes = (str(quote.bid_size), str(quote.ask_size), str(quote.last_size))
    halted = "1.0" if quote.halted else "0.0"
    return Board(
        *(bid, sizes[0], ask, sizes[1], last, sizes[2], str(quote.volume)),
        *(high, low, close, opening, halted),
        phase=phase,
    )
