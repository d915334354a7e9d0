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
from ibloop.core.flows import Books, Posting
from ibloop.core.model import Position
from ibloop.core.valuing import Remembered


@dataclass(frozen=True, slots=True)
class GuardMemory:
    """Books at rest, and believed prices by contract."""

    books: Books | None = None
    prices: Mapping[int, Remembered] = field(default_factory=dict)


def save(tx: Tx, memory: GuardMemory, now: datetime) -> None:
    """Replace what is remembered. Suspicions are not: after a restart they begin anew."""
    prices = {str(con_id): known.price for con_id, known in memory.prices.items()}
    content = {"prices": prices, "books": _books_out(memory.books)}
    tx.execute(
        "INSERT INTO guard_memory (memory_id, as_of, content) VALUES (1, ?, ?)"
        " ON CONFLICT (memory_id) DO UPDATE SET as_of = excluded.as_of,"
        " content = excluded.content",
        (time_text(now), json_text(content)),
    )


def load(db: Connection) -> GuardMemory:
    """Return what is remembered, an empty memory before the first evaluation."""
    row = db.execute("SELECT content FROM guard_memory").fetchone()
    if row is None:
        return GuardMemory()
    content = json.loads(row["content"])
    prices = {int(key): Remembered(Decimal(text)) for key, text in content["prices"].items()}
    return GuardMemory(_books_in(content["books"]), prices)


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
