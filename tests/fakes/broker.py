"""The broker as the truth: what it holds happened, whatever its client was told of it."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from ibloop.adapters.ports import NotSentError
from ibloop.core import events as ev
from ibloop.core.model import (
    ZERO,
    AccountValues,
    BrokerOrder,
    Evidence,
    Execution,
    Instrument,
    MarginImpact,
    Order,
    Position,
    Side,
)
from tests.fakes.clock import FakeClock
from tests.fakes.shown import ACCOUNT, ENDED, account_values, broker_row, margin_impact, report_of

CLIENT_ID = 11
COMMISSION = ZERO
"""None, so that the same targets stay the same shares however often a test trades."""


@dataclass(slots=True)
class Script:
    """What becomes of the orders of a symbol; the default is an acknowledgement and a whole fill.

    ``swallowed``: the bytes never arrive. ``silent``: it works, and no callback says so.
    ``ack_after_s``: how late it comes to life. ``fills``: fractions of the quantity executed at
    once. ``refused``: error code and text. ``sticky``: cancels are not obeyed, and how it is
    reported afterwards.
    """

    swallowed: bool = False
    silent: bool = False
    ack_after_s: float = 0
    fills: tuple[Decimal, ...] = (Decimal(1),)
    refused: tuple[int, str] | None = None
    refused_silently: bool = False
    sticky: str | None = None


@dataclass(slots=True)
class Live:
    """One order as the broker has it; ``status`` in IB's words."""

    order: Order
    perm_id: int
    status: str
    filled: Decimal = ZERO
    forgotten: bool = False
    ended_at: datetime | None = None


