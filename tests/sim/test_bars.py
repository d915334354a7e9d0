"""Bars on the wire: layouts, what each query answers, updates, five seconds, refusals."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ibloop.sim.service.desk import GatewayOptions, MarketDataAccess
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.world import World

AAPL = (265598, "AAPL", "STK", "", "0.0", "", "", "SMART", "", "USD", "", "")
NOON_S = int(datetime(2026, 11, 18, 17, tzinfo=UTC).timestamp())

Fields = tuple[str, ...]


@pytest.fixture
def gateway(make_world: Callable[..., World]) -> Gateway:
    """Return a gateway over a market in NYSE's hours: Wednesday, noon in New York."""
    return Gateway(make_world(hours="exchange", speed=1.0))


@pytest.fixture
def client(gateway: Gateway, connect: Callable[..., Any]) -> Any:
    """Return client 1, at version 176."""
    return connect(gateway)


def ask(**changes: object) -> tuple[object, ...]:
    """Return a reqHistoricalData, written from IB's field list."""
    given: dict[str, object] = {"id": 7, "contract": AAPL, "end": "", "size": "1 day"}
    given |= {"duration": "2 D", "rth": 1, "what": "TRADES", "format": 2, "updates": 0}
    given |= changes
    contract: Any = given["contract"]
    names = ("end", "size", "duration", "rth", "what", "format")
    return (20, given["id"], *contract, 0, *(given[name] for name in names), given["updates"], "")


def bars(fields: Fields, version: int = 176) -> list[Fields]:
    """Return the bars of message 17, eight texts each."""
    assert fields[0] == "17"
    head = 3 if version >= 196 else 5
    assert len(fields) == head + 8 * int(fields[head - 1])
    return [fields[at : at + 8] for at in range(head, len(fields), 8)]


def numbers(bar: Fields) -> list[Decimal]:
    """Return open, high, low, close and volume of a bar."""
    return [Decimal(text) for text in bar[1:6]]


def error(message: Fields) -> tuple[str, str]:
    """Return code and text of an error below version 194."""
    assert message[0] == "4", message
    return message[3], message[4]


# ---------------------------------------------------------------------- layouts


@pytest.mark.parametrize("version", [157, 176, 195, 196, 200])
def test_historical_data_by_version(
    gateway: Gateway, connect: Callable[..., Any], version: int
) -> None:
    """17 names its range up to 195; from 196 on message 108 does, behind the bars."""
    messages = connect(gateway, 3, version).send(*ask())
    (day, today) = bars(messages[0], version)
    assert day[:6] == ("20261117", "99.0", "101.0", "98.0", "100.0", "900000")
    assert today[0] == "20261118"
    limits = ("20261117 00:00:00 US/Eastern", "20261118 12:00:00 US/Eastern")
    if version < 174:
        limits = ("20261117  00:00:00", "20261118  12:00:00")
    if version < 196:
        assert messages[0][1:5] == ("7", *limits, "2")
        assert len(messages) == 1
    else:
        assert messages[0][1:3] == ("7", "2")
        assert messages[1:] == [("108", "7", *limits)]


def test_dates_are_told_as_asked(gateway: Gateway, connect: Callable[..., Any]) -> None:
    """Text or seconds for parts of a day, always a date for days."""
    client = connect(gateway)
    query = {"size": "30 mins", "duration": "1800 S"}
    (message,) = client.send(*ask(**query))
    assert bars(message)[-1][0] == str(NOON_S - 1800)
    (message,) = client.send(*ask(**query, format=1))
    assert bars(message)[-1][0] == "20261118 11:30:00 US/Eastern"
    old = connect(gateway, 2, 173)
    (message,) = old.send(*ask(**query, format=1))
    assert bars(message)[-1][0] == "20261118  11:30:00"
    (message,) = client.send(*ask(format=1))
    assert bars(message)[-1][0] == "20261118"


def test_only_trades_have_volume(client: Any) -> None:
    """Bars of quotes say -1 for volume, average and count."""
    for what in ("MIDPOINT", "BID", "ASK", "BID_ASK"):
        (message,) = client.send(*ask(what=what, size="1 hour"))
        assert {bar[5:] for bar in bars(message)} == {("-1", "-1", "-1")}, what
    (message,) = client.send(*ask(what="TRADES", size="1 hour"))
    for bar in bars(message):
        low, high = Decimal(bar[3]), Decimal(bar[2])
        assert low <= Decimal(bar[6]) <= high
        assert int(bar[7]) > 0


