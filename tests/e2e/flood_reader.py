"""Read every quote file of a directory, flat out, until told to stop; say what was wrong.

A program of its own, without any of ibloop: it sees the files as anybody's reader would.
``flood_reader.py DIRECTORY locked|plain`` reads until its stdin ends, and prints a JSON object.
"""

import fcntl
import json
import os
import select
import sys
from pathlib import Path

FIELDS = {"symbol", "seq", "received_at", "boottime_ns", "boot_id", "source", "bid", "ask"}


def read(path: Path, *, locked: bool) -> bytes:
    """Return a file's bytes, read under a shared flock or without any."""
    fd = os.open(path, os.O_RDONLY)
    try:
        if locked:
            fcntl.flock(fd, fcntl.LOCK_SH)
        pieces = []
        while piece := os.read(fd, 64):  # in small pieces: a torn file would show
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(fd)


def look(path: Path, seen: dict[str, int], *, locked: bool) -> str | None:
    """Read one file; return what is wrong with it, ``None`` when nothing is."""
    raw = read(path, locked=locked)
    try:
        quote = json.loads(raw)
    except ValueError:
        return f"{path.name}: no JSON in {raw[:300]!r}"
    if missing := FIELDS - set(quote):
        return f"{path.name}: without {sorted(missing)}"
    if quote["symbol"] != path.stem:
        return f"{path.name}: about {quote['symbol']}"
    before = seen.get(path.name, 0)
    seen[path.name] = max(before, quote["seq"])
    if quote["seq"] < before:
        return f"{path.name}: seq {quote['seq']} after {before}"
    return None


def main(directory: Path, *, locked: bool) -> None:
    """Read until stdin ends."""
    seen: dict[str, int] = {}
    wrong: list[str] = []
    reads = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        for path in directory.glob("[A-Z]*.json"):
            reads += 1
            if problem := look(path, seen, locked=locked):
                wrong.append(problem)
    json.dump({"reads": reads, "wrong": wrong, "seen": seen}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), locked=sys.argv[2] == "locked")
