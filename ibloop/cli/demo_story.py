"""What happens in the demo, in order, and how it is told."""

import json
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click

from ibloop.adapters.ledger import account, fills, guard_state, halts, orders, runs
from ibloop.adapters.ledger.connection import Connection, open_readonly
from ibloop.adapters.locks import DaemonLock
from ibloop.adapters.simcontrol import SimControl
from ibloop.adapters.streamfiles import read_heartbeat
from ibloop.adapters.universe import samples_dir
from ibloop.cli.common import style, table
from ibloop.cli.demo_processes import DemoError, Processes
from ibloop.cli.status import DAEMONS
from ibloop.config import BUILTIN_TOML
from ibloop.core.invariant import present
from ibloop.errors import ConfigError, Exit, GatewayUnavailableError

CONFIG_NAME = "ibloop.toml"
READY_S_MAX = 40.0
HALT_S_MAX = 30.0
SHOCK = -0.3
PARTIAL_SYMBOL, REJECTED_SYMBOL = "TANU", "UNFU"
SIM_ARGS = '["--speed", "60", "--seed", "7"]'


def play(directory: Path, *, once: bool) -> Exit:
    """Play the story in ``directory``, which is made anew; return the exit code.

    Raises: LockHeldError when another demo runs there; ConfigError; DemoError.
    """
    with DaemonLock(directory.parent, "demo"):
        _make_anew(directory)
        config = directory / CONFIG_NAME
        processes = Processes(directory, ["--config", str(config), "--data", str(directory)])
        signal.signal(signal.SIGTERM, _interrupt)
        story = Story(directory, processes)
        try:
            story.tell()
            if not once:
                story.run_on()
        except KeyboardInterrupt:
            _say("stopping")
        finally:
            story.end()
    return Exit.OK


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _make_anew(directory: Path) -> None:
    """Empty the demo's directory; refuse one that no demo has made."""
    if directory.exists() and any(directory.iterdir()):
        if not (directory / CONFIG_NAME).is_file():
            raise ConfigError(f"{directory} holds something else than a demo; move it away")
        shutil.rmtree(directory)
    try:
        (directory / "logs").mkdir(parents=True, exist_ok=True)
        text = BUILTIN_TOML.replace("port = 0", f"port = 0\nsim_args = {SIM_ARGS}")
        (directory / CONFIG_NAME).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write to {directory}: {error.strerror}") from None


