"""The executor daemon: the one process that sends orders."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from ibloop.adapters.calendar import session_at
from ibloop.adapters.host import SystemClock, build_id
from ibloop.adapters.ib.broker import IbBroker
from ibloop.adapters.ledger import snapshots
from ibloop.adapters.ledger.connection import (
    Ledger,
    LedgerBusyError,
    OperationalError,
    open_ledger,
)
from ibloop.adapters.ledger.mark import Mark
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.streamfiles import QuoteReader
from ibloop.adapters.universe import load_universe
from ibloop.config import Profile
from ibloop.core.binding import binding_problem
from ibloop.core.gates import Gate, Pulse, check_gates, first_failed, guard_silence
from ibloop.core.invariant import present
from ibloop.core.lifecycle import RunReason, RunState
from ibloop.core.model import Moment
from ibloop.core.sessions import run_deadline
from ibloop.daemons.executing.order_executor import ACTOR, OrderExecutor
from ibloop.daemons.executing.run_planner import RunPlanner
from ibloop.daemons.executing.send_rails import SendRails
from ibloop.daemons.executing.trade_executor import TradeExecutor
from ibloop.daemons.halting import latch_halt_file, severest_halt
from ibloop.daemons.link import GatewayLink
from ibloop.daemons.loop import Report, run_daemon
from ibloop.daemons.pretrade import gate_rules, observe, pulse
from ibloop.daemons.unwritable import is_unwritable, unwritable

PACED_PAUSE_S = 0.01
"""How soon an order is looked at again that the pace keeps back: nothing else would wake us."""
UNWRITABLE_PAUSE_S = 5.0
"""How soon a write is tried again that the ledger did not take: it may have waited as long."""
CANCELS_LEAVE_S_MAX = 10.0
"""How long an end is put off for cancels that the pace holds back: 450 of them leave meanwhile."""


async def run(profile: Profile) -> None:
    """Run the executor of one profile until SIGTERM or SIGINT.

    Raises: LockHeldError when it is already running; ConfigError, LedgerError, RefusedError;
    LedgerBusyError when the ledger cannot be written: the next process asks the broker anew.
    """
    process = ExecutorProcess(profile)
    try:
        await run_daemon(
            "executor",
            profile.data_dir,
            process.step,
            process.report,
            clock=process.clock,
            wake=process.broker.wake,
        )
    except OperationalError as error:
        if not is_unwritable(error):
            raise
        raise LedgerBusyError(
            f"{profile.ledger_path} cannot be written ({error}): make room on its disk and see "
            "whose it is; nothing is sent meanwhile, and nothing that happens is lost"
        ) from error
    finally:
        await process.broker.let_cancels_leave(CANCELS_LEAVE_S_MAX)
        process.close()


class ExecutorProcess:
    """Everything the executor is made of. The ledger is touched by the first step only.

    By then the lock is held: a second executor must not take the epoch from the first.
    """

    def __init__(self, profile: Profile) -> None:
        """Compose the ports; nothing is opened. Raises: ConfigError for a bad universe."""
        config, self.clock = profile.config, SystemClock()
        self._profile = profile
        self._universe = load_universe(profile)
        self.broker = IbBroker(
            config.gateway.host,
            config.gateway.port,
            config.gateway.client_ids.executor,
            config.account,
            self.clock,
        )
        self._link = GatewayLink(profile.stream_dir, self.clock, self.broker)
        self._rails = SendRails(
            config,
            guard=lambda: pulse(profile, "guard"),
            clock_skew_s=self.broker.clock_skew_s,
            connection=lambda: binding_problem(config.mode, config.account, self.broker.endpoint()),
            universe_hash=self._universe.content_hash,
            build=build_id(),
        )
        self._ledger: Ledger | None = None
        self._desk: OrderExecutor | None = None
        self._trader: TradeExecutor | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._refused: Moment | None = None

    def step(self) -> bool:
        """Look after the connection, then do one piece of the executor's work."""
        if self._trader is None and not self._may_start():
            return False
        self._link.step()
        trader = present(self._trader, "trade executor")
        ledger = present(self._ledger, "ledger")
        worked = trader.step()
        # Afterwards: the file counts without being written, and a kill must not wait for that.
        if not self._is_refused():
            with self._unless_refused("halt.latched"):
                worked |= latch_halt_file(ledger, self._profile.data_dir, self.clock, ACTOR)
        if trader.is_paced and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(PACED_PAUSE_S, self._look_again)
        return worked

    def _may_start(self) -> bool:
        """Start, unless the ledger cannot be written: then nothing is known that could be lost."""
        if self._is_refused():
            return False
        with self._unless_refused("executor.start"):
            self._start()
        if self._refused is not None and self._ledger is not None:
            self._ledger.close()
            self._ledger = self._desk = None
        return self._trader is not None

    def _is_refused(self) -> bool:
        """Return whether the ledger has refused a write just now."""
        now = self.clock.now()
        return self._refused is not None and now.age_s(self._refused) < UNWRITABLE_PAUSE_S

    @contextmanager
    def _unless_refused(self, what: str) -> Iterator[None]:
        """Remember that a write was refused; it is tried again after a pause."""
        done = False
        with unwritable(what):
            yield
            done = True
        self._refused = None if done else self.clock.now()

    def _look_again(self) -> None:
        self._timer = None
        self.broker.wake.set()

    def report(self) -> Report:
        """Return how the executor is: ``ready`` once it knows the broker's truth."""
        desk, trader = self._desk, self._trader
        if desk is None or trader is None:
            refused = self._refused is not None
            return Report("starting", "the ledger cannot be written" if refused else "")
        run = trader.current()
        fields = {"run_id": run.run_id if run else None, "epoch": desk.epoch}
        if desk.trouble is not None:
            text = f"{desk.trouble.reason}: {desk.trouble.detail}"
            return Report("blocked", text, fields)
        if desk.ready():
            return Report("ready", _at_work(run) if run else "idle", fields)
        if self.broker.is_connected():
            return Report("synchronising", "", fields)
        return Report("disconnected", self._link.problem, fields)

    def close(self) -> None:
        """Disconnect and close the ledger."""
        self._link.close()
        if self._ledger is not None:
            self._ledger.close()

    def _start(self) -> None:
        profile = self._profile
        config = profile.config
        self._ledger = open_ledger(profile.ledger_path, mode=config.mode, account=config.account)
        quotes = QuoteReader(profile.stream_dir)
        self._desk = OrderExecutor(
            config,
            self._ledger,
            self.broker,
            quotes,
            self._universe.instruments,
            self.clock,
            lambda db: severest_halt(db, profile.data_dir)[0],
            Mark(profile.ledger_path),
            self._rails,
        )
        self._trader = TradeExecutor(
            config,
            self._ledger,
            self._desk,
            RunPlanner(config, self._ledger.db, quotes, self._universe.instruments),
            self.clock,
            gate=self._gate,
            guard_silence=self._guard_silence,
            deadline=self._deadline,
        )

    def _gate(self, run: Run) -> Gate | None:
        """Ask the pre-trade gates again, with our own pulse as it is now."""
        db = present(self._ledger, "ledger").db
        snapshot = snapshots.find(db, present(run.snapshot_id, "snapshot"))
        if changed := self._changed(run, snapshot):
            return Gate("config", False, RunReason.CONFIG_CHANGED, changed)
        now = self.clock.now()
        as_of = snapshot.targets_as_of if snapshot else None
        status = "ready" if present(self._desk, "desk").ready() else "synchronising"
        own = Pulse(status, now, build_id())
        seen = observe(self._profile, db, now, as_of, run.run_id, own_pulse=own)
        return first_failed(check_gates(seen, now, gate_rules(self._profile)))

    def _changed(self, run: Run, snapshot: snapshots.Snapshot | None) -> str | None:
        """Return what was decided under other limits or another universe than are loaded here."""
        if run.config_hash != self._profile.config.config_hash:
            return "the run was queued under another configuration than the executor's"
        content = snapshots.content_of(snapshot) if snapshot else {}
        if content.get("universe_hash") != self._universe.content_hash:
            return "the run was queued for another universe than the executor's"
        return None

    def _guard_silence(self) -> str | None:
        age_s_max = self._profile.config.guard.heartbeat_age_s_max
        return guard_silence(pulse(self._profile, "guard"), self.clock.now(), age_s_max)

    def _deadline(self, now: datetime) -> datetime | None:
        config = self._profile.config
        session = session_at(config.session.calendar, now)
        minutes = config.execution.deadline_minutes
        return run_deadline(now, session, minutes, config.close_margin) if session else None


def _at_work(run: Run) -> str:
    """Return the run under way and its state; what it waits for where it says so."""
    waits = run.detail if run.status is RunState.PREPARING else ""
    return f"{run.run_key} {run.status}: {waits}" if waits else f"{run.run_key} {run.status}"
