"""The truth of the world: what is ordered, traded and held, whatever anybody hears of it."""

import heapq
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from random import Random

from ibloop.core import events as ev
from ibloop.core.model import (
    ZERO,
    AccountValues,
    BrokerOrder,
    Execution,
    Instrument,
    Order,
    Position,
    Side,
    Tif,
)
from ibloop.core.sessions import trade_date
from tests.fakes.clock import FakeClock
from tests.fakes.shown import ACCOUNT, ENDED, account_values, broker_row, report_of
from tests.world.knobs import Knobs

OURS = 11
ZONE = "America/New_York"
CLOSE = time(21, tzinfo=UTC)
"""When orders for the day die."""
PRICE_CAP = "Order Canceled - reason: price cap"
REJECTS = ((201, "Order rejected - reason:no"), (110, "price variation"), (203, "not allowed"))


@dataclass(slots=True)
class Live:
    """One order at the broker; ``status`` in IB's words, ``born_s`` in boot seconds.

    ``came_dead``: it arrived after its own expiry, so it has never worked.
    """

    order: Order
    client_id: int
    perm_id: int
    status: str
    born_s: float
    filled: Decimal = ZERO
    ended_at: datetime | None = None
    came_dead: bool = False


@dataclass(slots=True)
class Traded:
    """An execution and when it happened, in boot seconds."""

    execution: Execution
    at_s: float


