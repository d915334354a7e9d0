"""Read a targets file: CSV with the columns ``symbol,weight`` and, optionally, ``as_of``.

Further columns are allowed and ignored. Everything wrong with the file is reported at once, with
line numbers; a file with one problem gives no targets at all.
"""

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from ibloop.core.model import SYMBOL, Target
from ibloop.core.snapshot import total_weight

SIZE_BYTES_MAX = 1_000_000
WEIGHT_PLACES_MAX = 50
"""More decimal places than any weight needs; a weight of 1e-999999 is a million characters."""
TOTAL_WEIGHT_MAX = 1 + Decimal("1e-9")
"""One, and what binary floats that were meant to sum to one may be above it."""


@dataclass(frozen=True, slots=True)
class TargetsReading:
    """The outcome of reading a targets file: targets, or the reasons why there are none."""

    targets: tuple[Target, ...]
    as_of: datetime | None
    problems: tuple[str, ...]


def parse_targets(
    content: bytes, known_symbols: Collection[str], *, short_allowed: bool = False
) -> TargetsReading:
    """Return the targets in ``content``, or every problem found.

    Args: the file's bytes; the symbols that may be traded; whether a weight may be negative. How
    large longs and shorts may be together is a check of the plan (``gross_weight_max``).
    """
    problem = _not_text(content)
    if problem:
        return TargetsReading((), None, (problem,))
    lines = io.StringIO(content.decode("utf-8-sig"), newline=None)  # any of the three line ends
    rows = csv.DictReader(lines, skipinitialspace=True)
    reading = _Reading(known_symbols, short_allowed=short_allowed)
    try:
        if problem := _bad_header(rows.fieldnames or ()):
            return TargetsReading((), None, (problem,))
        for row in rows:
            reading.add(rows.line_num, row)
    except csv.Error as error:
        reading.problems.append(f"line {rows.line_num}: {error}")
    return reading.result()


def _not_text(content: bytes) -> str | None:
    if len(content) > SIZE_BYTES_MAX:
        return f"expected at most {SIZE_BYTES_MAX} bytes, was {len(content)}"
    if not content.strip():
        return "the file is empty; expected a header line `symbol,weight` and one line a symbol"
    if b"\0" in content:
        return "the file is binary; expected CSV text"
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "the file is not UTF-8 text; expected CSV text"
    return None


def _bad_header(columns: Sequence[str]) -> str | None:
    expected = "expected a header line with the columns symbol,weight"
    if missing := {"symbol", "weight"} - set(columns):
        return f"{expected}; missing: {', '.join(sorted(missing))}"
    if twice := {name for name in ("symbol", "weight", "as_of") if columns.count(name) > 1}:
        return f"{expected}; named twice: {', '.join(sorted(twice))}"
    return None


class _Reading:
    """Collects rows and problems of one file."""

    def __init__(self, known_symbols: Collection[str], *, short_allowed: bool) -> None:
        self.known = known_symbols
        self.short_allowed = short_allowed
        self.targets: dict[str, Target] = {}
        self.as_of: datetime | None = None
        self.problems: list[str] = []

    def add(self, line: int, row: dict[str, str | None]) -> None:
        """Take one data row."""
        symbol = (row["symbol"] or "").strip()
        weight = self._weight(line, (row["weight"] or "").strip())
        self._as_of(line, (row.get("as_of") or "").strip())
        if None in row:
            self.problems.append(f"line {line}: more fields than the header names")
        if not SYMBOL.fullmatch(symbol):
            self.problems.append(f"line {line}: {symbol!r} is not a symbol")
        elif symbol in self.targets:
            self.problems.append(f"line {line}: {symbol} appears twice")
        elif symbol not in self.known:
            self.problems.append(f"line {line}: {symbol} is not in the universe")
        elif weight is not None:
            self.targets[symbol] = Target(symbol, weight)

    def _weight(self, line: int, text: str) -> Decimal | None:
        try:
            weight = Decimal(text)
        except InvalidOperation:
            hint = "; write 0.05 for five per cent" if text.endswith("%") else ""
            self.problems.append(f"line {line}: weight {text!r} is not a number{hint}")
            return None
        if not weight.is_finite():
            self.problems.append(f"line {line}: weight {text} is not a finite number")
            return None
        if weight < 0 and not self.short_allowed:
            hint = "set limits.short_allowed = true to trade shorts, in a margin account"
            self.problems.append(f"line {line}: weight {text} is negative; {hint}")
            return None
        if abs(weight) > 1:
            beyond = "above 1" if weight > 0 else "below -1"
            self.problems.append(f"line {line}: weight {text} is {beyond}; write 0.05 for 5 %")
            return None
        if int(weight.as_tuple().exponent) < -WEIGHT_PLACES_MAX:
            places = f"more than {WEIGHT_PLACES_MAX} decimal places"
            self.problems.append(f"line {line}: weight {text[:20]} has {places}")
            return None
        return weight

    def _as_of(self, line: int, text: str) -> None:
        if not text:
            return
        try:
            as_of = datetime.fromisoformat(text)
            as_of = (as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.problems.append(f"line {line}: as_of {text!r} is not an ISO date or time")
            return
        if self.as_of not in {None, as_of}:
            self.problems.append(f"line {line}: as_of differs from the lines before")
        self.as_of = as_of

    def result(self) -> TargetsReading:
        """Return the targets, or the problems."""
        total = total_weight(self.targets.values())
        if abs(total) > TOTAL_WEIGHT_MAX:
            expected = "at most 1" if total > 0 else "at least -1"
            self.problems.append(f"the weights sum to {total}; expected {expected}")
        if not self.targets and not self.problems:
            self.problems.append("the file has a header but no targets")
        if self.problems:
            return TargetsReading((), self.as_of, tuple(self.problems))
        return TargetsReading(tuple(self.targets.values()), self.as_of, ())
