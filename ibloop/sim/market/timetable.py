"""When sessions are played: one after the other without a pause, or in the exchange's hours.

Pure. A timetable turns server time and the seconds the market has run into a `Moment`, and knows
the hours in which orders work. Session numbers only grow: a clock that is put back does not bring
a session back, the market goes on with the next one.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol

from ibloop.sim.market.hours import (
    ONE_DAY,
    TradingDay,
    day_on_or_after,
    day_on_or_before,
    new_york_date,
    trading_day,
)
from ibloop.sim.market.market import Moment
from ibloop.sim.market.paths import SESSION_S
from ibloop.sim.market.timeline import Continuous, OnExchange, Timeline
from ibloop.sim.market.venue import Phase
from ibloop.sim.model import NEW_YORK, SimError

ALWAYS, EXCHANGE = "always", "exchange"
# How many days contractDetails tells the hours of: today and the five after it.
DAYS_TOLD = 6


@dataclass(frozen=True, slots=True)
class DayHours:
    """A New York date's hours, aware: when orders work at all and regular trading; None: closed."""

    date: date
    trading: tuple[datetime, datetime] | None
    liquid: tuple[datetime, datetime] | None


@dataclass(frozen=True, slots=True)
class Anchor:
    """Which session a trading day plays; the days after it play the sessions after it."""

    date: date
    session: int


class Timetable(Protocol):
    """What the world asks about time; `ran_s` counts real seconds since the world began."""

    @property
    def anchor(self) -> Anchor | None:
        """Return which trading day plays which session, None when they are not tied."""
        ...

    def moment(self, now: datetime, ran_s: float, sample: int) -> Moment:
        """Return the simulated time."""
        ...

    def resume(self, now: datetime, market_s: float) -> None:
        """Go on from `market_s`, where a former world stopped."""
        ...

    def clock_moved(self, now: datetime, market_s: float) -> None:
        """Take note that server time was set while the market stood at `market_s`."""
        ...

    def timeline(self, now: datetime, moment: Moment, ran_s: float, began_s: float) -> Timeline:
        """Return when the past was played, seen from `moment`; the world began at `began_s`."""
        ...

    def next_open(self, now: datetime) -> datetime:
        """Return when regular trading begins next, aware UTC; now while it is open."""
        ...

    def day_end(self, now: datetime, *, outside_rth: bool) -> datetime:
        """Return when a DAY order that is placed now ends, aware UTC."""
        ...

    def last_trade(self, now: datetime) -> datetime:
        """Return when stocks last traded, aware UTC; now while the market is open."""
        ...

    def hours(self, now: datetime) -> list[DayHours]:
        """Return the hours of today and the five days after."""
        ...

    def session_before(self, now: datetime) -> int | None:
        """Return the session of the last trading day before today; None: sessions have no days."""
        ...


class AroundTheClock:
    """Sessions follow each other at `speed` market seconds per second; the market never closes."""

    anchor: Anchor | None = None

    def __init__(self, speed: float) -> None:
        """Begin at the first session's first second."""
        self._speed = speed
        self._base_market_s = 0.0

    def moment(self, now: datetime, ran_s: float, sample: int) -> Moment:  # noqa: ARG002
        """Return the simulated time, which server time does not move."""
        return Moment(max(0.0, self._base_market_s + ran_s * self._speed), sample)

    def resume(self, now: datetime, market_s: float) -> None:  # noqa: ARG002
        """Begin at `market_s` instead."""
        self._base_market_s = market_s

    def clock_moved(self, now: datetime, market_s: float) -> None:
        """Do nothing: the market does not follow server time."""

    def timeline(
        self,
        now: datetime,  # noqa: ARG002
        moment: Moment,
        ran_s: float,
        began_s: float,
    ) -> Timeline:
        """Return a past that runs with the world, not with server time."""
        now_s = began_s + ran_s
        return Continuous(now_s, moment.market_s, began_s, self._base_market_s, self._speed)

    def next_open(self, now: datetime) -> datetime:
        """Return now."""
        return now

    def day_end(self, now: datetime, *, outside_rth: bool) -> datetime:  # noqa: ARG002
        """Return midnight in New York."""
        return datetime.combine(new_york_date(now) + ONE_DAY, time(), NEW_YORK).astimezone(UTC)

    def last_trade(self, now: datetime) -> datetime:
        """Return now."""
        return now

    def hours(self, now: datetime) -> list[DayHours]:
        """Return whole days."""
        days = []
        for number in range(DAYS_TOLD):
            day = new_york_date(now) + timedelta(days=number)
            whole = (_at(day, time()), _at(day, time(23, 59)))
            days.append(DayHours(day, whole, whole))
        return days

    def session_before(self, now: datetime) -> None:
        """Return None: any number of sessions may be played in a day."""


