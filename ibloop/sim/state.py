"""The state file: a journal of what must survive a crash, one JSON line per atomic step.

A step is written before any client hears of it. At the start the journal is read, a line torn
by a kill is dropped (nobody was told of it), and what is left is written anew, compactly, to a
temporary file that replaces the old one. Cash and positions are not stored: they follow from the
opening cash and the executions.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

from ibloop.sim.market.market import Shock
from ibloop.sim.market.pins import Pin, PinHistory
from ibloop.sim.model import (
    ZERO,
    AccountKind,
    AccountSpec,
    Execution,
    Order,
    ReceivedFrame,
    SimError,
)

FORMAT = "ibloop.sim.state.v1"


@dataclass(frozen=True, slots=True)
class AccountOpened:
    """An account, the cash it began with in USD, and its kind."""

    account: str
    cash: Decimal
    kind: AccountKind = AccountKind.CASH


@dataclass(frozen=True, slots=True)
class MarketTime:
    """How far the market of this seed and start date has run, in seconds of session time.

    With the exchange's hours the New York date `anchor` plays session `anchor_session`.
    """

    seed: int
    start: str
    market_s: float
    anchor: date | None = None
    anchor_session: int = 0

    @property
    def timeline(self) -> tuple[int, str]:
        """Return what makes two markets the same one."""
        return self.seed, self.start


@dataclass(frozen=True, slots=True)
class ClockSet:
    """The offset of server time from real time, seconds."""

    offset_s: float


@dataclass(frozen=True, slots=True)
class Pinned:
    """An instrument's quote was fixed, in part or (all None, not halted) no longer.

    It holds from a turn of the market on (see `PinHistory`).
    """

    con_id: int
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    halted: bool
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Marked:
    """What an instrument last cost, USD, when a New York day began."""

    con_id: int
    day: date
    price: Decimal


@dataclass(frozen=True, slots=True)
class Renamed:
    """An instrument's symbol changed; its contract id did not."""

    con_id: int
    symbol: str


@dataclass(frozen=True, slots=True)
class Split:
    """Every share of an instrument has become `ratio` shares, all splits so far together."""

    con_id: int
    ratio: Decimal


Record = (
    AccountOpened
    | Order
    | Execution
    | ReceivedFrame
    | MarketTime
    | ClockSet
    | Pinned
    | Marked
    | Shock
    | Renamed
    | Split
)
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(AccountOpened, Order, Execution, ReceivedFrame),
        *(MarketTime, ClockSet, Pinned, Marked, Shock, Renamed, Split),
    )
}
Decoded = TypeVar("Decoded")


@dataclass(slots=True)
class Memory:
    """What a state file says: the present after all its records."""

    accounts: dict[str, AccountSpec] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    executions: dict[str, Execution] = field(default_factory=dict)
    frames: list[ReceivedFrame] = field(default_factory=list)
    market: MarketTime | None = None
    offset_s: float = 0.0
    shocks: list[Shock] = field(default_factory=list)
    pins: dict[int, PinHistory] = field(default_factory=dict)
    marks: dict[int, Marked] = field(default_factory=dict)
    symbols: dict[int, str] = field(default_factory=dict)
    ratios: dict[int, Decimal] = field(default_factory=dict)

    def take(self, record: Record) -> None:
        """Apply one record; a later one of the same thing replaces the earlier."""
        match record:
            case AccountOpened():
                spec = AccountSpec(record.account, record.kind, record.cash)
                self.accounts[record.account] = spec
            case Order():
                self.orders[record.perm_id] = record
            case Execution():
                self.executions[record.exec_id] = record
            case ReceivedFrame():
                self.frames.append(record)
            case ClockSet():
                self.offset_s = record.offset_s
            case Renamed():
                self.symbols[record.con_id] = record.symbol
            case _:
                self._take_market(record)

    def _take_market(self, record: MarketTime | Pinned | Marked | Shock | Split) -> None:
        match record:
            case MarketTime():
                if self.market and self.market.timeline != record.timeline:
                    self.shocks.clear()
                    for history in self.pins.values():
                        history.restart()
                self.market = record
            case Pinned():
                pin = Pin(record.bid, record.ask, record.last, record.halted)
                self.pins.setdefault(record.con_id, PinHistory()).note(record.turn, pin)
            case Marked():
                self.marks[record.con_id] = record
            case Shock():
                self.shocks.append(record)
            case Split():
                self.ratios[record.con_id] = record.ratio

    def records(self) -> Iterable[Record]:
        """Return the fewest records that say the same."""
        for name, spec in self.accounts.items():
            yield AccountOpened(name, spec.cash_usd or ZERO, spec.kind)
        yield from self.orders.values()
        yield from self.executions.values()
        yield from self.frames
        yield from [self.market] if self.market else []
        yield ClockSet(self.offset_s)
        for con_id, history in self.pins.items():
            yield from fixed_by(con_id, history)
        yield from self.marks.values()
        yield from self.shocks
        yield from (Renamed(con_id, symbol) for con_id, symbol in self.symbols.items())
        yield from (Split(con_id, ratio) for con_id, ratio in self.ratios.items())


