"""The world in the exchange's hours: what is played when, over nights, holidays and restarts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.sim.market.history import Samples
from ibloop.sim.market.venue import Phase
from ibloop.sim.model import SimError
from ibloop.sim.state import Journal, StateFile
from ibloop.sim.world import World, WorldOptions

AAPL = 265598


def ny(day: int, hours: int, minutes: int = 0, seconds: int = 0) -> datetime:
    """Return a New York time of November 2026, which is five hours behind UTC."""
    midnight = datetime(2026, 11, day, 5, tzinfo=UTC)
    return midnight + timedelta(hours=hours, minutes=minutes, seconds=seconds)


@pytest.fixture
def world(make_world: Callable[..., World], clock: Any) -> World:
    """Return a moving world in exchange hours, on Wednesday 18 November at 09:00."""
    clock.now = ny(18, 9)
    return make_world(hours="exchange", speed=1.0)


def test_a_trading_day_plays_one_session(world: World) -> None:
    """Open, high, low and close of the history day lie between 09:30 and 16:00."""
    assert (world.phase(), world.session(), world.moment().session) == (Phase.PRE_MARKET, 0, -1)
    assert world.next_open() == ny(18, 9, 30)
    world.set_time(ny(18, 9, 30))
    quote = world.quote_of(AAPL)
    assert quote is not None
    assert (world.phase(), world.session()) == (Phase.OPEN, 0)
    assert (quote.last, quote.open, quote.close) == (Decimal(100), Decimal(100), Decimal(100))
    world.set_time(ny(18, 16))
    quote = world.quote_of(AAPL)
    assert quote is not None
    assert (world.phase(), world.session()) == (Phase.POST_MARKET, 1)
    assert (quote.last, quote.high, quote.low) == (Decimal(105), Decimal(110), Decimal(95))
    assert quote.volume == 1_000_000
    assert world.next_open() == ny(19, 9, 30)


def test_outside_regular_hours_the_price_stands_and_the_spread_is_wide(world: World) -> None:
    """A quarter of a percent to either side of the last close, before and after the session."""
    for at, close in ((ny(18, 4), "100.00"), (ny(18, 19, 59), "105.00"), (ny(20, 4), "107.00")):
        world.set_time(at)
        quote = world.quote_of(AAPL)
        assert quote is not None
        last = Decimal(close)
        assert quote.last == last
        assert quote.last - quote.bid == quote.ask - quote.last == round(last / 400, 2)
    # A new day has not traded: the close before it is the last one, and nothing else is known.
    assert (quote.close, quote.open, quote.high, quote.low, quote.volume) == (last, 0, 0, 0, 0)


def test_nights_weekends_and_holidays_are_closed(world: World) -> None:
    """The session after Thanksgiving's eve is the half day on Friday, the next one Monday's."""
    closed = (ny(18, 20), ny(19, 3, 59), ny(21, 12), ny(22, 12), ny(26, 12))
    sessions = []
    for at in closed:
        world.set_time(at)
        assert world.phase() is Phase.CLOSED
        sessions.append(world.session())
    assert sessions == [1, 1, 3, 3, 6]
    world.set_time(ny(27, 12, 59, 59))
    assert (world.phase(), world.session()) == (Phase.OPEN, 6)
    assert world.moment().market_s == pytest.approx(7 * 23_400, abs=2.5)
    world.set_time(ny(27, 13))
    assert world.phase() is Phase.POST_MARKET
    assert world.next_open() == ny(30, 9, 30)
    world.set_time(ny(27, 17))
    assert (world.phase(), world.session()) == (Phase.CLOSED, 7)


@pytest.mark.parametrize(
    ("at", "regular", "outside"),
    [
        (ny(18, 3), ny(18, 16), ny(18, 20)),
        (ny(18, 12), ny(18, 16), ny(18, 20)),
        (ny(18, 16), ny(19, 16), ny(18, 20)),
        (ny(18, 20), ny(19, 16), ny(19, 20)),
        (ny(20, 16), ny(23, 16), ny(20, 20)),
        (ny(25, 22), ny(27, 13), ny(27, 17)),
    ],
)
def test_a_day_order_ends_with_the_hours_it_works_in(
    world: World, at: datetime, regular: datetime, outside: datetime
) -> None:
    """At the close, or with outsideRth after the post-market; placed later, on the next day."""
    world.set_time(at)
    assert world.day_end(outside_rth=False) == regular
    assert world.day_end(outside_rth=True) == outside


def test_auctions_print_the_ends_of_their_session(world: World) -> None:
    """There is no opening price before the open and no closing price before the close."""
    assert (world.opening_price(AAPL, 0), world.closing_price(AAPL, 0)) == (None, None)
    world.set_time(ny(18, 9, 30))
    assert (world.opening_price(AAPL, 0), world.closing_price(AAPL, 0)) == (Decimal(100), None)
    world.set_time(ny(18, 16))
    assert world.closing_price(AAPL, 0) == Decimal(105)
    assert world.opening_price(AAPL, 1) is None
    world.set_time(ny(19, 10))
    assert world.opening_price(AAPL, 1) == Decimal(106)
    assert world.closing_price(AAPL, 0) == Decimal(105)
    world.pin(world.samples.instruments[AAPL], {"last": Decimal(90)})
    world.set_time(ny(19, 16))
    assert world.closing_price(AAPL, 1) == Decimal(90)


def test_a_clock_put_back_goes_on_with_the_next_session(world: World) -> None:
    """A session that is over, or was cut short, never comes back."""
    world.set_time(ny(19, 12))
    assert world.session() == 1
    world.set_time(ny(18, 12))
    assert (world.session(), world.phase()) == (2, Phase.OPEN)
    world.set_time(ny(19, 8))
    assert (world.session(), world.phase()) == (3, Phase.PRE_MARKET)
    world.set_time(ny(19, 3))
    assert (world.session(), world.phase()) == (3, Phase.CLOSED)
    world.set_time(ny(18, 18))
    assert (world.session(), world.phase()) == (3, Phase.POST_MARKET)


@given(st.lists(st.integers(-40 * 24 * 60, 40 * 24 * 60), min_size=1, max_size=12))
@settings(deadline=None, max_examples=60)
def test_wherever_the_clock_goes_the_market_only_goes_on(
    samples: Samples, minutes: list[int]
) -> None:
    """Market time and session numbers never fall, and there is always a price."""

    class Still:
        """Clocks that stand still."""

        def utc(self) -> datetime:
            """Return the start."""
            return ny(18, 12)

        def monotonic_s(self) -> float:
            """Return the start."""
            return 0.0

    world = World(WorldOptions(hours="exchange"), samples, Journal(), Still())
    market_s, session = world.moment().market_s, world.session()
    for offset in minutes:
        world.set_clock(offset * 60.0)
        assert world.moment().market_s >= market_s
        assert world.session() >= session
        assert world.quote_of(AAPL) is not None
        assert world.next_open() >= world.now()
        assert world.day_end(outside_rth=False) > world.now()
        market_s, session = world.moment().market_s, world.session()


def test_a_restart_goes_on_in_the_same_session(
    make_world: Callable[..., World], state_file: Callable[[], StateFile], clock: Any
) -> None:
    """Which day plays which session is kept; days in which nobody looked have passed."""
    clock.now = ny(18, 12)
    first = state_file()
    world = make_world(first, hours="exchange", speed=1.0)
    quote = world.quote_of(AAPL)
    first.close()
    second = state_file()
    world = make_world(second, hours="exchange", speed=1.0)
    assert world.quote_of(AAPL) == quote
    second.close()
    clock.now = ny(20, 12)
    third = state_file()
    world = make_world(third, hours="exchange", speed=1.0)
    assert world.session() == 2
    third.close()


def test_a_market_that_ran_around_the_clock_goes_on_in_hours(
    make_world: Callable[..., World], state_file: Callable[[], StateFile], clock: Any
) -> None:
    """The session it was in is over, the present day plays the next one; and the way back."""
    first = state_file()
    world = make_world(first, speed=23_400.0)
    clock.advance(2.5)
    world.note_market_time()
    first.close()
    second = state_file()
    world = make_world(second, hours="exchange", speed=1.0)
    assert (world.session(), world.phase()) == (3, Phase.OPEN)
    world.note_market_time()
    second.close()
    third = state_file()
    assert make_world(third).session() == 3
    third.close()


def test_a_frozen_market_still_keeps_hours(make_world: Callable[..., World], clock: Any) -> None:
    """Prices stand at the session's open until the close."""
    clock.now = ny(18, 15)
    world = make_world(hours="exchange", speed=0.0)
    quote = world.quote_of(AAPL)
    assert quote is not None
    assert (quote.last, world.phase()) == (Decimal(100), Phase.OPEN)
    world.set_time(ny(18, 16))
    assert world.closing_price(AAPL, 0) == Decimal(105)


