"""A data directory as the daemons leave it, and the page on it without a socket."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from ibloop.adapters.ledger import account, alerts, fills, guard_state, halts, orders, runs
from ibloop.adapters.ledger.connection import Tx, open_ledger
from ibloop.adapters.ledger.guard_state import GuardRow
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.streamfiles import (
    StreamWriter,
    heartbeat_document,
    status_path,
    write_status,
)
from ibloop.config import BUILTIN_TOML, Profile, parse
from ibloop.core.lifecycle import OrderEvent, RunReason, RunState
from ibloop.core.model import (
    AccountValues,
    Execution,
    HaltLevel,
    MarketDataType,
    Mode,
    Order,
    OrderType,
    Position,
    Quote,
    QuoteSource,
    Side,
    Tif,
)
from ibloop.daemons.overview import DAEMONS
from ibloop.web.app import make_app
from ibloop.web.source import Source
from tests.fakes.clock import START, FakeClock

ACCOUNT = "DU1234567"
T0 = START.utc
BASE_URL = "http://127.0.0.1:8791"


@dataclass
class Scene:
    """What the page is about; a test changes what it is about before it asks."""

    profile: Profile
    clock: FakeClock

    def beat(self, name: str, status: str, **fields: object) -> None:
        """Write the heartbeat of a daemon as of now."""
        file = {daemon: file for daemon, file, _ in DAEMONS}[name]
        document = heartbeat_document(status, self.clock.now(), "", fields)
        write_status(status_path(self.profile.stream_dir, file), document)

    def all_well(self) -> None:
        """Write the heartbeats of four daemons that are well."""
        for name, _, well in DAEMONS:
            fields = {"subscribed_symbols": ["AAA"], "market_data_type": "live"}
            self.beat(name, well, **(fields if name == "stream" else {}))

    def quote(self, symbol: str, last: str = "10.05", **changes: object) -> None:
        """Publish a quote of this moment."""
        writer = StreamWriter(self.profile.stream_dir)
        now = self.clock.now()
        price = Decimal(last)
        quote = Quote(
            symbol=symbol,
            con_id=1,
            seq=writer.next_seq(symbol, now),
            received=now,
            event_time=None,
            source=QuoteSource.STREAM,
            market_data_type=MarketDataType.LIVE,
            bid=price - Decimal("0.01"),
            ask=price + Decimal("0.01"),
            last=price,
            close=Decimal(10),
        )
        writer.publish(replace(quote, **changes))  # type: ignore[arg-type]

    @contextmanager
    def writing(self) -> Iterator[Tx]:
        """Give a transaction on the ledger, which is made when it is missing."""
        path = self.profile.ledger_path
        path.parent.mkdir(parents=True, exist_ok=True)
        ledger = open_ledger(path, mode=Mode.PAPER, account=ACCOUNT, now=T0)
        with ledger.transaction() as tx:
            yield tx
        ledger.close()

    def halt(self, level: HaltLevel = HaltLevel.KILL, reason: str = "a test") -> None:
        """Halt as the guard does."""
        with self.writing() as tx:
            halts.halt(tx, level, reason, "guard", "guard", self.clock.now().utc)

    def alert(self, text: str, severity: str = "warning") -> None:
        """Raise an alert."""
        with self.writing() as tx:
            alerts.raise_alert(tx, severity, "test.raised", "", text, None, T0)

    def lose(self, client_order_id: str = "ibl:2026W47:CCC:B:0") -> None:
        """Make an order of the story one of unknown fate."""
        with self.writing() as tx:
            orders.insert(tx, [order("CCC", Side.BUY, 2)], "test")
            _send(tx, client_order_id, 3)
            orders.apply(tx, client_order_id, OrderEvent.LOSE, now=T0, actor="test")

    def value(self, equity: str, at: datetime = T0, date: datetime = T0) -> None:
        """Record an evaluation of the guard."""
        with self.writing() as tx:
            guard_state.record(tx, guard_row(equity, at, date))


def guard_row(equity: str | None, at: datetime = T0, date: datetime = T0) -> GuardRow:
    """Return an evaluation against a day that began with 100,000 USD."""
    base = Decimal(100_000)
    worth = None if equity is None else Decimal(equity)
    loss = None if worth is None else (base - worth) / base
    return GuardRow(
        trade_date=date.date(),
        evaluated_at=at,
        status="degraded" if worth is None else "ok",
        equity=worth,
        equity_source="ib_stream",
        baseline_equity=base,
        baseline_at=T0,
        peak_equity=base,
        day_loss=loss,
        drawdown=loss,
    )


def order(symbol: str, side: Side, sequence: int) -> OrderRow:
    """Return a planned order of 100 shares of the story's run."""
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


