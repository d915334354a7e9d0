"""When each session of the market was played, on the clock of the server.

Quotes know sessions by number and seconds; bars and ticks of the past need dates. Pure: times are
seconds since 1970, `now` is an argument.

On the hours of the exchange a session is a trading day, and its 23,400 seconds are stretched over
that day's regular hours. In a market that never closes sessions follow each other without a pause
and have no dates of their own. There

- what was played since the world began lies where it was played: at `pace` market seconds per
  second of server time, session after session, so that a fill lies in the bar of its minute;
- what of its first session was played before (the market went on from a state file) lies right
  before that, at pace 1;
- sessions before that one fill the regular hours of the NYSE trading days before it;
- as days, the session being played is today, and the sessions before it are the trading days
  before today, one each. Once more than one session was played on a date, the daily bar of that
  date is therefore one session, and not the sum of that date's shorter bars.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from ibloop.sim.market.hours import TradingDay, day_on_or_before, new_york_date
from ibloop.sim.market.paths import SESSION_S

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time in which (part of) one session is played, `pace` market s per second.

    `from_s` is how far the session has run when the span begins, `to_s` when it ends; `regular`
    says that it lies on the exchange's hours.
    """

    session: int
    begins_s: float
    ends_s: float
    from_s: float
    to_s: float
    pace: float
    regular: bool = False

    def elapsed_s(self, at_s: float) -> float:
        """Return how far the session has run at a time, at most to the span's end."""
        if at_s >= self.ends_s:
            return self.to_s
        return min(self.to_s, self.from_s + max(0.0, at_s - self.begins_s) * self.pace)

    def when_s(self, elapsed_s: float) -> float:
        """Return the time at which the session has run so far; the end if it stands still."""
        if self.pace <= 0:
            return self.ends_s
        return min(self.ends_s, self.begins_s + (elapsed_s - self.from_s) / self.pace)


@dataclass(frozen=True, slots=True)
class Day:
    """A session as a daily bar knows it: its date, and when its trading begins and ends."""

    date: date
    session: int
    begins_s: float
    ends_s: float


class Timeline(Protocol):
    """The past of the market, seen from one moment; both lists are newest first and endless."""

    @property
    def now_s(self) -> float:
        """Return the moment it is seen from."""
        ...

    @property
    def aligned(self) -> bool:
        """Tell whether a duration in days begins with a session, else it is so many hours."""
        ...

    def spans(self) -> Iterator[Span]:
        """Return what was played, up to now."""
        ...

    def days(self) -> Iterator[Day]:
        """Return the sessions as days, from the one being played or played last."""
        ...


@dataclass(frozen=True, slots=True)
class Continuous:
    """The past of a market that never closes; `began_*` is where this world went on."""

    now_s: float
    market_s: float
    began_s: float
    began_market_s: float
    pace: float

    aligned = False

    def spans(self) -> Iterator[Span]:
        """Return what was played since the world began, then before, then earlier days."""
        session, ends_s, to_s = self._session, self.now_s, self.market_s
        while True:
            start_s = max(session * SESSION_S, self.began_market_s)
            begins_s = self._when_s(start_s)
            base_s = session * SESSION_S
            yield Span(session, begins_s, ends_s, start_s - base_s, to_s - base_s, self.pace)
            if start_s == self.began_market_s:
                break
            session, ends_s, to_s = session - 1, begins_s, start_s
        elapsed_s = self.began_market_s - session * SESSION_S
        if elapsed_s > 0:
            yield Span(session, self.began_s - elapsed_s, self.began_s, 0.0, elapsed_s, 1.0)
        for day in _days_until(self.began_s - elapsed_s, None):
            session -= 1
            yield _whole(session, day, self.now_s)

    def days(self) -> Iterator[Day]:
        """Return the session being played as today, and the trading days before today."""
        today = new_york_date(datetime.fromtimestamp(self.now_s, UTC))
        session, pace = self._session, self.pace or 1.0
        elapsed_s = self.market_s - session * SESSION_S
        begins_s = self.now_s - elapsed_s / pace
        yield Day(today, session, begins_s, begins_s + SESSION_S / pace)
        for day in _days_until(self.now_s, today):
            session -= 1
            yield Day(day.date, session, day.open.timestamp(), day.close.timestamp())

    @property
    def _session(self) -> int:
        return int(self.market_s // SESSION_S)

    def _when_s(self, market_s: float) -> float:
        if self.pace <= 0:
            return self.began_s
        return self.began_s + (market_s - self.began_market_s) / self.pace


@dataclass(frozen=True, slots=True)
class OnExchange:
    """The past of a market with hours: `session` is what `day` plays, whether begun or not.

    In a market that does not move the price stands at the open all day, till the close.
    """

    now_s: float
    session: int
    day: TradingDay
    moving: bool = True

    aligned = True

    def spans(self) -> Iterator[Span]:
        """Return one span for each trading day that has opened."""
        for session, day in self._begun():
            yield _whole(session, day, self.now_s, moving=self.moving)

    def days(self) -> Iterator[Day]:
        """Return the trading days that have opened."""
        for session, day in self._begun():
            yield Day(day.date, session, day.open.timestamp(), day.close.timestamp())

    def _begun(self) -> Iterator[tuple[int, TradingDay]]:
        day, session = self.day, self.session
        while True:
            if day.open.timestamp() <= self.now_s:
                yield session, day
            day, session = day_on_or_before(day.date - ONE_DAY), session - 1


def _whole(session: int, day: TradingDay, now_s: float, *, moving: bool = True) -> Span:
    """Return the regular hours of a trading day, up to now."""
    opens_s, closes_s = day.open.timestamp(), day.close.timestamp()
    ends_s, to_s, pace = closes_s, float(SESSION_S), SESSION_S / (closes_s - opens_s)
    if now_s < closes_s:
        pace = pace if moving else 0.0
        ends_s, to_s = now_s, (now_s - opens_s) * pace
    return Span(session, opens_s, ends_s, 0.0, to_s, pace, regular=True)


def _days_until(end_s: float, before: date | None) -> Iterator[TradingDay]:
    """Return the trading days that close by a time, and lie before a date, newest first."""
    last = new_york_date(datetime.fromtimestamp(end_s, UTC))
    day = day_on_or_before(last if before is None else min(last, before - ONE_DAY))
    while True:
        if day.close.timestamp() <= end_s:
            yield day
        day = day_on_or_before(day.date - ONE_DAY)
