"""Measure the files of the stream: `make bench`, or `python tests/bench/stream_files.py [--quick]`.

Publishing a quote against the same system calls in C and against the usual ways of replacing a
file; reading a hundred quotes against bare system calls; readers with and without a lock against a
writer flat out; the nudge through a file against one through a socket. Whatever is compared is
measured in the same round. What is printed is the median of the rounds and, in brackets, the
lowest and highest. Nothing is asserted.
"""

import argparse
import fcntl
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import filelock
from sim import machine, show_progress, shown
from stream_races import Race, nudges, race

from ibloop.adapters.host import SystemClock
from ibloop.adapters.streamfiles import QuoteReader, StreamWriter, encode_quote
from ibloop.adapters.streamfiles.documents import _DECODER
from ibloop.core.model import MarketDataType, Quote, QuoteSource

FLOOR = Path(__file__).parent / "stream_floor.c"
SYMBOLS = [f"SYN{number:03d}" for number in range(1, 101)]
CLOCK = SystemClock()

Numbers = dict[str, float]

TITLES = {
    "floor_us": "publish: the same system calls in C, µs",
    "publish_us": "publish: a quote, µs",
    "publish_ratio": "  against the floor in C",
    "replace_floor_us": "  create, write and rename in C, µs",
    "replace_us": "  temporary file + json + os.replace, µs",
    "replace_ratio": "  that against ours",
    "filelock_us": "  filelock + file + json + os.replace, µs",
    "filelock_ratio": "  that against ours",
    "read_floor_us": "read 100 quotes: the system calls in C, µs",
    "read_bare_us": "  open + flock + read + json.loads, µs",
    "read_struct_us": "  open + flock + read + msgspec, µs",
    "read_us": "  QuoteReader, µs",
    "read_ratio": "  against json.loads",
    "read_struct_ratio": "  against msgspec",
    "locked_reads": "reads with a shared lock against a writer flat out",
    "locked_torn": "  torn or not readable",
    "locked_backwards": "  that went back in seq",
    "locked_busy": "  given up, because the writer got no processor for 0.2 s",
    "unlocked_reads": "reads without a lock, 4 KiB at a time",
    "unlocked_torn": "  torn or not readable",
    "unlocked_backwards": "  that went back in seq",
    "pieces_reads": "reads without a lock, 64 bytes at a time",
    "pieces_torn": "  torn or not readable",
    "pieces_backwards": "  that went back in seq",
    "race_versions": "versions written meanwhile",
    "inotify_us": "nudge through `_wake`, to another process, µs",
    "datagram_us": "  through a datagram socket, µs",
    "nudge_ratio": "  ratio of the two",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; ``reads`` of each kind of reader, once."""

    rounds: int
    publishes: int
    slow_publishes: int
    reading_rounds: int
    nudges: int
    reads: int


FULL = Plan(
    rounds=5, publishes=20_000, slow_publishes=1_500, reading_rounds=300, nudges=400, reads=10**6
)
QUICK = Plan(
    rounds=2, publishes=2_000, slow_publishes=200, reading_rounds=40, nudges=60, reads=20_000
)
TINY = Plan(rounds=1, publishes=200, slow_publishes=10, reading_rounds=3, nudges=5, reads=500)
PLANS = {"full": FULL, "quick": QUICK, "tiny": TINY}


def quote(symbol: str, seq: int) -> Quote:
    """Return a quote of this moment with every number in it."""
    now = CLOCK.now()
    prices = [Decimal(f"{18_700 + seq % 90 + n}") / 100 for n in range(7)]
    sizes = [Decimal(number) for number in (300, 200, 100, 48_123_456)]
    kind = MarketDataType.LIVE
    return Quote(symbol, 1, seq, now, now.utc, QuoteSource.STREAM, kind, *prices, *sizes, False)


def median_us(action: Callable[[int], object], count: int) -> float:
    """Return the median time of doing something with 0, 1, 2 ..."""
    times = []
    for number in range(count):
        began = time.perf_counter_ns()
        action(number)
        times.append(time.perf_counter_ns() - began)
    return statistics.median(times) / 1e3


# ---------------------------------------------------------------------- C


def compiled(scratch: Path) -> Path | None:
    """Return the floor as a program; None where there is no C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        show_progress("no gcc: without the floors in C")
        return None
    program = scratch / "floor"
    subprocess.run([compiler, "-O2", "-o", str(program), str(FLOOR)], check=True)
    return program


def floor_us(program: Path, place: Path, count: int, kind: str) -> float:
    """Return the median of one kind of system calls."""
    (place / ".spare").mkdir(parents=True, exist_ok=True)
    size = len(encode_quote(quote("SYN001", 10**12)))
    command = [str(program), str(place), str(count), str(size), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return statistics.median(map(int, done.stdout.split())) / 1e3


# ---------------------------------------------------------------------- publishing


def publishing(plan: Plan, place: Path, program: Path | None) -> Numbers:
    """Measure one publish, ours and others', on one file system."""
    found: Numbers = {}
    if program is not None:
        found["floor_us"] = floor_us(program, place / "c", plan.publishes, "exchange")
        found["replace_floor_us"] = floor_us(program, place / "r", plan.slow_publishes, "replace")
    writer = StreamWriter(place / "stream")
    first = writer.next_seq(SYMBOLS[0], CLOCK.now()) + 1
    quotes = [quote(SYMBOLS[n % 100], first + n) for n in range(plan.publishes)]
    for each in quotes[:100]:
        writer.publish(replace(each, seq=each.seq - 1))
    found["publish_us"] = median_us(lambda n: writer.publish(quotes[n]), plan.publishes)
    documents = [json.loads(encode_quote(each)) for each in quotes[:100]]
    other = place / "other"
    other.mkdir(exist_ok=True)
    found["replace_us"] = median_us(
        lambda n: _replace(other, documents[n % 100]), plan.slow_publishes
    )
    found["filelock_us"] = median_us(
        lambda n: _lock_and_replace(other, documents[n % 100]), plan.slow_publishes
    )
    if program is not None:
        found["publish_ratio"] = found["publish_us"] / found["floor_us"]
    for name in ("replace", "filelock"):
        found[f"{name}_ratio"] = found[f"{name}_us"] / found["publish_us"]
    return found


def _replace(place: Path, document: dict[str, object]) -> None:
    """Write a document as most programs do."""
    with tempfile.NamedTemporaryFile("w", dir=place, delete=False) as file:
        json.dump(document, file)
    os.replace(file.name, place / f"{document['symbol']}.json")  # noqa: PTH105 - as they do


def _lock_and_replace(place: Path, document: dict[str, object]) -> None:
    """Write a document as careful programs do."""
    path = place / f"{document['symbol']}.json"
    with filelock.FileLock(f"{path}.lock"):
        beside = path.with_suffix(".tmp")
        beside.write_text(json.dumps(document))
        beside.replace(path)


# ---------------------------------------------------------------------- reading


def reading(plan: Plan, place: Path, program: Path | None) -> Numbers:
    """Measure reading the hundred files that were just published."""
    reader, rounds = QuoteReader(place / "stream"), plan.reading_rounds
    paths = [str(place / "stream" / f"{symbol}.json") for symbol in SYMBOLS]

    def bare(parse: Callable[[bytes], object]) -> None:
        for path in paths:
            fd = os.open(path, os.O_RDONLY)
            fcntl.flock(fd, fcntl.LOCK_SH)
            parse(os.read(fd, 4096))
            os.close(fd)

    found: Numbers = {}
    if program is not None:
        found["read_floor_us"] = floor_us(program, place / "c", rounds, "read")
    ours, json_us, struct_us = [], [], []
    for _ in range(rounds):  # in turns: it is about a fifth, and the machine wavers more than that
        json_us.append(median_us(lambda _: bare(json.loads), 1))
        ours.append(median_us(lambda _: reader.read(SYMBOLS), 1))
        struct_us.append(median_us(lambda _: bare(_DECODER.decode), 1))
    found["read_us"] = statistics.median(ours)
    found["read_bare_us"] = statistics.median(json_us)
    found["read_struct_us"] = statistics.median(struct_us)
    found["read_ratio"] = found["read_us"] / found["read_bare_us"]
    found["read_struct_ratio"] = found["read_us"] / found["read_struct_us"]
    return found


# ---------------------------------------------------------------------- all of it


def measured(plan: Plan, scratch: Path) -> dict[str, list[float]]:
    """Return every number's values, one a round; the races are run once."""
    numbers: dict[str, list[float]] = {}
    program = compiled(scratch)
    for number in range(plan.rounds):
        show_progress(f"round {number + 1} of {plan.rounds}")
        place = scratch / f"round{number}"
        place.mkdir()
        found = publishing(plan, place, program) | reading(plan, place, program)
        for name, value in (found | nudges(place / "nudge", plan.nudges)).items():
            numbers.setdefault(name, []).append(value)
    versions = 0
    for kind in Race:
        show_progress(f"{plan.reads:,} reads: {kind}")
        ran = race(scratch / f"race-{kind}", kind, plan.reads)
        numbers |= {f"{kind}_{name}": [value] for name, value in ran.items() if name != "versions"}
        versions += int(ran["versions"])
    numbers["race_versions"] = [versions]
    return numbers


def table(numbers: dict[str, list[float]]) -> str:
    """Return the numbers for people."""
    rows = [machine(), ""]
    for name, title in TITLES.items():
        if values := numbers.get(name):
            spread = f"[{shown(min(values))} .. {shown(max(values))}]" if len(values) > 1 else ""
            rows.append(f"{title:<62}{shown(statistics.median(values)):>10}  {spread}")
    return "\n".join(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the files of the stream.")
    parser.add_argument("--json", action="store_true", help="print JSON: machine and every round")
    parser.add_argument("--quick", action="store_const", const="quick", dest="plan")
    parser.add_argument("--plan", choices=PLANS, default="full")
    parser.add_argument("--directory", help="where to write (default: TMPDIR)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ibloop-bench-", dir=given.directory) as scratch:
        numbers = measured(PLANS[given.plan], Path(scratch))
    if given.json:
        print(json.dumps({"machine": machine(), "rounds": numbers}, indent=1))  # noqa: T201
    else:
        print(table(numbers))  # noqa: T201


if __name__ == "__main__":
    main()
