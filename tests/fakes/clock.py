"""Time that moves only when a test moves it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ibloop.core.model import Moment

START = Moment(datetime(2026, 11, 20, 15, 30, tzinfo=UTC), 10**12, "a" * 32)
"""A Friday, half past ten in New York."""


class FakeClock:
    """The port ``Clock``: both clocks go on together unless one of them is stepped."""

    def __init__(self, start: Moment = START) -> None:
        """Begin at ``start``."""
        self.moment = start

    def now(self) -> Moment:
        """Return the present moment."""
        return self.moment

    def advance(self, seconds: float) -> None:
        """Let both clocks go on."""
        self.moment = replace(
            self.moment,
            utc=self.moment.utc + timedelta(seconds=seconds),
            boottime_ns=self.moment.boottime_ns + int(seconds * 1e9),
        )

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back; boot time does not notice."""
        self.moment = replace(self.moment, utc=self.moment.utc + timedelta(seconds=seconds))
