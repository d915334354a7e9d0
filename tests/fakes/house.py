"""The executor with everything around it: a real ledger, the real core, a fake world."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from ibloop.adapters.ledger import commands, fills, halts, orders, runs, snapshots
from ibloop.adapters.ledger.connection import Ledger, Tx, open_ledger
from ibloop.adapters.ledger.mark import Mark, Stamp
from ibloop.adapters.ledger.runs import Run
from ibloop.config import BUILTIN_TOML, Config, parse
from ibloop.core import promises
from ibloop.core.events import BrokerEvent
from ibloop.core.gates import Gate, Pulse
from ibloop.core.lifecycle import RUN_TERMINAL, RunState
from ibloop.core.model import ZERO, HaltLevel, Instrument, Mode, Order, Target
from ibloop.core.retrying import Retry
from ibloop.core.snapshot import DecisionSnapshot, Omitted, canonical_json
from ibloop.daemons.executing.order_executor import OrderExecutor
from ibloop.daemons.executing.run_commands import CANCEL_RUN
from ibloop.daemons.executing.run_planner import RunPlanner
from ibloop.daemons.executing.send_rails import SendRails
from ibloop.daemons.executing.trade_executor import TradeExecutor
from ibloop.daemons.halting import severest_halt
from tests.fakes.broker import ACCOUNT, FakeBroker, Script
from tests.fakes.clock import FakeClock
from tests.fakes.quotes import FakeQuotes

PRICES = {"AAA": 10, "BBB": 20, "CCC": 30, "DDD": 40, "EEE": 50}
HELD = {"AAA": 1000, "BBB": 500}
CASH = Decimal(80_000)
WEIGHTS = {"AAA": "0.05", "CCC": "0.09", "DDD": "0.10", "EEE": "0.11"}
"""Of 100,000 USD: AAA halved, BBB sold, three bought; smallest first: A, B, then C, D, E."""
DEADLINE = timedelta(minutes=30)
STEPS_MAX = 500


class SimCrashError(Exception):
    """The process dies here."""


class WatchedMark(Mark):
    """The mark; ``boundary`` is called before and after each write of its file: crash there."""

    def __init__(self, ledger_path: Path, boundary: Callable[[str], None]) -> None:
        """Watch the file of one ledger."""
        super().__init__(ledger_path)
        self.boundary = boundary

    def write(self, stamp: Stamp) -> None:
        """Move the mark."""
        self.boundary("before mark")
        super().write(stamp)
        self.boundary("after mark")


class House:
    """One account, one ledger, one executor at a time; a test moves the clock."""

    def __init__(
        self,
        directory: Path,
        mode: Mode = Mode.PAPER,
        *,
        execution: dict[str, object] | None = None,
        **changes: object,
    ) -> None:
        """Open a ledger in ``directory`` and start; ``changes`` are to the limits.

        Without other words in ``execution`` a run makes no attempt by itself but the first.
        """
        self.directory = directory
        self.config = replace(config(execution, **changes), mode=mode)
        self.clock = FakeClock()
        self.instruments = {s: instrument(s, i) for i, s in enumerate(PRICES, start=1)}
        prices = {symbol: Decimal(price) for symbol, price in PRICES.items()}
        held = {symbol: Decimal(quantity) for symbol, quantity in HELD.items()}
        self.quotes = FakeQuotes(self.clock, self.instruments, prices)
        self.broker = self.make_broker(prices, held)
        self.ledger = self.open_ledger()
        self.at_file: Callable[[str], None] = lambda _: None
        self.gate: Gate | None = None
        self.guard_silence: str | None = None
        self.guard: str | None = "watching"
        self.guard_build = "test"
        self.skew_s: float | None = 0.0
        self.connection: str | None = None
        self.universe_hash = "universe"
        self.deadline: timedelta | None = DEADLINE
        self.desk: OrderExecutor
        self.trader: TradeExecutor
        self.start()

    def make_broker(self, prices: dict[str, Decimal], held: dict[str, Decimal]) -> FakeBroker:
        """Return the broker with the account opened."""
        return FakeBroker(self.clock, self.instruments, prices, cash=CASH, positions=held)

    def open_ledger(self) -> Ledger:
        """Open the ledger as a process does; without waiting for the disk, for speed."""
        now = self.clock.now().utc
        ledger = open_ledger(
            self.directory / "ibloop.db", mode=self.config.mode, account=ACCOUNT, now=now
        )
        ledger.db.execute("PRAGMA synchronous=OFF")
        return ledger

    def start(self) -> None:
        """Start an executor: a new epoch, a new connection, nothing remembered."""
        self.desk = OrderExecutor(
            self.config,
            self.ledger,
            self.broker,
            self.quotes,
            self.instruments,
            self.clock,
            lambda db: severest_halt(db, self.directory)[0],
            WatchedMark(self.directory / "ibloop.db", self._pass_file),
            self.rails(),
        )
        planner = RunPlanner(self.config, self.ledger.db, self.quotes, self.instruments)
        self.trader = TradeExecutor(
            self.config,
            self.ledger,
            self.desk,
            planner,
            self.clock,
            gate=lambda _: self.gate,
            guard_silence=lambda: self.guard_silence,
            deadline=self._deadline,
        )
        self.broker.connect()

    def _pass_file(self, name: str) -> None:
        self.at_file(name)

    def rails(self) -> SendRails:
        """Return the rails with the guard, the clock and the build that a test says."""
        return SendRails(
            self.config,
            guard=self._guard_pulse,
            clock_skew_s=lambda: self.skew_s,
            connection=lambda: self.connection,
            universe_hash=self.universe_hash,
            build="test",
        )

    def _guard_pulse(self) -> Pulse | None:
        if self.guard is None or self.guard_silence is not None:
            return None
        return Pulse(self.guard, self.clock.now(), self.guard_build)

    def restart(self) -> None:
        """Kill the executor and start another one on what the first has left."""
        self.broker.lose_client()
        self.start()

    def _deadline(self, now: datetime) -> datetime | None:
        return None if self.deadline is None else now + self.deadline

    # --- what people do -----------------------------------------------------------------------

    def queue(self, key: str = "K1", weights: dict[str, str] | None = None) -> str:
        """Queue a run and return its id."""
        now, snapshot = self.clock.now().utc, self.decide(weights)
        with self.ledger.transaction() as tx:
            frozen = self._freeze(tx, snapshot)
            runs.insert(
                tx,
                Run(
                    run_id=f"run-{key}",
                    run_key=key,
                    mode=self.config.mode,
                    account=ACCOUNT,
                    status=RunState.QUEUED,
                    reason=None,
                    detail="",
                    snapshot_id=frozen.snapshot_id,
                    snapshot_hash=frozen.content_hash,
                    config_hash=self.config.config_hash,
                    build="test",
                    attempt=0,
                    created_at=now,
                    updated_at=now,
                ),
                "test",
            )
        return f"run-{key}"

    def retry(self, key: str = "K1") -> None:
        """Queue a blocked run again, as ``ibloop run retry`` does once the gates pass."""
        with self.ledger.transaction() as tx:
            frozen = self._freeze(tx, self.decide(None))
            assert runs.requeue(
                tx,
                f"run-{key}",
                snapshot_id=frozen.snapshot_id,
                snapshot_hash=frozen.content_hash,
                config_hash=self.config.config_hash,
                build="test",
                now=self.clock.now().utc,
                actor="test",
            )

    def decide(self, weights: dict[str, str] | None) -> DecisionSnapshot:
        """Return the decision for ``weights``."""
        return DecisionSnapshot(
            account=ACCOUNT,
            mode=self.config.mode.value,
            targets=tuple(Target(s, Decimal(w)) for s, w in (weights or WEIGHTS).items()),
            as_of=self.clock.now().utc,
            source="targets.csv",
            omitted=Omitted.SELL,
            config_hash=self.config.config_hash,
            universe_hash="universe",
        )

    def _freeze(self, tx: Tx, snapshot: DecisionSnapshot) -> snapshots.Snapshot:
        content, now = canonical_json(snapshot.content()), self.clock.now().utc
        return snapshots.freeze(
            tx, snapshot.snapshot_id, snapshot.content_hash, now, "targets.csv", content, now
        )

    def plan(self) -> None:
        """Queue a run and let it be planned, without room for any of its orders to leave."""
        self.broker.slots = 0
        self.queue()
        self.until(lambda: self.run().status is RunState.EXECUTING)
        self.broker.slots = 45

    def halt(self, level: HaltLevel = HaltLevel.PAUSE) -> None:
        """Halt as ``ibloop halt`` does."""
        with self.ledger.transaction() as tx:
            halts.halt(tx, level, "a test", "cli", "test", self.clock.now().utc)

    def cancel_run(self, key: str = "K1") -> int:
        """Ask the executor to end a run."""
        with self.ledger.transaction() as tx:
            now = self.clock.now().utc
            return commands.request(tx, CANCEL_RUN, {"run_id": f"run-{key}"}, "test", now)

    def script(self, symbol: str, **fields: object) -> None:
        """Say what becomes of the orders of a symbol."""
        self.broker.scripts[symbol] = Script(**fields)

    # --- time ---------------------------------------------------------------------------------

    def settle(self) -> None:
        """Step until there is nothing to do at this moment."""
        for _ in range(STEPS_MAX):
            # What has arrived would wake the daemon's loop.
            if not self.trader.step() and not self.broker.has_news():
                return
        raise AssertionError("expected the executor to come to rest")

    def play(self, seconds: float, tick_s: float = 1.0) -> None:
        """Let time go on in ticks, stepping until idle at each."""
        self.settle()
        for _ in range(round(seconds / tick_s)):
            self.clock.advance(tick_s)
            self.settle()

    def until(self, done: Callable[[], bool], seconds: float = 60, tick_s: float = 1.0) -> None:
        """Let time go on until something is so; fail after ``seconds``."""
        self.settle()
        for _ in range(round(seconds / tick_s)):
            if done():
                return
            self.clock.advance(tick_s)
            self.settle()
        assert done(), f"not within {seconds} s: {self.run()}, {self.states()}"

    def until_ended(self, key: str = "K1", seconds: float = 60, tick_s: float = 1.0) -> Run:
        """Let time go on until a run has ended or is blocked, and return it."""
        ended = RUN_TERMINAL | {RunState.BLOCKED}
        self.until(lambda: self.run(key).status in ended, seconds, tick_s)
        return self.run(key)

    # --- what is so ---------------------------------------------------------------------------

    def run(self, key: str = "K1") -> Run:
        """Return a run as it is now."""
        found = runs.find_key(self.ledger.db, key)
        assert found is not None
        return found

    def orders(self, key: str = "K1", attempt: int | None = None) -> dict[str, Order]:
        """Return the orders of a run by symbol, of the attempt asked for or the latest."""
        run = self.run(key)
        rows = orders.of_run(
            self.ledger.db, run.run_id, run.attempt if attempt is None else attempt
        )
        return {row.order.symbol: row.order for row in rows}

    def states(self, key: str = "K1") -> dict[str, str]:
        """Return the states of a run's orders by symbol."""
        return {symbol: str(order.status) for symbol, order in self.orders(key).items()}

    def sent(self) -> list[str]:
        """Return the symbols of the orders whose bytes have left, in order."""
        return [ref.split(":")[2] for ref in self.broker.placed]

    def broken(self) -> tuple[promises.Broken, ...]:
        """Return the promises that do not hold between the ledger and the broker's truth."""
        db, evidence = self.ledger.db, self.broker.evidence()
        sent = [row.order for row in orders.all_sent(db)]
        known = [
            promises.Fill(f.exec_id, f.client_order_id, f.symbol, f.signed_quantity)
            for f in fills.everything(db)
        ]
        found = promises.check(
            sent, known, self.broker.orders(), self.broker.executions, self.config.account
        )
        start = {symbol: Decimal(quantity) for symbol, quantity in HELD.items()}
        return (*found, *promises.position_breaks(start, known, evidence.positions))


