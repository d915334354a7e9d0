"""The codec: framing, handshake, number formats, and the golden layouts of long messages."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.sim.market.history import Samples
from ibloop.sim.market.timetable import AroundTheClock
from ibloop.sim.model import Action, Execution, Status
from ibloop.sim.protocol.orderlayout import completed_order, open_order
from ibloop.sim.protocol.replies import contracts, fills, holdings, system, ticks
from ibloop.sim.protocol.requests import parse
from ibloop.sim.protocol.requests.orders import PlaceOrder
from ibloop.sim.protocol.wire import (
    FRAME_BYTES_MAX,
    FrameDecoder,
    Hello,
    MissingFieldError,
    WireError,
    double_text,
    frame,
    handshake,
    negotiate,
    number,
    size_text,
    time_text,
)
from ibloop.sim.service.outbox import unframed
from tests.sim.sample_orders import NOW, an_order

GREETING = b"API\0\0\0\0\x0av157..176 "
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def an_execution() -> Execution:
    """Return a fill of the sample order."""
    return Execution(
        exec_id="0000e0d5.0000004d.01.01",
        perm_id=77,
        client_id=3,
        order_id=14,
        order_ref="ibl:ref",
        account="DU1234567",
        con_id=265598,
        symbol="AAPL",
        action=Action.SELL,
        shares=Decimal(100),
        price=Decimal("99.5"),
        time=NOW,
        commission=Decimal("1.00"),
        realized_pnl=None,
        cum_quantity=Decimal(100),
        avg_price=Decimal("99.5"),
        exchange="NASDAQ",
    )


@given(st.lists(st.lists(TEXT, min_size=1), max_size=6), st.data())
@settings(deadline=None)
def test_any_split_of_the_stream_gives_the_same_messages(
    messages: list[list[str]], data: st.DataObject
) -> None:
    """TCP may cut the stream anywhere; what is decoded must not depend on it."""
    stream = GREETING + b"".join(frame(fields) for fields in messages)
    whole = FrameDecoder().feed(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder, pieces = FrameDecoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        pieces += decoder.feed(stream[start:end])
    assert pieces == whole
    assert len(whole) == 1 + len(messages)


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\0")), min_size=1))
@settings(deadline=None)
def test_fields_survive_the_wire(fields: list[str]) -> None:
    """A frame decodes to the fields it was made of."""
    decoder = FrameDecoder()
    decoder.feed(GREETING)
    assert decoder.feed(frame(fields)) == [tuple(fields)]


def test_text_beyond_ascii_is_escaped_as_java_does() -> None:
    r"""From version 153 clients decode \uXXXX; raw UTF-8 would be garbled."""
    assert frame(["Nestlé 😀"])[4:-1] == rb"Nestl\u00e9 \ud83d\ude00"


@pytest.mark.parametrize(
    "stream",
    [b"GET / HTTP/1.1\r\n", b"APIX", b"API\0\0\0\0\x03abc", b"API\0\xff\xff\xff\xff"],
)
def test_a_stream_of_something_else_is_refused(stream: bytes) -> None:
    """What is not TWS API text must not be guessed at, nor fill memory."""
    assert FRAME_BYTES_MAX < 2**25
    with pytest.raises(WireError):
        FrameDecoder().feed(stream)


@pytest.mark.parametrize(
    ("low", "high", "offered"),
    [
        (157, 176, 176),
        (157, 178, 178),
        (100, 193, 193),
        (100, 226, 200),
        (100, 157, 157),
        (100, 158, 157),
        (100, 189, 186),
        (187, 189, None),
        (100, 156, None),
        (213, 225, None),
    ],
)
def test_the_highest_common_version_is_offered(low: int, high: int, offered: int | None) -> None:
    """At most 200, and never 158 or 187-189, whose layouts clients disagree about."""
    assert negotiate(Hello(low, high, "")) == offered


def test_the_handshake_has_exactly_two_fields() -> None:
    """ib_insync takes the first message with two fields for the handshake."""
    assert handshake(176, NOW)[4:] == b"176\x0020260413 15:27:04 EDT\0"


def test_prices_look_like_java_doubles_and_sizes_are_bare() -> None:
    """Clients compare sentinels as text; numbers follow the gateway's habits."""
    assert double_text(Decimal("201.94")) == "201.94"
    assert double_text(Decimal(0)) == "0.0"
    assert double_text(Decimal(100)) == "100.0"
    assert double_text(Decimal(100) / 3) == "33.3333333333333"
    assert double_text(None) == "1.7976931348623157E308"
    assert size_text(Decimal("100.0")) == "100"
    assert size_text(Decimal("0.5"), 163) == "0.5"
    assert size_text(Decimal("9390.73"), 162) == "9390"


