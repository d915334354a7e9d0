"""The calendar of the New York Stock Exchange by rule, and the hours of a trading day.

Pure. Ten full holidays with their observance (a Saturday's holiday is kept on the Friday before,
a Sunday's on the Monday after; only New Year is not moved to a Friday), half days that close at
13:00, and the hours at which IB takes orders: pre-market from 04:00, regular trading from 09:30
to 16:00, post-market till 20:00 (17:00 on half days), all New York time.
Source: NYSE rule 7.2 and its page "Holidays & Trading Hours". Days the exchange closes by decree
(mourning, storms) follow no rule and are not known here.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from ibloop.sim.market.venue import Phase
from ibloop.sim.model import NEW_YORK

PRE_OPEN = time(4)
OPEN = time(9, 30)
CLOSE = time(16)
POST_CLOSE = time(20)
HALF_DAY_CLOSE = time(13)
HALF_DAY_POST_CLOSE = time(17)
JUNETEENTH_SINCE = 2022
MONDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY = 0, 3, 4, 5, 6
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class TradingDay:
    """One day's hours, aware UTC; `number` counts trading days without a gap."""

    date: date
    number: int
    pre_open: datetime
    open: datetime
    close: datetime
    post_close: datetime

    def phase(self, now: datetime) -> Phase:
        """Return the part of this day `now` lies in: closed before its first and after its last."""
        if not self.pre_open <= now < self.post_close:
            return Phase.CLOSED
        if now < self.open:
            return Phase.PRE_MARKET
        return Phase.OPEN if now < self.close else Phase.POST_MARKET


@lru_cache(maxsize=64)
def holidays(year: int) -> frozenset[date]:
    """Return the full holidays that fall on weekdays of a year."""
    fixed = [date(year, 7, 4), date(year, 12, 25)]
    if year >= JUNETEENTH_SINCE:
        fixed.append(date(year, 6, 19))
    new_year = date(year, 1, 1)
    days = {_observed(day) for day in fixed} | {
        new_year + ONE_DAY if new_year.weekday() == SUNDAY else new_year,
        _nth(year, 1, MONDAY, 3),  # Martin Luther King, Jr. Day
        _nth(year, 2, MONDAY, 3),  # Washington's Birthday
        easter(year) - timedelta(days=2),
        date(year, 5, 31) - timedelta(days=date(year, 5, 31).weekday()),  # Memorial Day
        _nth(year, 9, MONDAY, 1),  # Labor Day
        _nth(year, 11, THURSDAY, 4),  # Thanksgiving
    }
    return frozenset(day for day in days if day.weekday() < SATURDAY)


@lru_cache(maxsize=64)
def half_days(year: int) -> frozenset[date]:
    """Return the days of a year on which trading ends at 13:00."""
    # 3 July and 24 December that fall on a Friday are the holiday itself, observed.
    eves = {day for day in (date(year, 7, 3), date(year, 12, 24)) if day.weekday() < FRIDAY}
    return frozenset(eves | {_nth(year, 11, THURSDAY, 4) + ONE_DAY})


def easter(year: int) -> date:
    """Return Easter Sunday of the Gregorian calendar, by the anonymous algorithm of 1876."""
    century, of_century = divmod(year, 100)
    correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * (year % 19) + century - century // 4 - correction + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (of_century // 4) - epact - of_century % 4) % 7
    late = (year % 19 + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)


def is_trading_day(day: date) -> bool:
    """Tell whether the exchange opens on a New York date."""
    return day.weekday() < SATURDAY and day not in holidays(day.year)


@lru_cache(maxsize=4096)
def trading_day(day: date) -> TradingDay | None:
    """Return the hours of a New York date, None when the exchange stays closed."""
    if not is_trading_day(day):
        return None
    half = day in half_days(day.year)
    return TradingDay(
        date=day,
        number=_trading_days_before(day.year) + _of_year(day.year).index(day),
        pre_open=_utc(day, PRE_OPEN),
        open=_utc(day, OPEN),
        close=_utc(day, HALF_DAY_CLOSE if half else CLOSE),
        post_close=_utc(day, HALF_DAY_POST_CLOSE if half else POST_CLOSE),
    )


def day_on_or_after(day: date) -> TradingDay:
    """Return the first trading day that is not before a New York date."""
    while (found := trading_day(day)) is None:
        day += ONE_DAY
    return found


def day_on_or_before(day: date) -> TradingDay:
    """Return the last trading day that is not after a New York date."""
    while (found := trading_day(day)) is None:
        day -= ONE_DAY
    return found


def new_york_date(now: datetime) -> date:
    """Return the date in New York at an aware time."""
    return now.astimezone(NEW_YORK).date()


def _utc(day: date, at: time) -> datetime:
    return datetime.combine(day, at, NEW_YORK).astimezone(UTC)


def _nth(year: int, month: int, weekday: int, number: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (number - 1))


def _observed(day: date) -> date:
    if day.weekday() == SATURDAY:
        return day - ONE_DAY
    return day + ONE_DAY if day.weekday() == SUNDAY else day


@lru_cache(maxsize=64)
def _of_year(year: int) -> tuple[date, ...]:
    days = (date(year, 1, 1) + timedelta(days=number) for number in range(366))
    return tuple(day for day in days if day.year == year and is_trading_day(day))


@lru_cache(maxsize=256)
def _trading_days_before(year: int) -> int:
    """Return the trading days from 2000 up to a year; negative for earlier years."""
    if year < 2000:
        return -sum(len(_of_year(past)) for past in range(year, 2000))
    return sum(len(_of_year(past)) for past in range(2000, year))
