"""The web process: its lock, its socket, its heartbeat and its end.

``run_daemon`` does what it does for every daemon; uvicorn serves beside it, without its own
handling of signals and logs. The page only reads, so ending it is never worth waiting for.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ports import Clock
from ibloop.config import Profile, Web
from ibloop.core.invariant import present
from ibloop.daemons.loop import Report, run_daemon
from ibloop.errors import ConfigError
from ibloop.web.app import make_app
from ibloop.web.source import Source

CONNECTIONS_MAX = 100
GRACE_S = 1
"""How long an answer under way may take at the end; after it the process goes all the same."""


class _Server(uvicorn.Server):
    """uvicorn, leaving signals to ``run_daemon`` and telling when it accepts connections."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebDaemon:
    """Serves the page: :meth:`step` begins it and sees that it goes on."""

    def __init__(self, profile: Profile, clock: Clock, announce: Callable[[str], None]) -> None:
        """Take the profile; ``announce`` gets the page's URL once it accepts connections."""
        self._source = Source(profile, clock)
        self._web = profile.config.web
        self._announce = announce
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._address: tuple[str, int] | None = None

    def step(self) -> bool:
        """Begin to serve at the first call; raise what ended the server at a later one.

        Raises: ConfigError when the address cannot be had.
        """
        if self._serving is None:
            self._begin()
        elif self._serving.done():
            self._serving.result()
            raise RuntimeError("the server has ended by itself")
        return False

    def report(self) -> Report:
        """Say where the page is."""
        host, port = present(self._address, "address")
        fields = {"url": self._url(), "host": host, "port": port}
        started = self._server is not None and self._server.started
        return Report("serving" if started else "starting", self._url(), fields)

    async def close(self) -> None:
        """Stop accepting, let answers under way end, close everything."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.wait((self._serving,), timeout=GRACE_S + 0.5)
        self._source.close()

    def _begin(self) -> None:
        listening = listen(self._web)
        self._address = listening.getsockname()[:2]
        self._server = _Server(
            uvicorn.Config(
                make_app(self._source),
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=GRACE_S,
            ),
            on_started=lambda: self._announce(self._url()),
        )
        self._serving = asyncio.create_task(self._server.serve([listening]))

    def _url(self) -> str:
        host, port = present(self._address, "address")
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


async def run(profile: Profile, announce: Callable[[str], None]) -> None:
    """Serve the page until SIGTERM. Raises: LockHeldError, ConfigError."""
    clock = SystemClock()
    daemon = WebDaemon(profile, clock, announce)
    try:
        await run_daemon("web", profile.data_dir, daemon.step, daemon.report, clock=clock)
    finally:
        await daemon.close()


def listen(web: Web) -> socket.socket:
    """Return a socket that listens at the configured address.

    Raises: ConfigError when something else does, or there is no such address.
    """
    family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        # For a port whose last connections are still fading; a listening one stays taken.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((web.host, web.port))
        listening.listen(CONNECTIONS_MAX)
    except OSError as error:
        listening.close()
        taken = error.errno == errno.EADDRINUSE
        why = "something else listens there" if taken else os.strerror(error.errno or 0)
        raise ConfigError(
            f"cannot listen at {web.host} port {web.port}: {why}; set web.port (0 picks a free one)"
        ) from None
    return listening
