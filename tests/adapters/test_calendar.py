"""The exchange's hours: which days are closed or short, and when the bells ring in UTC."""

from datetime import UTC, date, datetime, timedelta

import pytest

from ibloop.adapters.calendar import nyse_session, session_at, session_days_back
from ibloop.core.sessions import Session

# Holidays and early closings as NYSE has published them.
CLOSED = {
    2026: "01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25",
    2027: "01-01 01-18 02-15 03-26 05-31 06-18 07-05 09-06 11-25 12-24",
}
HALF = {2026: "11-27 12-24", 2027: "11-26"}


def days(year: int, listed: dict[int, str]) -> set[date]:
    """Return the listed days of a year."""
    return {date.fromisoformat(f"{year}-{day}") for day in listed[year].split()}


def utc(text: str) -> datetime:
    """Return an aware UTC time."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def weekdays(year: int) -> list[date]:
    """Return every Monday to Friday of a year."""
    first = date(year, 1, 1)
    every = (first + timedelta(days=n) for n in range(366))
    return [day for day in every if day.year == year and day.weekday() < 5]


@pytest.mark.parametrize("year", [2026, 2027])
def test_the_closed_days_of_a_year(year: int) -> None:
    """Exactly the published holidays have no session, with their observed days."""
    assert {day for day in weekdays(year) if nyse_session(day) is None} == days(year, CLOSED)


@pytest.mark.parametrize("year", [2026, 2027])
def test_the_half_days_of_a_year(year: int) -> None:
    """Exactly the published half days are 3.5 hours long, all others 6.5."""
    sessions = {day: nyse_session(day) for day in weekdays(year)}
    lengths = {day: s.closes - s.opens for day, s in sessions.items() if s is not None}
    half = {day for day, length in lengths.items() if length == timedelta(hours=3.5)}
    assert half == days(year, HALF)
    assert {length for day, length in lengths.items() if day not in half} == {timedelta(hours=6.5)}


@pytest.mark.parametrize("day", ["2026-11-21", "2026-11-22", "2027-01-02"])
def test_weekends_are_closed(day: str) -> None:
    """Saturday and Sunday have no session."""
    assert nyse_session(date.fromisoformat(day)) is None


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        ("2026-03-06", "14:30", "21:00"),  # Friday before the clocks go forward
        ("2026-03-09", "13:30", "20:00"),
        ("2026-10-30", "13:30", "20:00"),  # Friday before they go back
        ("2026-11-02", "14:30", "21:00"),
        ("2026-11-27", "14:30", "18:00"),  # half day in winter time
        ("2025-07-03", "13:30", "17:00"),  # half day in summer time
    ],
)
def test_the_bells_in_utc_around_clock_changes(day: str, opens: str, closes: str) -> None:
    """New York's hours are fixed, those in UTC are not."""
    expected = Session(utc(f"{day}T{opens}"), utc(f"{day}T{closes}"))
    assert nyse_session(date.fromisoformat(day)) == expected


@pytest.mark.parametrize(
    ("now", "is_open"),
    [
        ("2026-11-20T14:29:59.999999", False),
        ("2026-11-20T14:30", True),
        ("2026-11-20T20:59:59.999999", True),
        ("2026-11-20T21:00", False),
        ("2026-11-27T17:59:59", True),
        ("2026-11-27T18:00", False),
        ("2026-11-26T16:00", False),  # Thanksgiving
        ("2026-11-21T02:00", False),  # Friday evening in New York
        ("2026-03-09T13:30", True),
        ("2026-03-06T13:30", False),
    ],
)
def test_the_market_is_open_between_the_bells(now: str, is_open: bool) -> None:
    """The session at a moment is that which contains it; the closing bell is outside."""
    session = session_at("nyse", utc(now))
    assert (session is not None) is is_open
    if session is not None:
        assert session.contains(utc(now))


@pytest.mark.parametrize("now", ["2026-11-22T03:00", "2026-12-25T16:00", "2026-11-20T15:00"])
def test_the_calendar_of_simulations_is_always_open(now: str) -> None:
    """Nights, Sundays and Christmas: open, with days to go."""
    session = session_at("always", utc(now))
    assert session is not None
    assert session.contains(utc(now))
    assert session.closes - utc(now) >= timedelta(days=1)


@pytest.mark.parametrize(
    ("day", "count", "first"),
    [
        (date(2026, 11, 20), 0, date(2026, 11, 20)),
        (date(2026, 11, 20), 4, date(2026, 11, 16)),
        (date(2026, 11, 23), 4, date(2026, 11, 17)),
        # Thanksgiving on the 26th: five trading days reach one day further back.
        (date(2026, 11, 30), 4, date(2026, 11, 23)),
    ],
)
def test_trading_days_back_skip_weekends_and_holidays(day: date, count: int, first: date) -> None:
    """Five business days, today included, are four trading days before it and today."""
    assert session_days_back(day, count) == first
