"""One world: chaos from a seed, then healing, then the question whether all promises held."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

from ibloop.adapters.ledger import (
    halts,
    orders,
    runs,
)
from ibloop.adapters.ledger.connection import Connection, Ledger, Tx, open_readonly
from ibloop.adapters.ledger.runs import Run
from ibloop.core.lifecycle import RUN_TERMINAL, OrderState, RunState
from ibloop.core.model import HaltLevel, Side
from ibloop.core.retrying import Retry
from ibloop.daemons.executing.comparing import (
    standing_breaks,
)
from ibloop.errors import LockHeldError
from tests.fakes.house import CASH, House, SimCrashError
from tests.world.broker import ENDED, WorldBroker
from tests.world.judge import Judge
from tests.world.knobs import CALM, draw, told
from tests.world.person import Person

CHAOS_S = (60, 900)
HEAL_S = 3 * 3600
STEPS_AT_ONCE = 200
MARGIN_ACCOUNTS = 0.2
"""Of the worlds: those whose account asks for its margin and may be short."""
RESTART_S = 3.0
"""How long a dead executor stays dead: systemd's RestartSec and its start."""


class World(House):
    """The executor of a house in a world that one seed decides."""

    broker: WorldBroker  # type: ignore[assignment]

    def __init__(self, directory: Path, seed: int) -> None:
        """Draw the knobs and open the ledger."""
        self.seed = seed
        self.random = Random(f"world {seed}")
        self.knobs = draw(self.random)
        self.judge = Judge(self)
        self.person = Person(self)
        self._dead_until_s = 0.0
        self._stopped_until_s = 0.0
        self._reconnect_s = 0.0
        self._next: dict[str, float] = {}
        self._keys = 0
        has_margin = Random(f"borrows {seed}").random() < MARGIN_ACCOUNTS
        self._sides = Random(f"sides {seed}")
        policy = Random(f"retry {seed}").choice(list(Retry))
        super().__init__(
            directory,
            execution={"retry": policy},
            orders_per_run_max=200,
            orders_per_day_max=2000,
            margin_check=has_margin,
            short_allowed=has_margin,
        )
        self.deadline = timedelta(minutes=self.random.choice((2, 5, 10)))
        self.broker.on_place = self.judge.watch_place
        self.broker.boundary = self._boundary

    def make_broker(self, prices: dict[str, Decimal], held: dict[str, Decimal]) -> WorldBroker:  # type: ignore[override]
        """Return the broker that misbehaves."""
        return WorldBroker(
            self.clock, self.random, self.knobs, self.instruments, prices, CASH, held
        )

    # --- the executor's process ---------------------------------------------------------------

    def open_ledger(self) -> Ledger:
        """Open the ledger so that the process may die before and after each commit."""
        ledger = super().open_ledger()
        self._whole = whole = ledger.transaction
        self.eyes = open_readonly(self.directory / "ibloop.db")

        @contextmanager
        def transaction() -> Iterator[Tx]:
            self._race()
            with whole() as tx:
                yield tx
                self._boundary("before commit")
            self._boundary("after commit")

        ledger.transaction = transaction  # type: ignore[method-assign]
        return ledger

    def close(self) -> None:
        """Close the ledger."""
        self.eyes.close()
        self.ledger.close()

    def _race(self) -> None:
        """Let a halt be committed between whatever the executor has looked at and its write."""
        if self._in_executor and self.broker._chance(self.knobs.halt_race):
            self.broker._note("halt just before a transaction")
            self._halt(HaltLevel.PAUSE)
            self.broker.after(self.random.uniform(1, 40), self._resume)

    def _halt(self, level: HaltLevel) -> None:
        with self._whole() as tx:
            halts.halt(tx, level, "a test", "cli", "ann", self.clock.now().utc)

    def _boundary(self, name: str) -> None:
        if self._in_executor and self.knobs.crash and self.random.random() < self.knobs.crash:
            raise SimCrashError(name)

    _in_executor = False
    restored = False

    def _die(self, why: str) -> None:
        self.broker._note(f"executor dies: {why}")
        self.broker.lose_client()
        self._dead_until_s = self.broker.now_s() + RESTART_S

    def _live_on(self) -> None:
        """Step the executor, unless it is dead, stopped or without anything to do."""
        now_s = self.broker.now_s()
        if now_s < self._stopped_until_s:
            return
        if self._dead_until_s:
            if now_s < self._dead_until_s:
                return
            self._dead_until_s = 0.0
            self._run_in_executor(self.start)
        if not self.broker.connected and not self._dead_until_s:
            self._connect(now_s)
        for _ in range(STEPS_AT_ONCE):
            if self._dead_until_s or not self._run_in_executor(self.trader.step):
                return
            self.broker.run_due()

    def _run_in_executor(self, action: object) -> bool:
        self._in_executor = True
        try:
            return bool(action())  # type: ignore[operator]
        except SimCrashError as error:
            self._die(f"at {error}")
        except LockHeldError:
            self._die("another one took over")
        finally:
            self._in_executor = False
        return False

    def _connect(self, now_s: float) -> None:
        if not self._reconnect_s:
            self._reconnect_s = now_s + self.random.uniform(0, self.knobs.away_s)
        elif now_s >= self._reconnect_s:
            self._reconnect_s = 0.0
            self.broker.connect()

    # --- what the world does ------------------------------------------------------------------

    def play_out(self) -> None:
        """Chaos, healing, verdict. Raises: AssertionError with what was broken."""
        self.queue("K1", self._weights())
        chaos_s = self.random.uniform(*CHAOS_S)
        until_s = self.broker.now_s() + chaos_s
        while self.broker.now_s() < until_s:
            self._happen()
            self._tick(1.0)
        if self.random.random() < self.knobs.midnight:
            self.clock.advance(24 * 3600)
            self.broker.run_due()
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

    def _due(self, name: str, each_s: float) -> bool:
        """Tell whether something of a mean interval happens now."""
        if not each_s:
            return False
        now_s = self.broker.now_s()
        if name not in self._next:
            self._next[name] = now_s + self.random.expovariate(1 / each_s)
        if now_s < self._next[name]:
            return False
        del self._next[name]
        return True

    def _happen(self) -> None:
        knobs, broker, now_s = self.knobs, self.broker, self.broker.now_s()
        if self._due("cut", knobs.cut_each_s):
            broker.disconnect("cut")
        if self._due("link", knobs.link_each_s):
            broker.set_link(up=False)
            broker.after(self.random.uniform(0, knobs.link_s), lambda: broker.set_link(up=True))
        if self._due("freeze", knobs.freeze_each_s):
            broker.frozen = True
            broker.after(self.random.uniform(0, knobs.freeze_s), self._thaw)
        if self._due("crash", knobs.crash_each_s) and not self._dead_until_s:
            self._die("killed")
        if self._due("stop", knobs.stop_each_s):
            self._stopped_until_s = now_s + self.random.uniform(0, knobs.stop_s)
        if self._due("twin", knobs.twin_each_s) and not self._dead_until_s:
            self._twin()
        if self._due("clock", knobs.step_clock_each_s):
            self.clock.step_wall(self.random.choice((-1, 1)) * self.random.uniform(0, 90))
        if self._due("guard", knobs.guard_each_s):
            self.guard_silence = "no heartbeat"
            broker.after(self.random.uniform(0, knobs.guard_s), self._guard_back)
        if self._due("quote", knobs.quote_each_s):
            symbol = self.random.choice(list(self.instruments))
            self.quotes.freeze(symbol)
            broker.after(
                self.random.uniform(0, knobs.quote_s), lambda: self.quotes.frozen.pop(symbol, None)
            )
        if self._due("back up", knobs.back_up_each_s):
            self._back_up()
        if self._due("restore", knobs.restore_each_s):
            self._restore()
        self._people_act()

    def _back_up(self) -> None:
        with closing(Connection(str(self._backup))) as copy:
            self.eyes.backup(copy)

    def _restore(self) -> None:
        """Put the last backup in the place of the ledger, as a person does in a hurry."""
        if not self._backup.exists():
            return
        self._die("a backup is restored")
        self.close()
        for path in self.directory.glob("ibloop.db*"):
            if not path.name.endswith(".mark"):
                path.unlink()
        shutil.copy(self._backup, self.directory / "ibloop.db")
        self.ledger = self.open_ledger()
        self.restored = True

    @property
    def _backup(self) -> Path:
        return self.directory / "backup.db"

    def _thaw(self) -> None:
        self.broker.frozen = False

    def _guard_back(self) -> None:
        self.guard_silence = None

    def _twin(self) -> None:
        """Start a second executor, as an operator by mistake: the first must end."""
        self.broker._note("a twin takes over")
        old = self.desk
        self.broker.lose_client()
        self._run_in_executor(self.start)
        if not self._dead_until_s:
            try:
                old.poll()
            except LockHeldError:
                return
            raise AssertionError("expected the older executor to notice that it is not alone")

    def _people_act(self) -> None:
        knobs = self.knobs
        if self._due("halt", knobs.halt_each_s):
            level = self.random.choice(list(HaltLevel))
            self._halt(level)
            self.broker._note(f"halt {level}")
            self.broker.after(self.random.uniform(1, 60), self._resume)
        if self._due("foreign", knobs.foreign_each_s) and self.broker.placed:
            symbol = self.random.choice(list(self.instruments))
            side = self.random.choice(list(Side))
            self.broker.trade_by_hand(symbol, side, 3, self.broker.placed[0])
        if self._due("cancel run", knobs.cancel_run_each_s):
            self.cancel_run(self._key())
        if self._due("retry", 45.0):
            self._retry()

    def _resume(self) -> None:
        with self._whole() as tx:
            halts.resume(tx, "ann", "go on", self.clock.now().utc)

    def _retry(self) -> None:
        """Try a blocked run again, or ask for the next one, as an impatient operator would."""
        run = self.run(self._key())
        unknown = orders.in_states(self.ledger.db, {OrderState.UNKNOWN})
        if run.status is RunState.BLOCKED and not unknown:
            self.retry(run.run_key)
        elif run.status in RUN_TERMINAL and self._keys < 6:
            self._keys += 1
            self.queue(self._key(), self._weights())

    def run(self, key: str = "K1") -> Run:
        """Return a run; one that a restored ledger does not have is asked for again."""
        if runs.find_key(self.ledger.db, key) is None:
            self.queue(key, self._weights())
        return super().run(key)

    def _key(self) -> str:
        return f"K{self._keys + 1}"

    def _weights(self) -> dict[str, str]:
        names = list(self.instruments)
        chosen = self.random.sample(names, self.random.randrange(1, len(names)))
        signs = ("", "", "-") if self.config.limits.short_allowed else ("",)
        return {
            name: f"{self._sides.choice(signs)}0.{self.random.randrange(2, 19):02}"
            for name in chosen
        }

    # --- healing ------------------------------------------------------------------------------

    def _heal(self) -> None:
        """End every fault, let a person decide what is left, and demand that all comes to rest."""
        self.knobs = self.broker.knobs = CALM
        self.broker.frozen = False
        self.broker.set_link(up=True)
        self.guard_silence = None
        self.quotes.frozen.clear()
        self._stopped_until_s = 0.0
        self._next.clear()
        self._resume()
        self.gate = None
        started_s = self.broker.now_s()
        while self.broker.now_s() - started_s < HEAL_S:
            for _ in range(40):
                self._tick(2.0)
            if self._at_rest():
                return
            self.person.decide()
        raise AssertionError(f"expected rest within {HEAL_S} s: {self._state()}")

    def _at_rest(self) -> bool:
        """Tell whether the last run has ended well and nothing is left to do."""
        run = self.run(self._key())
        busy = any(live.status not in ENDED for live in self.broker.live)
        done = run.status in RUN_TERMINAL and self.desk.trouble is None
        explained = not standing_breaks(self.ledger.db)
        return done and explained and not busy and self.desk.ready() and not self._dead_until_s

    def _state(self) -> str:
        run = self.run(self._key())
        busy = [x.order.client_order_id for x in self.broker.live if x.status not in ENDED]
        return (
            f"run {run.run_key} {run.status} {run.reason} {run.detail!r}, "
            f"orders {self.states(run.run_key)}, at the broker {busy}, trouble {self.desk.trouble}"
        )

    def report(self) -> str:
        """Return what a person needs who has to find out why."""
        tail = "\n".join(self.broker.log[-50:])
        knobs = told(draw(Random(f"world {self.seed}")))
        replay = f"make world SEEDS=1 FIRST={self.seed}"
        return f"seed {self.seed}: {knobs}\n{tail}\nreplay: {replay}"
