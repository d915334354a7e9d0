"""One round: the daemons as processes, what happens to them, the people, healing, the verdict."""

import os
import signal
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ibloop.adapters.ledger import halts, orders, runs
from ibloop.adapters.ledger.connection import Connection, open_readonly
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.simcontrol import SimControl
from ibloop.adapters.universe import samples_dir
from ibloop.config import BUILTIN_TOML, parse
from ibloop.core.lifecycle import ORDER_AT_BROKER, RUN_TERMINAL, OrderState, RunReason, RunState
from ibloop.errors import GatewayUnavailableError
from tests.chaos import verdict
from tests.chaos.plan import CHAOS_S, GATEWAY, SIMULATOR, Act, Kind, draw
from tests.chaos.verdict import Halted
from tests.e2e.conftest import WELL, Loop, children

HEAL_S = 150.0
"""By when everything must be at rest after healing.

An order that never arrived is proven not sent when it has expired, after a minute; the retry then
waits 10 s for positions to settle.
"""
EXPIRED = timedelta(seconds=8)
"""How long after its end a person decides about an order that evidence has not."""
KNOWN_S_MAX = 30.0
"""By when evidence must have found every order that the broker has."""
ON_SEND_S_MAX = 2.0
TICK_S = 0.02
PEOPLE_S = 1.5
TARGETS = ("initial", "weekly")
_UNKNOWN = OrderState.UNKNOWN
GRAVE = frozenset(
    {RunReason.PROMISE_BROKEN, RunReason.LEDGER_BEHIND, RunReason.POSITION_BREAK},
)
"""Reasons of a blocked run that no fault can excuse: the ledger has contradicted the broker."""

CHANGES = {
    'launcher = "sim"': 'launcher = "sim"\nsim_args = ["--speed", "10", "--seed", "{seed}"]',
    "orders_per_second_max = 20": "orders_per_second_max = 4",
    "orders_per_day_max = 200": "orders_per_day_max = 2000",
    "day_turnover_weight_max = 20.0": "day_turnover_weight_max = 500.0",
    "heartbeat_age_s_max = 10": "heartbeat_age_s_max = 4",
    "absence_spacing_s = 5": "absence_spacing_s = 1\nack_timeout_s = 3\ndeadline_minutes = 1",
    "absence_after_expiry_s = 5": "absence_after_expiry_s = 1",
}
"""To the built-in profile, so that a run takes some seconds and silence is soon noticed."""


def profile(seed: int) -> str:
    """Return the configuration of a round."""
    text = BUILTIN_TOML
    for old, new in CHANGES.items():
        assert old in text, f"expected {old!r} in the built-in profile"
        text = text.replace(old, new.replace("{seed}", str(seed)), 1)
    return text


class BrokenError(AssertionError):
    """A round that has shown a defect."""