def test_times_carry_the_zone_from_version_174() -> None:
    """Older clients expect two blanks and no zone."""
    assert time_text(NOW, 174) == "20260413 15:27:04 US/Eastern"
    assert time_text(NOW, 173) == "20260413  15:27:04"


@pytest.mark.parametrize(
    "unset", ["", "1.7976931348623157e+308", "1.7976931348623157E308", "2147483647"]
)
def test_unset_numbers_are_none(unset: str) -> None:
    """Python, Java and empty sentinels all mean that nothing was given."""
    assert number(unset) is None


@pytest.mark.parametrize("text", ["nan", "Infinite", "1e16", "1e999999", "ten"])
def test_numbers_that_are_none_are_refused(text: str) -> None:
    """NaN and boundless numbers would poison every comparison after them."""
    with pytest.raises(WireError):
        number(text)


@pytest.mark.parametrize(
    ("version", "count"),
    [(157, 128), (159, 129), (173, 136), (176, 136), (178, 135), (193, 141), (200, 156)],
)
def test_open_order_has_its_golden_length(samples: Samples, version: int, count: int) -> None:
    """One field too many or few and every client misreads the rest."""
    fields = open_order(an_order(), samples.instruments[265598], version)
    assert len(fields) == count


def test_open_order_has_its_golden_positions(samples: Samples) -> None:
    """Positions of section 5.1, below version 177."""
    fields = open_order(an_order(), samples.instruments[265598], 176)
    expected = {
        0: "5",
        1: "14",
        2: "265598",
        7: "?",
        9: "SMART",
        13: "BUY",
        14: "100",
        15: "LMT",
        16: "99.5",
        18: "GTD",
        20: "DU1234567",
        23: "ibl:ref",
        24: "3",
        25: "77",
        30: "77.0/DU1234567/100",
        36: "20260413-20:00:00",
        42: "-1",
        49: "2147483647",
        54: "3",
        62: "None",
        68: "?",
        79: "0",
        82: "2147483647",
        88: "IB",
        93: "0",
        94: "Submitted",
        95: "1.7976931348623157E308",
        103: "1.7976931348623157E308",
        104: "1.0",
        107: "USD",
        111: "0",
        112: "None",
        113: "1.7976931348623157E308",
        124: "1",
        132: "100",
        133: "0.02",
    }
    assert {position: fields[position] for position in expected} == expected


@pytest.mark.parametrize(
    ("version", "count"),
    [(169, 96), (170, 101), (176, 101), (177, 100), (182, 100), (183, 101), (184, 102), (200, 103)],
)
def test_completed_order_has_its_golden_length(samples: Samples, version: int, count: int) -> None:
    """One field too many or few and every client misreads the rest."""
    order = an_order(Status.FILLED, 100)
    assert len(completed_order(order, samples.instruments[265598], version)) == count


def test_a_filled_completed_order_shows_its_size_only_as_filled(samples: Samples) -> None:
    """Real gateways send totalQuantity 0 for filled orders; a cancelled one keeps its own."""
    filled = completed_order(an_order(Status.FILLED, 100), samples.instruments[265598], 176)
    cancelled = completed_order(an_order(Status.CANCELLED), samples.instruments[265598], 176)
    assert (filled[13], cancelled[13]) == ("0", "100")
    assert filled[-14:-5] == (
        *("100", "2147483647", "0", "Not an insider or substantial shareholder", "0", "0"),
        *("9223372036854775807", "20260413 15:27:04 US/Eastern", "Filled Size: 100"),
    )


@pytest.mark.parametrize(("version", "count"), [(157, 31), (177, 31), (178, 32), (198, 33)])
def test_exec_details_has_its_golden_length(samples: Samples, version: int, count: int) -> None:
    """ib_insync unpacks execDetails strictly."""
    fields = fills.exec_details(-1, an_execution(), samples.instruments[265598], version)
    assert len(fields) == count
    assert fields[16:22] == ("DU1234567", "NASDAQ", "SLD", "100", "99.5", "77")


