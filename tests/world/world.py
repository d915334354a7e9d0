"""One world: chaos from a seed, then healing, then the question whether all promises held."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from errno import ENOSPC
from pathlib import Path
from random import Random

from ibloop.adapters.ledger import halts, runs
from ibloop.adapters.ledger.connection import (
    Ledger,
    LedgerBusyError,
    OperationalError,
    Tx,
    open_readonly,
)
from ibloop.adapters.ledger.runs import Run
from ibloop.core.lifecycle import RUN_TERMINAL
from ibloop.core.model import HaltLevel, OrderType, Tif
from ibloop.core.retrying import Retry
from ibloop.daemons.executing.comparing import standing_breaks
from ibloop.errors import LockHeldError
from tests.fakes.house import CASH, House, SimCrashError
from tests.world.broker import ENDED, SLOTS, WorldBroker
from tests.world.chaos import Chaos
from tests.world.judge import Judge
from tests.world.knobs import CALM, draw, told
from tests.world.person import Person

CHAOS_S = (60, 900)
HEAL_S = 3 * 3600
NIGHTS_MAX = 3
"""An order for the day that nobody has heard of can only be decided on the next."""
STEPS_AT_ONCE = 200
MARGIN_ACCOUNTS = 0.5
"""Of the worlds: those whose account asks for its margin and may be short."""
RESTART_S = 3.0
"""How long a dead executor stays dead: systemd's RestartSec and its start."""
ORDER_KINDS: tuple[dict[str, object], ...] = (
    {},
    {},
    {},
    {"tif": Tif.DAY},
    {"order_type": OrderType.MKT},
    {"algo": "adaptive", "adaptive_priority": "urgent"},
)


