"""What the guard must not believe at once: prints, wide spreads, differences nobody explains."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import alerts, freezes, guard_days
from ibloop.core.dropcopy import Seen
from ibloop.core.guard import GuardVerdict
from ibloop.core.model import Execution, HaltLevel, Moment, Position, QuoteSource, Side
from ibloop.core.valuing import Mark
from ibloop.daemons.guarding.dropcopy import release
from tests.fakes.house import instrument
from tests.fakes.post import Post

D = Decimal
HELD = Position("AAA", 1, D(1000), D(50))


@pytest.fixture
def post(tmp_path: Path) -> Post:
    """Return a guard that is used to 100,000 USD, half of it 1000 AAA at 50."""
    made = Post(tmp_path)
    made.quotes._instruments = {"AAA": instrument("AAA", 1), "BBB": instrument("BBB", 2)}
    for _ in range(3):
        assert made.look().status == "ok"
    return made


def print_once(post: Post, price: str, symbol: str = "AAA") -> GuardVerdict:
    """Let one evaluation see a price, and quote as before afterwards."""
    before = post.quotes.prices[symbol]
    post.clock.advance(2)
    post.quotes.prices[symbol] = D(price)
    verdict = post.glance()
    post.quotes.prices[symbol] = before
    return verdict


def play(post: Post, seconds: float) -> list[GuardVerdict]:
    """Return the verdicts of some time."""
    return [post.look() for _ in range(round(seconds / 2))]


def hold(post: Post, *held: Position) -> None:
    """Let the broker tell of other positions."""
    post.watch.held = held


# --- wide spreads and old bars --------------------------------------------------------------------


@pytest.mark.parametrize("mark", [None, "50"])
def test_the_middle_of_a_wide_spread_is_no_loss(post: Post, mark: str | None) -> None:
    """A bid of nobody at 34 and an ask of 51: the mark says 50, and so does the last price."""
    if mark is not None:
        post.watch.marked = {1: Mark(D(mark), post.clock.now())}
    for _ in range(5):
        post.quotes.freeze("AAA", bid=D(34), ask=D(51), last=D(50), close=D(50))
        verdict = post.look()
        assert (verdict.status, verdict.valuation.equity_usd) == ("ok", 100_000)


def test_the_middle_of_a_wide_spread_hides_no_loss(post: Post) -> None:
    """Bid 41.90 and ask 58.10 around a last price and a mark of 42: 8 % are lost."""
    post.watch.marked = {1: Mark(D(42), post.clock.now())}
    post.quotes.freeze("AAA", bid=D("41.9"), ask=D("58.1"), last=D(42), close=D(50))
    assert post.look().halt is HaltLevel.KILL


def test_a_wide_spread_without_any_other_price_is_held_back(post: Post) -> None:
    """The last good price stands with its age, then the broker's figure; people are told."""
    for seconds in (10, 200):
        post.clock.advance(seconds)
        post.quotes.freeze("AAA", bid=D(34), ask=D(44), last=D(50), close=D(50))
        verdict = post.look()
        [held] = verdict.valuation.holdings
        assert (verdict.status, held.source, held.price) == ("ok", "last_good", 50)
    assert held.age_s is not None
    assert held.age_s > 200
    post.clock.advance(110)
    post.quotes.freeze("AAA", bid=D(34), ask=D(44), last=D(50), close=D(50))
    verdict = post.look()
    assert (verdict.status, verdict.valuation.source) == ("degraded", "ib_net_liquidation")
    assert "no usable price of AAA" in verdict.reason


def test_a_bar_of_history_is_as_old_as_its_trades(post: Post) -> None:
    """It arrived just now and began an hour ago: it prices nothing, and the mark does."""
    post.watch.marked = {1: Mark(D(49), post.clock.now())}
    began = post.clock.now().utc - timedelta(hours=1)
    post.quotes.freeze("AAA", source=QuoteSource.HISTORY, event_time=began, last=D(60))
    assert post.look().valuation.source == "ib_portfolio"
    recent = post.clock.now().utc - timedelta(seconds=5)
    post.quotes.freeze("AAA", source=QuoteSource.HISTORY, event_time=recent)
    verdict = post.look()
    assert verdict.valuation.source == "ib_history"
    assert (verdict.valuation.holdings[0].age_s or 0) >= 5


# --- one print ------------------------------------------------------------------------------------


@pytest.mark.parametrize("price", ["57", "43"])
def test_one_print_at_the_day_s_first_evaluation_is_no_start(post: Post, price: str) -> None:
    """The start of a day is the middle of its first three valuations."""
    post.clock.advance(24 * 3600)
    assert print_once(post, price).halt is None
    verdicts = play(post, 20)
    assert {(v.status, v.day_loss, v.drawdown) for v in verdicts} == {("ok", 0, 0)}
    base = verdicts[-1].baseline
    assert base is not None
    assert (base.day_start_usd, base.day_high_usd, base.peak_usd) == (100_000,) * 3


