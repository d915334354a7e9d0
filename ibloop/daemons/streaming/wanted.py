"""What the stream is to subscribe: read from the ledger, foremost first; and who asked for more.

``stream.subscribe`` and ``stream.unsubscribe`` are rows of ``commands`` that the stream answers.
What they ask for holds over restarts, because it is the rows themselves: all done ones, in order.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path

from ibloop import log
from ibloop.adapters.ledger import account, commands, runs, snapshots
from ibloop.adapters.ledger.commands import Command, CommandStatus
from ibloop.adapters.ledger.connection import Connection, DatabaseError, Ledger, open_readonly
from ibloop.adapters.ports import Clock
from ibloop.core.model import Instrument, Position
from ibloop.errors import LedgerError

SUBSCRIBE, UNSUBSCRIBE = "stream.subscribe", "stream.unsubscribe"
KINDS = (SUBSCRIBE, UNSUBSCRIBE)
QUEUED_MAX = 5
ANSWER_AGAIN_S = 10.0
ACTOR = "stream"

_log = log.get(__name__)


class WantedSet:
    """What needs a price, foremost first, as the ledger and the universe say.

    Positions, targets of open runs, targets of the last decision, what was asked for, the universe
    without what was asked not to be. The ledger is read again only when its files have changed.
    """

    def __init__(self, ledger_path: Path, universe: Mapping[str, Instrument]) -> None:
        """Read nothing yet; the ledger need not exist."""
        self._path = ledger_path
        self._universe = universe
        self._stamp: tuple[tuple[int, int] | None, ...] | None = None
        self._wanted: Sequence[Instrument] = list(universe.values())
        self.requests_waiting = False
        self.problem = ""

    def __call__(self) -> Sequence[Instrument]:
        """Return it; as it was last known while the ledger cannot be read."""
        stamp = tuple(_stamp(self._path.with_name(self._path.name + end)) for end in ("", "-wal"))
        if stamp == self._stamp or stamp[0] is None:
            return self._wanted
        self._stamp = stamp
        try:
            with closing(open_readonly(self._path)) as db:
                self._wanted = list(_wanted(db, self._universe))
                self.requests_waiting = any(c.kind in KINDS for c in commands.queued(db))
        except (LedgerError, DatabaseError) as error:
            self._stamp = None
            self._say(f"the ledger cannot be read: {error}")
            return self._wanted
        self._say("")
        return self._wanted

    def _say(self, problem: str) -> None:
        if problem and not self.problem:
            _log.warning("stream.ledger_unreadable", error=problem)
        self.problem = problem


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return when a file was written and its size; None when there is nothing in it."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if found.st_size else None


def _wanted(db: Connection, universe: Mapping[str, Instrument]) -> Iterator[Instrument]:
    held = {p.symbol: universe.get(p.symbol) or _held(p) for p in account.positions(db)}
    asked = asked_for((c.kind, _symbols(c)) for c in commands.done(db, KINDS))
    yield from held.values()
    for symbol in (*_targets_of_open_runs(db), *_targets_of_last_run(db)):
        if symbol in universe:
            yield universe[symbol]
    yield from (universe[s] for s, wanted in asked.items() if wanted and s in universe)
    yield from (item for s, item in universe.items() if asked.get(s, True))


def asked_for(done: Iterable[tuple[str, Sequence[str]]]) -> dict[str, bool]:
    """Return what people asked for: symbol to wanted or not, the latest request of each counting.

    Args: kind and symbols of the requests that were granted, oldest first.
    """
    asked: dict[str, bool] = {}
    for kind, symbols in done:
        for symbol in symbols:
            asked.pop(symbol, None)
            asked[symbol] = kind == SUBSCRIBE
    return asked


def judge(
    kind: str, symbols: Sequence[str], universe: Mapping[str, Instrument], held: set[str]
) -> tuple[CommandStatus, str]:
    """Return the answer to a request and what to tell who asked."""
    if not symbols:
        return CommandStatus.REFUSED, "expected a list of symbols in `symbols`"
    unknown = [s for s in symbols if s not in universe and s not in held]
    if unknown:
        text = f"not in the universe: {', '.join(unknown)}; add them to the universe file"
        return CommandStatus.REFUSED, text
    kept = [s for s in symbols if s in held]
    if kind == UNSUBSCRIBE and kept:
        return CommandStatus.REFUSED, f"held, so the stream needs its price: {', '.join(kept)}"
    word = "wanted" if kind == SUBSCRIBE else "no longer wanted"
    return CommandStatus.DONE, f"{word}: {', '.join(symbols)}; `ibloop stream status` says the rest"


class Answers:
    """Answers requests, beside the publishing: the ledger is open for writing only meanwhile."""

    def __init__(
        self,
        open_for_writing: Callable[[], Ledger],
        universe: Mapping[str, Instrument],
        clock: Clock,
    ) -> None:
        """Take what opens the ledger; nothing is opened yet."""
        self._open = open_for_writing
        self._universe = universe
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._again_ns = 0

    def step(self, *, waiting: bool) -> None:
        """Begin to answer when requests wait; conclude what was begun."""
        now_ns = self._clock.now().boottime_ns
        if self._task is None:
            if waiting and now_ns >= self._again_ns:
                self._task = asyncio.create_task(asyncio.to_thread(self.answer))
            return
        if not self._task.done():
            return
        task, self._task = self._task, None
        try:
            task.result()
        except (LedgerError, DatabaseError) as error:
            self._again_ns = now_ns + int(ANSWER_AGAIN_S * 1e9)
            _log.warning("stream.request_unanswered", error=str(error), retry_s=ANSWER_AGAIN_S)

    def answer(self) -> None:
        """Answer every request that waits. Raises: LedgerError when the ledger cannot be had."""
        with closing(self._open()) as ledger:
            held = {position.symbol for position in account.positions(ledger.db)}
            for command in commands.queued(ledger.db):
                if command.kind not in KINDS:
                    continue
                status, text = judge(command.kind, _symbols(command), self._universe, held)
                with ledger.transaction() as tx:
                    now = self._clock.now().utc
                    commands.finish(tx, command.command_id, status, text, now, ACTOR)
                _log.info("stream.request_answered", command_id=command.command_id, status=status)


def _symbols(command: Command) -> list[str]:
    """Return the symbols a request names, each once; empty when it names none."""
    named = command.args.get("symbols")
    found = [s for s in named if isinstance(s, str)] if isinstance(named, list) else []
    return list(dict.fromkeys(found))


def _targets_of_open_runs(db: Connection) -> Iterator[str]:
    for run in (*runs.active(db), *runs.queued(db, QUEUED_MAX)):
        yield from _targets(db, run.snapshot_id)


def _targets_of_last_run(db: Connection) -> Iterator[str]:
    decided = (run for run in runs.listing(db, QUEUED_MAX) if run.snapshot_id)
    for run in decided:
        yield from _targets(db, run.snapshot_id)
        return


def _targets(db: Connection, snapshot_id: str | None) -> Iterator[str]:
    snapshot = snapshots.find(db, snapshot_id) if snapshot_id else None
    for target in json.loads(snapshot.content)["targets"] if snapshot else ():
        yield target["symbol"]


def _held(position: Position) -> Instrument:
    """Return a position outside the universe as an instrument: its contract id is enough for IB.

    It can be valued, not traded; the builder knows the universe only.
    """
    return Instrument(
        symbol=position.symbol,
        con_id=position.con_id,
        name=position.symbol,
        primary_exchange="",
        currency="USD",
        min_tick=Decimal("0.01"),
        lot=Decimal(1),
        sector="",
        adv_shares=None,
    )
