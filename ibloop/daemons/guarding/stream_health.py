"""What the stream says of itself, as far as the guard judges it: errors, and lines without quotes.

Single holdings without a price are the valuation's matter; this is about a feed that is ill as a
whole, and that the prices it still gives cannot be trusted to show.
"""

from collections import deque
from datetime import datetime

from ibloop.adapters.ports import Clock
from ibloop.adapters.streamfiles import read_status, status_path
from ibloop.config import Profile
from ibloop.core.model import Moment

Errors = tuple[tuple[datetime, int], ...]


class StreamHealth:
    """Counts the stream's new errors, and notices how long most of its lines are degraded.

    What was counted before this process began is not known to be new, and is left out.
    """

    def __init__(self, profile: Profile, clock: Clock) -> None:
        """Begin without having looked."""
        self._path = status_path(profile.stream_dir, "status")
        self._limits = profile.config.guard
        self._clock = clock
        self._total: int | None = None
        self._told: deque[tuple[Moment, int]] = deque()
        self._degraded: Moment | None = None

    def look(self, *, market_open: bool) -> tuple[Errors, tuple[str, ...]]:
        """Return the errors of the last ``order_failures_minutes``, and what is wrong in words.

        Errors as when they were noticed and how many. While the market is closed nothing is
        counted: gateways restart at night.
        """
        now = self._clock.now()
        document = read_status(self._path) or {}
        self._count(document.get("feed_error_count"), now, market_open=market_open)
        trouble = self._lines(document, now) if market_open else None
        self._degraded = None if trouble is None else self._degraded or now
        since = self._degraded
        is_long = since is not None and now.age_s(since) >= self._limits.price_missing_s_max
        told = tuple((at.utc, count) for at, count in self._told)
        return told, (trouble,) if trouble is not None and is_long else ()

    def _count(self, total: object, now: Moment, *, market_open: bool) -> None:
        window_s = self._limits.order_failures_minutes * 60
        while self._told and now.age_s(self._told[0][0]) > window_s:
            self._told.popleft()
        if not isinstance(total, int):
            return
        before, self._total = self._total, total
        # A stream that has restarted counts from nothing again.
        new = 0 if before is None else total - before if total >= before else total
        if new and market_open:
            self._told.append((now, new))

    def _lines(self, document: dict[str, object], now: Moment) -> str | None:
        """Return what to say of the lines, ``None`` when enough of them have quotes."""
        symbols, degraded = document.get("subscribed_symbols"), document.get("degraded_count")
        if not isinstance(symbols, list) or not isinstance(degraded, int) or not symbols:
            return None
        if degraded <= self._limits.stream_degraded_fraction_max * len(symbols):
            return None
        since = self._degraded or now
        text = f"{degraded} of the stream's {len(symbols)} symbols have no live quotes"
        return f"{text} for {now.age_s(since):.0f} s: look at `ibloop stream status`"