@pytest.mark.parametrize("price", ["57", "43"])
def test_one_print_at_the_first_value_and_after_a_resume_is_none(
    tmp_path: Path, price: str
) -> None:
    """Nothing is measured from it, and it is not the highest of 52 weeks for a year."""
    post = Post(tmp_path)
    print_once(post, price)
    assert {v.status for v in play(post, 20)} == {"ok"}
    post.look("45")
    post.resume()
    print_once(post, price)
    verdicts = play(post, 20)
    assert {(v.status, v.halt) for v in verdicts} == {("ok", None)}
    base, day = verdicts[-1].baseline, guard_days.newest(post.site.ledger.db)
    assert base is not None
    assert day is not None
    assert (base.day_start_usd, day.low_usd) == (95_000,) * 2
    assert (base.peak_usd, day.high_usd) == (100_000,) * 2  # a day loss was resumed, they were not
    assert post.look("42").status == "reduce_only"


def test_a_restart_in_between_forgets_no_start(tmp_path: Path) -> None:
    """What it is being made of is in the ledger."""
    post = Post(tmp_path)
    print_once(post, "57")
    for _ in range(3):
        post.restart()
        post.clock.advance(2)
        verdict = post.glance()
    assert (verdict.status, verdict.drawdown) == ("ok", 0)
    assert verdict.baseline is not None
    assert verdict.baseline.peak_usd == 100_000


def test_one_print_at_the_close_is_no_close(post: Post) -> None:
    """What was 95,000 for one glance would hide 4.8 % of the next day."""
    last = print_once(post, "45")
    assert last.baseline is not None
    assert last.baseline.close_usd == 100_000
    post.clock.advance(24 * 3600)
    assert post.look("45.2").status == "reduce_only"


def test_a_weekend_does_not_forget_the_close(post: Post) -> None:
    """Two dates without a session: Friday's close is what Monday is measured from."""
    post.watch.connected = True
    for _ in range(3):
        post.clock.advance(24 * 3600)
        verdict = post.look()
    assert verdict.baseline is not None
    assert verdict.baseline.prior_close_usd == 100_000


# --- flows ----------------------------------------------------------------------------------------


def test_a_loss_by_a_trade_nobody_told_of_is_no_withdrawal(post: Post) -> None:
    """800 bought by hand at 60 and worth 50 now; nobody answers which executions there are."""
    post.watch.answers, post.watch.complete_at = False, None
    post.watch.cash = D(2_000)
    hold(post, replace(HELD, quantity=D(1800)))
    verdicts = play(post, 30)
    assert [v.status for v in verdicts[:4]] == ["ok"] * 4  # a fill may be told of in pieces
    assert verdicts[-1].halt is HaltLevel.KILL
    assert verdicts[-1].baseline is not None
    assert verdicts[-1].baseline.day_base_usd == 100_000
    bought = Execution(
        *("e.1.01", "DU1234567", "", 7, "AAA", 1, Side.BUY, D(800), D(60)),
        *(post.clock.now().utc, D(0)),
    )
    post.watch.executed, post.watch.answers = [Seen(bought, 0, False)], True
    assert play(post, 30)[-1].day_loss == D("0.08")
    assert "guard.flow_seen" not in events(post)


def test_an_unanswered_difference_blocks_and_halts_nothing(post: Post) -> None:
    """Money has gone: a withdrawal, if no execution says otherwise. Until then nothing is new."""
    post.watch.answers, post.watch.complete_at = False, None
    post.watch.cash = D(45_000)
    verdicts = play(post, 200)
    assert (verdicts[-1].status, verdicts[-1].day_loss) == ("degraded", 0)
    assert post.levels() == []
    post.watch.answers = True
    assert play(post, 30)[-1].status == "ok"
    assert events(post).count("guard.flow_seen") == 1


def events(post: Post) -> list[str]:
    """Return the alerts so far, oldest first."""
    return [a.event for a in reversed(alerts.listing(post.site.ledger.db, 99))]


@pytest.mark.parametrize(("shares", "price"), [(200, "400"), (1000, "10"), (1000, "124")])
@pytest.mark.parametrize("evaluation", range(4, 9))
def test_a_transfer_is_not_measured_by_a_print(
    post: Post, shares: int, price: str, evaluation: int
) -> None:
    """Whichever evaluation sees it, that which believes the flow too."""
    post.quotes.prices["BBB"] = D(100)
    hold(post, HELD, Position("BBB", 2, D(shares), D(90)))
    for number in range(12):
        if number == evaluation:
            seq = 100 + number
            quote = {"bid": D(price), "ask": D(price), "last": D(price)}
            post.quotes.freeze("BBB", seq=seq, **quote)
        post.clock.advance(2)
        assert post.glance().halt is None
        post.quotes.frozen.clear()
    verdict = play(post, 10)[-1]
    assert (verdict.status, verdict.day_loss, verdict.drawdown) == ("ok", 0, 0)
    worth = D(100_000 + shares * 100)
    assert verdict.baseline is not None
    assert verdict.baseline.day_start_usd == verdict.baseline.peak_usd == worth
    assert events(post).count("guard.flow_seen") == 1


