"""The JSON documents of ``data/ib/stream``: one quote a symbol, one status a daemon.

Numbers are JSON numbers and stay ``Decimal`` to the last printed digit; missing is ``null``.
``docs/reference/files.md`` lists every file and field, ``wholefiles`` is how they stay whole.
"""

import os
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import msgspec

from ibloop.adapters.host import build_id
from ibloop.adapters.wake import Waker, wake
from ibloop.adapters.wholefiles import WholeFiles, read_whole
from ibloop.core.invariant import invariant
from ibloop.core.model import MarketDataType, Moment, Quote, QuoteSource
from ibloop.errors import BadInputError

__all__ = [
    "Heartbeat",
    "QuoteReader",
    "StreamWriter",
    "Waker",
    "file_name",
    "heartbeat_document",
    "is_nameable",
    "iso_utc",
    "read_heartbeat",
    "read_status",
    "status_path",
    "symbol_of",
    "wake",
    "write_status",
]

SUFFIX = ".json"
SYMBOL_BYTES_MAX = 64  # three times as long when encoded, and below NAME_MAX
MAGNITUDE_MAX = 18  # a price, size or volume of 1e19 or 1e-19 is damage

_PLAIN = frozenset(string.ascii_uppercase + string.digits + ".-")
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_Utc = Annotated[datetime, msgspec.Meta(tz=True)]


def is_nameable(symbol: str) -> bool:
    """Return whether a symbol can have a file.

    Not when it is empty, overlong or unprintable, and not with a leading ``.`` or ``_``, the marks
    of our own files.
    """
    length = len(symbol.encode(errors="replace"))
    return symbol.isprintable() and symbol[:1] not in "._" and 0 < length <= SYMBOL_BYTES_MAX


@lru_cache(maxsize=4096)
def file_name(symbol: str) -> str:
    """Return the name of a symbol's file, never one elsewhere: ``BRK B`` is ``BRK%20B.json``.

    Raises: BadInputError for a symbol that cannot have a file.
    """
    if not is_nameable(symbol):
        raise BadInputError(
            f"expected a symbol of 1 to {SYMBOL_BYTES_MAX} printable bytes "
            f"that does not begin with '.' or '_', was {symbol!r}"
        )
    encoded = (
        char if char in _PLAIN else "".join(f"%{byte:02X}" for byte in char.encode())
        for char in symbol
    )
    return "".join(encoded) + SUFFIX


def symbol_of(name: str) -> str | None:
    """Return the symbol whose file bears this name; None for every other file."""
    symbol = unquote(name.removesuffix(SUFFIX))
    try:
        return symbol if file_name(symbol) == name else None
    except BadInputError:
        return None


