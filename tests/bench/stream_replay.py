"""A gateway that only plays ticks made before: fast enough to measure a client and not itself.

python stream_replay.py LINES burst COUNT        all at once, in one send
python stream_replay.py LINES paced RATE SECONDS MOMENTS_FILE

It prints its port, serves one client, waits until that has opened LINES lines, and plays. A paced
tick is one send at its own moment; the moments (symbol, number of the tick, ns of the monotonic
clock) are written to a file at the end, for all ticks that carry their number as a size.
"""

import json
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from client import frame

VERSION = 176
ACCOUNT = "DU1234567"
SETTLE_S = 0.5
TIME_TICK = 7
"""Of each eight ticks the seventh is the time of the last trade; it carries no number."""

SPIN_S = 0.0002
"""Sleeping is not more exact than this; what is left of a pause is spent looking at the clock."""


def ticks(ids: Sequence[int], count: int, seed: int = 1) -> Iterator[tuple[int, bytes]]:
    """Yield ``count`` ticks as line and message, numbered from 1 by the size each carries.

    Of eight, three are prices, four sizes, one the time of the last trade, as a gateway sends them.
    """
    rng = random.Random(seed)
    prices = [rng.randrange(10_000, 20_000) for _ in ids]
    kind = line = 0
    for number in range(1, count + 1):
        if kind == 0:
            line = rng.randrange(len(ids))
            prices[line] += rng.randrange(-5, 6)
        yield line, _tick(kind, ids[line], prices[line], number)
        kind = (kind + 1) % 8


def _tick(kind: int, key: int, cents: int, number: int) -> bytes:
    if kind in {0, 2, 4}:
        tick, price = {0: (1, cents - 1), 2: (2, cents + 1), 4: (4, cents)}[kind]
        return frame(1, 6, key, tick, price / 100, number, 1)
    if kind == 6:
        return frame(46, 6, key, 45, 1_700_000_000 + number // 10_000)
    return frame(2, 6, key, {1: 0, 3: 3, 5: 5, 7: 8}[kind], number)


class Replay:
    """One client, served."""

    def __init__(self, lines: int) -> None:
        """Listen on a free port."""
        self._lines = lines
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._opened_lines: dict[int, str] = {}
        self._opened = threading.Event()
        self._sending = threading.Lock()

    def accept(self) -> tuple[socket.socket, dict[int, str]]:
        """Return the socket of the client and its lines, number to symbol, once all are open."""
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._answer, args=(connection,), daemon=True).start()
        self._opened.wait()
        time.sleep(SETTLE_S)
        return connection, dict(list(self._opened_lines.items())[: self._lines])

    def send(self, connection: socket.socket, data: bytes) -> None:
        """Send bytes that nothing else may come between."""
        with self._sending:
            connection.sendall(data)

    def _answer(self, connection: socket.socket) -> None:
        with suppress(ConnectionError):  # the client hung up
            self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        reader.read(4)
        while len(head := reader.read(4)) == 4:
            fields = reader.read(int.from_bytes(head, "big")).decode().split("\0")
            if fields[0].startswith("v"):
                connection.sendall(frame(VERSION, "20261122 10:00:00 UTC"))
            elif fields[0] == "71":
                connection.sendall(frame(15, 1, ACCOUNT) + frame(9, 1, 1))
            elif fields[0] == "49":
                self.send(connection, frame(49, 1, int(time.time())))
            elif fields[0] == "1":
                self._opened_lines[int(fields[2])] = fields[4]
                if len(self._opened_lines) == self._lines:
                    self._opened.set()


def play_burst(replay: Replay, count: int) -> None:
    """Send everything at once, and stay until the client hangs up."""
    connection, lines = replay.accept()
    replay.send(connection, b"".join(data for _, data in ticks(list(lines), count)))
    threading.Event().wait()


def play_paced(replay: Replay, rate: float, seconds: float, moments_file: Path) -> None:
    """Send tick by tick, each at its moment, and write down when it was."""
    connection, lines = replay.accept()
    symbols, moments = list(lines.values()), []
    made = list(ticks(list(lines), int(rate * seconds)))
    send, clock = replay.send, time.monotonic_ns
    began = clock()
    for number, (line, data) in enumerate(made, start=1):
        due = began + int(number * 1e9 / rate)
        while (left := due - clock()) > 0:
            if left > SPIN_S * 1e9:
                time.sleep(left / 1e9 - SPIN_S)
        if number % 8 != TIME_TICK:
            moments.append((symbols[line], number, clock()))
        send(connection, data)
    time.sleep(SETTLE_S)
    moments_file.write_text(json.dumps(moments))
    print("played", flush=True)  # noqa: T201 - its result
    threading.Event().wait()


def main() -> None:
    """Serve as the arguments say."""
    lines, how, amount, *rest = sys.argv[1:]
    replay = Replay(int(lines))
    print(replay.port, flush=True)  # noqa: T201 - its result
    if how == "burst":
        play_burst(replay, int(amount))
    else:
        play_paced(replay, float(amount), float(rest[0]), Path(rest[1]))


if __name__ == "__main__":
    main()
