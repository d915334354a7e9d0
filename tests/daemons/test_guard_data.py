"""Data errors: orders refused for want of data, the stream's errors, and lines without quotes."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import guard_state
from ibloop.adapters.streamfiles import heartbeat_document, status_path, write_status
from tests.fakes.house import House
from tests.fakes.post import Post

D = Decimal


@pytest.fixture
def post(tmp_path: Path) -> Post:
    """Return a guard with small limits that has seen 100,000 USD."""
    made = Post(tmp_path)
    made.site.limits(data_refusals_max=5, stream_errors_max=10, order_failures_minutes=30)
    made.restart()
    tell(made, 1000)
    made.look()
    return made


def tell(post: Post, errors: int, degraded: int = 0, symbols: int = 10) -> None:
    """Let the stream say how it is."""
    served = [f"S{i}" for i in range(symbols)]
    fields = {
        "feed_error_count": errors,
        "subscribed_symbols": served,
        "degraded_count": degraded,
    }
    document = heartbeat_document("connected", post.clock.now(), fields=fields)
    write_status(status_path(post.site.profile.stream_dir, "status"), document)


@pytest.mark.parametrize(
    ("new", "status"), [(0, "ok"), (7, "ok"), (8, "warn"), (9, "warn"), (10, "reduce_only")]
)
def test_new_errors_of_the_stream_count(post: Post, new: int, status: str) -> None:
    """What it had counted before is not new."""
    tell(post, 1000 + new)
    assert post.look().status == status
    assert post.levels() == (["reduce-only"] if status == "reduce_only" else [])


def test_errors_of_long_ago_do_not_count(post: Post) -> None:
    """Six now, six in half an hour: never ten within thirty minutes."""
    for total in (1006, 1012):
        tell(post, total)
        assert post.look().status == "ok"
        post.clock.advance(31 * 60)


def test_a_stream_that_restarts_counts_from_nothing(post: Post) -> None:
    """Fewer errors than before are all new."""
    tell(post, 3)
    assert post.look().status == "ok"
    tell(post, 10)
    assert post.look().status == "reduce_only"


def test_errors_while_the_market_is_closed_do_not_count(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gateways restart at night."""
    monkeypatch.setattr("ibloop.daemons.guarding.look.session_at", lambda *_args: None)
    tell(post, 1100)
    assert post.look().status == "ok"
    monkeypatch.undo()
    assert post.look().status == "ok"


@pytest.mark.parametrize(("degraded", "blocks"), [(5, False), (6, True), (10, True)])
def test_a_stream_without_quotes_degrades_while_it_lasts(
    post: Post, degraded: int, blocks: bool
) -> None:
    """More than half of its symbols for five minutes; nothing is latched, for it heals."""
    tell(post, 1000, degraded)
    assert post.look().status == "ok"
    assert post.look(after_s=290).status == "ok"
    verdict = post.look(after_s=20)
    assert (verdict.status, post.levels()) == ("degraded" if blocks else "ok", [])
    assert blocks == ("have no live quotes" in verdict.reason)
    tell(post, 1000)
    assert post.look().status == "ok"


def test_a_resume_counts_anew(post: Post) -> None:
    """Also the errors that are still within their minutes."""
    tell(post, 1010)
    assert post.look().status == "reduce_only"
    post.resume()
    for _ in range(3):
        assert post.look().status == "ok"
    tell(post, 1019)
    assert post.look().status == "warn"
    tell(post, 1020)
    assert post.look().status == "reduce_only"


def test_orders_refused_for_bad_data_are_counted(tmp_path: Path) -> None:
    """By the ledger, of this day and since a resume; other refusals are not."""
    house = House(tmp_path)
    start = house.clock.now().utc
    for symbol in ("AAA", "CCC"):
        house.quotes.missing.add(symbol)
    house.queue()
    house.until_ended()
    db = house.ledger.db
    codes = [order.reject_code for order in house.orders().values()]
    refused = codes.count("market_data_error")
    assert refused > 0
    assert guard_state.data_refusals(db, start) == refused
    house.clock.advance(1)
    assert guard_state.data_refusals(db, house.clock.now().utc) == 0
    house.ledger.close()


@pytest.mark.parametrize(
    ("refused", "status"),
    [(0, "ok"), (3, "ok"), (4, "warn"), (5, "reduce_only"), (9, "reduce_only")],
)
def test_refusals_of_the_day_make_it_reduce_only(
    post: Post, monkeypatch: pytest.MonkeyPatch, refused: int, status: str
) -> None:
    """Asked from the market's midnight on."""
    asked = []

    def refusals(_db: object, since: object) -> int:
        asked.append(since)
        return refused

    monkeypatch.setattr(guard_state, "data_refusals", refusals)
    assert post.look().status == status
    midnight = post.clock.now().utc.replace(hour=5, minute=0, second=0, microsecond=0)
    assert asked[-1] == midnight


def test_the_limits_are_of_the_configuration(post: Post) -> None:
    """Others than those of the test."""
    limits = replace(post.site.profile.config.guard, stream_errors_max=20)
    assert limits.stream_errors_max == 20
    post.site.limits(stream_errors_max=20)
    post.restart()
    tell(post, 1000)
    post.look()
    tell(post, 1015)
    assert post.look().status == "ok"
