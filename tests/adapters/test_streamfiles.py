"""Files are whole for every reader, seq only grows, and a bad file is left out, never a price."""

import errno
import fcntl
import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ibloop
from ibloop.adapters import wholefiles
from ibloop.adapters.host import SystemClock, boot_id
from ibloop.adapters.streamfiles import (
    QuoteReader,
    StreamWriter,
    Waker,
    file_name,
    heartbeat_document,
    is_nameable,
    read_heartbeat,
    read_status,
    status_path,
    symbol_of,
    wake,
    write_status,
)
from ibloop.adapters.wake import FileWatch
from ibloop.core.invariant import InvariantError
from ibloop.core.model import MarketDataType, Moment, Quote, QuoteSource
from ibloop.errors import BadInputError

D = Decimal
ROOT = Path(ibloop.__file__).parent.parent
NOW = Moment(datetime(2026, 11, 22, 15, 0, 0, 123456, tzinfo=UTC), 10**12, "a" * 32)
NOW_MS = 1795359600123
QUOTE = Quote(
    symbol="AAPL",
    con_id=265598,
    seq=7,
    received=NOW,
    event_time=NOW.utc,
    source=QuoteSource.STREAM,
    market_data_type=MarketDataType.LIVE,
    bid=D("187.40"),
    ask=D("187.42"),
    last=None,
    close=D("186.9"),
)

# The contract, in its order (DESIGN section 5).
CONTRACT = (
    "symbol con_id seq received_at event_time boottime_ns boot_id source market_data_type "
    "bid ask last close open high low bid_size ask_size last_size volume halted currency exchange"
)

# A writer flat out; every number of a quote is its seq, so that a mix of two shows.
WRITER = """
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from ibloop.adapters.host import SystemClock
from ibloop.adapters.streamfiles import StreamWriter
from ibloop.core.model import MarketDataType, Quote, QuoteSource
clock, writer, count = SystemClock(), StreamWriter(Path(sys.argv[1])), 0
while True:
    now = clock.now()
    seq = writer.next_seq("AAPL", now)
    n = Decimal(seq)
    writer.publish(Quote("AAPL", 1, seq, now, now.utc, QuoteSource.STREAM, MarketDataType.LIVE,
        n, n, n, n, n, n, n, n, n, n, n, False, "USD", "X" * (seq % 50)))
    count += 1
    if count == 50:
        print("ready", flush=True)
"""


@contextmanager
def flat_out(directory: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run the writer from its first 50 quotes on; kill -9 it at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        try:
            yield writer
        finally:
            writer.kill()


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("AAPL", "AAPL.json"),
        ("BRK B", "BRK%20B.json"),
        ("BRK.B", "BRK.B.json"),
        ("A/B", "A%2FB.json"),
        ("a", "%61.json"),
        ("%41", "%2541.json"),
        ("A_B", "A%5FB.json"),
        ("É", "%C3%89.json"),
        ("-", "-.json"),
    ],
)
def test_symbols_and_names(symbol: str, name: str) -> None:
    """A to Z, digits, dot and hyphen stand for themselves, all else is percent-encoded."""
    assert file_name(symbol) == name
    assert symbol_of(name) == symbol


@pytest.mark.parametrize(
    "symbol",
    ["", ".", "..", "../x", ".A", "_status", "_wake", "A\0B", "A\nB", "A" * 65, "É" * 33, "\udcff"],
)
def test_bad_symbols_have_no_file(symbol: str, tmp_path: Path) -> None:
    """No symbol reaches our own files or out of the directory; reading one is no error."""
    assert not is_nameable(symbol)
    with pytest.raises(BadInputError):
        file_name(symbol)
    with pytest.raises(BadInputError):
        StreamWriter(tmp_path).next_seq(symbol, NOW)
    reader = QuoteReader(tmp_path)
    assert reader.read([symbol, "AAPL"]) == {}
    assert set(reader.problems) == {symbol, "AAPL"}


