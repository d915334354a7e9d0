"""What systemd hears of a daemon: one datagram a message, and never a lie about a wedged step."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.notify import notify, watchdog_s
from ibloop.daemons import loop
from ibloop.daemons.loop import Report, run_daemon

DEADLINE_S = 30.0
WATCHDOG_S = 0.4


class Manager:
    """The service manager's end of the notification socket."""

    def __init__(self, address: str) -> None:
        """Listen at a path, or with ``@`` in the abstract name space."""
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def messages(self) -> list[str]:
        """Return all messages so far."""
        try:
            while True:
                self.heard.append(self._socket.recv(65_536).decode())
        except BlockingIOError:
            return self.heard

    def lines(self) -> list[str]:
        """Return all assignments so far, in order."""
        return [line for message in self.messages() for line in message.split("\n")]

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Be the service manager of this process."""
    found = Manager(f"@ibloop-test-{os.getpid()}-{time.monotonic_ns()}")
    monkeypatch.setenv("NOTIFY_SOCKET", found.address)
    monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG_S * 1e6)))
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    yield found
    found.close()


async def until(manager: Manager, line: str, count: int = 1) -> None:
    """Wait until a line was heard so often."""
    deadline = time.monotonic() + DEADLINE_S
    while manager.lines().count(line) < count:
        assert time.monotonic() < deadline, f"expected {line}, was {manager.heard}"
        await asyncio.sleep(0.005)


def terminate() -> None:
    """Send this process what systemd sends a unit."""
    os.kill(os.getpid(), signal.SIGTERM)


def test_one_datagram_a_message(manager: Manager) -> None:
    """Assignments of one message stay together; a line break cannot smuggle in another one."""
    assert notify("READY=1", "STATUS=12 € of\nMAINPID=1")
    assert manager.messages() == ["READY=1\nSTATUS=12 € of MAINPID=1"]


def test_a_socket_with_a_path(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The address may be a path as well as an abstract name."""
    path = f"/tmp/ibloop-notify-{os.getpid()}-{time.monotonic_ns()}"  # noqa: S108  # why: 107 bytes at most
    listening = Manager(path)
    try:
        assert notify("READY=1", environ={"NOTIFY_SOCKET": path})
        assert listening.messages() == ["READY=1"]
    finally:
        listening.close()
        Path(path).unlink()


def test_a_manager_that_does_not_listen_hangs_nobody(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the kernel's queue is full the message is lost, not the daemon."""
    monkeypatch.setattr("ibloop.adapters.notify.SEND_S_MAX", 0.01)
    for _ in range(100_000):
        if not notify("STATUS=busy"):
            break
    else:
        pytest.fail("expected the queue to be full at some time")
    assert set(manager.messages()) == {"STATUS=busy"}


@pytest.mark.parametrize("address", ["", "relative", "/nonexistent/notify"])
def test_nobody_listens(address: str) -> None:
    """Outside systemd, or with its socket gone, nothing happens and nothing raises."""
    assert not notify("READY=1", environ={"NOTIFY_SOCKET": address})
    assert not notify("READY=1", environ={})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_ours_only_when_it_names_us(
    environ: dict[str, str], expected: float | None
) -> None:
    """A watchdog meant for our parent is not fed by us."""
    assert watchdog_s(environ) == expected


def test_ready_after_the_first_step_then_status_and_stopping(
    tmp_path: Path, manager: Manager
) -> None:
    """Ready comes with the first completed step, together with its status; stopping comes last."""
    reports = iter([Report("starting"), Report("ready", "idle")])
    heard_before: list[int] = []

    async def main() -> None:
        def step() -> bool:
            heard_before.append(len(manager.messages()))
            return False

        task = asyncio.create_task(
            run_daemon(
                "executor",
                tmp_path,
                step,
                lambda: next(reports, Report("ready", "idle")),
                clock=SystemClock(),
            )
        )
        await until(manager, "STATUS=ready: idle")
        terminate()
        await asyncio.wait_for(task, DEADLINE_S)

    asyncio.run(main())
    assert manager.heard[0] == "READY=1\nWATCHDOG=1\nSTATUS=starting"
    assert heard_before[0] == 0
    assert manager.lines().count("READY=1") == 1
    assert manager.lines()[-2:] == ["STOPPING=1", "STATUS=stopping"]


def test_completed_steps_feed_the_watchdog_sparingly(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy daemon pings about four times a watchdog period, not with each of its steps."""
    steps: list[int] = []

    async def main() -> None:
        def step() -> bool:
            steps.append(1)
            return True

        task = asyncio.create_task(
            run_daemon("executor", tmp_path, step, lambda: Report("ready"), clock=SystemClock())
        )
        began = time.monotonic()
        await until(manager, "WATCHDOG=1", 5)
        took_s = time.monotonic() - began
        terminate()
        await asyncio.wait_for(task, DEADLINE_S)
        assert took_s >= 4 * WATCHDOG_S / loop.PINGS_PER_WATCHDOG - 0.05

    asyncio.run(main())
    assert len(steps) > 10 * manager.lines().count("WATCHDOG=1")


def test_a_wedged_step_starves_the_watchdog(tmp_path: Path, manager: Manager) -> None:
    """Nothing beside the step pings: while one hangs, systemd hears nothing."""

    async def main() -> None:
        release, steps = asyncio.Event(), 0

        async def step() -> bool:
            nonlocal steps
            steps += 1
            if steps == 3:
                await release.wait()
            return True

        task = asyncio.create_task(
            run_daemon("executor", tmp_path, step, lambda: Report("ready"), clock=SystemClock())
        )
        await until(manager, "READY=1")
        heard = len(manager.messages())
        await asyncio.sleep(3 * WATCHDOG_S)
        assert len(manager.messages()) <= heard + 1
        release.set()
        await until(manager, "WATCHDOG=1", 3)
        terminate()
        await asyncio.wait_for(task, DEADLINE_S)

    asyncio.run(main())


def test_a_failure_is_the_last_status(tmp_path: Path, manager: Manager) -> None:
    """`systemctl status` shows why a daemon failed; it did not stop, so it does not say so."""

    async def main() -> None:
        def step() -> bool:
            raise ValueError("no price\nREADY=1")

        await run_daemon("executor", tmp_path, step, lambda: Report("x"), clock=SystemClock())

    with pytest.raises(ValueError, match="no price"):
        asyncio.run(main())
    assert manager.lines() == ["STATUS=failed: ValueError: no price"]


def test_a_status_that_changes_with_every_step_does_not_flood(
    tmp_path: Path, manager: Manager
) -> None:
    """At most one status a heartbeat goes to the service manager, however busy the daemon is."""
    count = 0

    def report() -> Report:
        nonlocal count
        count += 1
        return Report("ready", f"step {count}")

    async def main() -> None:
        task = asyncio.create_task(
            run_daemon("executor", tmp_path, lambda: True, report, clock=SystemClock())
        )
        began = time.monotonic()
        deadline = began + DEADLINE_S
        while sum(line.startswith("STATUS=") for line in manager.lines()) < 3:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert time.monotonic() - began >= 2 * loop.HEARTBEAT_S - 0.05
        terminate()
        await asyncio.wait_for(task, DEADLINE_S)

    asyncio.run(main())
    assert count > 100
