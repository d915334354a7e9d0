"""Streams, snapshots and contracts as a client sees them on the wire."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibloop.sim.market.history import load_samples
from ibloop.sim.model import SimError
from ibloop.sim.service.desk import GatewayOptions, MarketDataAccess
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.state import Journal, StateFile
from ibloop.sim.world import World, WorldOptions

AAPL = ("265598", "AAPL", "STK", "", "0.0", "", "", "SMART", "", "USD", "", "")
FB = ("0", "FB", "STK", "", "0.0", "", "", "SMART", "", "USD", "", "")
NIGHT = datetime(2026, 11, 19, 3, tzinfo=UTC)
MORNING = datetime(2026, 11, 18, 14, tzinfo=UTC)

Messages = list[tuple[str, ...]]


def asks(
    req_id: int, contract: tuple[str, ...] = AAPL, generic: str = "", *, snapshot: int = 0
) -> tuple[object, ...]:
    """Return reqMktData."""
    return (1, 11, req_id, *contract, 0, generic, snapshot, 0, "")


def ticks(messages: Messages) -> dict[int, str]:
    """Return the last value of each tick: price, size, number or text."""
    return {int(m[3]): m[4] for m in messages if m[0] in {"1", "2", "45", "46"}}


def codes(messages: Messages) -> list[int]:
    """Return the codes of errors (below version 194)."""
    return [int(m[3]) for m in messages if m[0] == "4"]


@pytest.fixture
def gateway(make_world: Callable[..., World]) -> Gateway:
    """Return a gateway over a frozen market."""
    return Gateway(make_world())


# ---------------------------------------------------------------------- types of market data


def test_delayed_data_has_tick_numbers_of_its_own(
    make_world: Callable[..., World], connect: Callable[..., Any]
) -> None:
    """Type 3: message 58 says so, prices are ticks 66 to 76 and 88, nothing else comes."""
    options = GatewayOptions(market_data=MarketDataAccess.DELAYED)
    client = connect(Gateway(make_world(), options))
    assert client.send(59, 1, 3) == []
    messages = client.send(*asks(7))
    assert codes(messages) == [10167]
    assert messages[1:3] == [("81", "7", "0.01", "9c0001", "3"), ("58", "1", "7", "3")]
    assert set(ticks(messages)) == {*range(66, 77), 88}
    assert ticks(messages)[68] == "100.0"
    client.send(59, 1, 9)
    assert ("58", "1", "8", "3") in client.send(*asks(8))


@pytest.mark.parametrize("kind", [1, 3, 4])
def test_live_data_wins_where_the_login_has_it(
    gateway: Gateway, connect: Callable[..., Any], kind: int
) -> None:
    """Who asks for delayed data and may have live data gets live data, as at a real gateway."""
    client = connect(gateway)
    client.send(59, 1, kind)
    messages = client.send(*asks(7))
    assert codes(messages) == []
    assert ("58", "1", "7", "1") in messages
    assert {1, 2, 4} <= set(ticks(messages))
    assert not set(ticks(messages)) & set(range(66, 77))


@pytest.mark.parametrize(
    ("access", "kind", "told"),
    [
        ("live", 1, []),
        ("live", 3, []),
        ("delayed", 1, [10089]),
        ("delayed", 2, [10089]),
        ("delayed", 3, [10167]),
        ("delayed", 4, [10167]),
        ("none", 1, [354]),
        ("none", 3, [10168]),
    ],
)
def test_a_login_sees_what_it_is_entitled_to(
    make_world: Callable[..., World],
    connect: Callable[..., Any],
    access: str,
    kind: int,
    told: list[int],
) -> None:
    """Without a subscription there is an error and no tick; 10167 comes before delayed ones."""
    options = GatewayOptions(market_data=MarketDataAccess(access))
    client = connect(Gateway(make_world(), options))
    client.send(59, 1, kind)
    messages = client.send(*asks(7))
    assert codes(messages) == told
    assert bool(ticks(messages)) == (not told or told == [10167])
    held = codes(client.send(2, 2, 7)) == []
    assert held == bool(ticks(messages))


def test_while_the_exchange_is_closed_only_frozen_data_has_bid_and_ask(
    make_world: Callable[..., World], connect: Callable[..., Any], clock: Any
) -> None:
    """Live data shows -1 with size 0 and the last price; type 2 the last bid and ask."""
    clock.now = NIGHT
    gateway = Gateway(make_world(hours="exchange", speed=1.0))
    client = connect(gateway)
    live = client.send(*asks(7))
    shown = ticks(live)
    assert (shown[1], shown[0], shown[2], shown[3]) == ("-1.0", "0", "-1.0", "0")
    assert ("58", "1", "7", "1") in live
    # What was traded last was traded at the close.
    assert (shown[4], shown[45]) == (
        "100.0",
        str(int(datetime(2026, 11, 18, 21, tzinfo=UTC).timestamp())),
    )
    client.send(59, 1, 2)
    frozen = client.send(*asks(8))
    assert ("58", "1", "8", "2") in frozen
    assert (ticks(frozen)[1], ticks(frozen)[2]) == ("99.75", "100.25")
    gateway.world.set_time(datetime(2026, 11, 19, 15, tzinfo=UTC))
    clock.advance(1)
    gateway.tick()
    messages = client.line.take()
    assert ("58", "1", "8", "1") in messages
    assert {float(m[4]) > 0 for m in messages if m[0] == "1"} == {True}


def test_before_the_open_there_is_no_day_yet(
    make_world: Callable[..., World], connect: Callable[..., Any], clock: Any
) -> None:
    """In the pre-market: wide quotes marked as pre-open, a close, no open, high, low or volume."""
    clock.now = MORNING
    client = connect(Gateway(make_world(hours="exchange", speed=1.0)))
    messages = client.send(*asks(7))
    shown = ticks(messages)
    assert (shown[1], shown[2], shown[9], shown[8]) == ("99.75", "100.25", "100.0", "0")
    assert not {6, 7, 14} & set(shown)
    (bid,) = [m for m in messages if m[:4] == ("1", "6", "7", "1")]
    assert bid[6] == "5"


# ---------------------------------------------------------------------- snapshots and lines


def test_a_snapshot_holds_no_line(gateway: Gateway, connect: Callable[..., Any]) -> None:
    """Ticks, then 57; afterwards there is nothing to cancel."""
    client = connect(gateway)
    messages = client.send(*asks(7, snapshot=1))
    assert messages[-1] == ("57", "1", "7")
    assert {1, 2, 4, 9} <= set(ticks(messages))
    assert codes(client.send(2, 2, 7)) == [300]
    assert codes(client.send(*asks(7, generic="233", snapshot=1))) == [321]


def test_a_snapshot_without_data_ends_after_eleven_seconds(
    gateway: Gateway, connect: Callable[..., Any], clock: Any
) -> None:
    """FB has no price before its first day: only the end comes, once."""
    client = connect(gateway)
    assert [m[0] for m in client.send(*asks(7, FB, snapshot=1))] == ["81", "58"]
    clock.advance(10.9)
    gateway.tick()
    assert client.line.take() == []
    clock.advance(0.2)
    gateway.tick()
    gateway.tick()
    assert client.line.take() == [("57", "1", "7")]


@pytest.mark.parametrize(("lines", "fits"), [(2, 2), (0, 150)])
def test_the_number_of_lines_is_an_option(
    make_world: Callable[..., World], connect: Callable[..., Any], lines: int, fits: int
) -> None:
    """One more than allowed is error 101; 0 allows any number."""
    client = connect(Gateway(make_world(), GatewayOptions(market_data_lines=lines)))
    for number in range(fits):
        assert codes(client.send(*asks(number))) == []
    assert codes(client.send(*asks(1000))) == ([101] if lines else [])


def test_a_halt_is_tick_49(gateway: Gateway, connect: Callable[..., Any], clock: Any) -> None:
    """1 when trading in it stops, 0 when it goes on; prices an operator fixed are shown at once."""
    client = connect(gateway)
    assert ticks(client.send(*asks(7)))[49] == "0.0"
    apple = gateway.world.samples.instruments[265598]
    gateway.world.pin(apple, {"halted": True, "last": Decimal("99.5")})
    gateway.tick()
    shown = ticks(client.line.take())
    assert (shown[49], shown[4], shown[1]) == ("1.0", "99.5", "99.49")
    gateway.world.pin(apple, {"halted": False})
    clock.advance(1)
    gateway.tick()
    assert ticks(client.line.take())[49] == "0.0"


def test_many_clients_see_the_same(
    make_world: Callable[..., World], connect: Callable[..., Any], clock: Any
) -> None:
    """Two lines of two clients differ in nothing but the request id."""
    gateway = Gateway(make_world(speed=60.0))
    first, second = connect(gateway, 1), connect(gateway, 2)
    first.send(*asks(7))
    second.send(*asks(7))
    for _ in range(5):
        clock.advance(1)
        gateway.tick()
        messages = first.line.take()
        assert messages
        assert messages == second.line.take()


def test_a_stream_shows_what_the_broker_trades_at(
    make_world: Callable[..., World], connect: Callable[..., Any], clock: Any
) -> None:
    """Added up, its ticks are the quote of the sample, over sessions, fixed prices and shocks."""
    gateway = Gateway(make_world(speed=600.0))
    client, world = connect(gateway), gateway.world
    shown = ticks(client.send(*asks(7)))
    apple = world.samples.instruments[265598]
    for number in range(160):
        clock.advance(0.25 if number % 9 else 8.0)
        if number == 60:
            world.pin(apple, {"bid": Decimal("90.5")})
        if number == 80:
            world.pin(apple, {"bid": None})
        if number == 100:
            world.shock(0.1)
        gateway.tick()
        shown |= ticks(client.line.take())
        quote = world.quote_of(265598)
        assert quote is not None
        prices = (quote.bid, quote.ask, quote.last, quote.high, quote.low, quote.close, quote.open)
        assert [Decimal(shown[tick]) for tick in (1, 2, 4, 6, 7, 9, 14)] == list(prices)
        sizes = (quote.bid_size, quote.ask_size, quote.last_size, quote.volume)
        assert [Decimal(shown[tick]) for tick in (0, 3, 5, 8)] == list(sizes)


# ---------------------------------------------------------------------- generic ticks


def test_generic_ticks(gateway: Gateway, connect: Callable[..., Any]) -> None:
    """Each number brings its ticks; those of options, news or funds bring none."""
    client = connect(gateway)
    wanted = "100,101,104,106,165,221,225,233,236,256,258,292:BRFG,293,294,295,318,375,411,456,595"
    shown = ticks(client.send(*asks(7, generic=wanted)))
    generic = {number for number in shown if number not in {*range(10), 14, 45, 49, 32, 33, 84}}
    ranges = {*range(15, 22)}
    assert generic == {*ranges, 23, 24, 37, 46, 48, 54, 55, 56, 57, 58, 63, 64, 65, 77, 89}
    assert (shown[19], shown[20], shown[21]) == ("98.0", "101.0", "900000")
    assert (shown[37], shown[46], shown[57]) == ("100.0", "3.0", "100.0")
    price, size, _, volume, average, single = shown[48].split(";")
    assert (price, volume, average, single) == ("100.0", "0", "100.0000", "true")
    assert int(size) > 0


def test_rtvolume_follows_the_trades(
    make_world: Callable[..., World], connect: Callable[..., Any], clock: Any
) -> None:
    """A moving market keeps telling; what belongs to the day is told once."""
    gateway = Gateway(make_world(speed=60.0))
    client = connect(gateway)
    client.send(*asks(7, generic="233,165,293,294,295"))
    clock.advance(60)
    gateway.tick()
    shown = ticks(client.line.take())
    assert shown[48].split(";")[3] == shown[8]
    assert int(shown[54]) == -(-int(shown[8]) // 120)
    assert 0 < int(shown[56]) < int(shown[8])
    assert 21 not in shown


def test_an_illegal_generic_tick_is_refused(gateway: Gateway, connect: Callable[..., Any]) -> None:
    """321 names the list and what is legal; no line is held."""
    client = connect(gateway)
    for generic in ("999", "233,abc", "\u0662"):
        (error,) = client.send(*asks(7, generic=generic))
        assert error[3] == "321"
        assert error[4].startswith(
            "Error validating request.-'bW' : cause - Incorrect generic tick list of"
        )
    assert codes(client.send(2, 2, 7)) == [300]
    assert ticks(client.send(*asks(7, generic="mdoff,292"))) == {}
    assert codes(client.send(2, 2, 7)) == []


# ---------------------------------------------------------------------- contracts


def details(**changes: str) -> tuple[object, ...]:
    """Return reqContractDetails of version 176."""
    names = (
        "conId symbol secType date strike right multiplier exchange primary currency local class"
    )
    values = {"conId": "0", "symbol": "IBM", "secType": "STK", "strike": "0.0"} | changes
    return (9, 8, 3, *(values.get(name, "") for name in names.split()), 0, "", "", "")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"conId": "8314", "symbol": ""},
        {"symbol": "", "local": "IBM"},
        {"exchange": "SMART", "currency": "USD", "primary": "NYSE", "class": "IBM"},
        {"secType": ""},
    ],
)
def test_contract_details_by_every_name(
    gateway: Gateway, connect: Callable[..., Any], changes: dict[str, str]
) -> None:
    """By conId, symbol, local symbol, and with everything that does not contradict."""
    found, end = connect(gateway).send(*details(**changes))
    assert (found[0], found[2], end) == ("10", "IBM", ("52", "1", "3"))


@pytest.mark.parametrize(
    "changes",
    [
        {"symbol": "NOPE"},
        {"symbol": "IB"},
        {"symbol": ""},
        {"conId": "1"},
        {"secType": "OPT"},
        {"currency": "EUR"},
        {"exchange": "LSE"},
        {"primary": "NASDAQ"},
        {"local": "AAPL"},
        {"class": "NMS"},
    ],
)
def test_a_contract_nobody_is_gets_200(
    gateway: Gateway, connect: Callable[..., Any], changes: dict[str, str]
) -> None:
    """Whatever contradicts leaves no instrument."""
    assert codes(connect(gateway).send(*details(**changes))) == [200]


def test_a_symbol_that_two_instruments_have(
    tmp_path: Path, samples_dir: Path, connect: Callable[..., Any], clock: Any
) -> None:
    """reqContractDetails lists both; a stream of an ambiguous contract is error 200."""
    text = (samples_dir / "universe.csv").read_text()
    twin = "ZZT,990002,Other Trust,NASDAQ,USD,0.0001,1,Financials,5000,synthetic,0.50,0.25\n"
    (tmp_path / "universe.csv").write_text(text + twin)
    (tmp_path / "prices").symlink_to(samples_dir / "prices")
    world = World(WorldOptions(speed=0.0), load_samples(tmp_path), Journal(), clock)
    client = connect(Gateway(world))
    both = client.send(*details(symbol="ZZT"))
    assert [m[0] for m in both] == ["10", "10", "52"]
    contract = ("0", "ZZT", "STK", "", "0.0", "", "", "SMART", "", "USD", "", "")
    (error,) = client.send(*asks(7, contract))
    assert (error[3], error[4]) == (
        "200",
        "The contract description specified for ZZT is ambiguous.",
    )
    assert "557,557" in both[1]
    assert "26,26" in both[0]
    assert client.send(91, 557) == [("93", "557", "2", "0.0", "0.0001", "1.0", "0.01")]
    quote = world.quote_of(990002)
    assert quote is not None
    assert (quote.last, quote.ask - quote.bid) == (Decimal("0.5"), Decimal("0.0001"))


def test_market_rules(gateway: Gateway, connect: Callable[..., Any]) -> None:
    """26 is a cent at any price; an unknown rule is 321 without an id."""
    client = connect(gateway)
    assert client.send(91, 26) == [("93", "26", "1", "0.0", "0.01")]
    (error,) = client.send(91, 27)
    assert error[2:4] == ("-1", "321")


def test_hours_are_told_truly(
    make_world: Callable[..., World], connect: Callable[..., Any], clock: Any
) -> None:
    """Six days: around the clock, or the exchange's with closed days and half days."""
    always = connect(Gateway(make_world())).send(*details())[0]
    assert always[26] == always[27]
    assert always[27].split(";")[0] == "20261118:0000-20261118:2359"
    clock.now = datetime(2026, 11, 24, 17, tzinfo=UTC)
    found = connect(Gateway(make_world(hours="exchange", speed=1.0))).send(*details())[0]
    assert found[25] == "US/Eastern"
    assert found[26].split(";") == [
        *("20261124:0400-20261124:2000", "20261125:0400-20261125:2000", "20261126:CLOSED"),
        *("20261127:0400-20261127:1700", "20261128:CLOSED", "20261129:CLOSED"),
    ]
    assert found[27].split(";") == [
        *("20261124:0930-20261124:1600", "20261125:0930-20261125:1600", "20261126:CLOSED"),
        *("20261127:0930-20261127:1300", "20261128:CLOSED", "20261129:CLOSED"),
    ]


