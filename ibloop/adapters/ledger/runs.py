"""Trade runs: claimed by one executor, moved by compare-and-set along the table of states.

A writer that returns False lost a race or is late: the run was no longer in the state it
expected, and nothing was changed.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ibloop.adapters.ledger import audit
from ibloop.adapters.ledger.connection import Connection, Row, Tx
from ibloop.adapters.ledger.plan import baseline_quantities, plan_lines, set_plan_lines
from ibloop.adapters.ledger.values import (
    decimal_text,
    insert_sql,
    optional,
    parse_decimal,
    parse_time,
    select_sql,
    time_text,
)
from ibloop.core.invariant import invariant
from ibloop.core.lifecycle import RUN_ACTIVE, RunReason, RunState, may_move
from ibloop.core.model import Mode

__all__ = [
    "UNDER_WAY",
    "Run",
    "active",
    "baseline_quantities",
    "claim_next",
    "describe",
    "examined_seq",
    "find",
    "find_key",
    "insert",
    "listing",
    "lower_cash",
    "move",
    "plan_lines",
    "queued",
    "requeue",
    "restate",
    "set_basis",
    "set_plan_lines",
]

_COLUMNS = (
    "run_id",
    "run_key",
    "mode",
    "account",
    "status",
    "reason",
    "detail",
    "snapshot_id",
    "snapshot_hash",
    "config_hash",
    "build",
    "attempt",
    "created_at",
    "updated_at",
    "deadline_at",
    "equity_usd",
    "cash_usd",
    "baseline_at",
)
_INSERT = insert_sql("trade_runs", _COLUMNS)
_SELECT = select_sql("trade_runs", _COLUMNS)

_EXAMINED = (RunState.DONE, RunState.PARTIAL, RunState.FAILED)
"""Ends that a run reaches only when ledger and broker agree."""

UNDER_WAY = RUN_ACTIVE | {RunState.AWAITING_APPROVAL}
"""States that keep the next run waiting: only one run at a time may change positions."""


@dataclass(frozen=True, slots=True)
class Run:
    """A row of ``trade_runs``; ``snapshot_*`` are ``None`` when a gate failed.

    ``equity_usd`` and ``cash_usd`` are what the plan was made of, at ``baseline_at``; ``None``
    before there is one.
    """

    run_id: str
    run_key: str
    mode: Mode
    account: str
    status: RunState
    reason: RunReason | None
    detail: str
    snapshot_id: str | None
    snapshot_hash: str | None
    config_hash: str
    build: str
    attempt: int
    created_at: datetime
    updated_at: datetime
    deadline_at: datetime | None = None
    equity_usd: Decimal | None = None
    cash_usd: Decimal | None = None
    baseline_at: datetime | None = None


def insert(tx: Tx, run: Run, actor: str) -> None:
    """Store a new run; IntegrityError when its key is taken or its account is not the ledger's."""
    tx.execute(
        _INSERT,
        {
            "run_id": run.run_id,
            "run_key": run.run_key,
            "mode": run.mode.value,
            "account": run.account,
            "status": run.status.value,
            "reason": None if run.reason is None else run.reason.value,
            "detail": run.detail,
            "snapshot_id": run.snapshot_id,
            "snapshot_hash": run.snapshot_hash,
            "config_hash": run.config_hash,
            "build": run.build,
            "attempt": run.attempt,
            "created_at": time_text(run.created_at),
            "updated_at": time_text(run.updated_at),
            "deadline_at": optional(time_text, run.deadline_at),
            "equity_usd": optional(decimal_text, run.equity_usd),
            "cash_usd": optional(decimal_text, run.cash_usd),
            "baseline_at": optional(time_text, run.baseline_at),
        },
    )
    payload = {
        "run_key": run.run_key,
        "status": run.status,
        "reason": run.reason,
        "snapshot_hash": run.snapshot_hash,
        "config_hash": run.config_hash,
        "build": run.build,
    }
    audit.append(tx, actor, "run.created", run.run_id, payload, now=run.created_at)


def find(db: Connection, id_or_key: str) -> Run | None:
    """Return the run with this id or, failing that, this key; ``None`` if there is neither."""
    row = db.execute(f"{_SELECT} WHERE run_id = ?", (id_or_key,)).fetchone()
    return find_key(db, id_or_key) if row is None else _run(row)


def find_key(db: Connection, run_key: str) -> Run | None:
    """Return the run of this key, ``None`` if there is none."""
    row = db.execute(f"{_SELECT} WHERE run_key = ?", (run_key,)).fetchone()
    return None if row is None else _run(row)


