"""The calendar of the exchange against the dates NYSE published."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibloop.sim.market.hours import (
    day_on_or_after,
    day_on_or_before,
    easter,
    half_days,
    holidays,
    new_york_date,
    trading_day,
)
from ibloop.sim.market.venue import Phase

PUBLISHED = {
    2024: ("0101 0115 0219 0329 0527 0619 0704 0902 1128 1225", "0703 1129 1224"),
    2025: ("0101 0120 0217 0418 0526 0619 0704 0901 1127 1225", "0703 1128 1224"),
    2026: ("0101 0119 0216 0403 0525 0619 0703 0907 1126 1225", "1127 1224"),
    2027: ("0101 0118 0215 0326 0531 0618 0705 0906 1125 1224", "1126"),
}


def days(year: int, text: str) -> set[date]:
    """Return dates of a year written as month and day."""
    return {date(year, int(part[:2]), int(part[2:])) for part in text.split()}


@pytest.mark.parametrize("year", PUBLISHED)
def test_holidays_are_those_published(year: int) -> None:
    """Full holidays and half days by rule are the exchange's own list."""
    closed, early = PUBLISHED[year]
    assert holidays(year) == days(year, closed)
    assert half_days(year) == days(year, early)


def test_a_new_year_on_a_saturday_is_not_moved() -> None:
    """The last Friday of December stays a trading day; a Sunday's New Year moves to Monday."""
    assert trading_day(date(2021, 12, 31)) is not None
    assert date(2022, 1, 1) not in holidays(2022)
    assert date(2023, 1, 2) in holidays(2023)
    assert date(2021, 6, 18) not in holidays(2021)


def test_easter_sundays() -> None:
    """Good Friday follows Easter, whose earliest and latest recent dates are known."""
    assert [easter(year) for year in (2008, 2011, 2024, 2025)] == [
        date(2008, 3, 23),
        date(2011, 4, 24),
        date(2024, 3, 31),
        date(2025, 4, 20),
    ]


def test_hours_follow_new_york_through_summer_and_winter() -> None:
    """09:30 in New York is 13:30 UTC in summer and 14:30 UTC in winter."""
    summer, winter = trading_day(date(2026, 7, 6)), trading_day(date(2026, 11, 18))
    assert summer is not None
    assert winter is not None
    assert (summer.open, summer.close) == (
        datetime(2026, 7, 6, 13, 30, tzinfo=UTC),
        datetime(2026, 7, 6, 20, tzinfo=UTC),
    )
    assert winter.open == datetime(2026, 11, 18, 14, 30, tzinfo=UTC)
    assert winter.post_close == datetime(2026, 11, 19, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "at", "phase"),
    [
        (18, "03:59", Phase.CLOSED),
        (18, "04:00", Phase.PRE_MARKET),
        (18, "09:29", Phase.PRE_MARKET),
        (18, "09:30", Phase.OPEN),
        (18, "15:59", Phase.OPEN),
        (18, "16:00", Phase.POST_MARKET),
        (18, "20:00", Phase.CLOSED),
        (27, "12:59", Phase.OPEN),
        (27, "13:00", Phase.POST_MARKET),
        (27, "17:00", Phase.CLOSED),
    ],
)
def test_the_phases_of_a_day(day: int, at: str, phase: Phase) -> None:
    """Each boundary belongs to what begins there; 27 November 2026 is a half day."""
    hours, minutes = map(int, at.split(":"))
    found = trading_day(date(2026, 11, day))
    assert found is not None
    midnight = datetime(2026, 11, day, 5, tzinfo=UTC)
    now = midnight + timedelta(hours=hours, minutes=minutes)
    assert found.phase(now) is phase


@given(st.dates(date(1990, 1, 1), date(2090, 12, 31)))
def test_days_are_counted_without_a_gap(day: date) -> None:
    """The trading day after another has the next number, over years and holidays."""
    found = day_on_or_after(day)
    following = day_on_or_after(found.date + timedelta(days=1))
    assert following.number == found.number + 1
    assert day_on_or_before(following.date - timedelta(days=1)) is found
    assert new_york_date(found.pre_open) == new_york_date(found.post_close) == found.date
