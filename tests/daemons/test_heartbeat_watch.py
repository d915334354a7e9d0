"""The watch raises what the others cannot: their own silence, and what has no ledger."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.ledger import alerts
from ibloop.adapters.ledger.connection import Ledger, LedgerBusyError, open_ledger
from ibloop.adapters.streamfiles import heartbeat_document, status_path, write_status
from ibloop.core.model import Mode
from ibloop.daemons.alerts import HeartbeatWatch
from tests.fakes.clock import FakeClock


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Return a new ledger."""
    path = tmp_path / "ibloop.db"
    opened = open_ledger(path, mode=Mode.PAPER, account="DU1234567", now=FakeClock().now().utc)
    yield opened
    opened.close()


class Beats:
    """Heartbeat files of the others, as they would write them."""

    def __init__(self, stream_dir: Path, clock: FakeClock) -> None:
        """Let all of them be well."""
        self.stream_dir = stream_dir
        self.clock = clock
        self.words = {
            "gateway": "connected",
            "status": "connected",
            "executor": "ready",
            "guard": "watching",
        }
        self.silent: set[str] = set()

    def write(self) -> None:
        """Write those that are not silent."""
        for name, word in self.words.items():
            if name not in self.silent:
                document = heartbeat_document(word, self.clock.now(), "")
                write_status(status_path(self.stream_dir, name), document)


def look(watch: HeartbeatWatch, beats: Beats, seconds: int) -> list[str]:
    """Let seconds pass; return the events raised."""
    events = []
    for _ in range(seconds):
        beats.clock.advance(1)
        beats.write()
        events += [change.event for change in watch.step()]
    return events


def test_the_watch_raises_what_others_cannot(ledger: Ledger, tmp_path: Path) -> None:
    """Gateway lost and back, executor silent: rows of the outbox, written by this daemon."""
    beats = Beats(tmp_path / "ib" / "stream", FakeClock())
    watch = HeartbeatWatch(beats.stream_dir, ledger, beats.clock, 10.0)
    assert look(watch, beats, 5) == []
    beats.words["gateway"] = "degraded"
    beats.silent = {"executor"}
    assert look(watch, beats, 40) == ["gateway.lost", "executor.lost"]
    rows = {alert.event: alert for alert in alerts.listing(ledger.db, 9)}
    assert rows["executor.lost"].severity is alerts.Severity.CRITICAL
    assert rows["gateway.lost"].subject == "gateway"
    beats.words["gateway"] = "connected"
    assert look(watch, beats, 2) == ["gateway.back"]


def test_the_watch_remembers_over_a_restart(ledger: Ledger, tmp_path: Path) -> None:
    """What was told is not told again; what comes back is."""
    beats = Beats(tmp_path / "ib" / "stream", FakeClock())
    beats.words["status"] = "degraded"
    watch = HeartbeatWatch(beats.stream_dir, ledger, beats.clock, 10.0)
    assert look(watch, beats, 3) == ["stream.degraded"]
    again = HeartbeatWatch(beats.stream_dir, ledger, beats.clock, 10.0)
    assert look(again, beats, 30) == []
    beats.words["status"] = "connected"
    assert look(again, beats, 3) == ["stream.recovered"]


def test_the_watch_finds_again_what_it_could_not_write(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy ledger delays an alert and loses none."""
    beats = Beats(tmp_path / "ib" / "stream", FakeClock())
    beats.words["status"] = "degraded"
    watch = HeartbeatWatch(beats.stream_dir, ledger, beats.clock, 10.0)

    def refuse() -> Any:
        raise LedgerBusyError("somebody holds the gate")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "transaction", refuse)
        with pytest.raises(LedgerBusyError):
            look(watch, beats, 3)
    assert look(watch, beats, 3) == ["stream.degraded"]