def listing(db: Connection, limit: int, status: RunState | None = None) -> tuple[Run, ...]:
    """Return the newest ``limit`` runs, newest first; of one status if given."""
    found = db.execute(
        f"{_SELECT} WHERE status = ifnull(:status, status)"
        " ORDER BY created_at DESC, rowid DESC LIMIT :limit",
        {"status": status, "limit": limit},
    )
    return tuple(_run(row) for row in found)


def queued(db: Connection, limit: int) -> tuple[Run, ...]:
    """Return the first ``limit`` queued runs in the order in which they are claimed."""
    where = "WHERE status = 'queued' ORDER BY created_at, rowid LIMIT ?"
    return tuple(_run(row) for row in db.execute(f"{_SELECT} {where}", (limit,)))


def examined_seq(db: Connection) -> int:
    """Return the number in the audit log up to which every promise has been asked; 0 for none.

    A run that ended has asked them: it is the one of its basis, for what came later may have
    come after the question.
    """
    sql = (
        "SELECT ifnull(max(seq), 0) FROM audit_log WHERE event = 'run.basis_set' AND subject ="
        " (SELECT run_id FROM trade_runs WHERE status = ? ORDER BY created_at DESC LIMIT 1)"
    )
    return max(int(db.execute(sql, (state,)).fetchone()[0]) for state in _EXAMINED)


def newest_basis(db: Connection) -> tuple[str, int, datetime] | None:
    """Return run, attempt and time of the newest baseline of all, ``None`` before the first."""
    row = db.execute(
        "SELECT run_id, attempt, taken_at FROM baselines"
        " ORDER BY taken_at DESC, attempt DESC LIMIT 1"
    ).fetchone()
    return None if row is None else (row[0], row[1], parse_time(row[2]))


def active(db: Connection) -> tuple[Run, ...]:
    """Return the runs under way: the executor's and those awaiting approval, oldest first."""
    marks = ", ".join("?" * len(UNDER_WAY))
    found = db.execute(
        f"{_SELECT} WHERE status IN ({marks}) ORDER BY created_at, rowid", tuple(UNDER_WAY)
    )
    return tuple(_run(row) for row in found)


def claim_next(tx: Tx, now: datetime, actor: str) -> Run | None:
    """Take the oldest queued run into PREPARING and return it.

    ``None`` when nothing is queued or another run is under way. Two claimers: one wins.
    """
    if active(tx.db):
        return None
    for run in queued(tx.db, 1):
        moved = (run.run_id, run.status, RunState.PREPARING)
        if move(tx, *moved, reason=None, detail="", now=now, actor=actor):
            return find(tx.db, run.run_id)
    return None


def move(
    tx: Tx,
    run_id: str,
    source: RunState,
    target: RunState,
    *,
    reason: RunReason | None,
    detail: str,
    now: datetime,
    actor: str,
) -> bool:
    """Move a run from ``source`` to ``target``; return False when it is not in ``source``.

    Raises: InvariantError for a move the table of states does not have.
    """
    invariant(may_move(source, target), f"no run goes from {source} to {target}")
    return _update(tx, run_id, source, target, reason=reason, detail=detail, now=now, actor=actor)


def restate(
    tx: Tx, run_id: str, *, reason: RunReason, detail: str, now: datetime, actor: str
) -> bool:
    """Give a blocked run a newer reason (it was tried again and a gate failed again)."""
    blocked = RunState.BLOCKED
    return _update(tx, run_id, blocked, blocked, reason=reason, detail=detail, now=now, actor=actor)


def describe(tx: Tx, run: Run, detail: str, now: datetime, actor: str) -> bool:
    """Say something else of a run that stays in its state; False when it is in another one."""
    state, reason = run.status, run.reason
    return _update(tx, run.run_id, state, state, reason=reason, detail=detail, now=now, actor=actor)


