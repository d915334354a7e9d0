"""The guard's drop copy: its own session's executions and positions, held against the ledger."""

from datetime import datetime
from decimal import Decimal

from ibloop import log
from ibloop.adapters.ledger import alerts, fills, freezes
from ibloop.adapters.ledger.connection import Connection, Tx
from ibloop.adapters.ports import Clock
from ibloop.config import Config
from ibloop.core.dropcopy import (
    ACCOUNT,
    CASH,
    NOTHING_SEEN,
    Break,
    Copies,
    Freeze,
    Outcome,
    compare,
    conclude,
)
from ibloop.core.model import Moment, Position
from ibloop.core.sessions import day_start
from ibloop.daemons.executing.comparing import newest_baseline
from ibloop.daemons.guarding.look import Sight, Watch, is_fresh

ACTOR = "guard"
COMPARISON_S = 2.0
_log = log.get(__name__)


class DropCopy:
    """Compares every two seconds, asks for all executions every ``guard.drop_copy_s``."""

    def __init__(self, config: Config, watch: Watch, clock: Clock) -> None:
        """Take the ports; how long something differs is counted anew after a start."""
        self._config = config
        self._watch = watch
        self._clock = clock
        self._seen = NOTHING_SEEN
        self._asked: Moment | None = None
        self._compared: Moment | None = None
        self._prices: dict[str, Decimal] = {}
        self.outcome: Outcome | None = None

    def ask(self) -> None:
        """Ask for all executions when it is time."""
        now = self._clock.now()
        asked = self._asked
        if asked is None or now.age_s(asked) >= self._config.guard.drop_copy_s:
            self._asked = now
            self._watch.ask_executions()

    def compare(self, db: Connection, sight: Sight) -> Outcome | None:
        """Return what follows from a comparison; ``None`` when none is due or possible.

        While the session's word does not count nothing is compared, frozen or lifted.
        """
        now = self._clock.now()
        positions = self._watch.positions()
        if not is_fresh(self._watch) or positions is None:
            self._seen = NOTHING_SEEN  # differences must last while they can be seen
            return None
        if self._compared is not None and now.age_s(self._compared) < COMPARISON_S:
            return None
        self._compared = now
        copies = self._copies(db, positions, sight, now)
        standing = _standing(db)
        grace_s = self._config.guard.drop_copy_grace_s
        found = compare(copies)
        self.outcome = conclude(found, standing, copies, self._seen, now=now, grace_s=grace_s)
        self._seen = self.outcome.watch
        self._remember(sight, differing={b.symbol for b in found})
        return self.outcome

    def record(self, tx: Tx, outcome: Outcome, now: datetime) -> bool:
        """Freeze and lift as concluded, each with an alert; return whether anything changed."""
        for found in outcome.to_freeze:
            _freeze(tx, found, now)
        for row in outcome.to_clear:
            why = "a person accepted it" if row.accepted else "ledger and broker agree again"
            if freezes.clear(tx, row.freeze_id, why, now, ACTOR):
                text = f"{_named(row.symbol)} is free again: {why}"
                alerts.raise_alert(
                    tx, "info", "symbol.released", str(row.freeze_id), text, None, now, ACTOR
                )
        liquidated = self._tell_liquidations(tx, now)
        return liquidated or bool(outcome.to_freeze or outcome.to_clear)

    def _tell_liquidations(self, tx: Tx, now: datetime) -> bool:
        """Raise an alert for each execution by which the broker closed a position itself."""
        told = False
        for base, seen in self._watch.executions().items():
            if not seen.is_liquidation:
                continue
            execution = seen.execution
            what = f"{execution.side} {execution.quantity} {execution.symbol} at {execution.price}"
            text = f"the broker liquidates: {what}; look at the account's margin now"
            key = f"liquidation:{base}"
            event = "guard.liquidation"
            raised = alerts.raise_alert(
                tx, "critical", event, execution.symbol, text, key, now, ACTOR
            )
            told = told or raised is not None
        return told

    def _copies(
        self, db: Connection, positions: tuple[Position, ...], sight: Sight, now: Moment
    ) -> Copies:
        since = day_start(now.utc, self._config.session.timezone)
        shown = self._watch.executions()
        complete = self._watch.executions_complete_at()
        # What was executed after the question cannot be in its answer.
        asked = now.utc if complete is None else complete.utc
        recorded = {
            base: fill
            for base, fill in freezes.recorded_fills(db, shown.keys(), since).items()
            if base in shown or fill.executed_at < asked
        }
        expected = _expected(db)
        held = {p.symbol: p.quantity for p in positions if p.quantity}
        wanted = {symbol: q for symbol, q in (expected or {}).items() if q}
        gone = wanted.keys() - held.keys()
        return Copies(
            shown=shown,
            is_complete=complete is not None,
            recorded=recorded,
            expected=expected,
            held=positions,
            con_ids=freezes.contracts_traded(db, gone) if gone else {},
            prices_before=self._prices,
            prices_now=sight.quoted,
            since=since,
            unexplained=_unexplained(sight),
            released=freezes.released_keys(db, ACTOR),
        )

    def _remember(self, sight: Sight, differing: set[str]) -> None:
        """Keep the prices of what agrees: those from before a split must outlast it."""
        for symbol, price in _prices_of(sight).items():
            if symbol not in differing:
                self._prices[symbol] = price


