"""One instrument's market at a moment: everything a quote says, in whole ticks and shares.

Pure, and written for speed: a stream of prices asks this for every line in every sample. What
does not change from sample to sample is remembered, and an unchanged market is the same object.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from ibloop.sim.market.grid import Grid
from ibloop.sim.market.history import Bar
from ibloop.sim.market.paths import Path, mixed
from ibloop.sim.market.synthetic import Walk
from ibloop.sim.market.venue import Phase
from ibloop.sim.model import Instrument

# Outside regular hours bid and ask keep this distance from the last price, at least five steps.
WIDE_FRACTION = 0.0025
WIDE_STEPS = 5


@dataclass(frozen=True, slots=True)
class Scales:
    """What shocks and splits make of a session's prices: one factor each."""

    close: float
    open: float
    last: float
    high: float
    low: float


UNSCALED = Scales(1.0, 1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Day:
    """One session of one stock, unscaled; `prior_close` is the session's before it."""

    bar: Bar
    prior_close: float
    path: Path


@dataclass(frozen=True, slots=True)
class Instant:
    """What a moment means for every stock alike."""

    session: int
    phase: Phase
    second: int
    sample: int
    knot: int
    part: float
    volume_share: float


class Sampled(NamedTuple):
    """A stock at a moment: prices in ticks, volume in shares, and what sizes it shows."""

    session: int
    phase: Phase
    bid: int
    ask: int
    last: int
    high: int
    low: int
    volume: int
    depth_id: int
    by: Scales


class Sizes(NamedTuple):
    """Displayed sizes and the size of the last trade, shares."""

    bid: int
    ask: int
    last: int


class Stock:
    """What the market remembers of one instrument."""

    __slots__ = (
        *("days", "grid", "instrument", "walk", "_con_id", "_depth_samples", "_seed", "_sampled"),
        *("_range", "_range_ticks", "_second", "_noise", "_depth", "_sizes"),
    )

    def __init__(
        self,
        instrument: Instrument,
        grid: Grid,
        *,
        seed: int,
        walk: Walk | None,
        depth_samples: int,
    ) -> None:
        """Begin with nothing remembered; a synthetic instrument has a walk.

        New size appears at bid and ask once in `depth_samples` samples.
        """
        self.instrument = instrument
        self.grid = grid
        self.walk = walk
        self.days: dict[int, Day | None] = {}
        self._con_id = instrument.con_id
        self._depth_samples = depth_samples
        self._seed = seed
        self._sampled: Sampled | None = None
        self._range = (0.0, 0.0)
        self._range_ticks = (0, 0)
        self._second, self._noise = -1, 0
        self._depth: tuple[int, Phase] | None = None
        self._sizes = Sizes(0, 0, 0)

    def sampled(self, now: Instant, day: Day, by: Scales) -> Sampled:
        """Return the stock's market; the same object as before if nothing changed."""
        price, high, low = day.path.at_knot(now.knot, now.part)
        grid = self.grid
        last = grid.count(price * by.last)
        reach = (high * by.high, low * by.low)
        if reach != self._range:
            self._range = reach
            self._range_ticks = (grid.count(reach[0]), grid.count(reach[1]))
        bid, ask = self.sides(now.second, now.phase, last)
        highest, lowest = self._range_ticks
        volume = int(day.bar.volume * now.volume_share)
        # Instruments renew their depth at different samples, as real books would.
        depth_id = (now.sample + self._con_id) // self._depth_samples
        # Around the slow constructor of a named tuple: this is the heart of a stream.
        sampled = tuple.__new__(
            Sampled,
            (now.session, now.phase, bid, ask, last, highest, lowest, volume, depth_id, by),
        )
        if sampled != self._sampled:
            self._sampled = sampled
            return sampled
        return self._sampled

    def sides(self, second: int, phase: Phase, last: int) -> tuple[int, int]:
        """Return bid and ask in ticks beside a last price, in one second of market time.

        The spread belongs to market time: with the market frozen, bid and ask stand still too.
        """
        step = self.grid.step(last)
        if phase is not Phase.OPEN:
            reach = max(WIDE_STEPS, round(last / step * WIDE_FRACTION)) * step
            return max(step, last - reach), last + reach
        if second != self._second:
            self._second, self._noise = second, mixed(self._seed, second)
        spread = 1 + self._noise % spread_max(last // step)
        bid = max(step, last - (self._noise >> 20) % (spread + 1) * step)
        return bid, bid + spread * step

    def sizes(self, depth_id: int, phase: Phase) -> Sizes:
        """Return the sizes shown: 300 to 2,200 shares in round lots, at night 100 to 500."""
        depth = (depth_id, phase)
        if depth != self._depth:
            self._depth = depth
            # Numbers below zero keep sizes apart from spreads, which count market seconds.
            noise = mixed(self._seed, -1 - depth_id)
            fewest, choices = (3, 20) if phase is Phase.OPEN else (1, 5)
            bid, ask, last = noise % choices, (noise >> 16) % choices, (noise >> 32) % 5
            self._sizes = Sizes(100 * (fewest + bid), 100 * (fewest + ask), 100 * (1 + last))
        return self._sizes


def spread_max(steps: int) -> int:
    """Return the widest regular spread in steps: one, and one more for each hundred dollars."""
    return 1 + steps // 10_000


def shares(size: int) -> Decimal:
    """Return a size as a quantity."""
    return _SHARES[size] if size in _SHARES else Decimal(size)


_SHARES = {100 * lots: Decimal(100 * lots) for lots in range(1, 23)}
