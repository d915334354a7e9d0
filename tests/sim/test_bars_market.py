"""Where bars come from: the timeline, and the identities every bar obeys whatever happened."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import reduce
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.sim.market.bars import Bar, daily, intraday, longer
from ibloop.sim.market.history import Samples
from ibloop.sim.market.paths import SESSION_S
from ibloop.sim.market.tape import Piece, Side, Tape, side_of
from ibloop.sim.model import NEW_YORK, Quote
from ibloop.sim.service.historical import tape_of
from ibloop.sim.state import Journal
from ibloop.sim.world import World, WorldOptions
from tests.sim.conftest import FakeClock

AAPL, IBM, ZZT = 265598, 8314, 990001
ALL_DAY = SESSION_S + 1.0


@dataclass
class Played:
    """A world in which things happened, and the quotes a client would have seen."""

    world: World
    clock: FakeClock
    con_id: int
    seen: list[tuple[float, Quote]] = field(default_factory=list)

    def tape(self) -> Tape:
        """Return the instrument's past."""
        world = self.world
        return tape_of(world, world.timeline(), world.samples.instruments[self.con_id])

    def bars(self, size_s: int, side: Side = Side.TRADES, back_s: float = ALL_DAY) -> list[Bar]:
        """Return the bars since a time ago."""
        timeline = self.world.timeline()
        start_s = timeline.now_s - back_s
        return intraday(timeline, self.tape(), side, size_s, start_s, timeline.now_s + 1)

    def see(self) -> None:
        """Note the quote; what changes it at the same instant takes its place."""
        quote = self.world.quote_of(self.con_id)
        assert quote is not None
        at_s = self.world.now().timestamp()
        if self.seen and self.seen[-1][0] == at_s:
            self.seen.pop()
        self.seen.append((at_s, quote))

    def act(self, action: tuple[str, float]) -> None:
        """Let time pass, prices jump, or an operator fix one or free them."""
        kind, value = action
        instrument = self.world.samples.instruments[self.con_id]
        match kind:
            case "pass":
                self.clock.advance(round(value * 4) / 4)
            case "shock":
                self.world.shock(value)
            case "fix":
                last = Decimal(round(value * 10_000)) / 100
                self.world.pin(instrument, {"last": last})
            case "free":
                self.world.pin(instrument, {"last": None})
        self.see()


def a_world(samples: Samples, clock: FakeClock, **options: Any) -> World:
    """Return a world of the tiny samples."""
    chosen: dict[str, Any] = {"start": date(2012, 10, 1)} | options
    return World(WorldOptions(**chosen), samples, Journal(), clock)


ACTIONS = st.one_of(
    st.tuples(st.just("pass"), st.floats(0.25, 2000)),
    st.tuples(st.just("pass"), st.floats(0.25, 20)),
    st.tuples(st.just("shock"), st.floats(-0.5, 0.5)),
    st.tuples(st.just("fix"), st.floats(0.1, 3.0)),
    st.tuples(st.just("free"), st.just(0.0)),
)


def played(samples: Samples, con_id: int, actions: Iterable[Any], **options: Any) -> Played:
    """Return a world after some actions, time passing between any two of them."""
    clock = FakeClock()
    scene = Played(a_world(samples, clock, **options), clock, con_id)
    scene.see()
    for action in actions:
        scene.act(("pass", 0.5))
        scene.act(action)
    scene.act(("pass", 0.5))
    return scene


def folded(bars: list[Bar]) -> Piece:
    """Return bars as one."""
    return reduce(Piece.then, [bar.piece for bar in bars])


def values(piece: Piece) -> tuple[Any, ...]:
    """Return what folding must keep exactly."""
    return (piece.open, piece.high, piece.low, piece.close, piece.volume)


