"""What ``_status.json`` says: the contract's fields and the names behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from ibloop.core.lines import shape
from ibloop.core.model import MarketDataType
from ibloop.core.stream import StreamStatus, names
from ibloop.daemons.loop import Report
from ibloop.daemons.streaming.files import Publisher
from ibloop.daemons.streaming.lines import LineBook, MarketData
from ibloop.daemons.streaming.notices import Notices

NAMED_MAX = 200
"""So many symbols are named in a list of troubles: the document is limited to 64 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything a report is made of; texts are empty where there is nothing to say."""

    status: StreamStatus
    reason: str
    waiting: str
    closed: bool
    market: MarketData
    client_id: int
    book: LineBook
    notices: Notices
    left_out: Mapping[str, str]
    degraded_since: str | None
    refreshed_at: str | None
    ticks: int
    files: Publisher


def report_of(seen: Seen) -> Report:
    """Return the report; its fields are those of ``_status.json`` beyond the common ones."""
    book, market = seen.book, seen.market
    degraded, refused = book.dead(), book.refused()
    quotes = sorted(book.latest.items())
    shapes = {symbol: shape(state.bid, state.ask) for symbol, state in quotes}
    fields = {
        "subscribed_symbols": book.looked_after(),
        "market_data_type": max(
            (state.market_data_type for _, state in quotes),
            key=list(MarketDataType).index,
            default=None,
        ),
        "ib_error_count": seen.notices.errors,
        "last_error": seen.notices.last_error,
        "degraded_since": seen.degraded_since,
        "degraded_reason": seen.reason or None,
        "last_snapshot_refresh": seen.refreshed_at,
        "host": market.host,
        "port": market.port,
        "client_id": seen.client_id,
        "ticks_total": seen.ticks,
        "publishes_total": seen.files.publishes,
        "left_out": _first(seen.left_out),
        "left_out_count": len(seen.left_out),
        "degraded_symbols": _first(degraded),
        "refused_symbols": _first(refused),
        "unwritten_symbols": seen.files.unwritten()[:NAMED_MAX],
        "crossed_symbols": [s for s, found in shapes.items() if found == "crossed"],
        "locked_symbols": [s for s, found in shapes.items() if found == "locked"],
    }
    return Report(seen.status, _detail(seen, degraded, refused), fields)


def _first(told: Mapping[str, str]) -> dict[str, str]:
    return {symbol: reason[:200] for symbol, reason in islice(told.items(), NAMED_MAX)}


def _detail(seen: Seen, degraded: Mapping[str, str], refused: Mapping[str, str]) -> str:
    """Return what a person wants to know, in one line."""
    others = seen.notices.other_farms_down()
    parts = (
        seen.waiting or seen.reason,
        f"degraded: {names(list(degraded))}" if degraded else "",
        f"refused: {names(list(refused))}" if refused else "",
        f"not subscribed: {names(list(seen.left_out))}" if seen.left_out else "",
        f"broken: {', '.join(others)}" if others else "",
        f"slow receive path: {slow}" if (slow := seen.market.receive_problem) else "",
        seen.files.recorder.trouble if seen.files.recorder else "",
        "the market is closed: silence is normal" if seen.closed else "",
    )
    return "; ".join(part for part in parts if part)
