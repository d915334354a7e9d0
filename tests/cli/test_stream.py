"""`ibloop stream status` and `tail`: what the files say, for people and for programs."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.streamfiles import (
    StreamWriter,
    heartbeat_document,
    status_path,
    wake,
    write_status,
)
from ibloop.core.model import MarketDataType, Moment, Quote, QuoteSource
from tests.cli.conftest import DEADLINE_S, Terminal, environment

FIELDS = {
    "subscribed_symbols": ["AAPL", "MSFT", "NONE"],
    "market_data_type": "live",
    "host": "127.0.0.1",
    "port": 4002,
    "client_id": 12,
    "ib_error_count": 3,
    "last_error": "200 no security definition",
    "degraded_since": None,
    "ticks_total": 500,
    "publishes_total": 400,
    "left_out": {"ZZZ": "100 lines are taken"},
    "left_out_count": 1,
    "refused_symbols": {"QQQ": "200 no security definition"},
    "degraded_symbols": {"MSFT": "no tick for 9 s"},
}


def at(age_s: float) -> Moment:
    """Return the moment so many seconds ago."""
    now = SystemClock().now()
    then = now.utc - timedelta(seconds=age_s)
    return Moment(then, now.boottime_ns - int(age_s * 1e9), now.boot_id)


def say(data: Path, status: str, age_s: float = 0.0, **changes: object) -> None:
    """Write the stream's status as of so many seconds ago."""
    document = heartbeat_document(status, at(age_s), "", FIELDS | changes)
    write_status(status_path(data / "ib" / "stream", "status"), document)


