"""The line of the day: every extreme survives the thinning, and silence is a gap."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibloop.adapters.ledger import guard_state
from ibloop.adapters.ledger.connection import Connection, open_readonly
from ibloop.web.trail import BUCKETS_MAX, HEIGHT, WIDTH, Bucket, Trail

from .conftest import T0, Scene, guard_row


@pytest.fixture
def db(scene: Scene) -> Iterator[Connection]:
    """Return the read-only handle of the scene's ledger, which has one evaluation."""
    with closing(open_readonly(scene.profile.ledger_path)) as opened:
        yield opened


def write(scene: Scene, *values: str | None, every_s: float = 2, since_s: float = 2) -> None:
    """Record evaluations at equal distances."""
    with scene.writing() as tx:
        for number, value in enumerate(values):
            at = T0 + timedelta(seconds=since_s + number * every_s)
            guard_state.record(tx, guard_row(value, at))


def test_one_point_is_no_line(scene: Scene, db: Connection) -> None:
    """Nothing is drawn before there are two moments."""
    trail = Trail()
    trail.update(db)
    assert trail.drawing() is None


def test_new_rows_are_added_and_old_ones_not_read_again(scene: Scene, db: Connection) -> None:
    """The drawing follows the ledger; a second look at the same rows changes nothing."""
    trail = Trail()
    trail.update(db)
    write(scene, "101000", "98000")
    trail.update(db)
    first = trail.drawing()
    assert first is not None
    assert (first.low, first.high) == (98_000, 101_000)
    assert (first.first_at, first.last_at) == (T0, T0 + timedelta(seconds=4))
    trail.update(db)
    assert trail.drawing() == first


def test_a_new_trade_date_begins_anew(scene: Scene, db: Connection) -> None:
    """Yesterday's losses are not on today's line."""
    write(scene, "50000")
    tomorrow = T0 + timedelta(days=1)
    with scene.writing() as tx:
        for seconds in (0, 2):
            at = tomorrow + timedelta(seconds=seconds)
            guard_state.record(tx, guard_row("100500", at, tomorrow))
    trail = Trail()
    trail.update(db)
    drawing = trail.drawing()
    assert drawing is not None
    assert drawing.low == drawing.high == 100_500


def test_unknown_equity_is_no_point(scene: Scene, db: Connection) -> None:
    """A degraded evaluation has no value, and is not drawn as zero."""
    write(scene, None, "99100")
    trail = Trail()
    trail.update(db)
    drawing = trail.drawing()
    assert drawing is not None
    assert drawing.low == 99_000


def test_silence_is_a_gap(scene: Scene, db: Connection) -> None:
    """Two stretches with minutes between them are two lines."""
    write(scene, "99000", "99100")
    write(scene, "99200", "99300", since_s=600)
    trail = Trail()
    trail.update(db)
    drawing = trail.drawing()
    assert drawing is not None
    assert drawing.line.count("M") == 2
    assert drawing.area.count("Z") == 2


values = st.lists(
    st.tuples(st.floats(0.1, 40), st.floats(1, 1e9)), min_size=2, max_size=3 * BUCKETS_MAX
)


@given(values)
def test_thinning_keeps_order_extremes_and_ends(steps: list[tuple[float, float]]) -> None:
    """However many points: bounded, in order of time, with first, last, lowest and highest."""
    trail, at_s, points = Trail(), 1.0e9, []
    for step_s, value in steps:
        at_s += step_s
        points.append((at_s, value))
        trail._add(Bucket(at_s, value, value, value, at_s))
    buckets = trail.buckets()
    assert len(buckets) <= BUCKETS_MAX
    assert all(before.end_s <= after.start_s for before, after in pairwise(buckets))
    assert min(b.low for b in buckets) == min(value for _, value in points)
    assert max(b.high for b in buckets) == max(value for _, value in points)
    assert (buckets[0].start_s, buckets[-1].end_s) == (points[0][0], points[-1][0])
    assert buckets[-1].last == points[-1][1]
    drawing = trail.drawing()
    if drawing is None:
        return
    for pair in drawing.line.replace("M", "L").split("L")[1:]:
        x, y = map(float, pair.split())
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