def instrument(symbol: str, con_id: int) -> Instrument:
    """Return an instrument of the universe."""
    return Instrument(
        symbol=symbol,
        con_id=con_id,
        name=symbol,
        primary_exchange="NYSE",
        currency="USD",
        min_tick=Decimal("0.01"),
        lot=Decimal(1),
        sector=symbol,
        adv_shares=Decimal(10_000_000),
    )


def config(execution: dict[str, object] | None = None, **limits: object) -> Config:
    """Return the built-in paper profile without retries, with changes to two of its tables."""
    made = parse(BUILTIN_TOML, "test")
    changed = {"retry": Retry.NONE} | (execution or {})
    return replace(
        made,
        execution=replace(made.execution, **changed),
        limits=replace(made.limits, **limits),
    )


@contextmanager
def crash_at(house: House, number: int) -> Iterator[list[str]]:
    """Kill the process at its boundary ``number``, counted from zero; yields what was passed.

    Boundaries are before and after each commit, each sending of bytes and each write of the mark,
    and where what has arrived was taken and is not stored yet.
    """
    passed: list[str] = []

    def boundary(name: str) -> None:
        passed.append(name)
        if len(passed) - 1 == number:
            raise SimCrashError(name)

    whole = house.ledger.transaction

    @contextmanager
    def transaction() -> Iterator[Tx]:
        with whole() as tx:
            yield tx
            boundary("before commit")
        boundary("after commit")

    arrived = house.broker.events

    def events() -> list[BrokerEvent]:
        taken = arrived()
        if taken:
            boundary("events taken")
        return taken

    house.ledger.transaction = transaction  # type: ignore[method-assign]
    house.broker.events = events  # type: ignore[method-assign]
    house.broker.boundary = house.at_file = boundary
    try:
        yield passed
    finally:
        del house.ledger.transaction, house.broker.events
        house.broker.boundary = house.at_file = lambda _: None


__all__ = ["ACCOUNT", "CASH", "HELD", "PRICES", "WEIGHTS", "ZERO", "House", "SimCrashError"]
