"""The profit of the day over midnight, fixed prices, splits and restarts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import pytest

from ibloop.sim.brokerage.events import AccountChange
from ibloop.sim.market.bars import daily
from ibloop.sim.market.tape import Piece, Side
from ibloop.sim.model import AccountKind, AccountSpec
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.service.historical import tape_of
from ibloop.sim.state import StateFile
from ibloop.sim.world import World
from tests.sim.stand import Stand

AAPL = 265598
DAY_S = timedelta(days=1).total_seconds()
FIXED = {"bid": Decimal("99.9"), "ask": Decimal(100), "last": Decimal(100)}
MARGIN = (AccountSpec("DU1", AccountKind.MARGIN, Decimal(1_000_000)),)


def ny(day: int, hours: float) -> datetime:
    """Return a New York time of November 2026, which is five hours behind UTC."""
    return datetime(2026, 11, day, 5, tzinfo=UTC) + timedelta(hours=hours)


def fix(stand: Stand, **values: Decimal | None) -> None:
    """Fix parts of AAPL's quote."""
    world = stand.gateway.world
    world.pin(world.samples.instruments[AAPL], {**FIXED, **values})


def daily_pnl(stand: Stand) -> float:
    """Return the profit of the day of the first account."""
    stand.tick()
    value: float = next(iter(stand.truth("accounts").values()))["daily_pnl"]
    return value


def close_of(stand: Stand) -> Decimal:
    """Return the close of AAPL's quote."""
    quote = stand.gateway.world.quote_of(AAPL)
    assert quote is not None
    return quote.close


def daily_bars(stand: Stand, count: int) -> list[Piece]:
    """Return AAPL's last daily bars, newest first."""
    world = stand.gateway.world
    timeline = world.timeline()
    tape = tape_of(world, timeline, world.samples.instruments[AAPL])
    return [piece for _, piece in islice(daily(timeline, tape, Side.TRADES), count)]


@pytest.fixture
def make_stand(
    make_world: Callable[..., World], clock: Any, connect: Callable[..., Any]
) -> Callable[..., Stand]:
    """Return a maker of stands whose market stands at 120, far from AAPL's own prices."""

    def make(*journal: StateFile, **options: Any) -> Stand:
        stand = Stand(Gateway(make_world(*journal, accounts=MARGIN, **options)), clock, connect)
        fix(stand, bid=Decimal("119.9"), ask=Decimal(120), last=Decimal(120))
        return stand

    return make


# ---------------------------------------------------------------------- midnight


def test_a_day_begins_with_the_last_price_before_midnight(make_stand: Callable[..., Stand]) -> None:
    """In a market that never closes, whatever its sessions say, and with what follows."""
    stand = make_stand()
    stand.place(1, totalQuantity=10)
    assert daily_pnl(stand) == -1
    stand.gateway.world.set_clock(DAY_S)
    assert daily_pnl(stand) == 0
    fix(stand, bid=Decimal(122), ask=Decimal(124), last=Decimal(123))
    assert daily_pnl(stand) == 30
    stand.place(2, totalQuantity=10, action="SELL")
    assert daily_pnl(stand) == 10 * 2 - 1
    stand.gateway.world.set_clock(2 * DAY_S)
    assert daily_pnl(stand) == 0


def test_the_day_before_is_remembered_over_a_restart(
    make_stand: Callable[..., Stand],
    make_world: Callable[..., World],
    state_file: Callable[[], StateFile],
) -> None:
    """On the same day and, when nobody was there at midnight, on the next."""
    first = state_file()
    stand = make_stand(first)
    stand.place(1, totalQuantity=10)
    stand.gateway.world.set_clock(DAY_S)
    stand.tick()
    fix(stand, ask=Decimal(126), last=Decimal(125))
    assert daily_pnl(stand) == 50
    first.close()
    second = state_file()
    again = Stand(Gateway(make_world(second, accounts=MARGIN)), stand.clock, stand.connect)
    assert daily_pnl(again) == 50
    second.close()
    third = state_file()
    again = Stand(Gateway(make_world(third, accounts=MARGIN)), stand.clock, stand.connect)
    assert daily_pnl(again) == 50
    third.close()
    stand.clock.advance(DAY_S)
    fourth = state_file()
    again = Stand(Gateway(make_world(fourth, accounts=MARGIN)), stand.clock, stand.connect)
    assert daily_pnl(again) == 0
    fourth.close()


def test_a_split_after_midnight_leaves_the_profit_of_the_day(
    make_stand: Callable[..., Stand],
) -> None:
    """What the day began with is split too."""
    stand = make_stand()
    stand.place(1, totalQuantity=10)
    stand.gateway.world.set_clock(DAY_S)
    assert daily_pnl(stand) == 0
    stand.fault("stock_split:ratio=2")
    assert daily_pnl(stand) == 0
    stand.gateway.world.shock(0.1)
    assert daily_pnl(stand) == 20 * 6


# ---------------------------------------------------------------------- exchange hours


