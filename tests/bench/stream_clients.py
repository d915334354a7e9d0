"""The clients whose receiving is compared; run as a program, one of them drains a burst.

python stream_clients.py KIND PORT LINES COUNT CHUNK    prints µs of processor time a message

CHUNK is how many bytes are read from the socket at a time, at most. KIND is one of:
    bare       a blocking socket, frames, bytes.split, float, a dictionary a line
    stock      ib_insync as it comes
    fast       our market data with its fast receive path
    states     the same, and the merged state of what changed after each packet
    library    our market data over ib_insync's own path
"""

import asyncio
import json
import logging
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import ib_insync
from client import Client, market_data
from stream_replay import ACCOUNT, ticks

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ib.market import IbMarketData
from ibloop.core.model import Instrument

FIRST_NUMBER = 1_000_000_000
"""Where our numbers of lines begin; all clients use the same, for messages of the same length."""

PRICES = {b"1": ("bid", "bid_size"), b"2": ("ask", "ask_size"), b"4": ("last", "last_size")}
SIZES = {b"0": "bid_size", b"3": "ask_size", b"5": "last_size", b"8": "volume"}
WAIT_S = 60
SMALL_BYTES = 1_000


def symbols(lines: int) -> list[str]:
    """Return the symbols of the lines."""
    return [f"SYN{number:03d}" for number in range(1, lines + 1)]


def instruments(lines: int) -> list[Instrument]:
    """Return the same as instruments."""
    tick, lot = Decimal("0.01"), Decimal(1)
    return [
        Instrument(symbol, number, symbol, "NYSE", "USD", tick, lot, "x", None)
        for number, symbol in enumerate(symbols(lines), start=1)
    ]


class Bare:
    """Frames, split, float, a table: the least that Python code can do with ticks."""

    def __init__(self, ids: Sequence[int]) -> None:
        """Begin with an empty table of these lines."""
        self.table: dict[bytes, dict[str, float]] = {b"%d" % key: {} for key in ids}
        self._rest = b""

    def take(self, data: bytes) -> set[bytes]:
        """Handle a packet; return the lines that changed."""
        table, length_at, changed = self.table, struct.Struct(">I").unpack_from, set[bytes]()
        data = self._rest + data if self._rest else data
        size, offset = len(data), 0
        while size - offset > 4:
            end = offset + 4 + length_at(data, offset)[0]
            if end > size:
                break
            fields = data[offset + 4 : end].split(b"\0")
            offset = end
            kind = fields[0]
            if kind == b"1":
                name, beside = PRICES[fields[3]]
                line = table[fields[2]]
                line[name] = float(fields[4])
                line[beside] = float(fields[5])
                changed.add(fields[2])
            elif kind == b"2":
                table[fields[2]][SIZES[fields[3]]] = float(fields[4])
                changed.add(fields[2])
            elif kind == b"46":
                table[fields[2]]["time"] = float(fields[4])
                changed.add(fields[2])
        self._rest = data[offset:]
        return changed


def bare_connection(port: int, lines: int) -> tuple[socket.socket, list[int]]:
    """Return a socket on which the lines are open, and their numbers."""
    client = Client(port, 1)
    ids = [FIRST_NUMBER + number for number in range(lines)]
    for key, symbol in zip(ids, symbols(lines), strict=True):
        client.send(*market_data(key, symbol))
    return client.socket, ids


async def stock_connection(port: int, lines: int) -> ib_insync.IB:
    """Return ib_insync with the lines open, and nothing asked that a replay cannot answer."""
    ib = ib_insync.IB()
    ib.client.MaxRequests = 0
    await ib.client.connectAsync("127.0.0.1", port, 1, WAIT_S)
    ib.client.updateReqId(FIRST_NUMBER)
    for symbol in symbols(lines):
        ib.reqMktData(ib_insync.Stock(symbol, "SMART", "USD"))
    return ib


async def our_connection(port: int, lines: int, *, fast: bool) -> IbMarketData:
    """Return our market data with the lines subscribed."""
    market = IbMarketData("127.0.0.1", port, 12, ACCOUNT, SystemClock(), fast_receive=fast)
    await market.connect()
    if fast and market.receive_problem:
        raise RuntimeError(market.receive_problem)
    market.subscribe(instruments(lines))
    return market


def drain_bare(port: int, lines: int, count: int, chunk: int) -> float:
    """Return the µs of processor time a message took."""
    connection, ids = bare_connection(port, lines)
    left = sum(len(data) for _, data in ticks(ids, count))
    bare = Bare(ids)
    data = connection.recv(chunk)
    began = time.process_time()
    while True:
        bare.take(data)
        left -= len(data)
        if left <= 0:
            return (time.process_time() - began) / count * 1e6
        data = connection.recv(chunk)


async def drain(kind: str, port: int, lines: int, count: int, chunk: int) -> float:
    """Return the same of a client on an event loop."""
    market: Any = None
    if kind == "stock":
        client: Any = (await stock_connection(port, lines)).client
    else:
        market = await our_connection(port, lines, fast=kind != "library")
        client = market._client
    ids = [FIRST_NUMBER + number for number in range(lines)]
    left = sum(len(data) for _, data in ticks(ids, count))
    done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    receive: Callable[[bytes], None] = client.conn.data_received
    began = 0.0

    def counted(data: bytes) -> None:
        nonlocal left, began
        if not began and len(data) < SMALL_BYTES:  # an answer from before the burst
            receive(data)
            return
        began = began or time.process_time()
        receive(data)
        if kind == "states":
            market.updates()
        left -= len(data)
        if left <= 0 and not done.done():
            done.set_result((time.process_time() - began) / count * 1e6)

    client.conn.data_received = counted
    client.conn.transport.max_size = chunk
    return await asyncio.wait_for(done, WAIT_S)


def main() -> None:
    """Measure what the arguments say."""
    logging.disable()
    kind, port, lines, count, chunk = sys.argv[1], *map(int, sys.argv[2:6])
    if kind == "bare":
        took = drain_bare(port, lines, count, chunk)
    else:
        took = asyncio.run(drain(kind, port, lines, count, chunk))
    sys.stdout.write(json.dumps(took))
    sys.stdout.flush()
    os._exit(0)  # the library complains of a loop that is closed before it hangs up


if __name__ == "__main__":
    main()