def test_a_transfer_is_not_measured_by_a_price_that_is_held_back(post: Post) -> None:
    """A feed that stands still on a bad print: the valuation refuses it, and so does the flow."""
    post.quotes.prices["BBB"] = D(100)
    hold(post, HELD, Position("BBB", 2, D(200), D(90)))
    post.look()
    for _ in range(8):
        post.quotes.freeze("BBB", bid=D(400), ask=D(400), last=D(400), seq=99)
        assert post.look().halt is None
    post.quotes.frozen.clear()
    verdict = play(post, 10)[-1]
    assert (verdict.status, verdict.drawdown) == ("ok", 0)
    assert verdict.baseline is not None
    assert verdict.baseline.peak_usd == 120_000


def test_shares_that_have_gone_are_no_loss_by_the_broker_s_figure_either(post: Post) -> None:
    """It stands in for a missing price, and shows a transfer at once."""
    hold(post, replace(HELD, quantity=D(800)))
    post.watch.net_liquidation = D(90_000)
    post.quotes.missing.add("AAA")
    verdicts = play(post, 20)
    assert {(v.status, v.halt) for v in verdicts} == {("degraded", None)}


@pytest.mark.parametrize(
    ("shares", "price"), [("1200", "41.67"), ("1100", "45.45"), ("800", "62.5")]
)
def test_an_odd_split_is_neither_a_deposit_nor_a_loss(post: Post, shares: str, price: str) -> None:
    """The shares come first, at the old price. The symbol is frozen until a person has looked."""
    hold(post, replace(HELD, quantity=D(shares)))
    verdicts = play(post, 60)
    assert verdicts[-1].status == "degraded"
    assert {v.valuation.equity_usd for v in verdicts} == {100_000}
    assert freezes.frozen_symbols(post.site.ledger.db) == {"AAA"}
    post.quotes.prices["AAA"] = D(price)
    post.restart()
    verdicts = play(post, 60)
    assert {v.halt for v in verdicts} == {None}
    assert abs(verdicts[-1].day_loss or D(0)) < D("0.001")
    with post.site.ledger.transaction() as tx:
        assert release(tx, "AAA", "a stock dividend", post.clock.now().utc, "ann")
    verdict = play(post, 40)[-1]
    assert (verdict.status, "guard.flow_seen" in events(post)) == ("ok", False)
    assert verdict.valuation.holdings[0].quantity == D(shares)
    assert verdict.baseline is not None
    assert abs(verdict.baseline.peak_usd - 100_000) < 100
    assert freezes.frozen_symbols(post.site.ledger.db) == frozenset()


def test_shares_that_go_back_explain_themselves(post: Post) -> None:
    """A position the broker corrects: both agree again, and the symbol is free."""
    hold(post, replace(HELD, quantity=D(1200)))
    play(post, 60)
    assert freezes.frozen_symbols(post.site.ledger.db) == {"AAA"}
    hold(post, HELD)
    assert play(post, 40)[-1].status == "ok"
    assert freezes.frozen_symbols(post.site.ledger.db) == frozenset()


def test_what_a_person_accepted_before_is_not_accepted_again(post: Post) -> None:
    """An acceptance is of what differed then."""
    for shares in ("1200", "1300"):
        hold(post, replace(HELD, quantity=D(shares)))
        assert play(post, 60)[-1].status == "degraded"
        with post.site.ledger.transaction() as tx:
            release(tx, "AAA", "looked", post.clock.now().utc, "ann")
        assert play(post, 40)[-1].status == "ok"


def test_an_acceptance_while_the_guard_was_down_counts(post: Post) -> None:
    """The shares came and were accepted between two of its looks."""
    db = post.site.ledger.db
    hold(post, replace(HELD, quantity=D(1200)))
    play(post, 60)
    hold(post, HELD)
    play(post, 60)
    hold(post, replace(HELD, quantity=D(1100)))
    post.clock.advance(600)
    with post.site.ledger.transaction() as tx:
        tx.execute("UPDATE freezes SET cleared_at = ?, cleared_by = 'ann'", (_text(post),))
    post.clock.advance(60)
    post.restart()
    assert play(post, 60)[-1].status == "ok"
    assert freezes.frozen_symbols(db) == frozenset()


def _text(post: Post) -> str:
    now: Moment = post.clock.now()
    return now.utc.strftime("%Y-%m-%dT%H:%M:%S.000Z")
