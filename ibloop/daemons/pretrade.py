"""From targets to a queued run: PreTradeRun (gates), DecisionSnapshot, TradeRun.

Needs no IB session: it reads what the daemons have written. The executor asks the same gates again
when it takes the run.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ibloop.adapters.calendar import session_at
from ibloop.adapters.host import build_id
from ibloop.adapters.ledger import account, alerts, arming, freezes, orders, runs, snapshots
from ibloop.adapters.ledger.connection import Connection, Ledger, Tx
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.ports import Clock
from ibloop.adapters.streamfiles import read_heartbeat, wake
from ibloop.adapters.universe import Universe, samples_dir, universe_hash
from ibloop.config import Profile
from ibloop.core.dropcopy import ACCOUNT
from ibloop.core.gates import Gate, Observed, Pulse, Rules, check_gates, first_failed
from ibloop.core.invariant import present
from ibloop.core.lifecycle import ORDER_AT_BROKER, OrderState, RunState
from ibloop.core.model import Moment
from ibloop.core.risk import ACCOUNT_AGE_S_MAX, Limits
from ibloop.core.sessions import run_deadline
from ibloop.core.snapshot import DecisionSnapshot, canonical_json
from ibloop.core.windows import quiet_at
from ibloop.daemons.executing.comparing import standing_breaks
from ibloop.daemons.halting import severest_halt
from ibloop.errors import BadInputError, RefusedError
from ibloop.signals.targets import TargetsReading, parse_targets

DEAD_COUNTS = timedelta(hours=24)
"""For so long an alert that was refused for good counts as one that nobody has been told of."""


def observe(
    profile: Profile,
    db: Connection,
    now: Moment,
    targets_as_of: datetime | None,
    own_run: str | None,
    own_pulse: Pulse | None = None,
) -> Observed:
    """Read everything the gates look at.

    ``own_run`` is not counted as another run; ``own_pulse`` is the executor's word for itself.
    """
    config = profile.config
    session = session_at(config.session.calendar, now.utc)
    minutes = config.execution.deadline_minutes
    deadline = run_deadline(now.utc, session, minutes, config.close_margin) if session else None
    level, reason = severest_halt(db, profile.data_dir)
    values = account.values(db)
    others = [run.run_key for run in runs.active(db) if run.run_id != own_run]
    at_broker = orders.in_states(db, ORDER_AT_BROKER)
    unknown = sum(1 for row in at_broker if row.order.status == OrderState.UNKNOWN)
    return Observed(
        mode=config.mode,
        unarmed=arming.why_not(
            db,
            now,
            account=config.account,
            config_hash=config.config_hash,
            universe_hash=universe_hash(profile),
            build=build_id(),
            run_id=own_run,
        ),
        build=build_id(),
        halt=level,
        halt_reason=reason,
        gateway=pulse(profile, "gateway"),
        stream=pulse(profile, "status"),
        executor=own_pulse or pulse(profile, "executor"),
        guard=pulse(profile, "guard"),
        alerts=pulse(profile, "alerts"),
        undelivered_since=alerts.undelivered_since(db, now.utc - DEAD_COUNTS),
        market_open=session is not None,
        quiet=quiet_at(config.quiet, now.utc),
        minutes_to_deadline=(
            (deadline - now.utc).total_seconds() / 60 if deadline is not None else None
        ),
        targets_as_of=targets_as_of,
        account_as_of=_oldest(values.as_of if values else None, account.positions_as_of(db)),
        equity_positive=values is not None and values.net_liquidation > 0,
        unknown_orders=unknown,
        position_breaks=(*(b.detail for b in standing_breaks(db)), *_frozen_account(db)),
        working_orders=len(at_broker) - unknown,
        other_run=f"{others[0]} is under way" if others else None,
    )


def _frozen_account(db: Connection) -> Iterator[str]:
    """Yield why the whole account is frozen; a frozen symbol stops only its own orders."""
    for row in freezes.standing(db):
        if row.symbol == ACCOUNT:
            yield f"the account is frozen: {row.reason}"


def _oldest(first: datetime | None, second: datetime | None) -> datetime | None:
    """Return the older of two times; ``None`` when either is missing."""
    return None if first is None or second is None else min(first, second)


def gate_rules(profile: Profile) -> Rules:
    """Return the ages that count as silence for this profile."""
    config = profile.config
    return Rules(
        heartbeat_age_s_max=config.guard.heartbeat_age_s_max,
        account_age_s_max=ACCOUNT_AGE_S_MAX,
        targets_age_h_max=config.targets.age_h_max,
        alert_age_minutes_max=config.execution.alert_age_minutes_max,
    )


def pulse(profile: Profile, name: str) -> Pulse | None:
    """Return a daemon's last heartbeat, ``None`` when there is no usable one."""
    heartbeat = read_heartbeat(profile.stream_dir, name)
    return None if heartbeat is None else Pulse(heartbeat.status, heartbeat.stamp, heartbeat.build)


