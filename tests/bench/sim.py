"""Measure the simulator: `make bench`, or `python tests/bench/sim.py [--json] [--rounds N]`.

The rounds are interleaved, so that a busy moment of the machine hits every number alike. What is
printed is the median, and in brackets the lowest and highest round.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from pathlib import Path

import measures

TITLES = {
    "feed_ticks_per_s": "ticks/s fed to a reader that only drains the socket",
    "feed_mb_per_s": "  the same in MB/s",
    "ib_insync_ticks_per_s": "ticks/s that ib_insync decodes",
    "feed_ratio": "  ratio of the two",
    "orders_per_s": "orders/s, placeOrder -> Filled, one at a time",
    "orders_ms_p50": "  latency p50, ms",
    "orders_ms_p99": "  latency p99, ms",
    "ib_insync_orders_per_s": "orders/s through ib_insync",
    "ib_insync_orders_ms_p50": "  latency p50, ms",
    "ib_insync_orders_ms_p99": "  latency p99, ms",
    "connects_per_s": "connects/s, handshake to nextValidId",
    "memory_mb_idle": "memory without clients, MB",
    "memory_mb_clients": f"memory with {measures.CLIENTS} clients of {measures.LINES} lines, MB",
    "truth_s": "GET /truth, s",
    "truth_mb": "  its size, MB",
}


def machine() -> str:
    """Return what the numbers were measured on."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    cpu = names[0] if names else platform.machine()
    return f"{os.cpu_count()} cores ({cpu}), {platform.system()}, {python}"


def one_round(seconds: float, orders: int) -> dict[str, float]:
    """Measure everything that is quick, once."""
    numbers = measures.feed(seconds) | measures.feed_ib_insync(seconds)
    numbers["feed_ratio"] = numbers["feed_ticks_per_s"] / numbers["ib_insync_ticks_per_s"]
    numbers |= measures.orders(orders) | measures.orders_ib_insync(orders)
    return numbers | measures.connects(orders)


def measured(rounds: int, seconds: float, orders: int, truth: int) -> dict[str, list[float]]:
    """Return each number's values, one a round; memory and truth are measured once."""
    numbers: dict[str, list[float]] = {}
    for number in range(rounds):
        show_progress(f"round {number + 1} of {rounds}")
        for name, value in one_round(seconds, orders).items():
            numbers.setdefault(name, []).append(value)
    show_progress(f"memory, then {truth:,} orders for /truth")
    once = measures.memory(5 * seconds) | measures.truth(truth)
    return numbers | {name: [value] for name, value in once.items()}


def show_progress(text: str) -> None:
    """Say on stderr what is being done."""
    print(f"{text} ...", file=sys.stderr, flush=True)  # noqa: T201


def table(numbers: dict[str, list[float]]) -> str:
    """Return the numbers for people."""
    rows = [f"{machine()}", ""]
    for name, title in TITLES.items():
        values = numbers[name]
        middle = shown(statistics.median(values))
        spread = f"[{shown(min(values))} .. {shown(max(values))}]" if len(values) > 1 else ""
        rows.append(f"{title:<55}{middle:>10}  {spread}")
    return "\n".join(rows)


def shown(value: float) -> str:
    """Return a number with three or four digits that matter."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the simulated gateway.")
    parser.add_argument("--json", action="store_true", help="print JSON: machine and every round")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a feed (default 1)")
    parser.add_argument("--orders", type=int, default=300, help="orders a round (default 300)")
    parser.add_argument("--truth", type=int, default=10_000, help="orders for /truth")
    given = parser.parse_args()
    numbers = measured(given.rounds, given.seconds, given.orders, given.truth)
    if given.json:
        print(json.dumps({"machine": machine(), "rounds": numbers}, indent=1))  # noqa: T201
    else:
        print(table(numbers))  # noqa: T201


if __name__ == "__main__":
    main()