def test_options_that_contradict_are_refused(make_world: Callable[..., World]) -> None:
    """A trading day of real hours cannot run faster; unknown hours are unknown."""
    with pytest.raises(SimError, match="expected speed 1"):
        make_world(hours="exchange", speed=60.0)
    with pytest.raises(SimError, match="expected hours always or exchange"):
        make_world(hours="nyse")
    with pytest.raises(SimError, match="synthetic symbols"):
        make_world(synthetic=-1)


def test_delayed_prices_are_those_of_a_quarter_of_an_hour_ago(world: World) -> None:
    """Also over the open and the close."""
    world.set_time(ny(18, 12))
    now = world.quote_of(AAPL)
    world.set_time(ny(18, 12, 15))
    then = world.delayed_quote_of(AAPL)
    assert now is not None
    assert then is not None
    assert (then.last, then.bid, then.volume) == (now.last, now.bid, now.volume)
    world.set_time(ny(19, 9, 40))
    then = world.delayed_quote_of(AAPL)
    assert then is not None
    assert then.last == 105


def test_a_shock_at_night_is_a_jump_at_the_open(world: World) -> None:
    """The close before it stands, the next open knows it."""
    world.set_time(ny(18, 22))
    world.shock(-0.5)
    quote = world.quote_of(AAPL)
    assert quote is not None
    assert quote.last == Decimal("52.50")
    assert world.closing_price(AAPL, 0) == 105
    world.set_time(ny(19, 9, 30))
    quote = world.quote_of(AAPL)
    assert quote is not None
    assert (quote.open, quote.last, quote.close) == (53, 53, 105)
