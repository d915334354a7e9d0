"""Real processes: how to start them, wait for them, look at both sides of the socket, end them.

Waiting is always polling with a deadline; what was started is killed by its own pid at the end.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ibloop.adapters.ledger import account, fills, orders, runs
from ibloop.adapters.ledger.connection import open_readonly
from ibloop.adapters.simcontrol import SimControl
from ibloop.adapters.streamfiles import read_heartbeat
from ibloop.adapters.universe import samples_dir
from ibloop.config import BUILTIN_TOML
from ibloop.core import promises
from ibloop.core.model import BrokerOrder, Execution, Side

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "DU1234567"
DEADLINE_S = 60.0
COMMAND = (sys.executable, "-m", "ibloop")
WELL = {"gateway": "connected", "stream": "connected", "executor": "ready", "guard": "watching"}
DOCUMENT = {"stream": "status"}
"""The heartbeat files that are not named like their daemon."""

SLOW_TOML = (
    BUILTIN_TOML.replace("port = 0", 'port = 0\nsim_args = ["--speed", "60", "--seed", "7"]', 1)
    # A run takes some seconds, so that there is a middle of it, and silence is noticed soon.
    .replace("orders_per_second_max = 20", "orders_per_second_max = 2")
    .replace("heartbeat_age_s_max = 10", "heartbeat_age_s_max = 5")
    .replace("day_turnover_weight_max = 20.0", "day_turnover_weight_max = 50.0")
)


def environment(**changes: str) -> dict[str, str]:
    """Return an environment in which a child finds this checkout and no configuration."""
    found = {k: v for k, v in os.environ.items() if k != "IBLOOP_CONFIG"}
    return found | {"PYTHONPATH": str(ROOT)} | changes


def wait_for(what: str, condition: Callable[[], Any], patience_s: float = DEADLINE_S) -> Any:
    """Poll until ``condition()`` is true and return what it gave; fail after the deadline."""
    end = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {patience_s} s for {what}"
        time.sleep(0.02)
    return found


def is_alive(pid: int) -> bool:
    """Return whether a process with this id runs; a zombie has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def children(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stat = path.read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            found.append(int(path.parent.name))
    return found


@dataclass
class Loop:
    """A data directory with daemons that the test starts, kills and asks."""

    data: Path
    config: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    commands: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What stands for ``python -m ibloop`` where a daemon is another program."""

    @property
    def options(self) -> tuple[str, ...]:
        """Return the global options of every command."""
        return ("--config", str(self.config), "--data", str(self.data))

    def log(self, name: str) -> Path:
        """Return where a daemon's stderr goes."""
        return self.data.parent / f"{name}.log"

    def start(self, *names: str) -> None:
        """Start daemons; a killed one again."""
        for name in names:
            with self.log(name).open("ab") as log:
                self.running[name] = subprocess.Popen(
                    [*self.commands.get(name, COMMAND), name, "run", *self.options],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.data.parent,
                    env=environment(),
                )

    def await_well(self, *names: str) -> None:
        """Wait until these processes themselves say that all is well with them."""
        for name in names:
            wait_for(f"{name} to be well", lambda name=name: self._is_well(name))

    def _is_well(self, name: str) -> bool:
        process = self.running[name]
        assert process.poll() is None, self.log(name).read_text(encoding="utf-8")[-2000:]
        beat = self.beat(name)
        return beat is not None and (beat.pid, beat.status) == (process.pid, WELL[name])

    def beat(self, name: str) -> Any:
        """Return a daemon's last heartbeat."""
        return read_heartbeat(self.data / "ib" / "stream", DOCUMENT.get(name, name))

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a daemon a signal and return how it ended."""
        self.running[name].send_signal(number)
        return self.running.pop(name).wait(DEADLINE_S)

    def ask(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [*COMMAND, *map(str, arguments), *self.options],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.data.parent,
            env=environment(),
            timeout=DEADLINE_S,
        )

    def rebalance(self, targets: str, key: str, code: int = 0) -> None:
        """Queue a run for one of the samples' targets."""
        path = samples_dir() / f"targets-{targets}.csv"
        done = self.ask("rebalance", "--targets", path, "--key", key)
        assert done.returncode == code, done.stdout + done.stderr

    def run(self, key: str) -> runs.Run:
        """Return a run as the ledger has it."""
        with closing(open_readonly(self.data / "ibloop.db")) as db:
            found = runs.find_key(db, key)
        assert found is not None
        return found

    def orders(self, key: str) -> list[Any]:
        """Return the orders of a run, all attempts."""
        with closing(open_readonly(self.data / "ibloop.db")) as db:
            found = runs.find_key(db, key)
            assert found is not None
            return [row.order for row in orders.of_run(db, found.run_id)]

    def await_sent(self, key: str, count: int) -> None:
        """Wait until so many orders of a run are journalled for sending."""
        wait_for(
            f"{count} orders of {key}",
            lambda: sum(1 for order in self.orders(key) if order.sent_at) >= count,
        )

    def await_end(self, key: str) -> runs.Run:
        """Wait until a run has ended or is blocked, and return it."""
        ends = {"done", "partial", "failed", "canceled", "blocked"}
        found: runs.Run = wait_for(
            f"the end of {key}", lambda: (run := self.run(key)).status in ends and run
        )
        return found

    def control(self) -> SimControl:
        """Return the simulator's control port, where the gateway says it is now."""
        return SimControl(int(self.beat("gateway").document["control_port"]))

    def truth(self) -> dict[str, Any]:
        """Return what the simulated broker knows."""
        return self.control().truth()

    def end(self) -> None:
        """Stop everything; kill what does not stop."""
        for process in reversed(self.running.values()):
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def make_loop(tmp_path: Path) -> Iterator[Callable[..., Loop]]:
    """Return a maker of loops with the four daemons running and well."""
    made: list[Loop] = []

    def make(*names: str, name: str = "data", toml: str = SLOW_TOML) -> Loop:
        config = tmp_path / "slow.toml"
        config.write_text(toml, encoding="utf-8")
        loop = Loop(tmp_path / name, config)
        made.append(loop)
        started = names or tuple(WELL)
        loop.start(*started)
        loop.await_well(*started)
        return loop

    yield make
    for loop in made:
        loop.end()


def decimal(number: float | None) -> Decimal | None:
    """Return a JSON number of the truth as the decimal it was."""
    return None if number is None else Decimal(str(number))


def same(mine: Decimal | None, theirs: float | None) -> bool:
    """Return whether a decimal of the ledger is the truth's JSON number."""
    return (mine is None and theirs is None) or mine == decimal(theirs)


def broken_promises(ledger: Path, truth: Mapping[str, Any]) -> tuple[promises.Broken, ...]:
    """Return every promise that ledger and broker's truth together break; both must be at rest."""
    with closing(open_readonly(ledger)) as db:
        sent = [row.order for row in orders.all_sent(db)]
        recorded = [
            promises.Fill(f.exec_id, f.client_order_id, f.symbol, f.side.sign * Decimal(f.quantity))
            for f in fills.everything(db)
        ]
        held = account.positions(db)
    return (
        *promises.check(
            sent,
            recorded,
            [_order(row) for row in truth["orders"]],
            [_execution(row) for row in truth["executions"]],
            ACCOUNT,
        ),
        *promises.position_breaks({}, recorded, held),
    )


def sent_twice(truth: Mapping[str, Any]) -> list[str]:
    """Return the references of which the broker received more than one placeOrder."""
    placed = [f["orderRef"] for f in truth["frames"] if f["kind"] == "placeOrder"]
    return sorted({ref for ref in placed if placed.count(ref) > 1})


def _order(row: Mapping[str, Any]) -> BrokerOrder:
    return BrokerOrder(
        client_order_id=row["orderRef"],
        account=row["account"],
        perm_id=row["permId"],
        client_id=row["clientId"],
        ib_order_id=row["orderId"],
        symbol=row["symbol"],
        side=Side(row["action"]),
        quantity=Decimal(str(row["totalQuantity"])),
        ib_status=row["status"],
        filled_quantity=decimal(row["filled"]),
    )


def _execution(row: Mapping[str, Any]) -> Execution:
    return Execution(
        exec_id=row["execId"],
        account=row["account"],
        client_order_id=row["orderRef"],
        perm_id=row["permId"],
        symbol=row["symbol"],
        con_id=0,
        side=Side(row["side"]),
        quantity=Decimal(str(row["shares"])),
        price=Decimal(str(row["price"])),
        executed_at=datetime.fromisoformat(row["time"]),
        commission=decimal(row["commission"]),
    )


def load_json(path: Path) -> Any:
    """Return a JSON file's content."""
    return json.loads(path.read_text(encoding="utf-8"))
