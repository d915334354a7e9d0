"""One world: chaos from a seed, then healing, then the question whether all promises held."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

from ibloop.adapters.ledger import (
    acceptances,
    account,
    audit,
    commands,
    fills,
    halts,
    orders,
    runs,
)
from ibloop.adapters.ledger.acceptances import accepted
from ibloop.adapters.ledger.connection import Connection, Ledger, Tx, open_readonly
from ibloop.adapters.ledger.resolution import Decision, Fate, resolve
from ibloop.adapters.ledger.runs import Run
from ibloop.core import promises
from ibloop.core.lifecycle import RUN_TERMINAL, OrderState, RunReason, RunState
from ibloop.core.model import HaltLevel, Order, OrderType, Side
from ibloop.core.quotes import mid
from ibloop.core.retrying import Retry
from ibloop.daemons.executing.comparing import (
    accept_positions,
    explained_positions,
    standing_breaks,
)
from ibloop.daemons.executing.run_commands import ACCEPT_LEDGER
from ibloop.errors import LockHeldError, RefusedError
from tests.fakes.house import CASH, HELD, House, SimCrashError
from tests.world.broker import ENDED, WorldBroker
from tests.world.knobs import CALM, draw, told

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
        self.broken_now: list[promises.Broken] = []
        self._dead_until_s = 0.0
        self._stopped_until_s = 0.0
        self._reconnect_s = 0.0
        self._next: dict[str, float] = {}
        self._keys = 0
        self._let_go = set[str]()
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
        self.broker.on_place = self._watch_place
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
        self.verdict()

    def _tick(self, idle_s: float) -> None:
        """Let time go to the next thing that happens, at most ``idle_s``."""
        next_s, now_s = self.broker.next_s(), self.broker.now_s()
        wait_s = idle_s if next_s is None else min(idle_s, max(0.02, next_s - now_s))
        self.clock.advance(wait_s)
        self.broker.run_due()
        self._live_on()
        self._watch_ends()

    def _watch_ends(self) -> None:
        """No order has ended, by the ledger, while it works at the broker (F14)."""
        dead = {OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED}
        for live in self.broker.live:
            if live.status not in ENDED and live.order.client_order_id and not self.restored:
                row = orders.find(self.eyes, live.order.client_order_id)
                if row is not None and row.order.status in dead:
                    self._break("F14", f"{live.order.client_order_id} is said to have ended")

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
            self._decide()
        raise AssertionError(f"expected rest within {HEAL_S} s: {self._state()}")

    def _at_rest(self) -> bool:
        """Tell whether the last run has ended well and nothing is left to do."""
        run = self.run(self._key())
        busy = any(live.status not in ENDED for live in self.broker.live)
        done = run.status in RUN_TERMINAL and self.desk.trouble is None
        explained = not standing_breaks(self.ledger.db)
        return done and explained and not busy and self.desk.ready() and not self._dead_until_s

    def _decide(self) -> None:
        """Do what a person does who can see the truth."""
        for row in orders.in_states(self.ledger.db, {OrderState.UNKNOWN}):
            self._resolve(row.order)
        trouble = self.desk.trouble
        if trouble is not None and trouble.reason is RunReason.PROMISE_BROKEN:
            raise AssertionError(f"expected no broken promise: {trouble.detail}")
        if trouble is not None and trouble.reason is RunReason.LEDGER_BEHIND:
            self._accept_ledger()
        if standing_breaks(self.ledger.db):
            self._accept_positions()
        run = self.run(self._key())
        unknown = orders.in_states(self.ledger.db, {OrderState.UNKNOWN})
        if run.status is RunState.BLOCKED and not unknown:
            self.retry(run.run_key)

    def _accept_ledger(self) -> None:
        """Cancel in TWS what this ledger does not know, then accept the ledger."""
        assert self.restored or self._all_came_dead(), (
            f"expected no restored ledger: {self.desk.trouble}"
        )
        for live in self.broker.live:
            row = orders.find(self.ledger.db, live.order.client_order_id)
            if row is None or row.order.sent_at is None:
                self.broker._end(live, "Cancelled")
        self.broker._note("ledger accepted")
        with self._whole() as tx:
            now = self.clock.now().utc
            commands.request(tx, ACCEPT_LEDGER, {"reason": "restored"}, "ann", now)

    def _all_came_dead(self) -> bool:
        """Tell whether what is strange was proven not sent, and then arrived after its expiry.

        A gateway may hold an order back for longer than the proof waits. It cannot trade any more,
        and the broker shows what the ledger denies: a person accepts that.
        """
        rows = ((x, orders.find(self.ledger.db, x.order.client_order_id)) for x in self.broker.live)
        denied = [x for x, row in rows if row and row.order.status == OrderState.NOT_SENT]
        return bool(denied) and all(live.came_dead for live in denied)

    def _resolve(self, order: Order) -> None:
        """Resolve an unknown order as a person would who looks into TWS and the statement."""
        found = [x for x in self.broker.live if x.order.client_order_id == order.client_order_id]
        if not found:
            decision = Decision(Fate.NOT_SENT, "not at the broker")
        elif found[0].status not in ENDED:
            decision = Decision(Fate.WORKING, "in TWS", perm_id=found[0].perm_id)
        else:
            missing = found[0].filled - order.filled_quantity
            price = self.broker.prices[order.symbol]
            fate = Fate.FILLED if found[0].filled == order.quantity else Fate.CANCELED
            more = {"quantity": missing, "price": price} if missing > 0 else {}
            decision = Decision(fate, "in the statement", **more)  # type: ignore[arg-type]
        row = orders.find(self.ledger.db, order.client_order_id)
        assert row is not None
        self.broker._note(f"resolve {order.client_order_id} as {decision.fate}")
        try:
            with self._whole() as tx:
                resolve(tx, row, decision, self.clock.now().utc, "ann")
        except RefusedError as error:
            self.broker._note(f"refused: {error}")

    def _accept_positions(self) -> None:
        """Accept positions that executions of another day explain, and nothing else."""
        _, lines = explained_positions(self.ledger.db)
        symbols = [line.symbol for line in lines if line.difference]
        held = {p.symbol: p.quantity for p in account.positions(self.ledger.db)}
        truth = {s: q for s, q in self.broker.positions.items() if q}
        if held != truth:
            return
        now = self.clock.now().utc
        try:
            with self._whole() as tx:
                accept_positions(tx, symbols, reason="of another day", now=now, actor="ann")
            self.broker._note(f"positions accepted: {symbols}")
            self._let_corrections_go(symbols)
        except RefusedError as error:
            self.broker._note(f"refused: {error}")

    def _let_corrections_go(self, symbols: list[str]) -> None:
        """Give up the corrections nobody told of that IB has forgotten over night."""
        shown = {execution.exec_id for execution in self.broker._shown_executions()}
        self._let_go |= {
            e.client_order_id
            for e in self.broker.executions()
            if e.symbol in symbols and e.exec_id not in shown and not e.exec_id.endswith(".01")
        }

    # --- promises -----------------------------------------------------------------------------

    def _watch_place(self, order: Order) -> None:
        """Ask what must be so at the moment the bytes leave."""
        db, ref = self.eyes, order.client_order_id
        row = orders.find(db, ref)
        if row is None or row.order.status != OrderState.SENDING:
            self._break("P2", f"{ref} left without a committed row in SENDING")
            return
        if row.order != order:
            self._break("P2", f"{ref} left as something else than was journalled")
        if sum(1 for placed in self.broker.placed if placed.client_order_id == ref) > 1:
            self._break("P1", f"{ref} was sent twice")
        ids = [placed.ib_order_id for placed in self.broker.placed]
        if len(ids) != len(set(ids)):
            self._break("P1", f"order id {order.ib_order_id} was used twice")
        run = runs.find(db, order.run_id)
        if run is None or run.status is not RunState.EXECUTING:
            self._break("P6", f"{ref} left while its run was {run and run.status}")
        self._watch_halt(row.order)
        quote = self.quotes.read([order.symbol]).get(order.symbol)
        oldest_s = self.config.quotes.quote_age_s_max
        if quote is None or self.clock.now().age_s(quote.received) > oldest_s or mid(quote) is None:
            self._break("P11", f"{ref} left on a stale price")
        if run and run.deadline_at and order.good_till > run.deadline_at:
            self._break("P12", f"{ref} outlives its run")
        self._watch_window(row.order)

    def _watch_halt(self, order: Order) -> None:
        """A halt that was committed before the order was journalled is obeyed; rows tell."""
        rows = audit.of_subject(self.eyes, order.client_order_id)
        journalled = max(row.seq for row in rows if row.event == "order.journalled")
        for halt in halts.active(self.eyes):
            requested = max(
                row.seq
                for row in audit.of_subject(self.eyes, str(halt.halt_id))
                if row.event == "halt.requested"
            )
            if halt.level is not HaltLevel.REDUCE_ONLY and requested < journalled:
                self._break("P7", f"{order.client_order_id} left under a halt")

    def _watch_window(self, order: Order) -> None:
        """The canary travels alone; then at most a window is unacknowledged."""
        rows = [r.order for r in orders.of_run(self.ledger.db, order.run_id)]
        attempt = orders.find(self.ledger.db, order.client_order_id)
        assert attempt is not None
        mine = [
            r.order
            for r in orders.of_run(self.ledger.db, order.run_id, attempt.attempt)
            if r.order.sent_at
        ]
        in_flight = [o for o in mine if o.status == OrderState.SENDING]
        proven = any(o.perm_id or o.filled_quantity for o in mine)
        most = self.config.order_window if proven else 1
        if len(in_flight) > most:
            self._break("W", f"{len(in_flight)} of {len(rows)} unacknowledged, allowed {most}")
        unknown = orders.in_states(self.ledger.db, {OrderState.UNKNOWN})
        if unknown:
            self._break("P16", f"{order.client_order_id} left while an order was unknown")

    def _break(self, promise: str, detail: str) -> None:
        if promises.Broken(promise, detail) in self.broken_now:
            return
        self.broker._note(f"BROKEN {promise}: {detail}")
        self.broken_now.append(promises.Broken(promise, detail))

    def verdict(self) -> None:
        """Compare ledger and truth. Raises: AssertionError."""
        found = [*self.broken_now, *self._final()]
        assert not found, "\n".join(f"{b.promise}: {b.detail}" for b in found)

    def _final(self) -> list[promises.Broken]:
        db, broker = self.ledger.db, self.broker
        known = [
            promises.Fill(f.exec_id, f.client_order_id, f.symbol, f.signed_quantity)
            for f in fills.everything(db)
        ]
        by_hand = {f.exec_id for f in fills.everything(db) if f.exec_id.startswith("resolved:")}
        truth = [e for e in broker.executions() if self._is_known_to_ledger(e.client_order_id)]
        sent = [row.order for row in orders.all_sent(db)]
        shown = [o for o in broker.orders() if self._is_known_to_ledger(o.client_order_id)]
        found = list(promises.check(sent, known, shown, truth, self.config.account, accepted(db)))
        if not by_hand and not self._accepted():
            start = {symbol: Decimal(quantity) for symbol, quantity in HELD.items()}
            found += promises.position_breaks(start, known, broker._shown_positions())
        for live in broker.live:
            order = live.order
            if order.client_order_id in self._let_go:
                continue
            if order.client_order_id and order.order_type is OrderType.LMT:
                row = orders.find(db, order.client_order_id)
                if row is not None and row.order.filled_quantity != live.filled:
                    text = f"{live.filled} filled, the ledger says {row.order.filled_quantity}"
                    found.append(promises.Broken("P3", f"{order.client_order_id}: {text}"))
        return found

    def _accepted(self) -> bool:
        return acceptances.positions_baseline(self.ledger.db) is not None

    def _is_known_to_ledger(self, ref: str) -> bool:
        """Leave out executions of a forgotten day that a person entered by hand or accepted."""
        by_hand = {
            f.client_order_id
            for f in fills.everything(self.ledger.db)
            if f.exec_id.startswith("resolved:")
        }
        known = not self.restored or not ref or orders.find(self.ledger.db, ref) is not None
        known = known and ref not in self._let_go
        return known and ref not in by_hand and not (self._accepted() and not ref)

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
