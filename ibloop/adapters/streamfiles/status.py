"""The status documents: how each daemon is, and when it last said so."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ibloop.adapters.host import build_id
from ibloop.adapters.streamfiles.documents import ENCODER, Utc
from ibloop.adapters.streamfiles.names import SUFFIX
from ibloop.adapters.wholefiles import WholeFiles, read_whole
from ibloop.core.model import Moment
from ibloop.core.unusable import Unusable


class _StatusHead(msgspec.Struct, frozen=True, kw_only=True):
    """What every status document must have, and what it may leave out."""

    status: str
    last_heartbeat: Utc
    boottime_ns: int
    boot_id: str
    pid: int = 0
    build: str = ""
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A status document: how a daemon was at ``stamp``; ``document`` is all of it."""

    name: str
    status: str
    stamp: Moment
    pid: int
    build: str
    detail: str
    document: dict[str, Any]


def iso_utc(moment: datetime) -> str:
    """Return an aware time as ISO 8601 UTC with milliseconds, ``...Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def heartbeat_document(
    status: str, now: Moment, detail: str = "", fields: Mapping[str, object] | None = None
) -> dict[str, object]:
    """Return a status document of this process: the common fields, then ``fields``."""
    return {
        "status": status,
        "last_heartbeat": iso_utc(now.utc),
        "boottime_ns": now.boottime_ns,
        "boot_id": now.boot_id,
        "pid": os.getpid(),
        "build": build_id(),
        "detail": detail,
        **(fields or {}),
    }


def status_path(stream_dir: Path, name: str) -> Path:
    """Return where the status of ``name`` is: ``executor`` is ``_executor.json``."""
    return stream_dir / f"_{name}{SUFFIX}"


def write_status(path: Path, document: Mapping[str, object]) -> None:
    """Write a status document, whole, to a path such as ``data/ib/stream/_guard.json``."""
    WholeFiles(path.parent).write(path.name, ENCODER.encode(document) + b"\n")


def read_status(path: Path) -> dict[str, Any] | None:
    """Return a status document; None when there is no file or it is damaged."""
    payload = read_whole(path)
    if isinstance(payload, Unusable):
        return None
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_heartbeat(stream_dir: Path, name: str) -> Heartbeat | None:
    """Return the heartbeat of ``name``; None when it is missing, damaged or without a stamp."""
    document = read_status(status_path(stream_dir, name))
    if document is None:
        return None
    try:
        head = msgspec.convert(document, _StatusHead)
    except msgspec.ValidationError:
        return None
    stamp = Moment(head.last_heartbeat.astimezone(UTC), head.boottime_ns, head.boot_id)
    detail = head.detail or ""
    return Heartbeat(name, head.status, stamp, head.pid, head.build, detail, document)