def test_bid_ask_bars_hold_both_sides(client: Any) -> None:
    """Open is the average bid, high the highest ask, low the lowest bid, close the average ask."""
    found = {}
    for what in ("BID", "ASK", "BID_ASK"):
        (message,) = client.send(*ask(what=what, size="1 hour"))
        found[what] = [numbers(bar) for bar in bars(message)]
    for bid, ask_bar, both in zip(*found.values(), strict=True):
        assert (both[1], both[2]) == (ask_bar[1], bid[2])
        assert bid[2] <= both[0] <= bid[1]
        assert ask_bar[2] <= both[3] <= ask_bar[1]
        assert both[0] < both[3]


def test_update_real_time_bar_head_and_histogram_layouts(client: Any, clock: Any) -> None:
    """90 has its own order; 50 carries a version; 88 and 89 are short."""
    client.send(*ask(size="1 min", duration="60 S", updates=1))
    client.send(50, 3, 8, *AAPL, 5, "TRADES", 1, "")
    clock.advance(6)
    client.gateway.tick()
    update, live = client.line.take()
    assert update[:2] == ("90", "7")
    count, begins, first, last, high, low, average, volume = update[2:]
    assert (begins, int(count) > 0, int(volume) > 0) == (str(NOON_S), True, True)
    inner = (Decimal(first), Decimal(last), Decimal(average))
    assert Decimal(low) <= min(inner) <= max(inner) <= Decimal(high)
    assert (live[:4], len(live)) == (("50", "3", "8", str(NOON_S)), 11)
    (head,) = client.send(87, 9, *AAPL, 0, 1, "TRADES", 1)
    assert head == ("88", "9", "20261117-14:30:00")
    (head,) = client.send(87, 9, *AAPL, 0, 1, "TRADES", 2)
    assert head == ("88", "9", str(NOON_S - 26 * 3600 - 1800))
    (histogram,) = client.send(88, 10, *AAPL, 0, 1, "1 day")
    assert histogram[:2] == ("89", "10")
    assert len(histogram) == 3 + 2 * int(histogram[2])
    assert client.send(90, 9) == client.send(89, 10) == []


def test_the_schedule(client: Any) -> None:
    """106: the hours of each session, and of all of them."""
    (schedule,) = client.send(*ask(what="SCHEDULE", duration="2 D", format=1))
    assert schedule == (
        *("106", "7", "20261117-09:30:00", "20261118-16:00:00", "US/Eastern", "2"),
        *("20261117-09:30:00", "20261117-16:00:00", "20261117"),
        *("20261118-09:30:00", "20261118-16:00:00", "20261118"),
    )


# ---------------------------------------------------------------------- ranges


@pytest.mark.parametrize(
    ("size", "duration", "count", "first"),
    [
        ("1 day", "5 D", 2, "20261117"),
        ("1 day", "1 D", 1, "20261118"),
        ("1 day", "60 S", 1, "20261118"),
        ("1 day", "1 W", 2, "20261117"),
        ("1 day", "10 Y", 2, "20261117"),
        ("1 week", "1 M", 1, "20261118"),
        ("1M", "1 Y", 1, "20261118"),
        ("5 mins", "1 D", 30, str(NOON_S - 9000)),
        ("5 mins", "2 D", 108, str(NOON_S - 9000 - 86_400)),
        ("1 hour", "2 D", 10, str(NOON_S - 9000 - 86_400)),
        ("8 hours", "1 D", 1, str(NOON_S - 9000)),
        ("1 min", "300 S", 5, str(NOON_S - 300)),
        ("1 min", "10800 S", 180, str(NOON_S - 86_400 + 12_600)),
        ("5 secs", "60 S", 12, str(NOON_S - 60)),
        ("1 min", "1 W", 540, str(NOON_S - 9000 - 86_400)),
    ],
)
def test_how_far_back(client: Any, size: str, duration: str, count: int, first: str) -> None:
    """Days begin with their session, seconds are of trading, weeks and longer of the calendar."""
    (message,) = client.send(*ask(size=size, duration=duration))
    found = bars(message)
    assert (len(found), found[0][0]) == (count, first)


