"""Nothing is sent into a restart, a reset or a close, and no plan starts that does not fit."""

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.core.windows import (
    RESETS,
    Pace,
    Quiet,
    Recurring,
    Region,
    estimate,
    gateway_restart,
    quiet_at,
    quiet_between,
    sending_time,
    shortage,
    spare_time,
)

NEW_YORK = "America/New_York"
TEN = timedelta(minutes=10)
NOON = Recurring("noon", time(12), timedelta(minutes=30), "UTC")
PACE = Pace(orders_per_second_max=5, window=8)


def utc(text: str) -> datetime:
    """Return an aware UTC time."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "is_quiet"),
    [
        ("2026-11-20T04:34:59", False),
        ("2026-11-20T04:35:00", True),  # 23:35 in New York, ten minutes before the restart
        ("2026-11-20T04:54:59", True),
        ("2026-11-20T04:55:00", False),
        ("2026-07-20T03:35:00", True),  # summer time
        ("2026-07-20T04:35:00", False),
        ("2026-11-20T16:00:00", False),
    ],
)
def test_the_gateways_restart_is_kept_clear_on_both_sides(now: str, is_quiet: bool) -> None:
    """The margins are inclusive of their beginning, exclusive of their end, in the zone's time."""
    rule = gateway_restart(time(23, 45), NEW_YORK, TEN, TEN)
    assert (quiet_at((rule,), utc(now)) is not None) is is_quiet


def test_a_restart_just_after_midnight_begins_the_day_before() -> None:
    """The margin before it reaches back over midnight."""
    rule = gateway_restart(time(0, 5), "UTC", TEN, TEN)
    found = quiet_at((rule,), utc("2026-11-19T23:56"))
    assert found == Quiet(rule.name, utc("2026-11-19T23:55"), utc("2026-11-20T00:15"))


@pytest.mark.parametrize(
    ("region", "quiet", "clear"),
    [
        (Region.AMERICAS, "2026-11-18T05:00", "2026-11-18T07:00"),
        (Region.EUROPE, "2026-11-18T05:00", "2026-11-18T04:00"),
        (Region.ASIA, "2026-11-17T21:00", "2026-11-18T05:00"),
        (Region.ASIA, "2026-11-18T12:30", "2026-11-18T13:30"),
        (Region.EUROPE, "2026-11-21T05:00", "2026-11-21T08:30"),  # Friday 23:00 to 03:00 New York
    ],
)
def test_resets_are_those_of_the_region(region: Region, quiet: str, clear: str) -> None:
    """Each region has hours of its own; the weekend's reset is everybody's."""
    assert quiet_at(RESETS[region], utc(quiet)) is not None
    assert quiet_at(RESETS[region], utc(clear)) is None
    assert quiet_at(RESETS[Region.NONE], utc(quiet)) is None


def test_the_asian_reset_lies_in_the_american_afternoon() -> None:
    """In winter it begins a quarter of an hour before New York's close: not only nights count."""
    assert quiet_at(RESETS[Region.ASIA], utc("2026-11-20T20:50")) is not None


def test_of_two_stretches_the_later_end_is_told() -> None:
    """A person reads when sending is possible again, not when one of two obstacles is gone."""
    long = Recurring("long", time(11), timedelta(hours=3), "UTC")
    found = quiet_at((NOON, long), utc("2026-11-20T12:10"))
    assert found is not None
    assert found.name == "long"


def test_sending_time_leaves_quiet_stretches_out_once() -> None:
    """Overlapping stretches are not counted twice, and one that began before counts in part."""
    overlap = Recurring("overlap", time(12, 20), timedelta(minutes=20), "UTC")
    rules = (NOON, overlap)
    since = utc("2026-11-20T11:50")
    assert sending_time(rules, since, utc("2026-11-20T13:00")) == timedelta(minutes=30)
    assert sending_time(rules, utc("2026-11-20T12:10"), utc("2026-11-20T12:30")) == timedelta(0)
    assert sending_time((), since, since - TEN) == timedelta(0)


