"""The one writer of the quote files."""

import os
from collections.abc import Callable
from pathlib import Path

from ibloop.adapters.streamfiles.documents import encode_quote, number_problem
from ibloop.adapters.streamfiles.names import file_name
from ibloop.adapters.streamfiles.reader import read_quote
from ibloop.adapters.wholefiles import WholeFiles
from ibloop.core.invariant import InvariantError
from ibloop.core.model import Moment, Quote


class StreamWriter:
    """The one writer of the quote files; see :class:`WholeFiles` for threads and signals."""

    def __init__(self, stream_dir: Path, record: Callable[[bytes], None] | None = None) -> None:
        """Write into ``data/ib/stream``. The lock of the stream daemon makes it the only one.

        ``record`` is given every version that was written, one line of JSON each.
        """
        self._files = WholeFiles(stream_dir)
        self._record = record
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
        symbol, seq = quote.symbol, quote.seq
        last = self._last.get(symbol)
        if last is None:
            last = self._last[symbol] = self._recover(symbol, quote.received)[0]
        if seq <= last:
            raise InvariantError(f"{symbol}: seq {seq} after {last}")
        problem = number_problem(quote)
        if problem is not None:
            raise InvariantError(f"{symbol}: {problem}")
        payload = encode_quote(quote)
        self._files.write(file_name(symbol), payload)
        self._last[symbol] = seq
        if self._record is not None:
            self._record(payload)

    def _recover(self, symbol: str, now: Moment) -> tuple[int, bool]:
        """Return the last seq on disk, and whether it is certain to be the last published.

        A damaged file goes to ``.bad/``; its spare holds the version before it, so one less.
        """
        name = file_name(symbol)
        path = self._files.directory / name
        old = read_quote(str(path), symbol)
        if isinstance(old, Quote):
            return old.seq, old.received.boot_id == now.boot_id
        if os.path.lexists(path):
            self._files.quarantine(name)
        spare = read_quote(str(self._files.spare_path(name)), symbol)
        return (spare.seq + 1, False) if isinstance(spare, Quote) else (0, False)
