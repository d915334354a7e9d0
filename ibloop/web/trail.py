"""The account's worth over the day: the guard's valuations, thinned, and as a line to draw.

The guard values the account every two seconds, 40,000 times a day. The trail reads only what is
new, keeps buckets of equal width that double when there are too many, and never loses an extreme.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from ibloop.adapters.ledger.connection import Connection
from ibloop.adapters.ledger.values import parse_time

BUCKETS_MAX = 480
WIDTH_S_MIN = 2
GAP_S = 60
ROWS_MAX = 50_000
"""As far as the first reading goes back: a day of evaluations."""
WIDTH, HEIGHT = 1000, 200
"""The drawing's own units; the page stretches it."""

_NEWEST = "SELECT ifnull(max(evaluation_id), 0) FROM trade_guard_state"
_SINCE = """
SELECT evaluation_id, trade_date, evaluated_at, equity, baseline_equity FROM trade_guard_state
WHERE evaluation_id > ? ORDER BY evaluation_id"""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Some seconds of the day: USD as floats, which are for drawing and for nothing else."""

    start_s: float
    low: float
    high: float
    last: float
    end_s: float

    def with_later(self, later: "Bucket") -> "Bucket":
        """Return both as one."""
        low, high = min(self.low, later.low), max(self.high, later.high)
        return Bucket(self.start_s, low, high, later.last, later.end_s)


@dataclass(frozen=True, slots=True)
class Drawing:
    """SVG path data in a box of :data:`WIDTH` by :data:`HEIGHT`, and what its edges mean.

    ``line`` and ``area`` are broken where the guard was silent for a minute. ``baseline_y`` is
    the day's start, ``None`` when unknown. Times are aware UTC, amounts USD.
    """

    line: str
    area: str
    baseline_y: float | None
    low: Decimal
    high: Decimal
    first_at: datetime
    last_at: datetime


class Trail:
    """The buckets of the newest trade date."""

    def __init__(self) -> None:
        """Begin empty."""
        self._last_id: int | None = None
        self._date = ""
        self._width_s = WIDTH_S_MIN
        self._buckets: dict[int, Bucket] = {}
        self._baseline: float | None = None

    def update(self, db: Connection) -> None:
        """Read the evaluations that are new."""
        if self._last_id is None:
            self._last_id = max(0, int(db.execute(_NEWEST).fetchone()[0]) - ROWS_MAX)
        for row in db.execute(_SINCE, (self._last_id,)):
            self._last_id = row["evaluation_id"]
            if row["trade_date"] != self._date:
                self._date, self._width_s, self._buckets = row["trade_date"], WIDTH_S_MIN, {}
            if row["equity"] is not None and row["baseline_equity"] is not None:
                self._baseline = float(row["baseline_equity"])
                at_s, value = parse_time(row["evaluated_at"]).timestamp(), float(row["equity"])
                self._add(Bucket(at_s, value, value, value, at_s))

    def buckets(self) -> tuple[Bucket, ...]:
        """Return the buckets, earliest first."""
        return tuple(self._buckets[key] for key in sorted(self._buckets))

    def drawing(self) -> Drawing | None:
        """Return the line to draw; ``None`` with fewer than two points in time."""
        buckets = self.buckets()
        if len(buckets) < 2:
            return None
        low, high = min(b.low for b in buckets), max(b.high for b in buckets)
        edges = [low, high] + ([] if self._baseline is None else [self._baseline])
        scale = _Scale(buckets[0].start_s, buckets[-1].end_s, min(edges), max(edges))
        runs = list(_unbroken(buckets, max(GAP_S, 3 * self._width_s)))
        return Drawing(
            line="".join(_line(run, scale) for run in runs),
            area="".join(_area(run, scale) for run in runs),
            baseline_y=None if self._baseline is None else scale.y(self._baseline),
            low=Decimal(repr(low)),
            high=Decimal(repr(high)),
            first_at=datetime.fromtimestamp(buckets[0].start_s, UTC),
            last_at=datetime.fromtimestamp(buckets[-1].end_s, UTC),
        )

    def _add(self, point: Bucket) -> None:
        self._merge(point)
        while len(self._buckets) > BUCKETS_MAX:
            before, self._buckets = self.buckets(), {}
            self._width_s *= 2
            for bucket in before:
                self._merge(bucket)

    def _merge(self, bucket: Bucket) -> None:
        key = int(bucket.start_s // self._width_s)
        known = self._buckets.get(key)
        self._buckets[key] = bucket if known is None else known.with_later(bucket)


@dataclass(frozen=True, slots=True)
class _Scale:
    """From seconds and USD to the drawing's units; a tenth of the height stays free."""

    first_s: float
    last_s: float
    low: float
    high: float

    def x(self, at_s: float) -> float:
        return round((at_s - self.first_s) / (self.last_s - self.first_s) * WIDTH, 1)

    def y(self, value: float) -> float:
        if self.high == self.low:
            return HEIGHT / 2
        share = (value - self.low) / (self.high - self.low)
        return round(HEIGHT * (0.95 - 0.9 * share), 1)


def _unbroken(buckets: tuple[Bucket, ...], gap_s: float) -> Iterator[list[Bucket]]:
    run: list[Bucket] = []
    for bucket in buckets:
        if run and bucket.start_s - run[-1].end_s > gap_s:
            yield run
            run = []
        run.append(bucket)
    yield run


def _points(run: list[Bucket], scale: _Scale) -> Iterator[str]:
    """Yield each bucket's extremes and its last value: a spike stays visible at any width."""
    for bucket in run:
        x = scale.x(bucket.end_s)
        for value in dict.fromkeys((bucket.high, bucket.low, bucket.last)):
            yield f"{x} {scale.y(value)}"


def _line(run: list[Bucket], scale: _Scale) -> str:
    return "M" + "L".join(_points(run, scale))


def _area(run: list[Bucket], scale: _Scale) -> str:
    first, last = scale.x(run[0].end_s), scale.x(run[-1].end_s)
    return f"M{first} {HEIGHT}L{'L'.join(_points(run, scale))}L{last} {HEIGHT}Z"