def read_targets(path: Path, universe: Universe, limits: Limits) -> tuple[TargetsReading, datetime]:
    """Read and check a targets file; return it with the moment it speaks for.

    Negative weights are read only where the limits allow shorts. Without an ``as_of`` column that
    moment is the file's modification time.
    Raises: BadInputError when the file cannot be read or has any problem.
    """
    try:
        content = path.read_bytes()
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError as error:
        told = f"cannot read the targets file {path}: {error.strerror}"
        if isinstance(error, FileNotFoundError):
            sample = samples_dir() / "targets-initial.csv"
            told += f"; name yours with --targets or targets.file, a sample is {sample}"
        raise BadInputError(told) from None
    reading = parse_targets(
        content, universe.instruments.keys(), short_allowed=limits.short_allowed
    )
    if reading.problems:
        raise BadInputError(f"{path}: {'; '.join(reading.problems)}")
    return reading, reading.as_of or modified


@dataclass(frozen=True, slots=True)
class Requested:
    """What a request for a run led to; ``existed`` when the key had a run already."""

    run: Run
    existed: bool
    gates: tuple[Gate, ...]


def request_run(
    profile: Profile,
    ledger: Ledger,
    universe: Universe,
    clock: Clock,
    *,
    key: str,
    targets_path: Path,
    requested_by: str,
) -> Requested:
    """Queue the run ``key`` for the targets in a file, or block it with the gate's reason.

    The same key again returns the same run and changes nothing.
    Raises: BadInputError for an unusable targets file; nothing is written then.
    """
    reading, as_of = read_targets(targets_path, universe, profile.config.limits)
    snapshot = decide(profile, universe, reading, as_of, targets_path)
    with ledger.transaction() as tx:
        now = clock.now()  # after waiting for the write lock: heartbeats are read from here on
        if existing := runs.find_key(tx.db, key):
            return Requested(existing, existed=True, gates=())
        gates = _check(profile, tx.db, now, as_of, own_run=None)
        run = new_run(tx, profile, snapshot, gates, key, now.utc, requested_by)
        record(tx, run, gates, targets_path, now.utc, requested_by)
    wake(profile.stream_dir)
    return Requested(run, existed=False, gates=gates)


def retry_run(
    profile: Profile,
    ledger: Ledger,
    universe: Universe,
    clock: Clock,
    *,
    run: Run,
    targets_path: Path,
    requested_by: str,
) -> Requested:
    """Ask the gates about a blocked run again and queue its next attempt if they pass.

    The next attempt starts from the positions there are by then, so it trades the remainder only.
    Raises: BadInputError for an unusable targets file, RefusedError when the run is not blocked
    (any more); nothing is written then.
    """
    reading, as_of = read_targets(targets_path, universe, profile.config.limits)
    snapshot = decide(profile, universe, reading, as_of, targets_path)
    with ledger.transaction() as tx:
        now = clock.now()
        current = present(runs.find(tx.db, run.run_id), run.run_id)
        if current.status is not RunState.BLOCKED:
            raise RefusedError(f"expected run {run.run_key} to be blocked, was {current.status}")
        gates = _check(profile, tx.db, now, as_of, own_run=run.run_id)
        failed = first_failed(gates)
        if failed is None:
            frozen = _freeze(tx, snapshot, now.utc, requested_by)
            runs.requeue(
                tx,
                run.run_id,
                snapshot_id=frozen.snapshot_id,
                snapshot_hash=frozen.content_hash,
                config_hash=profile.config.config_hash,
                build=build_id(),
                now=now.utc,
                actor=requested_by,
            )
        else:
            runs.restate(
                tx,
                run.run_id,
                reason=failed.reason,
                detail=failed.detail,
                now=now.utc,
                actor=requested_by,
            )
        fresh = present(runs.find(tx.db, run.run_id), run.run_id)
        record(tx, fresh, gates, targets_path, now.utc, requested_by)
    wake(profile.stream_dir)
    return Requested(fresh, existed=False, gates=gates)


