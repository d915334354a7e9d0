"""The guard under faults: flows, splits, locked ledgers, clocks that are wrong, breaks."""

import stat
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import alerts, freezes, guard_days, guard_state, halts
from ibloop.adapters.ledger import gate as gate_module
from ibloop.adapters.ledger.connection import OperationalError
from ibloop.adapters.streamfiles import QuoteReader
from ibloop.core.dropcopy import ACCOUNT, CASH, Seen
from ibloop.core.model import Execution, HaltLevel, Position, Side
from ibloop.core.valuing import Mark
from ibloop.daemons.guarding.dropcopy import release
from ibloop.daemons.guarding.once import evaluate_once
from tests.fakes.clock import FakeClock
from tests.fakes.post import Post

D = Decimal


@pytest.fixture
def post(tmp_path: Path) -> Post:
    """Return a guard that has seen 100,000 USD."""
    made = Post(tmp_path)
    assert made.look().status == "ok"
    return made


def events(post: Post) -> list[str]:
    """Return the alerts so far, oldest first."""
    return [a.event for a in reversed(alerts.listing(post.site.ledger.db, 99))]


def rows(post: Post) -> int:
    """Return how many evaluations the ledger has."""
    return int(post.site.ledger.db.execute("SELECT count(*) FROM trade_guard_state").fetchone()[0])


def accept_flow(post: Post) -> None:
    """Say that it was a withdrawal, as ``ibloop guard release cash`` does."""
    with post.site.ledger.transaction() as tx:
        assert release(tx, CASH, "mine", post.clock.now().utc, "ann") != ()


def execution(clock: FakeClock, quantity: int, **changes: object) -> Seen:
    """Return an execution of AAA at 50 that the session was told of now."""
    made = Execution(
        *("e.1.01", "DU1234567", "", 7, "AAA", 1, Side.BUY, D(quantity), D(50)),
        executed_at=clock.now().utc,
        commission=D(1),
    )
    return replace(Seen(made, 0, False), **changes)  # type: ignore[arg-type]


# --- money ----------------------------------------------------------------------------------------


def test_a_withdrawal_is_no_loss(post: Post) -> None:
    """A part of the cash is taken out: no halt, baselines follow, and it is told once."""
    post.watch.cash = D(41_000)
    verdicts = [post.look() for _ in range(8)]
    assert {v.status for v in verdicts} == {"ok"}
    assert post.levels() == []
    last = verdicts[-1]
    assert (last.valuation.equity_usd, last.day_loss) == (91_000, 0)
    assert last.baseline is not None
    assert last.baseline.peak_usd == 91_000
    assert events(post) == ["guard.flow_seen"]
    assert post.look("47.27").status == "reduce_only"  # 2,730 of 91,000


def test_a_deposit_does_not_raise_the_peak(post: Post) -> None:
    """After the deposit is taken out again nothing was lost either."""
    post.watch.cash = D(150_000)
    for _ in range(8):
        post.look()
    post.watch.cash = D(50_000)
    verdicts = [post.look() for _ in range(8)]
    assert {v.halt for v in verdicts} == {None}
    accept_flow(post)
    verdicts += [post.look()]
    assert verdicts[-1].status == "ok"
    assert verdicts[-1].drawdown == 0
    today = guard_days.newest(post.site.ledger.db)
    assert today is not None
    assert (today.flow_usd, round(today.units, 6)) == (0, 1)


def test_a_flow_while_the_guard_was_down_is_seen_after_all(post: Post) -> None:
    """The books are in the ledger."""
    for _ in range(3):
        post.look()
    post.restart()
    post.watch.cash = D(45_000)
    assert {post.look().status for _ in range(8)} == {"ok"}
    assert "guard.flow_seen" in events(post)


def test_a_flow_waits_for_a_worth_to_measure_it_by(post: Post) -> None:
    """It comes while prices are gone: seen after all, when the account can be valued again."""
    post.quotes.missing.add("AAA")
    post.watch.values_s = 241
    post.watch.cash = D(45_000)
    assert {post.look().status for _ in range(8)} == {"degraded"}
    assert "guard.flow_seen" not in events(post)
    post.quotes.missing.clear()
    assert {post.look().status for _ in range(8)} == {"ok"}
    assert events(post).count("guard.flow_seen") == 1
    assert post.levels() == []


def test_a_fill_that_is_told_in_pieces_halts_nothing(post: Post) -> None:
    """Shares have gone for minutes, the cash has not come: the execution has both legs."""
    post.watch.executed = [execution(post.clock, 0)]
    sold = replace(execution(post.clock, 900).execution, side=Side.SELL)
    post.watch.executed = [Seen(sold, 11, False)]
    post.watch.held = (Position("AAA", 1, D(100), D(50)),)
    assert [post.look().status for _ in range(3)] == ["ok"] * 3
    post.watch.cash = D(50_000 + 45_000 - 1)
    assert post.look().valuation.equity_usd == 99_999
    assert "guard.flow_seen" not in events(post)


