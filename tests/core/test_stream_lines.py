"""One line: its table, when it is silent, when it is tried again, and what agrees with it."""

import math
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibloop.core.lines import (
    CARRIES_NOTHING,
    LINE_TRANSITIONS,
    NS,
    LineEvent,
    LineRecord,
    LineState,
    advance,
    agrees,
    choose_lines,
    favourite,
    is_dead,
    is_due,
    is_refused,
    is_silent,
    needs_refresh,
    new_rates,
    ordered,
    patience_s,
    pause_s,
    shape,
    untold,
    with_close,
    with_halt,
)
from tests.fakes.streamworld import instrument, tick_state

D = Decimal
AAPL = instrument("AAPL")
S, E = LineState, LineEvent


def line(state: LineState = S.LIVE, **changes: object) -> LineRecord:
    """Return a line in a state since second 100."""
    made = LineRecord(instrument=AAPL, state=state, since_ns=100 * NS, ordered_ns=100 * NS)
    return replace(made, **changes)


def test_a_tick_heals_everything() -> None:
    """Whatever a line went through, its next tick makes it live and forgets the reason."""
    for state in S:
        healed = advance(line(state, reason="x", code=9), E.TICKED, 200 * NS)
        if state is not S.LIVE:
            assert (healed.state, healed.reason, healed.code) == (S.LIVE, "", 0)
        assert LINE_TRANSITIONS[state, E.TICKED] is S.LIVE


def test_only_a_silent_line_is_judged_by_a_snapshot() -> None:
    """A snapshot changes the state of a line that was asked about, and of no other."""
    for state in S:
        for event in (E.CONFIRMED, E.CONTRADICTED, E.UNANSWERED):
            moved = LINE_TRANSITIONS[state, event] is not state
            assert moved is (state is S.PROBING)


def test_the_way_of_a_dead_line() -> None:
    """Silent, asked about, contradicted, still silent: dead, with its reason until it is well."""
    record = line(S.LIVE)
    for event, state in (
        (E.SILENT, S.PROBING),
        (E.CONTRADICTED, S.SUSPECT),
        (E.SILENT, S.DEGRADED),
        (E.ORDERED, S.ASKED),
        (E.SILENT, S.PROBING),
        (E.UNANSWERED, S.DEGRADED),
    ):
        record = advance(record, event, record.since_ns + 5 * NS, "gone quiet")
        assert record.state is state
        assert is_dead(record) is (state not in {S.PROBING, S.SUSPECT} or record.attempts > 0)
    assert record.attempts == 2
    assert not is_dead(advance(record, E.TICKED, record.since_ns))


def test_impossible_events_raise() -> None:
    """What the table does not know is a bug: a dead line cannot fall silent."""
    for state in (S.PROBING, S.DEGRADED, S.REFUSED):
        with pytest.raises(KeyError):
            advance(line(state), E.SILENT, 0)


@given(st.lists(st.sampled_from(E), max_size=30))
def test_a_line_that_carries_nothing_says_why(events: list[LineEvent]) -> None:
    """Whatever happens, a failed line has a reason, a pause that ends, and a way back."""
    record, now_ns = ordered(AAPL, NS), NS
    for event in events:
        now_ns += NS
        if (record.state, event) not in LINE_TRANSITIONS:
            continue
        code = 354 if event is E.REFUSED else 0
        record = advance(record, event, now_ns, "told" if code else "", code)
        assert is_dead(record) + is_refused(record) <= 1
        if record.state in CARRIES_NOTHING:
            assert record.reason
            assert is_due(record, record.since_ns + 601 * NS)
        elif record.state in {S.LIVE, S.QUIET}:
            assert (record.reason, pause_s(record)) == ("", math.inf)


def test_the_pause_doubles_and_ends() -> None:
    """Dead: 2 s to 5 min. Refused: 30 s to 10 min."""
    for state, first, last in ((S.DEGRADED, 2.0, 300.0), (S.REFUSED, 30.0, 600.0)):
        pauses = [pause_s(line(state, attempts=number)) for number in range(1, 40)]
        assert (pauses[0], pauses[1], pauses[-1]) == (first, 2 * first, last)
        assert pauses == sorted(pauses)


