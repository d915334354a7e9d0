"""The clocks of the host, which the simulated world runs on."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The two clocks of the host."""

    def utc(self) -> datetime:
        """Return the real time, aware UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that only grow."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def utc(self) -> datetime:
        """Return the real time, aware UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()
