"""Read the universe file: what may be traded, and how."""

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from ibloop.config import Profile
from ibloop.core.model import SYMBOL, Instrument
from ibloop.errors import ConfigError

COLUMNS = ("symbol", "con_id", "name", "primary_exchange", "currency", "min_tick", "lot", "sector")


@dataclass(frozen=True, slots=True)
class Universe:
    """The instruments by symbol, and the hash of the file they came from."""

    instruments: Mapping[str, Instrument]
    content_hash: str


def samples_dir() -> Path:
    """Return the directory of the sample data: inside an installed package, else the checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_samples"
    return installed if installed.is_dir() else package.parent / "data" / "samples"


def universe_hash(profile: Profile) -> str | None:
    """Return the hash of the universe's file as it is now, ``None`` when it cannot be read."""
    try:
        return _hash(_path(profile).read_bytes())
    except OSError:
        return None


def _path(profile: Profile) -> Path:
    named = profile.config.universe.file
    return profile.resolve(named) if named else samples_dir() / "universe.csv"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def load_universe(profile: Profile) -> Universe:
    """Return the universe that ``profile`` names; the samples' one where it names none.

    Raises: ConfigError when the file cannot be used.
    """
    path = _path(profile)
    try:
        content = path.read_bytes()
        rows = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    except OSError as error:
        raise ConfigError(f"cannot read the universe {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read the universe {path}: {error}") from None
    if not rows or set(COLUMNS) - set(rows[0]):
        raise ConfigError(f"{path}: expected a header line with the columns {','.join(COLUMNS)}")
    instruments: dict[str, Instrument] = {}
    for number, row in enumerate(rows, start=2):
        instrument = _instrument(path, number, row)
        if instrument.symbol in instruments:
            raise ConfigError(f"{path} line {number}: {instrument.symbol} appears twice")
        if any(instrument.con_id == other.con_id for other in instruments.values()):
            raise ConfigError(f"{path} line {number}: con_id {instrument.con_id} appears twice")
        instruments[instrument.symbol] = instrument
    if len(currencies := {i.currency for i in instruments.values()}) > 1:
        found = ", ".join(sorted(currencies))
        raise ConfigError(f"{path}: expected one currency, that of the account; was {found}")
    return Universe(instruments, _hash(content))


def _instrument(path: Path, number: int, row: dict[str, str]) -> Instrument:
    if any(row[column] is None for column in COLUMNS):
        raise ConfigError(f"{path} line {number}: fewer fields than the header names")
    try:
        adv = row.get("adv_shares")
        instrument = Instrument(
            symbol=row["symbol"],
            con_id=int(row["con_id"]),
            name=row["name"],
            primary_exchange=row["primary_exchange"],
            currency=row["currency"],
            min_tick=Decimal(row["min_tick"]),
            lot=Decimal(row["lot"]),
            sector=row["sector"],
            adv_shares=Decimal(adv) if adv else None,
        )
    except (ValueError, TypeError, InvalidOperation) as error:
        raise ConfigError(f"{path} line {number}: {error}") from None
    if not SYMBOL.fullmatch(instrument.symbol):
        raise ConfigError(f"{path} line {number}: {instrument.symbol!r} is not a symbol")
    numbers = (instrument.min_tick, instrument.lot, instrument.adv_shares)
    if instrument.con_id <= 0 or not all(n is None or (n.is_finite() and n > 0) for n in numbers):
        expected = "con_id, min_tick, lot and adv_shares must be positive, finite numbers"
        raise ConfigError(f"{path} line {number}: {expected}")
    return instrument
