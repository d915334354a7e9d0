"""The stream as a whole: its table, what a look amounts to, and what codes mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibloop.core.stream import (
    STREAM_TRANSITIONS,
    Facts,
    Meaning,
    Notice,
    StreamEvent,
    StreamStatus,
    ends_line,
    farm_of,
    look,
    meaning,
    names,
    next_status,
    orders_per_s,
)

SOUND = {"connected": True, "attempted": True, "proof_age_s": 0.5, "lines": 4}


def seen(**changes: object) -> tuple[StreamEvent, str]:
    """Look at a sound stream with some facts changed."""
    return look(Facts(**(SOUND | changes)))  # type: ignore[arg-type]


def test_the_table_is_what_it_says() -> None:
    """Starting lasts until the first attempt has ended; stopped is for ever."""
    s, e = StreamStatus, StreamEvent
    for status in (s.STARTING, s.CONNECTED, s.DEGRADED, s.DISCONNECTED):
        assert next_status(status, e.SOUND) is s.CONNECTED
        assert next_status(status, e.TROUBLED) is s.DEGRADED
        assert next_status(status, e.ABSENT) is s.DISCONNECTED
        assert next_status(status, e.ENDED) is s.STOPPED
    assert next_status(s.STARTING, e.WAITING) is s.STARTING
    assert len(STREAM_TRANSITIONS) == 17
    for status in (s.CONNECTED, s.DEGRADED, s.DISCONNECTED):
        with pytest.raises(KeyError):
            next_status(status, e.WAITING)
    for event in e:
        with pytest.raises(KeyError):
            next_status(s.STOPPED, event)


@pytest.mark.parametrize(
    ("changes", "event", "words"),
    [
        ({}, StreamEvent.SOUND, ""),
        ({"connected": False}, StreamEvent.ABSENT, ""),
        ({"connected": False, "attempted": False}, StreamEvent.WAITING, ""),
        ({"proof_age_s": 10.0}, StreamEvent.SOUND, ""),
        ({"proof_age_s": 10.1}, StreamEvent.TROUBLED, "the gateway has not answered for 10 s"),
        ({"proof_age_s": float("inf")}, StreamEvent.TROUBLED, "not answered for inf s"),
        ({"ib_lost": "1100 lost"}, StreamEvent.TROUBLED, "1100 lost"),
        ({"farms_down": ["usfarm"]}, StreamEvent.TROUBLED, "data farm broken: usfarm"),
        ({"blocked": ["A"]}, StreamEvent.TROUBLED, "another session takes the data of A"),
        ({"delayed": ["A", "B"]}, StreamEvent.TROUBLED, "only delayed data of A, B"),
        ({"dead": ["A"]}, StreamEvent.SOUND, ""),
        ({"dead": ["A", "B"]}, StreamEvent.TROUBLED, "2 of 4 lines carry nothing: A, B"),
        ({"dead": ["A"], "favourite": "A"}, StreamEvent.TROUBLED, "A, which ticks most"),
        ({"dead": ["A"], "favourite": "B"}, StreamEvent.SOUND, ""),
        ({"dead": ["A"], "refused": ["B", "C"]}, StreamEvent.TROUBLED, "1 of 2 lines"),
        ({"refused": ["A", "B", "C"]}, StreamEvent.SOUND, ""),
        ({"refused": ["A", "B", "C", "D"]}, StreamEvent.TROUBLED, "every line is refused"),
        ({"lines": 0}, StreamEvent.SOUND, ""),
        ({"unwritten": "A: No space"}, StreamEvent.TROUBLED, "cannot be written: A: No space"),
    ],
)
def test_each_fact_alone(changes: dict[str, object], event: StreamEvent, words: str) -> None:
    """Each trouble alone degrades a connected stream and says why."""
    found, reason = seen(**changes)
    assert found is event
    assert words in reason
    assert bool(reason) is (event is StreamEvent.TROUBLED)


@given(
    st.lists(st.sampled_from("ABCDEFGH"), unique=True),
    st.lists(st.sampled_from("IJKLMNOP"), unique=True),
)
def test_a_stream_without_a_living_line_is_never_sound(dead: list[str], refused: list[str]) -> None:
    """However its lines failed, when none is left the stream says so."""
    lines = len(dead) + len(refused)
    event, _ = seen(dead=dead, refused=refused, lines=lines)
    assert (event is StreamEvent.SOUND) is (lines == 0)


def test_a_lost_socket_outweighs_everything() -> None:
    """Without a connection nothing else is looked at."""
    assert seen(connected=False, ib_lost="1100", dead=["A"], lines=1)[0] is StreamEvent.ABSENT


@pytest.mark.parametrize(
    ("code", "of_line", "expected"),
    [
        (1100, False, Meaning.IB_LOST),
        (2110, False, Meaning.IB_LOST),
        (1101, False, Meaning.LINES_LOST),
        (1102, False, Meaning.LINES_KEPT),
        (2103, False, Meaning.FARM_BROKEN),
        (2105, False, Meaning.FARM_BROKEN),
        (2157, False, Meaning.FARM_BROKEN),
        (2104, False, Meaning.FARM_MENDED),
        (2106, False, Meaning.FARM_MENDED),
        (2107, False, Meaning.FARM_MENDED),
        (2108, False, Meaning.FARM_MENDED),
        (2158, False, Meaning.FARM_MENDED),
        (2119, False, Meaning.INFORMATION),
        (101, True, Meaning.LIMITED),
        (10197, True, Meaning.BLOCKED),
        (10167, True, Meaning.INFORMATION),
        (300, False, Meaning.INFORMATION),
        (200, True, Meaning.REFUSED),
        (354, True, Meaning.REFUSED),
        (420, True, Meaning.REFUSED),
        (100, True, Meaning.PACED),
        (100, False, Meaning.PACED),
        (12345, True, Meaning.REFUSED),
        (12345, False, Meaning.ERROR),
    ],
)
def test_codes(code: int, of_line: bool, expected: Meaning) -> None:
    """What is not known to leave a line alive refuses it; of the system it is just an error."""
    assert meaning(code, of_line=of_line) is expected
    if of_line:
        assert ends_line(code) is (expected in {Meaning.REFUSED, Meaning.LIMITED})


def test_who_is_told_to_be_slower_is_slower_for_ten_minutes() -> None:
    """Each error 100 quarters the pace, down to one that any limit allows."""
    minute = 60 * 10**9
    assert orders_per_s([], 0) == 40
    assert orders_per_s([0], minute) == 10
    assert orders_per_s([0, minute], minute) == 2.5
    assert orders_per_s([0] * 9, minute) == 2.5
    assert orders_per_s([0, minute], 10 * minute) == 10
    assert orders_per_s([0, minute], 11 * minute) == 40


@pytest.mark.parametrize(
    ("code", "text", "farm"),
    [
        (2103, "Market data farm connection is broken:usfarm.nj", ("market data", "usfarm.nj")),
        (2104, "Market data farm connection is OK: usfarm.nj", ("market data", "usfarm.nj")),
        (2105, "HMDS data farm connection is broken:ushmds", ("history", "ushmds")),
        (
            2108,
            "Market data farm connection is inactive but should be available upon demand.usfarm.nj",
            ("market data", "usfarm.nj"),
        ),
        (2107, "Inactive but should be available upon demand.ushmds", ("history", "ushmds")),
        (2107, "Inactive but should be available upon demand.", ("history", "history")),
        (2157, "Sec-def data farm broken", ("security definitions", "security definitions")),
    ],
)
def test_farms_by_name(code: int, text: str, farm: tuple[str, str]) -> None:
    """The name follows the colon or the full stop, so that a farm is told from another."""
    assert farm_of(Notice(None, code, text)) == farm


def test_names_are_few() -> None:
    """Five are named, the others counted."""
    assert names(["A", "B"]) == "A, B"
    assert names(list("ABCDEFG")) == "A, B, C, D, E and 2 more"
