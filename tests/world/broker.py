"""The broker of the world as its client meets it: the port, and a connection that misbehaves."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ibloop.adapters.ports import NotSentError
from ibloop.core import events as ev
from ibloop.core.model import Evidence, Instrument, MarginImpact, Order
from tests.fakes.shown import ENDED, margin_impact, report_of
from tests.world.exchange import OURS, Exchange

SLOTS, PACE_S = 45, 1.05
"""Orders in a window of the pace; the adapter keeps five more messages for cancels."""


class WorldBroker(Exchange):
    """The port ``Broker`` in front of the exchange.

    ``slots`` is how many messages the window of the pace holds; ``parked`` are the references of
    orders that a gateway holds back.
    """

    def __init__(self, *opened: Any) -> None:
        """Open the account, without a connection; the arguments are those of the exchange."""
        super().__init__(*opened)
        self.boundary: Callable[[str], None] = lambda _: None
        self.connected = False
        self.link_up = True
        self.frozen = False
        self.gone_until_s = 0.0
        self.slots = SLOTS
        self.parked = set[str]()
        self._written_s: list[float] = []
        self._session = 0
        self._inbox: list[ev.BrokerEvent] = []
        self._fifo_s = 0.0
        self._asked = False

    # --- the port -----------------------------------------------------------------------------

    def is_connected(self) -> bool:
        """Return whether the client is connected."""
        return self.connected

    def proof_age_s(self) -> float:
        """Return the seconds since the last round trip: none while the gateway is frozen."""
        return 60.0 if self.frozen or not self.connected else 0.2

    def room(self) -> int:
        """Return how many orders may leave now."""
        return max(0, self.slots - len(self._recent()))

    def _recent(self) -> list[float]:
        since_s = self.now_s() - PACE_S
        self._written_s = [at_s for at_s in self._written_s if at_s > since_s]
        return self._written_s

    def has_news(self) -> bool:
        """Return whether something has arrived."""
        return bool(self._inbox)

    def events(self) -> list[ev.BrokerEvent]:
        """Return what has arrived."""
        arrived, self._inbox = self._inbox, []
        return arrived

    def place(self, order: Order, instrument: Instrument) -> None:
        """Take an order's bytes."""
        assert (instrument.symbol, instrument.con_id) == (order.symbol, order.con_id)
        self.boundary("before place")
        if not self.connected or self._chance(self.knobs.refuse_bytes):
            raise NotSentError("the socket was closed before the first byte")
        self.placed.append(order)
        self.on_place(order)
        self._written_s.append(self.now_s())
        self._note(f"placed {order.client_order_id} id {order.ib_order_id}")
        if not self._chance(self.knobs.swallow):
            if self._chance(self.knobs.park):
                self._park(order)
            else:
                self.after(0.01, lambda: self._arrive(order))
        self.boundary("after place")

    def _park(self, order: Order) -> None:
        """Hold an order back in a gateway: if that ends meanwhile, half of them are lost."""
        session, ref = self._session, order.client_order_id
        self.parked.add(ref)

        def leave() -> None:
            self.parked.discard(ref)
            if session == self._session or self.random.random() >= 0.5:
                self._arrive(order)

        self.after(self.random.uniform(0, self.knobs.park_s), leave)

    def cancel(self, order: Order) -> None:
        """Take the request to cancel an order."""
        self.boundary("before cancel")
        if not self.connected or self._chance(self.knobs.refuse_bytes):
            raise NotSentError("the socket was closed before the first byte")
        if not self._chance(self.knobs.ignore_cancel):
            self.after(self._up_to(self.knobs.cancel_s), lambda: self._cancel(order))
        self.boundary("after cancel")

    def collect_evidence(self) -> None:
        """Begin a pass: positions, open, completed, executions, one after the other."""
        assert not self._asked, "a pass is under way"
        assert self.connected, "asked without a connection"
        self._asked = True
        session = self._session
        waits = [self._up_to(self.knobs.evidence_s) / 4 for _ in range(4)]
        pieces: list[object] = []

        def ask(number: int) -> None:
            if session != self._session:
                return
            if self.frozen or not self.link_up:
                self.after(10.0, lambda: self._fail_evidence(session))
                return
            questions = (self._shown_positions, self._shown_open, self._shown_ended)
            pieces.append((*questions, self._shown_executions)[number]())
            if number < 3:
                self.after(waits[number + 1], lambda: ask(number + 1))
            else:
                self._end_evidence(pieces)

        self.after(waits[0], lambda: ask(0))

    def ask_margin(self, orders: Sequence[tuple[Order, Instrument]]) -> None:
        """Answer after a while; a question that is cut off or meets a frozen gateway fails."""
        session, asked = self._session, [order for order, _ in orders]

        def answer() -> None:
            if self.connected and session == self._session and not self.frozen and self.link_up:
                told = [
                    margin_impact(order, self.cash, self.positions, self.prices) for order in asked
                ]
            else:
                told = [MarginImpact(o.ib_order_id or 0, problem="cut off") for o in asked]
            self._inbox.append(ev.MarginAnswered(tuple(told)))

        self.after(self._up_to(self.knobs.evidence_s), answer)

    # --- evidence -----------------------------------------------------------------------------

    def _end_evidence(self, pieces: list[object]) -> None:
        if self._chance(self.knobs.evidence_fails):
            self._fail_evidence(self._session)
            return
        self._asked = False
        for live in self.live:
            if live.status not in ENDED and live.client_id == OURS:
                self._inbox.append(report_of(live))
        positions, shown, ended, executions = pieces
        self._inbox.append(
            ev.EvidenceCollected(
                Evidence(
                    collected_at=self.clock.now().utc,
                    account_values=self.values(),
                    positions=positions,  # type: ignore[arg-type]
                    open_orders=shown,  # type: ignore[arg-type]
                    completed_orders=ended,  # type: ignore[arg-type]
                    executions=executions,  # type: ignore[arg-type]
                    next_order_id=self.next_order_id,
                )
            )
        )

    def _fail_evidence(self, session: int) -> None:
        if self._asked and session == self._session:
            self._asked = False
            self._inbox.append(ev.EvidenceFailed("a query timed out"))

    # --- the connection -----------------------------------------------------------------------

    def connect(self) -> None:
        """Let the client in."""
        self._session += 1
        self.connected, self._asked = True, False
        self._fifo_s = 0.0
        number = self.next_order_id
        if self._chance(self.knobs.rollback):
            number = max(1, number - self.random.randrange(5))
        self._inbox.append(ev.Connected(number))

    def disconnect(self, why: str) -> None:
        """Close the socket; what is on its way to the client is lost."""
        if self.connected:
            self._note(f"disconnected: {why}")
            self._session += 1
            self.connected = False
            if self._asked:
                self._asked = False
                self._inbox.append(ev.EvidenceFailed("cut off"))
            self._inbox.append(ev.Disconnected(why))

    def lose_client(self) -> None:
        """The client's process has died."""
        self._session += 1
        self.connected, self._asked, self._inbox = False, False, []

    def lose_link(self) -> None:
        """Lose the line between gateway and IB; after a 1300 the socket goes, too."""
        if not self.link_up:
            return
        other = self._chance_later(self.knobs.other_code)
        code = self.later.choice((1300, 2110)) if other else 1100
        self.link_up = False
        self._notice(code)
        if code == 1300:
            self.after(self.later.uniform(0, 2), lambda: self.disconnect("1300"))

    def restore_link(self) -> None:
        """Restore the line between gateway and IB; with 1101 the subscriptions are gone."""
        if not self.link_up:
            self.link_up = True
            self._notice(1101 if self._chance_later(self.knobs.data_lost) else 1102)

    def _notice(self, code: int) -> None:
        self._note(f"notice {code}")
        if self.connected:
            self._inbox.append(ev.ErrorReported(None, code, "link"))

    def thaw(self) -> None:
        """Let a frozen gateway go on."""
        self.frozen = False

    def restart(self, seconds: float) -> None:
        """End the gateway, as it does once a night; it can be reached again after ``seconds``."""
        self.disconnect("the gateway restarts")
        self.gone_until_s = self.now_s() + seconds

    # --- talk ---------------------------------------------------------------------------------

    def _tell(self, event: ev.BrokerEvent) -> None:
        """Send a callback on its way: it may get lost, come twice, or after the next one."""
        if self._chance(self.knobs.drop):
            return
        for _ in range(2 if self._chance(self.knobs.duplicate) else 1):
            due_s = self.now_s() + self._up_to(self.knobs.callback_s)
            if not self._chance(self.knobs.reorder):
                due_s = self._fifo_s = max(due_s, self._fifo_s)
            self.after(due_s - self.now_s(), partial(self._deliver, event, self._session))

    def _deliver(self, event: ev.BrokerEvent, session: int | None = None) -> None:
        if session not in {None, self._session} or not self.connected or not self.link_up:
            return
        if self.frozen:
            self.after(1.0, lambda: self._deliver(event, session))
        else:
            self._inbox.append(event)
