"""``rebalance --if-due``: what a timer or cron triggers, as often as it likes.

Asks the schedule, then does at most one thing: request the period's run, or try again one that was
blocked before anything of it was sent. Where a person would get an error, the schedule leaves a
blocked run and an alert, because nobody is watching.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from ibloop.adapters.calendar import session_on
from ibloop.adapters.ledger import alerts, identity, orders, runs
from ibloop.adapters.ledger.connection import Connection, Ledger
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.ports import Clock
from ibloop.adapters.universe import Universe
from ibloop.config import Profile
from ibloop.core.gates import Gate
from ibloop.core.invariant import present
from ibloop.core.lifecycle import RunReason, RunState
from ibloop.core.model import Moment
from ibloop.core.schedule import Window, always_window, window_at
from ibloop.daemons.pretrade import Requested, new_run, record, request_run, retry_run
from ibloop.errors import BadInputError, RefusedError


class Due(StrEnum):
    """What the schedule said."""

    NOT_DUE = "not_due"
    MISSED = "missed"
    REQUESTED = "requested"
    RETRIED = "retried"
    EXISTS = "exists"


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one trigger; ``requested`` where a run exists, ``window`` where one is."""

    due: Due
    window: Window | None
    requested: Requested | None


def trigger(
    profile: Profile,
    ledger: Ledger,
    universe: Universe,
    clock: Clock,
    *,
    targets_path: Path,
    requested_by: str,
) -> Answer:
    """Do what is due now and say what that was; harmless to call again at once."""
    now = clock.now()
    window = present_window(profile, now)
    if window is None or now.utc < window.opens:
        return Answer(Due.NOT_DUE, window, None)
    existing = runs.find_key(ledger.db, window.key)
    if not window.contains(now.utc):
        return _after(ledger, window, existing, now, requested_by)
    if existing is not None and not may_try_again(ledger.db, existing):
        return Answer(Due.EXISTS, window, Requested(existing, existed=True, gates=()))
    try:
        asked = _ask(profile, ledger, universe, clock, window, existing, targets_path, requested_by)
    except BadInputError as error:
        asked = _block_for_targets(
            profile, ledger, clock, window, targets_path, str(error), requested_by
        )
    except RefusedError:
        # Somebody else tried it again at the same moment.
        asked = Requested(present(runs.find_key(ledger.db, window.key), "run"), True, ())
    if asked.existed:
        return Answer(Due.EXISTS, window, asked)
    return Answer(Due.REQUESTED if existing is None else Due.RETRIED, window, asked)


def present_window(profile: Profile, now: Moment) -> Window | None:
    """Return the window of the present week under the profile's calendar and schedule."""
    config = profile.config
    if config.session.calendar == "always":
        return always_window(now.utc, config.session.timezone)
    return window_at(
        now.utc,
        config.session.timezone,
        config.schedule,
        partial(session_on, config.session.calendar),
        config.close_margin,
    )


def may_try_again(db: Connection, run: Run) -> bool:
    """Return whether a run was blocked before a single order of it left."""
    if run.status is not RunState.BLOCKED:
        return False
    return all(row.order.sent_at is None for row in orders.of_run(db, run.run_id))


def _ask(
    profile: Profile,
    ledger: Ledger,
    universe: Universe,
    clock: Clock,
    window: Window,
    existing: Run | None,
    targets_path: Path,
    requested_by: str,
) -> Requested:
    if existing is None:
        return request_run(
            profile,
            ledger,
            universe,
            clock,
            key=window.key,
            targets_path=targets_path,
            requested_by=requested_by,
        )
    return retry_run(
        profile,
        ledger,
        universe,
        clock,
        run=existing,
        targets_path=targets_path,
        requested_by=requested_by,
    )


def _block_for_targets(
    profile: Profile,
    ledger: Ledger,
    clock: Clock,
    window: Window,
    targets_path: Path,
    problem: str,
    requested_by: str,
) -> Requested:
    """Leave a blocked run that says what is wrong with the targets file."""
    gates = (Gate("targets", False, RunReason.TARGETS_INVALID, problem),)
    with ledger.transaction() as tx:
        now = clock.now().utc
        run = runs.find_key(tx.db, window.key)
        if run is None:
            run = new_run(tx, profile, None, gates, window.key, now, requested_by)
        elif not may_try_again(tx.db, run):
            return Requested(run, existed=True, gates=())
        else:
            runs.restate(
                tx,
                run.run_id,
                reason=RunReason.TARGETS_INVALID,
                detail=problem,
                now=now,
                actor=requested_by,
            )
            run = present(runs.find_key(tx.db, window.key), window.key)
        record(tx, run, gates, targets_path, now, requested_by)
    return Requested(run, existed=False, gates=gates)


def _after(
    ledger: Ledger, window: Window, existing: Run | None, now: Moment, requested_by: str
) -> Answer:
    """Answer after the window has closed; tell once when the period was missed altogether."""
    if existing is not None:
        return Answer(Due.EXISTS, window, Requested(existing, existed=True, gates=()))
    if identity.identity(ledger.db).created_at >= window.closes:
        return Answer(Due.NOT_DUE, window, None)  # nobody was there to miss it
    with ledger.transaction() as tx:
        text = f"the rebalance of {window.key} was missed: nothing triggered it in its window"
        key = f"missed:{window.key}"
        alerts.raise_alert(
            tx, "critical", "schedule.missed", window.key, text, key, now.utc, requested_by
        )
    return Answer(Due.MISSED, window, None)
