"""How values are written into the ledger: one text form each, strict in both directions.

Whatever reads back in another form than it would be written was not written by us: a reader
raises rather than interpret it.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TypeVar

from ibloop.core.invariant import invariant
from ibloop.errors import LedgerError

A = TypeVar("A")
B = TypeVar("B")

remembered = lru_cache(maxsize=8192)
"""The same few times and numbers come again with every row of a run, and they never change."""


def time_text(moment: datetime) -> str:
    """Return ``YYYY-MM-DDTHH:MM:SS.mmmZ``, UTC, cut to the millisecond.

    The fixed width makes text order the order of time. Raises: InvariantError for a naive time.
    """
    if moment.tzinfo is UTC:
        return _utc_text(moment)
    invariant(moment.tzinfo is not None, f"naive time {moment}")
    return _utc_text(moment.astimezone(UTC))


# Remembered for UTC alone: elsewhere the two hours of a clock set back are equal and hash alike.
@remembered
def _utc_text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


@remembered
def parse_time(text: str) -> datetime:
    """Return the aware UTC time of :func:`time_text`'s form; LedgerError for any other form."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or time_text(moment) != text:
        raise LedgerError(f"expected a time like 2026-11-20T15:30:00.000Z, was {text!r}")
    return moment


@remembered
def decimal_text(value: Decimal) -> str:
    """Return the canonical decimal: no exponent, no trailing zeros, no minus zero.

    Nothing is rounded. Raises: InvariantError for NaN and infinity.
    """
    invariant(value.is_finite(), f"not a finite number: {value}")
    if value == 0:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@remembered
def parse_decimal(text: str) -> Decimal:
    """Return the number of :func:`decimal_text`'s form; LedgerError for any other form."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or decimal_text(value) != text:
        raise LedgerError(f"expected a canonical decimal like 12.5, was {text!r}")
    return value


def json_text(value: object) -> str:
    """Return canonical JSON: sorted keys, no spaces, ASCII; times and decimals as their text.

    Raises: TypeError for what JSON cannot hold, ValueError for NaN and infinity.
    """
    return _ENCODER.encode(value)


def _json_default(value: object) -> str:
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, datetime):
        return time_text(value)
    raise TypeError(f"not for JSON: {type(value).__name__}")


# Made once: json.dumps makes one anew at each call with arguments of its own.
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False, default=_json_default
)


def optional(convert: Callable[[A], B], value: A | None) -> B | None:
    """Return ``convert(value)``, or ``None`` for a missing value."""
    return None if value is None else convert(value)


def insert_sql(table: str, columns: Sequence[str]) -> str:
    """Return the INSERT of all ``columns`` with named parameters; for module constants only."""
    names = ", ".join(columns)
    marks = ", ".join(f":{name}" for name in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608  (constants of ours)


def select_sql(table: str, columns: Sequence[str]) -> str:
    """Return the SELECT of ``columns`` without a WHERE; for module constants only."""
    return f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608  (constants of ours)
