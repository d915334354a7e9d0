"""The command line as a person meets it: in this process, in one of its own, on a terminal."""

import json
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fcntl import ioctl
from pathlib import Path
from select import select
from typing import Any

import pytest

from ibloop.adapters.ledger import account, fills, guard_state, orders, runs
from ibloop.adapters.ledger.connection import open_ledger
from ibloop.adapters.ledger.guard_state import GuardRow
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.cli.root import main
from ibloop.core.lifecycle import OrderEvent, RunReason, RunState
from ibloop.core.model import (
    AccountValues,
    Execution,
    Mode,
    Order,
    OrderType,
    Position,
    Side,
    Tif,
)

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "DU1234567"
T0 = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Return the data of the one JSON object on stdout."""
        document = json.loads(self.out)
        assert set(document) == {"schema", "data"}
        return document["data"]


Ibloop = Callable[..., Said]


@pytest.fixture
def ibloop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Ibloop:
    """Return a runner of `ibloop ...` in this process; any traceback fails the test.

    The current directory is empty, and no configuration is named by the environment.
    """
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("IBLOOP_CONFIG", raising=False)

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["ibloop", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return Said(int(end.value.code or 0), said.out, said.err)

    return run


def environment(**changes: str) -> dict[str, str]:
    """Return an environment in which a child finds this checkout and no configuration."""
    found = {k: v for k, v in os.environ.items() if k not in {"IBLOOP_CONFIG", "NO_COLOR"}}
    return found | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"} | changes


@pytest.fixture
def process(tmp_path: Path) -> Ibloop:
    """Return a runner of `ibloop ...` as a process of its own, with pipes."""

    def run(*arguments: object, **env: str) -> Said:
        done = subprocess.run(
            [sys.executable, "-m", "ibloop", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=environment(**env),
            timeout=DEADLINE_S,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return run


@dataclass
class Terminal:
    """A command on a pseudo terminal; what it draws is read as it comes."""

    child: subprocess.Popen[bytes]
    screen: int
    drawn: str = ""

    def until(self, wanted: Callable[[str], bool]) -> str:
        """Read until ``wanted(drawn)``; fails when the command ends or a deadline passes first."""
        end = time.monotonic() + DEADLINE_S
        while not wanted(self.drawn):
            assert time.monotonic() < end, self.drawn
            assert self._read(0.5) or self.child.poll() is None, self.drawn
        return self.drawn

    def finish(self) -> Said:
        """Read to the end of the command."""
        end = time.monotonic() + DEADLINE_S
        while self._read(0.2) or self.child.poll() is None:
            assert time.monotonic() < end, self.drawn
        return Said(self.child.wait(), self.drawn, "")

    def _read(self, patience_s: float) -> bool:
        if not select([self.screen], [], [], patience_s)[0]:
            return False
        with suppress(OSError):  # the last one on the terminal has gone
            more = os.read(self.screen, 65536)
            self.drawn += more.decode("utf-8", "replace")
            return bool(more)
        return False


@pytest.fixture
def on_terminal(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Terminal]:
    """Return a starter of `ibloop ...` on a terminal of 100 columns and 40 lines."""

    def start(*arguments: object, **env: str) -> Terminal:
        screen, tty = pty.openpty()
        ioctl(tty, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        child = subprocess.Popen(
            [sys.executable, "-m", "ibloop", *map(str, arguments)],
            stdin=tty,
            stdout=tty,
            stderr=tty,
            cwd=tmp_path,
            env=environment(**env),
        )
        os.close(tty)

        def end() -> None:
            child.kill()
            child.wait()
            os.close(screen)

        request.addfinalizer(end)
        return Terminal(child, screen)

    return start


def files(directory: Path) -> dict[str, bytes | None]:
    """Return every file below a directory with its content (``None`` for directories)."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }


