"""How a session's price gets from its open to its close: seeded paths, sizes and volume.

Pure. A path is a random walk pinned at the bar's open, high, low and close, with a knot every
20 s and straight lines between the knots.
"""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from random import Random

from ibloop.sim.market.history import Bar

SESSION_S = 23_400
KNOT_S = 20
KNOTS = SESSION_S // KNOT_S
_WORD = 0xFFFF_FFFF_FFFF_FFFF
# Uniform steps of this width have a standard deviation of one.
_UNIFORM = math.sqrt(12.0)


@dataclass(frozen=True, slots=True)
class Path:
    """One session's prices at its knots, with the highest and lowest so far at each."""

    prices: Sequence[float]
    highs: Sequence[float]
    lows: Sequence[float]

    def at(self, elapsed_s: float) -> tuple[float, float, float]:
        """Return price, highest and lowest so far, `elapsed_s` seconds into the session."""
        return self.at_knot(*knot_of(elapsed_s))

    def at_knot(self, knot: int, part: float) -> tuple[float, float, float]:
        """Return the same, a part of the way from one knot to the next."""
        price, high, low = self.prices[knot], self.highs[knot], self.lows[knot]
        if part:
            price += (self.prices[knot + 1] - price) * part
            high = price if price > high else high
            low = price if price < low else low
        return price, high, low

    def average(self, elapsed_s: float) -> float:
        """Return the mean price so far, which stands for the volume-weighted one."""
        knots = min(int(elapsed_s / KNOT_S), KNOTS) + 1
        return sum(self.prices[:knots]) / knots


def knot_of(elapsed_s: float) -> tuple[int, float]:
    """Return the last knot of a moment, and which part of the way to the next one is done."""
    knot = int(elapsed_s / KNOT_S)
    return (knot, elapsed_s / KNOT_S - knot) if knot < KNOTS else (KNOTS, 0.0)


def session_path(bar: Bar, rng: Random) -> Path:
    """Return a path from open to close that touches exactly the bar's high and low."""
    first, second = sorted(rng.sample(range(1, KNOTS), 2))
    # Days that rise usually see their low first.
    low_first = rng.random() < (0.75 if bar.close >= bar.open else 0.25)
    turns = (bar.low, bar.high) if low_first else (bar.high, bar.low)
    points = [(0, bar.open), (first, turns[0]), (second, turns[1]), (KNOTS, bar.close)]
    step = 0.3 * (bar.high - bar.low) / math.sqrt(KNOTS)
    prices = array("d", [bar.open])
    for (start, from_price), (end, to_price) in pairwise(points):
        leg = _bridge(from_price, to_price, end - start, step, rng)
        prices.extend(min(bar.high, max(bar.low, price)) for price in leg)
    highs = array("d", accumulate(prices, max))
    return Path(prices, highs, array("d", accumulate(prices, min)))


def _bridge(start: float, end: float, steps: int, step: float, rng: Random) -> list[float]:
    """Return `steps` prices of a random walk pinned at both ends; the first end is left out."""
    width, draw = step * _UNIFORM, rng.random
    walk = list(accumulate((draw() - 0.5) * width for _ in range(steps)))
    slope = (end - start - walk[-1]) / steps
    inner = [start + walk[n] + slope * (n + 1) for n in range(steps - 1)]
    return [*inner, end]


def mixed(seed: int, number: int) -> int:
    """Return 63 random-looking bits of two numbers: the finaliser of SplitMix64, Vigna 2015."""
    word = (seed + number * 0x9E37_79B9_7F4A_7C15) & _WORD
    word = ((word ^ (word >> 30)) * 0xBF58_476D_1CE4_E5B9) & _WORD
    word = ((word ^ (word >> 27)) * 0x94D0_49BB_1331_11EB) & _WORD
    return word >> 1


def volume_so_far(day_volume: int, part: float) -> int:
    """Return the volume after a part of the session: heavier near open and close, never falling."""
    return int(day_volume * volume_share(part))


def volume_share(part: float) -> float:
    """Return which share of a day's volume a part of the session has seen."""
    return part + 0.1 * math.sin(2 * math.pi * part)
