"""What is subscribed follows from the ledger, foremost first, and from what people asked for."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ledger import account, commands, runs, snapshots
from ibloop.adapters.ledger.connection import Ledger, open_ledger, open_readonly
from ibloop.adapters.ledger.runs import Run
from ibloop.core.lifecycle import RunState
from ibloop.core.model import Mode, Position
from ibloop.daemons.streaming.wanted import SUBSCRIBE, UNSUBSCRIBE, Answers, WantedSet, asked_for
from tests.fakes.streamworld import instrument

D = Decimal
NOW = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
UNIVERSE = {symbol: instrument(symbol) for symbol in ("AAPL", "IBM", "MSFT", "SPY", "QQQ")}


class Site:
    """A ledger, and who reads it for the stream."""

    def __init__(self, directory: Path) -> None:
        """Begin without a ledger."""
        self.path = directory / "ibloop.db"
        self.wanted = WantedSet(self.path, UNIVERSE)
        self.open = partial(open_ledger, self.path, mode=Mode.PAPER, account="DU1", now=NOW)
        self.answers = Answers(self.open, UNIVERSE, SystemClock())

    def symbols(self) -> list[str]:
        """Return what is wanted, each once."""
        return list(dict.fromkeys(item.symbol for item in self.wanted()))

    def hold(self, **quantities: int) -> None:
        """Let the broker show these positions."""
        held = [Position(s, 77, D(number), D(1)) for s, number in quantities.items()]
        with self.ledger() as ledger, ledger.transaction() as tx:
            account.store_positions(tx, held, NOW, NOW, "test")

    def decide(self, key: str, status: RunState, *targets: str) -> None:
        """Make a run whose decision has these targets; later keys are later runs."""
        chosen = [{"symbol": symbol, "weight": "0.1"} for symbol in targets]
        content = json.dumps({"targets": chosen, "key": key})
        digest = hashlib.sha256(content.encode()).hexdigest()
        at = NOW + timedelta(minutes=int(key[1:]))
        with self.ledger() as ledger, ledger.transaction() as tx:
            snapshots.freeze(tx, f"s{key}", digest, at, "targets.csv", content, at)
            made = replace(_RUN, run_id=key, run_key=key, status=status, created_at=at)
            runs.insert(tx, replace(made, snapshot_id=f"s{key}", snapshot_hash=digest), "test")

    def ask(self, kind: str, symbols: object) -> int:
        """Queue a request."""
        with self.ledger() as ledger, ledger.transaction() as tx:
            return commands.request(tx, kind, {"symbols": symbols}, "ann", NOW)

    def answer(self, command_id: int) -> tuple[str, str]:
        """Let the stream answer; return status and result."""
        self.answers.answer()
        with closing(open_readonly(self.path)) as db:
            found = commands.find(db, command_id)
        assert found is not None
        return found.status, found.result or ""

    def ledger(self) -> Any:
        """Open the ledger for one use."""
        return closing(self.open())


_RUN = Run(
    run_id="r",
    run_key="k",
    mode=Mode.PAPER,
    account="DU1",
    status=RunState.QUEUED,
    reason=None,
    detail="",
    snapshot_id=None,
    snapshot_hash=None,
    config_hash="c",
    build="b",
    attempt=0,
    created_at=NOW,
    updated_at=NOW,
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a site in a fresh directory."""
    return Site(tmp_path)


def test_without_a_ledger_it_is_the_universe(site: Site) -> None:
    """A stream that is started first serves what may be traded."""
    assert site.symbols() == list(UNIVERSE)


def test_positions_then_open_runs_then_the_last_decision_then_the_universe(site: Site) -> None:
    """What is held or about to trade comes first, so that the line limit cannot cut it off."""
    site.hold(SPY=3, TSLA=-1)
    site.decide("r1", RunState.DONE, "AAPL")
    site.decide("r2", RunState.DONE, "MSFT", "SPY", "GONE")
    assert site.symbols() == ["SPY", "TSLA", "MSFT", "AAPL", "IBM", "QQQ"]
    site.decide("r3", RunState.QUEUED, "QQQ")
    assert site.symbols()[:3] == ["SPY", "TSLA", "QQQ"]
    wanted = {item.symbol: item for item in site.wanted()}
    assert wanted["SPY"] is UNIVERSE["SPY"]
    assert wanted["TSLA"].con_id == 77


def test_queued_runs_come_in_the_order_in_which_they_are_claimed(site: Site) -> None:
    """However many wait: the symbols of the next one are foremost, before it is claimed."""
    for number, symbol in enumerate(("MSFT", "SPY", "QQQ", "IBM", "AAPL", "AAPL", "AAPL"), start=1):
        site.decide(f"r{number}", RunState.QUEUED, symbol)
    assert site.symbols() == ["MSFT", "SPY", "QQQ", "IBM", "AAPL"]


