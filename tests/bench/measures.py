"""What is measured: one function per number, each against a simulator that was just started.

The simulator is a process of its own, as users run it; so is ib_insync, which is measured by
`insync.py`. Nothing here is asserted: a machine may be busy.
"""

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client import Client, get, market_data, market_order

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LINES = 100
CLIENTS = 32
SYMBOL = "AAPL"
# Where a frame ends and the next one of up to 255 bytes begins; ticks have no empty fields.
BETWEEN_FRAMES = b"\0\0\0\0"
ORDERS = ("--speed", "0", "--cash", "1000000000", "--message-rate", "0")
FEED = ("--synthetic", str(LINES), "--message-rate", "0")
FASTEST = (*FEED, "--speed", "600", "--sample-ms", "1")


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running `ibloop sim`."""

    pid: int
    port: int
    control_port: int

    def memory_mb(self) -> float:
        """Return the resident memory in MB (1e6 bytes)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024 / 1e6


@contextmanager
def gateway(*arguments: str) -> Iterator[Gateway]:
    """Run a simulator until the block ends."""
    command = [sys.executable, "-m", "ibloop", "sim", "--port", "0", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            ready = json.loads(process.stdout.readline())
            yield Gateway(process.pid, ready["port"], ready["control_port"])
        finally:
            process.terminate()


def ib_insync(*arguments: object) -> dict[str, float]:
    """Run `insync.py` and return its numbers."""
    command = [sys.executable, str(HERE / "insync.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    numbers: dict[str, float] = json.loads(done.stdout)
    return numbers


def symbols() -> list[str]:
    """Return the synthetic symbols that the feed is made of."""
    return [f"SYN{number:03d}" for number in range(1, LINES + 1)]


# ---------------------------------------------------------------------- ticks


def feed(seconds: float) -> dict[str, float]:
    """Return how many tick messages a second reach a reader that only counts bytes."""
    with gateway(*FASTEST) as sim:
        client = Client(sim.port, 1)
        subscribe(client)
        client.wait_for("2", "6", str(LINES))
        frames = size = 0
        began = time.perf_counter()
        for chunk in client.chunks():
            data = bytes(chunk)
            frames += data.count(BETWEEN_FRAMES)
            size += len(data)
            took = time.perf_counter() - began
            if took >= seconds:
                break
        client.close()
    return {"feed_ticks_per_s": frames / took, "feed_mb_per_s": size / took / 1e6}


def feed_ib_insync(seconds: float) -> dict[str, float]:
    """Return how many of the same messages a second stock ib_insync decodes, never idle."""
    with gateway(*FASTEST) as sim:
        return ib_insync("feed", sim.port, seconds, *symbols())


def subscribe(client: Client) -> None:
    """Ask for a stream of every synthetic symbol."""
    for number, symbol in enumerate(symbols(), start=1):
        client.send(*market_data(number, symbol))


# ---------------------------------------------------------------------- orders


def orders(count: int) -> dict[str, float]:
    """Return rate and latency of placeOrder -> Filled, one order after the other."""
    with gateway(*ORDERS) as sim:
        client = Client(sim.port, 1)
        trip(client)
        waits_ms = [1000 * trip(client) for _ in range(count)]
        client.close()
    return {"orders_per_s": 1000 * count / sum(waits_ms)} | percentiles("orders", waits_ms)


def orders_ib_insync(count: int) -> dict[str, float]:
    """Return the same through ib_insync, its own limit of 45 messages a second switched off."""
    with gateway(*ORDERS) as sim:
        numbers = ib_insync("orders", sim.port, count, SYMBOL)
    return {f"ib_insync_{name}": value for name, value in numbers.items()}


def trip(client: Client) -> float:
    """Place a market order and return the seconds until it is Filled."""
    number = client.order_id
    client.order_id += 1
    began = time.perf_counter()
    client.send(*market_order(number, SYMBOL, "BUY" if number % 2 else "SELL", 1))
    client.wait_for("3", str(number), "Filled")
    return time.perf_counter() - began


def percentiles(name: str, waits_ms: list[float]) -> dict[str, float]:
    """Return median and 99th percentile."""
    ordered = sorted(waits_ms)
    last = len(ordered) - 1
    return {f"{name}_ms_p{p}": ordered[round(last * p / 100)] for p in (50, 99)}


# ---------------------------------------------------------------------- connections and memory


def connects(count: int) -> dict[str, float]:
    """Return how many clients a second can connect up to nextValidId, one after the other."""
    with gateway("--speed", "0") as sim:
        Client(sim.port, 1).close()
        began = time.perf_counter()
        for _ in range(count):
            Client(sim.port, 1).close()
        return {"connects_per_s": count / (time.perf_counter() - began)}


def memory(seconds: float) -> dict[str, float]:
    """Return the memory without clients, and with many that stream all their lines."""
    with gateway(*FEED) as sim:
        alone = sim.memory_mb()
        clients = [Client(sim.port, number) for number in range(1, CLIENTS + 1)]
        for client in clients:
            subscribe(client)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            for sock in select.select([client.socket for client in clients], [], [], 0.1)[0]:
                sock.recv(1 << 16)
        crowded = sim.memory_mb()
        for client in clients:
            client.close()
    return {"memory_mb_idle": alone, "memory_mb_clients": crowded}


def truth(count: int) -> dict[str, float]:
    """Return how long `GET /truth` takes with many filled orders, and how large it is."""
    with gateway(*ORDERS) as sim:
        client = Client(sim.port, 1)
        for _ in range(count):
            trip(client)
        waits_s = []
        for _ in range(3):
            began = time.perf_counter()
            size = len(get(sim.control_port, "/truth"))
            waits_s.append(time.perf_counter() - began)
        client.close()
    return {"truth_s": sorted(waits_s)[1], "truth_mb": size / 1e6}
