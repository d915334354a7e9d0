"""One way from the wire to readable files, until a line comes on its standard input.

python stream_pipes.py KIND PORT LINES DIRECTORY RESULT_FILE

Before it ends it writes what was readable when: rows of symbol, number of the newest tick in the
file, ns of the monotonic clock. KIND is one of:
    floor      a blocking socket, a table, one plain dictionary a file, written as ours are
    fast       `ibloop stream run` as it is
    library    `ibloop stream run` with `fast_receive = false`
    stock      ib_insync as it comes, json, a temporary file, os.replace
"""

import asyncio
import csv
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from exec_house import toml
from stream_clients import (
    ACCOUNT,
    WAIT_S,
    Bare,
    bare_connection,
    stock_connection,
    symbols,
)

from ibloop import log
from ibloop.adapters.host import SystemClock, boot_id
from ibloop.adapters.streamfiles import (
    StreamWriter,
    file_name,
    heartbeat_document,
    status_path,
    write_status,
)
from ibloop.adapters.universe import COLUMNS
from ibloop.adapters.wholefiles import WholeFiles
from ibloop.config import load_profile
from ibloop.core.model import Quote
from ibloop.daemons import stream

NUMBERED = ("bid_size", "ask_size", "last_size", "volume")
"""The sizes, one of which is the number of the newest tick."""

Row = tuple[str, int, int]


class Readable:
    """What was readable when, and the processor time it took."""

    def __init__(self, result: Path) -> None:
        """Begin with nothing; the thread writes the result and ends the process."""
        self.rows: list[Row] = []
        self._used: list[float] = []
        self._result = result
        threading.Thread(target=self._finish, daemon=True).start()

    def note(self, symbol: str, sizes: Iterable[Any]) -> None:
        """Note that a file with these sizes is there for everybody."""
        self.rows.append((symbol, int(max(filter(None, sizes), default=0)), time.monotonic_ns()))
        if len(self._used) == 0:
            self._used.append(time.process_time())

    def _finish(self) -> None:
        sys.stdin.readline()
        used_s = time.process_time() - (self._used or [0.0])[0]
        self._result.write_text(json.dumps({"rows": self.rows, "used_s": used_s}))
        os._exit(0)


def floor(port: int, lines: int, directory: Path, readable: Readable) -> None:
    """Write what changed after each packet, with nothing in between."""
    connection, ids = bare_connection(port, lines)
    names = {b"%d" % key: name for key, name in zip(ids, symbols(lines), strict=True)}
    files, encode, bare = WholeFiles(directory), msgspec.json.Encoder().encode, Bare(ids)
    connection.settimeout(None)
    seq = 0
    while data := connection.recv(1 << 18):
        for key in bare.take(data):
            seq += 1
            symbol, line = names[key], bare.table[key]
            document = {
                "symbol": symbol,
                "con_id": 1,
                "seq": seq,
                "received_at": time.time(),
                "boottime_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                "boot_id": boot_id(),
                "source": "ib_stream",
                "market_data_type": "live",
                "currency": "USD",
                "exchange": "SMART",
                **line,
            }
            files.write(file_name(symbol), encode(document) + b"\n")
            readable.note(symbol, map(line.get, NUMBERED))


async def stock(port: int, lines: int, directory: Path, readable: Readable) -> None:
    """Do as most do."""
    ib = await stock_connection(port, lines)
    path = f"{directory}/.new"

    def changed(tickers: Any) -> None:
        for ticker in tickers:
            symbol = ticker.contract.symbol
            document = {
                "symbol": symbol,
                "con_id": ticker.contract.conId,
                "bid": ticker.bid,
                "ask": ticker.ask,
                "last": ticker.last,
                "bid_size": ticker.bidSize,
                "ask_size": ticker.askSize,
                "last_size": ticker.lastSize,
                "volume": ticker.volume,
                "time": ticker.time.isoformat(),
            }
            with open(path, "w") as file:  # noqa: PTH123 - as most do
                json.dump(document, file)
            os.replace(path, f"{directory}/{symbol}.json")  # noqa: PTH105 - as most do
            sizes = (ticker.bidSize, ticker.askSize, ticker.lastSize, ticker.volume)
            readable.note(symbol, (size for size in sizes if size == size))  # noqa: PLR0124 - NaN

    ib.pendingTickersEvent += changed
    await asyncio.sleep(WAIT_S)


def ours(port: int, lines: int, directory: Path, readable: Readable, *, fast: bool) -> None:
    """Run the stream daemon against the replay; the end of each publish is noted."""
    source = profile_file(directory, port, lines, fast=fast)
    profile = load_profile(source, None, directory)
    stamp = SystemClock().now()
    gateway = {"host": "127.0.0.1", "port": port, "account": ACCOUNT, "session_id": "bench"}
    path = status_path(profile.stream_dir, "gateway")
    write_status(path, heartbeat_document("connected", stamp, "", gateway))
    publish = StreamWriter.publish

    def noting(writer: StreamWriter, quote: Quote) -> None:
        publish(writer, quote)
        sizes = (quote.bid_size, quote.ask_size, quote.last_size, quote.volume)
        readable.note(quote.symbol, sizes)

    StreamWriter.publish = noting  # type: ignore[method-assign]
    log.configure("stream", stream=(directory / "log").open("w"))
    asyncio.run(stream.run(profile))


def profile_file(directory: Path, port: int, lines: int, *, fast: bool) -> Path:
    """Write a profile whose universe are the lines, and return where."""
    with (directory / "universe.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for number, symbol in enumerate(symbols(lines), start=1):
            rows.writerow([symbol, number, symbol, "NYSE", "USD", "0.01", "1", "x"])
    text = toml(20).replace('launcher = "sim"\nport = 0', f'launcher = "external"\nport = {port}')
    text += f'\n[universe]\nfile = "universe.csv"\n\n[stream]\nfast_receive = {str(fast).lower()}\n'
    source = directory / "ibloop.toml"
    source.write_text(text)
    return source


def main() -> None:
    """Go the way the arguments say."""
    kind, directory, readable = sys.argv[1], Path(sys.argv[4]), Readable(Path(sys.argv[5]))
    port, lines = map(int, sys.argv[2:4])
    if kind == "floor":
        floor(port, lines, directory, readable)
    elif kind == "stock":
        logging.disable()
        asyncio.run(stock(port, lines, directory, readable))
    else:
        ours(port, lines, directory, readable, fast=kind == "fast")


if __name__ == "__main__":
    main()