def decide(
    profile: Profile,
    universe: Universe,
    reading: TargetsReading,
    as_of: datetime,
    targets_path: Path,
) -> DecisionSnapshot:
    """Return the decision that the targets make under this profile."""
    config = profile.config
    return DecisionSnapshot(
        account=config.account,
        mode=config.mode.value,
        targets=reading.targets,
        as_of=as_of,
        source=targets_path.name,
        omitted=config.targets.omitted,
        config_hash=config.config_hash,
        universe_hash=universe.content_hash,
    )


def _check(
    profile: Profile, db: Connection, now: Moment, as_of: datetime, own_run: str | None
) -> tuple[Gate, ...]:
    return check_gates(observe(profile, db, now, as_of, own_run), now, gate_rules(profile))


def _freeze(tx: Tx, snapshot: DecisionSnapshot, now: datetime, actor: str) -> snapshots.Snapshot:
    return snapshots.freeze(
        tx,
        snapshot.snapshot_id,
        snapshot.content_hash,
        snapshot.as_of,
        snapshot.source,
        canonical_json(snapshot.content()),
        now,
        actor,
    )


def new_run(
    tx: Tx,
    profile: Profile,
    snapshot: DecisionSnapshot | None,
    gates: tuple[Gate, ...],
    key: str,
    now: datetime,
    actor: str,
) -> Run:
    """Write a new run down: queued with its frozen decision, or blocked by the gate that failed.

    ``snapshot`` may be missing only when a gate failed.
    """
    failed = first_failed(gates)
    frozen = _freeze(tx, present(snapshot, "decision"), now, actor) if failed is None else None
    run = Run(
        run_id=f"run-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
        run_key=key,
        mode=profile.config.mode,
        account=profile.config.account,
        status=RunState.QUEUED if failed is None else RunState.BLOCKED,
        reason=failed.reason if failed else None,
        detail=failed.detail if failed else "",
        snapshot_id=frozen.snapshot_id if frozen else None,
        snapshot_hash=frozen.content_hash if frozen else None,
        config_hash=profile.config.config_hash,
        build=build_id(),
        attempt=0,
        created_at=now,
        updated_at=now,
    )
    runs.insert(tx, run, actor)
    return run


def record(
    tx: Tx, run: Run, gates: tuple[Gate, ...], targets_path: Path, now: datetime, actor: str
) -> None:
    """Write down what the gates said, and tell of a failure once for each reason."""
    failed = first_failed(gates)
    snapshots.record_pretrade(
        tx,
        snapshots.PreTrade(
            pretrade_id=f"pre-{secrets.token_hex(6)}",
            run_id=run.run_id,
            attempt=run.attempt,
            created_at=now,
            passed=failed is None,
            gates=[
                {
                    "gate": g.name,
                    "passed": g.passed,
                    "reason": None if g.passed else g.reason.value,
                    "detail": g.detail,
                }
                for g in gates
            ],
            targets_path=str(targets_path),
            build=build_id(),
        ),
        actor,
    )
    if failed is not None:
        text = f"run {run.run_key} blocked: {failed.reason}: {failed.detail}"
        key = f"blocked:{run.run_id}:{failed.reason}"
        alerts.raise_alert(tx, "warning", "run.blocked", run.run_id, text, key, now)