@given(st.text(min_size=1, max_size=70))
def test_every_name_stays_in_the_directory_and_comes_back(symbol: str) -> None:
    """Encoding is one to one and never leaves the directory."""
    if not is_nameable(symbol):
        return
    name = file_name(symbol)
    assert os.path.normpath(f"/stream/{name}") == f"/stream/{name}"
    assert name[0] not in "._"
    assert len(os.fsencode(name)) < 255
    assert symbol_of(name) == symbol


@pytest.mark.parametrize(
    "name", ["_status.json", "_wake", ".spare", "aapl.json", "AAPL", "%41.json", "HALT", ".json"]
)
def test_other_files_are_no_quotes(name: str) -> None:
    """Only the one canonical spelling is a symbol's file."""
    assert symbol_of(name) is None


# --- quotes -----------------------------------------------------------------------------------

# "-0" is left out: JSON readers take it for the integer 0.
numbers = st.none() | st.builds(
    lambda sign, digits, exponent: D((sign, tuple(map(int, str(digits))), exponent)),
    st.integers(0, 1),
    st.integers(0, 10**9),
    st.integers(-9, 9),
).filter(lambda number: number or not number.is_signed())
times = st.datetimes(
    min_value=datetime(1990, 1, 1),  # noqa: DTZ001
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
).map(lambda time: time.replace(fold=0))
quotes = st.builds(
    Quote,
    symbol=st.text(min_size=1, max_size=12).filter(is_nameable),
    con_id=st.integers(0, 2**31),
    seq=st.integers(1, 2**53),
    received=st.builds(Moment, times, st.integers(0, 2**62), st.text("0123456789abcdef")),
    event_time=st.none() | times,
    source=st.sampled_from(QuoteSource),
    market_data_type=st.sampled_from(MarketDataType),
    **dict.fromkeys(CONTRACT.split()[CONTRACT.split().index("bid") : -3], numbers),
    halted=st.sampled_from([None, True, False]),
    currency=st.text(max_size=3),
    exchange=st.text(max_size=10),
)


@given(quotes)
def test_quote_survives_the_file(quote: Quote) -> None:
    """What is read is what was published, each Decimal to its last printed digit."""
    with TemporaryDirectory() as directory:
        StreamWriter(Path(directory)).publish(quote)
        reader = QuoteReader(Path(directory))
        read = reader.read([quote.symbol])
        assert reader.problems == {}
        assert repr(read[quote.symbol]) == repr(quote)
        assert reader.symbols() == [quote.symbol]


def test_document_is_the_contract(tmp_path: Path) -> None:
    """Fields, order, JSON numbers, null for missing, ISO times in Z; one line."""
    StreamWriter(tmp_path).publish(QUOTE)
    text = (tmp_path / "AAPL.json").read_text(encoding="utf-8")
    assert text.endswith("}\n")
    document = json.loads(text, parse_float=str)
    assert list(document) == CONTRACT.split()
    assert document["bid"] == "187.40"
    assert document["last"] is None
    assert document["received_at"] == "2026-11-22T15:00:00.123456Z"
    assert document["source"] == "ib_stream"
    assert document["market_data_type"] == "live"


