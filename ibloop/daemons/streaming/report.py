"""What ``_status.json`` says: the contract's fields and the names behind them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from ibloop.core.lines import shape
from ibloop.core.model import MarketDataType
from ibloop.core.stream import StreamStatus, names
from ibloop.daemons.loop import Report
from ibloop.daemons.streaming.files import Publisher
from ibloop.daemons.streaming.lines import LineBook, MarketData
from ibloop.daemons.streaming.notices import Notices

NAMED_MAX = 200
LISTS_BYTES_MAX = 41_000
SERVED_BYTES_MAX = 26_000
NAMED_BYTES_MAX = 3_000
TEXT_BYTES_MAX = 2_000
REASON_BYTES_MAX = 200
"""The document is limited to 64 KiB: what is served and three lists with reasons share the first,
and there are three lists of names and three texts, whose quotes and backslashes count twice."""

_Item = TypeVar("_Item")


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
    served = _whole(book.looked_after())
    fields = {
        "subscribed_symbols": served,
        "market_data_type": max(
            (state.market_data_type for _, state in quotes),
            key=list(MarketDataType).index,
            default=None,
        ),
        "ib_error_count": seen.notices.errors,
        "feed_error_count": seen.notices.feed_errors,
        "last_error": short(seen.notices.last_error or "") or None,
        "degraded_since": seen.degraded_since,
        "degraded_reason": short(seen.reason) or None,
        "last_snapshot_refresh": seen.refreshed_at,
        "host": market.host,
        "port": market.port,
        "client_id": seen.client_id,
        "ticks_total": seen.ticks,
        "publishes_total": seen.files.publishes,
        **_reasoned(
            {
                "degraded_symbols": degraded,
                "refused_symbols": refused,
                "left_out": seen.left_out,
            },
            LISTS_BYTES_MAX - _bytes(served),
        ),
        "degraded_count": len(degraded),
        "refused_count": len(refused),
        "left_out_count": len(seen.left_out),
        **_named("unwritten", seen.files.unwritten()),
        **_named("crossed", [s for s, found in shapes.items() if found == "crossed"]),
        **_named("locked", [s for s, found in shapes.items() if found == "locked"]),
    }
    return Report(seen.status, short(_detail(seen, degraded, refused)), fields)


def short(text: str, bytes_max: int = TEXT_BYTES_MAX) -> str:
    """Return the text in printable characters, cut to so many bytes of UTF-8."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return printable.encode(errors="replace")[:bytes_max].decode(errors="ignore")


def _whole(symbols: list[str]) -> list[str] | None:
    """Return the symbols, None when they are too many: a part would deny the others."""
    return symbols if _bytes(symbols) <= SERVED_BYTES_MAX else None


def _reasoned(lists: Mapping[str, Mapping[str, str]], room: int) -> dict[str, object]:
    """Return the first symbols of each list with their reasons, as many as there is room for.

    What one list leaves of its share is for those after it.
    """
    named: dict[str, object] = {}
    for after, (name, told) in zip(reversed(range(len(lists))), lists.items(), strict=True):
        first = islice(told.items(), NAMED_MAX)
        cut = ((symbol, short(reason, REASON_BYTES_MAX)) for symbol, reason in first)
        named[name] = kept = dict(_fitting(cut, room // (after + 1)))
        room -= _bytes(kept)
    return named


def _named(name: str, symbols: list[str]) -> dict[str, object]:
    """Return the first symbols, as many as there is room for, and how many they are."""
    return {
        f"{name}_symbols": list(_fitting(symbols[:NAMED_MAX], NAMED_BYTES_MAX)),
        f"{name}_count": len(symbols),
    }


def _fitting(items: Iterable[_Item], bytes_max: int) -> Iterable[_Item]:
    """Yield the first items that fit into so many bytes of JSON."""
    room = bytes_max
    for item in items:
        room -= _bytes(item) + 1
        if room < 0:
            return
        yield item


def _bytes(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def _detail(seen: Seen, degraded: Mapping[str, str], refused: Mapping[str, str]) -> str:
    """Return what a person wants to know, in one line."""
    others = seen.notices.other_farms_down()
    unopened = seen.market.unopened()
    parts = (
        seen.waiting or seen.reason,
        f"degraded: {names(list(degraded))}" if degraded else "",
        f"refused: {names(list(refused))}" if refused else "",
        f"yet to be ordered: {names(unopened)}" if unopened else "",
        f"not subscribed: {names(list(seen.left_out))}" if seen.left_out else "",
        f"broken: {', '.join(others)}" if others else "",
        f"slow receive path: {slow}" if (slow := seen.market.receive_problem) else "",
        seen.files.recorder.problem if seen.files.recorder else "",
        "the market is closed: silence is normal" if seen.closed else "",
    )
    return "; ".join(part for part in parts if part)
