"""What happens to a world while there is chaos: faults of every kind, and what people do."""

import shutil
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING

from ibloop.adapters.ledger import orders, runs
from ibloop.adapters.ledger.connection import Connection
from ibloop.core.lifecycle import RUN_TERMINAL, OrderState, RunState
from ibloop.core.model import HaltLevel, MarketDataType, Moment, Side
from ibloop.errors import LockHeldError
from ibloop.signals.targets import parse_targets
from tests.fakes.house import PRICES, instrument
from tests.world.broker import SLOTS

if TYPE_CHECKING:
    from tests.world.world import World

SYMBOLS = tuple(PRICES)
KEYS_MAX = 6
RESTART_S = (20.0, 90.0)
"""How long a gateway is away that restarts."""
DRIFT = 0.012
"""The most that a price moves at once, as a fraction: twice that way is out of the collar."""
ODD_QUOTES: tuple[dict[str, object], ...] = (
    {"halted": True},
    {"bid": Decimal(60), "ask": Decimal(59)},
    {"bid": None},
    {"ask": Decimal(70)},
    {"market_data_type": MarketDataType.DELAYED},
)
"""Fresh, and no price to trade at: halted, crossed, one-sided, as wide as a barn door, delayed."""
AGE = timedelta(seconds=20)
"""Of a quote that has gone stale: more than any that may price an order."""
HOSTILE = ((3000, "0.0015"), (5, "10"), (500, "0.0018"))
"""What a builder asks for that has gone mad: how many symbols, and the weight of each. The first
two make no targets; the last does, and asks for more orders than any run may have."""