class World(House):
    """The executor of a house in a world that one seed decides.

    ``full_until_s`` is how long, in boot seconds, the executor's disk is full.
    """

    broker: WorldBroker  # type: ignore[assignment]

    def __init__(self, directory: Path, seed: int) -> None:
        """Draw the knobs and open the ledger."""
        self.seed = seed
        self.random = Random(f"world {seed}")
        self.later = Random(f"later {seed}")
        self.knobs = draw(seed, self.random)
        self.judge = Judge(self)
        self.person = Person(self)
        self.chaos = Chaos(self)
        self.full_until_s = 0.0
        self._dead_until_s = 0.0
        self._stopped_until_s = 0.0
        self._reconnect_s = 0.0
        has_margin = Random(f"borrows {seed}").random() < MARGIN_ACCOUNTS
        policy = Random(f"retry {seed}").choice(list(Retry))
        execution: dict[str, object] = {"retry": policy}
        execution |= _ways_to_send(Random(f"orders {seed}"))
        super().__init__(
            directory,
            execution=execution,
            margin_check=has_margin,
            short_allowed=has_margin,
            **_caps(Random(f"caps {seed}")),
        )
        self.deadline = timedelta(minutes=self.random.choice((2, 5, 10)))
        if self.knobs.restart_in_s:
            self._expect_a_restart()
        self.broker.on_place = self.judge.watch_place
        self.broker.boundary = self._boundary
        self.at_file = self._at_file

    def make_broker(self, prices: dict[str, Decimal], held: dict[str, Decimal]) -> WorldBroker:  # type: ignore[override]
        """Return the broker that misbehaves."""
        return WorldBroker(
            self.clock, self.random, self.later, self.knobs, self.instruments, prices, CASH, held
        )

    def _expect_a_restart(self) -> None:
        """Let the gateway restart at a time of day that the configuration knows (F27)."""
        at = self.clock.now().utc + timedelta(seconds=self.knobs.restart_in_s)
        at = self.chaos.restart_at = at.replace(second=0, microsecond=0) + timedelta(minutes=1)
        gateway = replace(
            self.config.gateway,
            restart_at=f"{at:%H:%M}",
            restart_timezone="UTC",
            restart_before_minutes=self.later.randint(1, 3),
            restart_after_minutes=self.later.randint(1, 3),
        )
        self.config = replace(self.config, gateway=gateway)
        self.restart()

    # --- the executor's process ---------------------------------------------------------------

    def open_ledger(self) -> Ledger:
        """Open the ledger so that the process may die before and after each commit."""
        ledger = super().open_ledger()
        self._whole = whole = ledger.transaction
        self.eyes = open_readonly(self.directory / "ibloop.db")

        @contextmanager
        def transaction() -> Iterator[Tx]:
            self._race()
            self._cannot_begin()
            with whole() as tx:
                yield tx
                self._boundary("before commit")
                self._cannot_commit()
            self._boundary("after commit")

        ledger.transaction = transaction  # type: ignore[method-assign]
        return ledger

    def close(self) -> None:
        """Close the ledger."""
        self.eyes.close()
        self.ledger.close()

    @property
    def backup(self) -> Path:
        """Return where a person keeps the last backup."""
        return self.directory / "backup.db"

    def _race(self) -> None:
        """Let a halt be committed between whatever the executor has looked at and its write."""
        if self._in_executor and self.broker._chance(self.knobs.halt_race):
            self.broker._note("halt just before a transaction")
            self.halt(HaltLevel.PAUSE)
            self.broker.after(self.random.uniform(1, 40), self.resume)

    def _cannot_begin(self) -> None:
        """Let somebody else hold the write lock for longer than anybody waits (F19)."""
        if self._in_executor and self.broker._chance_later(self.knobs.busy_ledger):
            raise LedgerBusyError("a program outside holds the write lock")

    def _cannot_commit(self) -> None:
        """Let the disk be full (F17): SQLite rolls back what the transaction has written."""
        if self._in_executor and self.broker.now_s() < self.full_until_s:
            raise OperationalError("database or disk is full")

    def _at_file(self, name: str) -> None:
        """Let the process die around a write of the mark, or the disk be full."""
        self._boundary(name)
        if self._in_executor and self.broker.now_s() < self.full_until_s:
            raise OSError(ENOSPC, "No space left on device")

    def halt(self, level: HaltLevel = HaltLevel.PAUSE) -> None:
        """Halt as a person does, whatever hinders the executor."""
        with self._whole() as tx:
            halts.halt(tx, level, "a test", "cli", "ann", self.clock.now().utc)

    def resume(self) -> None:
        """Lift every halt."""
        with self._whole() as tx:
            halts.resume(tx, "ann", "go on", self.clock.now().utc)

    def _boundary(self, name: str) -> None:
        if self._in_executor and self.knobs.crash and self.random.random() < self.knobs.crash:
            raise SimCrashError(name)

    _in_executor = False

    @property
    def is_dead(self) -> bool:
        """Tell whether there is no executor at this moment."""
        return bool(self._dead_until_s)

    def die(self, why: str) -> None:
        """End the executor's process; another one starts a moment later."""
        self.broker._note(f"executor dies: {why}")
        self.broker.lose_client()
        self._dead_until_s = self.broker.now_s() + RESTART_S

    def stop(self, seconds: float) -> None:
        """Stop the executor's process for a while."""
        self._stopped_until_s = self.broker.now_s() + seconds

    def _live_on(self) -> None:
        """Step the executor, unless it is dead, stopped or without anything to do."""
        now_s = self.broker.now_s()
        if now_s < self._stopped_until_s:
            return
        if self._dead_until_s:
            if now_s < self._dead_until_s:
                return
            self._dead_until_s = 0.0
            self.run_in_executor(self.start)
        if not self.broker.connected and not self._dead_until_s:
            self._connect(now_s)
        for _ in range(STEPS_AT_ONCE):
            if self._dead_until_s or not self.run_in_executor(self.trader.step):
                return
            self.broker.run_due()

    def run_in_executor(self, action: object) -> bool:
        """Do something in the executor's process, which may die of it."""
        self._in_executor = True
        try:
            return bool(action())  # type: ignore[operator]
        except SimCrashError as error:
            self.die(f"at {error}")
        except LockHeldError:
            self.die("another one took over")
        except (LedgerBusyError, OperationalError, OSError) as error:
            self.die(str(error))
        finally:
            self._in_executor = False
        return False

    def _connect(self, now_s: float) -> None:
        if not self._reconnect_s:
            self._reconnect_s = now_s + self.random.uniform(0, self.knobs.away_s)
        elif now_s >= max(self._reconnect_s, self.broker.gone_until_s):
            self._reconnect_s = 0.0
            self.broker.connect()

    # --- from the beginning to the end --------------------------------------------------------

    def play_out(self) -> None:
        """Chaos, healing, verdict. Raises: AssertionError with what was broken."""
        self.chaos.ask()
        chaos_s = self.random.uniform(*CHAOS_S)
        until_s = self.broker.now_s() + chaos_s
        while self.broker.now_s() < until_s:
            self.chaos.happen()
            self._tick(1.0)
        if self.random.random() < self.knobs.midnight:
            self._let_a_day_pass()
        self._heal()
        self.judge.verdict()

    def _tick(self, idle_s: float) -> None:
        """Let time go to the next thing that happens, at most ``idle_s``."""
        next_s, now_s = self.broker.next_s(), self.broker.now_s()
        wait_s = idle_s if next_s is None else min(idle_s, max(0.02, next_s - now_s))
        self.clock.advance(wait_s)
        self.broker.run_due()
        self._live_on()
        self.judge.watch_ends()

    def run(self, key: str = "K1") -> Run:
        """Return a run; one that a restored ledger does not have is asked for again."""
        if runs.find_key(self.ledger.db, key) is None:
            self.queue(key, self.chaos.weights())
        return super().run(key)

    # --- healing ------------------------------------------------------------------------------

    def _heal(self) -> None:
        """End every fault, let a person decide what is left, and demand that all comes to rest."""
        self.knobs = self.broker.knobs = CALM
        self.broker.frozen = False
        self.broker.restore_link()
        self.broker.slots = SLOTS
        self.guard_silence = None
        self.quotes.frozen.clear()
        self.quotes.odd.clear()
        self._stopped_until_s = self.full_until_s = 0.0
        self.chaos.end()
        self.resume()
        self.gate = None
        for _ in range(NIGHTS_MAX):
            if self._comes_to_rest(self.broker.now_s()):
                return
            self._let_a_day_pass()
        raise AssertionError(f"expected rest within {NIGHTS_MAX} nights: {self._state()}")

    def _comes_to_rest(self, since_s: float) -> bool:
        """Let a person decide until all is at rest; false if that has to wait for tomorrow."""
        while self.broker.now_s() - since_s < HEAL_S:
            for _ in range(40):
                self._tick(2.0)
                self.judge.watch_bounds(since_s)
            if self._at_rest():
                return True
            self.person.wants_a_night = False
            self.person.decide()
            if self.person.wants_a_night:
                return False
        raise AssertionError(f"expected rest within {HEAL_S} s: {self._state()}")

    def _let_a_day_pass(self) -> None:
        self.clock.advance(24 * 3600)
        self.broker.run_due()

    def _at_rest(self) -> bool:
        """Tell whether the last run has ended well and nothing is left to do."""
        run = self.run(self.chaos.key())
        busy = any(live.status not in ENDED for live in self.broker.live)
        busy = busy or bool(runs.active(self.ledger.db))
        done = run.status in RUN_TERMINAL and self.desk.trouble is None
        explained = not standing_breaks(self.ledger.db)
        return done and explained and not busy and self.desk.ready() and not self._dead_until_s

    def _state(self) -> str:
        run = self.run(self.chaos.key())
        busy = [x.order.client_order_id for x in self.broker.live if x.status not in ENDED]
        return (
            f"run {run.run_key} {run.status} {run.reason} {run.detail!r}, "
            f"orders {self.states(run.run_key)}, at the broker {busy}, trouble {self.desk.trouble}"
        )

    def report(self) -> str:
        """Return what a person needs who has to find out why."""
        tail = "\n".join(self.broker.log[-50:])
        knobs = told(draw(self.seed, Random(f"world {self.seed}")))
        replay = f"make world SEEDS=1 FIRST={self.seed}"
        return f"seed {self.seed}: {knobs}\n{tail}\nreplay: {replay}"


def _ways_to_send(random: Random) -> dict[str, object]:
    """Draw the kind of order and the window: half of the worlds have those of the defaults."""
    window = random.randint(1, 8) if random.random() < 0.5 else None
    return {"window": window, **random.choice(ORDER_KINDS)}


def _caps(random: Random) -> dict[str, object]:
    """Draw the limits on the number of orders: mostly none that a sensible run could reach."""
    wide: dict[str, object] = {"orders_per_run_max": 200, "orders_per_day_max": 2000}
    if random.random() < 0.25:
        wide["orders_per_second_max"] = random.randint(1, 5)
    if random.random() < 0.2:
        wide["orders_per_run_max"] = random.randint(2, 5)
    if random.random() < 0.2:
        wide["orders_per_day_max"] = random.randint(3, 25)
    return wide
