"""What every check said, and what the checks of a send are asked of.

A verdict row holds all checks of one plan or order as a JSON list of
``[check, subject, found, limit, passed]``; numbers are texts, a missing value is null.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.values import (
    decimal_text,
    insert_sql,
    json_text,
    optional,
    parse_decimal,
    parse_time,
    remembered,
    select_sql,
    time_text,
)
from ibloop.core.lifecycle import ORDER_AT_BROKER, OrderState
from ibloop.core.model import ZERO, Side
from ibloop.core.risk import Moment, SentOrder, Verdict
from ibloop.core.risk.verdict import Value

_BASIS = (
    *("run_id", "attempt", "at", "limits"),
    *("settled_cash_usd", "day_trades_left", "unvalued_usd"),
)
_STORE_BASIS = insert_sql("run_risk", _BASIS).replace("INSERT", "INSERT OR REPLACE", 1)
_SELECT_BASIS = select_sql("run_risk", _BASIS)
_VERDICTS = ("run_id", "attempt", "moment", "client_order_id", "at", "passed", "verdicts")
_INSERT_VERDICTS = insert_sql("risk_verdicts", _VERDICTS)
_SELECT_VERDICTS = select_sql("risk_verdicts", _VERDICTS)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_AT_BROKER = ", ".join(f"'{state}'" for state in sorted(ORDER_AT_BROKER))

_ENDED_EMPTY = frozenset(
    {OrderState.REJECTED, OrderState.NOT_SENT, OrderState.CANCELED, OrderState.EXPIRED}
)


@dataclass(frozen=True, slots=True)
class RiskBasis:
    """What a run attempt was planned under.

    ``limits`` as the configuration had them. ``settled_cash_usd`` and ``day_trades_left`` are the
    broker's, ``None`` where it did not tell; ``unvalued_usd`` is the plan's.
    """

    run_id: str
    attempt: int
    at: datetime
    limits: dict[str, object]
    settled_cash_usd: Decimal | None
    day_trades_left: int | None
    unvalued_usd: Decimal


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """All that was said of one plan (no ``client_order_id``) or one order, at one moment."""

    run_id: str
    attempt: int
    moment: Moment
    client_order_id: str | None
    at: datetime
    passed: bool
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class WorkingOrder:
    """What the broker may still execute of an order of ours; ``price`` its worst, USD a share."""

    symbol: str
    side: Side
    remaining: Decimal
    price: Decimal


def store_basis(tx: Tx, basis: RiskBasis) -> None:
    """Store what an attempt is planned under, in place of what a crash left behind."""
    tx.execute(
        _STORE_BASIS,
        {
            "run_id": basis.run_id,
            "attempt": basis.attempt,
            "at": time_text(basis.at),
            "limits": json_text(basis.limits),
            "settled_cash_usd": optional(decimal_text, basis.settled_cash_usd),
            "day_trades_left": basis.day_trades_left,
            "unvalued_usd": decimal_text(basis.unvalued_usd),
        },
    )


def basis_of(db: Connection, run_id: str, attempt: int) -> RiskBasis | None:
    """Return what an attempt was planned under; ``None`` before that, or by an older version."""
    row = db.execute(
        f"{_SELECT_BASIS} WHERE run_id = ? AND attempt = ?", (run_id, attempt)
    ).fetchone()
    if row is None:
        return None
    return RiskBasis(
        run_id=row["run_id"],
        attempt=row["attempt"],
        at=parse_time(row["at"]),
        limits=json.loads(row["limits"]),
        settled_cash_usd=optional(parse_decimal, row["settled_cash_usd"]),
        day_trades_left=row["day_trades_left"],
        unvalued_usd=parse_decimal(row["unvalued_usd"]),
    )


def store_verdicts(tx: Tx, row: VerdictRow) -> None:
    """Store what every check said, in one row."""
    tx.execute(
        _INSERT_VERDICTS,
        {
            "run_id": row.run_id,
            "attempt": row.attempt,
            "moment": row.moment.value,
            "client_order_id": row.client_order_id,
            "at": time_text(row.at),
            "passed": int(row.passed),
            "verdicts": json_text([_stored(verdict) for verdict in row.verdicts]),
        },
    )


def verdict_rows(db: Connection, run_id: str) -> tuple[VerdictRow, ...]:
    """Return what was said of a run, its plan and its orders, oldest first."""
    found = db.execute(f"{_SELECT_VERDICTS} WHERE run_id = ? ORDER BY verdict_id", (run_id,))
    return tuple(_verdict_row(row) for row in found)


def working_orders(db: Connection) -> tuple[WorkingOrder, ...]:
    """Return every order of ours that is, or may be, at the broker, of whatever run."""
    found = db.execute(
        "SELECT symbol, side, quantity, filled_quantity, ifnull(limit_price, arrival_price)"  # noqa: S608  (constants of ours)
        f" FROM trade_orders WHERE status IN ({_AT_BROKER})"
    )
    return tuple(_working(*row) for row in found)


@remembered
def _working(symbol: str, side: str, quantity: str, filled: str, price: str) -> WorkingOrder:
    """Return what a row says; most rows say in the next send what they said in the last."""
    remaining = max(parse_decimal(quantity) - parse_decimal(filled), ZERO)
    return WorkingOrder(symbol, Side(side), remaining, parse_decimal(price))


def sent_since(
    db: Connection, symbols: Iterable[str], since: datetime
) -> dict[str, list[SentOrder]]:
    """Return the orders journalled for sending at or after ``since``, by symbol."""
    found = db.execute(
        "SELECT symbol, side, quantity, sent_at, status, filled_quantity FROM trade_orders"
        " WHERE sent_at >= ? AND symbol IN (SELECT value FROM json_each(?))",
        (time_text(since), json_text(sorted(symbols))),
    )
    orders: dict[str, list[SentOrder]] = {}
    for symbol, side, quantity, sent_at, status, filled in found:
        ended_empty = status in _ENDED_EMPTY and parse_decimal(filled) == 0
        order = SentOrder(Side(side), parse_decimal(quantity), parse_time(sent_at), not ended_empty)
        orders.setdefault(symbol, []).append(order)
    return orders


def trades_since(db: Connection, since: datetime) -> Sequence[tuple[str, Side, datetime]]:
    """Return symbol, side and time of every execution since, ours or not, in order of time."""
    found = db.execute(
        "SELECT symbol, side, executed_at FROM trade_fills"
        " WHERE executed_at >= ? AND quantity <> '0' ORDER BY executed_at, rowid",
        (time_text(since),),
    )
    return [(row[0], Side(row[1]), parse_time(row[2])) for row in found]


def _stored(verdict: Verdict) -> list[object]:
    found, limit = _value_text(verdict.found), _value_text(verdict.limit)
    return [verdict.check, verdict.subject, found, limit, verdict.passed]


def _value_text(value: Value) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return f"{value:f}" if isinstance(value, Decimal) else f"{value:g}"


def _verdict_row(row: Row) -> VerdictRow:
    said = json.loads(row["verdicts"])
    return VerdictRow(
        run_id=row["run_id"],
        attempt=row["attempt"],
        moment=Moment(row["moment"]),
        client_order_id=row["client_order_id"],
        at=parse_time(row["at"]),
        passed=bool(row["passed"]),
        verdicts=tuple(
            Verdict(check, _value(found), _value(limit), passed, subject)
            for check, subject, found, limit, passed in said
        ),
    )


def _value(text: str | None) -> Value:
    is_number = text is not None and _NUMBER.fullmatch(text)
    return Decimal(text) if text is not None and is_number else text
