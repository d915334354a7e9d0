"""Rebuild the vendored daily prices from the package they were taken from.

Install the package named in ``PROVENANCE.toml`` (its own dependencies are not needed), then run
``python data/samples/rebuild.py``. The source file and every file written are compared with the
hashes on record; ``--into DIR`` writes elsewhere and leaves the vendored files alone.
Exit codes: 0 all hashes agree, 1 something differs or the package is missing.
"""

import argparse
import csv
import gzip
import hashlib
import importlib.metadata
import io
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
COLUMNS = ("date", "open", "high", "low", "close", "volume")


class RebuildError(Exception):
    """The sample prices cannot be rebuilt as recorded."""


def sha256_hex(content: bytes) -> str:
    """Return the SHA-256 of ``content`` as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def price_text(source: str) -> str:
    """Return a source price with at least two decimals and no digit changed.

    Args: source as written by the package, USD per share, for example ``118.5``.
    Returns: ``118.50``; a price below the cent keeps its digits (``14.2675``).
    """
    whole, _, decimals = source.partition(".")
    return f"{whole}.{decimals.ljust(2, '0')}"


def read_source(source: dict[str, str]) -> bytes:
    """Return the packed price file of the installed package.

    Args: the table ``source`` of PROVENANCE.toml: ``package, version, file, sha256``.
    Raises: RebuildError if the package is absent, of another version, or its file differs.
    """
    pin = f"{source['package']}=={source['version']}"
    try:
        distribution = importlib.metadata.distribution(source["package"])
    except importlib.metadata.PackageNotFoundError as error:
        raise RebuildError(f"expected {pin} to be installed; install it with --no-deps") from error
    if distribution.version != source["version"]:
        raise RebuildError(f"expected {pin}, was {distribution.version}; install that version")
    content = Path(str(distribution.locate_file(source["file"]))).read_bytes()
    if sha256_hex(content) != source["sha256"]:
        raise RebuildError(
            f"expected sha256 {source['sha256']} of {source['file']}, was {sha256_hex(content)}; "
            "the package changed its data: review it before you record a new hash"
        )
    return content


def price_files(packed: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield ``(symbol, CSV file)`` for each symbol of the packed source.

    Args: gzip-compressed CSV, columns ``Ticker,Date,Open,High,Low,Close,Volume,Adj Close``.
    Returns: files with ``COLUMNS``, ascending by date, LF line ends.
    """
    bars: dict[str, list[tuple[str, ...]]] = {}
    for row in csv.DictReader(io.StringIO(gzip.decompress(packed).decode("utf-8"))):
        prices = (price_text(row[column]) for column in ("Open", "High", "Low", "Close"))
        bars.setdefault(row["Ticker"], []).append((row["Date"], *prices, row["Volume"]))
    for symbol, rows in sorted(bars.items()):
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *sorted(rows)])
        yield symbol, text.getvalue().encode("utf-8")


def rebuild(into: Path) -> list[str]:
    """Write ``SYMBOL.csv`` into ``into`` and return the names whose hash is not the recorded one.

    Raises: RebuildError as ``read_source`` does.
    """
    provenance = tomllib.loads((HERE / "PROVENANCE.toml").read_text(encoding="utf-8"))
    into.mkdir(parents=True, exist_ok=True)
    written = {}
    for symbol, content in price_files(read_source(provenance["source"])):
        written[f"prices/{symbol}.csv"] = sha256_hex(content)
        (into / f"{symbol}.csv").write_bytes(content)
    recorded = provenance["files"]
    names = sorted(recorded.keys() | written.keys())
    return [name for name in names if recorded.get(name) != written.get(name)]


def main() -> int:
    """Rebuild, tell the result in one line, return the exit code."""
    parser = argparse.ArgumentParser(description="Rebuild the vendored sample prices.")
    parser.add_argument("--into", type=Path, default=HERE / "prices", help="directory to write")
    into = parser.parse_args().into
    try:
        differing = rebuild(into)
    except RebuildError as error:
        sys.stderr.write(f"rebuild.py: {error}\n")
        return 1
    if differing:
        sys.stderr.write(f"rebuild.py: not as in PROVENANCE.toml: {', '.join(differing)}\n")
        return 1
    sys.stdout.write(f"rebuilt {into}: all hashes as in PROVENANCE.toml\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
