"""TradeGuard: watches the account on an IB session of its own and halts when it loses too much.

It needs neither the executor nor its connection. A halt is a row that every sending transaction
reads; nothing has to be told to anybody. Beside the valuation runs the drop copy, which freezes
what ledger and broker do not agree about.
"""

from dataclasses import replace
from datetime import datetime
from itertools import islice

from ibloop import log
from ibloop.adapters.halt_file import write_halt_file
from ibloop.adapters.host import SystemClock
from ibloop.adapters.ib.account import IbAccountWatch
from ibloop.adapters.ledger import (
    alerts,
    guard_days,
    guard_memory,
    guard_state,
    halts,
)
from ibloop.adapters.ledger.connection import (
    Ledger,
    LedgerBusyError,
    OperationalError,
    Tx,
    open_ledger,
)
from ibloop.adapters.ports import Clock, Quotes
from ibloop.adapters.streamfiles import QuoteReader, wake
from ibloop.config import Config, Profile
from ibloop.core.guard import (
    GuardVerdict,
    is_as_severe,
    may_release,
    pause_s,
)
from ibloop.core.invariant import present
from ibloop.core.model import HaltLevel, Moment
from ibloop.daemons.guarding import rows as guard_rows
from ibloop.daemons.guarding.dropcopy import DropCopy
from ibloop.daemons.guarding.flow import tell_flow
from ibloop.daemons.guarding.judging import Judged, judge
from ibloop.daemons.guarding.kill import KillSwitch
from ibloop.daemons.guarding.look import AccountLook, Sight, Watch
from ibloop.daemons.guarding.stream_health import StreamHealth
from ibloop.daemons.link import GatewayLink
from ibloop.daemons.loop import Report, run_daemon
from ibloop.daemons.unwritable import is_unwritable

ACTOR = "guard"
MEMORY_S = 60.0
"""How often believed prices are written down while the books stand still."""
THINNING_S = 60.0
DEGRADED_TOLD_S = 60.0
"""How long the guard may be blind in market hours before people are told."""

_log = log.get(__name__)


