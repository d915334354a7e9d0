"""The guard halts when the account loses too much, never because it cannot see, and never twice."""

from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from ibloop.adapters.ledger import alerts, guard_state, halts
from ibloop.adapters.ledger.guard_memory import GuardMemory
from ibloop.core.model import ZERO, HaltLevel, Position
from tests.fakes.house import House
from tests.fakes.post import Post

D = Decimal


@pytest.fixture
def post(tmp_path: Path) -> Post:
    """Return a guard that has seen 100,000 USD."""
    made = Post(tmp_path)
    assert made.look().status == "ok"
    return made


def test_a_loss_at_its_limit_halts_once(post: Post) -> None:
    """Reduce-only at 3 %, kill at 5 %; a standing halt is not repeated each two seconds."""
    assert post.look("48.5").status == "ok"  # 1.5 % of the account
    assert post.look("47").status == "reduce_only"
    assert post.levels() == ["reduce-only"]
    post.look("47")
    assert post.levels() == ["reduce-only"]
    assert post.look("45").status == "kill"
    assert post.look("40").halt is HaltLevel.KILL
    assert post.levels() == ["reduce-only", "kill"]
    events = [alert.event for alert in alerts.listing(post.site.ledger.db, 9)]
    assert events == ["guard.halted"] * 2


def test_a_valuation_in_the_middle_of_a_fill_halts_nothing(post: Post) -> None:
    """Cash has moved, the shares have not: wrong by the whole trade, for one evaluation."""
    post.look("50")
    post.quotes.prices["AAA"] = D("40")
    assert post.glance().halt is None
    post.quotes.prices["AAA"] = D("50")
    assert post.glance().halt is None
    assert post.levels() == []


def test_a_high_of_one_evaluation_is_no_high(post: Post) -> None:
    """Shares have moved, the cash has not: what follows is no drawdown."""
    post.look("50")
    post.quotes.prices["AAA"] = D("60")
    post.glance()
    post.quotes.prices["AAA"] = D("50")
    assert post.look("50").halt is None
    assert post.levels() == []


def test_it_evaluates_each_two_seconds(post: Post) -> None:
    """Not at each nudge: a row an evaluation."""
    for _ in range(5):
        post.guard.step()
    post.play(6)
    count = post.site.ledger.db.execute("SELECT count(*) FROM trade_guard_state").fetchone()[0]
    assert count == 2 + 1 + 3


BLINDNESS = {
    "not connected": ("connected", False),
    "the gateway does not answer": ("proof_s", 11.0),
    "no figures": ("cash", None),
    "no positions": ("held", None),
}


@pytest.mark.parametrize("how", BLINDNESS)
def test_a_guard_that_cannot_see_is_degraded_and_halts_nothing(post: Post, how: str) -> None:
    """A missing figure is no loss; new risk is blocked because it no longer says watching."""
    setattr(post.watch, *BLINDNESS[how])
    verdict = post.look("1")
    assert (verdict.status, verdict.halt) == ("degraded", None)
    assert post.levels() == []


@pytest.mark.parametrize("how", ["missing", "stale"])
def test_a_position_without_a_price_is_valued_by_the_broker(post: Post, how: str) -> None:
    """The broker's own net liquidation stands in, and can trip as well."""
    if how == "missing":
        post.quotes.missing.add("AAA")
    else:
        post.quotes.freeze("AAA")
        post.clock.advance(16)
    verdict = post.look()
    assert (verdict.status, verdict.valuation.source) == ("ok", "ib_net_liquidation")
    assert verdict.valuation.missing == ("AAA",)
    post.watch.net_liquidation = D(94_000)
    assert post.look().status == "kill"


def test_a_price_of_another_contract_values_nothing(post: Post) -> None:
    """Shares held under our symbol but of another contract have no price in our stream."""
    post.watch.held = (Position("AAA", 99, D(1000), D(50)),)
    post.guard._look.memory = GuardMemory()  # else the shares that are gone are still valued
    for _ in range(8):
        valuation = post.look().valuation
    assert (valuation.source, valuation.missing) == ("ib_net_liquidation", ("AAA",))


@pytest.mark.parametrize("figure", [ZERO, D(-5)])
def test_equity_that_is_not_positive_is_not_believed(post: Post, figure: Decimal) -> None:
    """A login glitch reports zero: degraded, no kill, and the baseline is kept."""
    post.quotes.missing.add("AAA")
    post.watch.net_liquidation = figure
    assert post.look().status == "degraded"
    post.quotes.missing.clear()
    assert post.look("45").status == "kill"


# --- baselines ------------------------------------------------------------------------------------


