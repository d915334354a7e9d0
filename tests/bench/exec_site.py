"""The executor as users run it: `ibloop executor run` against `ibloop sim`, with a tap between.

Quotes lie below every price of the simulator, so orders rest. The heartbeats of the other daemons
are written here.
"""

import contextlib
import csv
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from exec_house import PACE, toml
from exec_tap import CANCEL, GLOBAL_CANCEL, PLACE, Tap
from measures import ROOT, gateway

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ledger import halts, orders, runs
from ibloop.adapters.ledger.connection import Ledger, open_ledger
from ibloop.adapters.streamfiles import (
    StreamWriter,
    heartbeat_document,
    read_heartbeat,
    status_path,
    wake,
    write_status,
)
from ibloop.adapters.universe import COLUMNS, load_universe
from ibloop.config import Profile, parse
from ibloop.core.lifecycle import RUN_TERMINAL, OrderState, RunState
from ibloop.core.model import HaltLevel, MarketDataType, Quote, QuoteSource
from ibloop.daemons.pretrade import request_run
from ibloop.sim.market.synthetic import synthetic_instruments

WAIT_S = 120.0
PRICE_USD = Decimal("4.00")
CENT = Decimal("0.01")
WEIGHT = "0.000001"
CASH_USD = 1_000_000_000
BEAT_S = 0.5
IDLE_S = 1.0
OTHERS = {"status": "connected", "guard": "watching"}


def wait_for(what: str, condition: Callable[[], object], pause_s: float = 0.01) -> None:
    """Poll until something is so. Raises: TimeoutError."""
    end = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {WAIT_S} s for {what}")
        time.sleep(pause_s)


