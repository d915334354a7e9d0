"""TradeGuard: watches the account on an IB session of its own and halts when it loses too much.

It needs neither the executor nor its connection. A halt is a row that every sending transaction
reads; nothing has to be told to anybody.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal

from ibloop import log
from ibloop.adapters.host import SystemClock
from ibloop.adapters.ib.account import IbAccountWatch
from ibloop.adapters.ledger import alerts, guard_state, halts, orders
from ibloop.adapters.ledger.connection import Ledger, Tx, open_ledger
from ibloop.adapters.ledger.guard_state import GuardRow
from ibloop.adapters.ports import Clock, NotSentError, Quotes
from ibloop.adapters.streamfiles import QuoteReader, wake
from ibloop.config import Config, Profile
from ibloop.core.guard import (
    Baseline,
    GuardVerdict,
    Valuation,
    evaluate,
    kill_must_escalate,
    value_account,
)
from ibloop.core.invariant import present
from ibloop.core.lifecycle import ORDER_AT_BROKER
from ibloop.core.model import HALT_ORDER, HaltLevel, Moment, Position, Quote
from ibloop.core.quotes import valuation_price
from ibloop.core.sessions import trade_date
from ibloop.daemons.halting import severest_halt
from ibloop.daemons.link import GatewayLink
from ibloop.daemons.loop import Report, run_daemon

ACTOR = "guard"
EVALUATION_S = 2.0
PROOF_AGE_S_MAX = 10.0
"""Account values are pushed on change only: they count while the gateway answers."""
AGAIN_DOUBLINGS_MAX = 6
"""A global cancel is repeated after 10, 20, 40 s and so on, at last every 640 s."""

_log = log.get(__name__)


class TradeGuard:
    """Evaluates the account every two seconds; :meth:`step` does what is due.

    ``watch`` is an IB session that only looks (and may cancel everything).
    """

    def __init__(
        self, profile: Profile, ledger: Ledger, watch: IbAccountWatch, quotes: Quotes, clock: Clock
    ) -> None:
        """Take the ports and go on from the baselines the ledger remembers."""
        self._profile = profile
        self._config: Config = profile.config
        self._ledger = ledger
        self._watch = watch
        self._quotes = quotes
        self._clock = clock
        self._due_ns = 0
        self._kill_seen: Moment | None = None
        self._canceled: Moment | None = None
        self._cancels = 0
        self.verdict: GuardVerdict | None = None

    def step(self) -> bool:
        """Evaluate when it is due; return False, for there is never more at once."""
        now = self._clock.now()
        if now.boottime_ns < self._due_ns:
            return False
        self._due_ns = now.boottime_ns + int(EVALUATION_S * 1e9)
        self.evaluate()
        self._escalate()
        return False

    def evaluate(self) -> GuardVerdict:
        """Value the account, write the evaluation, halt if a limit is reached; one transaction."""
        valuation = self._value()
        with self._ledger.transaction() as tx:
            now = self._clock.now()  # after waiting for the write lock, in which a resume may fall
            today = trade_date(now.utc, self._config.session.timezone)
            last, cleared = guard_state.last(tx.db), halts.cleared_count(tx.db)
            baseline = _baseline(last)
            verdict = evaluate(
                valuation,
                baseline,
                self._config.guard,
                today=today,
                now=now.utc,
                resumed_at=_resumed_at(last, baseline, cleared, now.utc),
                previous_usd=last.equity if last else None,
            )
            guard_state.record(tx, _row(verdict, last, cleared, today, now.utc), ACTOR)
            if verdict.halt is not None:
                self._halt(tx, verdict.halt, verdict.reason, now.utc)
        self._announce(verdict)
        self.verdict = verdict
        return verdict

    def _value(self) -> Valuation:
        now = self._clock.now()
        fresh = self._watch.is_connected() and self._watch.proof_age_s() <= PROOF_AGE_S_MAX
        positions = self._watch.positions() if fresh else None
        values = self._watch.values() if fresh else None
        if positions is None or values is None:
            return Valuation(None, "none")
        quotes = self._quotes.read([p.symbol for p in positions])
        limits = self._config.quotes
        prices: dict[str, Decimal | None] = {
            p.symbol: valuation_price(_of(quotes.get(p.symbol), p), now, limits) for p in positions
        }
        return value_account(positions, prices, values)

    def _halt(self, tx: Tx, level: HaltLevel, reason: str, now: datetime) -> None:
        """Latch the halt, unless one as severe is there already."""
        standing = halts.level(tx.db)
        if standing is not None and HALT_ORDER.index(standing) >= HALT_ORDER.index(level):
            return
        halt_id = halts.halt(tx, level, reason, "guard", ACTOR, now)
        text = f"trading halted ({level}): {reason}"
        alerts.raise_alert(tx, "critical", "guard.halted", str(halt_id), text, None, now, ACTOR)

    def _announce(self, verdict: GuardVerdict) -> None:
        before = self.verdict.status if self.verdict else None
        if verdict.status != before:
            equity = verdict.valuation.equity_usd
            _log.warning(
                "guard.status_changed", status=verdict.status, reason=verdict.reason, equity=equity
            )
        if verdict.halt is not None and verdict.status != before:
            wake(self._profile.stream_dir)

    def _escalate(self) -> None:
        """Under a kill, cancel at the broker what the executor has not cancelled in time."""
        now = self._clock.now()
        level, _ = severest_halt(self._ledger.db, self._profile.data_dir)
        if level is not HaltLevel.KILL:
            self._kill_seen = self._canceled = None
            self._cancels = 0
            return
        self._kill_seen = self._kill_seen or now
        working = len(orders.in_states(self._ledger.db, ORDER_AT_BROKER))
        last_s = None if self._canceled is None else now.age_s(self._canceled)
        if last_s is not None:
            # Each time twice as long: an order nobody can account for must not cancel what a
            # person does by hand every ten seconds, for as long as the kill stands.
            last_s /= 2 ** min(self._cancels - 1, AGAIN_DOUBLINGS_MAX)
        due = kill_must_escalate(now.age_s(self._kill_seen), working, last_s)
        if not due or not self._config.guard.global_cancel:
            return
        try:
            self._watch.global_cancel()
        except NotSentError as error:
            _log.error("guard.cancel_failed", error=str(error))
            return
        self._canceled = now
        self._cancels += 1
        text = f"global cancel: {working} orders still worked under a kill (manual orders went too)"
        with self._ledger.transaction() as tx:
            alerts.raise_alert(
                tx, "critical", "guard.global_cancel", "", text, None, now.utc, ACTOR
            )


def _of(quote: Quote | None, position: Position) -> Quote | None:
    """Return the quote if it is of the very contract that is held."""
    return quote if quote is not None and quote.con_id == position.con_id else None


def _baseline(row: GuardRow | None) -> Baseline | None:
    """Return what the last evaluation was measured against."""
    if row is None or row.baseline_equity is None or row.baseline_at is None:
        return None
    return Baseline(
        trade_date=date.fromisoformat(str(row.detail["baseline_date"])),
        set_at=row.baseline_at,
        day_start_usd=row.baseline_equity,
        day_high_usd=Decimal(str(row.detail["day_high_usd"])),
        peak_usd=present(row.peak_equity, "peak of a baseline"),
    )


def _resumed_at(
    last: GuardRow | None, baseline: Baseline | None, cleared: int, now: datetime
) -> datetime | None:
    """Return when a person resumed since the last valued evaluation, ``None`` if nobody did.

    Told by the number of halts cleared: by their times a resume in the baseline's own
    millisecond, or after the clock was set back, would be missed and the halt raised again.
    """
    if last is None or baseline is None or last.detail.get("cleared", cleared) == cleared:
        return None
    return max(now, baseline.set_at + timedelta(milliseconds=1))


def _row(
    verdict: GuardVerdict, last: GuardRow | None, cleared: int, today: date, now: datetime
) -> GuardRow:
    base, valuation = verdict.baseline, verdict.valuation
    detail: dict[str, object] = {"reason": verdict.reason, "unpriced": list(valuation.missing)}
    # An evaluation without a value has not taken note of a resume: the next valued one must.
    noted = verdict.status != "degraded"
    detail["cleared"] = cleared if noted or last is None else last.detail.get("cleared", cleared)
    if base is not None:
        detail |= {"day_high_usd": base.day_high_usd, "baseline_date": base.trade_date.isoformat()}
    return GuardRow(
        trade_date=today,
        evaluated_at=now,
        status=verdict.status,
        equity=valuation.equity_usd,
        equity_source=valuation.source,
        baseline_equity=base.day_start_usd if base else None,
        baseline_at=base.set_at if base else None,
        peak_equity=base.peak_usd if base else None,
        day_loss=_rounded(verdict.day_loss),
        drawdown=_rounded(verdict.drawdown),
        detail=detail,
    )


def _rounded(fraction: Decimal | None) -> Decimal | None:
    """Return a loss to a hundredth of a basis point: a quotient need not end."""
    return None if fraction is None else fraction.quantize(Decimal("0.000001"))


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
