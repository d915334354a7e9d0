"""When the weekly rebalance is due."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibloop.adapters.calendar import nyse_session
from ibloop.core.schedule import Schedule, always_window, window_at, windows_from
from ibloop.core.sessions import Session

NEW_YORK = "America/New_York"
RULE = Schedule()
MARGIN = timedelta(minutes=5)


def utc(text: str) -> datetime:
    """Return an ISO time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "key", "opens"),
    [
        ("2026-11-16T12:00", "2026W47", "2026-11-16T14:45"),  # a plain Monday, winter time
        ("2026-07-06T12:00", "2026W28", "2026-07-06T13:45"),  # summer time
        ("2026-09-07T12:00", "2026W37", "2026-09-08T13:45"),  # Labor Day: Tuesday
        ("2026-01-19T12:00", "2026W04", "2026-01-20T14:45"),  # Martin Luther King Day
        ("2025-12-29T12:00", "2026W01", "2025-12-29T14:45"),  # the ISO year begins in December
        ("2026-03-09T12:00", "2026W11", "2026-03-09T13:45"),  # the Monday after the clocks change
    ],
)
def test_the_first_session_of_the_week_decides(now: str, key: str, opens: str) -> None:
    """Holidays move the run to the first day the exchange is open, in New York time."""
    window = window_at(utc(now), NEW_YORK, RULE, nyse_session, MARGIN)
    assert window is not None
    assert (window.key, window.opens) == (key, utc(opens))
    assert window.closes == window.opens + timedelta(minutes=120)


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-11-16T14:44:59", False),
        ("2026-11-16T14:45:00", True),
        ("2026-11-16T16:44:59", True),
        ("2026-11-16T16:45:00", False),
        ("2026-11-17T15:00:00", False),  # Tuesday is not the first session
        ("2026-11-15T15:00:00", False),  # Sunday belongs to the week before
    ],
)
def test_it_is_due_inside_the_window_only(now: str, due: bool) -> None:
    """The window opens at the offset and closes after the catch-up, to the second."""
    window = window_at(utc(now), NEW_YORK, RULE, nyse_session, MARGIN)
    assert window is not None
    assert window.contains(utc(now)) is due


def test_a_half_day_shortens_the_window() -> None:
    """No run starts so late that its orders would meet the close."""
    half = Session(utc("2026-11-27T14:30"), utc("2026-11-27T18:00"))
    late = Schedule(offset_minutes=180, catch_up_minutes=120)
    on = {date(2026, 11, 27): half}
    window = window_at(half.opens, NEW_YORK, late, on.get, MARGIN)
    assert window is not None
    assert window.closes == utc("2026-11-27T17:55")
    careful = window_at(half.opens, NEW_YORK, late, on.get, timedelta(minutes=20))
    assert careful is not None
    assert careful.closes == utc("2026-11-27T17:40")
    too_late = Schedule(offset_minutes=206)
    assert window_at(half.opens, NEW_YORK, too_late, lambda _: half, MARGIN) is None


def test_a_week_without_a_session_has_no_window() -> None:
    """A closed exchange makes no run, it does not borrow a day of another week."""
    assert window_at(utc("2026-11-16T15:00"), NEW_YORK, RULE, lambda _: None, MARGIN) is None


def test_the_next_windows_are_in_order_and_leave_out_the_past() -> None:
    """`calendar next` shows the present window only while it is open."""
    shown = list(windows_from(utc("2026-11-16T17:00"), NEW_YORK, RULE, nyse_session, MARGIN, 4))
    assert [w.key for w in shown] == ["2026W48", "2026W49", "2026W50"]


@given(st.datetimes(datetime(2024, 1, 1), datetime(2028, 12, 31)))  # noqa: DTZ001
def test_every_week_has_at_most_one_key(moment: datetime) -> None:
    """Whenever one asks within a market week, the answer is the same window."""
    now = moment.replace(tzinfo=UTC)
    window = window_at(now, NEW_YORK, RULE, nyse_session, MARGIN)
    if window is None:
        return
    again = window_at(window.opens, NEW_YORK, RULE, nyse_session, MARGIN)
    assert again == window


def test_always_is_due_now() -> None:
    """A simulation's session never closes: the period is due until it has run."""
    now = utc("2026-11-21T03:00")
    assert always_window(now, NEW_YORK).contains(now)
    assert always_window(now, NEW_YORK).key == "2026W47"