class Exchange:
    """What happens to orders, driven by a heap of things to come; who hears of it is not said."""

    def __init__(
        self,
        clock: FakeClock,
        random: Random,
        later: Random,
        knobs: Knobs,
        instruments: dict[str, Instrument],
        prices: dict[str, Decimal],
        cash: Decimal,
        positions: dict[str, Decimal],
    ) -> None:
        """Open the account with ``cash`` in USD and ``positions`` in shares by symbol."""
        self.clock, self.random, self.later, self.knobs = clock, random, later, knobs
        self.instruments, self.prices, self.cash = instruments, prices, cash
        self.positions: defaultdict[str, Decimal] = defaultdict(lambda: ZERO, positions)
        self.history: list[tuple[float, str, Decimal]] = []
        self.live: list[Live] = []
        self.trades: list[Traded] = []
        self.placed: list[Order] = []
        self.on_place: Callable[[Order], None] = lambda _: None
        self.next_order_id = 1
        self.log: list[str] = []
        self._perm_id = 7000
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def _tell(self, event: ev.BrokerEvent) -> None:
        """Send a callback on its way to whoever is connected."""
        raise NotImplementedError

    # --- orders -------------------------------------------------------------------------------

    def _arrive(self, order: Order) -> None:
        """Let an order reach the exchange."""
        assert order.ib_order_id is not None
        self.next_order_id = max(self.next_order_id, order.ib_order_id + 1)
        live = Live(order, OURS, self._next_perm_id(), "Submitted", self.now_s())
        if self._chance(self.knobs.reject):
            self._reject(live)
            return
        self.live.append(live)
        self._note(f"working {order.client_order_id} perm {live.perm_id}")
        if order.tif is Tif.GTD and order.good_till <= self.clock.now().utc:
            live.came_dead = True
            self._end(live, "Cancelled")
            return
        self._tell(report_of(live))
        if self._chance(self.knobs.inactive):
            self._tell(replace(report_of(live), ib_status="Inactive", why_held="locate"))
        is_capped = self._chance_later(self.knobs.cap)
        if is_capped:
            self._cap(live)
        if not self._chance(self.knobs.rest) and not is_capped:
            self.after(self._up_to(self.knobs.fill_s), lambda: self._fill_some(live))
        self._watch_expiry(live)

    def _cap(self, live: Live) -> None:
        """Let IB's price cap keep an order from trading: it rests, or IB cancels it unasked."""
        self._note(f"capped {live.order.client_order_id}")

        def give_up() -> None:
            if live.status not in ENDED:
                self._end(live, "Cancelled")
                self._tell(ev.ErrorReported(live.order.ib_order_id, 202, PRICE_CAP))

        if self.later.random() < 0.5:
            self.after(self.later.uniform(0, 60), give_up)

    def _watch_expiry(self, live: Live) -> None:
        wait_s = (_dies_at(live.order) - self.clock.now().utc).total_seconds()
        if live.status in ENDED:
            return
        if wait_s <= 0:
            self._end(live, "Cancelled")
        else:
            self.after(min(wait_s, 30.0), lambda: self._watch_expiry(live))

    def _reject(self, live: Live) -> None:
        code, text = self.random.choice(REJECTS)
        if code == 201:
            live.status, live.ended_at = "Inactive", self.clock.now().utc
            self.live.append(live)
        if not self._chance(self.knobs.reject_silently):
            self._tell(ev.ErrorReported(live.order.ib_order_id, code, text))
            if code == 201:
                self._tell(report_of(live))

    def _fill_some(self, live: Live) -> None:
        left = live.order.quantity - live.filled
        if live.status in ENDED:
            return
        if not self._is_marketable(live.order):
            self.after(5.0, lambda: self._fill_some(live))
            return
        if self._chance(self.knobs.partial) and left > 1:
            self.fill(live, Decimal(self.random.randrange(1, int(left))))
            if not self._chance(self.knobs.rest):
                self.after(self._up_to(self.knobs.fill_s), lambda: self._fill_some(live))
        else:
            self.fill(live, left)

    def _is_marketable(self, order: Order) -> bool:
        price, limit = self.prices[order.symbol], order.limit_price
        return limit is None or (price - limit) * order.side.sign <= 0

    def fill(self, live: Live, quantity: Decimal) -> None:
        """Execute shares of an order and tell of it."""
        order = live.order
        execution = Execution(
            exec_id=f"0000e0d5.{len(self.trades) + 1:04}.01",
            account=ACCOUNT,
            client_order_id=order.client_order_id,
            perm_id=live.perm_id,
            symbol=order.symbol,
            con_id=order.con_id,
            side=order.side,
            quantity=quantity,
            price=self.prices[order.symbol],
            executed_at=self.clock.now().utc.replace(microsecond=0),
        )
        self._book(execution, order.side.sign * quantity)
        live.filled += quantity
        self._note(f"filled {order.client_order_id or order.symbol} {quantity}")
        if live.filled >= order.quantity:
            live.status, live.ended_at = "Filled", self.clock.now().utc
        self._tell(ev.Executed(execution))
        if live.client_id == OURS:
            self._tell(report_of(live))
        late = self._chance(self.knobs.commission_late)
        cost = ev.CommissionReported(execution.exec_id, Decimal(0), None)
        self.after(30.0 if late else 0.0, lambda: self._tell(cost))
        if quantity > 1 and self._chance(self.knobs.correct):
            self.after(self._up_to(10.0), lambda: self._correct(live, execution))

    def _correct(self, live: Live, execution: Execution) -> None:
        """Take a share back: the same execution, its next revision."""
        revised = replace(
            execution,
            exec_id=f"{execution.exec_id.rpartition('.')[0]}.02",
            quantity=execution.quantity - 1,
        )
        self._book(revised, -execution.side.sign * Decimal(1))
        live.filled -= 1
        if live.status == "Filled":
            live.status = "Cancelled"
        self._note(f"corrected {execution.exec_id}")
        self._tell(ev.Executed(revised))

    def _book(self, execution: Execution, signed: Decimal) -> None:
        self.trades.append(Traded(execution, self.now_s()))
        self.positions[execution.symbol] += signed
        self.history.append((self.now_s(), execution.symbol, signed))
        self.cash -= signed * execution.price

    def _cancel(self, order: Order) -> None:
        for live in self.live:
            if live.order.ib_order_id != order.ib_order_id or live.client_id != OURS:
                continue
            if live.status in ENDED:
                text = f"cannot be cancelled, state: {live.status}"
                self._tell(ev.ErrorReported(order.ib_order_id, 10148, text))
            elif self._chance(self.knobs.false_cancel):
                self._tell(replace(report_of(live), ib_status="Cancelled"))
            elif self._chance(self.knobs.late_fill) and live.order.quantity - live.filled > 1:
                self._end(live, "Cancelled")
                self.fill(live, Decimal(1))
            else:
                self._end(live, "Cancelled")
                self._tell(ev.ErrorReported(order.ib_order_id, 202, "Order Canceled"))

    def _end(self, live: Live, status: str) -> None:
        if live.status not in ENDED:
            live.status, live.ended_at = status, self.clock.now().utc
            self._note(f"{status} {live.order.client_order_id}")
            self._tell(report_of(live))

    def trade_by_hand(self, symbol: str, side: Side, quantity: int, like: Order) -> None:
        """Let a person trade in TWS."""
        order = replace(
            like,
            client_order_id="",
            symbol=symbol,
            con_id=self.instruments[symbol].con_id,
            side=side,
            quantity=Decimal(quantity),
            limit_price=None,
            ib_order_id=0,
        )
        live = Live(order, 0, self._next_perm_id(), "Submitted", self.now_s())
        self.live.append(live)
        self.fill(live, Decimal(quantity))

    # --- what it shows ------------------------------------------------------------------------

    def _shown_positions(self) -> tuple[Position, ...]:
        """Return the positions as of a moment ago: IB's answers lag."""
        until_s = self._lagged_s()
        held = dict(self.positions)
        for at_s, symbol, signed in self.history:
            if at_s > until_s:
                held[symbol] -= signed
        return tuple(
            Position(s, self.instruments[s].con_id, q, self.prices[s]) for s, q in held.items()
        )

    def _shown_open(self) -> tuple[BrokerOrder, ...]:
        until_s = self._lagged_s()
        shown = [x for x in self.live if x.status not in ENDED and x.born_s <= until_s]
        return tuple(broker_row(live, live.client_id) for live in shown)

    def _shown_ended(self) -> tuple[BrokerOrder, ...]:
        today = trade_date(self.clock.now().utc, ZONE)
        ended = [x for x in self.live if x.status in ENDED and x.ended_at is not None]
        return tuple(
            broker_row(x, x.client_id)
            for x in ended
            if x.ended_at and trade_date(x.ended_at, ZONE) == today
        )

    def _shown_executions(self) -> tuple[Execution, ...]:
        until_s, today = self._lagged_s(), trade_date(self.clock.now().utc, ZONE)
        newest: dict[str, Execution] = {}
        for traded in self.trades:
            found = traded.execution
            if traded.at_s <= until_s and trade_date(found.executed_at, ZONE) == today:
                newest[found.exec_id.rpartition(".")[0]] = found
        return tuple(newest.values())

    def _lagged_s(self) -> float:
        return self.now_s() - self._up_to(self.knobs.lag_s)

    # --- what is so ---------------------------------------------------------------------------

    def executions(self) -> list[Execution]:
        """Return every execution there ever was, in its newest revision."""
        newest = {t.execution.exec_id.rpartition(".")[0]: t.execution for t in self.trades}
        return list(newest.values())

    def orders(self) -> list[BrokerOrder]:
        """Return every order there ever was."""
        return [broker_row(live, live.client_id) for live in self.live]

    def values(self) -> AccountValues:
        """Return cash and net liquidation."""
        return account_values(self.cash, self.positions, self.prices, self.clock.now().utc)

    # --- time ---------------------------------------------------------------------------------

    def now_s(self) -> float:
        """Return boot time in seconds."""
        return self.clock.now().boottime_ns / 1e9

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later."""
        self._count += 1
        heapq.heappush(self._heap, (self.now_s() + seconds, self._count, action))

    def next_s(self) -> float | None:
        """Return when the next thing happens, in boot seconds."""
        return self._heap[0][0] if self._heap else None

    def run_due(self) -> None:
        """Let happen what is due."""
        while self._heap and self._heap[0][0] <= self.now_s():
            heapq.heappop(self._heap)[2]()

    def _chance(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability

    def _chance_later(self, probability: float) -> bool:
        """Draw for a fault of the second stream: what the first decides stays as it was."""
        return probability > 0 and self.later.random() < probability

    def _up_to(self, seconds: float) -> float:
        return self.random.uniform(0, seconds)

    def _next_perm_id(self) -> int:
        self._perm_id += 1
        return self._perm_id

    def _note(self, text: str) -> None:
        self.log.append(f"{self.clock.now().utc:%H:%M:%S.%f} {text}")


def _dies_at(order: Order) -> datetime:
    """Return when an order dies at IB: of one for the day that is the close of its session."""
    if order.tif is Tif.GTD:
        return order.good_till
    assert order.sent_at is not None
    close = datetime.combine(order.sent_at.date(), CLOSE)
    return close if close > order.sent_at else close + timedelta(days=1)