@pytest.fixture
def exchange(make_stand: Callable[..., Stand], clock: Any) -> Stand:
    """Return a stand in the exchange's hours, on Thursday 19 November at 10:00."""
    clock.now = ny(19, 10)
    return make_stand(hours="exchange")


def test_a_fixed_price_is_the_close_of_its_day(exchange: Stand) -> None:
    """Of the auction, of the next day's quote, of the daily bar, and of the profit."""
    world = exchange.gateway.world
    exchange.place(1, totalQuantity=10)
    exchange.place(2, totalQuantity=10, orderType="MOC")
    world.set_time(ny(19, 16.5))
    exchange.tick()
    assert exchange.order(2)["avgFillPrice"] == 120
    assert daily_pnl(exchange) == -2
    for day in (20, 21, 23):
        world.set_time(ny(day, 12))
        assert daily_pnl(exchange) == 0
    assert close_of(exchange) == 120
    bars = daily_bars(exchange, 3)
    assert [bar.close for bar in bars] == [120, 120, 120]
    assert (bars[1].open, bars[1].high, bars[1].low) == (120, 120, 120)
    quote = world.quote_of(AAPL)
    assert quote is not None
    assert (quote.open, quote.high, quote.low) == (120, 120, 120)


def test_a_weekend_and_the_hours_before_a_session_have_no_profit(exchange: Stand) -> None:
    """The day begins at midnight with the last close, whatever the quote still compares with."""
    world = exchange.gateway.world
    exchange.place(1, totalQuantity=10)
    fix(exchange, bid=None, ask=None, last=None)
    world.set_time(ny(19, 23))
    assert daily_pnl(exchange) == 10 * (105 - 120) - 1
    for at in (ny(20, 1), ny(20, 8)):
        world.set_time(at)
        assert daily_pnl(exchange) == 0
    world.set_time(ny(20, 18))
    assert daily_pnl(exchange) == 10 * (107 - 105)
    world.set_time(ny(21, 12))
    assert daily_pnl(exchange) == 0


def test_an_opening_is_not_fixed_afterwards(exchange: Stand) -> None:
    """What is fixed during a session is not its opening price, but its close."""
    world = exchange.gateway.world
    assert (world.opening_price(AAPL, 0), world.market.closing_price(AAPL, 0)) == (100, 120)
    quote = world.quote_of(AAPL)
    assert quote is not None
    assert (quote.open, quote.high) == (100, 120)


def test_a_close_stays_when_the_price_is_freed_the_day_after(exchange: Stand) -> None:
    """What was fixed then is the close, what is fixed now is the price; the open was fixed."""
    world = exchange.gateway.world
    exchange.place(1, totalQuantity=10)
    world.set_time(ny(20, 9))
    assert close_of(exchange) == 120
    world.set_time(ny(20, 10))
    fix(exchange, bid=None, ask=None, last=None)
    quote = world.quote_of(AAPL)
    assert quote is not None
    assert (quote.close, quote.open, quote.last) == (120, 120, 106)
    assert (quote.high, quote.low) == (120, 106)
    assert daily_pnl(exchange) == -140
    world.set_time(ny(23, 10))
    assert close_of(exchange) == 107
    assert world.closing_price(AAPL, 0) == 120
    bars = daily_bars(exchange, 3)
    assert [bars[number].close for number in (1, 2)] == [107, 120]


def test_a_fixed_close_outlives_restarts_and_follows_splits(
    make_stand: Callable[..., Stand],
    make_world: Callable[..., World],
    state_file: Callable[[], StateFile],
    clock: Any,
) -> None:
    """In the state file too, compacted or not."""
    clock.now = ny(19, 10)
    journal = state_file()
    stand = make_stand(journal, hours="exchange")
    stand.place(1, totalQuantity=10)
    clock.now = ny(20, 10)
    fix(stand, bid=Decimal(109), ask=Decimal(111), last=Decimal(110))
    for ratio, close in ((1, 120), (2, 60), (1, 60)):
        if ratio != 1:
            stand.fault(f"stock_split:ratio={ratio}")
        assert close_of(stand) == close
        assert daily_pnl(stand) == -100
        journal.close()
        journal = state_file()
        world = make_world(journal, accounts=MARGIN, hours="exchange")
        stand = Stand(Gateway(world), clock, stand.connect)
    assert daily_pnl(stand) == -100
    journal.close()


def test_what_is_fixed_holds_in_a_market_that_begins_anew(
    make_stand: Callable[..., Stand],
    make_world: Callable[..., World],
    state_file: Callable[[], StateFile],
) -> None:
    """Another seed: sessions count anew, and all that are played close at the fixed price."""
    journal = state_file()
    stand = make_stand(journal, speed=23_400.0)
    stand.clock.advance(5.5)
    fix(stand, ask=Decimal(126), last=Decimal(125))
    for closes in ((100, 125), (125, 125)):
        journal.close()
        journal = state_file()
        world = make_world(journal, accounts=MARGIN, seed=2, speed=23_400.0)
        for close in closes:
            stand.clock.advance(0.75)
            quote = world.quote_of(AAPL)
            assert quote is not None
            assert (quote.last, quote.close) == (125, close)
        world.note_market_time()
    journal.close()


