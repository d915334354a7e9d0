"""When is the weekly rebalance due? In the first session of the week, some minutes after its open.

A timer may ask as often as it likes: the answer depends on the moment alone, and the run's key
makes sure that one period has one run. Nothing is lost by an outage at the appointed minute, for
the window stays open for a while.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from ibloop.core.sessions import Session, period_key, trade_date

SessionOn = Callable[[date], Session | None]
"""Gives the session of a market date, ``None`` when the exchange is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The rule: ``weekly`` is the first session of the ISO week.

    The window opens ``offset_minutes`` after the session and stays open for ``catch_up_minutes``.
    """

    rule: Literal["weekly"] = "weekly"
    offset_minutes: int = 15
    catch_up_minutes: int = 120


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch in which the run of one period is started; aware UTC, closing time excluded."""

    key: str
    opens: datetime
    closes: datetime

    def contains(self, now: datetime) -> bool:
        """Return whether the run is due at ``now``."""
        return self.opens <= now < self.closes


def window_of_week(
    day: date, timezone: str, schedule: Schedule, session_on: SessionOn, close_margin: timedelta
) -> Window | None:
    """Return the window of the ISO week of ``day``; ``None`` when no session leaves room for one.

    A week without any session, or whose first session is too short for the offset, has none: the
    period is left out rather than moved, because a later day is another decision.
    """
    monday = day - timedelta(days=day.weekday())
    for offset in range(7):
        session = session_on(monday + timedelta(days=offset))
        if session is None:
            continue
        opens = session.opens + timedelta(minutes=schedule.offset_minutes)
        late = opens + timedelta(minutes=schedule.catch_up_minutes)
        closes = min(late, session.closes - close_margin)
        key = period_key(session.opens, timezone)
        return Window(key, opens, closes) if closes > opens else None
    return None


def window_at(
    now: datetime, timezone: str, schedule: Schedule, session_on: SessionOn, close_margin: timedelta
) -> Window | None:
    """Return the window of the present week, past, open or still to come."""
    day = trade_date(now, timezone)
    return window_of_week(day, timezone, schedule, session_on, close_margin)


def always_window(now: datetime, timezone: str) -> Window:
    """Return the window for the calendar ``always``: a period is due until it has run."""
    return Window(period_key(now, timezone), now, now + timedelta(days=1))


def windows_from(
    now: datetime,
    timezone: str,
    schedule: Schedule,
    session_on: SessionOn,
    close_margin: timedelta,
    weeks: int,
) -> Iterator[Window]:
    """Yield the windows that are open or to come, at most those of the next ``weeks`` weeks."""
    today = trade_date(now, timezone)
    for week in range(weeks):
        day = today + timedelta(weeks=week)
        window = window_of_week(day, timezone, schedule, session_on, close_margin)
        if window is not None and window.closes > now:
            yield window
