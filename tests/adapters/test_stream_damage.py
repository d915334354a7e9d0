"""What is no whole quote file has a name, is kept for whoever asks, and hinders nobody."""

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import ibloop
from ibloop.adapters import wholefiles
from ibloop.adapters.streamfiles import (
    QuoteReader,
    StreamWriter,
    heartbeat_document,
    write_status,
)
from ibloop.core.model import MarketDataType, Moment, Quote, QuoteSource
from ibloop.core.unusable import FileFault, Unusable

ROOT = Path(ibloop.__file__).parent.parent
NOW = Moment(datetime(2026, 11, 22, 15, 0, 0, 123456, tzinfo=UTC), 10**12, "a" * 32)
NOW_MS = 1795359600123
QUOTE = Quote(
    *("AAPL", 265598, 7, NOW, NOW.utc, QuoteSource.STREAM, MarketDataType.LIVE),
    *(None, None, None, None),
)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, FileFault.MISSING),
        (b"", FileFault.DAMAGED),
        (b"{}", FileFault.DAMAGED),
        (b" " * 10_000_000, FileFault.OVERSIZED),
        ("directory", FileFault.IRREGULAR),
        ("fifo", FileFault.IRREGULAR),
        ("socket", FileFault.UNREADABLE),
        ("link", FileFault.UNREADABLE),
        ("dangling", FileFault.UNREADABLE),
    ],
)
def test_each_fault_has_its_name(content: object, fault: FileFault, tmp_path: Path) -> None:
    """A consumer tells faults apart by a value, and a person by the words."""
    path = tmp_path / "AAPL.json"
    with socket.socket(socket.AF_UNIX) as sock:
        match content:
            case bytes():
                path.write_bytes(content)
            case "directory":
                path.mkdir()
            case "fifo":
                os.mkfifo(path)
            case "socket":
                sock.bind(str(path))
            case "link":
                (tmp_path / "other").write_bytes(b"{}")
                path.symlink_to(tmp_path / "other")
            case "dangling":
                path.symlink_to(tmp_path / "nowhere")
        reader = QuoteReader(tmp_path)
        assert reader.read(["AAPL"]) == {}
        assert reader.problems["AAPL"].fault is fault
        assert reader.explain("AAPL") == reader.problems["AAPL"]


@pytest.fixture
def visible() -> Iterator[Path]:
    """Yield a directory that every user may look into, unlike those of pytest."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_what_may_not_be_read_has_a_name_too(visible: Path) -> None:
    """Permission denied is a reason, whoever runs the tests."""
    StreamWriter(visible).publish(QUOTE)
    (visible / "AAPL.json").chmod(0)
    with as_nobody():
        reader = QuoteReader(visible)
        assert reader.read(["AAPL"]) == {}
    assert reader.problems["AAPL"].fault is FileFault.UNREADABLE
    assert "Permission denied" in reader.problems["AAPL"].text


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user without rights to what others own, where this process may become one."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


# --- what is kept of damage -------------------------------------------------------------------


def test_a_reader_keeps_a_copy_of_damage_once(tmp_path: Path) -> None:
    """Whoever wants to know what happened finds the bytes, one copy however often it is read."""
    reader = QuoteReader(tmp_path)
    for content in (b"{", b"[", b"{"):
        (tmp_path / "AAPL.json").write_bytes(content)
        reader.read(["AAPL"])
        reader.read(["AAPL"])
    kept = sorted((tmp_path / ".bad").iterdir())
    assert {path.read_bytes() for path in kept} == {b"{", b"["}
    assert len(kept) == 2
    assert all(path.name.startswith("AAPL.json.") for path in kept)
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o660}


def test_copies_of_damage_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever writes rubbish there, it does not fill the disk by way of us."""
    monkeypatch.setattr(wholefiles, "BAD_FILES_MAX", 3)
    reader = QuoteReader(tmp_path)
    for number in range(6):
        (tmp_path / "AAPL.json").write_bytes(b"%d" % number)
        reader.read(["AAPL"])
    assert len(list((tmp_path / ".bad").iterdir())) == 3


def test_a_reader_that_may_not_write_gives_the_reason_alone(visible: Path) -> None:
    """The page and the monitoring may read and not write: damage is told, and nothing raised."""
    (visible / "AAPL.json").write_bytes(b"{")
    (visible / "AAPL.json").chmod(0o644)
    visible.chmod(0o555)
    with as_nobody():
        reader = QuoteReader(visible)
        assert reader.read(["AAPL"]) == {}
    visible.chmod(0o755)
    assert reader.problems["AAPL"].fault is FileFault.DAMAGED
    assert not (visible / ".bad").exists()