class ExchangeHours:
    """Each trading day plays one session between its open and its close, in server time."""

    anchor: Anchor

    def __init__(self, now: datetime, anchor: Anchor | None, *, moving: bool) -> None:
        """Go on from an anchor, or let the present or next trading day play session 0.

        Without `moving` a session's price stands at its open until the close.
        """
        self._moving = moving
        self._set(anchor or Anchor(self._playing(now).date, 0))

    def _set(self, anchor: Anchor) -> None:
        self.anchor = anchor
        self._offset = anchor.session - day_on_or_after(anchor.date).number

    def moment(self, now: datetime, ran_s: float, sample: int) -> Moment:  # noqa: ARG002
        """Return the simulated time, which only server time moves."""
        today = new_york_date(now)
        day = trading_day(today)
        phase = day.phase(now) if day else Phase.CLOSED
        if day is None or now < day.open:
            ended = day_on_or_before(today - ONE_DAY).number + self._offset
            return Moment(float((ended + 1) * SESSION_S), sample, phase)
        session = day.number + self._offset
        if phase is not Phase.OPEN:
            return Moment(float((session + 1) * SESSION_S), sample, phase)
        part = (now - day.open) / (day.close - day.open) if self._moving else 0.0
        return Moment((session + part) * SESSION_S, sample, phase)

    def resume(self, now: datetime, market_s: float) -> None:
        """Go on from `market_s`; a market that was further has the next session next."""
        self.clock_moved(now, market_s)

    def clock_moved(self, now: datetime, market_s: float) -> None:
        """Let the present or next trading day play the next session if the clock went back."""
        if self.moment(now, 0.0, 0).market_s < market_s:
            begun = -int(-market_s // SESSION_S)
            self._set(Anchor(self._playing(now).date, begun))

    def timeline(
        self,
        now: datetime,
        moment: Moment,
        ran_s: float,  # noqa: ARG002
        began_s: float,  # noqa: ARG002
    ) -> Timeline:
        """Return a past of trading days."""
        day, now_s = day_on_or_before(new_york_date(now)), now.timestamp()
        if self._moving and moment.phase is Phase.OPEN:
            # The moment of the sample: bars end where quotes are.
            part = moment.market_s / SESSION_S - moment.session
            now_s = (day.open + part * (day.close - day.open)).timestamp()
        return OnExchange(now_s, day.number + self._offset, day, self._moving)

    def _playing(self, now: datetime) -> TradingDay:
        """Return the trading day that is not over yet: today, or the next one."""
        day = day_on_or_after(new_york_date(now))
        return day if now < day.close else day_on_or_after(day.date + ONE_DAY)

    def next_open(self, now: datetime) -> datetime:
        """Return the open of the next session, now while one is played."""
        return max(now, self._playing(now).open)

    def day_end(self, now: datetime, *, outside_rth: bool) -> datetime:
        """Return the close, with `outside_rth` the end of the post-market, of the working day."""
        day = day_on_or_after(new_york_date(now))
        if now >= (day.post_close if outside_rth else day.close):
            day = day_on_or_after(day.date + ONE_DAY)
        return day.post_close if outside_rth else day.close

    def last_trade(self, now: datetime) -> datetime:
        """Return the last close, now while the market is open."""
        day = day_on_or_before(new_york_date(now))
        if now < day.open:
            day = day_on_or_before(day.date - ONE_DAY)
        return min(now, day.close)

    def hours(self, now: datetime) -> list[DayHours]:
        """Return the exchange's hours, closed days included."""
        days = []
        for number in range(DAYS_TOLD):
            date = new_york_date(now) + timedelta(days=number)
            day = trading_day(date)
            whole = (day.pre_open, day.post_close) if day else None
            days.append(DayHours(date, whole, (day.open, day.close) if day else None))
        return days

    def session_before(self, now: datetime) -> int:
        """Return the session of the last trading day before today."""
        return day_on_or_before(new_york_date(now) - ONE_DAY).number + self._offset


def timetable(
    hours: str, speed: float, now: datetime, anchor: Anchor | None
) -> AroundTheClock | ExchangeHours:
    """Return the timetable of these hours. Raises: SimError when they contradict the speed."""
    if hours == ALWAYS:
        return AroundTheClock(speed)
    if hours != EXCHANGE:
        raise SimError(f"expected hours {ALWAYS} or {EXCHANGE}, was {hours!r}")
    if speed not in {0, 1}:
        raise SimError(
            f"expected speed 1, or 0 for a frozen market, with the exchange's hours:"
            f" a trading day lasts a day there; was {speed}"
        )
    return ExchangeHours(now, anchor, moving=speed == 1)


def _at(day: date, at: time) -> datetime:
    return datetime.combine(day, at, NEW_YORK)
