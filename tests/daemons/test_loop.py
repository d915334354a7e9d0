"""A daemon is alone, says how it is only after doing something, and ends cleanly or loudly."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.locks import DaemonLock
from ibloop.adapters.streamfiles import Heartbeat, read_heartbeat, wake
from ibloop.core.invariant import InvariantError
from ibloop.daemons import loop
from ibloop.daemons.loop import Report, Step, run_daemon
from ibloop.errors import LockHeldError

DEADLINE_S = 30.0


def fine() -> Report:
    """Report that all is well."""
    return Report("running", "fine", {"steps": 1})


def heartbeat(data_dir: Path) -> Heartbeat | None:
    """Return what the daemon under test last said."""
    return read_heartbeat(data_dir / "ib" / "stream", "executor")


def terminate() -> None:
    """Send this process what systemd sends a unit."""
    os.kill(os.getpid(), signal.SIGTERM)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most 30 s."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


def counted(steps: list[int]) -> Step:
    """Return a step that only notes that it was called."""

    def step() -> bool:
        steps.append(1)
        return False

    return step


def daemon(
    data_dir: Path,
    step: Step,
    report: Callable[[], Report] = fine,
    event: asyncio.Event | None = None,
) -> "asyncio.Task[None]":
    """Start the loop under test as a task of the running event loop."""
    return asyncio.create_task(
        run_daemon("executor", data_dir, step, report, clock=SystemClock(), wake=event)
    )


def test_sigterm_ends_it_and_the_last_word_is_stopped(tmp_path: Path) -> None:
    """SIGTERM ends the loop between steps; the heartbeat says stopped, the lock is free."""

    async def main() -> None:
        task = daemon(tmp_path, lambda: False)
        await until(lambda: heartbeat(tmp_path) is not None)
        beat = heartbeat(tmp_path)
        assert beat is not None
        assert (beat.status, beat.detail, beat.pid) == ("running", "fine", os.getpid())
        assert beat.document["steps"] == 1
        terminate()
        await asyncio.wait_for(task, DEADLINE_S)

    asyncio.run(main())
    beat = heartbeat(tmp_path)
    assert beat is not None
    assert beat.status == "stopped"
    assert beat.document["steps"] == 1
    with DaemonLock(tmp_path, "executor"):
        pass


def test_a_failure_to_say_how_it_is_is_still_said(tmp_path: Path) -> None:
    """A report that is too long for the file ends the daemon, not as if it were still running."""
    reports = [fine(), Report("running", "long", {"names": "x" * 70_000})]

    async def main() -> None:
        task = daemon(tmp_path, lambda: False, lambda: reports.pop(0))
        with pytest.raises(InvariantError):
            await asyncio.wait_for(task, DEADLINE_S)

    asyncio.run(main())
    beat = heartbeat(tmp_path)
    assert beat is not None
    assert beat.status == "failed"
    assert "too long" in beat.detail


def test_signal_handlers_are_given_back(tmp_path: Path) -> None:
    """After the loop SIGTERM means again what it meant before."""
    before = signal.getsignal(signal.SIGTERM)

    async def main() -> None:
        task = daemon(tmp_path, lambda: False)
        await until(lambda: heartbeat(tmp_path) is not None)
        terminate()
        await task

    asyncio.run(main())
    assert signal.getsignal(signal.SIGTERM) is before


def test_heartbeat_only_after_a_completed_step(tmp_path: Path) -> None:
    """A hung step is a silent heartbeat: nothing beside the step writes it."""

    async def main() -> None:
        entered, release = asyncio.Event(), asyncio.Event()

        async def step() -> bool:
            entered.set()
            await release.wait()
            return False

        task = daemon(tmp_path, step)
        await entered.wait()
        await asyncio.sleep(2 * loop.HEARTBEAT_S)
        assert heartbeat(tmp_path) is None
        release.set()
        await until(lambda: heartbeat(tmp_path) is not None)
        terminate()
        await task

    asyncio.run(main())


@pytest.mark.parametrize("more", [True, False])
def test_heartbeat_goes_on_busy_or_idle(more: bool, tmp_path: Path) -> None:
    """Busy or idle, stamps keep coming."""

    async def main() -> None:
        seen = set()

        def stamps() -> bool:
            beat = heartbeat(tmp_path)
            if beat is not None:
                seen.add(beat.stamp.boottime_ns)
            return len(seen) >= 3

        task = daemon(tmp_path, lambda: more)
        await until(stamps)
        gaps_s = [(b - a) / 1e9 for a, b in zip(sorted(seen), sorted(seen)[1:], strict=False)]
        assert min(gaps_s) >= loop.HEARTBEAT_S  # not a write a step
        terminate()
        await task

    asyncio.run(main())


def test_a_new_status_is_written_at_once(tmp_path: Path) -> None:
    """Who watches need not wait for the next beat to learn of a change."""
    reports = iter([Report("starting"), Report("running")])
    seen: list[tuple[str, str]] = []

    async def main() -> None:
        task: asyncio.Task[None]

        def step() -> bool:
            beat = heartbeat(tmp_path)
            if beat is not None:
                seen.append((beat.status, beat.detail))
            if len(seen) == 3:
                terminate()
            return True

        task = daemon(tmp_path, step, lambda: next(reports, Report("running", "late")))
        await asyncio.wait_for(task, DEADLINE_S)

    asyncio.run(main())
    assert seen[:3] == [("starting", ""), ("running", ""), ("running", "late")]


def test_an_error_ends_it_loudly(tmp_path: Path) -> None:
    """What a step raises reaches the caller; the heartbeat says failed with one line of it."""

    async def main() -> None:
        def step() -> bool:
            raise ValueError("no price\nand more")

        await daemon(tmp_path, step)

    with pytest.raises(ValueError, match="no price"):
        asyncio.run(main())
    beat = heartbeat(tmp_path)
    assert beat is not None
    assert (beat.status, beat.detail) == ("failed", "ValueError: no price")
    with DaemonLock(tmp_path, "executor"):
        pass


def test_cancelling_is_stopping(tmp_path: Path) -> None:
    """A cancelled loop has not failed."""

    async def main() -> None:
        task = daemon(tmp_path, lambda: False)
        await until(lambda: heartbeat(tmp_path) is not None)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    beat = heartbeat(tmp_path)
    assert beat is not None
    assert beat.status == "stopped"


def test_a_second_one_neither_steps_nor_speaks(tmp_path: Path) -> None:
    """Without the lock a daemon does nothing at all, least of all overwrite the heartbeat."""
    steps: list[int] = []

    async def main() -> None:
        with pytest.raises(LockHeldError, match="executor is already running as pid"):
            await daemon(tmp_path, counted(steps))

    with DaemonLock(tmp_path, "executor"):
        asyncio.run(main())
    assert steps == []
    assert heartbeat(tmp_path) is None


@pytest.mark.parametrize("how", ["touch", "event"])
def test_a_nudge_ends_the_pause(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work committed elsewhere, or news from an adapter, starts a step before the poll is due."""
    monkeypatch.setattr(loop, "HEARTBEAT_S", 600.0)
    steps: list[int] = []

    async def main() -> None:
        event = asyncio.Event()
        task = asyncio.create_task(
            run_daemon(
                "executor",
                tmp_path,
                counted(steps),
                fine,
                clock=SystemClock(),
                wake=event,
                poll_s=600.0,
            )
        )
        await until(lambda: len(steps) == 1)
        for count in (2, 3):
            if how == "touch":
                wake(tmp_path / "ib" / "stream")
            else:
                event.set()
            await until(lambda count=count: len(steps) >= count)  # type: ignore[misc]
            await asyncio.sleep(0.05)
            assert len(steps) == count  # one nudge, one step
        terminate()
        await asyncio.wait_for(task, DEADLINE_S)

    asyncio.run(main())


def test_more_work_goes_on_at_once_and_starves_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """True means again without a pause, and still lets other tasks and signals in."""
    monkeypatch.setattr(loop, "HEARTBEAT_S", 600.0)
    steps: list[int] = []

    async def main() -> None:
        def step() -> bool:
            steps.append(1)
            return True

        task = daemon(tmp_path, step)
        await until(lambda: len(steps) > 500)
        terminate()
        await asyncio.wait_for(task, DEADLINE_S)

    asyncio.run(main())


def test_news_during_a_step_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event set while a step runs brings the next step without waiting for the poll."""
    monkeypatch.setattr(loop, "HEARTBEAT_S", 600.0)
    steps: list[int] = []

    async def main() -> None:
        event = asyncio.Event()

        def step() -> bool:
            steps.append(1)
            if len(steps) == 1:
                event.set()
            return False

        task = daemon(tmp_path, step, event=event)
        await until(lambda: len(steps) >= 2)
        terminate()
        await asyncio.wait_for(task, DEADLINE_S)

    asyncio.run(main())
