"""What leaves is checked at the instant it leaves: quote, collar, counts, cash, book and halts."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.core.model import HaltLevel, Instrument, MarketDataType, Quote, QuoteSource, Side
from ibloop.core.orders import Intent
from ibloop.core.quotes import problem
from ibloop.core.risk import (
    CHECKS,
    DayTrades,
    Exposure,
    Holding,
    Limits,
    SendContext,
    SentOrder,
    Trade,
    Verdict,
    because,
    breaches,
    check_quote,
    check_send,
    count_day_trades,
    halt_allows,
    reduces,
)
from tests.fakes.risk_cases import AAA, CONTEXT, NOW, QUOTE, QUOTE_LIMITS, RECEIVED, WIDE

D = Decimal


def buy(quantity: int, price: str = "100") -> Intent:
    """Return the wish to buy so many shares."""
    return Intent("AAA", 1, Side.BUY, D(quantity), D(price))


def sell(quantity: int, price: str = "100") -> Intent:
    """Return the wish to sell so many shares."""
    return Intent("AAA", 1, Side.SELL, D(quantity), D(price))


def holding(held: int, buying: int = 0, selling: int = 0) -> Holding:
    """Return a holding of AAA at 100 USD."""
    return Holding("AAA", "Energy", D(held), D(100), D(buying), D(selling))


def names(verdicts: Iterable[Verdict]) -> list[str]:
    """Return the checks that refused."""
    return [verdict.check for verdict in breaches(verdicts)]


def send_breaches(
    intent: Intent,
    context: SendContext = CONTEXT,
    limits: Limits = WIDE,
    instrument: Instrument | None = AAA,
) -> list[str]:
    """Return what :func:`check_send` refuses at the intent's own price."""
    return names(check_send(intent, instrument, intent.price, context, limits))


def test_a_good_send_is_allowed_and_every_check_is_told() -> None:
    """A fresh quote, cash and room for it: no breach, and a verdict of every check of a send."""
    assert send_breaches(sell(10), replace(CONTEXT, holding=holding(10), cash_usd=D(-500))) == []
    context = replace(CONTEXT, day_trades=DayTrades(0, frozenset()), equity_usd=D(24_999))
    limits = replace(WIDE, symbols_allowed=("AAA",), short_allowed=True)
    said = check_send(buy(10), AAA, D(100), context, limits)
    assert names(said) == []
    elsewhere = {"universe", "number", "short_allowed", "orders_per_second_max"}
    elsewhere |= {"not_approved", "armed_notional_usd_max"}  # the rails of the sending transaction
    at_send = {name for name, check in CHECKS.items() if "send" in check.moments}
    assert {verdict.check for verdict in said} == at_send - elsewhere


@pytest.mark.parametrize("equity", [0, -100_000])
def test_without_positive_equity_nothing_leaves(equity: int) -> None:
    """The day's turnover has no room then: no division by zero, no negative weight that passes."""
    broke = replace(CONTEXT, equity_usd=D(equity))
    assert "day_turnover_weight_max" in send_breaches(buy(1), broke)


# --- the quote ----------------------------------------------------------------------------------


def quote_refusals(quote: Quote | None, age_s: float = 0.0) -> list[str]:
    """Return what is wrong with a quote so old."""
    later = replace(RECEIVED, boottime_ns=RECEIVED.boottime_ns + int(age_s * 1e9))
    return names(check_quote(quote, 1, later, QUOTE_LIMITS))


def spread(bid: str, ask: str) -> Quote:
    """Return the quote with these two sides."""
    return replace(QUOTE, bid=D(bid), ask=D(ask))


