"""The shape of every daemon: hold the lock, step, say how it is, wait for a nudge, stop on SIGTERM.

A step does one piece of work and returns whether there is more. Tests call steps; this loop only
decides when the next one is due. A hung step means a silent heartbeat and an unfed watchdog, which
is what the guard and systemd rely on, so both follow a completed step and nothing runs beside it.
"""

import asyncio
import inspect
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from ibloop import log
from ibloop.adapters.host import build_id
from ibloop.adapters.locks import DaemonLock
from ibloop.adapters.notify import notify, watchdog_s
from ibloop.adapters.ports import Clock
from ibloop.adapters.streamfiles import Waker, heartbeat_document, status_path, write_status
from ibloop.core.model import Moment

HEARTBEAT_S = 0.8  # readers count on one a second
FAILURE_CHARS_MAX = 1000
PINGS_PER_WATCHDOG = 4  # sd_watchdog_enabled(3) asks for two or more

Step = Callable[[], bool | Awaitable[bool]]

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """How a daemon is: the contract's status word, one line for people, further JSON fields."""

    status: str
    detail: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)


async def run_daemon(
    name: str,
    data_dir: Path,
    step: Step,
    report: Callable[[], Report],
    *,
    clock: Clock,
    wake: asyncio.Event | None = None,
    poll_s: float = HEARTBEAT_S,
    document: str | None = None,
    status_failed: str = "failed",
) -> None:
    """Run ``step`` until SIGTERM or SIGINT, as the only process of that name on ``data_dir``.

    Args: ``step`` may be a coroutine function; while it returns True it is called again at once,
    else after a touch of ``_wake``, after ``wake`` is set (by an adapter), or after ``poll_s``
    seconds, at most 0.8. ``report`` is asked after each step. ``document`` names the heartbeat
    file, ``_NAME.json`` by default; it says ``stopped`` at the end, or ``status_failed`` with the
    error's first line. Under systemd the unit is ready after the first completed step.
    Raises: LockHeldError when another process holds ``locks/NAME.lock``; whatever a step raises.
    """
    stream_dir = data_dir / "ib" / "stream"
    event = asyncio.Event() if wake is None else wake
    with (
        DaemonLock(data_dir, name),
        _Pauses(event, min(poll_s, HEARTBEAT_S)) as pauses,
        _woken_by_touch(stream_dir, event),
        _stopped_by_signal(event) as stop,
        _Heart(status_path(stream_dir, document or name), clock, status_failed) as heart,
    ):
        _log.info("daemon.started", build=build_id())
        supervised = _Supervised()
        while not stop.is_set():
            more = step()
            if inspect.isawaitable(more):
                more = await more
            said, now = report(), clock.now()
            heart.beat(said, now)
            supervised.completed(said, now)
            if more:
                await asyncio.sleep(0)  # let sockets and signals in
            else:
                await pauses.wait()


class _Pauses:
    """Waits for an event, at most ``pause_s``; the step after it sees all that set it.

    One timer runs on however often the event comes, and sets it, too: a timer and a task for each
    wait would cost a busy daemon more than its steps do.
    """

    def __init__(self, event: asyncio.Event, pause_s: float) -> None:
        self._event = event
        self._pause_s = pause_s
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self) -> None:
        """Wait, and forget what set the event."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._ring)
        if self._event.is_set():
            await asyncio.sleep(0)  # sockets and signals get their turn in any case
        else:
            await self._event.wait()
        self._event.clear()

    def _ring(self) -> None:
        self._timer = None
        self._event.set()

    def __enter__(self) -> "_Pauses":
        return self

    def __exit__(self, *_error: object) -> None:
        if self._timer is not None:
            self._timer.cancel()


@contextmanager
def _woken_by_touch(stream_dir: Path, event: asyncio.Event) -> Iterator[None]:
    """Set ``event`` after each touch of ``_wake``."""
    loop = asyncio.get_running_loop()
    with Waker(stream_dir) as waker:

        def touched() -> None:
            waker.clear()
            event.set()

        loop.add_reader(waker.fileno(), touched)
        try:
            yield
        finally:
            loop.remove_reader(waker.fileno())


@contextmanager
def _stopped_by_signal(event: asyncio.Event) -> Iterator[asyncio.Event]:
    """Yield the stop flag that SIGTERM and SIGINT set; they also end a pause."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def asked() -> None:
        notify("STOPPING=1", "STATUS=stopping")
        stop.set()
        event.set()

    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, asked)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


class _Heart:
    """Writes the heartbeat document; leaving its block writes the last one."""

    def __init__(self, path: Path, clock: Clock, status_failed: str) -> None:
        self._path = path
        self._clock = clock
        self._status_failed = status_failed
        self._last = Report("starting")
        self._written: Moment | None = None
        self._is_mute = False

    def beat(self, report: Report, now: Moment) -> None:
        """Write when status or detail changed, else when the last one is 0.8 s old."""
        same = (report.status, report.detail) == (self._last.status, self._last.detail)
        self._last = report
        if same and self._written is not None and now.age_s(self._written) < HEARTBEAT_S:
            return
        self._written = now
        self._write(report.status, now, report.detail, report.fields)

    def __enter__(self) -> "_Heart":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, asyncio.CancelledError):
            self._write("stopped", self._clock.now(), "", self._last.fields)
            _log.info("daemon.stopped")
            return
        line = f"{type(error).__name__}: {error}".splitlines()[0][:FAILURE_CHARS_MAX]
        notify(f"STATUS={self._status_failed}: {line}")
        # Without further fields: they may be what failed, and the last word must get out.
        self._write(self._status_failed, self._clock.now(), line, {})
        _log.error("daemon.failed", error=line)

    def _write(self, status: str, now: Moment, detail: str, fields: Mapping[str, object]) -> None:
        """Write the document; a full or read-only disk makes us silent, which others notice.

        It does not end us: what the daemon keeps in memory or holds open would be lost with it.
        """
        try:
            write_status(self._path, heartbeat_document(status, now, detail, fields))
        except OSError as error:
            if not self._is_mute:
                _log.error("daemon.heartbeat_unwritten", error=str(error))
            self._is_mute = True
            return
        if self._is_mute:
            _log.info("daemon.heartbeat_written_again")
        self._is_mute = False


class _Supervised:
    """Tells systemd of completed steps: ready at the first one, then status and signs of life."""

    def __init__(self) -> None:
        limit_s = watchdog_s()
        self._ping_s = float("inf") if limit_s is None else limit_s / PINGS_PER_WATCHDOG
        self._status: str | None = None
        self._told: Moment | None = None
        self._pinged: Moment | None = None

    def completed(self, report: Report, now: Moment) -> None:
        """Take note of a completed step and send what is due, in one message."""
        if self._told is None or self._pinged is None:
            self._told = self._pinged = now
            self._status = _line(report)
            notify("READY=1", "WATCHDOG=1", f"STATUS={self._status}")
            return
        messages = []
        # Not with every step: a busy daemon must not flood the service manager.
        if _line(report) != self._status and now.age_s(self._told) >= HEARTBEAT_S:
            self._told, self._status = now, _line(report)
            messages.append(f"STATUS={self._status}")
        if now.age_s(self._pinged) >= self._ping_s:
            self._pinged = now
            messages.append("WATCHDOG=1")
        if messages:
            notify(*messages)


def _line(report: Report) -> str:
    return f"{report.status}: {report.detail}" if report.detail else report.status
