"""The broker's truth as last seen: positions, account values, contracts.

Written by the executor, which has the session; everyone else reads it here. Account values are
replaced without an audit row: they are a reading of the broker's, not an act.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.identity import identity
from ibloop.adapters.ledger.values import (
    decimal_text,
    insert_sql,
    parse_decimal,
    parse_time,
    select_sql,
    time_text,
)
from ibloop.core.model import AccountValues, Position

NET_LIQUIDATION = "NetLiquidation"
TOTAL_CASH = "TotalCashValue"
SETTLED_CASH = "SettledCash"
DAY_TRADES_LEFT = "DayTradesRemaining"
BASE_CURRENCY = "USD"

_INSERT_POSITION = insert_sql("positions", ("symbol", "con_id", "quantity", "avg_cost", "as_of"))
_UPSERT_VALUE = (
    insert_sql("account_values", ("name", "value", "currency", "as_of", "recorded_at"))
    + " ON CONFLICT (name) DO UPDATE SET value = excluded.value, currency = excluded.currency,"
    " as_of = excluded.as_of, recorded_at = excluded.recorded_at"
)
_CONTRACT_COLUMNS = (
    "symbol",
    "con_id",
    "primary_exchange",
    "currency",
    "min_tick",
    "resolved_at",
)
_UPSERT_CONTRACT = (
    insert_sql("contracts", _CONTRACT_COLUMNS)
    + " ON CONFLICT (symbol) DO UPDATE SET con_id = excluded.con_id,"
    " primary_exchange = excluded.primary_exchange, currency = excluded.currency,"
    " min_tick = excluded.min_tick, resolved_at = excluded.resolved_at"
)


@dataclass(frozen=True, slots=True)
class Contract:
    """What a symbol was resolved to at the broker; ``min_tick`` in ``currency``."""

    symbol: str
    con_id: int
    primary_exchange: str
    currency: str
    min_tick: Decimal
    resolved_at: datetime


def store_positions(
    tx: Tx, held: Sequence[Position], as_of: datetime, now: datetime, actor: str
) -> bool:
    """Replace all positions by what the broker reports; return whether anything but time moved.

    Flat positions (zero shares) are left out. One audit row tells of a change.
    """
    before = {row.symbol: row for row in positions(tx.db)}
    after = {row.symbol: row for row in held if row.quantity}
    stamp = time_text(as_of)
    tx.execute("DELETE FROM positions")
    for row in after.values():
        tx.execute(
            _INSERT_POSITION,
            {
                "symbol": row.symbol,
                "con_id": row.con_id,
                "quantity": decimal_text(row.quantity),
                "avg_cost": decimal_text(row.avg_cost),
                "as_of": stamp,
            },
        )
    # A row of its own: an account that holds nothing was seen, too.
    tx.execute(
        "INSERT INTO positions_seen (seen_id, as_of) VALUES (1, ?)"
        " ON CONFLICT (seen_id) DO UPDATE SET as_of = excluded.as_of",
        (stamp,),
    )
    if before == after:
        return False
    changed = sorted(symbol for symbol in before | after if before.get(symbol) != after.get(symbol))
    payload = {
        symbol: {"quantity": after[symbol].quantity, "avg_cost": after[symbol].avg_cost}
        if symbol in after
        else None
        for symbol in changed
    }
    audit.append(tx, actor, "positions.changed", stamp, payload, now=now)
    return True


def positions(db: Connection) -> tuple[Position, ...]:
    """Return the positions as last seen, by symbol."""
    found = db.execute("SELECT * FROM positions ORDER BY symbol")
    return tuple(
        Position(
            symbol=row["symbol"],
            con_id=row["con_id"],
            quantity=parse_decimal(row["quantity"]),
            avg_cost=parse_decimal(row["avg_cost"]),
        )
        for row in found
    )


def positions_as_of(db: Connection) -> datetime | None:
    """Return when the positions were last seen, ``None`` if never."""
    row = db.execute("SELECT as_of FROM positions_seen").fetchone()
    return None if row is None else parse_time(row["as_of"])


def store_values(tx: Tx, account_values: AccountValues, now: datetime) -> None:
    """Replace the account values; ``now`` is when they were stored, ``as_of`` the broker's.

    What the broker no longer tells is no longer there.
    """
    left = account_values.day_trades_left
    figures = {
        NET_LIQUIDATION: account_values.net_liquidation,
        TOTAL_CASH: account_values.total_cash,
        SETTLED_CASH: account_values.settled_cash,
        DAY_TRADES_LEFT: None if left is None else Decimal(left),
    }
    for name, value in figures.items():
        if value is None:
            tx.execute("DELETE FROM account_values WHERE name = ?", (name,))
            continue
        tx.execute(
            _UPSERT_VALUE,
            {
                "name": name,
                "value": decimal_text(value),
                "currency": BASE_CURRENCY,
                "as_of": time_text(account_values.as_of),
                "recorded_at": time_text(now),
            },
        )


def values(db: Connection) -> AccountValues | None:
    """Return the account values as last seen, ``None`` if never."""
    found = {row["name"]: row for row in db.execute("SELECT * FROM account_values")}
    if NET_LIQUIDATION not in found or TOTAL_CASH not in found:
        return None
    told = {name: parse_decimal(row["value"]) for name, row in found.items()}
    left = told.get(DAY_TRADES_LEFT)
    return AccountValues(
        account=identity(db).account,
        net_liquidation=told[NET_LIQUIDATION],
        total_cash=told[TOTAL_CASH],
        as_of=parse_time(found[NET_LIQUIDATION]["as_of"]),
        settled_cash=told.get(SETTLED_CASH),
        day_trades_left=None if left is None else int(left),
    )


def store_contract(tx: Tx, contract: Contract, now: datetime, actor: str) -> None:
    """Store what a symbol means at the broker; an audit row tells of a change of meaning.

    Raises: IntegrityError when another symbol has the same ``con_id``.
    """
    fields: dict[str, object] = {
        "symbol": contract.symbol,
        "con_id": contract.con_id,
        "primary_exchange": contract.primary_exchange,
        "currency": contract.currency,
        "min_tick": decimal_text(contract.min_tick),
    }
    before = tx.execute("SELECT * FROM contracts WHERE symbol = ?", (contract.symbol,)).fetchone()
    tx.execute(_UPSERT_CONTRACT, {**fields, "resolved_at": time_text(contract.resolved_at)})
    if before is None or {name: before[name] for name in fields} != fields:
        audit.append(tx, actor, "contract.resolved", contract.symbol, fields, now=now)


def contracts(db: Connection) -> tuple[Contract, ...]:
    """Return all resolved contracts, by symbol."""
    select = select_sql("contracts", _CONTRACT_COLUMNS)
    return tuple(_contract(row) for row in db.execute(f"{select} ORDER BY symbol"))


def _contract(row: Row) -> Contract:
    return Contract(
        symbol=row["symbol"],
        con_id=row["con_id"],
        primary_exchange=row["primary_exchange"],
        currency=row["currency"],
        min_tick=parse_decimal(row["min_tick"]),
        resolved_at=parse_time(row["resolved_at"]),
    )