@pytest.mark.parametrize(
    ("pattern", "symbols"),
    [("AA", ["AAPL"]), ("aapl", ["AAPL"]), ("inc", ["AAPL", "FB"]), ("", []), ("ZZTOP", [])],
)
def test_matching_symbols(
    gateway: Gateway, connect: Callable[..., Any], pattern: str, symbols: list[str]
) -> None:
    """By the beginning of the symbol or a part of the name; names from version 176 on."""
    (new,) = connect(gateway, 1, 176).send(81, 5, pattern)
    (old,) = connect(gateway, 2, 175).send(81, 5, pattern)
    assert new[:3] == old[:3] == ("79", "5", str(len(symbols)))
    assert (len(new), len(old)) == (3 + 8 * len(symbols), 3 + 6 * len(symbols))
    assert list(new[4::8]) == list(old[4::6]) == symbols
    if symbols:
        assert new[3:11] == ("265598", "AAPL", "STK", "NASDAQ", "USD", "0", "Apple Inc.", "")


def test_nothing_here_has_options(gateway: Gateway, connect: Callable[..., Any]) -> None:
    """reqSecDefOptParams ends at once; an unknown underlying is 321."""
    client = connect(gateway)
    assert client.send(78, 5, "AAPL", "", "STK", 265598) == [("76", "5")]
    assert codes(client.send(78, 5, "X", "", "STK", 1)) == [321]


