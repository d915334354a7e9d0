"""Two processes and one file: readers against a writer flat out, and nudges from one to the other.

Every number of a published quote is its `seq`, so a mix of two versions shows.
"""

import json
import mmap
import multiprocessing as mp
import os
import signal
import socket
import statistics
import struct
import time
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from multiprocessing.synchronize import Event
from pathlib import Path

from ibloop.adapters.host import SystemClock
from ibloop.adapters.streamfiles import QuoteReader, StreamWriter, Waker, wake
from ibloop.core.model import MarketDataType, Quote, QuoteSource
from ibloop.core.unusable import FileFault

FORK = mp.get_context("fork")
NUMBERS = ("bid", "ask", "last", "close", "high", "low", "bid_size", "volume")
LENGTH_MAX = 60  # of the text that makes versions of different length
WAIT_S = 60
BUSY = -1
BETWEEN_NUDGES_S = 0.005
STAMP = struct.Struct("<q")


class Race(StrEnum):
    """How the reader reads."""

    LOCKED = "locked"
    UNLOCKED = "unlocked"
    PIECES = "pieces"


def write_flat_out(directory: Path, stop: Event, began: Event, count: "mp.Queue[int]") -> None:
    """Publish versions of one file until told to stop."""
    clock, writer, versions = SystemClock(), StreamWriter(directory), 0
    while not stop.is_set():
        now = clock.now()
        seq = writer.next_seq("AAPL", now)
        number, text = Decimal(seq), "X" * (seq % LENGTH_MAX)
        stream, live = QuoteSource.STREAM, MarketDataType.LIVE
        writer.publish(
            Quote("AAPL", 1, seq, now, now.utc, stream, live, *[number] * 11, False, "USD", text)
        )
        versions += 1
        if versions == 100:
            began.set()
    count.put(versions)


def race(directory: Path, kind: Race, reads: int) -> dict[str, float]:
    """Read so often while another process writes; return what was seen."""
    stop, began = FORK.Event(), FORK.Event()
    count: mp.Queue[int] = FORK.Queue()
    writer = FORK.Process(target=write_flat_out, args=(directory, stop, began, count))
    writer.start()
    began.wait(WAIT_S)
    look = _looker(directory, kind)
    torn = busy = backwards = last = 0
    for _ in range(reads):
        seq = look()
        if seq is None:
            torn += 1
        elif seq == BUSY:
            busy += 1
        elif seq < last:
            backwards += 1
        last = max(last, seq or 0)
    stop.set()
    versions = count.get(timeout=WAIT_S)
    writer.join()
    found = {"reads": reads, "torn": torn, "backwards": backwards, "versions": versions}
    return found | ({"busy": busy} if kind is Race.LOCKED else {})


def _looker(directory: Path, kind: Race) -> Callable[[], int | None]:
    """Return a function that reads the file and returns its seq.

    None for no whole version; :data:`BUSY` when the writer was not running for so long that a
    reader gives up.
    """
    if kind is Race.LOCKED:
        reader = QuoteReader(directory)

        def look() -> int | None:
            quote = reader.read(["AAPL"]).get("AAPL")
            if quote is None and reader.problems["AAPL"].fault is FileFault.BUSY:
                return BUSY
            if quote is None or len({getattr(quote, name) for name in NUMBERS}) != 1:
                return None
            whole = len(quote.exchange) == quote.seq % LENGTH_MAX and quote.bid == quote.seq
            return quote.seq if whole else None

        return look
    path, size = str(directory / "AAPL.json"), 4096 if kind is Race.UNLOCKED else 64

    def look_unlocked() -> int | None:
        fd = os.open(path, os.O_RDONLY)
        content = b""
        while part := os.read(fd, size):
            content += part
        os.close(fd)
        try:
            document = json.loads(content)
            values = {document[name] for name in ("seq", *NUMBERS)}
            whole = len(values) == 1 and len(document["exchange"]) == document["seq"] % LENGTH_MAX
        except (ValueError, KeyError):
            return None
        return int(document["seq"]) if whole else None

    return look_unlocked


# ---------------------------------------------------------------------- nudges


def nudges(directory: Path, count: int) -> dict[str, float]:
    """Return the median time from a nudge to the other process, through a file and a socket."""
    directory.mkdir()
    us = {
        "datagram": _median_us(directory, count, _hear_datagrams, _datagrams),
        "inotify": _median_us(directory, count, _hear_wakes, lambda _: lambda: wake(directory)),
    }
    numbers = {f"{kind}_us": value for kind, value in us.items()}
    return numbers | {"nudge_ratio": us["inotify"] / us["datagram"]}


def _median_us(
    directory: Path,
    count: int,
    hear: Callable[[Path], Callable[[], None]],
    nudger: Callable[[Path], Callable[[], None]],
) -> float:
    """Nudge a process so often, a few milliseconds apart, and return its median waiting time."""
    shared = mmap.mmap(-1, 2 * STAMP.size)  # when the nudge began, when it was heard
    ready = FORK.Event()
    listener = FORK.Process(target=_listen, args=(directory, hear, shared, ready))
    listener.start()
    ready.wait(WAIT_S)
    nudge, times = nudger(directory), []
    for _ in range(count):
        time.sleep(BETWEEN_NUDGES_S)
        STAMP.pack_into(shared, STAMP.size, 0)
        began = time.monotonic_ns()
        nudge()
        end = time.monotonic() + WAIT_S
        while not (heard := STAMP.unpack_from(shared, STAMP.size)[0]) and time.monotonic() < end:
            time.sleep(0.0005)
        times.append(heard - began)
    os.kill(listener.pid or 0, signal.SIGKILL)
    listener.join()
    return statistics.median(times) / 1e3


def _listen(
    directory: Path,
    hear: Callable[[Path], Callable[[], None]],
    shared: mmap.mmap,
    ready: Event,
) -> None:
    wait = hear(directory)
    ready.set()
    while True:
        wait()
        STAMP.pack_into(shared, STAMP.size, time.monotonic_ns())


def _hear_wakes(directory: Path) -> Callable[[], None]:
    waker = Waker(directory)

    def wait() -> None:
        waker.wait(WAIT_S)

    return wait


def _hear_datagrams(directory: Path) -> Callable[[], None]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(directory / "socket"))
    sock.settimeout(WAIT_S)  # as ours: nobody waits for ever

    def wait() -> None:
        sock.recv(16)

    return wait


def _datagrams(directory: Path) -> Callable[[], None]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    address = str(directory / "socket")

    def nudge() -> None:
        sock.sendto(b"x", address)

    return nudge
