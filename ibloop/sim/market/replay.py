"""A market that plays a recording of a real one: the prices of a bad day, as often as one likes.

What is played are the lines that ``ibloop stream run --record`` wrote: gzip, each line one merged
state of one symbol. Only they have prices; nothing is known of before, so there are no bars and no
auctions, and what a recording does not say (a null) is 0 here, which a client is told as none.
At its end the prices stand still.
"""

import gzip
import json
import logging
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ibloop.sim.market.history import Bar, Samples
from ibloop.sim.market.market import PRESENT, Market, Moment
from ibloop.sim.market.pins import Pin, pinned
from ibloop.sim.market.stock import Sampled
from ibloop.sim.model import CENT, ZERO, Instrument, Quote, SimError

log = logging.getLogger(__name__)

_GAP = b'{"lost":'
"""How a line begins that says how many versions the recorder could not keep at its place."""

_PRICES = ("bid", "ask", "last", "open", "high", "low", "close")
_SIZES = ("bid_size", "ask_size", "last_size")
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, msgspec.DecodeError, ValueError, RecursionError)

_Whole = Annotated[int, msgspec.Meta(ge=0)]
_Number = Annotated[float, msgspec.Meta(ge=0, le=1e18)] | None


class _Head(msgspec.Struct, gc=False):
    """What is used of a line, to check it at a tenth of the price of making decimals."""

    symbol: Annotated[str, msgspec.Meta(min_length=1)]
    con_id: _Whole
    boottime_ns: _Whole
    boot_id: str
    received_at: Annotated[datetime, msgspec.Meta(tz=True)]
    bid: _Number
    ask: _Number
    last: _Number
    open: _Number
    high: _Number
    low: _Number
    close: _Number
    bid_size: _Number
    ask_size: _Number
    last_size: _Number
    volume: _Number
    halted: bool | None