@pytest.mark.parametrize(
    ("quote", "age_s", "refused"),
    [
        *((QUOTE, 0.0, []), (QUOTE, 15.0, []), (QUOTE, 15.1, ["quote_age_s_max"])),
        *((QUOTE, -2.0, []), (QUOTE, -2.1, ["quote_age_s_max"])),
        (None, 0.0, ["market_data"]),
        (replace(QUOTE, con_id=2), 0.0, ["market_data"]),
        (replace(QUOTE, market_data_type=MarketDataType.DELAYED), 0.0, ["market_data"]),
        (replace(QUOTE, source=QuoteSource.HISTORY), 0.0, ["market_data"]),
        (replace(QUOTE, source=QuoteSource.SNAPSHOT), 0.0, []),
        (replace(QUOTE, halted=True), 0.0, ["halted_symbol"]),
        (replace(QUOTE, halted=False), 0.0, []),
        (replace(QUOTE, bid=None), 0.0, ["two_sided"]),
        *((spread("0", "1"), 0.0, ["two_sided"]), (spread("101", "100"), 0.0, ["two_sided"])),
        *((spread("99.5", "100.5"), 0.0, []), (spread("99.6", "100.4"), 0.0, [])),
        (spread("99.49", "100.51"), 0.0, ["spread_fraction_max"]),
        *((spread("110", "110"), 0.0, []), (spread("90", "90"), 0.0, [])),
        (spread("110.01", "110.01"), 0.0, ["jump_fraction_max"]),
        (spread("89.99", "89.99"), 0.0, ["jump_fraction_max"]),
        (replace(QUOTE, close=None), 0.0, ["jump_fraction_max"]),
        (replace(QUOTE, close=D(0)), 0.0, ["jump_fraction_max"]),
    ],
)
def test_quote_limits_name_the_last_allowed_value(
    quote: Quote | None, age_s: float, refused: list[str]
) -> None:
    """Age, spread and jump at and beyond their limits; each fault has its own name."""
    assert quote_refusals(quote, age_s) == refused


PRICES = st.none() | st.decimals(min_value=-1, max_value=130, places=2)


@settings(deadline=None, max_examples=200)
@given(
    bid=PRICES,
    ask=PRICES,
    close=PRICES,
    age_s=st.floats(-5, 30),
    kind=st.sampled_from(MarketDataType),
    halted=st.none() | st.booleans(),
)
def test_the_checks_of_a_quote_agree_with_what_everybody_else_asks(
    bid: Decimal | None,
    ask: Decimal | None,
    close: Decimal | None,
    age_s: float,
    kind: MarketDataType,
    halted: bool | None,
) -> None:
    """The page and the plan ask for one problem, a send for all the numbers: one judgement."""
    quote = replace(QUOTE, bid=bid, ask=ask, close=close, market_data_type=kind, halted=halted)
    later = replace(RECEIVED, boottime_ns=RECEIVED.boottime_ns + int(age_s * 1e9))
    refused = breaches(check_quote(quote, 1, later, QUOTE_LIMITS))
    assert bool(refused) is (problem(quote, later, QUOTE_LIMITS) is not None)


def test_no_send_without_a_usable_quote() -> None:
    """A bad quote is the one reason given, with the code that everybody knows it by."""
    refused = check_quote(None, 1, RECEIVED, QUOTE_LIMITS)
    context = replace(CONTEXT, quote=None, quote_verdicts=because(refused, "the file is damaged"))
    (breach,) = breaches(check_send(buy(10), AAA, D(100), context, WIDE))
    assert (breach.code, breach.found) == (
        *("market_data_error", "there is no quote: the file is damaged"),
    )


def test_a_quote_that_nobody_checked_denies() -> None:
    """A missing input denies, also when it is the verdict itself."""
    assert send_breaches(buy(1), replace(CONTEXT, quote_verdicts=())) == ["market_data"]


def test_a_cause_is_told_once_and_only_of_a_refusal() -> None:
    """Good verdicts stay as they are, and of several refusals the first has the reason."""
    good = check_quote(QUOTE, 1, RECEIVED, QUOTE_LIMITS)
    assert because(good, "why") == good
    bad = check_quote(replace(QUOTE, con_id=3, halted=True), 1, RECEIVED, QUOTE_LIMITS)
    told = [str(verdict.found) for verdict in breaches(because(bad, "why"))]
    assert told == ["a live quote of contract 3: why", "halted"]
    assert because(bad, None) == bad


# --- counts, cash and price ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "below", "at", "beyond", "limits", "check"),
    [
        ("orders_this_run", 4, 5, 6, {"orders_per_run_max": 6}, "orders_per_run_max"),
        ("orders_today", 4, 5, 6, {"orders_per_day_max": 6}, "orders_per_day_max"),
        (
            *("traded_today_usd", D(8999), D(9000), D(9001)),
            *({"day_turnover_weight_max": D("0.1")}, "day_turnover_weight_max"),
        ),
        (
            *("cash_usd", D(3002), D(3001), D(3000)),
            *({"cash_weight_min": D("0.02")}, "cash_weight_min"),
        ),
    ],
)
def test_send_limits_count_this_order_too(
    name: str, below: Any, at: Any, beyond: Any, limits: dict[str, Any], check: str
) -> None:
    """The order that reaches the limit leaves, the next one does not."""
    tight = replace(WIDE, **limits)
    for value, refused in ((below, []), (at, []), (beyond, [check])):
        assert send_breaches(buy(10), replace(CONTEXT, **{name: value}), tight) == refused


