"""A TWS client without a library: just enough to measure a gateway and not itself.

Blocking sockets, one message at a time, or bytes in bulk. Layouts are those of version 176.
"""

import contextlib
import http.client
import socket
import struct
from collections.abc import Iterator

HELLO = b"API\0\0\0\0\x09v176..176"
WAIT_S = 60.0
CHUNK_BYTES = 1 << 20


def frame(*fields: object) -> bytes:
    """Return one message as bytes."""
    body = "".join(f"{field}\0" for field in fields).encode()
    return struct.pack(">I", len(body)) + body


class Client:
    """A connection on which startApi was answered up to nextValidId."""

    def __init__(self, port: int, client_id: int) -> None:
        """Connect, and read until the first order id is known."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = bytearray()
        self.socket.sendall(HELLO)
        assert len(self.read()) == 2
        self.send(71, 2, client_id, "")
        self.order_id = int(self.wait_for("9")[2])

    def send(self, *fields: object) -> None:
        """Send one message."""
        self.socket.sendall(frame(*fields))

    def read(self) -> list[str]:
        """Return the next message."""
        while True:
            if len(self._unread) >= 4:
                end = 4 + int.from_bytes(self._unread[:4], "big")
                if len(self._unread) >= end:
                    fields = self._unread[4:end].decode().split("\0")[:-1]
                    del self._unread[:end]
                    return fields
            data = self.socket.recv(65_536)
            if not data:
                raise ConnectionError("the gateway hung up")
            self._unread += data

    def wait_for(self, *start: str) -> list[str]:
        """Return the next message that begins with these fields."""
        while True:
            fields = self.read()
            if tuple(fields[: len(start)]) == start:
                return fields

    def chunks(self) -> Iterator[memoryview]:
        """Yield what arrives, as bytes, without looking at it."""
        buffer = memoryview(bytearray(CHUNK_BYTES))
        while True:
            yield buffer[: self.socket.recv_into(buffer)]

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def contract(symbol: str) -> list[object]:
    """Return the 12 contract fields of a US stock."""
    return ["", symbol, "STK", "", "0.0", "", "", "SMART", "", "USD", "", ""]


def market_data(req_id: int, symbol: str) -> list[object]:
    """Return reqMktData for a stream."""
    return [1, 11, req_id, *contract(symbol), 0, "", 0, 0, ""]


def market_order(order_id: int, symbol: str, action: str, quantity: int) -> list[object]:
    """Return placeOrder for a market order."""
    core = ["", "", action, quantity, "MKT", "", "", "DAY", "", "", "", 0, "", 1]
    core += [0, 0, 0, 0, 0, 0, 0]
    allocation = ["", "0.0", "", "", "", "", "", "", ""]
    short_sale = [0, "", -1, 0, "", "", 0, "", "", 0, 0, "", 0, "", "", "", "", "", 0, "", ""]
    delta_neutral = ["", "", 0, "", "", "", "", "", ""]
    algo = ["", "", "", "", 0, "", "", 0, 0, "", "", 0, "", 0, 0, 0, 0]
    adjusted = ["", "", "", "", "", "", 0, "", "", "", "", "", "", "", "", 0, 0, 0, 0]
    newer = ["", "", 0, "", ""]
    parts = [*core, *allocation, *short_sale, *delta_neutral, *algo, *adjusted, *newer]
    return [3, order_id, *contract(symbol), *parts]


def get(port: int, path: str) -> bytes:
    """Return what the control port answers."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    with contextlib.closing(line):
        line.request("GET", path)
        return line.getresponse().read()
