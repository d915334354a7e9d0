"""The gateway: clients and their requests on one side, the simulated world on the other.

Synchronous and without sockets: a transport hands in what arrived and offers a `Line` to answer
on, and calls `tick` four times a second. Faults act here, on the way in and on the way out.
"""

import logging
from collections.abc import Iterable

from ibloop.sim.faults import Fault
from ibloop.sim.protocol.requests import parse, request_id
from ibloop.sim.protocol.requests.kinds import Bare, ById
from ibloop.sim.protocol.requests.system import StartApi
from ibloop.sim.protocol.wire import Fields, Hello, WireError
from ibloop.sim.service import connections, telling
from ibloop.sim.service.desk import Desk, GatewayOptions
from ibloop.sim.service.handlers import HANDLERS
from ibloop.sim.service.session import Line, Session
from ibloop.sim.world import World

log = logging.getLogger(__name__)

# IB refreshes account values every three minutes, and at once when a position changes.
ACCOUNT_INTERVAL_S = 180.0
MARKET_TIME_INTERVAL_S = 10.0


class Gateway:
    """Serve any number of clients of one simulated login."""

    def __init__(
        self, world: World, options: GatewayOptions | None = None, faults: Iterable[Fault] = ()
    ) -> None:
        """Begin without clients."""
        self.world = world
        self.desk = Desk(world, options or GatewayOptions())
        self.agenda = self.desk.agenda
        self.faults = self.desk.faults
        now_s = world.monotonic_s()
        self._accounts_due_s = now_s + ACCOUNT_INTERVAL_S
        self._market_time_due_s = now_s + MARKET_TIME_INTERVAL_S
        for fault in faults:
            self.add_fault(fault)

    # ------------------------------------------------------------------ clients

    def connect(self, line: Line) -> Session:
        """Take a new connection."""
        return connections.connect(self.desk, line)

    def disconnect(self, session: Session) -> None:
        """Forget a connection that is gone; the client's orders live on."""
        connections.disconnect(self.desk, session)

    def receive(self, session: Session, message: Hello | Fields) -> None:
        """Act on what a client sent. Raises: SimError when the state file cannot be written."""
        if session not in self.desk.sessions:
            return
        if isinstance(message, Hello):
            connections.greet(self.desk, session, message)
            return
        try:
            request = parse(message, session.version)
        except WireError as error:
            log.warning("client %s: unreadable %s: %s", session.client_id, message, error)
            text = f"Error reading request. {error}"
            session.error(request_id(message), 320, text, self.world.now())
            return
        if isinstance(request, StartApi):
            connections.start(self.desk, session, request.client_id)
        elif session.client_id is not None:
            key = request.name if isinstance(request, Bare | ById) else type(request)
            HANDLERS[key](self.desk, session, request)

    # ------------------------------------------------------------------ time

    def tick(self) -> None:
        """Let a sample of the market pass: expiries, fills, ticks, periodic account values.

        Raises: SimError when the state file cannot be written.
        """
        world, now_s = self.world, self.world.monotonic_s()
        telling.deliver(self.desk, world.broker.expire(world.now()))
        fills = world.broker.match(world, self.faults.slice)
        telling.deliver(self.desk, fills)
        for session in self.desk.clients.values():
            # A frozen client would only find a heap of old samples when it wakes up.
            if not session.frozen:
                for subscription in tuple(session.subscriptions.values()):
                    session.send(*subscription.sample(self.desk, session))
        if now_s >= self._accounts_due_s:
            self._accounts_due_s = now_s + ACCOUNT_INTERVAL_S
            telling.refresh_accounts(self.desk)
        if now_s >= self._market_time_due_s:
            self._market_time_due_s = now_s + MARKET_TIME_INTERVAL_S
            world.note_market_time()

    # ------------------------------------------------------------------ faults

    def add_fault(self, fault: Fault) -> None:
        """Let a fault begin."""
        self.faults.add(fault)
        lasts_s = fault.lasts_s()
        if lasts_s is not None:
            self.agenda.add(self.world.monotonic_s() + lasts_s, lambda: self._end_fault(fault))
        connections.reset_lines(self.desk, self.desk.sessions, placed=False)
        connections.apply_freezes(self.desk)
        self.agenda.run(self.world.monotonic_s())

    def clear_faults(self) -> None:
        """End all faults; what one held back already is still sent when its time comes."""
        self.faults.clear()
        connections.apply_freezes(self.desk)

    def _end_fault(self, fault: Fault) -> None:
        self.faults.end(fault)
        connections.apply_freezes(self.desk)