@pytest.fixture
def traded(tmp_path: Path) -> Path:
    """Return a data directory whose ledger holds a partial run: one fill, one rejection."""
    data = tmp_path / "data"
    run = runs.Run(
        run_id="run-1",
        run_key="2026W47",
        mode=Mode.PAPER,
        account=ACCOUNT,
        status=RunState.QUEUED,
        reason=None,
        detail="",
        snapshot_id=None,
        snapshot_hash=None,
        config_hash="c0ffee",
        build="0.1.0",
        attempt=0,
        created_at=T0,
        updated_at=T0,
    )
    data.mkdir()
    ledger = open_ledger(data / "ibloop.db", mode=Mode.PAPER, account=ACCOUNT, now=T0)
    with ledger.transaction() as tx:
        runs.insert(tx, run, "test")
        planned = [_order("AAA", Side.BUY, 0), _order("BBB", Side.SELL, 1)]
        orders.insert(tx, planned, "test")
        for number, row in enumerate(planned, start=1):
            orders.mark_sending(
                tx,
                row.order.client_order_id,
                ib_order_id=number,
                limit_price=Decimal("10.1"),
                arrival_price=Decimal("10.00"),
                quote_seq=7,
                quote_source="ib_stream",
                quote_at=T0,
                good_till=T0 + timedelta(hours=1),
                now=T0,
                actor="test",
            )
        execution = Execution(
            exec_id="0001.01",
            account=ACCOUNT,
            client_order_id="ibl:2026W47:AAA:B:0",
            perm_id=7001,
            symbol="AAA",
            con_id=1,
            side=Side.BUY,
            quantity=Decimal(100),
            price=Decimal("10.054321"),
            executed_at=T0,
            commission=Decimal("1.00"),
        )
        fills.record(tx, execution, T0, "test")
        orders.apply(
            tx,
            "ibl:2026W47:BBB:S:0",
            OrderEvent.REJECT,
            reject_source="broker",
            reject_code="201",
            reject_reason="Order rejected - reason:\tno\nlocate",
            now=T0,
            actor="test",
        )
        _end(tx, run)
        account.store_positions(
            tx, [Position("AAA", 1, Decimal(100), Decimal("10.0543"))], T0, T0, "test"
        )
        values = AccountValues(ACCOUNT, Decimal("99999.5"), Decimal(98994), T0)
        account.store_values(tx, values, T0)
        guard_state.record(tx, _valuation(Decimal("73710.985")))
    ledger.close()
    return data


def _end(tx: Any, run: runs.Run) -> None:
    steps = [RunState.PREPARING, RunState.EXECUTING, RunState.RECONCILING, RunState.PARTIAL]
    for before, after in zip([RunState.QUEUED, *steps], steps, strict=False):
        ended = after is RunState.PARTIAL
        runs.move(
            tx,
            run.run_id,
            before,
            after,
            reason=RunReason.ORDERS_REJECTED if ended else None,
            detail="1 of 2 orders filled" if ended else "",
            now=T0,
            actor="test",
        )


def _valuation(equity: Decimal) -> GuardRow:
    return GuardRow(
        trade_date=T0.date(),
        evaluated_at=T0 - timedelta(seconds=5),
        status="warn",
        equity=equity,
        equity_source="ib_stream",
        baseline_equity=equity,
        baseline_at=T0,
        peak_equity=equity,
        day_loss=Decimal("0.0123"),
        drawdown=Decimal(0),
        detail={"reason": ""},
    )


def _order(symbol: str, side: Side, sequence: int) -> OrderRow:
    return OrderRow(
        order=Order(
            client_order_id=f"ibl:2026W47:{symbol}:{side.value[0]}:0",
            run_id="run-1",
            symbol=symbol,
            con_id=sequence + 1,
            side=side,
            quantity=Decimal(100),
            order_type=OrderType.LMT,
            limit_price=None,
            tif=Tif.GTD,
            good_till=T0 + timedelta(hours=1),
            status="planned",
        ),
        attempt=0,
        sequence=sequence,
        arrival_price=None,
        quote_seq=None,
        quote_source=None,
        quote_at=None,
        created_at=T0,
        updated_at=T0,
    )