def test_a_split_is_neither_profit_nor_loss(post: Post) -> None:
    """Twice the shares at half the price, whichever comes first, and no flow."""
    post.quotes.freeze("AAA", bid=D(25), ask=D(25), last=D(25), close=D(25), seq=8)
    assert {post.look().status for _ in range(2)} == {"ok"}
    post.watch.held = (Position("AAA", 1, D(2000), D(25)),)
    post.quotes.freeze("AAA", bid=D(25), ask=D(25), last=D(25), close=D(25), seq=9)
    verdicts = [post.look() for _ in range(8)]
    assert {(v.status, v.valuation.equity_usd) for v in verdicts} == {("ok", D(100_000))}
    assert "guard.flow_seen" not in events(post)


def test_negative_equity_is_a_kill(post: Post) -> None:
    """By prices and cash, which are sound; the guard says so in the ledger."""
    post.watch.cash = D(-60_000)
    post.restart()
    post.guard._look.memory = replace(post.guard._look.memory, books=None)
    verdict = post.look()
    assert (verdict.status, verdict.halt) == ("kill", HaltLevel.KILL)
    assert post.levels() == ["kill"]


def test_a_bad_print_halts_nothing_and_makes_no_peak(post: Post) -> None:
    """Ten times the price, and a tenth of it, on the stream alone."""
    for price in ("500", "5"):
        post.quotes.freeze("AAA", bid=None, ask=None, last=D(price), seq=99)
        verdict = post.look()
        assert (verdict.status, verdict.valuation.source) == ("ok", "last_good")
    post.quotes.frozen.clear()
    verdict = post.look("50")
    assert (verdict.status, verdict.drawdown) == ("ok", 0)


def test_much_that_is_gone_blocks_until_a_person_accepts(post: Post) -> None:
    """Half the account without an execution: nothing is bought, sells go on, people are told."""
    post.watch.cash = D(2_000)
    verdicts = [post.look() for _ in range(8)]
    assert {v.halt for v in verdicts} == {None}
    assert verdicts[-1].status == "degraded"
    assert "48000.00 USD (48%) went out today" in verdicts[-1].reason
    assert verdicts[-1].day_loss == 0
    told = {a.event: a.severity for a in alerts.listing(post.site.ledger.db, 9)}
    assert (told["guard.flow_seen"], told["guard.flow_doubted"]) == ("warning", "critical")
    frozen = freezes.frozen_symbols(post.site.ledger.db)
    assert not freezes.is_frozen(frozen, "AAA")
    post.restart()
    for _ in range(30):
        assert post.look(after_s=10).status == "degraded"  # neither time nor a restart accepts
    post.resume()
    assert post.look().status == "degraded"
    accept_flow(post)
    assert post.look().status == "ok"


def test_slices_of_a_day_count_together(post: Post) -> None:
    """Twice six percent is more than a tenth; what was accepted is not counted again."""
    for cash, status in ((44_000, "ok"), (38_400, "degraded")):
        post.watch.cash = D(cash)
        assert [post.look() for _ in range(8)][-1].status == status
    accept_flow(post)
    for cash, status in ((33_000, "ok"), (27_000, "degraded")):
        post.watch.cash = D(cash)
        assert [post.look() for _ in range(8)][-1].status == status
    assert events(post).count("guard.flow_doubted") == 2


def test_a_second_flow_while_one_is_doubted_is_told_too(post: Post) -> None:
    """One freeze, two critical alerts."""
    for cash in (30_000, 10_000):
        post.watch.cash = D(cash)
        for _ in range(8):
            post.look()
    assert events(post).count("guard.flow_doubted") == 2
    assert len(freezes.standing(post.site.ledger.db)) == 1


# --- what it cannot see ---------------------------------------------------------------------------


def test_old_figures_of_the_broker_are_an_estimate(post: Post) -> None:
    """No price and no refresh for four minutes: degraded, however low it looks."""
    post.quotes.missing.add("AAA")
    post.watch.values_s = 241
    post.watch.net_liquidation = D(1)
    verdict = post.look()
    assert (verdict.status, verdict.valuation.source) == ("degraded", "last_close")
    assert post.levels() == []