def test_the_ledger_is_read_again_only_when_it_has_changed(site: Site) -> None:
    """An idle stream costs two file stats a look; a commit is seen at the next one."""
    site.hold(SPY=1)
    first = site.wanted()
    assert site.wanted() is first
    site.hold(QQQ=1)
    assert site.symbols()[0] == "QQQ"


def test_a_ledger_that_cannot_be_read_changes_nothing(site: Site) -> None:
    """Lines stay as they were while a person repairs it; afterwards it is read again."""
    site.hold(SPY=1)
    good = site.path.read_bytes()
    assert site.symbols()[0] == "SPY"
    site.path.write_bytes(b"not a ledger" * 1000)
    for end in ("-wal", "-shm"):
        site.path.with_name(site.path.name + end).unlink(missing_ok=True)
    assert site.symbols()[0] == "SPY"
    assert "cannot be read" in site.wanted.problem
    site.path.write_bytes(good)
    assert site.symbols()[0] == "SPY"
    assert site.wanted.problem == ""


def test_a_request_is_answered_and_holds_over_restarts(site: Site, tmp_path: Path) -> None:
    """What was granted is the rows themselves: asked-for symbols come before the rest."""
    number = site.ask(SUBSCRIBE, ["QQQ", "IBM", "QQQ"])
    assert not site.wanted.requests_waiting
    site.symbols()
    assert site.wanted.requests_waiting
    status, told = site.answer(number)
    assert (status, told.split(";")[0]) == ("done", "wanted: QQQ, IBM")
    assert site.symbols()[:2] == ["QQQ", "IBM"]
    assert not site.wanted.requests_waiting
    assert Site(tmp_path).symbols()[:2] == ["QQQ", "IBM"]
    assert site.answer(site.ask(UNSUBSCRIBE, ["QQQ", "SPY"]))[0] == "done"
    assert site.symbols() == ["IBM", "AAPL", "MSFT"]


@pytest.mark.parametrize(
    ("kind", "symbols", "words"),
    [
        (SUBSCRIBE, ["AAPL", "NOPE"], "not in the universe: NOPE; add them"),
        (UNSUBSCRIBE, ["../x"], "not in the universe: ../x"),
        (SUBSCRIBE, [], "expected a list of symbols"),
        (SUBSCRIBE, "AAPL", "expected a list of symbols"),
        (SUBSCRIBE, [1, None], "expected a list of symbols"),
        (UNSUBSCRIBE, ["AAPL", "SPY"], "held, so the stream needs its price: SPY"),
    ],
)
def test_what_cannot_be_is_refused_as_a_whole(
    kind: str, symbols: object, words: str, site: Site
) -> None:
    """A refused request says why and changes nothing."""
    site.hold(SPY=1)
    before = site.symbols()
    status, told = site.answer(site.ask(kind, symbols))
    assert status == "refused"
    assert words in told
    assert site.symbols() == before


def test_other_owners_requests_are_left_alone(site: Site) -> None:
    """Each daemon answers its own kinds."""
    number = site.ask("run.cancel", ["AAPL"])
    assert site.answer(number) == ("queued", "")


def test_the_latest_word_counts() -> None:
    """A symbol is wanted or not as it was last said, in the order of that."""
    done: list[tuple[str, Sequence[str]]] = [
        (SUBSCRIBE, ["A", "B"]),
        (UNSUBSCRIBE, ["A", "C"]),
        (SUBSCRIBE, ["C"]),
    ]
    assert asked_for(done) == {"B": True, "A": False, "C": True}
    assert list(asked_for(done)) == ["B", "A", "C"]


def test_answers_are_written_beside_the_publishing(site: Site) -> None:
    """The steps go on while the ledger is awaited; a busy one is tried again, later."""
    number = site.ask(SUBSCRIBE, ["AAPL"])
    opened: list[Ledger] = []

    def opening() -> Ledger:
        ledger = site.open()
        opened.append(ledger)
        return ledger

    async def main() -> None:
        answers = Answers(opening, UNIVERSE, SystemClock())
        answers.step(waiting=True)
        assert opened == []
        for _ in range(1000):
            await asyncio.sleep(0.01)
            answers.step(waiting=False)
            if site.wanted() and not site.wanted.requests_waiting and opened:
                return

    asyncio.run(main())
    assert len(opened) == 1
    assert site.answer(number)[0] == "done"