class Chaos:
    """Decides what happens when, from the streams of its world.

    ``hostile`` are the keys of runs that nobody in their senses would ask for; ``restored`` tells
    whether the ledger is a backup; ``restart_at`` when the gateway restarts.
    """

    def __init__(self, world: "World") -> None:
        """Begin with nothing due."""
        self.world = world
        self.hostile: list[str] = []
        self.restored = False
        self.restart_at: datetime | None = None
        self._keys = 0
        self._next: dict[str, float] = {}
        self._sides = Random(f"sides {world.seed}")
        self._stale = Random(f"stale {world.seed}")

    def end(self) -> None:
        """Let nothing more happen."""
        self._next.clear()
        self.restart_at = None

    def happen(self) -> None:
        """Let happen what is due."""
        self._connection_fails()
        self._process_fails()
        self._surroundings_fail()
        self._people_act()
        self._later_faults()

    def _due(self, name: str, each_s: float, random: Random | None = None) -> bool:
        """Tell whether something of a mean interval happens now."""
        if not each_s:
            return False
        now_s = self.world.broker.now_s()
        if name not in self._next:
            self._next[name] = now_s + (random or self.world.random).expovariate(1 / each_s)
        if now_s < self._next[name]:
            return False
        del self._next[name]
        return True

    def _connection_fails(self) -> None:
        knobs, broker, random = self.world.knobs, self.world.broker, self.world.random
        if self._due("cut", knobs.cut_each_s):
            broker.disconnect("cut")
        if self._due("link", knobs.link_each_s):
            broker.lose_link()
            broker.after(random.uniform(0, knobs.link_s), broker.restore_link)
        if self._due("freeze", knobs.freeze_each_s):
            broker.frozen = True
            broker.after(random.uniform(0, knobs.freeze_s), broker.thaw)

    def _process_fails(self) -> None:
        world, knobs = self.world, self.world.knobs
        if self._due("crash", knobs.crash_each_s) and not world.is_dead:
            world.die("killed")
        if self._due("stop", knobs.stop_each_s):
            world.stop(world.random.uniform(0, knobs.stop_s))
        if self._due("twin", knobs.twin_each_s) and not world.is_dead:
            self._twin()

    def _twin(self) -> None:
        """Start a second executor, as an operator by mistake: the first must end."""
        world = self.world
        world.broker._note("a twin takes over")
        old = world.desk
        world.broker.lose_client()
        world.run_in_executor(world.start)
        if not world.is_dead:
            try:
                old.poll()
            except LockHeldError:
                return
            raise AssertionError("expected the older executor to notice that it is not alone")

    def _surroundings_fail(self) -> None:
        world, knobs, random = self.world, self.world.knobs, self.world.random
        if self._due("clock", knobs.step_clock_each_s):
            world.clock.step_wall(random.choice((-1, 1)) * random.uniform(0, 90))
        if self._due("guard", knobs.guard_each_s):
            world.guard_silence = "no heartbeat"
            world.broker.after(random.uniform(0, knobs.guard_s), self._guard_back)
        if self._due("quote", knobs.quote_each_s):
            symbol = random.choice(SYMBOLS)
            world.quotes.freeze(symbol)
            world.broker.after(
                random.uniform(0, knobs.quote_s), _without(world.quotes.frozen, symbol)
            )
        if self._due("back up", knobs.back_up_each_s):
            with closing(Connection(str(world.backup))) as copy:
                world.eyes.backup(copy)
        if self._due("restore", knobs.restore_each_s):
            self._restore()

    def _guard_back(self) -> None:
        self.world.guard_silence = None

    def _restore(self) -> None:
        """Put the last backup in the place of the ledger, as a person does in a hurry."""
        world = self.world
        if not world.backup.exists():
            return
        world.die("a backup is restored")
        world.close()
        for path in world.directory.glob("ibloop.db*"):
            if not path.name.endswith(".mark"):
                path.unlink()
        shutil.copy(world.backup, world.directory / "ibloop.db")
        world.ledger = world.open_ledger()
        self.restored = True

    # --- what people do -----------------------------------------------------------------------

    def _people_act(self) -> None:
        world, knobs, random = self.world, self.world.knobs, self.world.random
        if self._due("halt", knobs.halt_each_s):
            level = random.choice(list(HaltLevel))
            world.halt(level)
            world.broker._note(f"halt {level}")
            world.broker.after(random.uniform(1, 60), world.resume)
        if self._due("foreign", knobs.foreign_each_s) and world.broker.placed:
            symbol = random.choice(SYMBOLS)
            side = random.choice(list(Side))
            world.broker.trade_by_hand(symbol, side, 3, world.broker.placed[0])
        if self._due("cancel run", knobs.cancel_run_each_s):
            world.cancel_run(self.key())
        if self._due("retry", 45.0):
            self._retry()

    def _retry(self) -> None:
        """Try a blocked run again, or ask for the next one, as an impatient operator would."""
        world, run = self.world, self.world.run(self.key())
        unknown = orders.in_states(world.ledger.db, {OrderState.UNKNOWN})
        if run.status is RunState.BLOCKED and not unknown:
            world.retry(run.run_key)
        elif run.status in RUN_TERMINAL and self._keys < KEYS_MAX:
            self._keys += 1
            self.ask()

    def ask(self) -> None:
        """Ask for the run of the present key."""
        self.world.queue(self.key(), self.weights())

    def key(self) -> str:
        """Return the key of the run that was asked for last."""
        return f"K{self._keys + 1}"

    def weights(self) -> dict[str, str]:
        """Return weights that a sensible builder may ask for."""
        random = self.world.random
        chosen = random.sample(SYMBOLS, random.randrange(1, len(SYMBOLS)))
        signs = ("", "", "-") if self.world.config.limits.short_allowed else ("",)
        return {s: f"{self._sides.choice(signs)}0.{random.randrange(2, 19):02}" for s in chosen}

    # --- the second stream --------------------------------------------------------------------

    def _later_faults(self) -> None:
        world, knobs, later = self.world, self.world.knobs, self.world.later
        broker = world.broker
        if self.restart_at is not None and world.clock.now().utc >= self.restart_at:
            self.restart_at = None
            broker.restart(later.uniform(*RESTART_S))
        if self._due("crowd", knobs.crowd_each_s, later):
            broker.slots = later.choice((0, 0, 1, 2, 5))
            broker.after(later.uniform(0, knobs.crowd_s), lambda: setattr(broker, "slots", SLOTS))
        if self._due("drift", knobs.drift_each_s, later):
            symbol, by = later.choice(SYMBOLS), Decimal(1 + later.uniform(-DRIFT, DRIFT))
            broker.prices[symbol] = (broker.prices[symbol] * by).quantize(Decimal("0.01"))
        if self._due("odd quote", knobs.odd_quote_each_s, later):
            symbol = later.choice(SYMBOLS)
            world.quotes.odd[symbol] = later.choice(ODD_QUOTES)
            broker.after(later.uniform(0, knobs.odd_quote_s), _without(world.quotes.odd, symbol))
        if self._due("stale", knobs.stale_each_s, self._stale):
            self._let_a_quote_age()
        if self._due("full", knobs.full_each_s, later):
            broker._note("the disk is full")
            world.full_until_s = broker.now_s() + later.uniform(0, knobs.full_s)
        if self._due("hostile", knobs.hostile_each_s, later) and not self.hostile:
            self._ask_for_too_much(later)

    def _let_a_quote_age(self) -> None:
        """Let nothing new be heard of a symbol whose order is about to leave."""
        world = self.world
        planned = orders.in_states(world.ledger.db, {OrderState.PLANNED})
        symbols = sorted({row.order.symbol for row in planned} & set(SYMBOLS))
        if symbols:
            symbol, now = self._stale.choice(symbols), world.clock.now()
            old = Moment(
                now.utc - AGE, now.boottime_ns - int(AGE.total_seconds() * 1e9), now.boot_id
            )
            world.quotes.freeze(symbol, received=old)
            end_s = self._stale.uniform(1, 10)
            world.broker.after(end_s, _without(world.quotes.frozen, symbol))

    def _ask_for_too_much(self, later: Random) -> None:
        """Queue a run that must be blocked before its first order (F36)."""
        world, (count, weight) = self.world, later.choice(HOSTILE)
        names = [f"X{n:04}" for n in range(count)]
        text = "\n".join(["symbol,weight", *(f"{name},{weight}" for name in names)])
        reading = parse_targets(text.encode(), names, short_allowed=True)
        world.broker._note(f"a hostile builder asks for {count} times {weight}")
        if reading.problems:
            return
        for number, name in enumerate(names, start=100):
            world.instruments[name] = instrument(name, number)
            world.broker.prices[name] = Decimal(10)
        self.hostile.append("H1")
        world.queue("H1", {target.symbol: str(target.weight) for target in reading.targets})

    def hostile_runs(self) -> list[runs.Run]:
        """Return the runs of the hostile builder that the ledger has."""
        found = (runs.find_key(self.world.ledger.db, key) for key in self.hostile)
        return [run for run in found if run is not None]


def _without(given: dict[str, object], symbol: str) -> Callable[[], None]:
    return lambda: given.pop(symbol, None)  # type: ignore[func-returns-value]