@pytest.mark.parametrize("price", ["94.99", "105.01", "0", "-100"])
def test_a_limit_price_outside_the_collar_is_refused(price: str) -> None:
    """The collar holds on both sides; a limit of nothing is outside any collar, or no price."""
    assert {"price_collar_fraction", "number"} & {*send_breaches(buy(1, price))}
    everything = replace(WIDE, price_collar_fraction=D(10))
    assert bool(send_breaches(buy(1, price), limits=everything)) is (D(price) <= 0)


@pytest.mark.parametrize("price", ["95", "105", "100"])
def test_the_collar_itself_is_allowed(price: str) -> None:
    """Five per cent of collar allow exactly five per cent."""
    assert send_breaches(buy(1, price)) == []


@pytest.mark.parametrize(("price", "refused"), [("100.01", []), ("100.005", ["min_tick"])])
def test_a_limit_price_lies_on_the_tick_grid(price: str, refused: list[str]) -> None:
    """A price between two ticks is not sent to be rejected by the broker."""
    assert send_breaches(buy(1, price)) == refused


def test_a_sell_is_measured_by_the_mid_it_may_find() -> None:
    """Opening a short at a limit below the mid may fill at the mid: that is its worst."""
    tight = replace(WIDE, short_allowed=True, order_value_usd_max=D(1000))
    assert send_breaches(sell(10, "95"), limits=tight) == []
    assert send_breaches(sell(11, "90"), limits=replace(tight, price_collar_fraction=D(1))) == [
        "order_value_usd_max"
    ]


def test_cash_is_needed_for_buys_but_not_for_covering() -> None:
    """Without cash a short may be bought back; what goes beyond zero needs the money."""
    short = replace(CONTEXT, cash_usd=D(0), holding=holding(-10))
    assert send_breaches(buy(10), short) == []
    assert send_breaches(buy(11), short) == ["cash_weight_min"]
    said = check_send(buy(1), AAA, D(100), replace(CONTEXT, cash_usd=D(-9)), WIDE)
    (breach,) = breaches(said)
    assert (breach.check, breach.found, breach.limit) == ("cash_weight_min", D(101), D(0))


# --- the book -----------------------------------------------------------------------------------


def book(gross: int, *, high: int | None = None, low: int | None = None, energy: int) -> Exposure:
    """Return an exposure in USD; net as gross where nothing else is said."""
    high, low = gross if high is None else high, gross if low is None else low
    return Exposure(D(gross), D(high), D(low), {"Energy": D(energy)})


@pytest.mark.parametrize(
    ("check", "cap"),
    [
        ("gross_weight_max", D("0.5")),
        ("net_weight_max", D("0.5")),
        ("sector_weight_max", D("0.4")),
    ],
)
def test_caps_on_the_book_count_what_works_and_this_order(check: str, cap: Decimal) -> None:
    """49 % and this 1 % make the cap; a sell planned to make room that has not filled does not."""
    tight = replace(WIDE, **{check: cap})  # type: ignore[arg-type]
    for gross, refused in ((48_900, []), (49_000, []), (49_001, [check])):
        found = replace(CONTEXT, exposure=book(gross, energy=gross - 10_000))
        assert send_breaches(buy(10), found, tight) == refused


def test_a_book_above_its_caps_may_shift_but_not_grow() -> None:
    """What the run began with is allowed again, once something else was sold."""
    tight = replace(WIDE, gross_weight_max=D("0.1"), sector_weight_max=D("0.1"))
    started = book(50_000, energy=50_000)
    sold = replace(CONTEXT, baseline=started, exposure=book(49_000, energy=49_000))
    assert send_breaches(buy(10), sold, tight) == []
    assert send_breaches(buy(11), sold, tight) == ["gross_weight_max", "sector_weight_max"]


def test_reducing_orders_pass_the_caps_on_the_book() -> None:
    """A way out is open however large everything else is."""
    tight = replace(*(WIDE,), gross_weight_max=D(0), net_weight_max=D(0), sector_weight_max=D(0))
    large = book(10**6, energy=10**6)
    assert (
        send_breaches(sell(10), replace(CONTEXT, holding=holding(10), exposure=large), tight) == []
    )
    short = replace(CONTEXT, holding=holding(-10), exposure=large)
    assert send_breaches(buy(10), short, tight) == []
    assert "gross_weight_max" in send_breaches(buy(11), short, tight)


