"""Canonical runs to crash in: what the world does, what people do, and how it all must end.

A story is acted at every tick, and what people do in it looks first at what is done already, so
that the same story goes on after a crash of anybody, at any boundary.
"""

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from ibloop.adapters.ledger import audit, commands, halts, orders, runs
from ibloop.adapters.ledger.commands import CommandStatus
from ibloop.adapters.ledger.resolution import Decision, Fate, resolve
from ibloop.core.lifecycle import (
    ORDER_AT_BROKER,
    RUN_TERMINAL,
    OrderState,
    RunReason,
    RunState,
)
from ibloop.core.model import HaltLevel
from ibloop.core.retrying import Retry
from ibloop.daemons.executing.run_commands import ACCEPT_LEDGER
from ibloop.errors import RefusedError
from tests.fakes.house import House, SimCrashError, crash_at

D = Decimal
END = {"AAA": D(500), "BBB": D(0), "CCC": D(300), "DDD": D(250), "EEE": D(220)}
"""What is held when everything was traded."""
DAY_S = 24 * 3600
QUICK_S, QUICK_TICK_S, TICK_S = 8, 1.0, 10.0
"""How long something happens every second, and how often anybody looks later."""
PLAY_S_MAX = 3600.0
NO_FILL: tuple[Decimal, ...] = ()


class Story:
    """One canonical run; the deadline is short, so that it ends by itself soon."""

    deadline = timedelta(minutes=3)
    retry = Retry.NONE
    forgotten: str | None = None
    """Part of the references that a restored ledger cannot know."""

    def __init__(self) -> None:
        """Begin at the beginning."""
        self.begun_s = 0.0

    def open(self, directory: Path) -> House:
        """Return the house at rest, with everything done that happens before the first crash."""
        directory.mkdir()
        house = House(directory, execution={"retry": self.retry})
        house.deadline = self.deadline
        house.settle()
        self.prepare(house)
        self.begun_s = _now_s(house)
        return house

    def prepare(self, house: House) -> None:
        """Say what becomes of the orders."""

    def act(self, house: House, at_s: float) -> None:
        """Do what the world and people do at this moment of the story, unless it is done."""

    def is_over(self, house: House) -> bool:
        """Return whether there is nothing left to tell."""
        run = runs.find_key(house.ledger.db, "K1")
        return run is not None and run.status in RUN_TERMINAL | {RunState.BLOCKED}


class Remainder(Story):
    """A run of two attempts: partial fills, an order that dies, its retry, a kill that cancels."""

    retry = Retry.REMAINDER
    second_s = 85.0
    """Shortly before the first attempt ends, half way to the deadline."""
    kill_s = 110.0

    def prepare(self, house: House) -> None:
        """Let every order be answered in another way."""
        house.script("AAA", ack_after_s=1)
        house.script("BBB", fills=(D("0.4"), D("0.6")))
        house.script("CCC", fills=(D("0.5"),))
        house.script("DDD", silent=True)
        house.script("EEE", fills=NO_FILL)

    def act(self, house: House, at_s: float) -> None:
        """Ask for the run; the second attempt fills one order, works on another, and is killed."""
        if runs.find_key(house.ledger.db, "K1") is None:
            house.queue()
        if at_s >= self.second_s and "AAA" in house.broker.scripts:
            house.broker.scripts.clear()
            house.script("EEE", fills=(D("0.25"),))
        active = not self.is_over(house)
        if at_s >= self.kill_s and active and not halts.active(house.ledger.db):
            house.halt(HaltLevel.KILL)


class Resolved(Story):
    """A night takes the evidence of an order: a person resolves it, and the run is retried."""

    night = False

    def prepare(self, house: House) -> None:
        """Let the first order never arrive."""
        house.script("AAA", swallowed=True)

    def act(self, house: House, at_s: float) -> None:
        """Ask for the run, let the night pass, decide, retry."""
        if runs.find_key(house.ledger.db, "K1") is None:
            house.queue()
        if at_s >= 30 and not self.night:
            self.night = True
            house.broker.scripts.clear()
            house.clock.advance(DAY_S)
        if self.night:
            _decide(house)

    def is_over(self, house: House) -> bool:
        """Return whether the run has ended."""
        return self.night and house.run().status in RUN_TERMINAL


class Restored(Story):
    """The ledger of before a run is put back: a person accepts it, and the next run goes on."""

    forgotten = ":K0:"

    def prepare(self, house: House) -> None:
        """Restore what was saved before the first run."""
        house.ledger.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path = house.directory / "ibloop.db"
        saved = house.directory / "saved"
        shutil.copy(path, saved)
        house.queue("K0", {"AAA": "0.08", "CCC": "0.05"})
        assert house.until_ended("K0").status is RunState.DONE
        house.ledger.close()
        house.broker.lose_client()
        for old in house.directory.glob("ibloop.db*"):
            if not old.name.endswith(".mark"):
                old.unlink()
        shutil.copy(saved, path)
        house.ledger = house.open_ledger()
        house.start()
        house.play(20)
        assert house.desk.trouble is not None

    def act(self, house: House, at_s: float) -> None:
        """Ask for the acceptance, then for a run."""
        del at_s
        db, trouble = house.ledger.db, house.desk.trouble
        if trouble is not None and not _is_asked(house):
            assert trouble.reason is RunReason.LEDGER_BEHIND, trouble
            now = house.clock.now().utc
            with house.ledger.transaction() as tx:
                commands.request(tx, ACCEPT_LEDGER, {"reason": "restored"}, "ann", now)
        run = runs.find_key(db, "K1")
        if trouble is None and house.desk.ready() and run is None:
            house.queue()
        elif run is not None and run.status is RunState.BLOCKED:
            _decide(house)

    def is_over(self, house: House) -> bool:
        """Return whether the run has ended."""
        run = runs.find_key(house.ledger.db, "K1")
        return run is not None and run.status in RUN_TERMINAL


