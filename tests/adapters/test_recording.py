"""A recording is readable at any moment, lacks at most a second, and never hinders the stream."""

import gzip
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ibloop
from ibloop.adapters import recording
from ibloop.adapters.recording import Recorder
from ibloop.errors import BadInputError

ROOT = Path(ibloop.__file__).parent.parent
LINE = b'{"symbol":"AAPL"}\n'

# Records numbered lines for ever, and says which one it has handed over.
WRITER = """
import sys, time
from pathlib import Path
from ibloop.adapters.recording import Recorder
recorder = Recorder(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    recorder.take(b"%d\\n" % number)
    print(number, time.monotonic(), flush=True)
    time.sleep(0.001)
"""


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something holds, 20 s at most."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_taken_is_what_is_read(tmp_path: Path) -> None:
    """Every line, in order, as gzip that any tool reads; the group may read it too."""
    path = tmp_path / "day.jsonl.gz"
    recorder = Recorder(path)
    lines = [b"%d\n" % number for number in range(1000)]
    for line in lines:
        recorder.take(line)
    recorder.close()
    assert gzip.decompress(path.read_bytes()) == b"".join(lines)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert (recorder.lost, recorder.trouble) == (0, "")


def test_it_is_readable_while_it_is_written(tmp_path: Path) -> None:
    """Nobody has to stop a stream to look at its recording: each flush is whole by itself."""
    path = tmp_path / "day.jsonl.gz"
    recorder = Recorder(path)
    for count in (1, 2, 3):
        recorder.take(LINE)
        wait_for(lambda: path.stat().st_size)
        wait_for(lambda: gzip.decompress(path.read_bytes()) == LINE * count)  # noqa: B023
    recorder.close()


def test_a_killed_recorder_loses_a_second_at_most(tmp_path: Path) -> None:
    """After kill -9 the file is whole gzip, and only what was taken last is missing."""
    path = tmp_path / "day.jsonl.gz"
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        taken = []
        for line in writer.stdout:
            taken.append(line.split())
            if float(taken[-1][1]) - float(taken[0][1]) > 2.5:
                break
        writer.kill()
    kept = gzip.decompress(path.read_bytes()).split()
    assert kept == [b"%d" % (n + 1) for n in range(len(kept))]
    assert len(kept) >= len(taken) / 3  # of 2.5 s half a second is lost, on a quiet machine


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    """The next start records beside it, with a number before the ending."""
    path = tmp_path / "day.jsonl.gz"
    path.write_bytes(b"precious")
    for name in ("day.2.jsonl.gz", "day.3.jsonl.gz"):
        recorder = Recorder(path)
        recorder.take(LINE)
        recorder.close()
        assert recorder.path.name == name
    assert path.read_bytes() == b"precious"
    (tmp_path / "day").mkdir()
    recorder = Recorder(tmp_path / "day")
    assert recorder.path == tmp_path / "day.2"
    recorder.close()


def test_a_stream_without_a_price_leaves_no_file(tmp_path: Path) -> None:
    """A second start, which the lock refuses, leaves nothing behind."""
    Recorder(tmp_path / "day.gz").close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing/day.gz", "file/day.gz", "x" * 300])
def test_a_place_that_cannot_be_is_refused_at_once(name: str, tmp_path: Path) -> None:
    """Nobody wants to find out in the evening that nothing was recorded."""
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match="cannot record to"):
        Recorder(tmp_path / name)


@pytest.mark.parametrize(
    ("limit", "words"), [("FREE_BYTES_MIN", "GiB free"), ("BYTES_MAX", "is full")]
)
def test_limits_end_the_recording_and_nothing_else(
    limit: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger may be on the same disk: it comes first. What is lost is counted."""
    path = tmp_path / "day.gz"
    recorder = Recorder(path)
    recorder.take(LINE)
    wait_for(lambda: path.stat().st_size)
    monkeypatch.setattr(recording, limit, 2**60 if limit == "FREE_BYTES_MIN" else 1)
    recorder.take(LINE)
    wait_for(lambda: recorder.trouble)
    assert words in recorder.trouble
    recorder.take(LINE)
    recorder.close()
    assert gzip.decompress(path.read_bytes()) == LINE
    assert recorder.lost == 2


def test_a_full_disk_costs_lines_and_leaves_the_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that was written in part is taken back; with room again it goes on by itself."""
    path = tmp_path / "day.gz"
    recorder = Recorder(path)
    recorder.take(b"first\n")
    wait_for(lambda: path.stat().st_size)
    real = os.pwrite

    def full(fd: int, data: bytes, offset: int) -> int:
        if len(data) > 10:
            return real(fd, data[:10], offset)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        recorder.take(b"lost\n")
        wait_for(lambda: recorder.trouble)
    assert "No space left" in recorder.trouble
    recorder.take(b"last\n")
    wait_for(lambda: not recorder.trouble)
    recorder.close()
    assert gzip.decompress(path.read_bytes()) == b'first\n{"lost":1}\nlast\n'
    assert recorder.lost == 1
    assert recorder.problem == f"1 versions are missing in {path}"


def test_a_disk_that_hangs_costs_lines_and_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is bounded; handing a line over never waits."""
    monkeypatch.setattr(recording, "WAITING_MAX", 3)
    monkeypatch.setattr(recording, "FLUSH_S", 1000.0)
    recorder = Recorder(tmp_path / "day.gz")
    for _ in range(5):
        recorder.take(LINE)
    assert recorder.lost == 2
    recorder.close()
    content = gzip.decompress((tmp_path / "day.gz").read_bytes())
    assert content == LINE * 3 + b'{"lost":2}\n'


def test_a_bug_of_the_recorder_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends its thread is said, and what comes afterwards is counted as lost."""

    def broken(_content: bytes) -> bytes:
        raise ValueError("no such level")

    recorder = Recorder(tmp_path / "day.gz")
    monkeypatch.setattr(recording, "_member", broken)
    recorder.take(LINE)
    wait_for(lambda: recorder.trouble)
    recorder.take(LINE)
    assert "the recording has ended: ValueError: no such level" in recorder.problem
    assert recorder.lost == 1
    recorder.close()