class TradeGuard:
    """Evaluates the account at the pace of the session; :meth:`step` does what is due.

    ``watch`` is an IB session that only looks (and may cancel everything).
    """

    def __init__(
        self, profile: Profile, ledger: Ledger, watch: Watch, quotes: Quotes, clock: Clock
    ) -> None:
        """Take the ports and go on from what the ledger remembers."""
        self._profile = profile
        self._config: Config = profile.config
        self._ledger = ledger
        self._clock = clock
        self._look = AccountLook(profile.config, watch, quotes, clock)
        self._look.memory = guard_memory.load(ledger.db)
        self._copy = DropCopy(profile.config, watch, clock)
        self._kill = KillSwitch(profile, ledger, watch, clock)
        self._stream = StreamHealth(profile, clock)
        self._due_ns = 0
        self._saved: Moment | None = None
        self._thinned: Moment | None = None
        self._degraded: Moment | None = None
        self._degraded_told = False
        self.verdict: GuardVerdict | None = None

    def step(self) -> bool:
        """Evaluate when it is due; return False, for there is never more at once."""
        now = self._clock.now()
        # Before everything that may wait for the ledger: what works is not to wait with it.
        self._kill.step()
        self._copy.ask()
        if now.boottime_ns >= self._due_ns:
            sight = self._evaluate()
            pace_s = pause_s(self._config.guard, market_open=sight.market_open)
            self._due_ns = now.boottime_ns + int(pace_s * 1e9)
        return False

    def evaluate(self) -> GuardVerdict:
        """Evaluate now, due or not, and return the verdict."""
        self._evaluate()
        return present(self.verdict, "verdict")

    def _evaluate(self) -> Sight:
        """Value the account, write the evaluation, halt if a limit is reached; one transaction."""
        db = self._ledger.db
        recent = guard_rows.recent_of(guard_state.last(db))
        sight = self._look.look(db, recent[-1] if recent else None)
        errors, ill = self._stream.look(market_open=sight.market_open)
        sight = replace(sight, stream_errors=errors, troubles=(*sight.troubles, *ill))
        outcome = self._copy.compare(db, sight)
        try:
            with self._ledger.transaction() as tx:
                # After waiting for the write lock, in which a resume may fall.
                now = self._clock.now()
                judged = judge(tx.db, self._config, sight, now)
                changed = outcome is not None and self._copy.record(tx, outcome, now.utc)
                self._record(tx, judged, sight, now, is_event=changed)
        except (LedgerBusyError, OperationalError) as error:
            if not is_unwritable(error):
                raise
            self._take(self._unwritten(sight, str(error)))
            return sight
        self._look.keep(sight)
        self._take(judged.verdict)
        return sight

    def _record(self, tx: Tx, judged: Judged, sight: Sight, now: Moment, *, is_event: bool) -> None:
        verdict, last = judged.verdict, judged.last
        flow = sight.flow_usd if verdict.baseline is not None else None
        halted = verdict.halt is not None and self._halt(tx, verdict.halt, verdict.reason, now.utc)
        released = self._release(tx, verdict, now.utc)
        if flow is not None:
            tell_flow(tx, self._config.guard, sight, judged.row.trade_date, now.utc)
        self._warn(tx, judged, now, market_open=sight.market_open)
        day = guard_rows.store_day(
            tx, verdict, flow, is_opening=judged.is_opening, today=judged.row.trade_date
        )
        if day is not None:
            guard_days.store(tx, day, now.utc)
        event = any((is_event, halted, released, flow is not None, sight.splits))
        keep = guard_state.keep_class(last, judged.row, is_event=event)
        row = judged.row
        if keep == guard_state.KEPT_FOR_EVER:
            prices = guard_rows.prices_of(verdict.valuation)
            row = replace(row, detail={**row.detail, "prices": prices})
        guard_state.record(tx, row, ACTOR, keep=keep)
        self._keep_up(tx, sight, now)

    def _keep_up(self, tx: Tx, sight: Sight, now: Moment) -> None:
        """Write down what a restart needs, and thin old rows."""
        before, now_known = self._look.memory, sight.memory
        moved = now_known.books is not before.books or now_known.unexplained != before.unexplained
        if moved or self._saved is None or now.age_s(self._saved) >= MEMORY_S:
            self._saved = now
            guard_memory.save(tx, sight.memory, now.utc)
        if self._thinned is None or now.age_s(self._thinned) >= THINNING_S:
            self._thinned = now
            guard_state.thin(tx, now.utc)

    def _halt(self, tx: Tx, level: HaltLevel, reason: str, now: datetime) -> bool:
        """Latch the halt, unless the guard's own is there already; return whether it is new.

        Beside a person's halt too: it ends with a reason that has nothing to do with the loss.
        """
        if is_as_severe(halts.level(tx.db, source=ACTOR), level):
            return False
        halt_id = halts.halt(tx, level, reason, "guard", ACTOR, now)
        text = f"trading halted ({level}): {reason}"
        alerts.raise_alert(tx, "critical", "guard.halted", str(halt_id), text, None, now, ACTOR)
        return True

    def _release(self, tx: Tx, verdict: GuardVerdict, now: datetime) -> bool:
        """Lift the guard's own reduce-only for a day loss, where the configuration lets it."""
        if not may_release(verdict, self._config.guard):
            return False
        released = False
        for halt in halts.active(tx.db):
            is_own = (halt.source, halt.level) == ("guard", HaltLevel.REDUCE_ONLY)
            if is_own and halt.reason.startswith("day loss"):
                why = f"day loss {verdict.day_loss:.2%} is below the release"
                halts.release(tx, halt.halt_id, ACTOR, why, now)
                text = f"reduce-only lifted: {why}"
                alerts.raise_alert(
                    tx, "info", "guard.released", str(halt.halt_id), text, None, now, ACTOR
                )
                released = True
        return released

    def _warn(self, tx: Tx, judged: Judged, now: Moment, *, market_open: bool) -> None:
        """Tell of a loss near its limit once a day, and of a guard that cannot see."""
        verdict, today = judged.verdict, judged.row.trade_date
        if verdict.status == "warn":
            words = (word for word in verdict.reason.split() if word.isalpha())
            what = " ".join(islice(words, 3))  # without its figures, which change all the time
            key = f"guard.warned:{today}:{what}"
            alerts.raise_alert(
                tx, "warning", "guard.warned", what, verdict.reason, key, now.utc, ACTOR
            )
        if verdict.status != "degraded":
            if self._degraded_told:
                text = "the guard values the account again"
                alerts.raise_alert(
                    tx, "info", "guard.recovered", "guard", text, None, now.utc, ACTOR
                )
            self._degraded, self._degraded_told = None, False
            return
        if not market_open:
            return  # gateways restart at night, and nobody quotes: nothing is traded either
        self._degraded = self._degraded or now
        if not self._degraded_told and now.age_s(self._degraded) >= DEGRADED_TOLD_S:
            self._degraded_told = True
            text = f"the guard is degraded, nothing new is bought: {verdict.reason}"
            alerts.raise_alert(tx, "warning", "guard.degraded", "guard", text, None, now.utc, ACTOR)

    def _unwritten(self, sight: Sight, error: str) -> GuardVerdict:
        """Return the verdict of an evaluation that could not be written: degraded, at the least.

        A kill that cannot be latched in the ledger is latched by the HALT file, which stands until
        a person removes it.
        """
        verdict = judge(self._ledger.db, self._config, sight, self._clock.now()).verdict
        if verdict.halt is HaltLevel.KILL:
            try:
                write_halt_file(self._profile.data_dir, HaltLevel.KILL)
            except OSError as refused:
                _log.error("guard.halt_file_failed", error=str(refused))
        text = f"the ledger cannot be written: {error}"
        return replace(verdict, status="degraded", reason=f"{text}; {verdict.reason}")

    def _take(self, verdict: GuardVerdict) -> None:
        before = self.verdict.status if self.verdict else None
        self.verdict = verdict
        if verdict.status != before:
            equity = verdict.valuation.equity_usd
            _log.warning(
                "guard.status_changed", status=verdict.status, reason=verdict.reason, equity=equity
            )
        if verdict.halt is not None and verdict.status != before:
            wake(self._profile.stream_dir)