def quote(symbol: str, seq: int = 1, age_s: float = 0.0) -> Quote:
    """Return a quote that was received so many seconds ago."""
    prices = [Decimal(price) for price in ("187.40", "187.42", "187.41", "186.90")]
    when = at(age_s)
    source, kind = QuoteSource.STREAM, MarketDataType.LIVE
    return Quote(symbol, 1, seq, when, when.utc, source, kind, *prices, halted=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data directory with prices of AAPL and, old ones, of MSFT."""
    writer = StreamWriter(tmp_path / "data" / "ib" / "stream")
    writer.publish(quote("AAPL"))
    writer.publish(quote("MSFT", age_s=500))
    return tmp_path / "data"


# --- status -----------------------------------------------------------------------------------


def test_a_stream_that_is_well_exits_0(ibloop: Callable, data: Path) -> None:
    """Everything it says of itself is on the screen, the oldest and the missing first."""
    say(data, "connected")
    said = ibloop("stream", "status", "--data", data)
    assert said.code == 0
    for words in (
        "stream\tconnected",
        "127.0.0.1:4002, client id 12",
        "lines\t3, live data",
        "left out\t1: ZZZ",
        "refused\tQQQ: 200 no security",
        "degraded\tMSFT: no tick for 9 s",
        "errors\t3, last: 200 no security definition",
        "written\t400 versions for 500 ticks",
        "NONE\t-\tthere is no file",
    ):
        assert words in said.out
    assert said.out.index("NONE") < said.out.index("MSFT\t50") < said.out.index("AAPL\t")
    assert "the line is degraded: no tick for 9 s" in said.out


def test_json_holds_the_same(ibloop: Callable, data: Path) -> None:
    """One object of a fixed shape; lists are whole there."""
    say(data, "connected")
    found = ibloop("stream", "status", "--json", "--data", data).data
    assert (found["status"], found["problem"], found["lines"]) == ("connected", None, 3)
    assert [age["symbol"] for age in found["ages"]] == ["NONE", "MSFT", "AAPL"]
    assert found["left_out"] == {"ZZZ": "100 lines are taken"}
    assert found["errors"] == 3


@pytest.mark.parametrize(
    ("status", "age_s", "words"),
    [
        ("degraded", 0, "degraded since 2026-11-22T15:00:00.000Z"),
        ("disconnected", 0, "disconnected"),
        ("stopped", 0, "stopped"),
        ("connected", 60, "connected: last heartbeat 60"),
    ],
)
def test_anything_else_exits_3(
    status: str, age_s: float, words: str, ibloop: Callable, data: Path
) -> None:
    """A script needs the exit code alone; a word that is too old is not believed."""
    since = "2026-11-22T15:00:00.000Z" if status == "degraded" else None
    say(data, status, age_s, degraded_since=since)
    said = ibloop("stream", "status", "--data", data)
    assert said.code == 3
    assert words in said.out


def test_before_the_first_start_it_says_how_to_begin(ibloop: Callable) -> None:
    """Nothing is written by looking."""
    said = ibloop("stream", "status", "--data", "nowhere")
    assert said.code == 3
    assert "not running" in said.out
    assert "`ibloop stream run`" in said.out
    assert not Path("nowhere").exists()


@pytest.mark.parametrize("value", [None, 7, "x", ["a"], {"a": 1}, True])
def test_a_status_of_strange_values_is_no_bug(value: object, ibloop: Callable, data: Path) -> None:
    """Whatever a later or broken version writes there, a field of another kind counts as none."""
    say(data, "connected", **dict.fromkeys(FIELDS, value))
    for option in ((), ("--json",)):
        assert ibloop("stream", "status", "--data", data, *option).code == 0


# --- tail -------------------------------------------------------------------------------------


@contextmanager
def tailing(data: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `ibloop stream tail` with a pipe for its stdout."""
    command = [sys.executable, "-m", "ibloop", "stream", "tail", "--data", str(data), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> dict[str, object]:
    """Read one line; pytest's own timeout ends a test in which none comes."""
    assert process.stdout is not None
    found = process.stdout.readline()
    assert found, process.stderr.read() if process.stderr else ""
    document: dict[str, object] = json.loads(found)
    return document


@pytest.mark.e2e
def test_tail_prints_each_version_once_and_ends_with_ctrl_c(data: Path) -> None:
    """A line is what the file holds; what cannot be used is told once, with its cause."""
    say(data, "connected")
    writer = StreamWriter(data / "ib" / "stream")
    with tailing(data, "AAPL", "ZZZ") as process:
        first = line(process)
        assert first == json.loads((data / "ib" / "stream" / "AAPL.json").read_text())
        assert line(process) == {
            "symbol": "ZZZ",
            "unusable": "unsubscribed",
            "detail": "the stream is not subscribed to ZZZ: 100 lines are taken",
        }
        for seq in (2, 3):
            writer.publish(replace(quote("MSFT"), seq=seq))  # nobody asked for it
            writer.publish(replace(quote("AAPL"), seq=seq))
            assert line(process)["seq"] == seq
        same = data / "same"
        same.write_bytes((data / "ib" / "stream" / "AAPL.json").read_bytes())
        same.replace(data / "ib" / "stream" / "AAPL.json")  # news of the file, none of the price
        writer.publish(replace(quote("AAPL"), seq=4))
        assert line(process)["seq"] == 4
        (data / "ib" / "stream" / "AAPL.json").write_bytes(b"{")
        assert line(process)["unusable"] == "damaged"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=DEADLINE_S) == ("", "")
    assert process.returncode == 0


@pytest.mark.e2e
def test_tail_says_of_an_old_file_why_it_grows_older(data: Path) -> None:
    """What nobody subscribes any more, or a dead line, is no price, however whole the file is."""
    say(data, "connected", subscribed_symbols=["AAPL"])
    writer = StreamWriter(data / "ib" / "stream")
    with tailing(data, "MSFT", "AAPL") as process:
        assert line(process) == {
            "symbol": "MSFT",
            "unusable": "unsubscribed",
            "detail": "the stream is not subscribed to MSFT",
        }
        assert line(process)["seq"] == 1
        say(data, "connected", degraded_symbols={"MSFT": "silent"})
        for seq in range(2, 1000):  # another symbol's news must not keep it from being seen
            writer.publish(replace(quote("AAPL"), seq=seq))
            told = line(process)
            if told["symbol"] == "MSFT":
                break
            time.sleep(0.01)
        assert (told["unusable"], told["detail"]) == ("degraded", "the line is degraded: silent")
        writer.publish(replace(quote("MSFT"), seq=2))
        while told["symbol"] != "MSFT" or "unusable" in told:
            told = line(process)
        assert told["seq"] == 2


@pytest.mark.e2e
def test_tail_without_symbols_follows_what_is_subscribed(data: Path) -> None:
    """Symbols that come later are followed too, and files of none are left alone."""
    with tailing(data) as process:
        assert {line(process)["symbol"], line(process)["symbol"]} == {"AAPL", "MSFT"}
        StreamWriter(data / "ib" / "stream").publish(quote("NVDA"))
        wake(data / "ib" / "stream")
        assert line(process)["symbol"] == "NVDA"


@pytest.mark.e2e
def test_tail_draws_a_table_on_a_terminal(on_terminal: Callable[..., Terminal], data: Path) -> None:
    """It is drawn again with the next price; Ctrl-C leaves the terminal as it was."""
    say(data, "connected")
    screen = on_terminal("stream", "tail", "--data", data)
    screen.until(lambda drawn: "187.40" in drawn and "SYMBOL" in drawn and "NONE" in drawn)
    changed = replace(quote("AAPL", seq=2), bid=Decimal("187.33"))
    StreamWriter(data / "ib" / "stream").publish(changed)
    screen.until(lambda drawn: "187.33" in drawn)
    screen.child.send_signal(signal.SIGINT)
    said = screen.finish()
    assert said.code == 0
    assert "Traceback" not in said.out
    assert said.out.rstrip().endswith("\x1b[?25h")  # the cursor is back


@pytest.mark.e2e
def test_tail_before_the_first_start_waits(tmp_path: Path) -> None:
    """The first price shows up, and nothing was written by waiting for it."""
    with tailing(tmp_path / "data") as process:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
        assert not (tmp_path / "data").exists()
        StreamWriter(tmp_path / "data" / "ib" / "stream").publish(quote("AAPL"))
        assert line(process)["symbol"] == "AAPL"


# --- record -----------------------------------------------------------------------------------


def test_a_recording_that_cannot_be_is_refused(ibloop: Callable, tmp_path: Path) -> None:
    """A mistake in the path is told at once, as bad input."""
    said = ibloop("stream", "run", "--record", tmp_path / "missing" / "day.gz")
    assert said.code == 65
    assert "cannot record to" in said.err
