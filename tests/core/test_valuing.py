"""A price is believed when it is near what is known, or once it has been confirmed."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest

from ibloop.core.model import AccountValues, MarketDataType, Moment, Position, Quote, QuoteSource
from ibloop.core.quotes import QuoteLimits
from ibloop.core.splits import looks_like_split, split_ratio
from ibloop.core.valuing import (
    Mark,
    Priced,
    PriceRules,
    PriceSource,
    Remembered,
    price_all,
    quoted_price,
    value_account,
)

D = Decimal
UTC_NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
QUOTES = QuoteLimits(
    quote_age_s_max=15.0, spread_fraction_max=D("0.01"), jump_fraction_max=D("0.5")
)
RULES = PriceRules(quotes=QUOTES, jump_fraction=D("0.25"), confirmations=3)
AAA = Position("AAA", 1, D(10), D(50))


def at(seconds: float) -> Moment:
    """Return a moment some seconds after the beginning."""
    return Moment(UTC_NOW, int(1e12 + seconds * 1e9), "a" * 32)


def quote(price: str | None, seq: int = 1, seconds: float = 0, **changes: object) -> Quote:
    """Return a stream quote of AAA without bid and ask; the prior close is 50."""
    made = Quote(
        *("AAA", 1, seq, at(seconds), None, QuoteSource.STREAM, MarketDataType.LIVE),
        *(None, None, None if price is None else D(price), D(50)),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


class Desk:
    """Prices AAA again and again and remembers as the guard does."""

    def __init__(self, known: str | None = "50", **changes: object) -> None:
        """Begin with a price that was believed."""
        self.memory = {} if known is None else {1: Remembered(D(known))}
        self.rules = replace(RULES, **changes)  # type: ignore[arg-type]
        self.seq = 0

    def look(self, found: Quote | None, mark: Mark | None = None, seconds: float = 0) -> Priced:
        """Return AAA's price by a quote."""
        marks = {} if mark is None else {1: mark}
        quotes = {} if found is None else {"AAA": found}
        priced, self.memory = price_all(
            [AAA], quotes, marks, self.memory, now=at(seconds), rules=self.rules
        )
        return priced[0]

    def tick(self, price: str, mark: Mark | None = None) -> str:
        """Return the price after the next tick, a second later."""
        self.seq += 1
        return str(self.look(quote(price, self.seq, self.seq), mark, self.seq).price)


def test_the_stream_comes_first_then_the_broker_s_mark_then_what_was_known() -> None:
    """Each with its source and its age; an old close decides nothing."""
    desk = Desk()
    mark = Mark(D(49), at(-100))
    fresh = desk.look(quote("51"), mark, 3)
    assert (fresh.price, fresh.source, fresh.age_s) == (D(51), PriceSource.STREAM, 3)
    snapshot = desk.look(quote("52", source=QuoteSource.SNAPSHOT), mark)
    assert (snapshot.price, snapshot.source) == (D(52), PriceSource.SNAPSHOT)
    for gone in (None, quote("51", seconds=-16), quote(None), quote("51", con_id=9)):
        marked = desk.look(gone, mark)
        assert (marked.price, marked.source, marked.age_s) == (D(49), PriceSource.PORTFOLIO, 100)
    old = desk.look(None, Mark(D(49), at(-241)))
    assert (old.price, old.source, old.is_usable) == (D(52), PriceSource.LAST_CLOSE, False)
    nothing = Desk(None).look(None)
    assert (nothing.price, nothing.source, nothing.is_usable) == (None, PriceSource.NONE, False)
    assert Desk(None).look(quote(None)).price == 50


def test_one_bad_print_is_not_believed() -> None:
    """The last good price stands, and the next good one is taken at once."""
    desk = Desk()
    assert [desk.tick(p) for p in ("5", "51", "500", "50", "5", "49")] == [
        *("50", "51", "51", "50", "50", "49")
    ]


def test_a_far_price_is_believed_when_it_is_confirmed() -> None:
    """Three different quotes say so: the market has moved."""
    desk = Desk()
    assert [desk.tick(p) for p in ("30.9", "30.8", "30.7", "30.6")] == [
        *("50", "50", "30.7", "30.6")
    ]


def test_the_same_quote_read_again_confirms_nothing() -> None:
    """A feed that stands still on a bad print."""
    desk = Desk()
    for seconds in range(5):
        assert desk.look(quote("30.9", 7), None, seconds).price == 50


def test_the_broker_s_mark_confirms_at_once() -> None:
    """Two sources agree."""
    assert Desk().tick("30.9", Mark(D(31), at(0))) == "30.9"


def test_a_mark_that_came_later_and_disagrees_speaks_against_it() -> None:
    """A feed that is wrong for long must not become the truth."""
    desk = Desk()
    marks = [None, *[Mark(D(50), at(1.5))] * 6]
    assert {desk.tick("430", mark) for mark in marks} == {"50"}


def test_a_price_near_the_prior_close_needs_no_confirmation() -> None:
    """The last good one may itself have been wrong, or old."""
    assert Desk("80").tick("50.5") == "50.5"
    assert Desk(None).tick("50.5") == "50.5"


def test_a_price_that_looks_split_waits_for_its_shares() -> None:
    """Half the price before twice the shares have come would look like half the money lost."""
    desk = Desk()
    adjusted = [desk.tick("25") for _ in range(14)]
    assert set(adjusted) == {"50"}
    assert desk.tick("25") == "25"