def test_a_restart_keeps_the_baselines(post: Post) -> None:
    """They are in the ledger: a crash of the guard forgives no loss."""
    post.look("60")
    post.restart()
    verdict = post.look("56.4")
    assert verdict.baseline is not None
    assert (verdict.baseline.day_start_usd, verdict.baseline.day_high_usd) == (100_000, 110_000)
    assert verdict.drawdown is not None
    assert round(verdict.drawdown, 4) == D("0.0327")


def test_a_new_day_is_measured_from_the_close_before(post: Post) -> None:
    """Also when the guard was blind over midnight: yesterday's loss is not today's, a gap is."""
    post.look("48.5")
    post.watch.connected = False
    post.look(after_s=14 * 3600)
    post.look(after_s=8 * 3600)
    post.watch.connected = True
    verdict = post.look("46.5")
    assert verdict.status == "ok"
    assert verdict.baseline is not None
    assert (verdict.baseline.day_start_usd, verdict.baseline.peak_usd) == (96_500, 100_000)
    assert verdict.baseline.day_base_usd == 98_500  # the close before: a gap over night counts
    assert post.look("45.6").status == "warn"
    assert post.look("45.5").status == "reduce_only"


def test_the_market_s_midnight_counts_not_that_of_utc(post: Post) -> None:
    """At 20:00 in New York it is tomorrow in UTC and still today for the baseline."""
    verdict = post.look("48", after_s=10 * 3600)
    assert verdict.baseline is not None
    assert verdict.baseline.day_start_usd == 100_000


def test_a_resume_measures_from_there(post: Post) -> None:
    """The loss so far is accepted by a person; the next one trips again."""
    post.look("45")
    post.resume()
    verdict = post.look("45")
    assert (verdict.status, post.levels()) == ("ok", [])
    assert post.look("42").status == "reduce_only"


def test_a_resume_in_the_baseline_s_millisecond_is_seen(post: Post) -> None:
    """The ledger keeps milliseconds; a resume is told by its number."""
    post.look("45")
    baseline = guard_state.last(post.site.ledger.db)
    assert baseline is not None
    assert baseline.baseline_at is not None
    with post.site.ledger.transaction() as tx:
        halts.resume(tx, "test", "checked", baseline.baseline_at)
    assert post.look("45").status == "ok"


def test_a_resume_after_the_clock_was_set_back_is_seen(post: Post) -> None:
    """Else the halt would come back until the clock has caught up."""
    post.look("45")
    post.clock.step_wall(-1800)
    post.resume()
    assert post.look("45").status == "ok"
    assert post.look("45").status == "ok"


def test_a_resume_while_blind_is_not_forgotten(post: Post) -> None:
    """The first evaluation with a value takes it into account."""
    post.look("45")
    post.watch.connected = False
    post.look()
    post.resume()
    post.look()
    post.watch.connected = True
    assert post.look("45").status == "ok"
    assert post.levels() == []


def test_a_resume_without_a_halt_forgives_nothing(post: Post) -> None:
    """Nothing was cleared: the loss goes on to count."""
    post.look("48")
    post.resume()
    assert post.look("46.9").status == "reduce_only"


def test_a_resume_while_the_lock_is_waited_for_counts_once(post: Post) -> None:
    """The evaluation's time is taken inside the transaction, after the resume it sees."""
    post.look("45")
    whole = post.site.ledger.transaction

    def slow() -> object:
        post.site.ledger.transaction = whole  # type: ignore[method-assign]
        post.clock.advance(3)
        post.resume()
        return whole()

    post.site.ledger.transaction = slow  # type: ignore[method-assign, assignment]
    assert post.look("45").status == "ok"
    assert post.look("43").status == "ok"
    assert post.look("42").status == "reduce_only"


# --- the kill switch ------------------------------------------------------------------------------


@pytest.fixture
def working(tmp_path: Path) -> Post:
    """Return a guard of an account whose executor has died with an order working."""
    house = House(tmp_path)
    house.script("AAA", fills=())
    house.queue()
    house.play(2)
    assert house.states()["AAA"] == "new"
    house.ledger.close()
    made = Post(tmp_path)
    made.look()
    return made


def kill(post: Post) -> None:
    """Halt at level kill, as ``ibloop halt`` does."""
    with post.site.ledger.transaction() as tx:
        halts.halt(tx, HaltLevel.KILL, "a test", "cli", "test", post.clock.now().utc)


@pytest.mark.parametrize("by_file", [False, True])
def test_a_kill_that_nobody_carries_out_is_carried_out(working: Post, by_file: bool) -> None:
    """The executor has five seconds; then the guard cancels everything, by ledger or HALT file."""
    if by_file:
        (working.site.profile.data_dir / "HALT").write_text("kill")
    else:
        kill(working)
    working.play(4)
    assert working.watch.cancels == []
    working.play(5)
    assert len(working.watch.cancels) == 1
    assert "guard.global_cancel" in [a.event for a in alerts.listing(working.site.ledger.db, 9)]


