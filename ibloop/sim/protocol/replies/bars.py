"""Replies about bars: of the past, their updates, bars of five seconds, sessions, first dates."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

from ibloop.sim.market.bars import Bar
from ibloop.sim.market.tape import Piece
from ibloop.sim.market.timeline import Day
from ibloop.sim.model import NEW_YORK
from ibloop.sim.protocol.wire import Fields, Since, double_text, time_text

ZONE = "US/Eastern"
# Bars that are not of trades have neither volume nor average nor number of trades.
UNTRADED = ("-1", "-1", "-1")


def historical_data(
    req_id: int,
    bars: Sequence[Bar],
    *,
    traded: bool,
    epoch: bool,
    start: datetime,
    end: datetime,
    version: int,
) -> list[Fields]:
    """17: all bars of an answer, and from version 196 on 108, the range it is for."""
    limits = (time_text(start, version), time_text(end, version))
    fields = ["17", str(req_id), *(() if version >= Since.HISTORICAL_DATA_END else limits)]
    fields.append(str(len(bars)))
    for bar in bars:
        piece = bar.piece
        fields += (
            _begins(bar.begins, version, epoch=epoch),
            *(double_text(each) for each in (piece.open, piece.high, piece.low, piece.close)),
            *(_traded(piece) if traded else UNTRADED),
        )
    if version < Since.HISTORICAL_DATA_END:
        return [tuple(fields)]
    return [tuple(fields), ("108", str(req_id), *limits)]


def historical_update(req_id: int, bar: Bar, *, traded: bool, epoch: bool, version: int) -> Fields:
    """90: a bar as it stands now; other order than 17, and the count comes first."""
    piece = bar.piece
    volume, average, count = _traded(piece) if traded else UNTRADED
    prices = (piece.open, piece.close, piece.high, piece.low)
    texts = (double_text(each) for each in prices)
    begins = _begins(bar.begins, version, epoch=epoch)
    return ("90", str(req_id), count, begins, *texts, average, volume)


def real_time_bar(req_id: int, begins_s: int, piece: Piece, *, traded: bool) -> Fields:
    """50: five seconds that are over, named by their first."""
    prices = (piece.open, piece.high, piece.low, piece.close)
    texts = (double_text(each) for each in prices)
    return (
        "50",
        "3",
        str(req_id),
        str(begins_s),
        *texts,
        *(_traded(piece) if traded else UNTRADED),
    )


def historical_schedule(req_id: int, days: Sequence[Day]) -> Fields:
    """106: the sessions of a time, oldest first, in New York time."""
    sessions: list[str] = []
    for day in days:
        sessions += (_local(day.begins_s), _local(day.ends_s), f"{day.date:%Y%m%d}")
    start, end = (_local(days[0].begins_s), _local(days[-1].ends_s)) if days else ("", "")
    return ("106", str(req_id), start, end, ZONE, str(len(days)), *sessions)


def head_timestamp(req_id: int, first: datetime, *, epoch: bool) -> Fields:
    """88: where the history begins, UTC."""
    utc = first.astimezone(UTC)
    text = str(int(utc.timestamp())) if epoch else utc.strftime("%Y%m%d-%H:%M:%S")
    return ("88", str(req_id), text)


def histogram_data(req_id: int, sizes: Iterable[tuple[Decimal, int]]) -> Fields:
    """89: shares traded by price."""
    pairs = [(double_text(price), str(size)) for price, size in sizes]
    return ("89", str(req_id), str(len(pairs)), *(text for pair in pairs for text in pair))


def _begins(begins: int | date, version: int, *, epoch: bool) -> str:
    """Write when a bar begins; bars of days and longer always by their date."""
    if isinstance(begins, date):
        return f"{begins:%Y%m%d}"
    return str(begins) if epoch else time_text(datetime.fromtimestamp(begins, UTC), version)


def _local(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, NEW_YORK).strftime("%Y%m%d-%H:%M:%S")


def _traded(piece: Piece) -> tuple[str, str, str]:
    """Return volume, average price and number of trades."""
    return str(piece.volume), repr(round(piece.average, 4)), str(piece.trades)
