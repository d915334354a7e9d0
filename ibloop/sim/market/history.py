"""Read the sample universe and its daily price history.

`universe.csv` has one row per instrument, `prices/SYMBOL.csv` one row per session (USD,
unadjusted for splits and dividends). Instruments marked synthetic have no file.
"""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar

from ibloop.sim.model import ContractKey, Instrument, SimError

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


@dataclass(frozen=True, slots=True)
class Samples:
    """The universe by contract id, and daily bars by symbol and date (history symbols only)."""

    instruments: Mapping[int, Instrument]
    bars: Mapping[str, Mapping[date, Bar]]

    def by_symbol(self, symbol: str) -> Instrument | None:
        """Return the instrument of this symbol, or None."""
        return next((i for i in self.instruments.values() if i.symbol == symbol), None)

    def find(self, key: ContractKey) -> Instrument | None:
        """Return the instrument a contract names, or None when nothing fits.

        A contract id decides alone, as at IB; otherwise the symbol does, and secType, currency
        and exchanges must not contradict it.
        """
        if key.con_id:
            return self.instruments.get(key.con_id)
        found = self.by_symbol(key.symbol or key.local_symbol)
        if found is None or key.sec_type not in {"", "STK"}:
            return None
        fits = (
            key.currency in {"", found.currency}
            and key.exchange in {"", "SMART", found.primary_exchange}
            and key.primary_exchange in {"", found.primary_exchange}
        )
        return found if fits else None


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
            bars[instrument.symbol] = _load_bars(directory / "prices" / f"{instrument.symbol}.csv")
    if not instruments:
        raise SimError(f"{directory / 'universe.csv'} names no instrument")
    return Samples(instruments, bars)


def _load_bars(path: Path) -> Mapping[date, Bar]:
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
    return Instrument(
        con_id=int(row["con_id"]),
        symbol=row["symbol"],
        name=row["name"],
        primary_exchange=row["primary_exchange"],
        currency=row["currency"],
        min_tick=Decimal(row["min_tick"]),
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