def _unexplained(sight: Sight) -> dict[str, str] | None:
    """Return by symbol what the guard's books cannot explain, ``None`` before it has books."""
    if sight.memory.books is None:
        return None
    found = sight.memory.unexplained.values()
    return {odd.symbol: f"{odd.symbol}: {odd.quantity:+} shares without a fill" for odd in found}


def _prices_of(sight: Sight) -> dict[str, Decimal]:
    priced = sight.valuation.holdings
    return {p.symbol: p.price for p in priced if p.price is not None and p.is_usable}


def _expected(db: Connection) -> dict[str, Decimal] | None:
    """Return shares by symbol as the ledger expects them, ``None`` before the first run."""
    baseline = newest_baseline(db)
    if baseline is None:
        return None
    expected = dict(baseline.quantities)
    for symbol, quantity in fills.signed(fills.recorded_after(db, baseline.at)).items():
        expected[symbol] = expected.get(symbol, Decimal(0)) + quantity
    return expected


def _standing(db: Connection) -> tuple[Freeze, ...]:
    # Money that went out is no matter of comparing: only a person explains it.
    rows = [row for row in freezes.standing(db) if row.symbol != CASH]
    if not rows:
        return ()
    accepted = {row.freeze_id: freezes.accepted_since(db, row.created_at) for row in rows}
    return tuple(
        Freeze(
            row.freeze_id,
            row.symbol,
            row.kind,
            row.subject,
            row.symbol in accepted[row.freeze_id],
        )
        for row in rows
    )


def _freeze(tx: Tx, found: Break, now: datetime) -> None:
    freeze_id = freezes.freeze(tx, found, now, ACTOR)
    account = "" if found.has_cause else ", and nothing else is bought"
    text = (
        f"{_named(found.symbol)} is frozen: {found.text}; nothing of it is traded{account} until "
        "both agree or a person accepts (`ibloop positions explain`, `ibloop guard status`)"
    )
    alerts.raise_alert(tx, "critical", "symbol.frozen", str(freeze_id), text, None, now, ACTOR)
    _log.error("symbol.frozen", symbol=found.symbol, kind=found.kind.value, why=found.text)


def _named(symbol: str) -> str:
    return "the account" if symbol == ACCOUNT else symbol


def release(tx: Tx, symbol: str, reason: str, now: datetime, actor: str) -> tuple[int, ...]:
    """Lift every freeze of a symbol by a person's decision; return their ids."""
    ids = tuple(row.freeze_id for row in freezes.standing(tx.db) if row.symbol == symbol)
    for freeze_id in ids:
        freezes.clear(tx, freeze_id, reason, now, actor)
    return ids
