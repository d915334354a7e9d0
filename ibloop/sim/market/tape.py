"""What an instrument's price did between two moments: the raw material of bars and past ticks.

Pure. Everything is read from the same session paths that quotes come from, at the times the
timeline gives them, so that no bar contradicts what a client was shown or filled at:

- trades follow the path itself, on the price grid; our own executions count as trades too;
- bid and ask at both ends of a stretch are those of the quotes there; between them they are only
  known to stay within the widest spread, which is what high and low of their bars allow for;
- prices an operator fixed (`Pin`) hold from the moment they were fixed.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise

from ibloop.sim.market.market import Market, Moment
from ibloop.sim.market.paths import KNOT_S, KNOTS, SESSION_S, Path, volume_so_far
from ibloop.sim.market.pins import Pin, fixed_last, fixed_sides
from ibloop.sim.market.timeline import Span
from ibloop.sim.model import Instrument, Quote

# The last instant of a session: the next one is the following session's first.
LAST_S = SESSION_S - 0.001
SHARES_A_TRADE = 120


class Side(StrEnum):
    """Which price is looked at."""

    TRADES = "trades"
    BID = "bid"
    ASK = "ask"
    MIDPOINT = "midpoint"


# How far below and above the trades a side's prices can be, in widest spreads.
_REACH = {
    Side.BID: (Decimal(1), Decimal(0)),
    Side.ASK: (Decimal(0), Decimal(1)),
    Side.MIDPOINT: (Decimal("0.5"), Decimal("0.5")),
}


@dataclass(frozen=True, slots=True)
class Print:
    """One of our own executions: when, at what price, of how many shares."""

    at_s: float
    price: Decimal
    shares: Decimal


@dataclass(frozen=True, slots=True)
class Piece:
    """Prices of a stretch of time, USD, and its volume in shares; `average` is their mean."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int
    average: float

    def then(self, later: "Piece") -> "Piece":
        """Return this stretch and the one right behind it as one."""
        volume = self.volume + later.volume
        average = (self.average + later.average) / 2
        if volume:
            traded = self.average * self.volume + later.average * later.volume
            average = traded / volume
        high, low = max(self.high, later.high), min(self.low, later.low)
        return Piece(self.open, high, low, later.close, volume, average)

    def with_prints(self, prints: Sequence[Print]) -> "Piece":
        """Return the stretch with our own trades in its range."""
        if not prints:
            return self
        prices = [each.price for each in prints]
        return replace(self, high=max(self.high, *prices), low=min(self.low, *prices))

    @property
    def trades(self) -> int:
        """Return how many trades made the volume, at an average size."""
        return -(-self.volume // SHARES_A_TRADE)


class Tape:
    """The past of one instrument."""

    def __init__(
        self,
        market: Market,
        instrument: Instrument,
        *,
        prints: Sequence[Print] = (),
        pins: Sequence[tuple[float, Pin]] = (),
    ) -> None:
        """Read this instrument; prints and pins (with the time they began) in order of time."""
        self._market = market
        self._instrument = instrument
        self._grid = market.stock(instrument.con_id).grid
        self._prints = prints
        self._prints_s = [each.at_s for each in prints]
        self._pins = pins
        self._pins_s = [at_s for at_s, _ in pins]

    def known(self, session: int) -> bool:
        """Tell whether the instrument has prices in a session."""
        return self._market.bar(self._instrument.con_id, session) is not None

    def prints(self, from_s: float, to_s: float) -> Sequence[Print]:
        """Return our own executions from a time up to, but not at, another one."""
        begin, end = bisect_left(self._prints_s, from_s), bisect_left(self._prints_s, to_s)
        return self._prints[begin:end]

    def quote(self, span: Span, at_s: float, sample: int) -> Quote | None:
        """Return the quote of a moment in the past, with the prices fixed then."""
        moment = _moment(span.session * SESSION_S, span.elapsed_s(at_s), sample)
        return self._market.quote(self._instrument.con_id, moment, pin=self._pin(at_s))

    def disturbed(self, span: Span) -> bool:
        """Tell whether our own trades or fixed prices make a span differ from its path."""
        begin = bisect_right(self._pins_s, span.begins_s)
        fixed = self._pins[max(0, begin - 1) : bisect_left(self._pins_s, span.ends_s)]
        prices = any(pin.bid or pin.ask or pin.last for _, pin in fixed)
        return prices or bool(self.prints(span.begins_s, span.ends_s))

    def _pin(self, at_s: float) -> Pin | None:
        index = bisect_right(self._pins_s, at_s) - 1
        return self._pins[index][1] if index >= 0 else None

    # ------------------------------------------------------------------ stretches

    def whole(self, session: int, side: Side = Side.TRADES) -> Piece | None:
        """Return a finished session in which nobody interfered, None without prices."""
        con_id = self._instrument.con_id
        bar = self._market.bar(con_id, session)
        if bar is None:
            return None
        base_s = session * SESSION_S
        by = self._market.scales(con_id, _moment(base_s, SESSION_S))
        if not by.high == by.low == by.open:
            span = Span(session, 0.0, SESSION_S, 0.0, SESSION_S, 1.0)
            return self._jumped(span, 0.0, SESSION_S, side, pinned=False)
        prices = (bar.open, bar.high, bar.low, bar.close)
        begin, high, low, end = (self._grid.nearest(each * by.open) for each in prices)
        average = by.open * sum(prices) / len(prices)
        piece = Piece(begin, high, low, end, self._shares(bar.volume), average)
        return self._sided(piece, side, _moment(base_s, 0.0), _moment(base_s, SESSION_S))

    def pieces(self, span: Span, edges: Sequence[float], side: Side) -> list[Piece]:
        """Return what a price did between each two neighbours of a list of times of a span.

        Returns: one piece less than there are times, none at all without prices.
        """
        con_id = self._instrument.con_id
        path, bar = self._market.path(con_id, span.session), self._market.bar(con_id, span.session)
        if path is None or bar is None:
            return []
        if self._cuts(span, edges[0], edges[-1], pinned=True) or self._pin(edges[0]):
            found = (self._jumped(span, *pair, side) for pair in pairwise(edges))
            return [piece for piece in found if piece is not None]
        base_s = span.session * SESSION_S
        elapsed = [span.elapsed_s(at_s) for at_s in edges]
        factor = self._market.scales(con_id, _moment(base_s, elapsed[0])).last
        sold = [self._shares(volume_so_far(bar.volume, each / SESSION_S)) for each in elapsed]
        pieces = []
        for index, part in enumerate(pairwise(elapsed)):
            volume = sold[index + 1] - sold[index]
            piece = self._stretch(path, part, factor, volume)
            if side is not Side.TRADES:
                moments = (_moment(base_s, part[0]), _moment(base_s, part[1]))
                piece = self._sided(piece, side, *moments)
            pieces.append(piece)
        return pieces

    def _jumped(
        self, span: Span, from_s: float, to_s: float, side: Side, *, pinned: bool = True
    ) -> Piece | None:
        """Return what a price did while shocks or fixed prices made it jump."""
        con_id, base_s = self._instrument.con_id, span.session * SESSION_S
        path, bar = self._market.path(con_id, span.session), self._market.bar(con_id, span.session)
        if path is None or bar is None:
            return None
        result: Piece | None = None
        cuts = self._cuts(span, from_s, to_s, pinned=pinned)
        for at_s, next_s in pairwise([from_s, *cuts, to_s]):
            part = (span.elapsed_s(at_s), span.elapsed_s(next_s))
            sold = [self._shares(volume_so_far(bar.volume, each / SESSION_S)) for each in part]
            begin, end = _moment(base_s, part[0]), _moment(base_s, part[1])
            factor = self._market.scales(con_id, begin).last
            trades = self._stretch(path, part, factor, sold[1] - sold[0])
            pin = self._pin(at_s) if pinned else None
            if pin is not None and fixed_last(trades.close, pin) is not None:
                piece = self._pinned(trades, side, pin)
            else:
                piece = self._sided(trades, side, begin, end)
            result = result.then(piece) if result else piece
        return result

    def _cuts(self, span: Span, from_s: float, to_s: float, *, pinned: bool) -> list[float]:
        """Return the times at which something jumped: a shock, or a price an operator fixed."""
        if not self._market.shocks and not self._pins:
            return []
        base_s = span.session * SESSION_S
        first_s, last_s = base_s + span.elapsed_s(from_s), base_s + span.elapsed_s(to_s)
        jumps = (shock.market_s for shock in self._market.shocks)
        cuts = {
            span.when_s(at - base_s)
            for at in jumps
            # A jump at the very end of a session is one between it and the next.
            if first_s < at < last_s or (at == last_s > first_s and at < base_s + SESSION_S)
        }
        if pinned:
            # What is fixed at the very end of what was played shows there.
            last = math.nextafter(to_s, math.inf) if to_s == span.ends_s else to_s
            cuts |= {at for at in self._pins_s if from_s < at < last}
        return sorted(cuts)

    def _stretch(self, path: Path, part: tuple[float, float], factor: float, volume: int) -> Piece:
        """Return the trades of a part of a session in which nothing jumped."""
        first, last = path.at(part[0])[0], path.at(part[1])[0]
        knots = path.prices[int(part[0] / KNOT_S) + 1 : min(int(part[1] / KNOT_S), KNOTS) + 1]
        high, low = (first, last) if first > last else (last, first)
        total = first + last
        if knots:
            high, low, total = max(high, *knots), min(low, *knots), total + sum(knots)
        price = self._grid.nearest
        average = total / (len(knots) + 2) * factor
        begin, end = price(first * factor), price(last * factor)
        return Piece(begin, price(high * factor), price(low * factor), end, volume, average)

    def _shares(self, volume: int) -> int:
        ratio = self._market.ratios.get(self._instrument.con_id)
        return int(volume * ratio) if ratio else volume

    # ------------------------------------------------------------------ sides

    def _sided(self, trades: Piece, side: Side, begin: Moment, end: Moment) -> Piece:
        """Return the prices of one side over a stretch, from the trades in it."""
        if side is Side.TRADES:
            return trades
        con_id, sides = self._instrument.con_id, self._market.sides
        first = _between(*sides(con_id, begin, trades.open), side)
        last = _between(*sides(con_id, end, trades.close), side)
        down, up = _REACH[side]
        widest = self._market.spread_max
        high, low = trades.high + up * widest(con_id, trades.high), trades.low
        low = max(self._instrument.min_tick, low - down * widest(con_id, low))
        away = float(self._instrument.tick_at(trades.close) * (up - down)) / 2
        average = trades.average + away
        return Piece(first, max(high, first, last), min(low, first, last), last, 0, average)

    def _pinned(self, trades: Piece, side: Side, pin: Pin) -> Piece:
        """Return a stretch in which prices were fixed."""

        def fixed(price: Decimal) -> Decimal:
            last = fixed_last(price, pin)
            if last is None or side is Side.TRADES:
                return price if last is None else last
            return _between(*fixed_sides(self._instrument, last, pin), side)

        # No fixed price turns the order of prices round.
        prices = (trades.open, trades.high, trades.low, trades.close)
        begin, high, low, end = (fixed(each) for each in prices)
        average = min(max(trades.average, float(low)), float(high))
        return Piece(begin, high, low, end, trades.volume, average)


def side_of(quote: Quote, side: Side) -> Decimal:
    """Return one price of a quote."""
    return quote.last if side is Side.TRADES else _between(quote.bid, quote.ask, side)


def _between(bid: Decimal, ask: Decimal, side: Side) -> Decimal:
    if side is Side.MIDPOINT:
        return (bid + ask) / 2
    return bid if side is Side.BID else ask


def _moment(base_s: float, elapsed_s: float, sample: int = 0) -> Moment:
    return Moment(base_s + min(elapsed_s, LAST_S), sample)
