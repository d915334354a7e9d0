"""Measure the way from the wire to a readable file: `make bench`, or `python stream_wire.py`.

Every way is a process of its own that gets the same ticks at the same moments, one after the other
in each round. What is compared is the time from the send of a tick to the first version of its
symbol's file that has it, or a later one. The first tenth is left out. Nothing is asserted.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from bisect import bisect_left
from collections import defaultdict
from pathlib import Path

from measures import HERE, ROOT
from sim import machine, show_progress, shown

LINES = 100
WAYS = ("floor", "fast", "library", "stock")
RATES = (10_000, 1_000)
WARM_UP = 0.1

Numbers = dict[str, list[float]]


def one_way(way: str, rate: int, seconds: float, scratch: Path) -> dict[str, float]:
    """Return p50 and p99 in ms and the share of a core, of one way at one rate."""
    with tempfile.TemporaryDirectory(dir=scratch) as made:
        directory = Path(made)
        moments_file, result_file = directory / "moments", directory / "result"
        amounts = ("paced", rate, seconds, moments_file)
        replay = _start("stream_replay.py", LINES, *amounts)
        assert replay.stdout is not None
        port = replay.stdout.readline().strip()
        pipe = _start("stream_pipes.py", way, port, LINES, directory, result_file)
        try:
            replay.stdout.readline()
            pipe.communicate("enough\n", timeout=60)
        finally:
            for process in (replay, pipe):
                process.kill()
                process.communicate()
        moments = json.loads(moments_file.read_text())
        result = json.loads(result_file.read_text())
    waits = sorted(latencies_ms(moments, result["rows"]))
    name = f"{way}_{rate}"
    return {
        f"{name}_p50_ms": waits[len(waits) // 2],
        f"{name}_p99_ms": waits[int(len(waits) * 0.99)],
        f"{name}_core": result["used_s"] / seconds,
        f"{name}_missing": len(moments) - int(len(moments) * WARM_UP) - len(waits),
    }


def latencies_ms(moments: list[list[int]], rows: list[list[int]]) -> list[float]:
    """Return how long after its send each tick was readable, in ms."""
    numbers: dict[int, list[int]] = defaultdict(list)
    times: dict[int, list[int]] = defaultdict(list)
    for symbol, number, readable_ns in rows:
        if not numbers[symbol] or number > numbers[symbol][-1]:
            numbers[symbol].append(number)
            times[symbol].append(readable_ns)
    waits = []
    for symbol, number, sent_ns in moments[int(len(moments) * WARM_UP) :]:
        found = bisect_left(numbers[symbol], number)
        if found < len(times[symbol]):
            waits.append((times[symbol][found] - sent_ns) / 1e6)
    return waits


def _start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)


def measured(rounds: int, seconds: float, scratch: Path) -> Numbers:
    """Return every number's values, one a round."""
    numbers: Numbers = {}
    for number in range(rounds):
        found: dict[str, float] = {}
        for rate in RATES:
            for way in WAYS:
                show_progress(f"round {number + 1} of {rounds}: {way} at {rate:,} ticks/s")
                found |= one_way(way, rate, seconds, scratch)
            for percent in ("p50", "p99"):
                least = found[f"floor_{rate}_{percent}_ms"]
                fast = found[f"fast_{rate}_{percent}_ms"]
                found[f"floor_ratio_{rate}_{percent}"] = fast / least
                found[f"stock_ratio_{rate}_{percent}"] = found[f"stock_{rate}_{percent}_ms"] / fast
        for name, value in found.items():
            numbers.setdefault(name, []).append(value)
    return numbers


def table(numbers: Numbers) -> str:
    """Return the numbers for people."""
    titles = {
        "floor": "raw socket, same publish",
        "fast": "ibloop",
        "library": "ibloop, fast_receive = false",
        "stock": "ib_insync, json, os.replace",
    }
    rows = [machine(), f"from the wire to a readable file, {LINES} symbols"]
    for rate in RATES:
        rows += ["", f"{rate:,} ticks/s"]
        for way in WAYS:
            name = f"{way}_{rate}"
            rows += [
                _row(f"{titles[way]}: p50, ms", numbers[f"{name}_p50_ms"]),
                _row("  p99, ms", numbers[f"{name}_p99_ms"]),
                _row("  share of a core", numbers[f"{name}_core"]),
            ]
        for percent in ("p50", "p99"):
            floor, stock = (numbers[f"{x}_ratio_{rate}_{percent}"] for x in ("floor", "stock"))
            rows.append(_row(f"{percent}: ibloop against the raw socket", floor))
            rows.append(_row("  ib_insync with os.replace against ibloop", stock))
    return "\n".join(rows)


def _row(title: str, values: list[float]) -> str:
    spread = f"[{shown(min(values))} .. {shown(max(values))}]" if len(values) > 1 else ""
    return f"{title:<55}{shown(statistics.median(values)):>10}  {spread}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the way from the wire to files.")
    parser.add_argument("--json", action="store_true", help="print JSON: machine and every round")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a play (default 4)")
    parser.add_argument("--directory", help="where to write (default: TMPDIR)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ibloop-bench-", dir=given.directory) as scratch:
        numbers = measured(given.rounds, given.seconds, Path(scratch))
    if given.json:
        print(json.dumps({"machine": machine(), "rounds": numbers}, indent=1))  # noqa: T201
    else:
        print(table(numbers))  # noqa: T201


if __name__ == "__main__":
    main()
