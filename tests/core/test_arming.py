"""A permission to trade live ends by itself, on every way it can."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ibloop.core.arming import Arming, term_from, why_unarmed
from ibloop.core.model import Moment

NOW = Moment(datetime(2026, 11, 20, 15, 30, tzinfo=UTC), 10**12, "a" * 32)
GIVEN = Arming(
    arming_id=1,
    account="U1234567",
    armed_by="ann",
    armed_at=NOW.utc,
    term=term_from(NOW, timedelta(hours=2)),
    config_hash="c0ffee",
    universe_hash="abc",
    build="1.0",
    notional_usd_max=Decimal(50_000),
    runs_max=2,
    sent_usd=Decimal(0),
    runs=frozenset({"run-1"}),
)


def why(given: Arming | None = GIVEN, now: Moment = NOW, **changes: Any) -> str | None:
    """Return why a run may not send, with what is asked changed."""
    asked = {"account": "U1234567", "config_hash": "c0ffee", "universe_hash": "abc"}
    asked |= {"build": "1.0", "run_id": None}
    return why_unarmed(given, now, **(asked | changes))


def later(seconds: float, wall_s: float | None = None) -> Moment:
    """Return a moment of the same boot; the wall clock may have gone another way."""
    wall = timedelta(seconds=seconds if wall_s is None else wall_s)
    return replace(NOW, utc=NOW.utc + wall, boottime_ns=NOW.boottime_ns + int(seconds * 1e9))


def test_a_permission_stands_for_its_account_values_and_code() -> None:
    """Exactly as given it lets a new run send, and one that has begun."""
    assert why() is None
    assert why(run_id="run-1") is None
    assert why(now=later(7199)) is None


@pytest.mark.parametrize(
    ("given", "now", "changes", "said"),
    [
        (None, NOW, {}, "not armed"),
        (GIVEN, NOW, {"account": "U7654321"}, "not armed"),
        (GIVEN, later(7200), {}, "run out"),
        (GIVEN, later(7200, wall_s=0), {}, "run out"),  # the wall clock was set back
        (GIVEN, later(10, wall_s=7200), {}, "run out"),  # or forward
        (GIVEN, replace(NOW, boot_id="b" * 32), {}, "run out"),
        (GIVEN, NOW, {"config_hash": "decade"}, "configuration has changed"),
        (GIVEN, NOW, {"universe_hash": "abd"}, "universe has changed"),
        (GIVEN, NOW, {"universe_hash": None}, "universe cannot be read"),
        (replace(GIVEN, universe_hash=None), NOW, {}, "universe has changed"),
        (GIVEN, NOW, {"build": "1.1"}, "armed for build 1.0, this is 1.1"),
        (replace(GIVEN, runs=frozenset({"run-1", "run-2"})), NOW, {}, "runs are used up"),
        (replace(GIVEN, sent_usd=Decimal(50_000)), NOW, {}, "USD are used up"),
        (replace(GIVEN, sent_usd=Decimal(60_000)), NOW, {"run_id": "run-1"}, "USD are used up"),
    ],
)
def test_it_is_void_once_anything_differs(
    given: Arming | None, now: Moment, changes: dict[str, Any], said: str
) -> None:
    """Time by either clock, boot, values, code, runs, amount: each alone ends it."""
    assert said in str(why(given, now, **changes))


def test_a_run_that_has_sent_under_it_is_counted_once() -> None:
    """The last permitted run may send all its orders."""
    used = replace(GIVEN, runs=frozenset({"run-1", "run-2"}))
    assert why(used, run_id="run-2") is None
    assert why(used, run_id="run-3") is not None
    assert (used.runs_left, GIVEN.runs_left) == (0, 1)