def test_a_calm_minute_begins_the_backoff_anew() -> None:
    """A line that was live for a minute fails for the first time; a flapping one does not."""
    for lived_s, attempts in ((59, 4), (60, 1)):
        record = line(S.LIVE, attempts=3)
        failed = advance(record, E.BLOCKED, record.since_ns + lived_s * NS, "x", 10197)
        assert failed.attempts == attempts


@pytest.mark.parametrize(
    ("state", "heard_s", "opened_s", "now_s", "expected"),
    [
        (S.LIVE, 110, 0, 114.9, False),
        (S.LIVE, 110, 0, 115, True),
        (S.QUIET, 110, 0, 115, True),
        (S.LIVE, 110, 112, 115, False),  # the session opened meanwhile
        (S.ASKED, 0, 0, 104.9, False),  # since it was ordered
        (S.ASKED, 0, 0, 105, True),
        (S.SUSPECT, 0, 0, 100.9, False),
        (S.SUSPECT, 0, 0, 101, True),
        (S.PROBING, 0, 0, 999, False),
        (S.DEGRADED, 0, 0, 999, False),
        (S.REFUSED, 0, 0, 999, False),
    ],
)
def test_silence(
    state: LineState, heard_s: float, opened_s: float, now_s: float, expected: bool
) -> None:
    """Five seconds without a word in the session, counted from what it last said."""
    found = is_silent(
        line(state), int(heard_s * NS), int(now_s * NS), patience_s=5.0, opened_ns=opened_s * NS
    )
    assert found is expected


def test_refreshing() -> None:
    """A failed line's price is asked for at once and then every ten seconds, unless unknown."""
    failed = line(S.DEGRADED, reason="x")
    assert needs_refresh(failed, 100 * NS)
    asked = replace(failed, refreshed_ns=100 * NS)
    assert not needs_refresh(asked, 109 * NS)
    assert needs_refresh(asked, 110 * NS)
    assert needs_refresh(replace(asked, state=S.ASKED), 110 * NS)
    assert not needs_refresh(replace(failed, code=200), 100 * NS)
    assert not needs_refresh(line(S.LIVE), 100 * NS)
    assert not needs_refresh(replace(failed, state=S.PROBING), 100 * NS)


def test_agreeing() -> None:
    """Bid and ask are what counts; a line that said nothing agrees with nothing."""
    said = tick_state("AAPL", "100")
    assert agrees(said, tick_state("AAPL", "100.00", last=D(5), volume=D(7)))
    assert not agrees(said, tick_state("AAPL", "100.01"))
    assert not agrees(said, tick_state("AAPL", None))
    assert not agrees(None, said)


def test_what_a_snapshot_leaves_out_stays_known() -> None:
    """The prior close of the line stands until a snapshot says otherwise; prices do not."""
    said = tick_state("AAPL", "100", close=D(99), last=D(98))
    found = with_close(tick_state("AAPL", "101"), said)
    assert (found.close, found.last, found.bid) == (D(99), None, D(101))
    assert with_close(tick_state("AAPL", "101", close=D(97)), said).close == D(97)
    assert with_close(said, None) is said


def test_a_halt_stands_until_somebody_speaks_of_it() -> None:
    """Only what says nothing of a halt gets the one that was told before, of its own symbol."""
    silent = tick_state("AAPL")
    assert with_halt(silent, {"AAPL"}).halted is True
    assert with_halt(silent, {"MSFT"}) is silent
    assert with_halt(replace(silent, halted=False), {"AAPL"}).halted is False


def lines(count: int, state: LineState = S.ASKED, **changes: object) -> list[LineRecord]:
    """Return as many lines, ordered at second 100."""
    return [line(state, **changes) for _ in range(count)]