def test_modes(tmp_path: Path) -> None:
    """Files are 0660 and directories we make 2770, whatever the umask."""
    old = os.umask(0o077)
    try:
        writer = StreamWriter(tmp_path / "ib" / "stream")
        for seq in (7, 8, 9):
            writer.publish(replace(QUOTE, seq=seq))
        wake(tmp_path / "ib" / "stream")
    finally:
        os.umask(old)
    stream = tmp_path / "ib" / "stream"
    assert stat.S_IMODE(stream.stat().st_mode) == 0o2770
    assert stat.S_IMODE((tmp_path / "ib").stat().st_mode) == 0o2770
    for path in (stream / "AAPL.json", stream / ".spare" / "AAPL.json", stream / "_wake"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1E+30", "1E-30"])
def test_impossible_numbers_are_never_published(number: str, tmp_path: Path) -> None:
    """NaN and the like are a programmer's error before they are a file."""
    writer = StreamWriter(tmp_path)
    with pytest.raises(InvariantError, match="ask is"):
        writer.publish(replace(QUOTE, ask=D(number)))
    assert not (tmp_path / "AAPL.json").exists()


# --- damage -----------------------------------------------------------------------------------


def test_a_file_cut_anywhere_is_left_out_and_repaired(tmp_path: Path) -> None:
    """At every length a torn file is no quote; the writer repairs it and seq still grows."""
    StreamWriter(tmp_path).publish(QUOTE)
    path = tmp_path / "AAPL.json"
    whole = path.read_bytes()
    reader = QuoteReader(tmp_path)
    for length in range(len(whole) - 1):  # without its newline it is still whole
        path.write_bytes(whole[:length])
        assert reader.read(["AAPL"]) == {}
        assert "damaged" in str(reader.problems["AAPL"])
        writer = StreamWriter(tmp_path)
        seq = writer.next_seq("AAPL", NOW)
        assert seq == NOW_MS + 1
        assert (tmp_path / ".bad" / "AAPL.json").read_bytes() == whole[:length]
        assert not path.exists()
        writer.publish(replace(QUOTE, seq=seq))
        assert reader.read(["AAPL"])["AAPL"].seq == seq


@given(st.binary(max_size=200) | st.sampled_from([b"[" * 60_000, b'{"a":' * 10_000, b"\xff" * 9]))
def test_no_content_can_raise(content: bytes) -> None:
    """Whatever a file holds, reading it gives a reason and no exception."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "AAPL.json").write_bytes(content)
        (directory / "_guard.json").write_bytes(content)
        reader = QuoteReader(directory)
        assert reader.read(["AAPL"]) == {}
        assert reader.problems["AAPL"]
        assert read_heartbeat(directory, "guard") is None
        assert StreamWriter(directory).next_seq("AAPL", NOW) > NOW_MS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"symbol": "MSFT"}, "about MSFT"),
        ({"bid": "NaN"}, "bid is NaN"),
        ({"bid": "1e40"}, "bid is 1E+40"),
        ({"bid": True}, "bid"),
        ({"seq": -1}, "seq"),
        ({"seq": 1.5}, "seq"),
        ({"source": "yahoo"}, "yahoo"),
        ({"market_data_type": None}, "market_data_type"),
        ({"received_at": "2026-11-22T15:00:00"}, "received_at"),
        ({"received_at": None}, "received_at"),
        ({"boottime_ns": "1"}, "boottime_ns"),
    ],
)
def test_wrong_fields_are_damage(change: dict[str, object], words: str, tmp_path: Path) -> None:
    """A field of the wrong kind makes the file unusable, and the reason names it."""
    StreamWriter(tmp_path).publish(QUOTE)
    path = tmp_path / "AAPL.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change), encoding="utf-8")
    reader = QuoteReader(tmp_path)
    assert reader.read(["AAPL"]) == {}
    assert words in str(reader.problems["AAPL"])


def test_a_missing_field_is_damage_and_an_unknown_one_is_not(tmp_path: Path) -> None:
    """A later version may add fields; none may be gone."""
    StreamWriter(tmp_path).publish(QUOTE)
    path = tmp_path / "AAPL.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"vwap": 1}))
    reader = QuoteReader(tmp_path)
    assert reader.read(["AAPL"])["AAPL"].bid == D("187.4")
    for field in CONTRACT.split():
        path.write_text(json.dumps({k: v for k, v in document.items() if k != field}))
        assert reader.read(["AAPL"]) == {}
        assert field in str(reader.problems["AAPL"])


def test_what_is_no_plain_small_file_is_left_out(tmp_path: Path) -> None:
    """Huge files, directories, links and fifos give a reason; none can hang the reader."""
    (tmp_path / "A.json").write_bytes(b" " * (wholefiles.FILE_BYTES_MAX + 1))
    (tmp_path / "B.json").mkdir()
    (tmp_path / "C.json").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "D.json")
    reader = QuoteReader(tmp_path)
    assert reader.read(["A", "B", "C", "D", "E"]) == {}
    assert "more than 65536" in str(reader.problems["A"])
    assert str(reader.problems["B"]) == "not a regular file"
    assert "unreadable" in str(reader.problems["C"])
    assert str(reader.problems["D"]) == "not a regular file"
    assert str(reader.problems["E"]) == "there is no file"


def test_a_writer_may_take_over_links_and_directories_loudly(tmp_path: Path) -> None:
    """A link in place of a file is replaced, and what it points at is not written."""
    outside = tmp_path / "outside"
    outside.write_text("mine")
    writer = StreamWriter(tmp_path / "stream")
    writer.publish(QUOTE)
    for seq in (8, 9, 10):
        (tmp_path / "stream" / "AAPL.json").unlink()
        (tmp_path / "stream" / "AAPL.json").symlink_to(outside)
        writer.publish(replace(QUOTE, seq=seq))
    assert outside.read_text() == "mine"
    assert QuoteReader(tmp_path / "stream").read(["AAPL"])["AAPL"].seq == 10


# --- seq --------------------------------------------------------------------------------------


def test_seq_goes_on_over_a_restart(tmp_path: Path) -> None:
    """Within a boot the next writer counts on from the file."""
    StreamWriter(tmp_path).publish(QUOTE)
    assert StreamWriter(tmp_path).next_seq("AAPL", NOW) == 8


def test_seq_never_falls_back_after_a_reboot(tmp_path: Path) -> None:
    """A power cut may bring back an older file, so another boot goes on above the wall clock."""
    StreamWriter(tmp_path).publish(QUOTE)
    rebooted = replace(NOW, boot_id="b" * 32)
    assert StreamWriter(tmp_path).next_seq("AAPL", rebooted) == NOW_MS + 1
    ahead = replace(QUOTE, seq=2**50)
    StreamWriter(tmp_path).publish(ahead)
    assert StreamWriter(tmp_path).next_seq("AAPL", rebooted) == 2**50 + 1


def test_seq_of_a_new_symbol_is_above_what_was_deleted(tmp_path: Path) -> None:
    """Deleting files cannot make seq run backwards while the clock runs forwards."""
    writer = StreamWriter(tmp_path)
    first = writer.next_seq("AAPL", NOW)
    writer.publish(replace(QUOTE, seq=first))
    (tmp_path / "AAPL.json").unlink()
    later = replace(NOW, utc=NOW.utc + timedelta(seconds=1))
    assert StreamWriter(tmp_path).next_seq("AAPL", later) > first


def test_seq_of_a_damaged_file_comes_from_its_spare(tmp_path: Path) -> None:
    """With the wall clock set back, the spare still tells how far the file had come."""
    writer = StreamWriter(tmp_path)
    ahead = NOW_MS + 10**9
    for step in range(3):
        writer.publish(replace(QUOTE, seq=ahead + step))
    (tmp_path / "AAPL.json").write_bytes(b"{")
    assert StreamWriter(tmp_path).next_seq("AAPL", NOW) == ahead + 3


def test_seq_must_grow(tmp_path: Path) -> None:
    """Publishing an old or the same seq is a programmer's error, also after a restart."""
    StreamWriter(tmp_path).publish(QUOTE)
    for writer in (StreamWriter(tmp_path), StreamWriter(tmp_path)):
        for seq in (6, 7):
            with pytest.raises(InvariantError, match="seq"):
                writer.publish(replace(QUOTE, seq=seq))


def test_deleting_files_under_a_running_writer_does_no_harm(tmp_path: Path) -> None:
    """File, spare or directory gone: the next publish is whole and seq goes on."""
    directory = tmp_path / "stream"
    writer = StreamWriter(directory)
    reader = QuoteReader(directory)
    gone = ["AAPL.json", ".spare/AAPL.json", "AAPL.json", ".spare/AAPL.json"]
    for seq, name in enumerate(gone, start=7):
        writer.publish(replace(QUOTE, seq=seq))
        assert reader.read(["AAPL"])["AAPL"].seq == seq
        (directory / name).unlink(missing_ok=True)
    for path in (directory / ".spare").iterdir():
        path.unlink()
    (directory / ".spare").rmdir()
    (directory / "AAPL.json").unlink(missing_ok=True)
    directory.rmdir()
    writer.publish(replace(QUOTE, seq=50))
    assert reader.read(["AAPL"])["AAPL"].seq == 50


# --- whole under fire -------------------------------------------------------------------------


def read_in_pieces(path: Path) -> dict[str, object]:
    """Read as a shell tool would: no lock, 64 bytes at a time."""
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(fd, 64):
            parts.append(part)
    finally:
        os.close(fd)
    document = json.loads(b"".join(parts), parse_float=D, parse_int=D)
    assert isinstance(document, dict)
    return document


def one_version(document: dict[str, object]) -> bool:
    """Return whether all numbers of a document belong to the same publish."""
    values = {document[name] for name in ("seq", "bid", "ask", "last", "low", "volume")}
    return len(values) == 1 and len(str(document["exchange"])) == int(str(document["seq"])) % 50


def test_no_reader_sees_a_torn_file_or_seq_running_back(tmp_path: Path) -> None:
    """With a writer flat out, locked and unlocked readers see whole files in order."""
    path = tmp_path / "AAPL.json"
    reader = QuoteReader(tmp_path)
    last = D(0)
    reads = 0
    with flat_out(tmp_path) as writer:
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline or reads < 200:
            document = read_in_pieces(path)
            assert one_version(document)
            seq = document["seq"]
            assert isinstance(seq, Decimal)
            assert seq >= last
            quote = reader.read(["AAPL"])["AAPL"]
            assert {quote.bid, quote.ask, quote.volume} == {D(quote.seq)}
            assert quote.seq >= seq
            last = D(quote.seq)
            reads += 1
        assert writer.poll() is None


def test_an_open_file_never_changes(tmp_path: Path) -> None:
    """Who has a file open keeps the version he opened, however much is published."""
    writer = StreamWriter(tmp_path)
    writer.publish(QUOTE)
    with (tmp_path / "AAPL.json").open("rb") as held:
        first = held.read()
        for seq in range(8, 20):
            writer.publish(replace(QUOTE, seq=seq, exchange="X" * seq))
            held.seek(0)
            assert held.read() == first


def test_inodes_take_turns(tmp_path: Path) -> None:
    """Without readers two inodes are exchanged for ever: nothing is allocated, nothing flushed."""
    writer = StreamWriter(tmp_path)
    inodes = []
    for seq in range(7, 19):
        writer.publish(replace(QUOTE, seq=seq))
        inodes.append((tmp_path / "AAPL.json").stat().st_ino)
    assert len(set(inodes)) == 2
    assert inodes[::2] == [inodes[0]] * 6


def test_replacing_where_exchanging_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without RENAME_EXCHANGE files are replaced, with the same guarantees."""
    monkeypatch.setattr(wholefiles, "_exchange", lambda *_: errno.EINVAL)
    writer = StreamWriter(tmp_path)
    reader = QuoteReader(tmp_path)
    for seq in range(7, 17, 2):
        writer.publish(replace(QUOTE, seq=seq))
        with (tmp_path / "AAPL.json").open("rb") as held:
            first = held.read()
            writer.publish(replace(QUOTE, seq=seq + 1))
            held.seek(0)
            assert held.read() == first
        assert reader.read(["AAPL"])["AAPL"].seq == seq + 1
        writer = StreamWriter(tmp_path)


def test_a_writer_in_another_thread_does_without_leases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where SIGIO cannot be ignored no lease is taken, since a broken one would end the process."""
    before = signal.signal(signal.SIGIO, signal.SIG_DFL)

    def work() -> None:
        writer = StreamWriter(tmp_path)
        for seq in range(7, 12):
            writer.publish(replace(QUOTE, seq=seq))

    def no_lease(*_args: object) -> None:
        raise AssertionError("took a lease")

    monkeypatch.setattr(fcntl, "fcntl", no_lease)
    thread = threading.Thread(target=work)
    try:
        thread.start()
        thread.join(timeout=30)
    finally:
        signal.signal(signal.SIGIO, before)
    assert QuoteReader(tmp_path).read(["AAPL"])["AAPL"].seq == 11


def test_a_killed_writer_leaves_whole_files_and_seq_grows_on(tmp_path: Path) -> None:
    """After kill -9 at any instant the file is whole, and the next writer counts on."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    rng = random.Random(seed)
    reader = QuoteReader(tmp_path)
    last = 0
    for _ in range(6):
        with flat_out(tmp_path):
            time.sleep(rng.uniform(0.0, 0.05))  # the instant is the point, nothing is waited for
        document = read_in_pieces(tmp_path / "AAPL.json")
        assert one_version(document)
        quote = reader.read(["AAPL"])["AAPL"]
        assert quote.seq > last
        last = quote.seq


def test_a_stopped_writer_cannot_hang_the_reader(tmp_path: Path) -> None:
    """A writer frozen with its lease on a file costs a reader 0.2 s and a reason."""
    StreamWriter(tmp_path).publish(QUOTE)
    path = tmp_path / "AAPL.json"
    fd = os.open(path, os.O_RDWR)
    try:
        before = signal.signal(signal.SIGIO, signal.SIG_IGN)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        reader = QuoteReader(tmp_path)
        assert reader.read(["AAPL"]) == {}
        assert "its writer is stopped" in str(reader.problems["AAPL"])
    finally:
        os.close(fd)
        signal.signal(signal.SIGIO, before)
    assert reader.read(["AAPL"])["AAPL"] == QUOTE


# --- status documents -------------------------------------------------------------------------


def test_heartbeat_round_trip(tmp_path: Path) -> None:
    """A status document carries the common fields and its own, to the millisecond."""
    document = heartbeat_document("connected", NOW, "all well", {"port": 4002, "x": D("1.10")})
    write_status(status_path(tmp_path, "gateway"), document)
    assert (tmp_path / "_gateway.json").read_text().startswith('{"status":"connected",')
    raw = read_status(tmp_path / "_gateway.json")
    assert raw is not None
    assert raw["last_heartbeat"] == "2026-11-22T15:00:00.123Z"
    assert list(raw)[:7] == [
        *("status", "last_heartbeat", "boottime_ns", "boot_id"),
        *("pid", "build", "detail"),
    ]
    beat = read_heartbeat(tmp_path, "gateway")
    assert beat is not None
    assert (beat.name, beat.status, beat.detail) == ("gateway", "connected", "all well")
    assert beat.pid == os.getpid()
    assert beat.document["port"] == 4002
    assert beat.stamp.utc == NOW.utc.replace(microsecond=123000)
    assert (beat.stamp.boottime_ns, beat.stamp.boot_id) == (NOW.boottime_ns, NOW.boot_id)


def test_heartbeat_needs_a_status_and_a_stamp(tmp_path: Path) -> None:
    """Without who-when there is no heartbeat; pid, build and detail may be missing."""
    document = heartbeat_document("ok", NOW)
    for field in ("status", "last_heartbeat", "boottime_ns", "boot_id"):
        cut = {key: value for key, value in document.items() if key != field}
        write_status(tmp_path / "_guard.json", cut)
        assert read_heartbeat(tmp_path, "guard") is None
    bare = {key: value for key, value in document.items() if key not in ("pid", "build", "detail")}
    write_status(tmp_path / "_guard.json", bare | {"detail": None})
    beat = read_heartbeat(tmp_path, "guard")
    assert beat is not None
    assert beat.detail == ""


def test_missing_status_is_none(tmp_path: Path) -> None:
    """No file, no directory: no heartbeat, no error."""
    assert read_status(tmp_path / "no" / "_guard.json") is None
    assert read_heartbeat(tmp_path / "no", "guard") is None
    assert QuoteReader(tmp_path / "no").symbols() == []


# --- the nudge --------------------------------------------------------------------------------


def test_touch_wakes_and_quotes_do_not(tmp_path: Path) -> None:
    """Only `_wake` wakes; the files beside it change a thousand times a second."""
    with Waker(tmp_path) as waker:
        StreamWriter(tmp_path).publish(QUOTE)
        assert not waker.wait(0.05)
        wake(tmp_path)
        wake(tmp_path)
        assert waker.wait(30)
        assert not waker.wait(0)


@pytest.mark.parametrize("loss", ["unlink", "replace"])
def test_waker_survives_the_loss_of_the_file(loss: str, tmp_path: Path) -> None:
    """A deleted or replaced `_wake` is watched anew."""
    with Waker(tmp_path) as waker:
        if loss == "unlink":
            (tmp_path / "_wake").unlink()
        else:
            (tmp_path / "other").touch()
            (tmp_path / "other").rename(tmp_path / "_wake")
        assert waker.wait(30)  # it looks around, and finds the new file
        while waker.wait(0):
            pass
        wake(tmp_path)
        assert waker.wait(30)


def test_a_foreign_touch_wakes(tmp_path: Path) -> None:
    """`touch _wake` in a shell is a nudge too."""
    with Waker(tmp_path) as waker:
        subprocess.run(["/usr/bin/touch", str(tmp_path / "_wake")], check=True)
        assert waker.wait(30)


def test_file_watch_names_what_has_changed(tmp_path: Path) -> None:
    """New versions by name, the writer's own directories left out."""
    writer = StreamWriter(tmp_path)
    writer.publish(QUOTE)
    with FileWatch(tmp_path) as watch:
        assert watch.changed(0.05) is None
        writer.publish(replace(QUOTE, seq=8))
        writer.publish(replace(QUOTE, symbol="BRK B", seq=8))
        names: set[str] = set()
        deadline = time.monotonic() + 30
        while len(names) < 2 and time.monotonic() < deadline:
            names |= watch.changed(1) or set()
        assert names == {"AAPL.json", "BRK%20B.json"}


def test_file_watch_waits_for_a_directory_to_come(tmp_path: Path) -> None:
    """Who tails before the first start sees the first price."""
    with FileWatch(tmp_path / "stream") as watch:
        assert watch.changed(0.01) is None
        writer = StreamWriter(tmp_path / "stream")
        writer.publish(QUOTE)
        assert watch.changed(0.01) is None
        writer.publish(replace(QUOTE, seq=8))
        assert watch.changed(30) == {"AAPL.json"}


def test_too_many_changes_mean_any(tmp_path: Path) -> None:
    """When the kernel's queue overflows, nobody is told that nothing else has changed."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with FileWatch(tmp_path) as watch:
        for number in range(limit + 10):
            (tmp_path / "a").touch()
            (tmp_path / "a").rename(tmp_path / f"b{number % 2}")
        found: list[set[str] | None] = []
        while select([watch.fileno()], [], [], 0)[0]:  # so that None is not for want of news
            found.append(watch.changed(0))
        assert found[-1] is None


def test_clock_of_this_machine_fits(tmp_path: Path) -> None:
    """A quote stamped by the system clock comes back with this boot's id."""
    now = SystemClock().now()
    StreamWriter(tmp_path).publish(replace(QUOTE, received=now))
    assert QuoteReader(tmp_path).read(["AAPL"])["AAPL"].received == now
    assert now.boot_id == boot_id()
