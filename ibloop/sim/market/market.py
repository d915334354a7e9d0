"""The simulated market: prices as a function of history, seed and simulated time.

Pure and deterministic. Sessions of 23,400 s (09:30 to 16:00) are numbered in the order in which
they are played. History symbols replay their daily bars from the start date to the end of the
data, then backwards to the start date, then forwards again, so that prices stay real and never
jump; sessions before the start date have negative numbers. Symbols without a bar on a date keep
their last close; before their first bar they have no price. Synthetic symbols walk at random
from their start price. Outside regular hours the price stands at the last close, and bid and
ask lie a quarter of a percent to either side of it.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from hashlib import blake2b
from random import Random

from ibloop.sim.market.grid import Grid
from ibloop.sim.market.history import Bar, Samples
from ibloop.sim.market.paths import SESSION_S, Path, knot_of, session_path, volume_share
from ibloop.sim.market.pins import Pin, PinHistory, at_close, at_open, fixed_last, pinned
from ibloop.sim.market.stock import (
    UNSCALED,
    Day,
    Instant,
    Sampled,
    Scales,
    Stock,
    shares,
    spread_max,
)
from ibloop.sim.market.synthetic import Walk
from ibloop.sim.market.venue import Phase
from ibloop.sim.model import ZERO, Quote, SimError

# New size appears at bid and ask once a second.
DEPTH_SAMPLES = 4
# Sessions whose path a stock keeps: the present one, the delayed one, and what bars ask for.
DAYS_KEPT = 4


@dataclass(frozen=True, slots=True)
class Moment:
    """A point of simulated time: seconds of session time since the start, and market samples.

    In any phase but the open one the market stands at the close of the session that ended at
    `market_s`.
    """

    market_s: float
    sample: int
    phase: Phase = Phase.OPEN

    @property
    def session(self) -> int:
        """Return the number of the session being played, or of the last one while closed."""
        number = int(self.market_s // SESSION_S)
        return number if self.phase is Phase.OPEN else number - 1


# Stands for the prices that are fixed now.
PRESENT = Pin()


@dataclass(frozen=True, slots=True)
class Shock:
    """From `market_s` on every price is multiplied by `factor`."""

    market_s: float
    factor: float


class Market:
    """Quotes for every instrument of the samples at any simulated moment.

    With `sampling` every quote that nobody fixed comes from what :meth:`sampled` returns.
    """

    sampling = True

    def __init__(
        self, samples: Samples, *, seed: int, start: date, depth_samples: int = DEPTH_SAMPLES
    ) -> None:
        """Begin at the first session on or after `start`.

        New size appears at bid and ask once in `depth_samples` samples.
        Raises: SimError when the history begins after that day or ends before it.
        """
        self._instruments = samples.instruments
        self._seed = seed
        self._depth_samples = depth_samples
        # By contract id, because a symbol may change.
        ids = {item.symbol: item.con_id for item in samples.instruments.values() if item.history}
        self._bars = {ids[symbol]: bars for symbol, bars in samples.bars.items()}
        self._dates = {con_id: tuple(bars) for con_id, bars in self._bars.items()}
        self._past = tuple(sorted({day for bars in self._bars.values() for day in bars}))
        self._start = bisect_left(self._past, start)
        self.days = self._past[self._start :]
        if self._past and start < self._past[0]:
            raise SimError(f"no history on {start}: it begins on {self._past[0]}")
        if self._past and not self.days:
            raise SimError(f"no history on or after {start}: it ends on {self._past[-1]}")
        self.shocks: list[Shock] = []
        self.pins: dict[int, Pin] = {}
        self.pin_histories: dict[int, PinHistory] = {}
        self.ratios: dict[int, Decimal] = {}
        self._grids: dict[Decimal, Grid] = {}
        self._stocks: dict[int, Stock] = {}
        self._quotes: dict[int, tuple[Sampled, Pin | None, Quote]] = {}
        self._ends: dict[int, tuple[tuple[int, Phase, Scales], tuple[int, int]]] = {}
        self._entered = Moment(0.0, 0)
        self._instant = _instant(self._entered)

    # ------------------------------------------------------------------ interventions

    def shock(self, factor: float, market_s: float) -> None:
        """Multiply every price, fixed ones too, by `factor` (> 0) from this moment on."""
        self.shocks.append(Shock(market_s, factor))
        for con_id, pin in self.pins.items():
            self.pins[con_id] = self._scaled(con_id, pin, factor)

    def split(self, con_id: int, ratio: Decimal) -> None:
        """Turn every share into `ratio` shares (> 0): past and present prices fall accordingly."""
        self.ratios[con_id] = self.ratios.get(con_id, Decimal(1)) * ratio
        if con_id in self.pins:
            self.pins[con_id] = self._scaled(con_id, self.pins[con_id], float(1 / ratio))
        if con_id in self.pin_histories:
            by_turn = self.pin_histories[con_id].by_turn
            for turn, pin in by_turn.items():
                by_turn[turn] = self._scaled(con_id, pin, float(1 / ratio))

    def _scaled(self, con_id: int, pin: Pin, factor: float) -> Pin:
        grid = self.stock(con_id).grid

        def scaled(price: Decimal | None) -> Decimal | None:
            return None if price is None else grid.nearest(float(price) * factor)

        return replace(pin, bid=scaled(pin.bid), ask=scaled(pin.ask), last=scaled(pin.last))

    def note_pins(self, turn: int) -> None:
        """Remember what is fixed as of a turn of the market, for its auctions."""
        for con_id, pin in self.pins.items():
            history = self.pin_histories.setdefault(con_id, PinHistory())
            if history.at(turn) != pin:
                history.note(turn, pin)

    # ------------------------------------------------------------------ sessions

    def day(self, session: int) -> date | None:
        """Return the date of the history a session replays, None without any history."""
        return self._day_played(session)[0]

    def _day_played(self, session: int) -> tuple[date | None, bool]:
        """Return the date a session replays, and whether backwards."""
        if not self.days:
            return None, False
        if session < 0:
            index = self._start + session
            return (self._past[index] if index >= 0 else None), False
        lap, index = divmod(session, len(self.days))
        backwards = lap % 2 == 1
        return self.days[-1 - index if backwards else index], backwards

    def bar(self, con_id: int, session: int) -> Bar | None:
        """Return the bar a session plays, unscaled; None while the instrument has no price yet.

        Raises: KeyError for a contract id that is not in the samples.
        """
        walk = self.stock(con_id).walk
        if walk is not None:
            return walk.bar(session)
        day, backwards = self._day_played(session)
        bar = self._history_bar(con_id, day) if day is not None else None
        return bar.reversed() if bar and backwards else bar

    def _history_bar(self, con_id: int, day: date) -> Bar | None:
        bars = self._bars[con_id]
        if day in bars:
            return bars[day]
        before = bisect_right(self._dates[con_id], day)
        if before == 0:
            return None
        close = bars[self._dates[con_id][before - 1]].close
        return Bar(close, close, close, close, 0)

    def path(self, con_id: int, session: int) -> Path | None:
        """Return the way a session's price takes, unscaled; None while there is no price."""
        day = self._day_of(self.stock(con_id), session)
        return day.path if day else None

    def stock(self, con_id: int) -> Stock:
        """Return what is remembered of an instrument. Raises: KeyError for an unknown one."""
        stock = self._stocks.get(con_id)
        if stock is None:
            instrument = self._instruments[con_id]
            grid = self._grids.setdefault(instrument.min_tick, Grid(instrument.min_tick))
            digest = blake2b(f"{self._seed}:{con_id}".encode(), digest_size=8).digest()
            walk = None if instrument.history else Walk(instrument, self._seed)
            stock = Stock(
                instrument,
                grid,
                seed=int.from_bytes(digest),
                walk=walk,
                depth_samples=self._depth_samples,
            )
            self._stocks[con_id] = stock
        return stock

    def _day_of(self, stock: Stock, session: int) -> Day | None:
        if session not in stock.days:
            while len(stock.days) >= DAYS_KEPT:
                del stock.days[next(iter(stock.days))]
            stock.days[session] = self._new_day(stock, session)
        return stock.days[session]

    def _new_day(self, stock: Stock, session: int) -> Day | None:
        con_id = stock.instrument.con_id
        bar = self.bar(con_id, session)
        if bar is None:
            return None
        before = self.bar(con_id, session - 1)
        path = session_path(bar, Random(f"{self._seed}:{con_id}:{session}"))
        return Day(bar, before.close if before else bar.open, path)

    # ------------------------------------------------------------------ scales

    def scales(self, con_id: int, at: Moment) -> Scales:
        """Return what shocks and splits make of the prices of the session at a moment.

        A shock exactly between two sessions is a jump overnight: the open knows it, the prior
        close does not. Before the very first session it is a move against that session's open.
        """
        if not self.shocks and con_id not in self.ratios:
            return UNSCALED
        begin = at.session * SESSION_S
        close = opening = last = high = low = 1 / float(self.ratios.get(con_id, 1))
        for shock in self.shocks:
            if shock.market_s < begin:
                close = opening = last = high = low = last * shock.factor
            elif shock.market_s == begin > 0:
                opening = last = high = low = last * shock.factor
            elif shock.market_s <= at.market_s:
                last *= shock.factor
                high, low = max(high, last), min(low, last)
        return Scales(close, opening, last, high, low)

    def opening_price(self, con_id: int, session: int) -> Decimal | None:
        """Return the price of a session's opening auction, None without one."""
        bar = self.bar(con_id, session)
        scale = self.scales(con_id, Moment(session * SESSION_S, 0)).open
        return self._auction(con_id, bar.open * scale, at_open(session)) if bar else None

    def closing_price(self, con_id: int, session: int) -> Decimal | None:
        """Return the price of a session's closing auction, None without one."""
        bar = self.bar(con_id, session)
        scale = self.scales(con_id, Moment((session + 1) * SESSION_S, 0)).close
        return self._auction(con_id, bar.close * scale, at_close(session)) if bar else None

    def _auction(self, con_id: int, price: float, turn: int) -> Decimal:
        """Return an auction's price: a price an operator fixed by then is the auction's as well."""
        free, pin = self.stock(con_id).grid.nearest(price), self._pin_at(con_id, turn)
        fixed = fixed_last(free, pin) if pin else None
        return free if fixed is None else fixed

    def _pin_at(self, con_id: int, turn: int) -> Pin | None:
        history = self.pin_histories.get(con_id)
        return history.at(turn) if history else None

    # ------------------------------------------------------------------ quotes

    def quote(self, con_id: int, at: Moment, *, pin: Pin | None = PRESENT) -> Quote | None:
        """Return the quote of an instrument, None while it has no price.

        `pin` are the prices fixed then, the present ones unless told. As long as nothing changes
        the quote is the same object again.
        Raises: KeyError for a contract id that is not in the samples.
        """
        sampled = self.sampled(con_id, at)
        if sampled is None:
            return None
        if pin is PRESENT:
            pin = self.pins.get(con_id)
        known = self._quotes.get(con_id)
        if known is not None and known[0] is sampled and known[1] == pin:
            return known[2]
        stock = self._stocks[con_id]
        quote = self._new_quote(stock, sampled)
        quote = pinned(quote, pin, stock.instrument) if pin else quote
        self._quotes[con_id] = (sampled, pin, quote)
        return quote

    def sampled(self, con_id: int, at: Moment) -> Sampled | None:
        """Return what a quote is made from, before what is fixed; None while there is no price.

        As long as nothing changes it is the same object again.
        Raises: KeyError for a contract id that is not in the samples.
        """
        stock = self._stocks.get(con_id) or self.stock(con_id)
        if self._entered is not at:
            # One moment is asked for all instruments in turn.
            self._entered, self._instant = at, _instant(at)
        session = self._instant.session
        day = stock.days[session] if session in stock.days else self._day_of(stock, session)
        if day is None:
            return None
        by = self.scales(con_id, at) if self.shocks or self.ratios else UNSCALED
        return stock.sampled(self._instant, day, by)

    def sides(self, con_id: int, at: Moment, last: Decimal) -> tuple[Decimal, Decimal]:
        """Return bid and ask of a moment with this last price, before what is fixed."""
        stock = self.stock(con_id)
        ticks = stock.grid.count(float(last))
        bid, ask = stock.sides(int(at.market_s), at.phase, ticks)
        return stock.grid.price(bid), stock.grid.price(ask)

    def spread_max(self, con_id: int, price: Decimal) -> Decimal:
        """Return the widest spread at a price in regular hours."""
        grid = self.stock(con_id).grid
        ticks = grid.count(float(price))
        step = grid.step(ticks)
        return grid.price(spread_max(ticks // step) * step)

    def ends(self, con_id: int, sampled: Sampled) -> tuple[int, int]:
        """Return the session's open and the close before it, in ticks; an open of 0 is to come."""
        key = (sampled.session, sampled.phase, sampled.by)
        known = self._ends.get(con_id)
        if known is None or known[0] != key:
            known = self._ends[con_id] = (key, self._new_ends(self.stock(con_id), sampled))
        return known[1]

    def _new_ends(self, stock: Stock, sampled: Sampled) -> tuple[int, int]:
        day = self._day_of(stock, sampled.session)
        if day is None:
            return 0, 0
        con_id, session, count = stock.instrument.con_id, sampled.session, stock.grid.count
        if sampled.phase is Phase.PRE_MARKET:
            # The new day has not traded yet, and the last close is the prior one.
            close = self.closing_price(con_id, session)
            return 0, count(float(close or 0))
        opening = self._auction(con_id, day.bar.open * sampled.by.open, at_open(session))
        close = self._auction(con_id, day.prior_close * sampled.by.close, at_close(session - 1))
        return count(float(opening)), count(float(close))

    def _range(self, stock: Stock, sampled: Sampled) -> tuple[Decimal, Decimal]:
        """Return high and low of the session so far; what was fixed before its open is its range.

        Of what was fixed since then the present counts, and nothing between.
        """
        high, low = stock.grid.price(sampled.high), stock.grid.price(sampled.low)
        con_id, session = stock.instrument.con_id, sampled.session
        began = self._pin_at(con_id, at_open(session))
        if began is None or fixed_last(high, began) is None:
            return high, low
        present = self._pin_at(con_id, at_close(session)) or began
        ends = [fixed_last(end, pin) or end for end in (high, low) for pin in (began, present)]
        return max(ends), min(ends)

    def volume(self, con_id: int, sampled: Sampled) -> int:
        """Return the day's volume so far in shares as they are now."""
        if sampled.phase is Phase.PRE_MARKET:
            return 0
        ratio = self.ratios.get(con_id) if self.ratios else None
        return int(sampled.volume * ratio) if ratio else sampled.volume

    def _new_quote(self, stock: Stock, sampled: Sampled) -> Quote:
        con_id, price = stock.instrument.con_id, stock.grid.price
        sizes = stock.sizes(sampled.depth_id, sampled.phase)
        opening, close = self.ends(con_id, sampled)
        high, low = self._range(stock, sampled) if opening else (ZERO, ZERO)
        return Quote(
            con_id=con_id,
            bid=price(sampled.bid),
            ask=price(sampled.ask),
            last=price(sampled.last),
            bid_size=shares(sizes.bid),
            ask_size=shares(sizes.ask),
            last_size=shares(sizes.last),
            open=price(opening) if opening else ZERO,
            high=high,
            low=low,
            close=price(close),
            volume=self.volume(con_id, sampled),
            halted=False,
            depth_id=sampled.depth_id,
        )


def _instant(at: Moment) -> Instant:
    session = at.session
    elapsed_s = at.market_s - session * SESSION_S
    return Instant(
        session,
        at.phase,
        int(at.market_s),
        at.sample,
        *knot_of(elapsed_s),
        volume_share(elapsed_s / SESSION_S),
    )