def test_a_feed_that_never_said_anything_is_dead_as_a_whole() -> None:
    """Once all lines had the time to be opened and to be silent; one tick of one acquits it."""
    asked = lines(100)
    at = {second: 100 * NS + int(second * NS) for second in (7.4, 7.5)}
    assert untold(asked, 0, 0, at[7.4], 5.0, 0) == []
    assert untold(asked, 0, 0, at[7.5], 5.0, 0) == asked
    assert untold(asked, 0, 0, at[7.5], 5.0, 101 * NS) == []  # open for us since second 101
    assert untold(asked, 100 * NS, 0, at[7.5], 5.0, 0) == []
    refused = lines(2, S.REFUSED, reason="no", code=354)
    assert untold(refused, 0, 0, at[7.5], 5.0, 0) == []
    young = line(S.ASKED, ordered_ns=at[7.4])
    assert untold([*asked, young], 0, 0, 110 * NS, 5.0, 0) == asked


def test_a_feed_that_fell_silent_is_dead_once_a_line_is() -> None:
    """Nothing heard is no proof by itself; with a dead line and nothing confirmed it is."""
    quiet, dead = line(S.QUIET), line(S.DEGRADED, reason="silent")
    heard_ns, late_ns = 200 * NS, 211 * NS
    assert untold([quiet, quiet], heard_ns, heard_ns, late_ns, 5.0, 0) == []
    assert untold([quiet, dead], heard_ns, heard_ns, late_ns, 5.0, 0) == [quiet]
    assert untold([quiet, dead], heard_ns, late_ns - 10 * NS, late_ns, 5.0, 0) == []


def test_shapes() -> None:
    """Equal is locked, above is crossed, unknown is neither."""
    assert shape(D(2), D(1)) == "crossed"
    assert shape(D(1), D(1)) == "locked"
    assert shape(D(1), D(2)) is None
    assert shape(None, D(1)) is None
    assert shape(D(1), None) is None


def test_choosing() -> None:
    """Doubles count once, what cannot have a file takes no line, and what is left out is told."""
    wanted = [instrument(symbol) for symbol in ("A", "_B", "A", "C", "_B", "D", "D")]
    lines, left_out = choose_lines(wanted, 2, lambda s: s[0] != "_", "it is so")
    assert list(lines) == ["A", "C"]
    assert left_out == {
        "_B": "its name cannot be a file's name",
        "D": "all 2 market data lines are taken (it is so)",
    }


@given(st.lists(st.sampled_from("ABCDEFGHIJ")), st.integers(1, 12))
def test_every_wanted_symbol_has_a_line_or_a_reason(symbols: list[str], limit: int) -> None:
    """Nothing is lost, nothing twice, and a foremost one is never left out for a later one."""
    lines, left_out = choose_lines([instrument(s) for s in symbols], limit, lambda _s: True, "x")
    assert len(lines) <= limit
    assert [*lines, *left_out] == list(dict.fromkeys(symbols))


def test_rates_remember_half_a_minute() -> None:
    """Ten ticks a second become a rate of ten, and fade when others tick instead."""
    rates: dict[str, float] = {}
    seen = []
    for _ in range(120):
        rates = new_rates(rates, {"A": 10}, 1.0)
        seen.append(rates["A"])
    assert all(a <= b for a, b in pairwise(seen))
    assert 9.5 < rates["A"] <= 10
    for _ in range(120):
        rates = new_rates(rates, {"B": 1}, 1.0)
    assert rates["A"] < 1


def test_the_favourite_is_asked_about_sooner() -> None:
    """The symbol that ticks most, if any ticks often; after ten gaps, 3 s at least, 5 s at most."""
    rates = {"A": 0.5, "B": 8.0, "C": 90.0}
    assert favourite(rates, ["A", "B"]) == "B"
    assert favourite({"A": 0.1}, ["A"]) is None
    assert favourite(rates, []) is None
    assert [patience_s(rate, 5.0) for rate in (90.0, 2.5, 0.5)] == [3.0, 4.0, 5.0]