@pytest.mark.parametrize(
    "end",
    [
        "20261117 15:00:00 US/Eastern",
        "20261117 20:00:00 UTC",
        "20261117-20:00:00",
        "20261117 21:00:00 Europe/Berlin",
        "20261117 15:00:00 EST",
    ],
)
def test_where_an_answer_ends(client: Any, end: str) -> None:
    """In any zone; the bars before it are those every other query gives."""
    (message,) = client.send(*ask(size="1 hour", duration="1 D", end=end))
    (both,) = client.send(*ask(size="1 hour", duration="2 D"))
    assert bars(message) == bars(both)[:6]


def test_a_time_without_a_zone_is_new_yorks_and_warned_of(client: Any) -> None:
    """2174, then the answer."""
    warning, message = client.send(*ask(size="1 hour", end="20261117 15:00:00"))
    assert error(warning)[0] == "2174"
    assert len(bars(message)) == 6


def test_nothing_after_an_end_in_the_future(client: Any) -> None:
    """The answer is that of now."""
    now = client.send(*ask(size="1 hour"))
    assert client.send(*ask(size="1 hour", end="20301117-20:00:00"))[0][5:] == now[0][5:]


# ---------------------------------------------------------------------- updates


def test_kept_bars_end_as_a_later_query_has_them(client: Any, clock: Any) -> None:
    """Whatever was told of a bar while it grew, its last update is the whole bar."""
    (first,) = client.send(*ask(size="1 min", duration="120 S", updates=1))
    told = {bar[0]: bar for bar in bars(first)}
    for _ in range(700):
        clock.advance(0.25)
        client.gateway.tick()
        for fields in client.line.take():
            count, begins, begin, last, high, low, average, volume = fields[2:]
            told[begins] = (begins, begin, high, low, last, volume, average, count)
    (later,) = client.send(*ask(id=8, size="1 min", duration="600 S"))
    known = {bar[0]: bar for bar in bars(later)}
    ended = [begins for begins in told if int(begins) + 60 <= NOON_S + 175]
    assert len(ended) == 4
    assert [told[begins] for begins in ended] == [known[begins] for begins in ended]


def test_updates_come_every_five_seconds_and_at_once_with_a_new_bar(
    client: Any, clock: Any
) -> None:
    """And not at all while nothing changes."""
    clock.advance(1)
    client.send(*ask(size="30 secs", duration="60 S", updates=1))
    times = []
    for step in range(5, 4 * 36 + 1):
        clock.advance(0.25)
        client.gateway.tick()
        times += [step / 4 for _ in client.line.take()]
    # The bar that is over and the new one together, and then five seconds from there.
    assert times == [6, 11, 16, 21, 26, 30.25, 30.25, 35.25]
    clock.advance(6 * 3600)
    client.gateway.tick()
    client.line.take()
    clock.advance(60)
    client.gateway.tick()
    assert client.line.take() == []


def test_daily_bars_are_kept_too(client: Any, clock: Any) -> None:
    """Today's bar grows until the close, and the next day gets a bar of its own."""
    client.send(*ask(duration="5 D", updates=1))
    clock.advance(3 * 3600 + 1800)
    client.gateway.tick()
    (update,) = client.line.take()
    assert update[3] == "20261118"
    clock.advance(19 * 3600)
    client.gateway.tick()
    ended, begun = client.line.take()
    assert (ended[3], begun[3]) == ("20261118", "20261119")
    (message,) = client.send(*ask(id=8, duration="2 D"))
    assert bars(message)[0][4] == ended[5] == "105.0"


def test_cancelled_queries(client: Any, clock: Any) -> None:
    """162 says that updates are ended; a query that is over or never was is unknown: 366."""
    assert error(client.send(25, 1, 7)[0]) == (
        "366",
        "No historical data query found for ticker id:7",
    )
    client.send(*ask(size="1 min", updates=1))
    (ended,) = client.send(25, 1, 7)
    assert error(ended) == (
        "162",
        "Historical Market Data Service error message:API historical data query cancelled: 7",
    )
    clock.advance(60)
    client.gateway.tick()
    assert client.line.take() == []


# ---------------------------------------------------------------------- five seconds