class Story:
    """The demo's narrator: it starts daemons, runs commands and tells what it sees."""

    def __init__(self, directory: Path, processes: Processes) -> None:
        """Take the directory and the processes; nothing is started."""
        self._directory = directory
        self._stream_dir = directory / "ib" / "stream"
        self._processes = processes
        self._control: SimControl | None = None

    def tell(self) -> None:
        """Play every chapter."""
        self._start()
        self._initial_book()
        self._weekly_rebalance()
        self._crash()
        self._blocked_rebalance()
        self._summary()

    def run_on(self) -> None:
        """Keep everything running until Ctrl-C."""
        _say("the loop runs on; Ctrl-C ends it")
        while True:
            self._processes.check()
            time.sleep(0.5)

    def end(self) -> None:
        """Stop the daemons, write the simulator's truth, stop the simulator."""
        self._processes.stop("stream", "executor", "guard")
        if self._control is not None:
            try:
                text = json.dumps(self._control.truth(), indent=1)
                (self._directory / "truth.json").write_text(text, encoding="utf-8")
            except GatewayUnavailableError as error:
                _say(f"the simulator's truth could not be read: {error}")
        self._processes.stop()

    # --- the chapters -------------------------------------------------------------------------

    def _start(self) -> None:
        _title("1", "Four daemons start, as systemd would start them")
        for name, file, healthy in DAEMONS:
            self._processes.start(name)
            if name == "gateway":
                self._await_healthy(name, file, healthy)
                self._control = self._find_control()
        for name, file, healthy in DAEMONS[1:]:
            self._await_healthy(name, file, healthy)
        _say(f"the simulator's control port: {self._sim().url}")

    def _initial_book(self) -> None:
        _title("2", "The first book is bought out of cash")
        self._command("rebalance", "--targets", _sample("initial"), "--key", "initial", "--wait")

    def _weekly_rebalance(self) -> None:
        _title("3", "The weekly rebalance, with a partial fill and a rejection")
        _say(f"arranged: {PARTIAL_SYMBOL} fills in slices, {REJECTED_SYMBOL} is rejected")
        self._sim().fault("partial_fills", symbol=PARTIAL_SYMBOL, shares=40, interval_s=0.5)
        text = "Order rejected - reason:the demo wants to show one"
        self._sim().fault("order_rejected", symbol=REJECTED_SYMBOL, code=201, text=text)
        self._command("rebalance", "--targets", _sample("weekly"), "--wait")
        self._sim().fault("clear")
        with closing(self._ledger()) as db:
            run = next(iter(runs.listing(db, 1)))
            _say(f"{run.run_key} is {run.status}: {run.detail}")
            slices = [f for f in fills.of_run(db, run.run_id) if f.symbol == PARTIAL_SYMBOL]
            _say(f"{PARTIAL_SYMBOL} was filled by {len(slices)} executions")

    def _crash(self) -> None:
        _title("4", f"Every price falls by {-SHOCK:.0%}, and the guard halts")
        self._sim().shock(SHOCK)
        self._await("the guard to halt", HALT_S_MAX, self._is_halted)
        with closing(self._ledger()) as db:
            verdict = guard_state.last(db)
            if verdict is not None and verdict.day_loss is not None:
                _say(f"guard: {verdict.status}, {verdict.detail['reason']}")

    def _blocked_rebalance(self) -> None:
        _title("5", "A rebalance after that is blocked")
        self._command("rebalance", "--targets", _sample("weekly"), "--key", "after-the-crash")

    def _summary(self) -> None:
        with closing(self._ledger()) as db:
            lines = [_run_line(db, run) for run in reversed(runs.listing(db, 10))]
            values = account.values(db)
        columns = ("RUN", "STATUS", "REASON", "ORDERS", "FILLED", "REJECTED", "FILLS")
        click.echo(table(columns, lines, "What happened"))
        if values is not None:
            click.echo(
                f"net liquidation {values.net_liquidation} USD, cash {values.total_cash} USD"
            )
        where = f"--data {self._directory}"
        click.echo("where to look next:")
        for text in (
            f"ibloop status {where}",
            f"ibloop run show {lines[1][0]} {where}",
            f"ibloop orders list {where}",
            f"ibloop fills list {where}",
            f"ibloop db check {where}",
            f"the daemons' logs: {self._directory / 'logs'}",
        ):
            click.echo(f"  {text}")

    # --- means --------------------------------------------------------------------------------

    def _command(self, *arguments: str) -> None:
        _say("$ ibloop " + " ".join(arguments))
        code, said = self._processes.run(*arguments)
        for line in said.strip().splitlines():
            click.echo(f"    {line}", err=True)
        _say(f"exit code {code}")
        self._processes.check()

    def _sim(self) -> SimControl:
        return present(self._control, "control port")

    def _find_control(self) -> SimControl:
        beat = read_heartbeat(self._stream_dir, "gateway")
        port = beat.document.get("control_port") if beat else None
        if not isinstance(port, int):
            raise DemoError("the gateway does not tell the simulator's control port")
        return SimControl(port)

    def _await_healthy(self, name: str, file: str, healthy: str) -> None:
        def is_healthy() -> bool:
            beat = read_heartbeat(self._stream_dir, file)
            return beat is not None and beat.status == healthy

        self._await(f"{name} to be {healthy}", READY_S_MAX, is_healthy)
        _say(f"{name} is {healthy}")

    def _await(self, what: str, patience_s: float, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + patience_s
        while not condition():
            self._processes.check()
            if time.monotonic() > end:
                logs = self._directory / "logs"
                raise DemoError(f"waited {patience_s:g} s for {what}; the logs are in {logs}")
            time.sleep(0.1)

    def _is_halted(self) -> bool:
        with closing(self._ledger()) as db:
            return bool(halts.active(db))

    def _ledger(self) -> Connection:
        return open_readonly(self._directory / "ibloop.db")


def _run_line(db: Connection, run: runs.Run) -> tuple[object, ...]:
    rows = [row.order for row in orders.of_run(db, run.run_id)]
    return (
        run.run_key,
        run.status,
        run.reason,
        len(rows),
        sum(1 for o in rows if o.status == "filled"),
        sum(1 for o in rows if o.status == "rejected"),
        len(fills.of_run(db, run.run_id)),
    )


def _sample(name: str) -> str:
    return str(samples_dir() / f"targets-{name}.csv")


def _title(number: str, text: str) -> None:
    click.echo(style(f"\n{number}. {text}", "cyan"), err=True)


def _say(text: str) -> None:
    click.echo(f"  {text}", err=True)
