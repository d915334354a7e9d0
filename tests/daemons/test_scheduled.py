"""The scheduled rebalance: triggered as often as one likes, it makes one run a period."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ibloop.adapters.ledger import alerts, runs
from ibloop.adapters.ledger.connection import Ledger, open_ledger
from ibloop.adapters.universe import Universe, load_universe, samples_dir
from ibloop.config import BUILTIN_TOML, Profile, parse
from ibloop.core.lifecycle import RunReason, RunState
from ibloop.core.model import Moment
from ibloop.core.schedule import Schedule
from ibloop.daemons.scheduled import Answer, Due, trigger

WEEKLY = samples_dir() / "targets-weekly.csv"
MONDAY_OPEN = datetime(2026, 11, 16, 14, 30, tzinfo=UTC)


class Clock:
    """A clock that stands where it is put."""

    def __init__(self, utc: datetime) -> None:
        self.utc = utc

    def now(self) -> Moment:
        """Return the moment it was put to."""
        return Moment(self.utc, int(self.utc.timestamp() * 1e9), "0" * 32)


class Case:
    """A profile on the NYSE calendar with a ledger of its own; no daemon is running."""

    def __init__(self, directory: Path) -> None:
        config = parse(BUILTIN_TOML.replace('"always"', '"nyse"'), "test")
        self.profile = Profile(replace(config, schedule=Schedule()), None, directory)
        self.clock = Clock(MONDAY_OPEN - timedelta(days=3))
        self.universe: Universe = load_universe(self.profile)
        self.ledger = self.open()
        self.targets = directory / "targets.csv"
        self.targets.write_bytes(WEEKLY.read_bytes())

    def open(self) -> Ledger:
        """Open the case's ledger once more."""
        config = self.profile.config
        path = self.profile.ledger_path
        return open_ledger(path, mode=config.mode, account=config.account, now=self.clock.utc)

    def ask(self, minutes_after_open: float, ledger: Ledger | None = None) -> Answer:
        """Trigger the schedule so many minutes after Monday's open."""
        self.clock.utc = MONDAY_OPEN + timedelta(minutes=minutes_after_open)
        stamp = self.clock.utc.timestamp()
        os.utime(self.targets, (stamp, stamp))
        return trigger(
            self.profile,
            ledger or self.ledger,
            self.universe,
            self.clock,
            targets_path=self.targets,
            requested_by="timer",
        )


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    """Return a fresh case."""
    made = Case(tmp_path)
    yield made
    made.ledger.close()


def test_nothing_happens_before_the_window(case: Case) -> None:
    """A trigger too early writes nothing at all."""
    assert case.ask(14.9).due is Due.NOT_DUE
    assert runs.listing(case.ledger.db, 10) == ()


def test_a_due_run_that_cannot_start_is_blocked_with_an_alert(case: Case) -> None:
    """Without a gateway the period's run is blocked, and a person is told once."""
    answer = case.ask(15)
    assert answer.due is Due.REQUESTED
    assert answer.requested is not None
    run = answer.requested.run
    assert (run.run_key, run.status) == ("2026W47", RunState.BLOCKED)
    assert run.reason is RunReason.GATEWAY_UNAVAILABLE
    for minute in (20, 25, 30):
        assert case.ask(minute).due is Due.RETRIED
    told = [a for a in alerts.listing(case.ledger.db, 10) if a.event == "run.blocked"]
    assert len(told) == 1


def test_the_window_closes(case: Case) -> None:
    """After the catch-up a blocked run is left to a person."""
    case.ask(15)
    answer = case.ask(135)
    assert answer.due is Due.EXISTS
    assert len(runs.listing(case.ledger.db, 10)) == 1


def test_a_missed_period_is_told_once(case: Case) -> None:
    """A week in which nothing triggered the run is an alert, not a silence."""
    assert case.ask(200).due is Due.MISSED
    assert case.ask(205).due is Due.MISSED
    told = [a for a in alerts.listing(case.ledger.db, 10) if a.event == "schedule.missed"]
    assert len(told) == 1


@pytest.mark.parametrize("content", [None, b"", b"symbol,weight\nAAPL,nan\n"])
def test_an_unusable_targets_file_blocks_the_run(case: Case, content: bytes | None) -> None:
    """Nobody reads a timer's error message: the run is there, blocked, with the reason."""
    if content is not None:
        case.targets.write_bytes(content)
    else:
        case.targets = case.targets.parent  # a directory
    answer = case.ask(15)
    assert answer.requested is not None
    assert answer.requested.run.reason is RunReason.TARGETS_INVALID
    assert any(a.event == "run.blocked" for a in alerts.listing(case.ledger.db, 10))


def test_a_mended_targets_file_is_used_at_the_next_trigger(case: Case) -> None:
    """The blocked run of the period is tried again, not replaced."""
    case.targets.write_bytes(b"")
    first = case.ask(15).requested
    case.targets.write_bytes(WEEKLY.read_bytes())
    second = case.ask(20).requested
    assert first is not None
    assert second is not None
    assert second.run.run_id == first.run.run_id
    assert second.run.reason is RunReason.GATEWAY_UNAVAILABLE


def test_a_run_that_ended_is_left_alone(case: Case) -> None:
    """One run a period: a canceled one is not started again by the timer."""
    run = case.ask(15).requested
    assert run is not None
    with case.ledger.transaction() as tx:
        runs.move(
            tx,
            run.run.run_id,
            RunState.BLOCKED,
            RunState.CANCELED,
            reason=RunReason.CANCELED_BY_OPERATOR,
            detail="",
            now=case.clock.utc,
            actor="me",
        )
    assert case.ask(20).due is Due.EXISTS


def test_many_triggers_at_once_make_one_run(case: Case) -> None:
    """Twenty triggers in the same second: one run, and no error."""
    case.ask(14)
    answers: list[Due] = []

    def pull() -> None:
        ledger = case.open()
        answers.append(case.ask(15, ledger).due)
        ledger.close()

    threads = [threading.Thread(target=pull) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 20
    assert answers.count(Due.REQUESTED) == 1
    assert len(runs.listing(case.ledger.db, 100)) == 1