def test_a_clock_put_back_forgets_no_fixed_price(exchange: Stand) -> None:
    """What was fixed at a later time than now shows from now on; what came after it wins."""
    world = exchange.gateway.world
    world.set_time(ny(20, 12))
    fix(exchange, bid=Decimal(129), ask=Decimal(131), last=Decimal(130))
    world.set_time(ny(19, 15))
    assert daily_bars(exchange, 1)[0].close == 130
    fix(exchange)
    world.set_time(ny(20, 13))
    assert [bar.close for bar in daily_bars(exchange, 2)] == [100, 100]


# ---------------------------------------------------------------------- splits


@pytest.mark.parametrize("ratio", ["2", "3", "0.5", "0.1", "0.3333333333333333"])
@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_a_split_is_no_profit(make_stand: Callable[..., Stand], ratio: str, side: str) -> None:
    """Of shares traded the same day, sold again the same day, or held overnight; after it too."""
    stand = make_stand()
    back = "SELL" if side == "BUY" else "BUY"
    fix(stand, bid=Decimal("119.90"), ask=Decimal("120.00"), last=Decimal("120.00"))
    stand.place(1, totalQuantity=30, action=side)
    stand.gateway.world.set_clock(DAY_S)
    stand.tick()
    stand.place(2, totalQuantity=15, action=side)
    stand.place(3, totalQuantity=33, action=back)
    before = daily_pnl(stand)
    worth = stand.truth("accounts")["DU1"]["net_liquidation"]
    stand.fault(f"stock_split:ratio={ratio}")
    assert daily_pnl(stand) == pytest.approx(before, abs=0.11)
    assert stand.truth("accounts")["DU1"]["net_liquidation"] == pytest.approx(worth, abs=0.11)
    (position,) = stand.truth("positions")
    whole = {"2": 24, "3": 36, "0.5": 6, "0.1": 1, "0.3333333333333333": 4}[ratio]
    assert abs(position["quantity"]) == whole
    stand.place(4, totalQuantity=whole, action=back)
    after = daily_pnl(stand)
    stand.fault("stock_split:ratio=2")
    assert daily_pnl(stand) == pytest.approx(after)
    assert stand.truth("positions") == []


@pytest.mark.parametrize(("side", "paid"), [("BUY", 600), ("SELL", -600)])
def test_a_fraction_of_a_share_is_paid_out(
    make_stand: Callable[..., Stand], side: str, paid: float
) -> None:
    """15 shares, one for ten: one share and half a share in cash; a short account pays it."""
    stand = make_stand()
    stand.place(1, totalQuantity=15, action=side)
    cash = stand.truth("accounts")["DU1"]["cash"]
    master = stand.connect(stand.gateway, 10)
    stand.fault("stock_split:ratio=0.1")
    sign = 1 if side == "BUY" else -1
    assert [row["quantity"] for row in stand.truth("positions")] == [sign]
    assert stand.truth("accounts")["DU1"]["cash"] - cash == pytest.approx(paid)
    rows = [(row["shares"], row["cash"]) for row in stand.truth("splits")]
    assert rows == [(-13.5 * sign, 0), (-0.5 * sign, paid)]
    assert master.line.take() == []
    assert len(stand.truth("executions")) == 1


# ---------------------------------------------------------------------- pushes


def test_a_push_shows_the_position_as_each_execution_left_it(
    make_stand: Callable[..., Stand],
) -> None:
    """Four orders fill together: 3, 6, 9, 12 and not 12 four times; values come with the last."""
    stand = make_stand()
    stand.ask(61, 1)
    stand.ask(6, 2, 1, "DU1")
    for number in range(1, 5):
        stand.place(number, orderType="LMT", lmtPrice="110", totalQuantity=3)
    fix(stand)
    told = stand.tick()
    assert [fields[14] for fields in told if fields[0] == "61"] == ["3", "6", "9", "12"]
    assert [fields[13] for fields in told if fields[0] == "7"] == ["3", "6", "9", "12"]
    seen = [fields[0] for fields in told if fields[0] in {"11", "6", "7"}]
    assert [*dict.fromkeys(seen)] == ["11", "7", "6"]
    assert seen.index("6") > len(seen) - 1 - seen[::-1].index("11")


def test_a_change_of_an_account_is_a_copy(make_stand: Callable[..., Stand]) -> None:
    """Nothing that happens later changes what is still to be told."""
    stand = make_stand()
    stand.place(1, orderType="LMT", lmtPrice="110", totalQuantity=3)
    fix(stand)
    world = stand.gateway.world
    (change,) = [e for e in world.broker.match(world) if isinstance(e, AccountChange)]
    stand.place(2, totalQuantity=3)
    assert (change.position.quantity, world.broker.accounts["DU1"].held(AAPL)) == (3, 6)
    assert [day.shares for day in change.position.days.values()] == [3]