def requeue(
    tx: Tx,
    run_id: str,
    *,
    snapshot_id: str,
    snapshot_hash: str,
    config_hash: str,
    build: str,
    deadline_at: datetime | None = None,
    now: datetime,
    actor: str,
) -> bool:
    """Queue a blocked run again as its next attempt, with the decision it is to follow now.

    Returns False when the run is not blocked. Reason, detail and basis start afresh, and the
    deadline too unless ``deadline_at`` keeps one: the executor's own retry has no more time than
    the run had.
    """
    changed = tx.execute(
        "UPDATE trade_runs SET status = 'queued', reason = NULL, detail = '',"
        " deadline_at = :deadline_at,"
        " equity_usd = NULL, cash_usd = NULL, baseline_at = NULL, attempt = attempt + 1,"
        " snapshot_id = :snapshot_id, snapshot_hash = :snapshot_hash,"
        " config_hash = :config_hash, build = :build, updated_at = :now"
        " WHERE run_id = :run_id AND status = 'blocked'",
        {
            "run_id": run_id,
            "snapshot_id": snapshot_id,
            "snapshot_hash": snapshot_hash,
            "config_hash": config_hash,
            "build": build,
            "deadline_at": optional(time_text, deadline_at),
            "now": time_text(now),
        },
    )
    if changed.rowcount != 1:
        return False
    payload = {"snapshot_hash": snapshot_hash, "config_hash": config_hash, "build": build}
    audit.append(tx, actor, "run.requeued", run_id, payload, now=now)
    return True


def set_basis(
    tx: Tx,
    run_id: str,
    *,
    baseline_at: datetime,
    deadline_at: datetime,
    equity_usd: Decimal,
    cash_usd: Decimal,
    now: datetime,
    actor: str,
) -> None:
    """Set what a run starts from and when it must have ended.

    Equity and cash are the broker's figures in USD; ``baseline_at`` is when they and the positions
    of the plan went into the ledger: every fill recorded later belongs to the difference.
    """
    changed = tx.execute(
        "UPDATE trade_runs SET baseline_at = :baseline_at, deadline_at = :deadline_at,"
        " equity_usd = :equity_usd, cash_usd = :cash_usd, updated_at = :now"
        " WHERE run_id = :run_id",
        {
            "baseline_at": time_text(baseline_at),
            "deadline_at": time_text(deadline_at),
            "equity_usd": decimal_text(equity_usd),
            "cash_usd": decimal_text(cash_usd),
            "now": time_text(now),
            "run_id": run_id,
        },
    )
    invariant(changed.rowcount == 1, f"no run {run_id}")
    tx.execute(
        "INSERT OR REPLACE INTO baselines (run_id, attempt, taken_at)"
        " SELECT run_id, attempt, baseline_at FROM trade_runs WHERE run_id = ?",
        (run_id,),
    )
    payload = {
        "baseline_at": baseline_at,
        "deadline_at": deadline_at,
        "equity_usd": equity_usd,
        "cash_usd": cash_usd,
    }
    audit.append(tx, actor, "run.basis_set", run_id, payload, now=now)


def lower_cash(tx: Tx, run_id: str, cash_usd: Decimal, now: datetime, actor: str) -> None:
    """Let a run start from less cash than it was planned with: some of it has gone since."""
    changed = tx.execute(
        "UPDATE trade_runs SET cash_usd = ?, updated_at = ? WHERE run_id = ?",
        (decimal_text(cash_usd), time_text(now), run_id),
    )
    invariant(changed.rowcount == 1, f"no run {run_id}")
    audit.append(tx, actor, "run.cash_lowered", run_id, {"cash_usd": cash_usd}, now=now)


def _update(
    tx: Tx,
    run_id: str,
    source: RunState,
    target: RunState,
    *,
    reason: RunReason | None,
    detail: str,
    now: datetime,
    actor: str,
) -> bool:
    changed = tx.execute(
        "UPDATE trade_runs SET status = :target, reason = :reason, detail = :detail,"
        " updated_at = :now WHERE run_id = :run_id AND status = :source",
        {
            "run_id": run_id,
            "source": source.value,
            "target": target.value,
            "reason": None if reason is None else reason.value,
            "detail": detail,
            "now": time_text(now),
        },
    )
    if changed.rowcount != 1:
        return False
    payload = {"from": source, "to": target, "reason": reason, "detail": detail}
    audit.append(tx, actor, "run.moved", run_id, payload, now=now)
    return True


def _run(row: Row) -> Run:
    return Run(
        run_id=row["run_id"],
        run_key=row["run_key"],
        mode=Mode(row["mode"]),
        account=row["account"],
        status=RunState(row["status"]),
        reason=optional(RunReason, row["reason"]),
        detail=row["detail"],
        snapshot_id=row["snapshot_id"],
        snapshot_hash=row["snapshot_hash"],
        config_hash=row["config_hash"],
        build=row["build"],
        attempt=row["attempt"],
        created_at=parse_time(row["created_at"]),
        updated_at=parse_time(row["updated_at"]),
        deadline_at=optional(parse_time, row["deadline_at"]),
        equity_usd=optional(parse_decimal, row["equity_usd"]),
        cash_usd=optional(parse_decimal, row["cash_usd"]),
        baseline_at=optional(parse_time, row["baseline_at"]),
    )
