"""Publishing quotes: at once, and again until it works when a disk is full or not writable."""

from dataclasses import replace
from pathlib import Path

from ibloop import log
from ibloop.adapters.recording import Recorder
from ibloop.adapters.streamfiles import StreamWriter
from ibloop.core.model import MarketDataType, Moment, QuoteSource
from ibloop.core.quotes import TickState, is_worse, quote_of

_log = log.get(__name__)


class Publisher:
    """Writes the quote files. What could not be written waits, its latest version only.

    ``problem`` says what keeps files from being written; empty when nothing does.
    """

    def __init__(self, stream_dir: Path, recorder: Recorder | None = None) -> None:
        """Write into ``data/ib/stream``; a recorder is given every version that was written."""
        self.recorder = recorder
        self._writer = StreamWriter(stream_dir, recorder.take if recorder else None)
        self._last: dict[str, tuple[TickState, Moment, QuoteSource]] = {}
        self._waiting: dict[str, tuple[TickState, Moment, QuoteSource]] = {}
        self.problem = ""
        self.publishes = 0

    def publish(self, state: TickState, received: Moment, source: QuoteSource) -> None:
        """Write one version, stamped with the moment it was received, however late it gets out."""
        symbol = state.symbol
        self._last[symbol] = (state, received, source)
        try:
            seq = self._writer.next_seq(symbol, received)
            self._writer.publish(quote_of(state, seq, received, source))
        except OSError as error:
            self._waiting[symbol] = self._last[symbol]
            self._say(f"{symbol}: {error.strerror or error}")
            return
        self.publishes += 1
        if self._waiting:
            self._waiting.pop(symbol, None)

    def worsen(self, symbol: str, kind: MarketDataType) -> None:
        """Write the last version again as of a worse kind; its price becomes no younger by that."""
        last = self._last.get(symbol)
        if last is None:
            return
        state, received, source = last
        if is_worse(kind, state.market_data_type):
            self.publish(replace(state, market_data_type=kind), received, source)

    def retry(self) -> None:
        """Try again what could not be written."""
        for state, received, source in list(self._waiting.values()):
            self.publish(state, received, source)
        if not self._waiting:
            self._say("")

    def unwritten(self) -> list[str]:
        """Return the symbols whose latest version waits, sorted."""
        return sorted(self._waiting)

    def _say(self, problem: str) -> None:
        if bool(problem) is not bool(self.problem):
            _log.warning(
                "stream.write_failed" if problem else "stream.write_recovered", why=problem
            )
        self.problem = problem