class FakeBroker:
    """The port ``Broker``. ``boundary`` is called before and after bytes leave: crash there."""

    def __init__(
        self,
        clock: FakeClock,
        instruments: dict[str, Instrument],
        prices: dict[str, Decimal],
        *,
        cash: Decimal,
        positions: dict[str, Decimal],
    ) -> None:
        """Open the account with ``cash`` in USD and ``positions`` in shares by symbol."""
        self.clock, self.instruments, self.prices = clock, instruments, prices
        self.cash = cash
        self.positions: defaultdict[str, Decimal] = defaultdict(lambda: ZERO, positions)
        self.scripts: dict[str, Script] = {}
        self.placed: list[str] = []
        self.canceled: list[str] = []
        self.live: list[Live] = []
        self.executions: list[Execution] = []
        self.boundary: Callable[[str], None] = lambda _: None
        self.connected = False
        self.refuse_bytes = False
        self.frozen = False
        self.proof_s = 0.5
        self.slots = 45
        self.next_order_id = 1
        self.evidence_asked = 0
        self.evidence_held = False
        self.evidence_fails = False
        self.margin_asked: list[list[Order]] = []
        self.margin_held = False
        self.margin_answers: Callable[[MarginImpact], MarginImpact] = lambda impact: impact
        self._asked = False
        self._queue: list[ev.BrokerEvent] = []
        self._late: list[tuple[datetime, Live]] = []

    # --- the port -----------------------------------------------------------------------------

    def is_connected(self) -> bool:
        """Return whether the client is connected."""
        return self.connected

    def proof_age_s(self) -> float:
        """Return the seconds since the last round trip."""
        return self.proof_s

    def room(self) -> int:
        """Return how many orders may leave now."""
        return self.slots

    def events(self) -> list[ev.BrokerEvent]:
        """Return what has arrived; the broker's own clock goes on here too."""
        if not self.connected or self.frozen:
            arrived = [] if self.connected else self._queue
            self._queue = self._queue if self.connected else []
            return arrived
        self._let_time_pass()
        arrived, self._queue = self._queue, []
        return arrived

    def has_news(self) -> bool:
        """Return whether the client has something to read."""
        return bool(self._queue) and not (self.connected and self.frozen)

    def place(self, order: Order, instrument: Instrument) -> None:
        """Take an order's bytes, once in its life."""
        assert (instrument.symbol, instrument.con_id) == (order.symbol, order.con_id)
        self.boundary("before place")
        if not self.connected or self.refuse_bytes:
            raise NotSentError("the socket was closed before the first byte")
        self.placed.append(order.client_order_id)
        script = self.scripts.get(order.symbol, Script())
        if not script.swallowed:
            self._accept(order, script)
        self.boundary("after place")

    def cancel(self, order: Order) -> None:
        """Take the request to cancel an order."""
        self.boundary("before cancel")
        if not self.connected or self.refuse_bytes:
            raise NotSentError("the socket was closed before the first byte")
        self.canceled.append(order.client_order_id)
        for live in self.live:
            if live.order.ib_order_id == order.ib_order_id and live.status not in ENDED:
                self._cancel(live)
        self.boundary("after cancel")

    def collect_evidence(self) -> None:
        """Begin a pass; it ends at once unless a test holds it."""
        assert not self._asked, "a pass is under way"
        self._asked = True
        self.evidence_asked += 1
        if not self.evidence_held and not self.frozen:
            self.finish_evidence()

    def ask_margin(self, orders: Sequence[tuple[Order, Instrument]]) -> None:
        """Take a margin question; it is answered at once unless a test holds it."""
        self.margin_asked.append([order for order, _ in orders])
        self.next_order_id = max(self.next_order_id, *(o.ib_order_id + 1 for o, _ in orders))
        if not self.margin_held and not self.frozen:
            self.answer_margin()

    # --- what a test does ---------------------------------------------------------------------

    def connect(self) -> None:
        """Let the client in again; what it did not read is gone."""
        assert not self._asked
        self.connected = True
        self._queue = [ev.Connected(self.next_order_id)]

    def disconnect(self) -> None:
        """Close the socket; a pass under way fails."""
        self.connected = False
        self._queue.append(ev.Disconnected("the test closed it"))
        if self._asked:
            self._asked = False
            self._queue.append(ev.EvidenceFailed("cut off"))

    def lose_client(self) -> None:
        """The client's process has died: its socket and all it had not read are gone."""
        self.connected, self._asked, self._queue = False, False, []
        self.boundary = lambda _: None

    def emit(self, *events: ev.BrokerEvent) -> None:
        """Send the client something."""
        self._queue.extend(events)

    def finish_evidence(self, evidence: Evidence | None = None) -> None:
        """End the pass under way, with what is true now unless another answer is given."""
        assert self._asked, "nobody asked"
        self._asked = False
        if self.evidence_fails:
            self.emit(ev.EvidenceFailed("a query timed out"))
            return
        self._let_time_pass()
        # A gateway repeats the status of every open order while it answers.
        self.emit(*(report_of(live) for live in self.live if live.status not in ENDED))
        self.emit(ev.EvidenceCollected(evidence or self.evidence()))

    def answer_margin(self, number: int = -1) -> None:
        """Answer a margin question, the latest unless told otherwise."""
        impacts = (
            margin_impact(order, self.cash, self.positions, self.prices)
            for order in self.margin_asked[number]
        )
        self.emit(ev.MarginAnswered(tuple(map(self.margin_answers, impacts))))

    def thaw(self) -> None:
        """Let a frozen gateway go on with what it was given meanwhile."""
        self.frozen = False
        if self._asked:
            self.finish_evidence()

    def evidence(self) -> Evidence:
        """Return what a complete pass would find now."""
        shown = [live for live in self.live if not live.forgotten]
        rows = [(live.status in ENDED, broker_row(live, CLIENT_ID)) for live in shown]
        return Evidence(
            collected_at=self.clock.now().utc,
            account_values=self.values(),
            positions=tuple(self._position(s) for s in sorted(self.positions)),
            open_orders=tuple(row for ended, row in rows if not ended),
            completed_orders=tuple(row for ended, row in rows if ended),
            executions=tuple(self.executions),
            next_order_id=self.next_order_id,
        )

    def orders(self) -> list[BrokerOrder]:
        """Return every order there ever was, also those that evidence forgets."""
        return [broker_row(live, CLIENT_ID) for live in self.live]

    def values(self) -> AccountValues:
        """Return cash and net liquidation."""
        return account_values(self.cash, self.positions, self.prices, self.clock.now().utc)

    def find(self, ref: str) -> Live:
        """Return the order with this reference."""
        (found,) = [live for live in self.live if live.order.client_order_id == ref]
        return found

    def fill(self, live: Live, quantity: Decimal, *, told: bool = True) -> Execution:
        """Execute some shares of an order and report it, unless ``told`` is False."""
        order = live.order
        execution = self.execution(order, live.perm_id, quantity)
        self.executions.append(execution)
        self.positions[order.symbol] += order.side.sign * quantity
        self.cash -= order.side.sign * quantity * execution.price
        live.filled += quantity
        if live.filled >= order.quantity:
            live.status = "Filled"
        if told:
            cost = ev.CommissionReported(execution.exec_id, COMMISSION, None)
            self.emit(ev.Executed(execution), cost, report_of(live))
        return execution

    def execution(self, order: Order, perm_id: int, quantity: Decimal) -> Execution:
        """Return the next execution of an order, without making it true."""
        return Execution(
            exec_id=f"0000e0d5.{len(self.executions) + 1:04}.01",
            account=ACCOUNT,
            client_order_id=order.client_order_id,
            perm_id=perm_id,
            symbol=order.symbol,
            con_id=order.con_id,
            side=order.side,
            quantity=quantity,
            price=self.prices[order.symbol],
            executed_at=self.clock.now().utc,
        )

    def alive(self, order: Order) -> Live:
        """Let an order work that nobody has heard of so far."""
        live = Live(order, self._next_perm_id(), "Submitted")
        self.live.append(live)
        return live

    def trade_by_hand(self, symbol: str, side: Side, quantity: int, ref: str = "") -> Live:
        """Let a person trade in TWS: an order of another client, filled and not told of."""
        template = self.live[0].order if self.live else None
        assert template is not None, "needs an order to copy"
        order = replace(
            template,
            client_order_id=ref,
            symbol=symbol,
            con_id=self.instruments[symbol].con_id,
            side=side,
            quantity=Decimal(quantity),
            ib_order_id=-1,
        )
        live = Live(order, self._next_perm_id(), "Submitted")
        self.live.append(live)
        self.fill(live, Decimal(quantity), told=False)
        return live

    # --- inside -------------------------------------------------------------------------------

    def _next_perm_id(self) -> int:
        return 7001 + len(self.live)

    def _accept(self, order: Order, script: Script) -> None:
        assert order.ib_order_id is not None
        self.next_order_id = max(self.next_order_id, order.ib_order_id + 1)
        live = Live(order, self._next_perm_id(), "PendingSubmit")
        if script.refused:
            self._refuse(live, script)
            return
        self.live.append(live)
        if script.ack_after_s or self.frozen:
            live.forgotten = True
            at = self.clock.now().utc.timestamp() + script.ack_after_s
            self._late.append((datetime.fromtimestamp(at, self.clock.now().utc.tzinfo), live))
        else:
            self._come_alive(live, script)

    def _refuse(self, live: Live, script: Script) -> None:
        code, text = script.refused or (0, "")
        if code == 201:  # an exchange's refusal is a completed order, others never were orders
            live.status = "Inactive"
            self.live.append(live)
        if not script.refused_silently:
            self.emit(ev.ErrorReported(live.order.ib_order_id, code, text))

    def _come_alive(self, live: Live, script: Script) -> None:
        live.status, live.forgotten = "Submitted", False
        if not script.silent:
            self.emit(report_of(live))
        for fraction in script.fills:
            shares = (live.order.quantity * fraction).to_integral_value()
            self.fill(live, min(shares, live.order.quantity - live.filled), told=not script.silent)

    def _cancel(self, live: Live) -> None:
        script = self.scripts.get(live.order.symbol, Script())
        if script.sticky:
            live.status = script.sticky
        else:
            live.status, live.ended_at = "Cancelled", self.clock.now().utc
        self.emit(report_of(live))

    def _let_time_pass(self) -> None:
        now = self.clock.now().utc
        due = [live for at, live in self._late if at <= now]
        self._late = [(at, live) for at, live in self._late if at > now]
        for live in due:
            # Whoever sends an order with an expiry is spared one that starts too late.
            if live.order.good_till > now:
                self._come_alive(live, self.scripts.get(live.order.symbol, Script()))
            else:
                live.status, live.ended_at = "Cancelled", live.order.good_till
        for live in self.live:
            sticky = self.scripts.get(live.order.symbol, Script()).sticky
            if live.status not in ENDED and now >= live.order.good_till and not sticky:
                live.status, live.ended_at = "Cancelled", live.order.good_till
                self.emit(report_of(live))

    def _position(self, symbol: str) -> Position:
        con_id = self.instruments[symbol].con_id
        return Position(symbol, con_id, self.positions[symbol], self.prices[symbol])
