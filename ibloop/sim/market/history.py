"""Read the sample universe and its daily price history.

`universe.csv` has one row per instrument, `prices/SYMBOL.csv` one row per session (USD,
unadjusted for splits and dividends). Instruments marked synthetic have no file.
"""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from ibloop.sim.model import CENT, SUB_PENNY, ContractKey, Instrument, SimError

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Bar:
    """One session's prices in USD and its volume in shares; low <= open, close <= high."""

    open: float
    high: float
    low: float
    close: float
    volume: int

    def reversed(self) -> "Bar":
        """Return the session played backwards: it opens at its close."""
        return Bar(self.close, self.high, self.low, self.open, self.volume)


# Exchanges IB knows under a second name.
SECOND_NAMES = {"ISLAND": "NASDAQ"}
# IB answers reqMatchingSymbols with at most so many instruments.
FOUND_MAX = 16


@dataclass(frozen=True, slots=True)
class Samples:
    """The universe by contract id, and daily bars by symbol and date (history symbols only)."""

    instruments: dict[int, Instrument]
    bars: Mapping[str, Mapping[date, Bar]]
    _ids: dict[str, list[int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Sort the instruments by their symbols."""
        for instrument in self.instruments.values():
            self._ids.setdefault(instrument.symbol, []).append(instrument.con_id)

    def by_symbol(self, symbol: str) -> Instrument | None:
        """Return the first instrument of this symbol, or None."""
        ids = self._ids.get(symbol)
        return self.instruments[ids[0]] if ids else None

    def rename(self, con_id: int, symbol: str) -> None:
        """Give an instrument another symbol; its bars stay under the old one."""
        old = self.instruments[con_id]
        self.instruments[con_id] = replace(old, symbol=symbol)
        self._ids[old.symbol].remove(con_id)
        self._ids.setdefault(symbol, []).append(con_id)

    def find(self, key: ContractKey) -> Instrument | None:
        """Return the one instrument a contract names; None when none or several fit."""
        fitting = self.matches(key)
        return fitting[0] if len(fitting) == 1 else None

    def matches(self, key: ContractKey) -> list[Instrument]:
        """Return the instruments that fit a contract.

        A contract id decides alone, as at IB; otherwise the symbol does, and whatever else the
        contract says must not contradict it.
        """
        if key.con_id:
            found = self.instruments.get(key.con_id)
            return [found] if found else []
        if key.sec_type not in {"", "STK"}:
            return []
        ids = self._ids.get(key.symbol or key.local_symbol, ())
        return [self.instruments[con_id] for con_id in ids if _fits(self.instruments[con_id], key)]

    def search(self, pattern: str) -> list[Instrument]:
        """Return what begins with a text: first by its symbol, then by a word of its name."""
        wanted = pattern.strip().upper()
        if not wanted:
            return []
        every = self.instruments.values()
        begin = sorted(
            (item for item in every if item.symbol.startswith(wanted)), key=lambda i: i.symbol
        )
        known = {item.con_id for item in begin}
        named = (
            item
            for item in every
            if f" {wanted}" in f" {item.name.upper()}" and item.con_id not in known
        )
        return [*begin, *named][:FOUND_MAX]


def _fits(item: Instrument, key: ContractKey) -> bool:
    exchange = SECOND_NAMES.get(key.exchange, key.exchange)
    primary = SECOND_NAMES.get(key.primary_exchange, key.primary_exchange)
    return (
        key.local_symbol in {"", item.symbol}
        and key.currency in {"", item.currency}
        and exchange in {"", "SMART", item.primary_exchange}
        and primary in {"", "SMART", item.primary_exchange}
        and key.trading_class in {"", item.trading_class}
    )


def samples_directory() -> Path:
    """Return where the samples are: in the installed package, else in the source checkout.

    Raises: SimError when neither exists.
    """
    package = Path(__file__).resolve().parents[2]
    places = (package / "_samples", package.parent / "data" / "samples")
    for place in places:
        if (place / "universe.csv").is_file():
            return place
    raise SimError(f"no sample prices: expected universe.csv in {places[0]} or {places[1]}")


def load_samples(directory: Path) -> Samples:
    """Read universe and prices. Raises: SimError naming the file and row that is wrong."""
    instruments: dict[int, Instrument] = {}
    bars: dict[str, Mapping[date, Bar]] = {}
    for row in _rows(directory / "universe.csv"):
        instrument = _parsed(_instrument, row, directory / "universe.csv")
        instruments[instrument.con_id] = instrument
        if instrument.history:
            path = directory / "prices" / f"{instrument.symbol}.csv"
            bars[instrument.symbol] = _load_bars(path, _changed_ns(path))
    if not instruments:
        raise SimError(f"{directory / 'universe.csv'} names no instrument")
    return Samples(instruments, bars)


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # reading it says what is wrong


# A program's tests start many simulators: a file that has not changed is read once.
@lru_cache(maxsize=64)
def _load_bars(path: Path, changed_ns: int) -> Mapping[date, Bar]:  # noqa: ARG001 - a key
    bars = dict(_parsed(_bar, row, path) for row in _rows(path))
    if not bars:
        raise SimError(f"{path} has no prices")
    return dict(sorted(bars.items()))


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SimError(f"cannot read {path}: {error}") from error


def _parsed(read: Callable[[dict[str, str]], Parsed], row: dict[str, str], path: Path) -> Parsed:
    try:
        return read(row)
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise SimError(f"{path}: cannot read row {list(row.values())}: {error!r}") from error


def _instrument(row: dict[str, str]) -> Instrument:
    if row["prices"] not in {"history", "synthetic"}:
        raise ValueError(f"expected prices history or synthetic, was {row['prices']!r}")
    min_tick = Decimal(row["min_tick"])
    if min_tick not in {CENT, SUB_PENNY}:
        raise ValueError(f"expected min_tick {CENT} or {SUB_PENNY}, was {min_tick}")
    return Instrument(
        con_id=int(row["con_id"]),
        symbol=row["symbol"],
        name=row["name"],
        primary_exchange=row["primary_exchange"],
        currency=row["currency"],
        min_tick=min_tick,
        lot=int(row["lot"]),
        sector=row["sector"],
        adv_shares=int(float(row["adv_shares"])),
        history=row["prices"] == "history",
        start_price=Decimal(row["start_price"] or 0),
        volatility=float(row["volatility"] or 0),
    )


def _bar(row: dict[str, str]) -> tuple[date, Bar]:
    prices = [float(row[name]) for name in ("open", "high", "low", "close")]
    if not all(0 < price < float("inf") for price in prices):
        raise ValueError("expected positive prices")
    # Rounding in old data can leave an open or close a cent outside the day's range.
    bar = Bar(prices[0], max(prices), min(prices), prices[3], int(float(row["volume"])))
    return date.fromisoformat(row["date"]), bar
