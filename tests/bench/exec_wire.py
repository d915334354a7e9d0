"""What the executor does on the wire: how soon orders leave, and a kill; how soon it is back."""

import json
import subprocess
import sys
import time
from pathlib import Path

from client import Client, frame, market_order
from exec_house import PACE
from exec_site import ROOT, Site, simulator
from exec_tap import CANCEL, GLOBAL_CANCEL, PLACE, Tap, most_in_a_second

WINDOW_S = 1.05
"""The window of ibloop's own pace, which the ideal pacer shares: 45 orders in 1.05 s."""
IN_FLIGHT = 20
CLIENTS = {
    "ib_insync": Path(sys.executable),
    "ib_async": ROOT / ".venv-clients" / "ib_async" / "bin" / "python",
}


def ours(site: Site, count: int) -> dict[str, float]:
    """Return when the orders of one run left, ms after it was queued."""
    site.tap.forget()
    key, queued_ns = site.queue(count)
    placed = site.wait_placed(count)
    site.wait_acknowledged(count)
    site.halt()
    site.clear_up(key)
    return _summary("ibloop", count, queued_ns, placed, site.tap)


def ideal(count: int) -> dict[str, float]:
    """Return the same of a program that only writes frames made before, in waves of 45."""
    with simulator(count) as tap:
        client = Client(tap.port, 1)
        frames = [_limit_order(number, client.order_id) for number in range(1, count + 1)]
        time.sleep(WINDOW_S)
        tap.forget()
        began_ns, began = time.monotonic_ns(), time.monotonic()
        for wave, first in enumerate(range(0, count, PACE)):
            time.sleep(max(0.0, began + wave * WINDOW_S - time.monotonic()))
            for data in frames[first : first + PACE]:
                client.socket.send(data)
        placed = _arrivals(tap, count)
        client.close()
        return _summary("ideal", count, began_ns, placed, tap)


def stock(library: str, count: int) -> dict[str, float]:
    """Return the same of a client library that is given all orders at once."""
    if not CLIENTS[library].exists():
        return {}
    with simulator(count) as tap:
        process = _stock(library, tap.port, count)
        with process:
            assert process.stdout is not None
            moments = json.loads(process.stdout.readline())
            placed = _arrivals(tap, count)
        return _summary(library, count, moments["began_ns"], placed, tap)


def kill(site: Site, count: int) -> float:
    """Return the ms from the commit of a kill to the first cancel on the wire, orders waiting."""
    site.tap.forget()
    key, _ = site.queue(count)
    site.wait_placed(IN_FLIGHT)
    killed_ns = site.halt()
    canceled_ns = site.wait_first_cancel()
    site.clear_up(key)
    return (canceled_ns - killed_ns) / 1e6


def kill_stock(library: str, count: int) -> float | None:
    """Return the ms from a call of reqGlobalCancel to its arrival, orders waiting before it."""
    if not CLIENTS[library].exists():
        return None
    with simulator(count) as tap:
        process = _stock(library, tap.port, count, "kill")
        with process:
            assert process.stdout is not None
            moments = json.loads(process.stdout.readline())
            while not tap.count(GLOBAL_CANCEL):
                time.sleep(0.01)
        arrived_ns = min(at for kind, at in tap.stamps() if kind == GLOBAL_CANCEL)
    return float(arrived_ns - moments["killed_ns"]) / 1e6


def restarts(site: Site, count: int, times: int) -> list[float]:
    """Return the seconds from the start of a process to ready, with orders open at the broker."""
    site.tap.forget()
    site.queue(count)
    site.wait_placed(count)
    site.wait_acknowledged(count)
    took = []
    for _ in range(times):
        site.kill()
        took.append(site.start())
    return took


def _stock(library: str, port: int, count: int, *more: str) -> subprocess.Popen[str]:
    script = str(Path(__file__).with_name("exec_stock.py"))
    command = [str(CLIENTS[library]), script, library, str(port), str(count), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _limit_order(number: int, first_id: int) -> bytes:
    fields = market_order(first_id + number - 1, f"SYN{number:03d}", "BUY", 10)
    kind = fields.index("MKT")
    return frame(*fields[:kind], "LMT", "4.0", *fields[kind + 2 :])


def _arrivals(tap: Tap, count: int) -> list[int]:
    while tap.count(PLACE) < count:
        time.sleep(0.01)
    return [at for kind, at in tap.stamps() if kind == PLACE]


def _summary(name: str, count: int, began_ns: int, placed: list[int], tap: Tap) -> dict[str, float]:
    sent = [at for kind, at in tap.stamps() if kind in {PLACE, CANCEL, GLOBAL_CANCEL}]
    return {
        f"{name}_{count}_first_ms": (min(placed) - began_ns) / 1e6,
        f"{name}_{count}_last_ms": (max(placed) - began_ns) / 1e6,
        f"{name}_{count}_in_a_second": most_in_a_second(sent),
    }