def test_a_global_cancel_is_repeated_at_growing_distance(working: Post) -> None:
    """What a person does by hand must not be cancelled every ten seconds for ever."""
    kill(working)
    working.play(300)
    gaps = [b - a for a, b in zip(working.watch.cancels, working.watch.cancels[1:], strict=False)]
    assert gaps == sorted(gaps)
    assert gaps[0] <= 12
    assert len(working.watch.cancels) <= 6


@pytest.mark.parametrize("tells", ["number", "count", "both"])
def test_orders_that_start_to_work_under_a_kill_are_canceled_soon(post: Post, tells: str) -> None:
    """The growing distance is for what one cancel did not end, not for what it never reached."""
    kill(post)
    post.watch.works, post.watch.perm_ids = 1, frozenset({1})
    post.play(300)
    for number in range(3):
        if tells != "count":
            post.watch.perm_ids |= {10 + number}
        if tells != "number":
            post.watch.works += 1
        done = len(post.watch.cancels)
        post.play(12)
        assert len(post.watch.cancels) == done + 1
        post.play(20)
    gaps = [b - a for a, b in pairwise(post.watch.cancels)]
    assert min(gaps) >= 10  # what a person does by hand is not cancelled each second


def test_another_order_in_the_place_of_one_is_news(post: Post) -> None:
    """Their number is the same, their numbers are not."""
    kill(post)
    post.watch.works, post.watch.perm_ids = 1, frozenset({1})
    post.play(300)
    done = len(post.watch.cancels)
    post.watch.perm_ids = frozenset({2})
    post.play(12)
    assert len(post.watch.cancels) == done + 1


def test_a_second_kill_starts_over(working: Post) -> None:
    """Each kill has its own five seconds and its own repetitions."""
    kill(working)
    working.play(40)
    done = len(working.watch.cancels)
    working.resume()
    working.play(3)
    kill(working)
    working.play(4)
    assert len(working.watch.cancels) == done
    working.play(4)
    assert len(working.watch.cancels) == done + 1


def test_a_kill_finds_what_the_ledger_does_not_know(post: Post) -> None:
    """A restored ledger shows no order, the broker does: it is cancelled all the same."""
    kill(post)
    post.watch.works = 1
    post.play(9)
    assert len(post.watch.cancels) == 1


def test_a_new_connection_under_a_kill_is_told_at_once(working: Post) -> None:
    """The cancel went to a gateway that died: the next one does not wait for the repetition."""
    kill(working)
    working.play(40)
    done = len(working.watch.cancels)
    working.watch.connected = False
    working.play(3)
    working.watch.connected = True
    working.play(2)
    assert len(working.watch.cancels) == done + 1


def test_a_kill_does_not_wait_for_the_ledger(working: Post) -> None:
    """The write lock is held by a stopped process: what works is cancelled before the guard waits.

    In the step in which the patience ends an evaluation is due as well.
    """
    kill(working)
    working.play(5)
    working.clock.advance(60)
    seen: list[int] = []
    whole = working.site.ledger.transaction

    def held() -> object:
        seen.append(len(working.watch.cancels))
        return whole()

    working.site.ledger.transaction = held  # type: ignore[method-assign, assignment]
    working.guard.step()
    assert seen[0] == 1


def test_a_kill_with_nothing_working_cancels_nothing(post: Post) -> None:
    """A global cancel takes manual orders too: not without need."""
    kill(post)
    post.play(30)
    assert post.watch.cancels == []


@pytest.mark.parametrize("level", [HaltLevel.PAUSE, HaltLevel.REDUCE_ONLY])
def test_lesser_halts_cancel_nothing(working: Post, level: HaltLevel) -> None:
    """Only a kill cancels what works."""
    with working.site.ledger.transaction() as tx:
        halts.halt(tx, level, "a test", "cli", "test", working.clock.now().utc)
    working.play(30)
    assert working.watch.cancels == []


def test_a_cancel_that_could_not_be_sent_is_tried_again(working: Post) -> None:
    """The session may be down just then: no crash, and the next step tries."""
    kill(working)
    working.watch.refuses = True
    working.play(10)
    working.watch.refuses = False
    working.play(3)
    assert len(working.watch.cancels) == 1


def test_a_guard_told_not_to_does_not_cancel_all(working: Post) -> None:
    """``guard.global_cancel = false`` leaves it to people."""
    working.site.limits(global_cancel=False)
    working.restart()
    kill(working)
    working.play(30)
    assert working.watch.cancels == []


def test_the_guard_needs_no_executor(working: Post) -> None:
    """It halts by itself: nothing has been heard of the executor for an hour."""
    working.clock.advance(3600)
    assert working.look("40").halt is HaltLevel.KILL
    working.play(10)
    assert len(working.watch.cancels) == 1
