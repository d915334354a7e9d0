"""The link keeps one session connected to where the gateway says it is, and to nowhere else."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ibloop.adapters.streamfiles import heartbeat_document, status_path, write_status
from ibloop.daemons.link import GatewayLink
from ibloop.errors import GatewayUnavailableError, RefusedError
from tests.fakes.clock import FakeClock


class FakeSession:
    """An IB session whose attempts end as a test says."""

    def __init__(self) -> None:
        """Let every attempt succeed."""
        self.host, self.port = "", 0
        self.wake = asyncio.Event()
        self.up = False
        self.error: Exception | None = None
        self.hangs = False
        self.attempts: list[tuple[str, int]] = []
        self.closed = 0

    def is_connected(self) -> bool:
        """Return whether the session is up."""
        return self.up

    async def connect(self) -> None:
        """End as told."""
        self.attempts.append((self.host, self.port))
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        self.up = True

    def disconnect(self) -> None:
        """Close."""
        self.up = False
        self.closed += 1


class Bench:
    """A link with its session, its clock and a gateway file."""

    def __init__(self, directory: Path) -> None:
        """Begin without a gateway."""
        self.directory = directory
        self.clock = FakeClock()
        self.session = FakeSession()
        self.link = GatewayLink(directory, self.clock, self.session)

    def gateway(self, status: str = "connected", session_id: str = "s1", **fields: object) -> None:
        """Write ``_gateway.json`` as of now."""
        known = {"host": "127.0.0.1", "port": 4002, "session_id": session_id}
        document = heartbeat_document(status, self.clock.now(), "", known | fields)
        write_status(status_path(self.directory, "gateway"), document)

    async def play(self, seconds: float) -> None:
        """Step twice a second, letting attempts end in between."""
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)
            self.link.step()
            for _ in range(3):
                await asyncio.sleep(0)
            self.link.step()


def on_bench(directory: Path, story: Callable[[Bench], Awaitable[None]]) -> None:
    """Run a story under an event loop."""

    async def told() -> None:
        bench = Bench(directory)
        await story(bench)
        bench.link.close()
        await asyncio.sleep(0)

    directory.mkdir(parents=True, exist_ok=True)
    asyncio.run(told())


def test_it_connects_where_the_gateway_says(tmp_path: Path) -> None:
    """Host and port come from the file; the daemon is woken when the attempt has ended."""

    async def story(bench: Bench) -> None:
        await bench.play(1)
        assert bench.session.attempts == []
        assert "silent" in bench.link.problem
        bench.gateway(port=4711)
        await bench.play(1)
        assert (bench.session.attempts, bench.session.up) == ([("127.0.0.1", 4711)], True)
        assert bench.session.wake.is_set()
        assert bench.link.problem == ""

    on_bench(tmp_path, story)


@pytest.mark.parametrize(
    "fields", [{"status": "waiting_2fa"}, {"host": None}, {"port": "4002"}, {"port": None}]
)
def test_it_waits_for_a_gateway_that_is_connected(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    """A gateway in login, or a file without an address, is waited for."""

    async def story(bench: Bench) -> None:
        bench.gateway(**fields)  # type: ignore[arg-type]
        await bench.play(3)
        assert bench.session.attempts == []

    on_bench(tmp_path, story)


def test_an_old_file_names_somebody_else_s_port(tmp_path: Path) -> None:
    """Half a minute without a heartbeat: nothing is connected to."""

    async def story(bench: Bench) -> None:
        bench.gateway()
        bench.clock.advance(31)
        await bench.play(3)
        assert bench.session.attempts == []

    on_bench(tmp_path, story)


def test_a_new_gateway_session_is_a_new_connection(tmp_path: Path) -> None:
    """The socket may still be open: the login behind it is another one."""

    async def story(bench: Bench) -> None:
        bench.gateway()
        await bench.play(1)
        bench.gateway(session_id="s2", port=5000)
        await bench.play(2)
        assert bench.session.closed == 1
        assert bench.session.attempts == [("127.0.0.1", 4002), ("127.0.0.1", 5000)]
        await bench.play(5)
        assert len(bench.session.attempts) == 2

    on_bench(tmp_path, story)


def test_a_gateway_file_that_falls_silent_drops_nothing(tmp_path: Path) -> None:
    """The wrapper may be gone and the gateway alive: the connection proves itself."""

    async def story(bench: Bench) -> None:
        bench.gateway()
        await bench.play(1)
        bench.gateway("failed", session_id="s2")
        await bench.play(60)
        assert bench.session.up
        assert bench.session.closed == 0

    on_bench(tmp_path, story)


def test_failures_are_tried_again_with_growing_pauses(tmp_path: Path) -> None:
    """At most ten seconds apart, at once after a success."""

    async def story(bench: Bench) -> None:
        bench.session.error = GatewayUnavailableError("nobody listens")
        for _ in range(60):
            bench.gateway()
            await bench.play(1)
        tries = len(bench.session.attempts)
        assert 8 <= tries <= 13
        assert bench.link.problem == "nobody listens"
        bench.session.error = None
        for _ in range(11):
            bench.gateway()
            await bench.play(1)
        assert bench.session.up
        bench.session.up = False
        bench.gateway()
        await bench.play(1)
        assert bench.session.up

    on_bench(tmp_path, story)


def test_one_attempt_at_a_time(tmp_path: Path) -> None:
    """A slow handshake is not overtaken by a second one with the same client id."""

    async def story(bench: Bench) -> None:
        bench.session.hangs = True
        for _ in range(20):
            bench.gateway()
            await bench.play(1)
        assert len(bench.session.attempts) == 1

    on_bench(tmp_path, story)


def test_a_refusal_is_raised(tmp_path: Path) -> None:
    """A wrong account is no matter of waiting: the daemon ends and says so."""

    async def story(bench: Bench) -> None:
        bench.gateway()
        bench.session.error = RefusedError("another account")
        with pytest.raises(RefusedError):
            await bench.play(2)

    on_bench(tmp_path, story)
