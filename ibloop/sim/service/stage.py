"""The hands of the faults: what they may do to the gateway, and their coming and going."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from random import Random

from ibloop.sim.brokerage.events import Event
from ibloop.sim.faults import Delivery, Fault, check, name_of
from ibloop.sim.model import Order, SimError
from ibloop.sim.protocol import orderlayout
from ibloop.sim.service import connections, telling
from ibloop.sim.service.desk import Desk
from ibloop.sim.service.session import Session
from ibloop.sim.world import World


class DeskStage:
    """A stage (see `faults.base.Stage`) that acts on a desk."""

    def __init__(self, desk: Desk) -> None:
        """Act on this desk."""
        self._desk = desk
        desk.faults.stage = self

    @property
    def world(self) -> World:
        """Return the desk's world."""
        return self._desk.world

    # ------------------------------------------------------------------ coming and going

    def add(self, fault: Fault) -> int:
        """Let a fault begin, and return its number.

        Raises: SimError when a parameter makes no sense in this world, or it cannot begin.
        """
        check(fault)
        self._check_symbol(fault)
        seed = getattr(fault, "seed", 0)
        fault.rng = Random(f"{self.world.seed}:{name_of(type(fault))}:{seed}")
        number = self._desk.faults.add(fault)
        try:
            fault.begin(self)
        except SimError:
            self._desk.faults.end(fault)
            raise
        connections.apply_freezes(self._desk)
        return number

    def _check_symbol(self, fault: Fault) -> None:
        """Refuse a symbol nobody has: the fault would never strike, and a test pass for that."""
        symbol, samples = getattr(fault, "symbol", None), self.world.samples
        if symbol is None or samples.by_symbol(symbol) is not None:
            return
        known = (instrument.symbol for instrument in samples.instruments.values())
        near = " or ".join(get_close_matches(symbol.upper(), known))
        expected = f"expected a symbol of the universe, was {symbol!r}"
        hint = f"; did you mean {near}?" if near else ""
        raise SimError(f"fault {name_of(type(fault))}: {expected}{hint}")

    def end(self, fault: Fault) -> None:
        """End a fault, once."""
        if self._desk.faults.end(fault):
            fault.finish(self)
            connections.apply_freezes(self._desk)

    def clear(self) -> None:
        """End all faults; what one held back for later is still sent when its time comes."""
        for fault in self._desk.faults:
            self.end(fault)

    def later(self, delay_s: float, action: Callable[[], object]) -> None:
        """Do something after so many seconds."""
        self._desk.agenda.add(self.world.monotonic_s() + delay_s, action)

    # ------------------------------------------------------------------ speaking

    def tell(self, events: Iterable[Event]) -> None:
        """Store what changed and let the clients hear of it."""
        telling.deliver(self._desk, events)

    def match(self) -> None:
        """Let the market fill what it can fill now."""
        self.tell(self.world.broker.match(self.world, self._desk.faults.slice))

    def post(self, delivery: Delivery) -> None:
        """Let a client hear of an event now."""
        telling.tell(self._desk, delivery)

    def error(self, client_id: int | None, req_id: int, code: int, text: str) -> None:
        """Send an error or notice to one client, or to all."""
        for session in self._sessions(client_id):
            session.error(req_id, code, text, self.world.now())

    def completed(self, order: Order) -> None:
        """Send completedOrder to the clients that may see the order."""
        for session in self._sessions(None):
            own = session.client_id == order.client_id
            if own or self._desk.sees_all(session.client_id or 0):
                instrument = self.world.samples.instruments[order.con_id]
                session.send(orderlayout.completed_order(order, instrument, session.version))

    # ------------------------------------------------------------------ connections

    def follow_port(self) -> None:
        """Let the transport close the port now if it is to be closed."""
        self._desk.follow_port()

    def reset(self, client_id: int | None) -> int:
        """Reset one client's connection, or all, even of those who have not named themselves."""
        chosen = [
            session
            for session in self._desk.sessions
            if client_id is None or session.client_id == client_id
        ]
        for session in chosen:
            session.line.reset()
            connections.disconnect(self._desk, session)
        return len(chosen)

    # ------------------------------------------------------------------ data

    def data_requests(self, client_id: int | None) -> list[tuple[int, int]]:
        """Return (client id, request id) of the data streams of one client, or of all."""
        return [
            (session.client_id or 0, req_id)
            for session in self._sessions(client_id)
            for _, req_id in session.subscriptions
            if str(req_id) in session.symbols
        ]

    def data_type(self, client_id: int) -> int:
        """Return the type of market data that a client asked for, IB's 1 to 4; 1 if it did not."""
        return next((session.market_data_type for session in self._sessions(client_id)), 1)

    def end_data(self, client_id: int, req_id: int) -> None:
        """Forget a data stream without a word."""
        for session in self._sessions(client_id):
            for kind, known in tuple(session.subscriptions):
                if known == req_id:
                    del session.subscriptions[kind, known]

    def _sessions(self, client_id: int | None) -> list[Session]:
        clients = self._desk.clients
        if client_id is None:
            return list(clients.values())
        return [clients[client_id]] if client_id in clients else []
