"""What the gateway says of itself and of lines: counted, logged once, and acted upon."""

from collections.abc import Sequence

from ibloop import log
from ibloop.core.lines import CODE_LINE_LIMIT, LineEvent, spare_lines
from ibloop.core.model import QuoteSource
from ibloop.core.stream import (
    FARM_GRACE_S,
    IB_ANSWER_S,
    IB_SILENCE_S,
    MARKET_FARM,
    Answer,
    Meaning,
    Notice,
    farm_of,
    meaning,
)
from ibloop.daemons.streaming.lines import LineBook

LOG_AGAIN_S = 60.0

SPARE_AGAIN_S = 10.0
"""Lines are given up for snapshots at most this often: closing takes a while, and more may ask."""

_GOOD_NEWS = frozenset({Meaning.INFORMATION, Meaning.FARM_MENDED, Meaning.LINES_KEPT})

_log = log.get(__name__)


class Notices:
    """The gateway's word, until it is taken back or a new connection begins.

    ``ib_lost``: in words that the gateway has lost IB, empty when it has not.
    """

    def __init__(self, book: LineBook) -> None:
        """Take the lines that notices are about."""
        self._book = book
        self.ib_lost = ""
        self._lost_ns = 0  # when that was last said
        self.errors = 0
        self.feed_errors = 0
        self.last_error: str | None = None
        self._farms: dict[tuple[str, str], int] = {}  # broken since
        self._order_all = False
        self._forgotten = False
        self._limit: tuple[int, int] | None = None  # lines allowed, learned when
        self._logged_ns: dict[tuple[str | None, int], int] = {}

    def clear(self) -> None:
        """Forget what only held for the connection that is gone."""
        self.ib_lost = ""
        self._farms.clear()
        self._order_all = self._forgotten = False
        self._limit = None

    def take(self, notices: Sequence[Notice], now_ns: int) -> bool:
        """Act upon notices; return whether there were any."""
        for notice in notices:
            meant = meaning(notice.code, of_line=notice.symbol is not None)
            if meant not in _GOOD_NEWS:
                self._count(notice, now_ns)
            self._act(notice, meant, now_ns)
        return bool(notices)

    def take_answer(self, answer: Answer, now_ns: int) -> None:
        """Note what the answer to a single question says of the gateway.

        An error 101 is about all lines, not this one: some are given up so that silence can be
        asked about. A price says that IB is there.
        """
        if answer.code == CODE_LINE_LIMIT:
            self._count(Notice(answer.symbol, answer.code, answer.problem), now_ns)
            if self._limit is None or now_ns - self._limit[1] >= SPARE_AGAIN_S * 1e9:
                allowed = self._allowed()
                self._limit = (max(1, allowed - spare_lines(allowed)), now_ns)
        elif answer.state is not None and answer.source is QuoteSource.SNAPSHOT:
            self._heard_of_ib(now_ns - int(IB_ANSWER_S * 1e9))

    def look_for_ib(self, now_ns: int) -> None:
        """See whether IB is back without a word: ticks tell, else a price is asked for."""
        self._heard_of_ib(self._book.last_tick_ns - int(FARM_GRACE_S * 1e9))
        if self.ib_lost and now_ns - self._lost_ns >= IB_SILENCE_S * 1e9:
            self._book.ask_foremost(now_ns)

    def _heard_of_ib(self, until_ns: int) -> None:
        """Take back that IB is lost if that was last said before; what was missed is ordered."""
        if self.ib_lost and self._lost_ns <= until_ns:
            _log.warning("stream.ib_returned", after=self.ib_lost)
            self.ib_lost = ""
            self._order_all = True

    def farms_down(self) -> list[str]:
        """Return the market data farms that are broken and not shown alive by ticks since."""
        limit_ns = self._book.last_tick_ns - int(FARM_GRACE_S * 1e9)
        return sorted(
            name
            for (kind, name), broken_ns in self._farms.items()
            if kind == MARKET_FARM and broken_ns > limit_ns
        )

    def other_farms_down(self) -> list[str]:
        """Return the broken farms that prices do not come from: history, security definitions."""
        return sorted(f"{kind} {name}" for kind, name in self._farms if kind != MARKET_FARM)

    def take_order_all(self) -> bool:
        """Return whether every line is to be ordered anew; asking takes it back."""
        wanted, self._order_all = self._order_all, False
        return wanted

    def take_forgotten(self) -> bool:
        """Return whether the gateway has forgotten all lines; asking takes it back."""
        forgotten, self._forgotten = self._forgotten, False
        return forgotten

    def line_limit(self, now_ns: int, again_s: float) -> int | None:
        """Return how many lines the gateway allows as far as it said so in the last ``again_s``."""
        if self._limit is not None and now_ns - self._limit[1] > again_s * 1e9:
            self._limit = None
        return None if self._limit is None else self._limit[0]

    def _act(self, notice: Notice, meant: Meaning, now_ns: int) -> None:
        told = f"{notice.code} {notice.text}"
        match meant:
            case Meaning.IB_LOST:
                self.ib_lost, self._lost_ns = told, now_ns
            case Meaning.LINES_LOST | Meaning.LINES_KEPT:
                # What changed in between is not told again, so kept lines are ordered anew too.
                self.ib_lost = ""
                self._farms.clear()
                self._order_all = True
                self._forgotten |= meant is Meaning.LINES_LOST
            case Meaning.FARM_BROKEN:
                self._farms.setdefault(farm_of(notice), now_ns)
            case Meaning.FARM_MENDED:
                broken_ns = self._farms.pop(farm_of(notice), None)
                if broken_ns is not None and farm_of(notice)[0] == MARKET_FARM:
                    self._order_all |= self._book.last_tick_ns < broken_ns + FARM_GRACE_S * 1e9
            case Meaning.BLOCKED if notice.symbol is not None:
                self._book.note(notice.symbol, LineEvent.BLOCKED, now_ns, told, notice.code)
            case Meaning.LIMITED | Meaning.REFUSED if notice.symbol is not None:
                self._book.note(notice.symbol, LineEvent.REFUSED, now_ns, told, notice.code)
                if meant is Meaning.LIMITED:
                    self._limit = (max(1, self._allowed()), now_ns)

    def _allowed(self) -> int:
        """Return how many lines were asked of the gateway and not refused for want of one."""
        waiting = set(self._book.unopened())
        asked = (record for symbol, record in self._book.records.items() if symbol not in waiting)
        return sum(record.code != CODE_LINE_LIMIT for record in asked)

    def _count(self, notice: Notice, now_ns: int) -> None:
        self.errors += 1
        # What is about a line marks the line, and comes in bursts; the rest is about the feed.
        self.feed_errors += notice.symbol is None
        of = f"{notice.symbol}: " if notice.symbol else ""
        self.last_error = f"{notice.code} {of}{notice.text}"
        # Errors about lines come in bursts, again and again: each is worth a line a minute.
        key = (notice.symbol, notice.code)
        if now_ns - self._logged_ns.get(key, -now_ns) >= LOG_AGAIN_S * 1e9:
            self._logged_ns[key] = now_ns
            _log.warning("ib.error_reported", code=notice.code, text=of + notice.text)
