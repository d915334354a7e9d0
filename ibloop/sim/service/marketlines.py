"""Market data lines: what a client hears of an instrument's quote, sample by sample."""

from dataclasses import dataclass
from typing import NamedTuple

from ibloop.sim.market.venue import Phase
from ibloop.sim.model import Instrument
from ibloop.sim.protocol.replies import system, ticks
from ibloop.sim.protocol.replies.ticks import FrameText, tick_price, tick_side, tick_size
from ibloop.sim.protocol.wire import frame
from ibloop.sim.service.boards import Board
from ibloop.sim.service.desk import Desk
from ibloop.sim.service.generics import Generics
from ibloop.sim.service.session import Session

# Market data types, as reqMarketDataType names them.
LIVE, FROZEN, DELAYED, DELAYED_FROZEN = 1, 2, 3, 4
# The kinds of subscription: market data lines, and snapshots that wait for data.
LINE, SNAPSHOT = "market data", "snapshot"
# A snapshot ends at most so many seconds after it was asked for.
SNAPSHOT_S_MAX = 11.0
NO_PRICE = "-1.0"
# Letters of the exchanges in ticks 32, 33 and 84.
LETTERS = {"NASDAQ": "Q", "NYSE": "N"}


class _Ids(NamedTuple):
    """Tick numbers; the sides have a price and a size, `day` is high, low, close and open."""

    bid: tuple[str, str]
    ask: tuple[str, str]
    last: tuple[str, str]
    volume: str
    day: tuple[str, str, str, str]
    trade_time: str


_LIVE_IDS = _Ids(("1", "0"), ("2", "3"), ("4", "5"), "8", ("6", "7", "9", "14"), "45")
_DELAYED_IDS = _Ids(("66", "69"), ("67", "70"), ("68", "71"), "74", ("72", "73", "75", "76"), "88")
_UNTOLD = Board(*("",) * 12, Phase.CLOSED)


def type_shown(kind: int, phase: Phase) -> int:
    """Return the type of data a request of a type gets: frozen ones thaw while the market works."""
    return kind - 1 if kind in {FROZEN, DELAYED_FROZEN} and phase is not Phase.CLOSED else kind


@dataclass(slots=True)
class MarketLine:
    """One market data subscription: only ticks that changed since the last sample."""

    req_id: int
    instrument: Instrument
    kind: int = LIVE
    generics: Generics | None = None
    priced: bool = False
    delayed: bool = False
    _ids: _Ids = _LIVE_IDS
    _phase: Phase | None = None
    _req_id: str = ""
    _shown: int = 0
    _mask: str = "1"
    _darkness: bool = False
    _board: Board | None = None
    _told: Board = _UNTOLD

    def __post_init__(self) -> None:
        """Use the tick numbers of delayed data for prices of a quarter of an hour ago."""
        self._req_id = str(self.req_id)
        if self.kind >= DELAYED:
            self.delayed, self._ids = True, _DELAYED_IDS

    def sample(self, desk: Desk, session: Session) -> bytes:  # noqa: ARG002 - the protocol's
        """Return the ticks that changed since the last sample."""
        con_id = self.instrument.con_id
        board = desk.boards.delayed(con_id) if self.delayed else desk.boards.now(con_id)
        if board is self._board and board is not None:
            return b""
        self._board = board
        frames: list[FrameText] = []
        phase = board.phase if board else desk.world.phase()
        if phase is not self._phase:
            self._enter(frames, phase)
        if board is not None:
            self._tell(frames, _dark(board) if self._darkness else board, desk)
        return ticks.encoded(frames)

    def _enter(self, frames: list[FrameText], phase: Phase) -> None:
        """Begin another part of the trading day."""
        self._phase = phase
        shown = type_shown(self.kind, phase)
        if shown != self._shown:
            self._shown = shown
            frames.append(ticks.market_data_type(self._req_id, shown))
        # While nobody trades there is neither bid nor ask, unless frozen ones were asked for.
        self._darkness = phase is Phase.CLOSED and shown in {LIVE, DELAYED}
        self._mask = {Phase.CLOSED: "0", Phase.PRE_MARKET: "5"}.get(phase, "1")

    def _tell(self, frames: list[FrameText], board: Board, desk: Desk) -> None:
        """Add the ticks that are new."""
        req_id, ids, told = self._req_id, self._ids, self._told
        bid, bid_size, ask, ask_size, last, last_size, volume, *day, halted, _ = board
        # A price message carries the size too, so either of them changing sends it.
        if bid_size != told.bid_size:
            frames.append(tick_side(req_id, ids.bid, bid, bid_size, self._mask))
        elif bid != told.bid:
            frames.append(tick_price(req_id, ids.bid[0], bid, bid_size, self._mask))
        if ask_size != told.ask_size:
            frames.append(tick_side(req_id, ids.ask, ask, ask_size, self._mask))
        elif ask != told.ask:
            frames.append(tick_price(req_id, ids.ask[0], ask, ask_size, self._mask))
        if last_size != told.last_size or last != told.last:
            resized = last_size != told.last_size
            frames.append(
                tick_side(req_id, ids.last, last, last_size, "0")
                if resized
                else tick_price(req_id, ids.last[0], last, last_size)
            )
            time = desk.boards.trade_time(delayed=self.delayed)
            frames.append(ticks.tick_string(req_id, ids.trade_time, time))
        if volume != told.volume:
            frames.append(tick_size(req_id, ids.volume, volume))
        self._told = board
        before = [told.high, told.low, told.close, told.open]
        if day != before or halted != told.halted:
            frames += self._day(day, before)
            frames += self._halted(halted, told.halted)
        if not self.priced:
            self.priced = True
            frames += self._exchanges()
        if self.generics is not None and (quote := desk.world.quote_of(self.instrument.con_id)):
            frames += self.generics.changes(desk.world, self.instrument, quote)

    def _day(self, day: list[str], before: list[str]) -> list[FrameText]:
        # Before the first trade of a day there is nothing to tell.
        return [
            tick_price(self._req_id, tick, price)
            for tick, price, old in zip(self._ids.day, day, before, strict=True)
            if price and price != old
        ]

    def _halted(self, halted: str, before: str) -> list[FrameText]:
        if halted == before or self.delayed:
            return []
        return [ticks.tick_generic(self._req_id, "49", halted)]

    def _exchanges(self) -> list[FrameText]:
        letter = LETTERS.get(self.instrument.primary_exchange, "")
        if self.delayed or not letter:
            return []
        return [ticks.tick_string(self._req_id, tick, letter) for tick in ("84", "32", "33")]


def _dark(board: Board) -> Board:
    return board._replace(bid=NO_PRICE, bid_size="0", ask=NO_PRICE, ask_size="0")


@dataclass(slots=True)
class Snapshot:
    """A snapshot still without data: it ends when there is some, or after eleven seconds."""

    line: MarketLine
    until_s: float

    def sample(self, desk: Desk, session: Session) -> bytes:
        """Return the ticks, and the end of the snapshot when it has come."""
        data = self.line.sample(desk, session)
        if not self.line.priced and desk.world.monotonic_s() < self.until_s:
            return data
        session.subscriptions.pop((SNAPSHOT, self.line.req_id), None)
        return data + frame(system.end(57, self.line.req_id))


def lines_of(session: Session) -> list[int]:
    """Return the request ids of a client's market data lines."""
    return [req_id for kind, req_id in session.subscriptions if kind == LINE]
