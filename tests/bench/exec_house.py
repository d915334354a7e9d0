"""The executor's core on a real ledger with a broker in memory: what orders cost without a socket.

Quotes and clock are real values; the broker acknowledges and fills at once, so that nothing is
waited for.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ledger import orders, runs, snapshots
from ibloop.adapters.ledger.connection import Ledger, open_ledger
from ibloop.adapters.ledger.mark import Mark
from ibloop.adapters.ledger.runs import Run
from ibloop.config import BUILTIN_TOML, Config, parse
from ibloop.core import events as ev
from ibloop.core.gates import Pulse
from ibloop.core.lifecycle import RUN_TERMINAL, RunState
from ibloop.core.model import (
    ZERO,
    AccountValues,
    BrokerOrder,
    Evidence,
    Execution,
    Instrument,
    MarketDataType,
    Mode,
    Moment,
    Order,
    Position,
    Quote,
    QuoteSource,
    Target,
)
from ibloop.core.snapshot import DecisionSnapshot, Omitted, canonical_json
from ibloop.daemons.executing.order_executor import OrderExecutor
from ibloop.daemons.executing.run_planner import RunPlanner
from ibloop.daemons.executing.send_rails import SendRails
from ibloop.daemons.executing.trade_executor import TradeExecutor
from ibloop.daemons.halting import severest_halt

ACCOUNT = "DU1234567"
EQUITY_USD = Decimal(100_000_000)
PRICE_USD = Decimal(20)
SKIP_S = 0.1
"""How far the clock moves on when the executor has nothing to do: evidence keeps a distance."""
PACE = 45
"""The most orders that may leave in one go: what the message limit lets through at once."""
LIMITS = {
    "order_value_usd_max": "1_000_000",
    "order_quantity_max": "1_000_000",
    "day_turnover_weight_max": "1000.0",
    "sector_weight_max": "10.0",
    "adv_participation_max": "1.0",
    "orders_per_run_max": "5_000",
    "orders_per_day_max": "5_000",
}


def toml(orders_per_second_max: int) -> str:
    """Return the built-in profile with limits that no benchmark meets."""
    text = BUILTIN_TOML
    for name, value in {**LIMITS, "orders_per_second_max": str(orders_per_second_max)}.items():
        before = next(line for line in text.splitlines() if line.startswith(f"{name} = "))
        text = text.replace(before, f"{name} = {value}")
    return text


def config(window: int) -> Config:
    """Return the profile for a broker in memory, which is not paced."""
    made = parse(toml(100_000), "bench")
    return replace(made, execution=replace(made.execution, window=window))


def universe(count: int) -> dict[str, Instrument]:
    """Return made-up instruments SYN001 onwards."""
    names = [f"SYN{number:03d}" for number in range(1, count + 1)]
    return {name: _instrument(name, number) for number, name in enumerate(names, start=1)}


def _instrument(symbol: str, con_id: int) -> Instrument:
    return Instrument(
        symbol=symbol,
        con_id=con_id,
        name=symbol,
        primary_exchange="NYSE",
        currency="USD",
        min_tick=Decimal("0.01"),
        lot=Decimal(1),
        sector=f"sector {con_id % 11}",
        adv_shares=Decimal(10_000_000),
    )


class SkippingClock(SystemClock):
    """Both clocks of the system, moved on over the times in which nothing is done."""

    def __init__(self) -> None:
        """Begin with the present moment."""
        self._skipped_s = 0.0

    def skip(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._skipped_s += seconds

    def now(self) -> Moment:
        """Return the present moment."""
        now = super().now()
        if not self._skipped_s:
            return now
        utc = now.utc + timedelta(seconds=self._skipped_s)
        skipped_ns = int(self._skipped_s * 1e9)
        return replace(now, utc=utc, boottime_ns=now.boottime_ns + skipped_ns)


class MemoryBroker:
    """The port ``Broker``: acknowledges and fills every order at once, and shows one day of them.

    ``stamps`` are when bytes would have left, in ns of the monotonic clock.
    """

    def __init__(self, clock: SystemClock) -> None:
        """Begin with an empty account."""
        self._clock = clock
        self._events: list[ev.BrokerEvent] = [ev.Connected(1)]
        self._orders: dict[str, BrokerOrder] = {}
        self._executions: list[Execution] = []
        self._positions: dict[str, Position] = {}
        self._cash_usd = EQUITY_USD
        self._count = 0
        self.fills = True

    def is_connected(self) -> bool:
        """Return true."""
        return True

    def proof_age_s(self) -> float:
        """Return that the gateway has just answered."""
        return 0.0

    def room(self) -> int:
        """Return the room of a pace that is never used up."""
        return PACE

    def events(self) -> list[ev.BrokerEvent]:
        """Return what has happened."""
        arrived, self._events = self._events, []
        return arrived

    def cancel(self, order: Order) -> None:
        """Never asked here."""
        raise AssertionError(f"expected no cancel, was {order.client_order_id}")

    def place(self, order: Order, instrument: Instrument) -> None:
        """Acknowledge an order and fill it whole at its limit."""
        assert order.ib_order_id is not None
        assert order.limit_price is not None
        self._count += 1
        perm_id, ref = self._clock.now().boottime_ns, order.client_order_id
        self._events.append(ev.OrderReported(ref, order.ib_order_id, perm_id, "Submitted"))
        if not self.fills:
            return
        filled = Execution(
            exec_id=f"{perm_id:x}.{self._count}.01",
            account=ACCOUNT,
            client_order_id=ref,
            perm_id=perm_id,
            symbol=order.symbol,
            con_id=instrument.con_id,
            side=order.side,
            quantity=order.quantity,
            price=order.limit_price,
            executed_at=self._clock.now().utc.replace(microsecond=0),
            commission=Decimal(1),
        )
        self._executions.append(filled)
        self._events.append(ev.Executed(filled))
        self._book(filled)
        self._orders[ref] = BrokerOrder(
            client_order_id=ref,
            ib_order_id=order.ib_order_id,
            perm_id=perm_id,
            client_id=11,
            account=ACCOUNT,
            symbol=order.symbol,
            side=order.side,
            quantity=order.quantity,
            ib_status="Filled",
            filled_quantity=order.quantity,
        )

    def _book(self, filled: Execution) -> None:
        held = self._positions.get(filled.symbol)
        quantity = (held.quantity if held else ZERO) + filled.side.sign * filled.quantity
        self._positions[filled.symbol] = Position(
            filled.symbol, filled.con_id, quantity, filled.price
        )
        self._cash_usd -= filled.side.sign * filled.quantity * filled.price + 1

    def collect_evidence(self) -> None:
        """Answer a pass at once."""
        value = sum((p.quantity * PRICE_USD for p in self._positions.values()), ZERO)
        now = self._clock.now().utc
        self._events.append(
            ev.EvidenceCollected(
                Evidence(
                    collected_at=now,
                    account_values=AccountValues(
                        ACCOUNT, self._cash_usd + value, self._cash_usd, now
                    ),
                    positions=tuple(p for p in self._positions.values() if p.quantity),
                    open_orders=(),
                    completed_orders=tuple(self._orders.values()),
                    executions=tuple(self._executions),
                )
            )
        )

    def next_day(self) -> None:
        """Forget orders and executions, as IB does over night."""
        self._orders.clear()
        self._executions.clear()


class FreshQuotes:
    """The port ``Quotes``: a quote of this moment for every symbol."""

    def __init__(self, clock: SystemClock, instruments: dict[str, Instrument]) -> None:
        """Quote all at one price."""
        self._clock = clock
        self._instruments = instruments

    def explain(self, symbol: str) -> None:  # noqa: ARG002 - the port's
        """Know of nothing that is wrong."""
        return

    def read(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Return the quotes."""
        now = self._clock.now()
        return {
            symbol: Quote(
                symbol=symbol,
                con_id=self._instruments[symbol].con_id,
                seq=7,
                received=now,
                event_time=None,
                source=QuoteSource.STREAM,
                market_data_type=MarketDataType.LIVE,
                bid=PRICE_USD - Decimal("0.01"),
                ask=PRICE_USD + Decimal("0.01"),
                last=PRICE_USD,
                close=PRICE_USD,
            )
            for symbol in symbols
        }