def test_a_holding_without_a_price_for_long_is_told(post: Post) -> None:
    """The broker's figure stands in for five minutes; then new risk is blocked and people told."""
    post.quotes.missing.add("AAA")
    assert post.look().status == "ok"
    assert post.look(after_s=290).status == "ok"
    verdict = post.look(after_s=10)
    assert (verdict.status, verdict.halt) == ("degraded", None)
    assert "no usable price of AAA" in verdict.reason
    post.look(after_s=61)
    assert events(post).count("guard.degraded") == 1
    post.quotes.missing.clear()
    assert post.look().status == "ok"
    assert "guard.recovered" in events(post)


def test_the_broker_s_mark_stands_in_for_a_missing_quote(post: Post) -> None:
    """One holding's mark instead of the whole account's figure."""
    post.quotes.missing.add("AAA")
    post.watch.marked = {1: Mark(D(49), post.clock.now())}
    verdict = post.look()
    assert (verdict.status, verdict.valuation.source) == ("ok", "ib_portfolio")
    assert verdict.valuation.equity_usd == 99_000


@pytest.mark.parametrize("skew_s", [60.0, -60.0])
def test_a_clock_that_differs_from_the_broker_s_blocks(post: Post, skew_s: float) -> None:
    """Expiry times and sessions would be wrong; a loss still halts."""
    post.watch.skew_s = skew_s
    verdict = post.look()
    assert (verdict.status, verdict.halt) == ("degraded", None)
    assert "check NTP" in verdict.reason
    assert post.look("45").halt is HaltLevel.KILL
    post.watch.skew_s = 2.0
    post.resume()
    assert post.look("45").status == "ok"