@pytest.mark.parametrize("kind", ["directory", "full directory", "fifo"])
def test_the_writer_puts_aside_what_is_in_its_place(kind: str, tmp_path: Path) -> None:
    """A running writer writes on; no directory of somebody else's is deleted."""
    writer, path = StreamWriter(tmp_path), tmp_path / "AAPL.json"
    writer.publish(QUOTE)
    seq = 8
    for again in range(3):
        path.unlink()
        if kind == "fifo":
            os.mkfifo(path)
        else:
            path.mkdir()
            if kind == "full directory":
                (path / f"precious{again}").touch()
        for _ in range(3):
            writer.publish(replace(QUOTE, seq=seq))
            seq += 1
        assert QuoteReader(tmp_path).read(["AAPL"])["AAPL"].seq == seq - 1
    assert (tmp_path / ".spare" / "AAPL.json").is_file()  # it exchanges as before
    kept = {p.name for p in (tmp_path / ".bad").rglob("precious*")}
    assert kept == ({"precious0", "precious1", "precious2"} if kind == "full directory" else set())


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_a_new_writer_puts_aside_what_is_in_its_place(kind: str, tmp_path: Path) -> None:
    """The first publish after a start finds the way free."""
    for seq in (8, 9):
        (tmp_path / "AAPL.json").unlink(missing_ok=True)
        if kind == "fifo":
            os.mkfifo(tmp_path / "AAPL.json")
        else:
            (tmp_path / "AAPL.json").mkdir()
        writer = StreamWriter(tmp_path)
        assert writer.next_seq("AAPL", NOW) > NOW_MS
        writer.publish(replace(QUOTE, seq=writer.next_seq("AAPL", NOW) + seq))
    assert "AAPL" in QuoteReader(tmp_path).read(["AAPL"])


def test_replacing_puts_a_directory_aside_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no RENAME_EXCHANGE the rule is the same."""
    monkeypatch.setattr(wholefiles, "_exchange", lambda *_: errno.EINVAL)
    writer = StreamWriter(tmp_path)
    for seq in (7, 8):
        (tmp_path / "AAPL.json").unlink(missing_ok=True)
        (tmp_path / "AAPL.json").mkdir()
        writer.publish(replace(QUOTE, seq=seq))
        assert QuoteReader(tmp_path).read(["AAPL"])["AAPL"].seq == seq


LIMITED = """
import resource, signal, sys
from dataclasses import replace
from pathlib import Path
from ibloop.adapters.host import SystemClock
from ibloop.adapters.streamfiles import QuoteReader, StreamWriter
from ibloop.core.model import MarketDataType, Quote, QuoteSource
QUOTE = Quote("AAPL", 1, 7, SystemClock().now(), None, QuoteSource.STREAM, MarketDataType.LIVE,
    None, None, None, None)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer, reader = StreamWriter(Path(sys.argv[1])), QuoteReader(Path(sys.argv[1]))
for limit in range(0, 450, 9):
    writer.publish(QUOTE if not limit else replace(QUOTE, seq=QUOTE.seq + limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        writer.publish(replace(QUOTE, seq=QUOTE.seq + limit + 1, exchange="long" * 9))
        print("written")
    except OSError as error:
        print(error.strerror)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert reader.read(["AAPL"])["AAPL"].seq == QUOTE.seq + limit, limit
"""


def test_a_disk_that_fills_up_anywhere_leaves_the_file_whole(tmp_path: Path) -> None:
    """Whatever part of a version fits, readers keep the one before, and the next one gets out."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) == {"File too large"}


# --- what the stream knows of it --------------------------------------------------------------


def test_the_status_explains_what_the_files_cannot(tmp_path: Path) -> None:
    """A symbol nobody subscribes is told from one that is silent, missing file or old one alike."""
    reader = QuoteReader(tmp_path)
    StreamWriter(tmp_path).publish(QUOTE)
    fields: dict[str, object] = {
        "subscribed_symbols": ["SPY", "IWM"],
        "left_out": {"AAPL": "no line left"},
        "refused_symbols": {"NOPE": "200 no such contract", "IWM": "354 not entitled"},
        "degraded_symbols": {"IWM": "no tick for 7 s"},
    }

    def explained(status: str, symbol: str) -> Unusable | None:
        write_status(tmp_path / "_status.json", heartbeat_document(status, NOW, "", fields))
        reader.read(["AAPL", "SPY", "QQQ", "IWM", "NOPE"])
        return reader.explain(symbol)

    unsubscribed = "the stream is not subscribed to"
    assert explained("connected", "AAPL") == Unusable(
        FileFault.UNSUBSCRIBED, f"{unsubscribed} AAPL: no line left"
    )
    assert explained("degraded", "QQQ") == Unusable(FileFault.UNSUBSCRIBED, f"{unsubscribed} QQQ")
    assert explained("connected", "NOPE") == Unusable(
        FileFault.REFUSED, f"{unsubscribed} NOPE: 200 no such contract"
    )
    assert explained("connected", "SPY") == Unusable(FileFault.MISSING, "there is no file")
    degraded = Unusable(FileFault.DEGRADED, "the line is degraded: 354 not entitled")
    assert explained("connected", "IWM") == degraded
    for status in ("disconnected", "stopped", "starting"):
        down = Unusable(FileFault.STREAM_DOWN, f"the stream is {status}")
        assert explained(status, "AAPL") == down


def test_without_a_status_nothing_is_made_up(tmp_path: Path) -> None:
    """No status, or a damaged one: what the file says is all there is."""
    StreamWriter(tmp_path).publish(QUOTE)
    reader = QuoteReader(tmp_path)
    for content in (None, b"{", b'{"status":1}', b'{"status":"connected","subscribed_symbols":7}'):
        if content is not None:
            (tmp_path / "_status.json").write_bytes(content)
        reader.read(["AAPL", "SPY"])
        assert reader.explain("AAPL") is None
        assert reader.explain("SPY") == reader.problems["SPY"]
