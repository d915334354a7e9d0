"""What leaves is checked at the instant it leaves: quote, collar, counts, cash and halts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.core.model import (
    HaltLevel,
    Instrument,
    MarketDataType,
    Moment,
    Quote,
    QuoteSource,
    Side,
)
from ibloop.core.orders import Intent
from ibloop.core.risk import (
    Breach,
    Limits,
    SendContext,
    check_send,
    halt_allows,
    reduces,
    second_is_free,
)

D = Decimal
NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
WIDE = Limits(
    order_value_usd_max=D(10**9),
    order_quantity_max=D(10**9),
    plan_turnover_weight_max=D(10**9),
    day_turnover_weight_max=D(10**9),
    position_weight_max=D(10**9),
    sector_weight_max=D(10**9),
    gross_weight_max=D(10**9),
    cash_weight_min=D(0),
    adv_participation_max=D(1),
    price_collar_fraction=D("0.05"),
    orders_per_run_max=10**9,
    orders_per_day_max=10**9,
    orders_per_second_max=10**9,
    rejections_in_a_row_max=10**9,
    short_allowed=False,
)
AAA = Instrument("AAA", 1, "A", "NYSE", "USD", D("0.01"), D(1), "Energy", D(10**9))
QUOTE = Quote(
    symbol="AAA",
    con_id=1,
    seq=1,
    received=Moment(NOW, 1, "a" * 32),
    event_time=None,
    source=QuoteSource.STREAM,
    market_data_type=MarketDataType.LIVE,
    bid=D("99.99"),
    ask=D("100.01"),
    last=D(100),
    close=D(100),
)
CONTEXT = SendContext(
    halt=None,
    equity_usd=D(100_000),
    held=D(0),
    cash_usd=D(100_000),
    orders_today=0,
    orders_this_run=0,
    traded_today_usd=D(0),
    quote=QUOTE,
    quote_problem=None,
)


def buy(quantity: int, price: str = "100") -> Intent:
    """Return the wish to buy so many shares."""
    return Intent("AAA", 1, Side.BUY, D(quantity), D(price))


def sell(quantity: int, price: str = "100") -> Intent:
    """Return the wish to sell so many shares."""
    return Intent("AAA", 1, Side.SELL, D(quantity), D(price))


def names(breaches: tuple[Breach, ...]) -> list[str]:
    """Return the checks that refused."""
    return [breach.check for breach in breaches]


def send_breaches(
    intent: Intent, context: SendContext = CONTEXT, limits: Limits = WIDE
) -> list[str]:
    """Return what :func:`check_send` refuses at the intent's own price."""
    return names(check_send(intent, AAA, intent.price, context, limits))


def test_a_good_send_is_allowed() -> None:
    """A fresh quote, cash and room for it: no breach."""
    assert send_breaches(buy(10)) == []
    assert send_breaches(sell(10), replace(CONTEXT, held=D(10), cash_usd=D(-500))) == []


@pytest.mark.parametrize("equity", [0, -100_000])
def test_without_positive_equity_nothing_leaves(equity: int) -> None:
    """The day's turnover has no room then: no division by zero, no negative weight that passes."""
    broke = replace(CONTEXT, equity_usd=D(equity))
    assert "day_turnover_weight_max" in send_breaches(buy(1), broke)


@pytest.mark.parametrize(
    ("context", "word"),
    [
        (replace(CONTEXT, quote=None, quote_problem=None), "no quote"),
        (replace(CONTEXT, quote=None, quote_problem="there is no quote"), "there is no quote"),
        (replace(CONTEXT, quote_problem="the quote is stale"), "the quote is stale"),
    ],
)
def test_no_send_without_a_usable_quote(context: SendContext, word: str) -> None:
    """A missing or bad quote is the one reason given: nothing else can be judged without it."""
    (breach,) = check_send(buy(10), AAA, D(100), context, WIDE)
    assert (breach.check, breach.found) == ("market_data_error", word)


@pytest.mark.parametrize(
    ("change", "limits", "check"),
    [
        ({"orders_this_run": 5}, replace(WIDE, orders_per_run_max=6), "orders_per_run_max"),
        ({"orders_today": 5}, replace(WIDE, orders_per_day_max=6), "orders_per_day_max"),
        (
            {"traded_today_usd": D(9000)},
            replace(WIDE, day_turnover_weight_max=D("0.1")),
            "day_turnover_weight_max",
        ),
        ({"cash_usd": D(3001)}, replace(WIDE, cash_weight_min=D("0.02")), "cash_weight_min"),
    ],
)
def test_send_limits_count_this_order_too(
    change: dict[str, Decimal], limits: Limits, check: str
) -> None:
    """The order that reaches the limit leaves, the next one does not."""
    context = replace(CONTEXT, **change)  # type: ignore[arg-type]
    step = D(-1) if check == "cash_weight_min" else D(1)
    ((name, value),) = change.items()
    assert send_breaches(buy(10), context, limits) == []
    beyond = replace(CONTEXT, **{name: value + step})  # type: ignore[arg-type]
    assert send_breaches(buy(10), beyond, limits) == [check]