def test_real_time_bars_are_those_of_the_history(client: Any, clock: Any) -> None:
    """Every five seconds, aligned, from the first whole one after the request on."""
    clock.advance(2)
    client.send(50, 3, 8, *AAPL, 5, "TRADES", 1, "")
    live = []
    for _ in range(22 * 4):
        clock.advance(0.25)
        client.gateway.tick()
        live += client.line.take()
    assert [int(bar[3]) for bar in live] == [NOON_S + 5 * number for number in range(4)]
    (message,) = client.send(*ask(size="5 secs", duration="600 S"))
    known = {bar[0]: bar for bar in bars(message)}
    assert [bar[3:] for bar in live] == [known[bar[3]] for bar in live]
    assert client.send(51, 1, 8) == []
    clock.advance(10)
    client.gateway.tick()
    assert client.line.take() == []
    assert error(client.send(51, 1, 8)[0]) == ("300", "Can't find EId with tickerId:8")


def test_no_five_seconds_while_closed(client: Any, clock: Any) -> None:
    """After the close nothing trades; the next morning the bars come again."""
    clock.advance(4 * 3600 - 3)
    client.send(50, 3, 8, *AAPL, 5, "MIDPOINT", 0, "")
    clock.advance(60)
    client.gateway.tick()
    (last,) = client.line.take()
    assert int(last[3]) == NOON_S + 4 * 3600 - 5
    clock.advance(17 * 3600 + 1800)
    client.gateway.tick()
    morning = client.line.take()
    assert [int(bar[3]) % 5 for bar in morning] == [0] * len(morning)
    assert 8 <= len(morning) <= 12


# ---------------------------------------------------------------------- fills, quotes


