"""A tap on the wire: passes everything on and notes when which message of a client arrived."""

import contextlib
import multiprocessing
import selectors
import socket
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

CHUNK_BYTES = 1 << 18
HELLO = b"API\0"
PLACE, CANCEL, GLOBAL_CANCEL = b"3", b"4", b"58"

Stamp = tuple[bytes, int]
"""Message id of a request and its arrival, ns of the monotonic clock, which processes share."""


class Tap:
    """A tap that runs in a process of its own, before the gateway on ``target_port``."""

    def __init__(self, target_port: int) -> None:
        """Start it; :attr:`port` is where clients connect."""
        spawn = multiprocessing.get_context("spawn")
        self._line, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_run, args=(target_port, theirs), daemon=True)
        self._process.start()
        self.port: int = self._line.recv()

    def stamps(self) -> list[Stamp]:
        """Return all arrivals since the last :meth:`forget`."""
        self._line.send("stamps")
        found: list[Stamp] = self._line.recv()
        return found

    def count(self, message_id: bytes) -> int:
        """Return how many messages of a kind have arrived."""
        return sum(1 for kind, _ in self.stamps() if kind == message_id)

    def forget(self) -> None:
        """Begin anew."""
        self._line.send("forget")
        self._line.recv()

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


def _run(target_port: int, line: Connection) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    line.send(listener.getsockname()[1])
    selector = selectors.DefaultSelector()
    stamps: list[Stamp] = []
    selector.register(listener, selectors.EVENT_READ, None)
    selector.register(line, selectors.EVENT_READ, None)
    while True:
        for key, _ in selector.select():
            if key.fileobj is line:
                asked = line.recv()
                line.send(stamps if asked == "stamps" else None)
                if asked == "forget":
                    stamps.clear()
            elif key.fileobj is listener:
                _accept(listener, target_port, selector)
            else:
                _pass_on(selector, key, stamps)


def _accept(listener: socket.socket, target_port: int, selector: selectors.BaseSelector) -> None:
    client, _ = listener.accept()
    gateway = socket.create_connection(("127.0.0.1", target_port))
    for side in (client, gateway):
        side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    selector.register(client, selectors.EVENT_READ, (gateway, bytearray()))
    selector.register(gateway, selectors.EVENT_READ, (client, None))


def _pass_on(
    selector: selectors.BaseSelector, key: selectors.SelectorKey, stamps: list[Stamp]
) -> None:
    side, (other, unread) = key.fileobj, key.data
    assert isinstance(side, socket.socket)
    try:
        data = side.recv(CHUNK_BYTES)
        now = time.monotonic_ns()
        other.sendall(data)
    except OSError:
        data = b""
    if not data:
        for end in (side, other):
            with contextlib.suppress(KeyError, ValueError):
                selector.unregister(end)
            end.close()
    elif unread is not None:
        unread += data
        stamps += [(kind, now) for kind in _kinds(unread)]


def _kinds(unread: bytearray) -> Iterator[bytes]:
    """Yield the message ids of whole frames and take these off the buffer."""
    if unread.startswith(HELLO):
        del unread[: len(HELLO)]
    while len(unread) >= 4:
        end = 4 + int.from_bytes(unread[:4], "big")
        if len(unread) < end:
            return
        yield bytes(unread[4:end].partition(b"\0")[0])
        del unread[:end]


def most_in_a_second(times_ns: list[int]) -> int:
    """Return the most arrivals in any sliding second."""
    ordered, most, first = sorted(times_ns), 0, 0
    for last, at in enumerate(ordered):
        while at - ordered[first] >= 1_000_000_000:
            first += 1
        most = max(most, last - first + 1)
    return most
