"""Silence is told once, after a moment's patience, and so is the return."""

from collections.abc import Sequence

import pytest

from ibloop.core.alerting import Severity
from ibloop.core.model import Moment
from ibloop.core.watching import EVENTS, Beat, Change, Condition, Reading, observe, told_by
from tests.fakes.clock import FakeClock

AGE_S_MAX = 10.0


class House:
    """Four daemons that say what a test lets them say, looked at once a second."""

    def __init__(self) -> None:
        """Begin with all of them well and looked at once."""
        self.clock = FakeClock()
        self.words = {
            "gateway": "connected",
            "stream": "connected",
            "executor": "ready",
            "guard": "watching",
        }
        self.details: dict[str, str] = {}
        self.stamps: dict[str, Moment] = {}
        self.silent: set[str] = set()
        self.missing: set[str] = set()
        self.readings: dict[str, Reading] = {}
        assert self.look() == ()

    def look(self) -> tuple[Change, ...]:
        """Let everybody beat who does, and look."""
        now = self.clock.now()
        self.stamps |= {name: now for name in self.words if name not in self.silent}
        beats = {
            name: None
            if name in self.missing
            else Beat(word, self.stamps[name], self.details.get(name, ""))
            for name, word in self.words.items()
        }
        self.readings, changes = observe(beats, self.readings, now, AGE_S_MAX)
        return changes

    def pass_s(self, seconds: int) -> list[Change]:
        """Let seconds pass, looking after each."""
        changes: list[Change] = []
        for _ in range(seconds):
            self.clock.advance(1)
            changes.extend(self.look())
        return changes


def events(changes: Sequence[Change]) -> list[str]:
    """Return what is told."""
    return [change.event for change in changes]


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("gateway", Severity.WARNING),
        ("stream", Severity.WARNING),
        ("executor", Severity.CRITICAL),
        ("guard", Severity.CRITICAL),
    ],
)
def test_a_silent_daemon_is_lost_once_and_back_once(name: str, severity: Severity) -> None:
    """Heartbeats older than allowed, for ten seconds: one alert; the return is one info."""
    house = House()
    house.silent = {name}
    assert house.pass_s(20) == []
    (lost,) = house.pass_s(100)
    assert (lost.event, lost.severity, lost.subject) == (f"{name}.lost", severity, name)
    assert "last heartbeat 2" in lost.text
    house.silent = set()
    (back,) = house.pass_s(10)
    assert (back.event, back.severity) == (f"{name}.back", Severity.INFO)
    assert lost.dedup_key != back.dedup_key


def test_a_quick_restart_is_not_told() -> None:
    """systemd starts a killed daemon again within the patience."""
    house = House()
    house.silent = {"executor"}
    assert house.pass_s(15) == []
    house.silent = set()
    assert house.pass_s(60) == []


@pytest.mark.parametrize("word", ["degraded", "restarting", "waiting_2fa", "starting"])
def test_a_gateway_that_is_not_proven_is_lost(word: str) -> None:
    """Whatever else it says of itself, with its own words, after ten seconds."""
    house = House()
    house.words["gateway"], house.details["gateway"] = word, "a dialog"
    assert house.pass_s(10) == []
    (lost,) = house.pass_s(60)
    assert lost.event == "gateway.lost"
    assert lost.text == f"gateway lost: it says {word}: a dialog"
    house.words["gateway"] = "connected"
    assert events(house.pass_s(1)) == ["gateway.back"]


def test_a_degraded_stream_is_told_and_so_is_its_recovery() -> None:
    """At once: the stream itself waits before it calls itself degraded."""
    house = House()
    house.words["stream"], house.details["stream"] = "degraded", "no tick for 15 s"
    (degraded,) = house.pass_s(30)
    assert (degraded.event, degraded.severity) == ("stream.degraded", Severity.WARNING)
    assert "no tick for 15 s" in degraded.text
    house.words["stream"] = "connected"
    assert events(house.pass_s(30)) == ["stream.recovered"]