@pytest.mark.parametrize(("hours", "speed"), [("always", 1), ("always", 60), ("exchange", 1)])
def test_a_fill_lies_in_its_bar(
    make_world: Callable[..., World],
    connect: Callable[..., Any],
    place_fields: Callable[..., Any],
    clock: Any,
    hours: str,
    speed: float,
) -> None:
    """Bought at the ask and sold at the bid: both prices are within the minute and the day."""
    gateway = Gateway(make_world(hours=hours, speed=speed))
    client = connect(gateway)
    fills: list[tuple[float, Decimal]] = []
    for number in range(1, 30):
        clock.advance(7.25)
        gateway.tick()
        client.line.take()
        action = "BUY" if number % 2 else "SELL"
        sent = client.send(*place_fields(number, action=action, totalQuantity=10))
        prices = [Decimal(fields[20]) for fields in sent if fields[0] == "11"]
        fills += [(clock.now.timestamp(), price) for price in prices]
    assert len(fills) >= 29
    clock.advance(1)
    for size, seconds in (("5 secs", 5), ("1 min", 60)):
        (message,) = client.send(*ask(size=size, duration="600 S", end=""))
        known = {int(bar[0]): numbers(bar) for bar in bars(message)}
        for at_s, price in fills:
            _, high, low, *_ = known[int(at_s) // seconds * seconds]
            assert low <= price <= high
    (message,) = client.send(*ask(duration="1 D"))
    _, high, low, *_ = numbers(bars(message)[-1])
    assert all(low <= price <= high for _, price in fills)


def test_fixed_prices_are_in_the_bars_of_their_time(client: Any, clock: Any) -> None:
    """From the moment an operator fixes a price until it is freed, and not before."""
    world = client.gateway.world
    instrument = world.samples.instruments[265598]
    clock.advance(60)
    fixed = {"bid": Decimal(190), "ask": Decimal(200), "last": Decimal(195)}
    world.pin(instrument, fixed)
    clock.advance(60)
    world.pin(instrument, dict.fromkeys(fixed))
    clock.advance(60)
    expected = {"TRADES": 195, "BID": 190, "ASK": 200, "MIDPOINT": 195}
    for what, price in expected.items():
        (message,) = client.send(*ask(size="1 min", duration="180 S", what=what))
        before, during, after = (numbers(bar) for bar in bars(message))
        assert set(during[:3]) == {price}, what
        assert max(before[1], after[1]) < 120


# ---------------------------------------------------------------------- refusals

SERVICE = "Historical Market Data Service error message:"
VALID = "Error validating request.-'bM' : cause - "


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"size": "1 sec"}, "321", f"{VALID}Historical data bar size setting is invalid. Legal"),
        ({"duration": "1"}, "", ""),
        ({"duration": "1 H"}, "321", f"{VALID}When specifying a unit, historical data request"),
        ({"duration": ""}, "321", f"{VALID}Historical data request duration not specified."),
        ({"duration": "0 D"}, "321", f"{VALID}Historical data requested duration is invalid."),
        ({"duration": "366 D"}, "321", f"{VALID}Historical data requests for durations longer"),
        ({"duration": "90000 S"}, "321", f"{VALID}Historical data request for greater than 86400"),
        ({"duration": "53 W"}, "321", f"{VALID}Historical data request for durations longer"),
        ({"what": "FOO"}, "321", f"{VALID}What to show value of FOO rejected."),
        ({"format": 0}, "321", f"{VALID}Date formatting selection of 0 rejected."),
        ({"end": "17.11.2026"}, "10314", "End Date/Time: The date, time, or time-zone entered"),
        ({"end": "20261117 15:00:00 Mars/Base"}, "10314", "End Date/Time: The date, time, or"),
        ({"end": "20261317 15:00:00 UTC"}, "10314", "End Date/Time: The date, time, or"),
        ({"end": "00010101-00:00:00"}, "10314", "End Date/Time: The date, time, or"),
        ({"end": "20261117-15:00:00", "updates": 1}, "321", f"{VALID}Historical data updates"),
        (
            {"end": "20261117-15:00:00", "what": "ADJUSTED_LAST"},
            "321",
            f"{VALID}End date not supported with adjusted last",
        ),
        ({"what": "SCHEDULE", "size": "1 hour"}, "321", f"{VALID}Only daily resolution"),
        ({"size": "1 secs", "duration": "1 D"}, "162", f"{SERVICE}invalid step: 1"),
        ({"size": "1 min", "duration": "9 Y"}, "162", f"{SERVICE}Time length exceed max."),
        (
            {"end": "19780101-15:00:00", "duration": "365 D"},
            "162",
            f"{SERVICE}HMDS query returned no data: AAPL@SMART Trades",
        ),
        ({"what": "HISTORICAL_VOLATILITY"}, "162", f"{SERVICE}HMDS query returned no data: AAPL"),
        ({"contract": (0, "NONE", *AAPL[2:])}, "200", "No security definition has been found"),
    ],
)
def test_refusals(client: Any, changes: dict[str, object], code: str, text: str) -> None:
    """Code and text of each; what is in order is answered."""
    (message,) = client.send(*ask(**changes))
    if not code:
        assert bars(message)
        return
    found = error(message)
    assert found[0] == code
    assert found[1].startswith(text)
    assert message[2] == "7"


def test_other_refusals(client: Any) -> None:
    """An id twice, five seconds of both sides, a contract or a period nobody knows."""
    client.send(*ask(size="1 min", updates=1))
    assert error(client.send(*ask())[0])[0] == "322"
    wrong = client.send(50, 3, 8, *AAPL, 5, "BID_ASK", 1, "")
    assert error(wrong[0])[0] == "321"
    client.send(50, 3, 8, *AAPL, 5, "BID", 1, "")
    assert error(client.send(50, 3, 8, *AAPL, 5, "BID", 1, "")[0])[0] == "322"
    unknown = (0, "NONE", *AAPL[2:])
    assert error(client.send(50, 3, 9, *unknown, 5, "BID", 1, "")[0])[0] == "200"
    assert error(client.send(87, 9, *unknown, 0, 1, "BID", 1)[0])[0] == "200"
    assert error(client.send(87, 9, *AAPL, 0, 1, "FOO", 1)[0])[0] == "321"
    assert error(client.send(87, 9, *AAPL, 0, 1, "FEE_RATE", 1)[0])[0] == "162"
    assert error(client.send(87, 9, *AAPL, 0, 1, "BID", 7)[0])[0] == "321"
    assert error(client.send(88, 9, *unknown, 0, 1, "1 day")[0])[0] == "200"
    assert error(client.send(88, 9, *AAPL, 0, 1, "soon")[0])[0] == "321"