def _send(tx: Tx, client_order_id: str, number: int) -> None:
    orders.mark_sending(
        tx,
        client_order_id,
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


def _story(tx: Tx) -> None:
    """Write a partial run: AAA filled in two slices, BBB rejected; AAA is held."""
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
    runs.insert(tx, run, "test")
    planned = [order("AAA", Side.BUY, 0), order("BBB", Side.SELL, 1)]
    orders.insert(tx, planned, "test")
    for number, row in enumerate(planned, start=1):
        _send(tx, row.order.client_order_id, number)
    for number, shares in enumerate((60, 40), start=1):
        execution = Execution(
            exec_id=f"000{number}.01",
            account=ACCOUNT,
            client_order_id="ibl:2026W47:AAA:B:0",
            perm_id=7001,
            symbol="AAA",
            con_id=1,
            side=Side.BUY,
            quantity=Decimal(shares),
            price=Decimal("10.054321"),
            executed_at=T0 + timedelta(seconds=number),
            commission=Decimal("1.00"),
        )
        fills.record(tx, execution, T0, "test")
    orders.apply(
        tx,
        "ibl:2026W47:BBB:S:0",
        OrderEvent.REJECT,
        reject_source="broker",
        reject_code="201",
        reject_reason="no locate",
        now=T0,
        actor="test",
    )
    steps = [RunState.PREPARING, RunState.EXECUTING, RunState.RECONCILING, RunState.PARTIAL]
    for before, after in zip([RunState.QUEUED, *steps], steps, strict=False):
        reason = RunReason.ORDERS_REJECTED if after is RunState.PARTIAL else None
        detail = "1 of 2 orders filled" if reason else ""
        runs.move(tx, run.run_id, before, after, reason=reason, detail=detail, now=T0, actor="test")
    held = [Position("AAA", 1, Decimal(100), Decimal("10.0543"))]
    account.store_positions(tx, held, T0, T0, "test")
    account.store_values(tx, AccountValues(ACCOUNT, Decimal(99_500), Decimal(98_500), T0), T0)


@pytest.fixture
def bare(tmp_path: Path) -> Scene:
    """Return the scene before anything has run: not even the data directory exists."""
    profile = Profile(parse(BUILTIN_TOML, "built-in"), None, tmp_path / "data")
    return Scene(profile, FakeClock())


@pytest.fixture
def scene(bare: Scene) -> Scene:
    """Return the scene after a partial run, with all daemons well and AAA quoted."""
    with bare.writing() as tx:
        _story(tx)
    bare.value("99000")
    bare.all_well()
    bare.quote("AAA")
    return bare


@pytest.fixture
def visit() -> Iterator[Callable[..., TestClient]]:
    """Return a maker of clients of a scene's page; errors become answers, as in production."""
    made: list[Source] = []

    def make(scene: Scene) -> TestClient:
        source = Source(scene.profile, scene.clock)
        made.append(source)
        app = make_app(source)
        return TestClient(app, base_url=BASE_URL, raise_server_exceptions=False)

    yield make
    for source in made:
        source.close()
