"""Historical bars, real-time bars and tick-by-tick data, by every client."""

import csv
from collections.abc import Iterator
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from ibloop.sim.testing import Simulator, frozen, running
from tests.clients.bench import AAPL, IBM, set_quote, stock
from tests.clients.client import Client, Record, eventually
from tests.clients.matrix import ROOT
from tests.clients.process import RequestFailed

pytestmark = [pytest.mark.clients, pytest.mark.e2e]

NEW_YORK = ZoneInfo("America/New_York")
NOON = datetime(2031, 6, 10, 12, tzinfo=NEW_YORK)
NAMES = ("open", "high", "low", "close")


@pytest.fixture(scope="module")
def history() -> list[dict[str, float]]:
    """Return the daily bars of AAPL in the sample history, oldest first, prices in cents."""
    with (ROOT / "data/samples/prices/AAPL.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{name: round(float(row[name]), 2) for name in (*NAMES, "volume")} for row in rows]


@pytest.fixture
def sim(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """Run a simulator in the exchange's hours, at noon of a Tuesday."""
    with running(frozen(hours="exchange", start=date(2006, 1, 3))) as sim:
        sim.clock(to=NOON)
        yield sim


def whole(bars: list[Record]) -> Record:
    """Return bars as one."""
    return {
        "open": bars[0]["open"],
        "high": max(bar["high"] for bar in bars),
        "low": min(bar["low"] for bar in bars),
        "close": bars[-1]["close"],
        "volume": sum(bar["volume"] for bar in bars),
    }


def test_daily_bars_are_those_of_the_history(
    client: Client, history: list[dict[str, float]]
) -> None:
    """Ten trading days, named by their dates; each has the prices of one day of the samples."""
    bars = client.bars(AAPL, "10 D", "1 day")
    assert len(bars) == 10
    assert bars[-1]["time"] == "20310610"
    assert [bar["time"] for bar in bars] == sorted({bar["time"] for bar in bars})
    ended = [{name: bar[name] for name in NAMES} for bar in bars[:-1]]
    days = [{name: day[name] for name in NAMES} for day in history]
    begin = days.index(ended[0])
    assert ended == days[begin : begin + 9]
    assert all(bar["volume"] > 0 for bar in bars[:-1])
    assert all(bar["low"] <= bar["wap"] <= bar["high"] for bar in bars[:-1])
    assert all(bar["count"] > 0 for bar in bars[:-1])


@pytest.mark.parametrize(
    ("size", "seconds", "duration", "count"),
    [("5 mins", 300, "1 D", 78), ("30 secs", 30, "3600 S", 120)],
)
def test_short_bars_make_up_the_day(
    client: Client, sim: Simulator, size: str, seconds: int, duration: str, count: int
) -> None:
    """Named by their beginning, one behind the other, and together the day's own bar."""
    sim.clock(to=datetime(2031, 6, 10, 18, tzinfo=NEW_YORK))
    bars = client.bars(AAPL, duration, size)
    assert len(bars) == count
    times = [bar["time"] for bar in bars]
    end = int(datetime(2031, 6, 10, 16, tzinfo=NEW_YORK).timestamp())
    assert times == [end - seconds * (count - number) for number in range(count)]
    (day,) = client.bars(AAPL, "1 D", "1 day")
    together = whole(bars)
    assert together["close"] == day["close"]
    if count == 78:
        assert {name: together[name] for name in NAMES} == {name: day[name] for name in NAMES}
        assert together["volume"] == pytest.approx(day["volume"], rel=0.01)
    assert day["low"] <= together["low"] <= together["high"] <= day["high"]


def test_bars_of_the_past_end_where_they_are_told(client: Client) -> None:
    """endDateTime in UTC; midpoint bars have no volume."""
    bars = client.bars(IBM, "2 D", "1 hour", "MIDPOINT", end="20310605-20:00:00")
    last = datetime.fromtimestamp(bars[-1]["time"], NEW_YORK)
    assert (last.date(), last.hour) == (date(2031, 6, 5), 15)
    assert datetime.fromtimestamp(bars[0]["time"], NEW_YORK).date() == date(2031, 6, 4)
    assert all(bar["volume"] <= 0 for bar in bars)
    assert all(bar["low"] <= bar["open"] <= bar["high"] for bar in bars)


def test_bars_of_an_unknown_contract_are_refused(client: Client) -> None:
    """200, as for every request."""
    with pytest.raises(RequestFailed) as caught:
        client.bars(stock("NOSUCH", 999_999_999), "1 D", "1 day")
    assert caught.value.code == 200


def test_kept_bars_follow_the_market(client: Client, sim: Simulator) -> None:
    """The last bar grows with the price."""
    with client.subscribed("bars", AAPL, "1 D", "5 mins") as read:
        first = eventually(read, bool)
        last = first[-1]["close"]
        price = round(last + 1, 2)
        set_quote(sim, "AAPL", price - 0.05, price + 0.05, price)
        later = eventually(read, lambda bars: bars[-1]["close"] == price, 12)
        assert later[-1]["high"] >= price
        assert len(later) >= len(first)


def test_the_head_of_the_history(client: Client) -> None:
    """The first day of the samples at the latest, long before today."""
    head = datetime.fromtimestamp(client.head_timestamp(AAPL, "TRADES"), NEW_YORK)
    assert head.year < 2031


def test_real_time_bars_come_every_five_seconds(client: Client, sim: Simulator) -> None:
    """Aligned to five seconds, with the price of the moment."""
    set_quote(sim, "AAPL", 660.00, 660.10, 660.05)
    with client.subscribed("realtime_bars", AAPL, "TRADES") as read:
        bar = eventually(read, bool, 12)[0]
    assert bar["time"] % 5 == 0
    assert bar["time"] == pytest.approx(NOON.timestamp(), abs=60)
    assert bar["close"] == 660.05
    assert bar["low"] <= bar["open"] <= bar["high"]


@pytest.mark.parametrize(("kind_of_tick", "number"), [("Last", 1), ("AllLast", 2)])
def test_every_trade_is_told(
    client: Client, sim: Simulator, kind_of_tick: str, number: int
) -> None:
    """Tick-by-tick Last and AllLast: price, size, exchange and time of each trade."""
    set_quote(sim, "AAPL", 660.00, 660.10, 660.05)
    with client.subscribed("tick_by_tick", AAPL, kind_of_tick, 0) as read:
        eventually(read, bool)
        set_quote(sim, "AAPL", 661.00, 661.10, 661.05)
        ticks = eventually(read, lambda ticks: ticks[-1]["price"] == 661.05)
    tick = ticks[-1]
    assert (tick["tickType"], tick["exchange"]) == (number, "NASDAQ")
    assert tick["size"] > 0
    if not client.kind.is_insync:  # which note when it arrived instead
        assert tick["time"] == pytest.approx(NOON.timestamp(), abs=60)


def test_every_quote_is_told(client: Client, sim: Simulator) -> None:
    """Tick-by-tick BidAsk: both sides with their sizes, whenever one changes."""
    set_quote(sim, "AAPL", 660.00, 660.10, 660.05)
    with client.subscribed("tick_by_tick", AAPL, "BidAsk", 0) as read:
        eventually(read, bool)
        set_quote(sim, "AAPL", 661.00, 661.10, 661.05)
        tick = eventually(read, lambda ticks: ticks[-1]["bidPrice"] == 661.00)[-1]
    assert tick["askPrice"] == 661.10
    assert min(tick["bidSize"], tick["askSize"]) > 0


def test_every_midpoint_is_told(client: Client, sim: Simulator) -> None:
    """Tick-by-tick MidPoint: half-way between bid and ask."""
    set_quote(sim, "AAPL", 660.00, 660.10, 660.05)
    with client.subscribed("tick_by_tick", AAPL, "MidPoint", 0) as read:
        set_quote(sim, "AAPL", 661.00, 661.10, 661.05)
        eventually(read, lambda ticks: ticks and ticks[-1]["midPoint"] == 661.05)


def test_past_ticks_come_first(client: Client) -> None:
    """numberOfTicks asks for that many of the past before the live ones."""
    with client.subscribed("tick_by_tick", AAPL, "Last", 5) as read:
        ticks = eventually(read, lambda ticks: len(ticks) >= 5)
    times = [tick["time"] for tick in ticks]
    assert times == sorted(times)
    assert all(tick["price"] > 0 and tick["size"] > 0 for tick in ticks)