def test_fifty_queries_may_be_open(client: Any) -> None:
    """The next one is refused until one of them is cancelled."""
    for number in range(50):
        assert client.send(*ask(id=100 + number, size="1 min", updates=1))[0][0] == "17"
    code, text = error(client.send(*ask())[0])
    assert (code, text.partition("cause - ")[2]) == (
        "322",
        "Only 50 simultaneous API historical data requests allowed.",
    )
    client.send(25, 1, 100)
    assert client.send(*ask())[0][0] == "17"


@pytest.mark.parametrize("access", [MarketDataAccess.DELAYED, MarketDataAccess.NONE])
def test_without_live_data_there_are_no_bars(
    make_world: Callable[..., World], connect: Callable[..., Any], access: MarketDataAccess
) -> None:
    """162 and 420, as real gateways answer a login that has not subscribed."""
    client = connect(Gateway(make_world(), GatewayOptions(market_data=access)))
    code, text = error(client.send(*ask())[0])
    assert code == "162"
    assert text.startswith(f"{SERVICE}No market data permissions for ISLAND STK.")
    code, text = error(client.send(50, 3, 8, *AAPL, 5, "TRADES", 1, "")[0])
    assert code == "420"
    assert text.startswith("Invalid Real-time Query:No market data permissions for ISLAND STK.")
    assert client.send(*ask(what="SCHEDULE"))[0][0] == "106"


# ---------------------------------------------------------------------- pacing

PACING = ("162", f"{SERVICE}Historical data request pacing violation")


def test_identical_queries_for_small_bars_within_15_seconds(client: Any, clock: Any) -> None:
    """The second one is refused; of minutes any number is answered."""
    small = ask(size="30 secs", duration="60 S")
    assert client.send(*small)[0][0] == "17"
    clock.advance(14)
    assert error(client.send(*small)[0]) == PACING
    clock.advance(2)
    assert client.send(*small)[0][0] == "17"
    for _ in range(80):
        assert client.send(*ask(size="1 min", duration="60 S"))[0][0] == "17"


def test_six_queries_of_one_contract_within_two_seconds(client: Any, clock: Any) -> None:
    """Five are answered; another kind of data has a count of its own."""

    def send(seconds: int, what: str = "TRADES") -> Fields:
        query = ask(size="5 secs", duration=f"{seconds} S", what=what)
        (answer,) = client.send(*query)
        return tuple(answer)

    assert [send(60 + number)[0] for number in range(5)] == ["17"] * 5
    assert error(send(70)) == PACING
    assert send(70, "BID")[0] == "17"
    clock.advance(2)
    assert send(70)[0] == "17"


@pytest.mark.parametrize(("what", "allowed"), [("TRADES", 60), ("BID_ASK", 30)])
def test_sixty_queries_in_ten_minutes(client: Any, clock: Any, what: str, allowed: int) -> None:
    """Those for bid and ask count twice; ten minutes later there is room again."""
    answers = []
    for number in range(allowed + 1):
        clock.advance(1)
        query = ask(size="5 secs", duration=f"{60 + number} S", what=what)
        answers.append(client.send(*query)[0][0])
    assert answers == ["17"] * allowed + ["4"]
    clock.advance(600)
    assert client.send(*ask(size="5 secs", duration="60 S", what=what))[0][0] == "17"


def test_pacing_can_be_turned_off(
    make_world: Callable[..., World], connect: Callable[..., Any]
) -> None:
    """For tests that ask more than a real gateway would bear."""
    client = connect(Gateway(make_world(), GatewayOptions(historical_pacing=False)))
    for _ in range(100):
        assert client.send(*ask(size="5 secs", duration="60 S"))[0][0] == "17"


def test_bars_after_the_clock_was_set(client: Any, clock: Any) -> None:
    """Server time may jump; bars go on where it stands, and a query never fails."""
    client.send(*ask(size="1 min", duration="600 S", updates=1))
    client.send(50, 3, 8, *AAPL, 5, "TRADES", 1, "")
    world = client.gateway.world
    for offset in (7 * 86_400.0, -7 * 86_400.0, 3600.0):
        world.set_clock(offset)
        for _ in range(50):
            clock.advance(0.25)
            client.gateway.tick()
        client.line.take()
        (message,) = client.send(*ask(id=9, size="1 min", duration="600 S"))
        last = int(bars(message)[-1][0])
        now = clock.now + timedelta(seconds=offset)
        assert last == int(now.timestamp()) // 60 * 60
