"""When the market is open, which period a moment belongs to, when a run must end.

The calendar itself (holidays, half days) is an adapter; here is only what follows from it.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Session:
    """One continuous stretch in which orders can be filled; aware UTC, ``opens <= t < closes``."""

    opens: datetime
    closes: datetime

    def contains(self, now: datetime) -> bool:
        """Return whether the market is open at ``now``."""
        return self.opens <= now < self.closes


def trade_date(now: datetime, timezone: str) -> date:
    """Return the market's date at ``now``: the UTC date cuts the American evening in two."""
    return now.astimezone(ZoneInfo(timezone)).date()


def day_start(now: datetime, timezone: str) -> datetime:
    """Return when the market's present date began, as aware UTC."""
    zone = ZoneInfo(timezone)
    return datetime.combine(trade_date(now, timezone), time(), zone).astimezone(UTC)


def period_key(now: datetime, timezone: str) -> str:
    """Return the weekly period's key, such as ``2026W47`` (ISO week of the market's date)."""
    year, week, _ = trade_date(now, timezone).isocalendar()
    return f"{year}W{week:02d}"


def run_deadline(
    now: datetime, session: Session, deadline_minutes: int, close_margin: timedelta
) -> datetime | None:
    """Return when every order of a run started at ``now`` must be dead.

    That is ``close_margin`` before the close at the latest, so that the end of each is seen while
    callbacks still come. ``None`` when no time at all is left (reason ``window_too_short``).
    """
    deadline = min(now + timedelta(minutes=deadline_minutes), session.closes - close_margin)
    return deadline if deadline > now else None