def fixed_by(con_id: int, history: PinHistory) -> Iterable[Pinned]:
    """Return the records that say what was fixed for an instrument, oldest first."""
    for turn, pin in history.by_turn.items():
        yield Pinned(con_id, pin.bid, pin.ask, pin.last, pin.halted, turn)


class Journal:
    """Keep nothing: the journal of a simulator without a state file."""

    def append(self, records: Iterable[Record]) -> None:
        """Forget the records."""

    def close(self) -> None:
        """Do nothing."""


class StateFile(Journal):
    """The journal on disk, held by one simulator at a time."""

    def __init__(self, path: Path) -> None:
        """Lock, read and compact the file; a missing or empty one is a new beginning.

        Raises: SimError when another simulator holds it, or it is not a state file.
        """
        self._path = path
        self._lock = _locked(path.with_name(path.name + ".lock"))
        with ExitStack() as undo:
            undo.callback(os.close, self._lock)
            self.memory = _load(path)
            self._file = self._rewrite()
            undo.pop_all()

    def _rewrite(self) -> int:
        temporary = self._path.with_name(self._path.name + ".new")
        steps = [[{"record": "header", "format": FORMAT}]]
        steps += [[_encode(record)] for record in self.memory.records()]
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(step)}\n" for step in steps)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            raise SimError(f"cannot write the state file {self._path}: {error}") from error

    def append(self, records: Iterable[Record]) -> None:
        """Write records as one step: after a kill all of them are there, or none.

        Raises: SimError when the disk refuses; no client may be told of the step then.
        """
        step = [_encode(record) for record in records]
        if not step:
            return
        line = f"{json.dumps(step, separators=(',', ':'))}\n".encode()
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as error:
            raise SimError(f"cannot write the state file {self._path}: {error}") from error

    def close(self) -> None:
        """Release file and lock."""
        os.close(self._file)
        os.close(self._lock)


def _locked(path: Path) -> int:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    except OSError as error:
        raise SimError(f"cannot write the state file's lock {path}: {error}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise SimError(f"another simulator uses this state file: {path} is locked") from error
    return handle


def _load(path: Path) -> Memory:
    memory = Memory()
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SimError(f"cannot read the state file {path}: {error}") from error
    # The last piece is empty, or a line that a kill left without its end.
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            step = json.loads(line)
            if number == 1:
                _check_header(step)
                continue
            for item in step:
                memory.take(_decode(item))
        except (ValueError, KeyError, TypeError, InvalidOperation) as error:
            raise SimError(f"{path} line {number} is not simulator state: {error!r}") from error
    return memory


def _check_header(step: list[Mapping[str, Any]]) -> None:
    if step[0]["format"] != FORMAT:
        raise ValueError(f"expected format {FORMAT}, was {step[0]['format']}")


def _encode(record: Record) -> dict[str, Any]:
    values = {item.name: _plain(getattr(record, item.name)) for item in fields(record)}
    return {"record": type(record).__name__, **values}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    return value.isoformat() if isinstance(value, datetime | date) else value


def _decode(item: Mapping[str, Any]) -> Record:
    """Return a record; what a field's older writer did not know has its default."""
    kind = _KINDS[item["record"]]
    known = (part for part in fields(kind) if part.name in item)
    record: Record = kind(**{part.name: _typed(part.type, item[part.name]) for part in known})
    return record


def _typed(kind: Any, value: Any) -> Any:
    """Return a JSON value as the type a record's field has."""
    if value is None:
        return None
    if get_origin(kind) is tuple:
        return tuple(value)
    kinds = [part for part in get_args(kind) or (kind,) if part is not NoneType]
    if kinds[0] in {datetime, date}:
        return kinds[0].fromisoformat(value)
    if kinds[0] is Decimal or issubclass(kinds[0], StrEnum):
        return kinds[0](value)
    return value
