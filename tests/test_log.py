"""One JSON object a line, the same shape for our events and for the libraries'."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import structlog

from ibloop import log
from ibloop.core.model import Side


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return the stream of a daemon that logs outside of systemd."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    stream = io.StringIO()
    log.configure("executor", stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the logged objects."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json(out: io.StringIO) -> None:
    """Event, level, time and daemon come first; money and times are exact text."""
    when = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
    log.get("x").info("order.sent", price=Decimal("1.10"), side=Side.BUY, at=when, n=3)
    (line,) = lines(out)
    assert list(line)[:4] == ["event", "level", "ts", "daemon"]
    assert line["ts"].endswith("Z")
    assert datetime.fromisoformat(line["ts"]).tzinfo is not None
    assert (line["event"], line["level"], line["daemon"]) == ("order.sent", "info", "executor")
    assert line["price"] == "1.10"
    assert line["side"] == "BUY"
    assert line["at"] == "2026-11-22T15:00:00.000Z"
    assert line["n"] == 3


def test_library_loggers_take_the_same_way(out: io.StringIO) -> None:
    """A warning of ib_insync is a line like ours; its chatter is not logged."""
    logging.getLogger("ib_insync.client").info("placeOrder: a very long line")
    logging.getLogger("ib_insync.client").warning("lost %s", "connection")
    (line,) = lines(out)
    assert line["event"] == "lost connection"
    assert line["logger"] == "ib_insync.client"
    assert (line["level"], line["daemon"]) == ("warning", "executor")


def test_an_exception_stays_on_its_line(out: io.StringIO) -> None:
    """A traceback does not break the one-line rule."""
    try:
        int("first\nsecond")
    except ValueError:
        log.get("x").exception("run.failed")
    (line,) = lines(out)
    assert "ValueError: invalid literal" in line["exception"]
    assert line["level"] == "error"


def test_the_level_holds(out: io.StringIO) -> None:
    """What is below the level is not written; configuring again replaces, not adds."""
    log.configure("guard", "warning", out)
    log.get("x").info("quiet.kept")
    log.get("x").warning("loud.heard")
    (line,) = lines(out)
    assert (line["event"], line["daemon"]) == ("loud.heard", "guard")


@pytest.mark.parametrize(
    ("method", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3)]
)
def test_journald_gets_the_priority(
    method: str, priority: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under systemd each line begins with its syslog priority."""
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
    stream = io.StringIO()
    log.configure("executor", "debug", stream)
    getattr(log.get("x"), method)("thing.done")
    assert stream.getvalue().startswith(f'<{priority}>{{"event": "thing.done"')
    assert stream.getvalue().count("\n") == 1


def test_before_configuring_stdout_stays_data(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that configures nothing prints no log line on stdout."""
    structlog.reset_defaults()
    log.get("x").info("nobody.listens")
    log.get("x").warning("somebody.listens")
    assert capsys.readouterr().out == ""
