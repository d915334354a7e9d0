"""A real ledger on disk, and short ways to make the rows of a story."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ibloop.adapters.ledger import orders, runs
from ibloop.adapters.ledger.connection import Ledger, open_ledger
from ibloop.adapters.ledger.orders import OrderRow
from ibloop.adapters.ledger.runs import Run
from ibloop.core.lifecycle import RunState
from ibloop.core.model import Execution, Mode, Order, OrderType, Side, Tif

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Make:
    """Rows with every field filled in; a test names only what it is about."""

    account: str = "DU1234567"
    t0: datetime = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)

    def at(self, seconds: float) -> datetime:
        """Return a moment of the story."""
        return self.t0 + timedelta(seconds=seconds)

    def run(self, run_id: str = "r1", *, status: RunState = RunState.QUEUED, at: float = 0) -> Run:
        """Return a run whose key is its id in capitals."""
        return Run(
            run_id=run_id,
            run_key=run_id.upper(),
            mode=Mode.PAPER,
            account=self.account,
            status=status,
            reason=None,
            detail="",
            snapshot_id=None,
            snapshot_hash=None,
            config_hash="c0ffee",
            build="0.1.0",
            attempt=0,
            created_at=self.at(at),
            updated_at=self.at(at),
        )

    def order(
        self, client_order_id: str = "ibl:R1:AAA:B:0", *, run_id: str = "r1", quantity: int = 100
    ) -> OrderRow:
        """Return a planned order; symbol, side and attempt are read from its id."""
        _, _, symbol, side, attempt = client_order_id.split(":")
        return OrderRow(
            order=Order(
                client_order_id=client_order_id,
                run_id=run_id,
                symbol=symbol,
                con_id=1,
                side=Side.BUY if side == "B" else Side.SELL,
                quantity=Decimal(quantity),
                order_type=OrderType.LMT,
                limit_price=None,
                tif=Tif.GTD,
                good_till=self.at(3600),
                status="planned",
            ),
            attempt=int(attempt),
            sequence=sum(map(ord, symbol)),
            arrival_price=None,
            quote_seq=None,
            quote_source=None,
            quote_at=None,
            created_at=self.t0,
            updated_at=self.t0,
        )

    def execution(
        self,
        exec_id: str = "e1.01",
        quantity: str = "40",
        price: str = "10",
        *,
        ref: str = "ibl:R1:AAA:B:0",
        symbol: str = "AAA",
        side: Side = Side.BUY,
        commission: Decimal | None = None,
        realized_pnl: Decimal | None = None,
    ) -> Execution:
        """Return an execution of the default order."""
        return Execution(
            exec_id=exec_id,
            account=self.account,
            client_order_id=ref,
            perm_id=7001,
            symbol=symbol,
            con_id=1,
            side=side,
            quantity=Decimal(quantity),
            price=Decimal(price),
            executed_at=self.at(5),
            commission=commission,
            realized_pnl=realized_pnl,
        )

    def planned(self, ledger: Ledger, *client_order_ids: str) -> None:
        """Store run r1 with planned orders (default: one)."""
        with ledger.transaction() as tx:
            runs.insert(tx, self.run(), "test")
            ids = client_order_ids or ("ibl:R1:AAA:B:0",)
            orders.insert(tx, [self.order(name) for name in ids], "test")

    def sending(
        self, ledger: Ledger, client_order_id: str = "ibl:R1:AAA:B:0", ib_order_id: int = 1
    ) -> bool:
        """Journal an order for sending at 10.00 with a limit of 10.10."""
        with ledger.transaction() as tx:
            return orders.mark_sending(
                tx,
                client_order_id,
                ib_order_id=ib_order_id,
                limit_price=Decimal("10.10"),
                arrival_price=Decimal("10.00"),
                quote_seq=7,
                quote_source="ib_stream",
                quote_at=self.t0,
                good_till=self.at(3000),
                now=self.at(ib_order_id),
                actor="executor",
            )


@pytest.fixture
def make() -> Make:
    """Return the maker of rows."""
    return Make()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the ledger is, or will be."""
    return tmp_path / "ibloop.db"


@pytest.fixture
def ledger(path: Path, make: Make) -> Iterator[Ledger]:
    """Return a new paper ledger."""
    opened = open_ledger(path, mode=Mode.PAPER, account=make.account, now=make.t0)
    yield opened
    opened.close()


@dataclass(frozen=True, slots=True)
class Processes:
    """Starts real Python processes that talk over their pipes."""

    started: list[subprocess.Popen[str]]

    def start(self, script: str, *arguments: object) -> subprocess.Popen[str]:
        """Start a script with the repository on its path."""
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, script: str, *arguments: object) -> str:
        """Run a script to its end and return what it printed; it must succeed."""
        process = self.start(script, *arguments)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        return output


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Return a starter of processes; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []
    yield Processes(started)
    for process in started:
        process.kill()
        process.communicate()