@dataclass
class Site:
    """A data directory, a simulator behind a tap, and the executor's process."""

    profile: Profile
    tap: Tap
    count: int
    executor: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        """Write what the executor reads."""
        self.clock = SystemClock()
        self.universe = load_universe(self.profile)
        self.ledger: Ledger = open_ledger(
            self.profile.ledger_path,
            mode=self.profile.config.mode,
            account=self.profile.config.account,
        )
        self._number = 0
        self._ended = threading.Event()
        self._publish()
        self._beat()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._thread.start()

    # --- the executor -------------------------------------------------------------------------

    def start(self) -> float:
        """Start the executor; return the seconds until it knows the broker's truth."""
        source = self.profile.source
        assert source is not None
        options = ["--config", str(source), "--data", str(self.profile.data_dir)]
        began = time.perf_counter()
        with (self.profile.data_dir.parent / "executor.log").open("ab") as log:
            self.executor = subprocess.Popen(
                [sys.executable, "-m", "ibloop", "executor", "run", *options],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        wait_for("the executor", self._is_ready, pause_s=0.002)
        return time.perf_counter() - began

    def _is_ready(self) -> bool:
        assert self.executor is not None
        if self.executor.poll() is not None:
            log = self.profile.data_dir.parent / "executor.log"
            raise RuntimeError(f"the executor ended:\n{log.read_text()[-2000:]}")
        beat = read_heartbeat(self.profile.stream_dir, "executor")
        return beat is not None and (beat.pid, beat.status) == (self.executor.pid, "ready")

    def kill(self) -> None:
        """Kill the executor's process."""
        if self.executor is not None:
            self.executor.send_signal(signal.SIGKILL)
            self.executor.wait()
            self.executor = None

    def close(self) -> None:
        """End everything that was started here."""
        self.kill()
        self._ended.set()
        self._thread.join()
        self.ledger.close()

    # --- runs ---------------------------------------------------------------------------------

    def queue(self, count: int) -> tuple[str, int]:
        """Queue a run of so many buys; return its key and when it was queued, monotonic ns.

        The executor has been idle for a while then, as it is in real life.
        """
        time.sleep(IDLE_S)
        self._number += 1
        key = f"K{self._number}"
        path = self.profile.data_dir / "targets.csv"
        as_of = self.clock.now().utc.isoformat()
        names = sorted(self.universe.instruments)[:count]
        path.write_text(
            "symbol,weight,as_of\n" + "".join(f"{name},{WEIGHT},{as_of}\n" for name in names)
        )
        asked = request_run(
            self.profile,
            self.ledger,
            self.universe,
            self.clock,
            key=key,
            targets_path=path,
            requested_by="bench",
        )
        queued_ns = time.monotonic_ns()
        if asked.run.status is not RunState.QUEUED:
            raise RuntimeError(f"the run is {asked.run.status}: {asked.run.detail}")
        return key, queued_ns

    def wait_placed(self, count: int) -> list[int]:
        """Wait for so many orders on the wire; return when they arrived."""
        wait_for(f"{count} orders", lambda: self.tap.count(PLACE) >= count)
        return [at for kind, at in self.tap.stamps() if kind == PLACE]

    def wait_acknowledged(self, count: int) -> None:
        """Wait until the ledger knows so many orders as working."""
        states = {OrderState.NEW}
        wait_for("the acks", lambda: len(orders.in_states(self.ledger.db, states)) >= count)

    def halt(self) -> int:
        """Kill as `ibloop halt --level kill` does; return when it was committed, monotonic ns."""
        with self.ledger.transaction() as tx:
            now = self.clock.now().utc
            halts.halt(tx, HaltLevel.KILL, "a benchmark", "cli", "bench", now)
        committed_ns = time.monotonic_ns()
        wake(self.profile.stream_dir)
        return committed_ns

    def wait_first_cancel(self) -> int:
        """Wait for the first cancel on the wire; return when it arrived."""
        kinds = {CANCEL, GLOBAL_CANCEL}
        wait_for("a cancel", lambda: any(kind in kinds for kind, _ in self.tap.stamps()))
        return min(at for kind, at in self.tap.stamps() if kind in kinds)

    def clear_up(self, key: str) -> None:
        """Wait until a killed run and its orders have ended, then lift the halt."""
        ended = RUN_TERMINAL | {RunState.BLOCKED}

        def is_over() -> bool:
            run = runs.find_key(self.ledger.db, key)
            at_broker = orders.working_symbols(self.ledger.db)
            return run is not None and run.status in ended and not at_broker

        wait_for(f"the end of {key}", is_over)
        with self.ledger.transaction() as tx:
            halts.resume(tx, "bench", "measured", self.clock.now().utc)

    # --- what the other daemons would write ---------------------------------------------------

    def _publish(self) -> None:
        writer, now = StreamWriter(self.profile.stream_dir), self.clock.now()
        for symbol, instrument in self.universe.instruments.items():
            writer.publish(
                Quote(
                    symbol=symbol,
                    con_id=instrument.con_id,
                    seq=writer.next_seq(symbol, now),
                    received=now,
                    event_time=None,
                    source=QuoteSource.STREAM,
                    market_data_type=MarketDataType.LIVE,
                    bid=PRICE_USD - CENT,
                    ask=PRICE_USD + CENT,
                    last=PRICE_USD,
                    close=PRICE_USD,
                )
            )

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT_S):
            self._beat()

    def _beat(self) -> None:
        now = self.clock.now()
        address = {"host": "127.0.0.1", "port": self.tap.port, "session_id": "bench"}
        written = {"gateway": heartbeat_document("connected", now, "", address)}
        written |= {name: heartbeat_document(status, now) for name, status in OTHERS.items()}
        for name, document in written.items():
            write_status(status_path(self.profile.stream_dir, name), document)


@contextmanager
def simulator(count: int) -> Iterator[Tap]:
    """Run a simulator without a message limit of its own behind a tap."""
    arguments = ("--speed", "0", "--synthetic", str(count), "--cash", str(CASH_USD))
    with gateway(*arguments, "--message-rate", "0") as sim:
        tap = Tap(sim.port)
        try:
            yield tap
        finally:
            tap.close()


@contextmanager
def site(directory: Path, count: int) -> Iterator[Site]:
    """Make everything for runs of up to ``count`` orders; the executor is not started yet."""
    with simulator(count) as tap:
        made = Site(_profile(directory, count), tap, count)
        try:
            yield made
        finally:
            with contextlib.suppress(ProcessLookupError):
                made.close()


def _profile(directory: Path, count: int) -> Profile:
    directory.mkdir(parents=True)
    with (directory / "universe.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*COLUMNS, "adv_shares"])
        for made in synthetic_instruments(count):
            place = (made.con_id, made.name, made.primary_exchange, made.currency)
            rows.writerow([made.symbol, *place, made.min_tick, made.lot, made.sector, 10_000_000])
    source, data = directory / "ibloop.toml", directory / "data"
    text = toml(PACE).replace("quote_age_s_max = 15", "quote_age_s_max = 36_000")
    source.write_text(text + '\n[universe]\nfile = "universe.csv"\n')
    (data / "ib" / "stream").mkdir(parents=True)
    return Profile(parse(source.read_text(), str(source)), source, data)