class House:
    """One ledger and one executor; runs are queued and played to their end."""

    def __init__(self, directory: Path, count: int, window: int) -> None:
        """Open or make the ledger in ``directory``; ``count`` instruments may be traded."""
        self.clock = SkippingClock()
        self.config = config(window)
        self.instruments = universe(count)
        self.broker = MemoryBroker(self.clock)
        self.quotes = FreshQuotes(self.clock, self.instruments)
        path = directory / "ibloop.db"
        self.ledger: Ledger = open_ledger(path, mode=Mode.PAPER, account=ACCOUNT)
        mark = Mark(path)
        mark.path.unlink(missing_ok=True)
        self.desk = OrderExecutor(
            self.config,
            self.ledger,
            self.broker,
            self.quotes,
            self.instruments,
            self.clock,
            lambda db: severest_halt(db, directory)[0],
            mark,
            SendRails(
                self.config,
                guard=lambda: Pulse("watching", self.clock.now(), "test"),
                clock_skew_s=lambda: 0.0,
                connection=lambda: None,
                universe_hash="universe",
                build="test",
            ),
        )
        self.trader = TradeExecutor(
            self.config,
            self.ledger,
            self.desk,
            RunPlanner(self.config, self.ledger.db, self.quotes, self.instruments),
            self.clock,
            gate=lambda _: None,
            guard_silence=lambda: None,
            deadline=_in_half_an_hour,
        )

    def queue(self, key: str, symbols: Sequence[str], weight: str) -> str:
        """Queue a run that wants ``weight`` of each symbol and keeps the rest."""
        now = self.clock.now().utc
        decided = DecisionSnapshot(
            account=ACCOUNT,
            mode=self.config.mode.value,
            targets=tuple(Target(symbol, Decimal(weight)) for symbol in symbols),
            as_of=now,
            source="bench",
            omitted=Omitted.KEEP,
            config_hash=self.config.config_hash,
            universe_hash="bench",
        )
        content = canonical_json(decided.content())
        with self.ledger.transaction() as tx:
            frozen = snapshots.freeze(
                tx, decided.snapshot_id, decided.content_hash, now, "bench", content, now
            )
            run = Run(
                run_id=f"run-{key}",
                run_key=key,
                mode=self.config.mode,
                account=ACCOUNT,
                status=RunState.QUEUED,
                reason=None,
                detail="",
                snapshot_id=frozen.snapshot_id,
                snapshot_hash=frozen.content_hash,
                config_hash=self.config.config_hash,
                build="bench",
                attempt=0,
                created_at=now,
                updated_at=now,
            )
            runs.insert(tx, run, "bench")
        return run.run_id

    def step_until(self, state: RunState, run_id: str) -> None:
        """Step until a run is in a state. Raises: AssertionError when it ends otherwise."""
        for _ in range(1_000_000):
            if not self.trader.step():
                self.clock.skip(SKIP_S)
            run = runs.find(self.ledger.db, run_id)
            assert run is not None
            if run.status is state:
                return
            blocked = run.status is RunState.BLOCKED or run.status in RUN_TERMINAL
            assert not blocked, f"expected {state}, was {run.status}: {run.detail}"
        raise AssertionError(f"expected {state} of {run_id}")

    def planned(self, run_id: str) -> list[orders.OrderRow]:
        """Return the orders of a run that are still to be sent."""
        rows = orders.of_run(self.ledger.db, run_id)
        return [row for row in rows if row.order.sent_at is None]

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()


def _in_half_an_hour(now: datetime) -> datetime:
    return now + timedelta(minutes=30)
