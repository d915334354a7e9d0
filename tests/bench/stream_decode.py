"""Measure how ticks are decoded: `make bench`, or `python tests/bench/stream_decode.py`.

A burst of ticks comes over a socket, and each client needs its processor time for it: waiting for
a busy machine does not count. The rounds are interleaved; what is printed is the median, and in
brackets the lowest and highest round. Nothing is asserted.
"""

import argparse
import json
import statistics
import subprocess
import sys

from measures import HERE, ROOT
from sim import machine, show_progress, shown

LINES = 100
WAYS = ("bare", "stock", "fast", "states", "library")
CHUNKS = (16_384, 262_144)
BURST_CHUNK = CHUNKS[-1]
"""What an event loop reads at a time: a burst comes in packets of up to this size."""

TITLES = {
    "bare": "frames, split, float, dictionary",
    "stock": "ib_insync as it comes",
    "fast": "ibloop",
    "states": "ibloop, and the states to publish after each packet",
    "library": "ibloop, fast_receive = false",
}

Numbers = dict[str, list[float]]


def drained_us(way: str, count: int, chunk: int) -> float:
    """Return the µs of processor time a message took."""
    command = [sys.executable, str(HERE / "stream_replay.py"), str(LINES), "burst", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as replay:
        assert replay.stdout is not None
        port = replay.stdout.readline().strip()
        client = [sys.executable, str(HERE / "stream_clients.py"), way, port]
        client += [str(LINES), str(count), str(chunk)]
        try:
            done = subprocess.run(client, capture_output=True, text=True, check=True, cwd=ROOT)
        finally:
            replay.kill()
    return float(json.loads(done.stdout))


def measured(rounds: int, count: int) -> Numbers:
    """Return every number's values, one a round."""
    numbers: Numbers = {}
    for number in range(rounds):
        show_progress(f"round {number + 1} of {rounds}: {count:,} ticks")
        found = {
            f"{way}_{chunk}_us": drained_us(way, count, chunk) for chunk in CHUNKS for way in WAYS
        }
        fast = found[f"fast_{BURST_CHUNK}_us"]
        found["stock_ratio"] = found[f"stock_{BURST_CHUNK}_us"] / fast
        found["bare_ratio"] = found[f"bare_{BURST_CHUNK}_us"] / fast
        for way in ("fast", "stock"):
            found[f"{way}_chunk_ratio"] = (
                found[f"{way}_{CHUNKS[0]}_us"] / found[f"{way}_{CHUNKS[1]}_us"]
            )
        for name, value in found.items():
            numbers.setdefault(name, []).append(value)
    return numbers


def table(numbers: Numbers) -> str:
    """Return the numbers for people."""
    rows = [machine()]
    for chunk in CHUNKS:
        rows += ["", f"a burst in packets of {chunk // 1024} KiB: µs of processor time a message"]
        rows += [_row(TITLES[way], numbers[f"{way}_{chunk}_us"]) for way in WAYS]
    rows += [
        "",
        _row("ibloop's rate against ib_insync's", numbers["stock_ratio"]),
        _row("  against frames, split, float, dictionary", numbers["bare_ratio"]),
        _row("rate in large packets against small ones: ibloop", numbers["fast_chunk_ratio"]),
        _row("  ib_insync", numbers["stock_chunk_ratio"]),
    ]
    return "\n".join(rows)


def _row(title: str, values: list[float]) -> str:
    spread = f"[{shown(min(values))} .. {shown(max(values))}]" if len(values) > 1 else ""
    return f"{title:<55}{shown(statistics.median(values)):>10}  {spread}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure how ticks are decoded.")
    parser.add_argument("--json", action="store_true", help="print JSON: machine and every round")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument("--ticks", type=int, default=200_000, help="of a burst (default 200,000)")
    given = parser.parse_args()
    numbers = measured(given.rounds, given.ticks)
    if given.json:
        print(json.dumps({"machine": machine(), "rounds": numbers}, indent=1))  # noqa: T201
    else:
        print(table(numbers))  # noqa: T201


if __name__ == "__main__":
    main()