class Stage:
    """The daemons of one round, and everything that happens to them."""

    def __init__(self, directory: Path, seed: int, bug: tuple[str, ...] = ()) -> None:
        """Make the data directory; ``bug`` is the command of an executor with a planted bug."""
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "chaos.toml"
        config.write_text(profile(seed), encoding="utf-8")
        self.seed = seed
        self.story: list[str] = []
        self._loop = Loop(directory / "data", config)
        if bug:
            self._loop.commands["executor"] = bug
        self._client_id = parse(profile(seed), "chaos").gateway.client_ids.executor
        self._begun_s = time.monotonic()
        self._due: list[tuple[float, Kind, str, int]] = []
        self._halted: list[Halted] = []
        self._halted_since: datetime | None = None
        self._keys = 0
        self._looked_s = 0.0
        self._seen: tuple[object, ...] = ()
        self._healed_s: float | None = None
        self._gateway_struck = False

    def play(self) -> None:
        """Play the round. Raises: AssertionError with what was broken."""
        loop = self._loop
        try:
            loop.start(*WELL)
            loop.await_well(*WELL)
            self._begun_s = time.monotonic()
            acts = draw(self.seed, self._client_id)
            for act in acts:
                if not act.at_s:
                    self._do(act)
            self._queue()
            for act in (act for act in acts if act.at_s):
                self._until(act.at_s)
                if act.on_send:
                    self._await_send()
                self._do(act)
            self._until(CHAOS_S)
            self._heal()
            check = loop.ask("db", "check")
            _demand([] if check.returncode == 0 else [f"db check: {check.stdout}{check.stderr}"])
        finally:
            self._end()

    def report(self) -> str:
        """Return what a person needs who has to find out why."""
        told = "\n".join(self.story)
        return f"seed {self.seed}:\n{told}\nreplay: make chaos SEEDS=1 FIRST={self.seed}"

    # --- time ---------------------------------------------------------------------------------

    def _now_s(self) -> float:
        return time.monotonic() - self._begun_s

    def _note(self, text: str) -> None:
        self.story.append(f"  {self._now_s():6.2f} s  {text}")

    def _until(self, at_s: float) -> None:
        while self._now_s() < at_s:
            self._tick()
            time.sleep(TICK_S)

    def _await_send(self) -> None:
        """Wait for the next order to be journalled; the socket write is microseconds away."""
        end_s, before = self._now_s() + ON_SEND_S_MAX, None
        with closing(self._ledger()) as db:
            while self._now_s() < end_s:
                sent = len(orders.all_sent(db))
                if before is not None and sent > before:
                    return
                before = sent
                if self._is_due():
                    self._tick()
                time.sleep(0.001)

    def _is_due(self) -> bool:
        return any(at_s <= self._now_s() for at_s, *_ in self._due)

    def _tick(self) -> None:
        """Do what is due: the service manager restarts, the stopped go on, people look."""
        for item in [item for item in self._due if item[0] <= self._now_s()]:
            self._due.remove(item)
            self._undo(*item[1:])
        for name, process in self._loop.running.items():
            code = process.poll()
            if code is not None:
                log = self._loop.log(name).read_text(encoding="utf-8")[-3000:]
                raise BrokenError(f"{name} has ended by itself with {code}:\n{log}")
        if self._now_s() - self._looked_s > PEOPLE_S:
            self._looked_s = self._now_s()
            self._people()

    # --- what happens -------------------------------------------------------------------------

    def _do(self, act: Act) -> None:
        self._note(str(act))
        match act.kind:
            case Kind.KILL | Kind.STOP:
                self._strike(act)
            case Kind.FAULT:
                self._begin(act)
            case Kind.HALT if self._halted_since is None:
                level = str(act.parameters.get("level", "pause"))
                said = self._loop.ask("halt", "chaos", "--level", level)
                _demand([] if said.returncode == 0 else [f"halt: {said.stderr}"])
                self._halted_since = datetime.now(UTC)
                self._later(act, 0)

    def _strike(self, act: Act) -> None:
        """Kill or stop a process that is there."""
        pid = self._pid(act.target)
        if pid is None:
            return
        self._gateway_struck |= act.target in {GATEWAY, SIMULATOR}
        if act.kind is Kind.STOP:
            os.kill(pid, signal.SIGSTOP)
            self._later(act, pid)
        elif act.target == SIMULATOR:
            os.kill(pid, signal.SIGKILL)  # its daemon starts the next one
        else:
            self._loop.kill(act.target)
            self._later(act, 0)

    def _pid(self, name: str) -> int | None:
        process = self._loop.running.get(GATEWAY if name == SIMULATOR else name)
        if process is None or name != SIMULATOR:
            return process and process.pid
        return next(iter(children(process.pid)), None)

    def _begin(self, act: Act) -> None:
        """Let a fault begin, unless there is no simulator to have it."""
        try:
            self._control().fault(act.target, **act.parameters)
        except GatewayUnavailableError as error:
            self._excuse(error)

    def _control(self) -> SimControl:
        """Return the simulator's control port. Raises: GatewayUnavailableError without one."""
        beat = self._loop.beat(GATEWAY)
        port = beat and beat.document.get("control_port")
        if not port:
            raise GatewayUnavailableError("the gateway has no control port now")
        return SimControl(int(port))

    def _truth(self) -> dict[str, Any] | None:
        """Return the broker's truth, nothing while the gateway recovers."""
        try:
            return self._control().truth()
        except GatewayUnavailableError as error:
            self._excuse(error)
            return None

    def _excuse(self, error: GatewayUnavailableError) -> None:
        """Take it that the simulator cannot be asked, if this round has struck it."""
        if not self._gateway_struck:
            raise error

    def _later(self, act: Act, pid: int) -> None:
        self._due.append((self._now_s() + act.seconds, act.kind, act.target, pid))

    def _undo(self, kind: Kind, name: str, pid: int) -> None:
        """Start what was killed, continue what was stopped unless it was killed, resume."""
        if kind is Kind.KILL:
            self._loop.start(name)
        elif kind is Kind.STOP and self._pid(name) == pid:
            os.kill(pid, signal.SIGCONT)
            if name == SIMULATOR and self._halted_since is not None:
                # Only now it reads what had left before the halt.
                self._halted_since = datetime.now(UTC)
        elif kind is Kind.HALT:
            self._resume()

    def _resume(self) -> None:
        if self._halted_since is not None:
            self._halted.append(Halted(self._halted_since, datetime.now(UTC)))
            self._halted_since = None
        said = self._loop.ask("resume", "chaos is over")
        self._note(f"resume: {said.returncode}")

    # --- people -------------------------------------------------------------------------------

    def _queue(self) -> None:
        """Ask for the next run; one that the gates block is retried later."""
        key, targets = f"K{self._keys + 1}", TARGETS[self._keys % len(TARGETS)]
        path = samples_dir() / f"targets-{targets}.csv"
        said = self._loop.ask("rebalance", "--targets", path, "--key", key)
        self._note(f"rebalance {key} to {targets}: {said.returncode}")
        with closing(self._ledger()) as db:
            if runs.find_key(db, key) is not None:
                self._keys += 1

    def _people(self) -> None:
        """Resolve, retry, ask for the next run when one has ended, as an operator would."""
        self._look()
        self._decide()
        with closing(self._ledger()) as db:
            run, unknown = self._run(db), orders.in_states(db, {_UNKNOWN})
        if run is None or (run.status in RUN_TERMINAL and self._now_s() < CHAOS_S):
            self._queue()
        elif run.status is RunState.BLOCKED and not unknown and self._halted_since is None:
            said = self._loop.ask("run", "retry", run.run_key)
            self._note(f"retry {run.run_key} ({run.reason}): {said.returncode}")

    def _look(self) -> None:
        """Fail at once for what no healing can mend."""
        with closing(self._ledger()) as db:
            run = self._run(db)
        told, truth = verdict.ends_told(self._loop.data / "ibloop.db"), self._truth()
        if run is not None and self._seen != (run.run_key, run.attempt, run.status):
            self._seen = (run.run_key, run.attempt, run.status)
            why = f": {run.reason}, {run.detail}" if run.reason else ""
            self._note(f"{run.run_key} is {run.status}{why}")
        if truth is not None:
            _demand(verdict.always(truth, self._halted))
            _demand(list(verdict.ended_early(told, truth)))
        if run is not None and run.reason in GRAVE:
            raise BrokenError(f"run {run.run_key} is {run.status}: {run.reason}: {run.detail}")

    # --- healing ------------------------------------------------------------------------------

    def _heal(self) -> None:
        """End every fault, start and continue everything, and demand that all comes to rest."""
        self._note("heal")
        for item in self._due:
            self._undo(*item[1:])
        self._due.clear()
        self._healed_s = self._now_s()
        self._clear_faults()
        while found := self._unrest():
            if self._waited_s() > HEAL_S:
                raise BrokenError("\n".join(("not at rest after healing:", *found)))
            self._tick()
            time.sleep(0.1)
        self._note("at rest")

    def _clear_faults(self) -> None:
        while self._truth() is None:
            _demand(["the gateway does not recover"] if self._waited_s() > HEAL_S else [])
            self._tick()
            time.sleep(0.1)
        self._control().fault("clear")

    def _unrest(self) -> list[str]:
        """Return what is still to be done, or still differs."""
        ill = [name for name in WELL if not self._is_well(name)]
        with closing(self._ledger()) as db:
            run = self._run(db)
            busy = [row.order for row in orders.in_states(db, ORDER_AT_BROKER)]
        truth = self._truth()
        if truth is None:
            return ["the simulator does not answer"]
        working = [o["orderRef"] for o in truth["orders"] if o["status"] not in verdict.STATES]
        found = [f"{name} is not well: {self._loop.beat(name)}" for name in ill]
        found += [f"{order.client_order_id} is {order.status}" for order in busy]
        found += [f"{ref} works at the broker" for ref in working]
        if run is None or run.status not in RUN_TERMINAL:
            found.append(f"run {run and (run.run_key, run.status, run.reason, run.detail)}")
        return found or verdict.at_rest(self._loop.data / "ibloop.db", truth)

    def _is_well(self, name: str) -> bool:
        process, beat = self._loop.running.get(name), self._loop.beat(name)
        return process is not None and (beat.pid, beat.status) == (process.pid, WELL[name])

    def _waited_s(self) -> float:
        """Return for how long everything has been healed; below zero before."""
        return -1.0 if self._healed_s is None else self._now_s() - self._healed_s

    def _decide(self) -> None:
        """Do what is left to a person who can see the truth."""
        truth = self._truth()
        if truth is None:
            return
        known = {order["orderRef"] for order in truth["orders"]}
        with closing(self._ledger()) as db:
            unknown = {r.order.client_order_id: r.order for r in orders.in_states(db, {_UNKNOWN})}
            halted = halts.active(db)
        missed = sorted(unknown.keys() & known)
        if missed and self._waited_s() > KNOWN_S_MAX:
            raise BrokenError(f"unknown long after healing, though at the broker: {missed}")
        for ref in sorted(unknown.keys() - known):
            # Until then a frozen gateway may hold it, and ibloop refuses the decision.
            if datetime.now(UTC) >= unknown[ref].good_till + EXPIRED:
                self._resolve(ref)
        if halted and self._halted_since is None:
            self._note(f"halted: {halted[-1].source}: {halted[-1].reason}")
            self._resume()

    def _resolve(self, ref: str) -> None:
        """Tell the ledger that the broker has nothing of an order.

        One that the broker has must be found by evidence, without a person.
        """
        words = ("--as", "not-sent", "--reason", "not at the broker")
        said = self._loop.ask("orders", "resolve", ref, *words)
        self._note(f"resolve {ref} as not-sent: {said.returncode} {said.stderr.strip()[-100:]}")

    # --- looking ------------------------------------------------------------------------------

    def _ledger(self) -> Connection:
        return open_readonly(self._loop.data / "ibloop.db")

    def _run(self, db: Any) -> Run | None:
        return runs.find_key(db, f"K{self._keys}")

    def _end(self) -> None:
        if (simulator := self._pid(SIMULATOR)) is not None:
            os.kill(simulator, signal.SIGCONT)
        for process in self._loop.running.values():
            process.send_signal(signal.SIGCONT)
        self._loop.end()


def _demand(broken: list[str]) -> None:
    if broken:
        raise BrokenError("\n".join(broken))