# ---------------------------------------------------------------------- changes of an instrument


def test_a_renamed_instrument_goes_on(
    make_world: Callable[..., World],
    connect: Callable[..., Any],
    state_file: Callable[[], StateFile],
    samples: Any,
) -> None:
    """The contract id stays, history too; the new symbol is found, over a restart as well."""
    first = state_file()
    world = make_world(first)
    before = world.quote_of(265598)
    world.rename(265598, "APPL")
    with pytest.raises(SimError, match="nobody has"):
        world.rename(265598, "IBM")
    first.close()
    second = state_file()
    world = make_world(second)
    assert world.quote_of(265598) == before
    client = connect(Gateway(world))
    assert client.send(*details(symbol="APPL"))[0][2] == "APPL"
    assert codes(client.send(*details(symbol="AAPL"))) == [200]
    assert samples.instruments[265598].symbol == "AAPL"
    second.close()


def test_a_split_divides_prices(
    make_world: Callable[..., World], state_file: Callable[[], StateFile]
) -> None:
    """Past and present prices fall, fixed ones too, volume grows, over a restart as well."""
    first = state_file()
    world = make_world(first)
    world.pin(world.samples.instruments[8314], {"last": Decimal(210)})
    world.split(265598, Decimal(4))
    world.split(8314, Decimal(2))
    with pytest.raises(SimError, match="above 0"):
        world.split(8314, Decimal(0))
    first.close()
    second = state_file()
    world = make_world(second)
    apple, ibm = world.quote_of(265598), world.quote_of(8314)
    assert apple is not None
    assert ibm is not None
    assert (apple.last, apple.open, apple.close, ibm.last) == (25, 25, 25, 105)
    second.close()


def test_synthetic_symbols_are_the_same_everywhere(make_world: Callable[..., World]) -> None:
    """Any number of them, with prices that follow from the seed."""
    few, many = make_world(synthetic=3), make_world(synthetic=1000, start=date(2012, 10, 2))
    for symbol in ("SYN001", "SYN003"):
        one, other = few.samples.by_symbol(symbol), many.samples.by_symbol(symbol)
        assert one == other
        assert one is not None
        quote = few.quote_of(one.con_id)
        assert quote is not None
        assert quote == many.quote_of(one.con_id)
        assert Decimal(5) <= quote.last == one.start_price <= Decimal(500)
    assert few.samples.by_symbol("SYN004") is None
    assert many.samples.by_symbol("SYN1000") is not None
