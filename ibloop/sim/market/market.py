"""The simulated market: prices as a function of history, seed and simulated time.

Pure and deterministic. Sessions of 23,400 s (09:30 to 16:00) follow each other without a pause.
History symbols replay their daily bars from the start date to the end of the data, then
backwards to the start date, then forwards again, so that prices stay real and never jump.
Symbols without a bar on a date keep their last close; before their first bar they have no price.
Synthetic symbols walk at random from their start price. Between a bar's open, high, low and
close the path is a seeded random bridge with a knot every 20 s.
"""

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import accumulate, pairwise
from random import Random

from ibloop.sim.market.history import Bar, Samples
from ibloop.sim.model import Instrument, Quote, SimError

SESSION_S = 23_400
KNOT_S = 20
KNOTS = SESSION_S // KNOT_S
# New size appears at bid and ask once in so many 250 ms samples.
DEPTH_SAMPLES = 4
SESSIONS_A_YEAR = 252


@dataclass(frozen=True, slots=True)
class Moment:
    """A point of simulated time: seconds of session time since the start, and 250 ms samples."""

    market_s: float
    sample: int

    @property
    def session(self) -> int:
        """Return the number of sessions that are over."""
        return int(self.market_s // SESSION_S)


@dataclass(frozen=True, slots=True)
class Pin:
    """Values an operator fixed for one instrument; None leaves a value to the market."""

    bid: Decimal | None = None
    ask: Decimal | None = None
    last: Decimal | None = None
    halted: bool = False


@dataclass(frozen=True, slots=True)
class Shock:
    """From `market_s` on every price is multiplied by `factor`."""

    market_s: float
    factor: float


@dataclass(frozen=True, slots=True)
class Path:
    """One session's prices at its knots, with the highest and lowest so far at each."""

    prices: tuple[float, ...]
    highs: tuple[float, ...]
    lows: tuple[float, ...]

    def at(self, elapsed_s: float) -> tuple[float, float, float]:
        """Return price, highest and lowest so far, `elapsed_s` seconds into the session."""
        knot = min(int(elapsed_s // KNOT_S), KNOTS - 1)
        part = elapsed_s / KNOT_S - knot
        price = self.prices[knot] + (self.prices[knot + 1] - self.prices[knot]) * part
        return price, max(self.highs[knot], price), min(self.lows[knot], price)


class Market:
    """Quotes for every instrument of the samples at any simulated moment."""

    def __init__(self, samples: Samples, *, seed: int, start: date) -> None:
        """Begin at the first session on or after `start`.

        Raises: SimError when the history ends before that day.
        """
        self._samples = samples
        self._seed = seed
        every_day = sorted({day for bars in samples.bars.values() for day in bars})
        self.days = tuple(day for day in every_day if day >= start)
        if every_day and not self.days:
            raise SimError(f"no history on or after {start}: it ends on {every_day[-1]}")
        self.shocks: list[Shock] = []
        self.pins: dict[int, Pin] = {}
        self._walks: dict[int, list[Bar]] = {}
        self._dates = {symbol: tuple(bars) for symbol, bars in samples.bars.items()}
        self._paths: dict[tuple[int, int], Path] = {}

    def shock(self, factor: float, market_s: float) -> None:
        """Multiply every price, fixed ones too, by `factor` (> 0) from this moment on."""
        self.shocks.append(Shock(market_s, factor))
        for con_id, pin in self.pins.items():
            self.pins[con_id] = _scaled_pin(pin, factor, self._samples.instruments[con_id])

    def day(self, session: int) -> date | None:
        """Return the date of the history a session replays, None without any history."""
        return self.days[self._day_index(session)[0]] if self.days else None

    def _day_index(self, session: int) -> tuple[int, bool]:
        """Return the index into `days` and whether the day is played backwards."""
        lap, index = divmod(session, len(self.days))
        backwards = lap % 2 == 1
        return (len(self.days) - 1 - index if backwards else index), backwards

    def bar(self, instrument: Instrument, session: int) -> Bar | None:
        """Return the bar a session plays, None while the instrument has no price yet."""
        if not instrument.history:
            return self._walked(instrument, session)
        index, backwards = self._day_index(session)
        bar = self._history_bar(instrument.symbol, self.days[index])
        return bar.reversed() if bar and backwards else bar

    def _history_bar(self, symbol: str, day: date) -> Bar | None:
        bars = self._samples.bars[symbol]
        if day in bars:
            return bars[day]
        before = bisect_right(self._dates[symbol], day)
        if before == 0:
            return None
        close = bars[self._dates[symbol][before - 1]].close
        return Bar(close, close, close, close, 0)

    def _walked(self, instrument: Instrument, session: int) -> Bar:
        walk = self._walks.setdefault(instrument.con_id, [])
        while len(walk) <= session:
            walk.append(_next_bar(instrument, walk, self._seed))
        return walk[session]

    def _prior_close(self, instrument: Instrument, session: int, bar: Bar) -> float:
        if session > 0:
            before = self.bar(instrument, session - 1)
            return before.close if before else bar.open
        if not instrument.history:
            return bar.open
        dates = self._dates[instrument.symbol]
        earlier = bisect_left(dates, self.days[0])
        if earlier == 0:
            return bar.open
        return self._samples.bars[instrument.symbol][dates[earlier - 1]].close

    def _path(self, instrument: Instrument, session: int, bar: Bar) -> Path:
        key = (instrument.con_id, session)
        if key not in self._paths:
            for old in [key for key in self._paths if key[0] == instrument.con_id]:
                del self._paths[old]
            rng = Random(f"{self._seed}:{instrument.symbol}:{session}")
            self._paths[key] = session_path(bar, rng)
        return self._paths[key]

    def _scales(self, at: Moment) -> tuple[float, list[float]]:
        """Return the shocks' product before this session, and each product since."""
        begin = at.session * SESSION_S
        product = 1.0
        # A shock at a session's first instant is a move against its open, not part of it.
        for shock in self.shocks:
            if shock.market_s < begin:
                product *= shock.factor
        before, since = product, [product]
        for shock in self.shocks:
            if begin <= shock.market_s <= at.market_s:
                product *= shock.factor
                since.append(product)
        return before, since

    def quote(self, con_id: int, at: Moment) -> Quote | None:
        """Return the quote of an instrument, None while it has no price.

        Raises: KeyError for a contract id that is not in the samples.
        """
        instrument = self._samples.instruments[con_id]
        session = at.session
        bar = self.bar(instrument, session)
        if bar is None:
            return None
        elapsed_s = at.market_s - session * SESSION_S
        price, high, low = self._path(instrument, session, bar).at(elapsed_s)
        before, since = self._scales(at)
        tick = instrument.min_tick
        last = on_grid(price * since[-1], tick)
        # The spread belongs to market time: with the market frozen, bid and ask stand still too.
        shape = self._noise(con_id, "spread", int(at.market_s))
        spread = 1 + shape[0] % (1 + int(last / tick) // 10_000)
        bid = max(tick, last - shape[1] % (spread + 1) * tick)
        # Instruments renew their depth at different samples, as real books would.
        depth_id = (at.sample + con_id) // DEPTH_SAMPLES
        sizes = self._noise(con_id, "depth", depth_id)
        quote = Quote(
            con_id=con_id,
            bid=bid,
            ask=bid + spread * tick,
            last=last,
            bid_size=_shown(sizes[0]),
            ask_size=_shown(sizes[1]),
            last_size=Decimal(100 * (1 + sizes[2] % 5)),
            open=on_grid(bar.open * before, tick),
            high=on_grid(high * max(since), tick),
            low=on_grid(low * min(since), tick),
            close=on_grid(self._prior_close(instrument, session, bar) * before, tick),
            volume=_volume(bar.volume, elapsed_s / SESSION_S),
            halted=False,
            depth_id=depth_id,
        )
        pin = self.pins.get(con_id)
        return _pinned(quote, pin, tick) if pin else quote

    def _noise(self, con_id: int, purpose: str, number: int) -> bytes:
        return Random(f"{self._seed}:{con_id}:{purpose}:{number}").randbytes(3)


def on_grid(price: float, tick: Decimal) -> Decimal:
    """Return the price on the tick nearest to it, at least one tick."""
    return max(1, round(price / float(tick))) * tick


def session_path(bar: Bar, rng: Random) -> Path:
    """Return a path from open to close that touches exactly the bar's high and low."""
    first, second = sorted(rng.sample(range(1, KNOTS), 2))
    # Days that rise usually see their low first.
    low_first = rng.random() < (0.75 if bar.close >= bar.open else 0.25)
    turns = (bar.low, bar.high) if low_first else (bar.high, bar.low)
    points = [(0, bar.open), (first, turns[0]), (second, turns[1]), (KNOTS, bar.close)]
    step = 0.3 * (bar.high - bar.low) / math.sqrt(KNOTS)
    prices = [bar.open]
    for (start, from_price), (end, to_price) in pairwise(points):
        leg = _bridge(from_price, to_price, end - start, step, rng)
        prices += [min(bar.high, max(bar.low, price)) for price in leg]
    return Path(tuple(prices), tuple(accumulate(prices, max)), tuple(accumulate(prices, min)))


def _bridge(start: float, end: float, steps: int, step: float, rng: Random) -> list[float]:
    """Return `steps` prices of a random walk pinned at both ends; the first end is left out."""
    walk = [0.0]
    for _ in range(steps):
        walk.append(walk[-1] + rng.gauss(0.0, step))
    parts = [(n, n / steps) for n in range(1, steps)]
    inner = [start + (end - start) * part + walk[n] - walk[-1] * part for n, part in parts]
    return [*inner, end]


def _next_bar(instrument: Instrument, walk: list[Bar], seed: int) -> Bar:
    """Return the next session of a synthetic symbol: a driftless geometric random walk."""
    rng = Random(f"{seed}:{instrument.symbol}:day:{len(walk)}")
    sigma = instrument.volatility / math.sqrt(SESSIONS_A_YEAR)
    gap = rng.gauss(0.0, 0.3 * sigma)
    start = walk[-1].close * math.exp(gap) if walk else float(instrument.start_price)
    close = start * math.exp(rng.gauss(0.0, 0.95 * sigma))
    high = max(start, close) * math.exp(abs(rng.gauss(0.0, 0.4 * sigma)))
    low = min(start, close) * math.exp(-abs(rng.gauss(0.0, 0.4 * sigma)))
    volume = int(instrument.adv_shares * math.exp(rng.gauss(0.0, 0.3)))
    return Bar(start, high, low, close, volume)


def _shown(noise: int) -> Decimal:
    """Return a displayed size: 300 to 2,200 shares in round lots."""
    return Decimal(100 * (3 + noise % 20))


def _volume(day_volume: int, part: float) -> int:
    """Return the volume so far: heavier near open and close, rising all the way."""
    return int(day_volume * (part + 0.1 * math.sin(2 * math.pi * part)))


def _pinned(quote: Quote, pin: Pin, tick: Decimal) -> Quote:
    """Lay fixed values over a quote; what is not fixed moves so that bid < ask around last."""
    last = pin.last
    if last is None and (pin.bid is not None or pin.ask is not None):
        floor = pin.bid if pin.bid is not None else quote.last
        ceiling = pin.ask if pin.ask is not None else max(floor, quote.last)
        last = min(max(quote.last, floor), ceiling)
    if last is None:
        return replace(quote, halted=pin.halted)
    bid = pin.bid if pin.bid is not None else max(tick, min(last, pin.ask or last) - tick)
    ask = pin.ask if pin.ask is not None else max(last, bid) + tick
    high, low = max(quote.high, last), min(quote.low, last)
    return replace(quote, bid=bid, ask=ask, last=last, high=high, low=low, halted=pin.halted)


def _scaled_pin(pin: Pin, factor: float, instrument: Instrument) -> Pin:
    def scaled(price: Decimal | None) -> Decimal | None:
        return None if price is None else on_grid(float(price) * factor, instrument.min_tick)

    return replace(pin, bid=scaled(pin.bid), ask=scaled(pin.ask), last=scaled(pin.last))
