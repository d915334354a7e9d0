"""The gateway: clients and their requests on one side, the simulated world on the other.

Synchronous and without sockets: a transport hands in what arrived and offers a `Line` to answer
on, and calls `tick` four times a second. Faults act here, on the way in and on the way out.
"""

import logging
from collections.abc import Iterable

from ibloop.sim.brokerage import liquidation
from ibloop.sim.faults import Fault
from ibloop.sim.faults.base import Step
from ibloop.sim.model import SimError
from ibloop.sim.protocol.requests.system import StartApi
from ibloop.sim.protocol.wire import Fields, Hello
from ibloop.sim.service import connections, dispatch, holdings, reading, telling
from ibloop.sim.service.desk import Desk, GatewayOptions
from ibloop.sim.service.outbox import Outbox
from ibloop.sim.service.session import Line, Session
from ibloop.sim.service.stage import DeskStage
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
        self.stage = DeskStage(self.desk)
        now_s = world.monotonic_s()
        self._accounts_due_s = now_s + ACCOUNT_INTERVAL_S
        self._market_time_due_s = now_s + MARKET_TIME_INTERVAL_S
        for fault in faults:
            self.add_fault(fault)

    # ------------------------------------------------------------------ clients

    def connect(self, line: Line) -> Session:
        """Take a new connection."""
        box = Outbox(line, self.faults, self.agenda, self.world)
        box.session = connections.connect(self.desk, box)
        self._may_pass(box.session, Step.CONNECT)
        return box.session

    def disconnect(self, session: Session) -> None:
        """Forget a connection that is gone; the client's orders live on."""
        connections.disconnect(self.desk, session)

    def receive(self, session: Session, message: Hello | Fields) -> None:
        """Act on what a client sent. Raises: SimError when the state file cannot be written."""
        if session not in self.desk.sessions:
            return
        if isinstance(message, Hello):
            if self._may_pass(session, Step.HELLO):
                connections.greet(self.desk, session, message)
            return
        request = reading.read(self.desk, session, message)
        if isinstance(request, StartApi):
            if self._may_pass(session, Step.START, request.client_id):
                connections.start(self.desk, session, request.client_id)
        elif request is not None and session.client_id is not None:
            dispatch.act(self.desk, self.stage, session, message, request)

    def _may_pass(self, session: Session, step: Step, client_id: int | None = None) -> bool:
        """Let a client in, unless a fault keeps it out: silently, or with an error and a close."""
        door = self.faults.admits(step, client_id)
        if door is None:
            return True
        if door.code:
            session.error(-1, door.code, door.text, self.world.now())
        if not door.silent:
            connections.hang_up(self.desk, session)
        return False

    @property
    def listening(self) -> bool:
        """Tell whether the port is to be open; the transport sees to it."""
        return self.faults.listening

    # ------------------------------------------------------------------ time

    def tick(self) -> None:
        """Let a sample of the market pass: expiries, fills, ticks, periodic account values.

        Raises: SimError when the state file cannot be written.
        """
        world, now_s = self.world, self.world.monotonic_s()
        telling.deliver(self.desk, world.broker.expire(world.now()))
        if world.liquidates:
            telling.deliver(self.desk, liquidation.force(world.broker, world))
        fills = world.broker.match(world, self.faults.slice)
        telling.deliver(self.desk, fills)
        for session in self.desk.clients.values():
            # A frozen client would only find a heap of old samples when it wakes up.
            if not session.frozen:
                session.sample(self.desk)
        if now_s >= self._accounts_due_s:
            self._accounts_due_s = now_s + ACCOUNT_INTERVAL_S
            holdings.refresh_accounts(self.desk)
        if now_s >= self._market_time_due_s:
            self._market_time_due_s = now_s + MARKET_TIME_INTERVAL_S
            world.note_market_time()

    # ------------------------------------------------------------------ faults

    def add_fault(self, fault: Fault) -> int:
        """Let a fault begin, and return its number."""
        number = self.stage.add(fault)
        self.agenda.run(self.world.monotonic_s())
        return number

    def clear_faults(self) -> None:
        """End all faults; what one held back already is still sent when its time comes."""
        self.stage.clear()

    def clear_fault(self, number: object) -> None:
        """End one fault. Raises: SimError when there is none of that number."""
        fault = self.faults.numbered().get(number) if isinstance(number, int) else None
        if fault is None:
            raise SimError(f"no active fault has the number {number!r}")
        self.stage.end(fault)