def test_when_all_halve_it_is_no_split() -> None:
    """The market has crashed, or the feed: the usual confirmations decide."""
    positions = [Position(s, i, D(10), D(1)) for i, s in enumerate(("AAA", "BBB", "CCC"), 1)]
    memory = {p.con_id: Remembered(D(50)) for p in positions}
    for seq in (1, 2, 3):
        quotes = {
            p.symbol: replace(quote("25", seq, seq), symbol=p.symbol, con_id=p.con_id)
            for p in positions
        }
        priced, memory = price_all(positions, quotes, {}, memory, now=at(seq), rules=RULES)
        assert {p.price for p in priced} == ({D(25)} if seq == 3 else {D(50)})


@pytest.mark.parametrize(
    ("before", "after", "price_before", "price_after", "ratio"),
    [
        ("10", "20", "50", "25.5", Fraction(2)),
        ("100", "5", "2", "40", Fraction(1, 20)),
        ("7", "10", "30", "20", Fraction(3, 2)),  # half a share was paid out
        ("10", "20", "50", "50", None),  # bought
        ("10", "21", "50", "24", None),
        ("10", "20", "50", None, None),
        ("10", "0", "50", "25", None),
    ],
)
def test_a_split_is_told_by_shares_and_price(
    before: str, after: str, price_before: str, price_after: str | None, ratio: Fraction | None
) -> None:
    """Both must fit: shares times price has stayed."""
    later = None if price_after is None else D(price_after)
    assert split_ratio(D(before), D(after), D(price_before), later) == ratio


def test_a_third_less_is_a_crash_or_a_split_and_a_fifth_is_neither() -> None:
    """Only usual ratios look like one."""
    assert looks_like_split(D(25), D(50))
    assert looks_like_split(D(40), D("2"))
    assert not looks_like_split(D(31), D(50))
    assert not looks_like_split(D(48), D(50))


# --- the account ----------------------------------------------------------------------------------


def held(symbol: str, quantity: int, price: int | None, source: PriceSource) -> Priced:
    """Return a holding."""
    return Priced(symbol, 1, D(quantity), None if price is None else D(price), source, 0.0)


FIGURES = AccountValues("DU1", net_liquidation=D(1500), total_cash=D(500), as_of=UTC_NOW)
LONG = held("AAA", 10, 100, PriceSource.STREAM)
SHORT = held("BBB", -4, 50, PriceSource.PORTFOLIO)
OLD = held("CCC", 1, 7, PriceSource.LAST_CLOSE)
BARE = held("DDD", 1, None, PriceSource.NONE)


def test_the_account_is_worth_cash_plus_holdings() -> None:
    """Longs add and shorts subtract; the weakest source names the whole; cash alone is sound."""
    worth = value_account([LONG, SHORT], D(500), FIGURES)
    assert (worth.equity_usd, worth.source, worth.sound) == (D(1300), "ib_portfolio", True)
    assert value_account([LONG], D(500), None).source == "ib_stream"
    assert value_account([], D(500), None).equity_usd == 500


def test_one_missing_price_leaves_it_to_the_broker() -> None:
    """Half a valuation is none: the broker's own figure stands, and the gap is named."""
    worth = value_account([LONG, OLD, BARE], D(500), FIGURES)
    assert (worth.equity_usd, worth.source) == (D(1500), "ib_net_liquidation")
    assert (worth.missing, worth.sound) == (("CCC", "DDD"), True)


def test_without_the_broker_s_figure_the_last_prices_are_an_estimate() -> None:
    """It is told and it decides nothing; without any price there is none."""
    worth = value_account([LONG, OLD], D(500), None)
    assert (worth.equity_usd, worth.source, worth.sound) == (D(1507), "last_close", False)
    assert "CCC" in worth.note
    none = value_account([LONG, BARE], D(500), None)
    assert (none.equity_usd, none.sound) == (None, False)
    assert value_account([LONG], None, None).equity_usd is None


@pytest.mark.parametrize(("cash", "sound"), [("500", False), ("-5000", True)])
def test_the_broker_s_zero_alone_is_not_believed(cash: str, sound: bool) -> None:
    """A login that is not complete reports nothing; cash and last prices must agree."""
    for figure in (D(0), D(-5)):
        worth = value_account([LONG, OLD], D(cash), replace(FIGURES, net_liquidation=figure))
        assert worth.sound is sound


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (quote("51"), "51"),
        (quote("51", bid=D("49.9"), ask=D("50.1")), "50.0"),
        (quote("51", bid=D(40), ask=D(60)), "51"),
        (quote("61", bid=D(40), ask=D(60)), None),
        (quote(None, bid=D(40), ask=D(60)), None),
        (quote("51", bid=D(60), ask=D(40)), "51"),
        (quote(None), "50"),
        (quote(None, close=None), None),
        (quote("51", con_id=2), None),
        (quote("51", seconds=-16), None),
        (None, None),
    ],
)
def test_what_is_shown_is_what_the_guard_would_believe(
    found: Quote | None, expected: str | None
) -> None:
    """Never the middle of a wide spread, nor another contract's price; a close in a calm."""
    shown = quoted_price(AAA, found, at(0), QUOTES)
    assert shown == (None if expected is None else D(expected))
    believed = Desk(known=None).look(found)
    if believed.is_usable:
        assert shown == believed.price
