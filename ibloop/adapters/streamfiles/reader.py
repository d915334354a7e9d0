"""What every consumer reads quotes with: executor, guard, CLI and web.

A file that gives no quote is a value, :class:`~ibloop.core.unusable.Unusable`, never an exception.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ibloop.adapters.streamfiles.documents import decode_quote
from ibloop.adapters.streamfiles.names import file_name, symbol_of
from ibloop.adapters.streamfiles.status import read_status, status_path
from ibloop.adapters.wholefiles import keep_copy, read_whole
from ibloop.core.model import Quote
from ibloop.core.unusable import FileFault, Unusable
from ibloop.errors import BadInputError

SERVING = frozenset({"connected", "degraded"})
"""What the stream says of itself while ``subscribed_symbols`` are the lines it has."""


def read_quote(path: str, symbol: str, *, keep: bool = False) -> Quote | Unusable:
    """Return the quote of ``symbol`` in a file, or why there is none; ``keep`` copies damage."""
    payload = read_whole(path)
    if isinstance(payload, Unusable):
        return payload
    quote = decode_quote(payload)
    if isinstance(quote, Quote) and quote.symbol != symbol:
        quote = Unusable(FileFault.DAMAGED, f"damaged: it is about {quote.symbol}")
    if keep and isinstance(quote, Unusable):
        keep_copy(Path(path), payload)
    return quote


class QuoteReader:
    """The port ``Quotes`` on the files of one stream directory."""

    def __init__(self, stream_dir: Path) -> None:
        """Read from ``data/ib/stream``; it need not exist yet."""
        self._stream_dir = stream_dir
        self._prefix = f"{stream_dir}/"
        self.problems: dict[str, Unusable] = {}
        self._status: dict[str, Any] | None = None

    def read(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Return the whole quotes among ``symbols``.

        What is left out is in ``problems`` afterwards. No file can raise.
        """
        quotes: dict[str, Quote] = {}
        self.problems = {}
        self._status = None
        for symbol in symbols:
            try:
                found = read_quote(self._prefix + file_name(symbol), symbol, keep=True)
            except BadInputError as error:
                found = Unusable(FileFault.UNNAMEABLE, str(error))
            if isinstance(found, Quote):
                quotes[symbol] = found
            else:
                self.problems[symbol] = found
        return quotes

    def explain(self, symbol: str) -> Unusable | None:
        """Return what is known of why the last :meth:`read` gave no quote, or an old one.

        A file that cannot be used explains itself. Of one that is missing or old the stream's
        status tells whether the symbol is subscribed. ``None`` when nothing speaks against it.
        """
        known = self.problems.get(symbol)
        if known is not None and known.fault is not FileFault.MISSING:
            return known
        return self._unserved(symbol) or known

    def _unserved(self, symbol: str) -> Unusable | None:
        """Return why the stream does not serve a symbol; None when it does, or cannot be asked."""
        if self._status is None:
            self._status = read_status(status_path(self._stream_dir, "status")) or {}
        document = self._status
        status, symbols = document.get("status"), document.get("subscribed_symbols")
        if not isinstance(status, str) or not isinstance(symbols, list):
            return None
        if status not in SERVING:
            return Unusable(FileFault.STREAM_DOWN, f"the stream is {status}")
        if symbol not in symbols:
            unsubscribed = f"the stream is not subscribed to {symbol}"
            if refused := _told(document, symbol, "refused_symbols"):
                return Unusable(FileFault.REFUSED, unsubscribed + refused)
            why = _told(document, symbol, "left_out")
            return Unusable(FileFault.UNSUBSCRIBED, unsubscribed + why)
        why = _told(document, symbol, "refused_symbols", "degraded_symbols")
        return Unusable(FileFault.DEGRADED, f"the line is degraded{why}") if why else None

    def symbols(self) -> list[str]:
        """Return the symbols that have a file, sorted."""
        try:
            names = [path.name for path in self._stream_dir.iterdir()]
        except OSError:
            return []
        return sorted(symbol for name in names if (symbol := symbol_of(name)) is not None)


def _told(document: Mapping[str, Any], symbol: str, *lists: str) -> str:
    """Return what the stream says of a symbol in one of its lists, after a colon; else nothing."""
    for name in lists:
        told = document.get(name)
        if isinstance(told, dict) and told.get(symbol):
            return f": {told[symbol]}"
    return ""