@given(
    st.sampled_from([AAPL, ZZT]),
    st.integers(0, 1000),
    st.sampled_from([1.0, 3.0]),
    st.lists(ACTIONS, max_size=8),
)
@settings(deadline=None, max_examples=60)
def test_short_bars_fold_into_long_ones(
    samples: Samples, con_id: int, seed: int, speed: float, actions: list[Any]
) -> None:
    """High, low, open, close and volume: from 15 seconds to minutes to the whole session."""
    scene = played(samples, con_id, actions, seed=seed, speed=speed)
    minutes = {bar.begins: bar.piece for bar in scene.bars(300)}
    groups: dict[int, list[Bar]] = {}
    for bar in scene.bars(15):
        assert isinstance(bar.begins, int)
        groups.setdefault(bar.begins // 300 * 300, []).append(bar)
    begun = scene.seen[0][0]
    live = [begins for begins in minutes if isinstance(begins, int) and begins > begun]
    for begins in live:
        assert values(folded(groups[begins])) == values(minutes[begins])
    if scene.world.moment().session == 0:
        _, today = next(daily(scene.world.timeline(), scene.tape(), Side.TRADES))
        all_of_it = scene.bars(15, back_s=scene.seen[-1][0] - begun)
        assert values(folded(all_of_it)) == values(today)


@given(
    st.sampled_from([AAPL, ZZT]),
    st.integers(0, 1000),
    st.sampled_from([0.0, 1.0, 40.0]),
    st.lists(ACTIONS, max_size=8),
)
@settings(deadline=None, max_examples=60)
def test_every_quote_lies_in_its_bar(
    samples: Samples, con_id: int, seed: int, speed: float, actions: list[Any]
) -> None:
    """Whatever a client was shown of trades, bid, ask and midpoint is within the bar of then."""
    # With the market at a standstill shocks have no time of their own.
    happened = [each for each in actions if speed > 0 or each[0] != "shock"]
    scene = played(samples, con_id, happened, seed=seed, speed=speed)
    for side in Side:
        for size_s in (5, 60, 3600):
            bars = {bar.begins: bar.piece for bar in scene.bars(size_s, side, 40_000)}
            for at_s, quote in scene.seen:
                piece = bars.get(int(at_s) // size_s * size_s)
                # The bar of the very instant at which it would begin is not there yet.
                if piece is not None or at_s < scene.seen[-1][0]:
                    assert piece is not None
                    assert piece.low <= side_of(quote, side) <= piece.high, (side, size_s)


@given(st.integers(0, 1000), st.floats(0, 2.9), st.sampled_from(list(Side)))
@settings(deadline=None, max_examples=40)
def test_a_bar_is_the_same_in_every_answer(
    samples: Samples, seed: int, sessions: float, side: Side
) -> None:
    """Whatever is asked before or later, wherever the answer begins."""
    scene = played(samples, ZZT, [("pass", sessions * SESSION_S)], seed=seed)
    first = {bar.begins: bar for bar in scene.bars(300, side, 200_000)}
    scene.act(("pass", 700))
    second = {bar.begins: bar for bar in scene.bars(300, side, 150_000)}
    common = sorted(set(first) & set(second))[:-1]
    assert common
    assert [first[begins] for begins in common] == [second[begins] for begins in common]


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_ends_of_quoted_bars_are_quotes(samples: Samples, seed: int) -> None:
    """The last bar of bid, ask and midpoint closes at the present quote, that of trades too."""
    scene = played(samples, AAPL, [("pass", 400.0)], seed=seed)
    _, quote = scene.seen[-1]
    for side in Side:
        assert scene.bars(60, side)[-1].piece.close == side_of(quote, side)


@pytest.mark.parametrize("action", [("shock", 0.1), ("fix", 0.5)])
@pytest.mark.parametrize("speed", [0.0, 1.0])
def test_a_jump_shows_at_once(samples: Samples, action: tuple[str, float], speed: float) -> None:
    """Also when it comes between two samples: the growing bars close at the present quote."""
    scene = played(samples, AAPL, [("pass", 400.0)], speed=speed)
    scene.clock.advance(0.1)
    scene.act(action)
    quote = scene.seen[-1][1]
    assert scene.bars(60)[-1].piece.close == quote.last
    _, today = next(daily(scene.world.timeline(), scene.tape(), Side.TRADES))
    assert (today.close, today.high >= quote.last >= today.low) == (quote.last, True)


def test_finished_sessions_are_the_history(samples: Samples) -> None:
    """As days and as the sum of their minutes, the open sessions before the first one too."""
    clock = FakeClock(now=datetime(2026, 11, 23, 22, tzinfo=UTC))
    world = a_world(samples, clock, hours="exchange")
    clock.advance(2 * 86_400)
    scene = Played(world, clock, AAPL)
    days = list(daily(world.timeline(), scene.tape(), Side.TRADES))
    # Tuesday played the first session, Wednesday the second; before them lies September.
    assert [day for day, _ in days] == [date(2026, 11, number) for number in (25, 24, 23)]
    expected = [
        ("106", "108", "104", "107"),
        ("100", "110", "95", "105"),
        ("99", "101", "98", "100"),
    ]
    found = [(piece.open, piece.high, piece.low, piece.close) for _, piece in days]
    assert found == [tuple(map(Decimal, prices)) for prices in expected]
    assert [piece.volume for _, piece in days] == [1_100_000, 1_000_000, 900_000]
    minutes = scene.bars(60, back_s=3 * 86_400)
    for day, piece in days:
        of_day = [
            bar
            for bar in minutes
            if isinstance(bar.begins, int)
            and datetime.fromtimestamp(bar.begins, NEW_YORK).date() == day
        ]
        assert len(of_day) == 390
        assert values(folded(of_day)) == values(piece)


def test_weeks_and_months_are_named_by_their_last_day(samples: Samples) -> None:
    """And are the fold of their days."""
    clock = FakeClock()
    scene = Played(a_world(samples, clock), clock, ZZT)
    days = [*islice(daily(scene.world.timeline(), scene.tape(), Side.TRADES), 120)][::-1]
    for months in (False, True):
        bars = longer(days, months=months)
        for bar, after in pairwise(bars[1:]):
            assert isinstance(bar.begins, date)
            assert isinstance(after.begins, date)
            assert bar.begins < after.begins
            form = "%Y %m" if months else "%G %V"
            named = bar.begins.strftime(form)
            inside = [Bar(day, piece) for day, piece in days if day.strftime(form) == named]
            assert bar.begins == inside[-1].begins
            assert values(folded(inside)) == values(bar.piece)


# ---------------------------------------------------------------------- timeline


def test_a_market_that_never_closes_was_played_where_it_was(samples: Samples) -> None:
    """Since the world began session after session; before it, on the trading days before."""
    clock = FakeClock()
    world = a_world(samples, clock, speed=390.0)
    began_s = clock.now.timestamp()
    clock.advance(150)
    spans = list(islice(world.timeline().spans(), 5))
    minute = [(span.session, span.begins_s - began_s, span.ends_s - began_s) for span in spans[:3]]
    assert minute == [(2, 120, 150), (1, 60, 120), (0, 0, 60)]
    opens = [datetime.fromtimestamp(span.begins_s, NEW_YORK) for span in spans[3:]]
    assert [f"{at:%Y%m%d %H%M}" for at in opens] == ["20261117 0930", "20261116 0930"]
    days = list(islice(world.timeline().days(), 3))
    assert [(day.date.day, day.session) for day in days] == [(18, 2), (17, 1), (16, 0)]


def test_a_session_a_second(samples: Samples) -> None:
    """The fastest market there is: every minute holds sixty sessions, whole ones."""
    clock = FakeClock()
    scene = Played(a_world(samples, clock, speed=23_400.0), clock, IBM)
    clock.advance(600)
    *bars, _now = scene.bars(60, back_s=600)
    assert len(bars) == 10
    _, *days = islice(daily(scene.world.timeline(), scene.tape(), Side.TRADES), 61)
    assert values(bars[-1].piece) == values(reduce(Piece.then, [day for _, day in days[::-1]]))


def test_a_resumed_market_goes_on_where_it_stopped(samples: Samples, state_file: Any) -> None:
    """What was played before the restart lies right before it."""
    clock = FakeClock()
    options = WorldOptions(start=date(2012, 10, 1))
    journal = state_file()
    world = World(options, samples, journal, clock)
    clock.advance(1000)
    world.note_market_time()
    journal.close()
    clock.advance(86_400)
    again = World(options, samples, state_file(), clock)
    clock.advance(10)
    spans = list(islice(again.timeline().spans(), 3))
    now_s = clock.now.timestamp()
    found = [(span.session, span.ends_s - now_s, span.from_s, span.to_s) for span in spans[:2]]
    assert found == [(0, 0, 1000, 1010), (0, -10, 0, 1000)]
    assert (spans[2].session, spans[2].to_s) == (-1, SESSION_S)


def test_half_days_and_holidays(samples: Samples) -> None:
    """Thanksgiving is left out, and the session of the day after ends at 13:00."""
    clock = FakeClock(now=datetime(2026, 11, 30, 13, tzinfo=UTC))
    timeline = a_world(samples, clock, hours="exchange").timeline()
    spans = list(islice(timeline.spans(), 2))
    ends = [datetime.fromtimestamp(span.ends_s, NEW_YORK) for span in spans]
    assert [f"{at:%Y%m%d %H%M}" for at in ends] == ["20261127 1300", "20261125 1600"]
    assert [span.to_s for span in spans] == [SESSION_S, SESSION_S]


@pytest.mark.parametrize("step_s", [-3600.0, 30.0])
def test_a_host_clock_that_is_set_takes_the_past_along(samples: Samples, step_s: float) -> None:
    """Bars end at the present whatever the two clocks of the host do to each other."""
    clock = FakeClock()
    world = a_world(samples, clock)
    clock.advance(500)
    clock.now += timedelta(seconds=step_s)
    scene = Played(world, clock, AAPL)
    scene.see()
    last = scene.bars(60)[-1]
    assert isinstance(last.begins, int)
    assert last.begins == int(clock.now.timestamp() - 0.001) // 60 * 60
    assert last.piece.close == scene.seen[-1][1].last