def test_a_read_only_ledger_degrades_and_leaves_the_kill_to_a_file(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be sent without a journal; what works is cancelled by the file's kill."""

    def refused() -> object:
        raise OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(post.site.ledger, "transaction", refused)
    verdict = post.look()
    assert (verdict.status, verdict.halt) == ("degraded", None)
    assert "cannot be written" in verdict.reason
    halt_file = post.site.profile.data_dir / "HALT"
    assert not halt_file.exists()
    assert post.look("40").halt is None  # seen once: what was not written has decided nothing
    monkeypatch.undo()
    post.look("40")
    monkeypatch.setattr(post.site.ledger, "transaction", refused)
    assert post.glance().status == "degraded"
    assert halt_file.read_text() == "kill\n"
    assert stat.S_IMODE(halt_file.stat().st_mode) == 0o660  # an operator may remove it


def test_a_locked_ledger_does_not_stop_the_guard(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody holds the gate: degraded meanwhile, well afterwards, and nothing is lost."""
    monkeypatch.setattr(gate_module, "GATE_WAIT_S", 0.05)
    other = post.site.open_ledger()
    with other.transaction():
        assert post.look().status == "degraded"
        post.guard.step()
    other.close()
    assert post.look().status == "ok"


def test_any_other_error_of_the_database_ends_the_guard(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged file or a failing disk is no matter of waiting (F18)."""

    def broken() -> object:
        raise OperationalError("disk I/O error")

    monkeypatch.setattr(post.site.ledger, "transaction", broken)
    with pytest.raises(OperationalError):
        post.look()


# --- its record -----------------------------------------------------------------------------------


def test_old_rows_are_thinned_and_what_changed_something_stays(post: Post) -> None:
    """A row each two seconds for years would fill the disk."""
    post.play(300)
    changed = post.look("48.5")
    assert changed.status == "ok"
    assert post.look("47").status == "reduce_only"
    before = rows(post)
    post.play(60)
    post.clock.advance(86_400 * 2)
    post.play(70)
    db = post.site.ledger.db
    assert rows(post) < before / 2
    kept = db.execute("SELECT count(*) FROM trade_guard_state WHERE status = 'reduce_only'")
    assert kept.fetchone()[0] >= 1
    old = db.execute(
        "SELECT count(*) FROM trade_guard_state WHERE keep = 0 AND evaluated_at < ?",
        ((post.clock.now().utc - timedelta(days=1)).isoformat(),),
    )
    assert old.fetchone()[0] == 0


def test_each_row_says_by_which_source_each_value_is(post: Post) -> None:
    """Kept rows name every holding with price, source and age."""
    post.quotes.missing.add("AAA")
    post.watch.marked = {1: Mark(D(49), post.clock.now())}
    post.look()
    found = guard_state.last(post.site.ledger.db)
    assert found is not None
    [entry] = found.detail["other_prices"]  # type: ignore[misc]
    assert entry[:4] == ["AAA", "1000", "49", "ib_portfolio"]


def test_a_near_loss_is_told_once_a_day(post: Post) -> None:
    """Not each two seconds."""
    for _ in range(5):
        assert post.look("47.5").status == "warn"
    assert events(post) == ["guard.warned"]


def test_the_reduce_only_is_lifted_where_configured(post: Post) -> None:
    """And baselines stay: nobody has accepted the loss."""
    post.site.limits(reduce_only_release=D("0.01"))
    post.restart()
    assert post.look("46.9").status == "reduce_only"
    post.look("48.5")
    assert post.levels() == ["reduce-only"]
    verdict = post.look("49.5")
    assert (post.levels(), verdict.status) == ([], "ok")
    assert verdict.baseline is not None
    assert verdict.baseline.day_start_usd == 100_000
    assert post.look("46.9").status == "reduce_only"


def test_a_kill_is_never_lifted_by_itself(post: Post) -> None:
    """Only people resume."""
    post.site.limits(reduce_only_release=D("0.01"))
    post.restart()
    post.look("45")
    for _ in range(5):
        post.look("50")
    assert post.levels() == ["kill"]


def test_52_weeks_are_remembered(post: Post) -> None:
    """The day's high of some months ago counts, in the money of today."""
    post.site.limits(year_drawdown_kill=D("0.05"), peak_drawdown_kill=D(1))
    post.restart()
    post.look("52")
    post.clock.advance(86_400 * 100)
    post.watch.cash = D(50_000)
    post.look("50")
    assert post.look("49.1").halt is None
    assert post.look("46.4").reason.startswith(("day loss", "drawdown of 52"))
    assert post.levels() != []


def test_once_says_what_the_guard_would_do_and_writes_nothing(post: Post) -> None:
    """From ledger and stream files, with figures that are fresh."""
    db, config = post.site.ledger.db, post.site.profile.config
    before = rows(post)
    post.site.store()
    found = evaluate_once(db, config, post.quotes, post.clock)
    assert (found.status, found.equity) == ("ok", 100_000)
    post.clock.advance(300)
    stale = evaluate_once(db, config, QuoteReader(post.site.profile.stream_dir), post.clock)
    assert stale.status == "degraded"
    assert rows(post) == before


# --- the drop copy --------------------------------------------------------------------------------


def compare_for(post: Post, seconds: float) -> None:
    """Let the guard look for some time."""
    for _ in range(round(seconds / 2)):
        post.look()


def test_an_execution_that_the_ledger_lacks_freezes_its_symbol(post: Post) -> None:
    """After the grace; a person may release it, and it is frozen again while it differs."""
    db = post.site.ledger.db
    post.watch.executed = [execution(post.clock, 10)]
    post.look()
    assert freezes.frozen_symbols(db) == frozenset()
    compare_for(post, 32)
    assert freezes.frozen_symbols(db) == {"AAA"}
    assert freezes.is_frozen(freezes.frozen_symbols(db), "AAA")
    assert not freezes.is_frozen(freezes.frozen_symbols(db), "BBB")
    assert freezes.is_frozen(frozenset({ACCOUNT}), "BBB")
    assert events(post).count("symbol.frozen") == 1
    compare_for(post, 60)
    assert events(post).count("symbol.frozen") == 1


def test_a_lost_session_freezes_and_lifts_nothing(post: Post) -> None:
    """What nobody can see is neither a difference nor an agreement."""
    post.watch.executed = [execution(post.clock, 10)]
    compare_for(post, 20)
    post.watch.connected = False
    compare_for(post, 60)
    assert freezes.frozen_symbols(post.site.ledger.db) == frozenset()
    post.watch.connected = True
    compare_for(post, 20)
    assert freezes.frozen_symbols(post.site.ledger.db) == frozenset()  # the grace begins anew
    compare_for(post, 20)
    assert freezes.frozen_symbols(post.site.ledger.db) == {"AAA"}
    post.watch.connected = False
    post.watch.executed = []
    compare_for(post, 200)
    assert freezes.frozen_symbols(post.site.ledger.db) == {"AAA"}


def test_a_liquidation_is_told_at_once_and_once(post: Post) -> None:
    """Whether the ledger knows it or not: the account needs a person."""
    post.watch.executed = [execution(post.clock, 10, is_liquidation=True)]
    compare_for(post, 20)
    assert events(post).count("guard.liquidation") == 1


def test_executions_are_asked_for_again_and_again(post: Post) -> None:
    """A push that was lost is found by the next question."""
    asked = post.watch.questions
    post.play(31)
    assert 3 <= post.watch.questions - asked <= 4


def test_a_kill_in_the_file_is_obeyed_without_a_market(post: Post) -> None:
    """The halts are looked at each second, however rarely the account is valued."""
    (post.site.profile.data_dir / "HALT").write_text("kill")
    post.play(2)
    assert "kill" in post.levels() or halts.level(post.site.ledger.db) is HaltLevel.KILL
    assert stat.S_ISREG((post.site.profile.data_dir / "HALT").stat().st_mode)
