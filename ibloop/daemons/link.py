"""Keeps one IB session connected to wherever ``_gateway.json`` points."""

import asyncio
from pathlib import Path
from typing import Protocol

from ibloop import log
from ibloop.adapters.ports import Clock
from ibloop.adapters.streamfiles import Heartbeat, read_heartbeat
from ibloop.core.model import Moment
from ibloop.errors import GatewayUnavailableError

BACKOFF_S_MIN, BACKOFF_S_MAX = 0.5, 10.0
LOOK_AROUND_S = 0.5
GATEWAY_AGE_S_MAX = 30.0
"""A gateway file older than this names a port that may be somebody else's by now."""

_log = log.get(__name__)


class Session(Protocol):
    """What the link needs of an IB session (``IbSession``)."""

    host: str
    port: int
    wake: asyncio.Event

    def is_connected(self) -> bool:
        """Return whether the transport is up and the account proven to be ours."""
        ...

    async def connect(self) -> None:
        """Connect and prove the account. Raises: GatewayUnavailableError."""
        ...

    def disconnect(self) -> None:
        """Close; harmless when closed."""
        ...


class GatewayLink:
    """Connects, notices a new gateway session, and tries again with growing pauses.

    A wrong account or other refusal is no matter of waiting: it is raised out of :meth:`step`.
    """

    def __init__(self, stream_dir: Path, clock: Clock, session: Session) -> None:
        """Take the session to keep connected; nothing is opened yet."""
        self._stream_dir = stream_dir
        self._clock = clock
        self._session = session
        self._session_id: object = None
        self._attempt: asyncio.Task[None] | None = None
        self._failures = 0
        self._retry_ns = 0
        self._looked_ns = 0
        self.problem = "waiting for the gateway"

    def step(self) -> None:
        """Do what is due: conclude an attempt, drop a stale connection, begin a new attempt."""
        now = self._clock.now()
        if self._attempt is not None:
            self._conclude(now)
            return
        if now.boottime_ns - self._looked_ns < LOOK_AROUND_S * 1e9:
            return
        self._looked_ns = now.boottime_ns
        gateway = read_heartbeat(self._stream_dir, "gateway")
        if self._session.is_connected():
            if gateway is not None and _is_up(gateway, now) and self._is_other(gateway):
                _log.info("link.session_changed")
                self._session.disconnect()
            return
        if now.boottime_ns >= self._retry_ns:
            self._begin(gateway, now)

    def _is_other(self, gateway: Heartbeat) -> bool:
        return gateway.document.get("session_id") != self._session_id

    def close(self) -> None:
        """Give up an attempt under way and disconnect."""
        if self._attempt is not None:
            self._attempt.cancel()
        self._session.disconnect()

    def _begin(self, gateway: Heartbeat | None, now: Moment) -> None:
        document = gateway.document if gateway is not None and _is_up(gateway, now) else {}
        host, port = document.get("host"), document.get("port")
        if not isinstance(host, str) or not isinstance(port, int):
            state = gateway.status if gateway else "silent"
            self.problem = f"waiting for the gateway, which is {state}"
            return
        self._session.host, self._session.port = host, port
        self._session_id = document.get("session_id")
        self._attempt = asyncio.create_task(self._session.connect())
        self._attempt.add_done_callback(lambda _: self._session.wake.set())

    def _conclude(self, now: Moment) -> None:
        attempt = self._attempt
        if attempt is None or not attempt.done():
            return
        self._attempt = None
        try:
            attempt.result()
        except GatewayUnavailableError as error:
            pause_s = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** min(self._failures, 10))
            self._failures += 1
            self._retry_ns = now.boottime_ns + int(pause_s * 1e9)
            self.problem = str(error)
            _log.warning("link.failed", error=str(error), retry_s=pause_s)
            return
        self._failures = 0
        self.problem = ""


def _is_up(gateway: Heartbeat, now: Moment) -> bool:
    return gateway.status == "connected" and now.age_s(gateway.stamp) <= GATEWAY_AGE_S_MAX