_HEADS = msgspec.json.Decoder(_Head)


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording that has been looked through: whom it is about, how many lines, what is wrong."""

    path: Path
    symbols: Mapping[int, str]
    lines: int
    damage: str


def open_recording(path: Path) -> Recording:
    """Look through a recording. Raises: SimError when there is none in the file."""
    symbols: dict[int, str] = {}
    lines, damage = 0, ""
    try:
        for head, _line in _lines(path):
            symbols.setdefault(head.con_id, head.symbol)
            lines += 1
    except _DAMAGE as error:
        damage = f"behind line {lines}: {error}"
    except OSError as error:
        raise SimError(f"cannot read {path}: {error.strerror}") from error
    if not lines:
        why = damage or "it is empty"
        raise SimError(f"{path} is no recording of `ibloop stream run --record`: {why}")
    return Recording(path, symbols, lines, damage)


def with_recorded(samples: Samples, recording: Recording) -> Samples:
    """Return the samples with what was recorded instead of what has the same symbol.

    What is not known of an instrument that no sample has is left empty.
    """
    recorded = set(recording.symbols.values())
    known = {item.symbol: item for item in samples.instruments.values()}
    kept = {
        con_id: item for con_id, item in samples.instruments.items() if item.symbol not in recorded
    }
    for con_id, symbol in recording.symbols.items():
        item = known.get(symbol)
        kept[con_id] = replace(item, con_id=con_id) if item else _stranger(con_id, symbol)
    return Samples(kept, samples.bars)


def _stranger(con_id: int, symbol: str) -> Instrument:
    return Instrument(
        con_id=con_id,
        symbol=symbol,
        name=symbol,
        primary_exchange="SMART",
        currency="USD",
        min_tick=CENT,
        lot=1,
        sector="",
        adv_shares=0,
        history=False,
        start_price=ZERO,
        volatility=0.0,
    )


def open_market(
    samples: Samples, seed: int, start: date, depth_samples: int, replay: Path | None
) -> tuple[Samples, Market]:
    """Return the market to play, and the samples with what it knows beside them.

    Raises: SimError when the recording or the history cannot be played.
    """
    if replay is None:
        return samples, Market(samples, seed=seed, start=start, depth_samples=depth_samples)
    recording = open_recording(replay)
    if recording.damage:
        log.error("%s: only its first %d lines: %s", replay, recording.lines, recording.damage)
    samples = with_recorded(samples, recording)
    return samples, ReplayMarket(samples, seed=seed, start=start, recording=recording)


class ReplayMarket(Market):
    """The prices of a recording, whose first line is at 0 seconds of market time."""

    sampling = False

    def __init__(self, samples: Samples, *, seed: int, start: date, recording: Recording) -> None:
        """Begin before the first line."""
        super().__init__(samples, seed=seed, start=start)
        self._steps = _steps(recording.path)
        self._next = next(self._steps, None)
        self._played_s = 0.0
        self._played = 0
        self._states: dict[int, Quote] = {}

    def bar(self, con_id: int, session: int) -> Bar | None:  # noqa: ARG002
        """Return None: a recording has no bars."""
        return None

    def sampled(self, con_id: int, at: Moment) -> Sampled | None:  # noqa: ARG002
        """Return None: these prices are not made from anything."""
        return None

    def quote(self, con_id: int, at: Moment, *, pin: Pin | None = PRESENT) -> Quote | None:
        """Return what was recorded last up to a moment, None before the first line.

        Of a moment that is over nothing is known. Shocks, splits and fixed prices apply.
        """
        if at.market_s < self._played_s:
            return None
        self.play(at.market_s)
        quote = self._states.get(con_id)
        if quote is None:
            return None
        factor = self.scales(con_id, at).last if self.shocks or self.ratios else 1.0
        if factor != 1.0:
            quote = self._scaled_quote(quote, factor)
        if pin is PRESENT:
            pin = self.pins.get(con_id)
        return pinned(quote, pin, self.stock(con_id).instrument) if pin else quote

    def play(self, market_s: float) -> bool:
        """Show what was recorded up to a moment; return whether the recording is over."""
        self._played_s = market_s
        while self._next is not None and self._next[0] <= market_s:
            self._played += 1
            quote = _quote(self._next[1], self._played)
            self._states[quote.con_id] = quote
            self._next = next(self._steps, None)
        return self._next is None

    def _scaled_quote(self, quote: Quote, factor: float) -> Quote:
        nearest = self.stock(quote.con_id).grid.nearest
        scaled: dict[str, Any] = {
            name: nearest(float(price) * factor)
            for name in _PRICES
            if (price := getattr(quote, name))
        }
        return replace(quote, **scaled)


def _lines(path: Path) -> Iterator[tuple[_Head, bytes]]:
    """Yield each line that has been checked, as what was checked and as it is.

    Raises: one of ``_DAMAGE`` at the first that is not whole or not one of a recording.
    """
    with gzip.open(path, "rb") as file:
        for line in file:
            if not line.startswith(_GAP):
                line.decode()  # also where the check skips what it does not use
                yield _HEADS.decode(line), line


def _steps(path: Path) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """Yield what was recorded and when, in seconds since the first line; ends where it is damaged.

    Within a boot by its clock, over a restart of the machine by wall time. A version that was
    written late, after a disk was full, steps back: that takes no time, and gives none either.
    """
    furthest: _Head | None = None
    at_s = 0.0
    try:
        for head, line in _lines(path):
            if furthest is not None:
                between_s = _between_s(furthest, head)
                at_s += max(0.0, between_s)
            if furthest is None or between_s > 0 or head.boot_id != furthest.boot_id:
                furthest = head
            yield at_s, json.loads(line, parse_float=Decimal)
    except _DAMAGE:
        return  # open_recording() has said so


def _between_s(before: _Head, head: _Head) -> float:
    if before.boot_id == head.boot_id:
        return (head.boottime_ns - before.boottime_ns) / 1e9
    return (head.received_at - before.received_at).total_seconds()


def _quote(state: Mapping[str, Any], number: int) -> Quote:
    """Return a recorded state as a quote; new size is shown whenever there is something new."""
    values = {name: Decimal(state[name] or 0) for name in (*_PRICES, *_SIZES)}
    for side in ("bid", "ask"):
        if not values[side]:
            values[f"{side}_size"] = ZERO  # nobody is filled at no price
    return Quote(
        con_id=int(state["con_id"]),
        volume=int(state["volume"] or 0),
        halted=bool(state["halted"]),
        depth_id=number,
        **values,
    )