def test_degraded_then_lost_then_well() -> None:
    """Each step is told, and the end is the return from the last one."""
    house = House()
    house.words["stream"] = "degraded"
    assert events(house.pass_s(5)) == ["stream.degraded"]
    house.words["stream"] = "disconnected"
    assert events(house.pass_s(30)) == ["stream.lost"]
    house.words["stream"] = "connected"
    assert events(house.pass_s(30)) == ["stream.back"]


def test_an_ordered_stop_is_news_a_failure_is_a_loss() -> None:
    """Stopped by a person: an info. Ended by an error: lost, with the error."""
    house = House()
    house.words["guard"] = "stopped"
    (stopped,) = house.pass_s(30)
    assert (stopped.event, stopped.severity) == ("guard.stopped", Severity.INFO)
    house.words["guard"], house.details["guard"] = "failed", "LedgerError: it is damaged"
    (lost,) = house.pass_s(30)
    assert (lost.event, lost.severity) == ("guard.lost", Severity.CRITICAL)
    assert "it is damaged" in lost.text
    house.words["guard"], house.details["guard"] = "watching", ""
    assert events(house.pass_s(3)) == ["guard.back"]
    house.words["stream"], house.details["stream"] = "stopped", "ConfigError: no universe"
    assert events(house.pass_s(30)) == ["stream.lost"]


@pytest.mark.parametrize("word", ["synchronising", "disconnected", "blocked", "degraded"])
def test_what_executor_and_guard_say_themselves_is_not_told_again(word: str) -> None:
    """They have the ledger for their own troubles; here only their silence counts."""
    house = House()
    house.words["executor"] = house.words["guard"] = word
    assert house.pass_s(60) == []


def test_who_never_ran_is_not_missed_who_did_is() -> None:
    """No heartbeat at all means nothing, unless there was one."""
    house = House()
    house.missing = set(house.words)
    house.readings = {}
    assert house.pass_s(60) == []
    house.missing = set()
    assert house.pass_s(5) == []
    house.missing = {"gateway"}
    (lost,) = house.pass_s(60)
    assert lost.text == "gateway lost: it has no heartbeat any more"


def test_everything_lost_at_once_is_told_in_one_look() -> None:
    """A host that hangs for a minute makes four alerts of one look, gateway first."""
    house = House()
    house.silent = set(house.words)
    changes = house.pass_s(60)
    assert events(changes) == ["gateway.lost", "stream.lost", "executor.lost", "guard.lost"]


def test_a_suspend_is_not_told_when_all_come_back_with_us() -> None:
    """All heartbeats are old in the first look after it; in the next ones they are not."""
    house = House()
    house.clock.advance(3600)
    house.silent = set(house.words)
    assert house.look() == ()
    house.silent = set()
    assert house.pass_s(60) == []


def test_a_stepped_wall_clock_is_not_told() -> None:
    """Ages are those of the boot clock."""
    house = House()
    house.clock.step_wall(86_400)
    assert house.pass_s(30) == []
    house.clock.step_wall(-90_000)
    assert house.pass_s(30) == []


def test_what_was_told_before_a_restart_is_not_repeated() -> None:
    """With the last words read back, a lost daemon stays told and its return is not forgotten."""
    house = House()
    house.words["gateway"] = "degraded"
    assert events(house.pass_s(30)) == ["gateway.lost"]
    told = told_by("gateway.lost")
    house.readings = {"gateway": Reading(Condition.ABSENT, house.clock.now(), told)}
    assert house.pass_s(60) == []
    house.words["gateway"] = "connected"
    assert events(house.pass_s(3)) == ["gateway.back"]


def test_every_occurrence_has_a_key_of_its_own_and_only_one() -> None:
    """Written twice by accident it is one alert; the next loss is another."""
    house = House()
    keys = []
    for _ in range(2):
        house.words["gateway"] = "degraded"
        before = dict(house.readings)
        (lost,) = house.pass_s(12)
        keys.append(lost.dedup_key)
        house.words["gateway"] = "connected"
        house.pass_s(1)
        assert before["gateway"].told is Condition.WELL
    assert len(set(keys)) == 2


def test_every_event_says_which_condition_it_told() -> None:
    """What is raised can be read back."""
    assert {told_by(f"stream.{word}") for word in EVENTS} == set(Condition) - {Condition.ABSENT}