def test_the_net_counts_the_worse_way() -> None:
    """Longs may be filled while shorts are not: the higher and the lower end both have to fit."""
    tight = replace(WIDE, net_weight_max=D("0.5"), short_allowed=True)
    wide = replace(CONTEXT, exposure=book(90_000, high=49_500, low=-49_500, energy=0))
    for intent in (buy(5), sell(5)):
        assert send_breaches(intent, wide, tight) == []
    for intent in (buy(6), sell(6)):
        assert send_breaches(intent, wide, tight) == ["net_weight_max"]


# --- repetition ---------------------------------------------------------------------------------


def sent(side: Side, quantity: int, age_s: float, *, may_have_filled: bool = True) -> SentOrder:
    """Return an order sent so many seconds ago."""
    return SentOrder(side, D(quantity), NOW - timedelta(seconds=age_s), may_have_filled)


@pytest.mark.parametrize(
    ("found", "intent", "refused"),
    [
        (holding(10, buying=1), buy(5), ["open_order"]),
        (holding(10, selling=1), sell(5), ["open_order"]),
        (holding(10, selling=1), buy(5), ["opposite_side"]),
        (holding(10, buying=1), sell(5), ["opposite_side"]),
        (holding(10), sell(5), []),
    ],
)
def test_one_order_of_ours_at_a_time_in_a_symbol(
    found: Holding, intent: Intent, refused: list[str]
) -> None:
    """A second one on the same side repeats, one on the other side trades with ourselves."""
    assert send_breaches(intent, replace(CONTEXT, holding=found)) == refused


@pytest.mark.parametrize(
    ("recent", "refused"),
    [
        ([sent(Side.BUY, 10, 59.9)], True),
        ([sent(Side.BUY, 10, 60.0)], True),
        ([sent(Side.BUY, 10, 60.1)], False),
        ([sent(Side.BUY, 10, -1.0)], True),
        ([sent(Side.BUY, 9, 1.0)], False),
        ([sent(Side.SELL, 10, 1.0)], False),
        ([sent(Side.BUY, 10, 1.0, may_have_filled=False)], False),
        ([sent(Side.BUY, 10, 90.0), sent(Side.BUY, 10, 3.0)], True),
    ],
)
def test_the_same_order_within_a_minute_is_a_repetition(
    recent: list[SentOrder], refused: bool
) -> None:
    """Same symbol, side and quantity, unless the first is known to have ended without a share."""
    limits = replace(WIDE, duplicate_window_s=60.0)
    found = send_breaches(buy(10), replace(CONTEXT, recent=recent), limits)
    assert found == (["duplicate_window_s"] if refused else [])
    off = replace(WIDE, duplicate_window_s=None)
    assert send_breaches(buy(10), replace(CONTEXT, recent=recent), off) == []


@pytest.mark.parametrize(("before", "refused"), [(1, False), (2, False), (3, True)])
def test_the_fourth_submission_of_a_day_needs_a_person(before: int, refused: bool) -> None:
    """Three of one side of a symbol; those of the other side do not count."""
    recent = [sent(Side.BUY, n + 1, 600.0, may_have_filled=False) for n in range(before)]
    recent += [sent(Side.SELL, n + 1, 600.0) for n in range(5)]
    limits = replace(WIDE, submissions_per_symbol_max=3)
    found = send_breaches(buy(10), replace(CONTEXT, recent=recent), limits)
    assert found == (["submissions_per_symbol_max"] if refused else [])
    off = replace(WIDE, submissions_per_symbol_max=None)
    assert send_breaches(buy(10), replace(CONTEXT, recent=recent), off) == []


# --- day trades ---------------------------------------------------------------------------------

TODAY = date(2026, 11, 20)
SMALL = replace(CONTEXT, equity_usd=D(24_999), holding=holding(10))


@pytest.mark.parametrize(
    ("count", "left", "refused"),
    [(1, None, []), (2, None, []), (3, None, ["day_trades_max"]), (0, 1, []), (2, -1, []),
     (0, 0, ["day_trades_max"]), (0, 3, []), (3, 3, ["day_trades_max"])],
)  # fmt: skip
def test_the_fourth_day_trade_of_a_small_account_is_refused(
    count: int, left: int | None, refused: list[str]
) -> None:
    """By our count or by the broker's, whichever is gone first; -1 is the broker's "no limit"."""
    limits = replace(WIDE, day_trades_max=3)
    trades = DayTrades(count, frozenset({("AAA", Side.BUY)}), left)
    assert send_breaches(sell(5), replace(SMALL, day_trades=trades), limits) == refused
    assert send_breaches(buy(5), replace(SMALL, day_trades=trades), limits) == []
    large = replace(SMALL, equity_usd=D(25_000), day_trades=trades)
    assert send_breaches(sell(5), large, limits) == []
    off = replace(limits, day_trades_max=None)
    assert send_breaches(sell(5), replace(SMALL, day_trades=trades), off) == []