class GuardProcess:
    """Everything the guard daemon is made of. The ledger is touched by the first step only."""

    def __init__(self, profile: Profile) -> None:
        """Compose the ports; nothing is opened."""
        config, self.clock = profile.config, SystemClock()
        self._profile = profile
        self.watch = IbAccountWatch(
            config.gateway.host,
            config.gateway.port,
            config.gateway.client_ids.guard,
            config.account,
            self.clock,
        )
        self._link = GatewayLink(profile.stream_dir, self.clock, self.watch)
        self._ledger: Ledger | None = None
        self._guard: TradeGuard | None = None

    def step(self) -> bool:
        """Look after the connection, then evaluate when it is due."""
        if self._guard is None:
            self._start()
        self._link.step()
        return present(self._guard, "guard").step()

    def report(self) -> Report:
        """Return how the guard is: ``watching`` once it has valued the account."""
        verdict = self._guard.verdict if self._guard else None
        if verdict is None:
            return Report("starting", self._link.problem)
        fields = {
            "guard_status": verdict.status,
            "equity_source": verdict.valuation.source,
            "equity": verdict.valuation.equity_usd,
        }
        if verdict.status == "degraded":
            return Report("degraded", self._link.problem or verdict.reason, fields)
        return Report("watching", verdict.reason, fields)

    def close(self) -> None:
        """Disconnect and close the ledger."""
        self._link.close()
        if self._ledger is not None:
            self._ledger.close()

    def _start(self) -> None:
        profile, config = self._profile, self._profile.config
        self._ledger = open_ledger(profile.ledger_path, mode=config.mode, account=config.account)
        quotes = QuoteReader(profile.stream_dir)
        self._guard = TradeGuard(profile, self._ledger, self.watch, quotes, self.clock)


async def run(profile: Profile) -> None:
    """Run the guard of one profile until SIGTERM or SIGINT.

    Raises: LockHeldError when it is already running; ConfigError, LedgerError, RefusedError.
    """
    process = GuardProcess(profile)
    try:
        await run_daemon(
            "guard",
            profile.data_dir,
            process.step,
            process.report,
            clock=process.clock,
            wake=process.watch.wake,
        )
    finally:
        process.close()