@settings(deadline=None, max_examples=60)
@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(0, 3 * 24 * 60),
    st.sampled_from(list(Region)),
)
def test_sending_time_is_what_minutes_add_up_to(
    now: datetime, minutes: int, region: Region
) -> None:
    """Counted minute by minute it is the same, over clock changes, too."""
    now = now.replace(second=0, microsecond=0)
    until = now + timedelta(minutes=minutes)
    rules = (*RESETS[region], gateway_restart(time(3, 10), "Asia/Tokyo", TEN, TEN))
    stretches = quiet_between(rules, now, until)
    free = sum(
        1
        for n in range(minutes)
        if not any(q.contains(now + timedelta(minutes=n)) for q in stretches)
    )
    assert sending_time(rules, now, until) == timedelta(minutes=free)
    assert (quiet_at(rules, now) is None) is not any(
        q.contains(now) for q in quiet_between(rules, now, now + TEN)
    )


@pytest.mark.parametrize(
    ("sells", "buys", "pace", "seconds"),
    [
        (0, 0, PACE, 0),
        (1, 0, PACE, 1 + 1 + 5),
        (10, 10, PACE, 1 + 2 + 5 + 2 + 5),
        (0, 500, PACE, 1 + 100 + 5),
        (0, 10, Pace(orders_per_second_max=5, window=1), 1 + 10 + 5),  # one at a time, as in live
    ],
)
def test_an_estimate_counts_pace_window_and_fills(
    sells: int, buys: int, pace: Pace, seconds: int
) -> None:
    """The slower of pace and window decides; the buys wait until the sells have filled."""
    assert estimate(sells, buys, pace) == timedelta(seconds=seconds)


def test_a_plan_that_does_not_fit_says_by_how_much() -> None:
    """At the limit it fits; a quiet stretch inside takes its time away."""
    now = utc("2026-11-20T11:59")
    need = estimate(3, 4, PACE)
    words = {"sells": 3, "buys": 4, "pace": PACE}
    assert shortage((), now, now + need, **words) is None
    short = shortage((), now, now + need - timedelta(seconds=1), **words)
    assert short == "7 orders need about 13 s, and 12 s are left for sending until 11:59:12 UTC"
    through = now + need + timedelta(minutes=5)
    assert shortage((), through - need, through, **words) is None
    assert shortage((NOON,), utc("2026-11-20T12:00"), utc("2026-11-20T12:30"), **words) is not None


@pytest.mark.parametrize(
    ("now", "deadline", "spare_s"),
    [
        ("2026-11-20T10:00", "2026-11-20T10:01", 43),  # 1 + ceil(10 / 5) + 5 + ceil(20 / 5) + 5
        ("2026-11-20T10:00", "2026-11-20T10:00:10", -7),
        ("2026-11-20T11:59:30", "2026-11-20T13:00", 25),  # quiet comes first
        ("2026-11-20T11:59", "2026-11-20T12:15", 43),  # nothing is left after the quiet stretch
        ("2026-11-20T12:10", "2026-11-20T13:00", -605),  # it is quiet now
    ],
)
def test_a_plan_is_put_off_only_as_long_as_it_fits(now: str, deadline: str, spare_s: int) -> None:
    """It needs its time before the deadline, and must begin before a quiet stretch."""
    spare = spare_time((NOON,), utc(now), utc(deadline), sells=10, buys=20, pace=PACE)
    assert spare == timedelta(seconds=spare_s)


@given(st.integers(0, 3600), st.integers(0, 7200), st.integers(0, 40), st.integers(0, 40))
def test_what_is_put_off_to_the_end_still_fits(
    start_s: int, minutes: int, sells: int, buys: int
) -> None:
    """The two rules agree: spare time left is no shortage, and at its end there is none yet."""
    now = utc("2026-11-20T11:30") + timedelta(seconds=start_s)
    deadline = now + timedelta(seconds=minutes)
    spare = spare_time((NOON,), now, deadline, sells=sells, buys=buys, pace=PACE)
    if spare >= timedelta(0):
        later = now + spare
        assert shortage((NOON,), later, deadline, sells=sells, buys=buys, pace=PACE) is None
        assert quiet_at((NOON,), later) is None