class _QuoteDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A quote file: the fields of ``Quote``, with ``received`` spelled as three of its own."""

    symbol: str
    con_id: int
    seq: Annotated[int, msgspec.Meta(ge=0)]
    received_at: _Utc
    event_time: _Utc | None
    boottime_ns: int
    boot_id: str
    source: QuoteSource
    market_data_type: MarketDataType
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    close: Decimal | None
    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    bid_size: Decimal | None
    ask_size: Decimal | None
    last_size: Decimal | None
    volume: Decimal | None
    halted: bool | None
    currency: str
    exchange: str


_FIELDS = _QuoteDocument.__struct_fields__
_STAMPS = frozenset({"received_at", "event_time", "boottime_ns", "boot_id"})
_SHARED = tuple(name for name in _FIELDS if name not in _STAMPS)
_NUMBERS = _FIELDS[_FIELDS.index("bid") : _FIELDS.index("volume") + 1]
_QUOTE_DECODER = msgspec.json.Decoder(_QuoteDocument)


def _encode(quote: Quote) -> bytes:
    """Return a quote as one line of JSON in the order of the fields above."""
    document: dict[str, object] = dict.fromkeys(_FIELDS)
    for name in _SHARED:
        document[name] = getattr(quote, name)
    document["event_time"] = quote.event_time
    document["received_at"] = quote.received.utc
    document["boottime_ns"] = quote.received.boottime_ns
    document["boot_id"] = quote.received.boot_id
    return _ENCODER.encode(document) + b"\n"


def _decode(payload: bytes) -> Quote | str:
    """Return the quote a file holds, or why it cannot be used."""
    try:
        document = _QUOTE_DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"damaged: {error}"
    problem = _number_problem(document)
    if problem is not None:
        return f"damaged: {problem}"
    event_time = document.event_time
    return Quote(
        received=Moment(
            document.received_at.astimezone(UTC), document.boottime_ns, document.boot_id
        ),
        event_time=None if event_time is None else event_time.astimezone(UTC),
        **{name: getattr(document, name) for name in _SHARED},
    )


def _number_problem(document: object) -> str | None:
    """Return which number is no possible price, size or volume."""
    for name in _NUMBERS:
        value = getattr(document, name)
        if value is not None and not (value.is_finite() and abs(value.adjusted()) <= MAGNITUDE_MAX):
            return f"{name} is {value}"
    return None


def _read_quote(path: Path, symbol: str) -> Quote | str:
    """Return the quote of ``symbol`` in a file, or why there is none."""
    payload = read_whole(path)
    if isinstance(payload, str):
        return payload
    quote = _decode(payload)
    if isinstance(quote, Quote) and quote.symbol != symbol:
        return f"damaged: it is about {quote.symbol}"
    return quote


class StreamWriter:
    """The one writer of the quote files; see :class:`WholeFiles` for threads and signals."""

    def __init__(self, stream_dir: Path) -> None:
        """Write into ``data/ib/stream``. The lock of the stream daemon makes it the only one."""
        self._files = WholeFiles(stream_dir)
        self._last: dict[str, int] = {}

    def next_seq(self, symbol: str, now: Moment) -> int:
        """Return the sequence number for the symbol's next quote, above all there ever were.

        One more than the last, unless the last cannot be known: no file, a damaged one, or one of
        an earlier boot (a power cut may have brought back an older version). Then not below the
        wall clock's milliseconds.
        Raises: BadInputError for a symbol that cannot have a file.
        """
        if symbol not in self._last:
            last, certain = self._recover(symbol, now)
            self._last[symbol] = last if certain else max(last, int(now.utc.timestamp() * 1000))
        return self._last[symbol] + 1

    def publish(self, quote: Quote) -> None:
        """Write a quote to its file; its ``seq`` comes from :meth:`next_seq`.

        Raises: InvariantError for a ``seq`` that does not grow and for a number that is not finite
        or beyond all measure.
        """
        if quote.symbol not in self._last:
            self._last[quote.symbol] = self._recover(quote.symbol, quote.received)[0]
        last = self._last[quote.symbol]
        invariant(quote.seq > last, f"{quote.symbol}: seq {quote.seq} after {last}")
        problem = _number_problem(quote)
        invariant(problem is None, f"{quote.symbol}: {problem}")
        self._files.write(file_name(quote.symbol), _encode(quote))
        self._last[quote.symbol] = quote.seq

    def _recover(self, symbol: str, now: Moment) -> tuple[int, bool]:
        """Return the last seq on disk, and whether it is certain to be the last published.

        A damaged file goes to ``.bad/``; its spare holds the version before it, so one less.
        """
        name = file_name(symbol)
        path = self._files.directory / name
        old = _read_quote(path, symbol)
        if isinstance(old, Quote):
            return old.seq, old.received.boot_id == now.boot_id
        if os.path.lexists(path):
            self._files.quarantine(name)
        spare = _read_quote(self._files.spare_path(name), symbol)
        return (spare.seq + 1, False) if isinstance(spare, Quote) else (0, False)


class QuoteReader:
    """The port ``Quotes`` on the files of one stream directory."""

    def __init__(self, stream_dir: Path) -> None:
        """Read from ``data/ib/stream``; it need not exist yet."""
        self._stream_dir = stream_dir
        self.problems: dict[str, str] = {}

    def read(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Return the whole quotes among ``symbols``.

        What is left out is in ``problems`` afterwards: symbol to reason. No file can raise.
        """
        quotes: dict[str, Quote] = {}
        self.problems = {}
        for symbol in symbols:
            try:
                found = _read_quote(self._stream_dir / file_name(symbol), symbol)
            except BadInputError as error:
                found = str(error)
            if isinstance(found, Quote):
                quotes[symbol] = found
            else:
                self.problems[symbol] = found
        return quotes

    def symbols(self) -> list[str]:
        """Return the symbols that have a file, sorted."""
        try:
            names = [path.name for path in self._stream_dir.iterdir()]
        except FileNotFoundError:
            return []
        return sorted(symbol for name in names if (symbol := symbol_of(name)) is not None)


class _StatusHead(msgspec.Struct, frozen=True, kw_only=True):
    """What every status document must have, and what it may leave out."""

    status: str
    last_heartbeat: _Utc
    boottime_ns: int
    boot_id: str
    pid: int = 0
    build: str = ""
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A status document: how a daemon was at ``stamp``; ``document`` is all of it."""

    name: str
    status: str
    stamp: Moment
    pid: int
    build: str
    detail: str
    document: dict[str, Any]


def iso_utc(moment: datetime) -> str:
    """Return an aware time as ISO 8601 UTC with milliseconds, ``...Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def heartbeat_document(
    status: str, now: Moment, detail: str = "", fields: Mapping[str, object] | None = None
) -> dict[str, object]:
    """Return a status document of this process: the common fields, then ``fields``."""
    return {
        "status": status,
        "last_heartbeat": iso_utc(now.utc),
        "boottime_ns": now.boottime_ns,
        "boot_id": now.boot_id,
        "pid": os.getpid(),
        "build": build_id(),
        "detail": detail,
        **(fields or {}),
    }


def status_path(stream_dir: Path, name: str) -> Path:
    """Return where the status of ``name`` is: ``executor`` is ``_executor.json``."""
    return stream_dir / f"_{name}{SUFFIX}"


def write_status(path: Path, document: Mapping[str, object]) -> None:
    """Write a status document, whole, to a path such as ``data/ib/stream/_guard.json``."""
    WholeFiles(path.parent).write(path.name, _ENCODER.encode(document) + b"\n")


def read_status(path: Path) -> dict[str, Any] | None:
    """Return a status document; None when there is no file or it is damaged."""
    payload = read_whole(path)
    if isinstance(payload, str):
        return None
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_heartbeat(stream_dir: Path, name: str) -> Heartbeat | None:
    """Return the heartbeat of ``name``; None when it is missing, damaged or without a stamp."""
    document = read_status(status_path(stream_dir, name))
    if document is None:
        return None
    try:
        head = msgspec.convert(document, _StatusHead)
    except msgspec.ValidationError:
        return None
    stamp = Moment(head.last_heartbeat.astimezone(UTC), head.boottime_ns, head.boot_id)
    detail = head.detail or ""
    return Heartbeat(name, head.status, stamp, head.pid, head.build, detail, document)
