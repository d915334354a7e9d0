"""What the guard remembers over a restart: its books and the last prices it believed.

One row, replaced as it changes; nothing else reads it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from ibloop.adapters.ledger.connection import Connection, Tx
from ibloop.adapters.ledger.values import json_text, parse_time, time_text
from ibloop.core.books import Books, Posting
from ibloop.core.flows import Unexplained
from ibloop.core.model import Moment, Position
from ibloop.core.valuing import Remembered


@dataclass(frozen=True, slots=True)
class GuardMemory:
    """Books at rest, believed prices, and shares that nobody has explained, both by contract.

    ``saved`` is when it was written, ``None`` for what was not read from the ledger.
    """

    books: Books | None = None
    prices: Mapping[int, Remembered] = field(default_factory=dict)
    unexplained: Mapping[int, Unexplained] = field(default_factory=dict)
    saved: Moment | None = None


def save(tx: Tx, memory: GuardMemory, now: datetime) -> None:
    """Replace what is remembered. Suspicions are not: after a restart they begin anew."""
    content = {
        "prices": {str(con_id): known.price for con_id, known in memory.prices.items()},
        "priced_at": {
            str(con_id): known.at.utc for con_id, known in memory.prices.items() if known.at
        },
        "books": _books_out(memory.books),
        "unexplained": {
            str(con_id): [odd.symbol, odd.quantity, odd.price, odd.since.utc]
            for con_id, odd in memory.unexplained.items()
        },
    }
    tx.execute(
        "INSERT INTO guard_memory (memory_id, as_of, content) VALUES (1, ?, ?)"
        " ON CONFLICT (memory_id) DO UPDATE SET as_of = excluded.as_of,"
        " content = excluded.content",
        (time_text(now), json_text(content)),
    )


def load(db: Connection) -> GuardMemory:
    """Return what is remembered, an empty memory before the first evaluation."""
    row = db.execute("SELECT as_of, content FROM guard_memory").fetchone()
    if row is None:
        return GuardMemory()
    content = json.loads(row["content"])
    at = {key: _moment(text) for key, text in content.get("priced_at", {}).items()}
    prices = {
        int(key): Remembered(Decimal(text), at=at.get(key))
        for key, text in content["prices"].items()
    }
    unexplained = {
        int(key): Unexplained(
            symbol, Decimal(quantity), None if price is None else Decimal(price), _moment(since)
        )
        for key, (symbol, quantity, price, since) in content.get("unexplained", {}).items()
    }
    return GuardMemory(_books_in(content["books"]), prices, unexplained, _moment(row["as_of"]))


def _moment(text: str) -> Moment:
    """Return a time of another boot, or of one that nobody knows: ages are those of the wall."""
    return Moment(parse_time(text), 0, "")


def _books_out(books: Books | None) -> dict[str, object] | None:
    if books is None:
        return None
    return {
        "at": books.at,
        "cash_usd": books.cash_usd,
        "holdings": [[p.symbol, p.con_id, p.quantity, p.avg_cost] for p in books.holdings.values()],
        "posted": {
            base: [p.con_id, p.symbol, p.quantity, p.price, p.fee, p.at]
            for base, p in books.posted.items()
        },
    }


def _books_in(content: dict[str, Any] | None) -> Books | None:
    if content is None:
        return None
    held = (
        Position(symbol, con_id, Decimal(quantity), Decimal(cost))
        for symbol, con_id, quantity, cost in content["holdings"]
    )
    posted = {
        base: Posting(
            *(con_id, symbol, Decimal(quantity), Decimal(price)),
            None if fee is None else Decimal(fee),
            parse_time(at),
        )
        for base, (con_id, symbol, quantity, price, fee, at) in content["posted"].items()
    }
    return Books(
        parse_time(content["at"]),
        Decimal(content["cash_usd"]),
        {p.con_id: p for p in held},
        posted,
    )