@pytest.mark.parametrize(
    ("version", "count"), [(157, 41), (163, 42), (164, 42), (176, 42), (182, 43), (186, 44)]
)
def test_contract_details_has_its_golden_length(samples: Samples, version: int, count: int) -> None:
    """A stock with its ISIN, like the recorded ones: 44 fields at version 200."""
    instrument = samples.instruments[265598]
    hours = AroundTheClock(1.0).hours(NOW)
    assert len(contracts.contract_details(1, instrument, "SMART", hours, version)) == count


def test_contract_details_name_industry_category_and_subcategory(samples: Samples) -> None:
    """Some programs drop empty fields before they count: for a stock a gateway fills all three."""
    hours = AroundTheClock(1.0).hours(NOW)
    fields = contracts.contract_details(1, samples.instruments[265598], "SMART", hours, 200)
    zone = fields.index("US/Eastern")
    assert fields[zone - 3 : zone] == ("Technology",) * 3


@pytest.mark.parametrize("symbol", ["AAPL", "IBM", "FB", "ZZT"])
def test_every_stock_has_an_isin_with_its_check_digit(samples: Samples, symbol: str) -> None:
    """Some programs refuse a stock without; one that is made up has one too."""
    instrument = samples.by_symbol(symbol)
    assert instrument is not None
    code = contracts.isin(instrument)
    digits = "".join(str(int(letter, 36)) for letter in code)
    doubled = [int(n) * (2 if place % 2 else 1) for place, n in enumerate(reversed(digits))]
    assert sum(number // 10 + number % 10 for number in doubled) % 10 == 0
    assert (len(code), code[:2]) == (12, "ZZ" if symbol == "ZZT" else "US")


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        (157, ("4", "2", "7", "201", "no")),
        (176, ("4", "2", "7", "201", "no", "")),
        (200, ("4", "7", "201", "no", "", "1776108424000")),
    ],
)
def test_errors_change_shape_twice(version: int, fields: tuple[str, ...]) -> None:
    """166 adds the advanced reject, 194 drops the version and adds the time."""
    assert system.error(7, 201, "no", version, NOW) == fields


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        (fills.commission_report(an_execution()), 8),
        (fills.order_status(an_order(), 176), 12),
        (next(unframed(ticks.encoded([ticks.tick_price("1", "1", "5.0", "1", "1")]))), 7),
        (system.completed_orders_end(), 1),
        (system.next_valid_id(1), 3),
        (system.managed_accounts(["A", "B"]), 3),
    ],
)
def test_strictly_read_messages_have_their_length(fields: tuple[str, ...], count: int) -> None:
    """Clients unpack these without tolerance."""
    assert len(fields) == count


def test_positions_have_their_lengths(samples: Samples) -> None:
    """position has 16 fields and updatePortfolio 20."""
    apple, ten = samples.instruments[265598], Decimal(10)
    portfolio = holdings.portfolio(
        "A", apple, ten, avg_cost=ten, price=ten, realized=ten, version=176
    )
    assert len(holdings.position("A", apple, ten, ten, 176)) == 16
    assert len(portfolio) == 20


@pytest.mark.parametrize(("version", "count"), [(176, 115), (178, 114), (193, 118), (200, 119)])
def test_place_order_is_read_to_its_last_field(
    place_fields: Callable[..., tuple[object, ...]], version: int, count: int
) -> None:
    """The request's golden length at each version; the parser leaves nothing over."""
    fields = tuple(map(str, place_fields(9, version, orderRef="r", tif="GTC")))
    assert len(fields) == count
    parsed = parse(fields, version)
    request = parsed.request
    assert isinstance(request, PlaceOrder)
    assert parsed.left == ()
    assert (request.order_id, request.ticket.tif, request.ticket.order_ref) == (9, "GTC", "r")
    assert request.ticket.unserved == ""


def test_a_place_order_that_ends_too_early_is_refused(
    place_fields: Callable[..., tuple[object, ...]],
) -> None:
    """A client whose layout we misread must not get an order worked by accident."""
    with pytest.raises(MissingFieldError):
        parse(tuple(map(str, place_fields(9)))[:-1], 176)


def test_unknown_fields_at_the_end_are_left_over(
    place_fields: Callable[..., tuple[object, ...]],
) -> None:
    """A newer client's request is served; what it adds is shown to whoever logs it."""
    parsed = parse((*map(str, place_fields(9)), "new", ""), 176)
    assert parsed.left == ("new", "")
    assert parsed.request.order_id == 9
