"""A person's halt hides no loss, and ending it forgives none."""

from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import alerts, guard_state, halts
from ibloop.core.model import HaltLevel
from tests.fakes.post import Post

D = Decimal


@pytest.fixture
def post(tmp_path: Path) -> Post:
    """Return a guard that has seen 100,000 USD."""
    made = Post(tmp_path)
    for _ in range(3):
        assert made.look().status == "ok"
    return made


def halt(post: Post, level: HaltLevel, source: str = "cli") -> None:
    """Halt as a person does."""
    with post.site.ledger.transaction() as tx:
        halts.halt(tx, level, "day loss? lunch!", source, "ann", post.clock.now().utc)


def told(post: Post) -> list[str]:
    """Return the guard's alerts of halts, oldest first."""
    found = reversed(alerts.listing(post.site.ledger.db, 99))
    return [a.text for a in found if a.event == "guard.halted"]


@pytest.mark.parametrize("level", list(HaltLevel))
@pytest.mark.parametrize("source", ["cli", "file", "executor"])
def test_a_loss_under_somebody_s_halt_is_latched_and_told(
    post: Post, level: HaltLevel, source: str
) -> None:
    """Whoever lifts their own halt lifts the guard's as well, and knows that it was there."""
    halt(post, level, source)
    assert post.look("46.5").status == "reduce_only"
    assert post.levels() == [level, "reduce-only"]
    assert len(told(post)) == 1
    assert post.look("44").status == "kill"
    assert post.levels() == [level, "reduce-only", "kill"]
    assert len(told(post)) == 2
    for _ in range(5):
        post.look("44")
    assert len(told(post)) == 2


@pytest.mark.parametrize("level", list(HaltLevel))
def test_a_pause_forgives_nothing(post: Post, level: HaltLevel) -> None:
    """Twice 2.8 percent, a pause and a resume between them: 5.6 percent of the day."""
    post.look("47.2")
    halt(post, level)
    post.look("47.2")
    post.resume()
    verdict = post.look("47.2")
    assert verdict.day_loss == D("0.028")
    assert verdict.baseline is not None
    assert (verdict.baseline.day_start_usd, verdict.baseline.peak_usd) == (100_000, 100_000)
    assert post.look("44.4").halt is HaltLevel.KILL


def test_a_pause_makes_no_room_however_often(post: Post) -> None:
    """Six times a little less than the limit was eight percent of the account without a halt."""
    price = D(50)
    for _ in range(6):
        price -= (50 + price) * D("0.028")
        post.look(str(price))
        halt(post, HaltLevel.PAUSE)
        post.look()
        if "kill" in post.levels():
            break
        post.resume()
    assert "kill" in post.levels()
    assert price > D(44)


def test_losses_that_are_resumed_add_up_in_the_peak(post: Post) -> None:
    """Each day loss was accepted by a person; together they are a drawdown nobody has accepted."""
    reasons = []
    price = D(50)
    for _ in range(4):
        price -= (50 + price) * D("0.031")
        verdict = post.look(str(price))
        reasons.append(" ".join(verdict.reason.split()[:2]))
        post.resume()
        post.look()
        post.look()
    assert reasons == ["day loss", "day loss", "day loss", "drawdown from"]
    verdict = post.look()
    assert (verdict.status, post.levels()) == ("ok", [])
    assert verdict.baseline is not None
    assert verdict.baseline.peak_usd == verdict.valuation.equity_usd


def test_a_resume_of_counted_failures_forgives_no_loss(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failures are accepted and counted anew; the day goes on where it was."""
    post.look("47.2")
    asked = []

    def failures(_db: object, since: object) -> int:
        asked.append(since)
        return 20

    monkeypatch.setattr(guard_state, "order_failures", failures)
    assert post.look("47.2").status == "reduce_only"
    post.resume()
    resumed_at = post.clock.now().utc
    verdict = post.look("47.2")
    assert asked[-1] >= resumed_at  # type: ignore[operator]
    assert verdict.day_loss == D("0.028")
    monkeypatch.undo()
    post.restart()
    post.resume()
    assert post.look("47.2").day_loss == D("0.028")


def test_a_resume_of_the_guard_under_a_pause_counts(post: Post) -> None:
    """Both end together; what the guard had halted for was said, and is accepted."""
    halt(post, HaltLevel.PAUSE)
    assert post.look("46.5").status == "reduce_only"
    post.resume()
    verdict = post.look("46.5")
    assert (verdict.status, verdict.day_loss, post.levels()) == ("ok", 0, [])


def test_the_highs_of_before_outlast_the_resume_of_a_day(post: Post) -> None:
    """The 52 weeks go on with what was the day's highest value, next day too."""
    post.site.limits(year_drawdown_kill=D("0.08"), peak_drawdown_kill=D("0.9"))
    post.restart()
    assert post.look("46.5").status == "reduce_only"
    post.resume()
    for _ in range(3):
        assert post.look("46.5").status == "ok"
    post.clock.advance(86_400)
    for _ in range(3):
        assert post.look("44.5").halt is None
    assert post.look("42").reason.startswith("drawdown of 52 weeks 8.00%")
    post.resume()
    for _ in range(3):
        assert post.look("42").halt is None
    post.clock.advance(86_400)
    verdict = post.look("42")
    assert verdict.baseline is not None
    assert verdict.baseline.year_high_usd == 92_000


def test_the_days_before_outlast_the_resume_of_a_day(post: Post) -> None:
    """A day loss that a person has accepted does not begin the 52 weeks."""
    post.site.limits(year_drawdown_kill=D("0.5"))
    post.restart()
    post.clock.advance(86_400)
    for _ in range(3):
        assert post.look("49").halt is None
    assert post.look("46.5").status == "reduce_only"
    post.resume()
    post.look("46.5")
    post.clock.advance(86_400)
    verdict = post.look("46.5")
    assert verdict.baseline is not None
    assert verdict.baseline.year_high_usd == 100_000
