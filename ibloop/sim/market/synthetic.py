"""Instruments and daily bars nobody ever traded: seeded random walks.

Pure. Symbols of the universe marked synthetic walk from their start price. `synthetic_instruments`
makes up any number of further ones, SYN001 onwards, for loads the real universe is too small for.
"""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from random import Random

from ibloop.sim.market.history import Bar, Samples
from ibloop.sim.model import Instrument, SimError

SESSIONS_A_YEAR = 252
# How far the past of a synthetic symbol reaches: ten years.
PAST_SESSIONS = 10 * SESSIONS_A_YEAR
SYNTHETIC_MAX = 10_000
FIRST_CON_ID = 910_000_001
SECTORS = ("Technology", "Financials", "Health Care", "Industrials", "Energy", "Utilities")


def with_synthetic(samples: Samples, count: int) -> Samples:
    """Return a copy of the samples that also has `count` synthetic instruments.

    Raises: SimError for a count outside 0 to 10,000.
    """
    if not 0 <= count <= SYNTHETIC_MAX:
        raise SimError(f"expected 0 to {SYNTHETIC_MAX} synthetic symbols, was {count}")
    made: Mapping[int, Instrument] = {
        instrument.con_id: instrument for instrument in synthetic_instruments(count)
    }
    return Samples({**samples.instruments, **made}, samples.bars)


def synthetic_instruments(count: int) -> Iterable[Instrument]:
    """Return SYN001 and its successors, the same ones in every world.

    Start prices lie between 5 and 500 USD, volatilities between 12 and 45 % a year.
    """
    for number in range(1, count + 1):
        rng = Random(f"synthetic:{number}")
        price = 5.0 * 100.0 ** rng.random()
        yield Instrument(
            con_id=FIRST_CON_ID + number - 1,
            symbol=f"SYN{number:03d}",
            name=f"Synthetic Company {number}",
            primary_exchange=rng.choice(("NYSE", "NASDAQ")),
            currency="USD",
            min_tick=Decimal("0.01"),
            lot=1,
            sector=rng.choice(SECTORS),
            adv_shares=int(200_000 * 50.0 ** rng.random()),
            history=False,
            start_price=Decimal(round(price * 100)) / 100,
            volatility=round(rng.uniform(0.12, 0.45), 2),
        )


class Walk:
    """The sessions of one synthetic symbol: a driftless geometric random walk both ways.

    Session 0 opens at the start price; sessions before it have negative numbers.
    """

    def __init__(self, instrument: Instrument, seed: int) -> None:
        """Begin with no session known yet."""
        self._instrument = instrument
        self._seed = seed
        self._future: list[Bar] = []
        self._past: list[Bar] = []

    def bar(self, session: int) -> Bar | None:
        """Return a session's bar, None before the first one there is."""
        if session < -PAST_SESSIONS:
            return None
        while len(self._future) <= max(0, session):
            self._future.append(self._next())
        while len(self._past) < -session:
            self._past.append(self._previous())
        return self._future[session] if session >= 0 else self._past[-1 - session]

    def _next(self) -> Bar:
        rng, sigma = self._draw(len(self._future))
        gap = rng.gauss(0.0, 0.3 * sigma)
        start = float(self._instrument.start_price)
        if self._future:
            start = self._future[-1].close * math.exp(gap)
        return self._bar(start, start * math.exp(rng.gauss(0.0, 0.95 * sigma)), sigma, rng)

    def _previous(self) -> Bar:
        rng, sigma = self._draw(-1 - len(self._past))
        following = self._past[-1] if self._past else self._future[0]
        close = following.open * math.exp(rng.gauss(0.0, 0.3 * sigma))
        return self._bar(close * math.exp(rng.gauss(0.0, 0.95 * sigma)), close, sigma, rng)

    def _draw(self, session: int) -> tuple[Random, float]:
        sigma = self._instrument.volatility / math.sqrt(SESSIONS_A_YEAR)
        return Random(f"{self._seed}:{self._instrument.con_id}:day:{session}"), sigma

    def _bar(self, start: float, close: float, sigma: float, rng: Random) -> Bar:
        high = max(start, close) * math.exp(abs(rng.gauss(0.0, 0.4 * sigma)))
        low = min(start, close) * math.exp(-abs(rng.gauss(0.0, 0.4 * sigma)))
        volume = int(self._instrument.adv_shares * math.exp(rng.gauss(0.0, 0.3)))
        return Bar(start, high, low, close, volume)
