"""Permissions to trade live: given by a person, used by sends, ended by a person or by themselves.

At most one stands at a time; giving a new one ends the one before.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.order_rows import max_ib_order_id
from ibloop.adapters.ledger.values import (
    decimal_text,
    insert_sql,
    parse_decimal,
    parse_time,
    select_sql,
    time_text,
)
from ibloop.core.arming import Arming, Term, why_unarmed
from ibloop.core.model import ZERO, Moment

_COLUMNS = (
    "account",
    "armed_by",
    "armed_at",
    "expires_at",
    "expires_boottime_ns",
    "boot_id",
    "config_hash",
    "build",
    "notional_usd_max",
    "runs_max",
    "order_id_floor",
    "universe_hash",
)
_INSERT = insert_sql("arming", _COLUMNS)
_SELECT = select_sql("arming", ("arming_id", *_COLUMNS))
_END = (
    "UPDATE arming SET ended_at = :now, ended_by = :actor, end_reason = :reason"
    " WHERE ended_at IS NULL RETURNING arming_id"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person permits: USD sent in all, a number of runs, for these values and this code."""

    account: str
    term: Term
    config_hash: str
    universe_hash: str
    build: str
    notional_usd_max: Decimal
    runs_max: int


def arm(tx: Tx, wanted: Wanted, actor: str, now: datetime) -> int:
    """Give a permission, in place of one that stands, and return its id.

    Raises: IntegrityError when the account is not the ledger's.
    """
    disarm(tx, actor, "armed anew", now)
    expires = wanted.term.expires
    arming_id = tx.insert(
        _INSERT,
        {
            "account": wanted.account,
            "armed_by": actor,
            "armed_at": time_text(now),
            "expires_at": time_text(expires.utc),
            "expires_boottime_ns": expires.boottime_ns,
            "boot_id": expires.boot_id,
            "config_hash": wanted.config_hash,
            "build": wanted.build,
            "notional_usd_max": decimal_text(wanted.notional_usd_max),
            "runs_max": wanted.runs_max,
            "order_id_floor": max_ib_order_id(tx.db),
            "universe_hash": wanted.universe_hash,
        },
    )
    payload = {
        "account": wanted.account,
        "expires_at": expires.utc,
        "notional_usd_max": wanted.notional_usd_max,
        "runs_max": wanted.runs_max,
        "config_hash": wanted.config_hash,
        "universe_hash": wanted.universe_hash,
        "build": wanted.build,
    }
    audit.append(tx, actor, "live.armed", str(arming_id), payload, now=now)
    return arming_id


def disarm(tx: Tx, actor: str, reason: str, now: datetime) -> bool:
    """End the permission that stands; return False when there was none."""
    values = {"now": time_text(now), "actor": actor, "reason": reason}
    row = tx.execute(_END, values).fetchone()
    if row is None:
        return False
    audit.append(tx, actor, "live.disarmed", str(row[0]), {"reason": reason}, now=now)
    return True


def current(db: Connection) -> Arming | None:
    """Return the permission nobody has ended, run out or not; ``None`` when there is none."""
    row = db.execute(f"{_SELECT} WHERE ended_at IS NULL").fetchone()
    return None if row is None else _arming(db, row)


def why_not(
    db: Connection,
    now: Moment,
    *,
    account: str,
    config_hash: str,
    universe_hash: str | None,
    build: str,
    run_id: str | None,
) -> str | None:
    """Return why nothing may be sent live for this run (``None``: a new one), else ``None``."""
    return why_unarmed(
        current(db),
        now,
        account=account,
        config_hash=config_hash,
        universe_hash=universe_hash,
        build=build,
        run_id=run_id,
    )


def use(tx: Tx, arming: Arming, run_id: str, now: datetime, actor: str) -> None:
    """Write down that a run sends under a permission, which it does for the first time."""
    tx.execute(
        "INSERT INTO arming_runs (arming_id, run_id, used_at) VALUES (?, ?, ?)",
        (arming.arming_id, run_id, time_text(now)),
    )
    payload = {"run_id": run_id}
    audit.append(tx, actor, "live.arming_used", str(arming.arming_id), payload, now=now)


def _arming(db: Connection, row: Row) -> Arming:
    found = db.execute("SELECT run_id FROM arming_runs WHERE arming_id = ?", (row["arming_id"],))
    return Arming(
        arming_id=row["arming_id"],
        account=row["account"],
        armed_by=row["armed_by"],
        armed_at=parse_time(row["armed_at"]),
        term=Term(
            Moment(parse_time(row["expires_at"]), row["expires_boottime_ns"], row["boot_id"])
        ),
        config_hash=row["config_hash"],
        universe_hash=row["universe_hash"],
        build=row["build"],
        notional_usd_max=parse_decimal(row["notional_usd_max"]),
        runs_max=row["runs_max"],
        sent_usd=_sent_usd(db, row["order_id_floor"]),
        runs=frozenset(used[0] for used in found),
    )


def _sent_usd(db: Connection, order_id_floor: int) -> Decimal:
    """Return what was journalled for sending since, at limit prices; also what never left."""
    found = db.execute(
        "SELECT quantity, ifnull(limit_price, arrival_price) FROM trade_orders"
        " WHERE ib_order_id > ?",
        (order_id_floor,),
    )
    return sum((parse_decimal(row[0]) * parse_decimal(row[1]) for row in found), ZERO)
