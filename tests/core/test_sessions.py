"""Days, weeks and deadlines are the market's, over clock changes and the turn of the year."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.core.sessions import (
    Session,
    day_start,
    period_key,
    run_deadline,
    trade_date,
)

NEW_YORK = "America/New_York"
CLOSE_MARGIN = timedelta(minutes=5)
SESSION = Session(
    datetime(2026, 11, 20, 14, 30, tzinfo=UTC), datetime(2026, 11, 20, 21, 0, tzinfo=UTC)
)
MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def utc(text: str) -> datetime:
    """Return an aware UTC time."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_session_includes_its_open_and_not_its_close() -> None:
    """An order that arrives with the bell of the close is too late."""
    assert SESSION.contains(SESSION.opens)
    assert not SESSION.contains(SESSION.opens - timedelta(microseconds=1))
    assert SESSION.contains(SESSION.closes - timedelta(microseconds=1))
    assert not SESSION.contains(SESSION.closes)


@pytest.mark.parametrize(
    ("now", "day", "start"),
    [
        ("2026-11-20T04:59:59", date(2026, 11, 19), "2026-11-19T05:00"),
        ("2026-11-20T05:00:00", date(2026, 11, 20), "2026-11-20T05:00"),
        ("2026-11-21T01:00:00", date(2026, 11, 20), "2026-11-20T05:00"),
        # Clocks go forward on 8 March and back on 1 November 2026: 23 and 25 hours.
        ("2026-03-08T05:00:00", date(2026, 3, 8), "2026-03-08T05:00"),
        ("2026-03-09T03:59:59", date(2026, 3, 8), "2026-03-08T05:00"),
        ("2026-03-09T04:00:00", date(2026, 3, 9), "2026-03-09T04:00"),
        ("2026-11-01T04:00:00", date(2026, 11, 1), "2026-11-01T04:00"),
        ("2026-11-02T04:59:59", date(2026, 11, 1), "2026-11-01T04:00"),
        ("2026-11-02T05:00:00", date(2026, 11, 2), "2026-11-02T05:00"),
    ],
)
def test_a_day_is_the_markets_day(now: str, day: date, start: str) -> None:
    """Limits a day begin at New York's midnight, on days of 23, 24 and 25 hours."""
    assert trade_date(utc(now), NEW_YORK) == day
    assert day_start(utc(now), NEW_YORK) == utc(start)
    assert day_start(utc(now), NEW_YORK).tzinfo is UTC


@settings(deadline=None, max_examples=100)
@given(MOMENTS)
def test_every_moment_lies_in_its_day(now: datetime) -> None:
    """A day's start is never ahead, never more than 25 hours ago, and starts its own day."""
    start = day_start(now, NEW_YORK)
    assert timedelta(0) <= now - start < timedelta(hours=25)
    assert trade_date(start, NEW_YORK) == trade_date(now, NEW_YORK)
    assert day_start(start, NEW_YORK) == start


@pytest.mark.parametrize(
    ("now", "key"),
    [
        ("2026-11-20T15:30", "2026W47"),
        ("2026-11-23T04:59", "2026W47"),  # Sunday evening in New York
        ("2026-11-23T05:00", "2026W48"),
        ("2026-12-31T15:30", "2026W53"),
        ("2027-01-01T15:30", "2026W53"),  # Friday: the week of the old year
        ("2027-01-04T04:59", "2026W53"),
        ("2027-01-04T05:00", "2027W01"),
        ("2024-12-30T15:30", "2025W01"),  # Monday: the week of the new year
    ],
)
def test_a_week_is_one_period_over_the_turn_of_the_year(now: str, key: str) -> None:
    """Trading days of one week share one key, so that they share one run."""
    assert period_key(utc(now), NEW_YORK) == key


def test_keys_of_successive_weeks_ascend_and_never_repeat() -> None:
    """Over four years each week has a key of its own, in order of time."""
    mondays = [utc("2025-01-06T17:00") + timedelta(weeks=week) for week in range(208)]
    keys = [period_key(monday, NEW_YORK) for monday in mondays]
    assert all(before < after for before, after in pairwise(keys))


def test_a_run_ends_by_its_minutes_or_before_the_close() -> None:
    """The earlier of the two counts."""
    early = SESSION.opens
    assert run_deadline(early, SESSION, 30, CLOSE_MARGIN) == early + timedelta(minutes=30)
    late = SESSION.closes - timedelta(minutes=20)
    assert run_deadline(late, SESSION, 30, CLOSE_MARGIN) == SESSION.closes - CLOSE_MARGIN


@pytest.mark.parametrize(
    ("before_close_s", "has_time"), [(301, True), (300, False), (60, False), (-60, False)]
)
def test_there_is_no_deadline_without_time(before_close_s: int, has_time: bool) -> None:
    """In the last five minutes, and after the close, no run starts."""
    now = SESSION.closes - timedelta(seconds=before_close_s)
    assert (run_deadline(now, SESSION, 30, CLOSE_MARGIN) is not None) is has_time


@settings(deadline=None, max_examples=100)
@given(st.integers(-3600, 8 * 3600), st.integers(1, 600))
def test_a_deadline_lies_ahead_and_before_the_close(offset_s: int, minutes: int) -> None:
    """Whatever is asked, no order outlives the margin before the close."""
    now = SESSION.opens + timedelta(seconds=offset_s)
    deadline = run_deadline(now, SESSION, minutes, CLOSE_MARGIN)
    if deadline is not None:
        assert now < deadline <= now + timedelta(minutes=minutes)
        assert deadline <= SESSION.closes - CLOSE_MARGIN