@pytest.mark.parametrize("price", ["94.99", "105.01", "0", "-100"])
def test_a_limit_price_outside_the_collar_is_refused(price: str) -> None:
    """The collar holds on both sides; a limit of nothing is outside any collar."""
    assert "price_collar_fraction" in send_breaches(buy(1, price))
    everything = replace(WIDE, price_collar_fraction=D(10))
    assert ("price_collar_fraction" in send_breaches(buy(1, price), limits=everything)) is (
        D(price) <= 0
    )


@pytest.mark.parametrize("price", ["95", "105"])
def test_the_collar_itself_is_allowed(price: str) -> None:
    """Five per cent of collar allow exactly five per cent."""
    assert send_breaches(buy(1, price)) == []


def test_a_crossed_quote_has_no_middle_and_denies() -> None:
    """Even if nobody named the problem: without a mid there is no collar."""
    crossed = replace(QUOTE, bid=D(101), ask=D(99))
    assert send_breaches(buy(1), replace(CONTEXT, quote=crossed)) == ["price_collar_fraction"]


def test_cash_is_needed_for_buys_but_not_for_covering() -> None:
    """Without cash a short may be bought back; what goes beyond zero needs the money."""
    short = replace(CONTEXT, cash_usd=D(0), held=D(-10))
    assert send_breaches(buy(10), short) == []
    assert send_breaches(buy(11), short) == ["cash_weight_min"]
    (breach,) = check_send(buy(1), AAA, D(100), replace(CONTEXT, cash_usd=D(-9)), WIDE)
    told = ("cash_weight_min", "101.00 USD needed", "0.00 USD")
    assert (breach.check, breach.found, breach.allowed) == told


def test_all_breaches_of_a_send_are_collected() -> None:
    """A refused order names everything that is wrong with it at once."""
    limits = replace(WIDE, order_quantity_max=D(1), orders_per_run_max=0, orders_per_day_max=0)
    found = send_breaches(buy(2, "200"), replace(CONTEXT, cash_usd=D(0)), limits)
    assert found == [
        "order_quantity_max",
        "price_collar_fraction",
        "orders_per_run_max",
        "orders_per_day_max",
        "cash_weight_min",
    ]


@pytest.mark.parametrize("halt", [HaltLevel.PAUSE, HaltLevel.KILL, HaltLevel.REDUCE_ONLY])
def test_a_send_obeys_the_halt_first(halt: HaltLevel) -> None:
    """Under any halt an order that adds exposure is refused, whatever else is fine."""
    assert send_breaches(buy(1), replace(CONTEXT, halt=halt)) == ["guard_halted"]
    held = replace(CONTEXT, halt=halt, held=D(1))
    expected = [] if halt is HaltLevel.REDUCE_ONLY else ["guard_halted"]
    assert send_breaches(sell(1), held) == expected


REDUCING: list[tuple[Side, int, int, bool]] = [
    (Side.SELL, 5, 5, True),
    (Side.SELL, 5, 6, True),
    (Side.SELL, 5, 4, False),
    (Side.SELL, 5, 0, False),
    (Side.SELL, 5, -5, False),
    (Side.BUY, 5, -5, True),
    (Side.BUY, 5, -6, True),
    (Side.BUY, 5, -4, False),
    (Side.BUY, 5, 0, False),
    (Side.BUY, 5, 5, False),
]


@pytest.mark.parametrize(("side", "quantity", "held", "is_reducing"), REDUCING)
@pytest.mark.parametrize("halt", [None, *HaltLevel])
def test_what_each_halt_allows(
    halt: HaltLevel | None, side: Side, quantity: int, held: int, is_reducing: bool
) -> None:
    """No halt allows all, pause and kill nothing, reduce-only what shrinks without crossing."""
    expected = {None: True, HaltLevel.REDUCE_ONLY: is_reducing}.get(halt, False)
    assert halt_allows(halt, side, D(quantity), D(held)) is expected
    assert reduces(side, D(quantity), D(held)) is is_reducing


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(Side), st.integers(1, 50), st.integers(-50, 50))
def test_reducing_means_smaller_on_the_same_side(side: Side, quantity: int, held: int) -> None:
    """A reducing order leaves less than before and never the opposite sign."""
    if reduces(side, D(quantity), D(held)):
        after = held + side.sign * quantity
        assert abs(after) < abs(held)
        assert after * held >= 0


def at(*seconds: float) -> list[datetime]:
    """Return moments so many seconds before NOW."""
    return [NOW - timedelta(seconds=s) for s in seconds]


@pytest.mark.parametrize(
    ("sent", "free"),
    [
        (at(), True),
        (at(0.5), True),
        (at(0.5, 0.9), False),
        (at(0.5, 1.0), True),
        (at(0, 0, 0), False),
        (at(-0.5, 0.5), False),
    ],
)
def test_the_sliding_second_holds_so_many_orders(sent: list[datetime], free: bool) -> None:
    """Two a second: an order exactly one second old counts no more, one from the future does."""
    assert second_is_free(sent, NOW, 2) is free
    assert not second_is_free([], NOW, 0)