STORIES: dict[str, type[Story]] = {
    story.__name__.lower(): story for story in (Remainder, Resolved, Restored)
}
Happening = Callable[[House], None]


def nothing(house: House) -> None:
    """Let nothing happen."""


@dataclass(slots=True)
class Fault:
    """Something that goes wrong beside the crash, between two moments of the story."""

    begin: Happening = nothing
    end: Happening = nothing
    from_s: float = 0.0
    to_s: float = PLAY_S_MAX
    has_begun: bool = False
    has_ended: bool = False

    def look(self, house: House, at_s: float) -> None:
        """Begin and end when it is time."""
        if not self.has_begun and at_s >= self.from_s:
            self.has_begun = True
            self.begin(house)
        if at_s >= self.to_s:
            self.heal(house)

    def heal(self, house: House) -> None:
        """End, if it has begun and lasts."""
        if self.has_begun and not self.has_ended:
            self.has_ended = True
            self.end(house)


def play_out(house: House, story: Story, fault: Fault) -> None:
    """Play a story from where it is to its end."""
    while not story.is_over(house):
        at_s = _now_s(house) - story.begun_s
        assert at_s < PLAY_S_MAX + DAY_S, (house.run(), house.states())
        fault.look(house, at_s)
        story.act(house, at_s)
        house.settle()
        house.clock.advance(QUICK_TICK_S if at_s < QUICK_S else TICK_S)


def crash(
    directory: Path, story: Story, number: int, *again: int, fault: Fault | None = None
) -> list[str]:
    """Play a story in which the process dies at a boundary; return the names of those passed.

    Those that start after it die at their boundaries ``again``, if they have that many. ``number``
    -1 is a story without a crash. Whatever happens, everything must come to its end.
    """
    house, fault = story.open(directory), fault or Fault()
    with crash_at(house, number) as passed, suppress(SimCrashError):
        play_out(house, story, fault)
    assert number in {-1, len(passed) - 1}, f"expected a boundary {number}, was {len(passed)}"
    for then in again:
        house.broker.lose_client()
        with crash_at(house, then), suppress(SimCrashError):
            house.start()
            play_out(house, story, fault)
    if number >= 0:
        house.restart()
    play_out(house, story, fault)
    fault.heal(house)
    check(house, story)
    house.ledger.close()
    return passed


def check(house: House, story: Story) -> None:
    """Heal the world; what was sent was sent once, nothing is lost, and the rest can be traded."""
    house.broker.scripts.clear()
    house.settle()
    house.until(lambda: not orders.in_states(house.ledger.db, ORDER_AT_BROKER), 2400, tick_s=20)
    _sound(house, story)
    if halts.active(house.ledger.db):
        with house.ledger.transaction() as tx:
            halts.resume(tx, "test", "healed", house.clock.now().utc)
    if house.run().status is RunState.BLOCKED:
        assert house.run().reason is not None
        house.retry()
        run = house.until_ended(seconds=90)
    else:
        house.queue("K2")
        run = house.until_ended("K2", seconds=90)
    assert run.status is RunState.DONE, run
    assert {symbol: house.broker.positions[symbol] for symbol in END} == END
    _sound(house, story)


def _sound(house: House, story: Story) -> None:
    placed = house.broker.placed
    assert len(placed) == len(set(placed))
    known = [b for b in house.broken() if not (story.forgotten and story.forgotten in b.detail)]
    assert known == []
    assert audit.verify(house.ledger.db).is_whole


def _decide(house: House) -> None:
    """Resolve what is unknown and retry what is blocked, as soon as that is allowed."""
    unknown = orders.in_states(house.ledger.db, {OrderState.UNKNOWN})
    there = {live.order.client_order_id for live in house.broker.live}
    for row in unknown:
        if row.order.client_order_id in there:
            continue  # a person would see it in TWS, and so will evidence
        decision = Decision(Fate.NOT_SENT, "not at the broker")
        with suppress(RefusedError), house.ledger.transaction() as tx:
            resolve(tx, row, decision, house.clock.now().utc, "ann")
    if not unknown and house.run().status is RunState.BLOCKED:
        house.retry()


def _is_asked(house: House) -> bool:
    asked = commands.of_kind(house.ledger.db, ACCEPT_LEDGER)
    return any(command.status is CommandStatus.QUEUED for command in asked)


def _now_s(house: House) -> float:
    return house.clock.now().boottime_ns / 1e9


def drawn(seed: int) -> random.Random:
    """Return the chance of a seed."""
    return random.Random(f"crash {seed}")
