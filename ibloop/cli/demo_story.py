"""What happens in the demo and how it is told: the story on stderr, its sum on stdout."""

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click

from ibloop.adapters.ledger import account, fills, guard_state, halts, orders, runs
from ibloop.adapters.ledger.connection import Connection, open_readonly
from ibloop.adapters.simcontrol import SimControl
from ibloop.adapters.streamfiles import read_heartbeat
from ibloop.adapters.universe import samples_dir
from ibloop.cli.demo_processes import DemoError, Processes
from ibloop.cli.terminal import coloured, facts, style, table, usd
from ibloop.core.invariant import present
from ibloop.core.model import Side
from ibloop.daemons.overview import DAEMONS
from ibloop.daemons.overview_ledger import newest_equity
from ibloop.errors import GatewayUnavailableError

READY_S_MAX = 40.0
HALT_S_MAX = 30.0
REVIVE_S = 1.0
SHOCK = -0.3
PARTIAL_SYMBOL, REJECTED_SYMBOL = "TANU", "UNFU"


class Story:
    """The demo's narrator: it starts daemons, runs commands and tells what it sees."""

    def __init__(self, directory: Path, processes: Processes) -> None:
        """Take the directory and the processes; nothing is started."""
        self._directory = directory
        self._stream_dir = directory / "ib" / "stream"
        self._processes = processes
        self._control: SimControl | None = None
        self._begun_s = time.monotonic()

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
        click.echo(f"\nThe loop runs on: {self._page_url()} shows it, Ctrl-C ends it.", err=True)
        while True:
            for name in self._processes.revive():
                _say(f"{name} had ended; started again, as systemd would")
            time.sleep(REVIVE_S)

    def end(self) -> None:
        """Stop the daemons, write the simulator's truth, stop the simulator."""
        self._processes.stop("stream", "executor", "guard", "web")
        if self._control is not None:
            try:
                text = json.dumps(self._control.truth(), indent=1)
                (self._directory / "truth.json").write_text(text, encoding="utf-8")
            except GatewayUnavailableError as error:
                _say(f"the simulator's truth could not be read: {error}")
        self._processes.stop()

    # --- the chapters -------------------------------------------------------------------------

    def _start(self) -> None:
        _title("1. The daemons start, by the commands that systemd uses")
        for name, file, healthy in DAEMONS:
            self._processes.start(name)
            if name == "gateway":
                self._await_healthy(name, file, healthy)
                self._control = self._find_control()
        self._processes.start("web")
        for name, file, healthy in (*DAEMONS[1:], ("web", "web", "serving")):
            self._await_healthy(name, file, healthy)
        click.echo(f"   the page:                     {style(self._page_url(), 'green')}")
        click.echo(f"   the simulator's control port: {self._sim().url}")

    def _initial_book(self) -> None:
        _title("2. The first book is bought out of cash")
        self._command("rebalance", "--targets", _sample("initial"), "--key", "initial", "--wait")

    def _weekly_rebalance(self) -> None:
        _title("3. The weekly rebalance: sells first, then buys")
        _say(f"arranged at the broker: {PARTIAL_SYMBOL} fills in slices")
        _say(f"                        {REJECTED_SYMBOL} is rejected")
        self._sim().fault("partial_fills", symbol=PARTIAL_SYMBOL, shares=40, interval_s=0.5)
        text = "Order rejected - reason:the demo wants to show one"
        self._sim().fault("order_rejected", symbol=REJECTED_SYMBOL, code=201, text=text)
        self._command("rebalance", "--targets", _sample("weekly"), "--wait")
        self._sim().fault("clear")
        with closing(self._ledger()) as db:
            run = next(iter(runs.listing(db, 1)))
            sides = [row.order.side for row in orders.of_run(db, run.run_id)]
            slices = [f for f in fills.of_run(db, run.run_id) if f.symbol == PARTIAL_SYMBOL]
        _say(f"{sides.count(Side.SELL)} sells, {sides.count(Side.BUY)} buys")
        shares = sum(f.quantity for f in slices)
        _say(f"{PARTIAL_SYMBOL}: {shares} shares in {len(slices)} executions")

    def _crash(self) -> None:
        _title(f"4. Every price falls by {-SHOCK:.0%}")
        self._sim().shock(SHOCK)
        self._await("the guard to halt", HALT_S_MAX, self._is_halted)
        with closing(self._ledger()) as db:
            verdict = guard_state.last(db)
            halt = next(iter(halts.active(db)))
        if verdict is not None:
            _say(f"the guard sees {usd(verdict.equity)} of {usd(verdict.baseline_equity)}")
        _say(f"and halts: {coloured(halt.level)}, {halt.reason}")

    def _blocked_rebalance(self) -> None:
        _title("5. A rebalance after that is blocked")
        self._command("rebalance", "--targets", _sample("weekly"), "--key", "after-the-crash")

    def _summary(self) -> None:
        _title("What happened")
        with closing(self._ledger()) as db:
            lines = [_run_line(db, run) for run in reversed(runs.listing(db, 10))]
            equity, values = newest_equity(db), account.values(db)
        columns = ("RUN", "STATUS", "REASON", "ORDERS", "FILLED", "REJECTED", "FILLS")
        click.echo(table(columns, lines))
        sums = [("elapsed", f"{time.monotonic() - self._begun_s:.0f} s")]
        if equity is not None and values is not None:
            worth = f"{usd(equity.equity)} by the {equity.source}'s last valuation"
            sums = [("equity", worth), ("cash", usd(values.total_cash)), *sums]
        click.echo()
        click.echo(facts(sums))
        self._where_to_look(str(lines[1][0]))

    def _where_to_look(self, weekly: str) -> None:
        where = f"--data {_relative(self._directory)}"
        hints = (
            (f"ibloop status {where}", "the daemons, the halt, what to do"),
            (f"ibloop run show {weekly} {where}", "target against actual, every order"),
            (f"ibloop fills list {where}", "every execution, once"),
            (f"ibloop db check {where}", "references, fills and the audit chain"),
            (f"less {_relative(self._directory)}/logs/executor.log", "what the executor did"),
        )
        width = max(len(command) for command, _ in hints)
        click.echo("\nWhere to look next:")
        for command, what in hints:
            click.echo(f"   {command.ljust(width)}  {what}")

    # --- means --------------------------------------------------------------------------------

    def _command(self, *arguments: str) -> None:
        shown = [_relative(Path(a)) if a.startswith("/") else a for a in arguments]
        _say("$ ibloop " + " ".join(shown))
        code, said = self._processes.run(*arguments)
        for line in said.strip().splitlines():
            _say(f"  {line.expandtabs(2)}")
        _say(f"  exit code {code}")
        self._processes.check()

    def _sim(self) -> SimControl:
        return present(self._control, "control port")

    def _page_url(self) -> str:
        beat = present(read_heartbeat(self._stream_dir, "web"), "heartbeat of web")
        return str(beat.document["url"])

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
        blanks = " " * (10 - len(healthy))
        _say(f"{name:<10}{coloured(healthy)}{blanks}pid {self._processes.pid(name)}")

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
    states = [row.order.status for row in orders.of_run(db, run.run_id)]
    return (
        run.run_key,
        coloured(run.status),
        run.reason,
        len(states),
        states.count("filled"),
        states.count("rejected"),
        len(fills.of_run(db, run.run_id)),
    )


def _sample(name: str) -> str:
    return str(samples_dir() / f"targets-{name}.csv")


def _relative(path: Path) -> str:
    """Return a path as a person would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _title(text: str) -> None:
    click.echo(style(f"\n{text}", "cyan"), err=True)


def _say(text: str) -> None:
    click.echo(f"   {text}", err=True)