def test_under_reduce_only_the_risk_counts_more_than_the_day_trade() -> None:
    """Who halts to get out gets out."""
    limits = replace(WIDE, day_trades_max=0)
    trades = DayTrades(0, frozenset({("AAA", Side.BUY)}))
    context = replace(SMALL, day_trades=trades)
    assert send_breaches(sell(5), context, limits) == ["day_trades_max"]
    assert send_breaches(sell(5), replace(context, halt=HaltLevel.REDUCE_ONLY), limits) == []


def trades(*told: str) -> list[Trade]:
    """Return trades told as "B AAA 0": side, symbol, days ago."""
    made = []
    for text in told:
        side, symbol, ago = text.split()
        day = TODAY - timedelta(days=int(ago))
        made.append(Trade(symbol, Side.BUY if side == "B" else Side.SELL, day))
    return made


@pytest.mark.parametrize(
    ("told", "count", "count_with_shorts"),
    [
        (("B AAA 0",), 0, 0),
        (("B AAA 0", "S AAA 0"), 1, 1),
        (("B AAA 0", "B AAA 0", "S AAA 0", "S AAA 0"), 1, 1),
        (("B AAA 0", "S AAA 0", "B AAA 0", "S AAA 0"), 2, 3),
        (("S AAA 0", "B AAA 0"), 0, 1),
        (("B AAA 1", "S AAA 0"), 0, 0),
        (("B AAA 0", "S BBB 0"), 0, 0),
        (("B AAA 3", "S AAA 3", "B BBB 0", "S BBB 0"), 2, 2),
    ],
)
def test_day_trades_are_turns_within_one_day(
    told: tuple[str, ...], count: int, count_with_shorts: int
) -> None:
    """Bought and sold the same day, in the same symbol; sold and bought only where short."""
    for short_allowed, expected in ((False, count), (True, count_with_shorts)):
        found = count_day_trades(
            trades(*told), TODAY, short_allowed=short_allowed, left_at_broker=None
        )
        assert found.count == expected


def test_only_what_was_opened_today_can_become_a_day_trade() -> None:
    """A sell of yesterday's shares is none, nor is buying back what was sold out of them."""
    found = count_day_trades(
        trades("B AAA 1", "B BBB 0", "S CCC 0"), TODAY, short_allowed=False, left_at_broker=None
    )
    assert not found.would_be_one("AAA", Side.SELL)
    assert found.would_be_one("BBB", Side.SELL)
    assert not found.would_be_one("BBB", Side.BUY)
    assert not found.would_be_one("CCC", Side.BUY)
    shorts = count_day_trades(trades("S CCC 0"), TODAY, short_allowed=True, left_at_broker=None)
    assert shorts.would_be_one("CCC", Side.BUY)


# --- order of the reasons, and halts -------------------------------------------------------------


def test_all_refusals_of_a_send_are_collected() -> None:
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


def test_a_stranger_is_refused_without_being_measured() -> None:
    """An instrument that is not there has no tick and no sector: one reason, no traceback."""
    assert send_breaches(buy(1), instrument=None) == ["universe"]
    assert send_breaches(buy(1), instrument=replace(AAA, con_id=7)) == ["universe"]


def test_a_frozen_symbol_moves_neither_way() -> None:
    """What is held is not known, so nobody can say what a sell would reduce."""
    frozen = replace(CONTEXT, is_frozen=True, holding=holding(5))
    assert send_breaches(buy(1), frozen) == ["symbol_frozen"]
    assert send_breaches(sell(1), frozen) == ["symbol_frozen"]


@pytest.mark.parametrize("halt", [HaltLevel.PAUSE, HaltLevel.KILL, HaltLevel.REDUCE_ONLY])
def test_a_send_obeys_the_halt_first(halt: HaltLevel) -> None:
    """Under any halt an order that adds exposure is refused, whatever else is fine."""
    assert send_breaches(buy(1), replace(CONTEXT, halt=halt))[0] == "guard_halted"
    held = replace(CONTEXT, halt=halt, holding=holding(1))
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
