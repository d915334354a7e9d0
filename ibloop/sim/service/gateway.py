"""The gateway: clients and their requests on one side, the simulated world on the other.

Synchronous and without sockets: a transport hands in what arrived and offers a `Line` to answer
on, and calls `tick` four times a second. Faults act here, on the way in and on the way out.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from ibloop.sim.brokerage.events import (
    AccountChange,
    Commissioned,
    Event,
    Filled,
    OrderUpdate,
    Problem,
    WhatIf,
)
from ibloop.sim.faults import ActiveFaults, Delivery, Fault
from ibloop.sim.model import ZERO, Order, ReceivedFrame
from ibloop.sim.protocol import wire
from ibloop.sim.protocol.replies import fills, holdings, system
from ibloop.sim.protocol.requests import (
    AccountSummary,
    AccountUpdates,
    AccountUpdatesMulti,
    Bare,
    ById,
    ContractDetails,
    Executions,
    MarketData,
    PlaceOrder,
    Request,
    StartApi,
    Unserved,
    parse,
    request_id,
)
from ibloop.sim.protocol.wire import Fields, Hello, WireError
from ibloop.sim.service import queries
from ibloop.sim.service.agenda import Agenda
from ibloop.sim.service.session import Line, Session
from ibloop.sim.world import World

log = logging.getLogger(__name__)

# IB refreshes account values every three minutes, and at once when a position changes.
ACCOUNT_INTERVAL_S = 180.0
MARKET_TIME_INTERVAL_S = 10.0
NOTICES = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
    (2158, "Sec-def data farm connection is OK:secdefil"),
)
IN_USE = "Unable to connect as the client id is already in use. Retry with a unique client id."

_QUERIES: dict[str, Callable[[World, Session, Any], None]] = {
    name: getattr(queries, name)
    for name in (
        *("current_time", "current_time_millis", "ids", "managed_accounts", "user_info"),
        *("market_rule", "market_data_type", "auto_open_orders", "cancel_market_data"),
        *("positions", "cancel_positions", "cancel_account_updates_multi"),
        "cancel_account_summary",
    )
}
_TYPED_QUERIES: dict[type, Callable[[World, Session, Any], None]] = {
    ContractDetails: queries.contract_details,
    MarketData: queries.market_data,
    AccountUpdates: queries.account_updates,
    AccountUpdatesMulti: queries.account_updates_multi,
    AccountSummary: queries.account_summary,
}


class Gateway:
    """Serve any number of clients of one simulated login."""

    def __init__(
        self, world: World, *, master_client_id: int | None, faults: Iterable[Fault] = ()
    ) -> None:
        """Begin without clients; the master client sees everybody's orders, as client 0 does."""
        self.world = world
        self.agenda = Agenda()
        self.faults = ActiveFaults()
        self._master_client_id = master_client_id
        self._sessions: list[Session] = []
        self._clients: dict[int, Session] = {}
        now_s = world.monotonic_s()
        self._accounts_due_s = now_s + ACCOUNT_INTERVAL_S
        self._market_time_due_s = now_s + MARKET_TIME_INTERVAL_S
        for fault in faults:
            self.add_fault(fault)

    # ------------------------------------------------------------------ connections

    def connect(self, line: Line) -> Session:
        """Take a new connection."""
        session = Session(line)
        self._sessions.append(session)
        self._apply_freezes()
        return session

    def disconnect(self, session: Session) -> None:
        """Forget a connection that is gone; the client's orders live on."""
        if session in self._sessions:
            self._sessions.remove(session)
        if session.client_id is not None and self._clients.get(session.client_id) is session:
            del self._clients[session.client_id]

    def receive(self, session: Session, message: Hello | Fields) -> None:
        """Act on what a client sent. Raises: SimError when the state file cannot be written."""
        if session not in self._sessions:
            return
        if isinstance(message, Hello):
            self._greet(session, message)
            return
        try:
            request = parse(message, session.version)
        except WireError as error:
            log.warning("client %s: unreadable %s: %s", session.client_id, message, error)
            text = f"Error reading request. {error}"
            session.error(request_id(message), 320, text, self.world.now())
            return
        if isinstance(request, StartApi):
            self._start(session, request.client_id)
        elif session.client_id is not None:
            self._serve(session, session.client_id, request)

    def _greet(self, session: Session, hello: Hello) -> None:
        version = wire.negotiate(hello)
        if version is None:
            session.line.close()
            return
        session.version = version
        session.line.write(wire.handshake(version, self.world.now()))

    def _start(self, session: Session, client_id: int) -> None:
        if session.client_id is not None:
            return
        if client_id in self._clients:
            session.error(-1, 326, IN_USE, self.world.now())
            session.line.close()
            self.disconnect(session)
            return
        session.client_id = client_id
        self._clients[client_id] = session
        self._apply_freezes()
        log.info("client %s connected at version %s", client_id, session.version)
        session.send(
            system.managed_accounts(tuple(self.world.broker.accounts)),
            system.next_valid_id(self.world.broker.next_order_id(client_id)),
        )
        for code, text in NOTICES:
            session.error(-1, code, text, self.world.now())

    # ------------------------------------------------------------------ requests

    def _serve(self, session: Session, client_id: int, request: Request) -> None:
        world = self.world
        match request:
            case PlaceOrder():
                self._place(session, client_id, request)
            case ById(name="cancel_order"):
                self._cancel(client_id, request.req_id)
            case Bare(name="global_cancel"):
                self._note(client_id, "globalCancel", 0)
                self.deliver(world.broker.cancel_all(world.now()))
            case Bare(name="open_orders" | "all_open_orders"):
                self.faults.asked(queries.open_orders(world, session, request))
            case Bare(name="completed_orders"):
                self.faults.asked(queries.completed_orders(world, session, request))
            case Executions():
                sees_all = self._sees_all(client_id)
                self.faults.asked(queries.executions(world, session, request, sees_all=sees_all))
            case Bare() | ById():
                _QUERIES[request.name](world, session, request)
            case Unserved():
                log.warning("client %s: message %s not served", client_id, request.message_id)
                if request.name:
                    queries.unserved(world, session, request)
            case _:
                _TYPED_QUERIES[type(request)](world, session, request)

    def _sees_all(self, client_id: int) -> bool:
        return client_id in {0, self._master_client_id}

    def _note(self, client_id: int, kind: str, order_id: int, order: Order | None = None) -> None:
        """Note a cancelOrder or globalCancel as received."""
        self.world.receive(
            ReceivedFrame(
                seq=len(self.world.frames) + 1,
                received_at=self.world.now(),
                client_id=client_id,
                kind=kind,
                order_id=order_id,
                order_ref=order.order_ref if order else "",
                symbol=order.symbol if order else "",
                action=order.action if order else "",
                quantity=order.quantity if order else ZERO,
                limit_price=order.limit_price if order else None,
            )
        )

    def _place(self, session: Session, client_id: int, request: PlaceOrder) -> None:
        world, ticket = self.world, request.ticket
        instrument = world.samples.find(request.contract)
        symbol = instrument.symbol if instrument else request.contract.symbol
        world.receive(
            ReceivedFrame(
                seq=len(world.frames) + 1,
                received_at=world.now(),
                client_id=client_id,
                kind="placeOrder",
                order_id=request.order_id,
                order_ref=ticket.order_ref,
                symbol=symbol,
                action=ticket.action,
                quantity=ticket.quantity,
                limit_price=ticket.limit_price if ticket.order_type == "LMT" else None,
            )
        )
        fresh = world.broker.order_of(client_id, request.order_id) is None and not ticket.what_if
        if fresh and self.faults.swallow(symbol):
            world.commit()
            return
        # Before the order is worked: the client must not hear of it on the dying connection.
        self._reset_lines([session], placed=True)
        events = world.broker.place(
            client_id,
            request.order_id,
            instrument,
            ticket,
            quote_of=world.quote_of,
            now=world.now(),
            refusal=self.faults.refusal(symbol) if fresh else None,
        )
        self.deliver(events)
        self.deliver(world.broker.match(world.quote_of, world.now(), self.faults.slice))

    def _cancel(self, client_id: int, order_id: int) -> None:
        order = self.world.broker.order_of(client_id, order_id)
        self._note(client_id, "cancelOrder", order_id, order)
        self.deliver(self.world.broker.cancel(client_id, order_id, self.world.now()))

    # ------------------------------------------------------------------ events out

    def deliver(self, events: Iterable[Event]) -> None:
        """Store what changed, then tell the clients that are to know, as the faults allow."""
        self.world.commit()
        # What a fault held back until now goes before anything newer.
        self.agenda.run(self.world.monotonic_s())
        for event in events:
            if isinstance(event, AccountChange):
                self._tell_account(event)
                continue
            for client_id in self._recipients(event):
                now_s = self.world.monotonic_s()
                for delivery in self.faults.through(event, client_id, now_s):
                    self._post(delivery)

    def _recipients(self, event: Event) -> list[int]:
        """Return the connected clients an event is for; errors are only for who caused them."""
        match event:
            case OrderUpdate():
                owner = event.order.client_id
            case Filled() | Commissioned():
                owner = event.execution.client_id
            case Problem():
                return [event.client_id]
            case WhatIf():
                return [event.order.client_id]
            case AccountChange():
                return []
        return [known for known in self._clients if known == owner or self._sees_all(known)]

    def _post(self, delivery: Delivery) -> None:
        if delivery.delay_s > 0:
            due_s = delivery.now_s + delivery.delay_s
            self.agenda.add(due_s, lambda: self._tell(delivery.event, delivery.client_id))
        else:
            self._tell(delivery.event, delivery.client_id)

    def _tell(self, event: Event, client_id: int) -> None:
        """Write an event to a client, if it is still there."""
        session = self._clients.get(client_id)
        if session is None:
            return
        instruments, version = self.world.samples.instruments, session.version
        match event:
            case OrderUpdate():
                instrument = instruments[event.order.con_id]
                session.send(*queries.order_messages(event.order, instrument, version))
            case WhatIf():
                instrument = instruments[event.order.con_id]
                session.send(
                    *queries.order_messages(event.order, instrument, version, event.preview)
                )
            case Filled():
                execution = event.execution
                instrument = instruments[execution.con_id]
                session.send(fills.exec_details(-1, execution, instrument, version))
            case Commissioned():
                session.send(fills.commission_report(event.execution))
            case Problem():
                session.error(event.order_id, event.code, event.text, self.world.now())

    def _tell_account(self, change: AccountChange) -> None:
        """Push positions, values and portfolio to everybody who subscribed."""
        for session in self._clients.values():
            if session.positions:
                queries.send_position(self.world, session, change.account, change.con_id)
            self._tell_values(session, change.account)
            if session.account and session.account.account == change.account:
                queries.send_portfolio(self.world, session, change.account, change.con_id)
                session.send(holdings.account_time(self.world.now()))

    def _tell_values(self, session: Session, account_id: str) -> None:
        feeds = [feed for feed in session.feeds() if feed.account == account_id]
        if feeds:
            values = self.world.broker.accounts[account_id].values(self.world.price_of)
            for feed in feeds:
                session.send(*feed.changes(values))

    # ------------------------------------------------------------------ time

    def tick(self) -> None:
        """Let a sample of the market pass: expiries, fills, ticks, periodic account values.

        Raises: SimError when the state file cannot be written.
        """
        world, now_s = self.world, self.world.monotonic_s()
        self.deliver(world.broker.expire(world.now()))
        self.deliver(world.broker.match(world.quote_of, world.now(), self.faults.slice))
        for session in self._clients.values():
            # A frozen client would only find a heap of old ticks when it wakes up.
            for line in () if session.frozen else tuple(session.lines.values()):
                queries.send_ticks(world, session, line)
        if now_s >= self._accounts_due_s:
            self._accounts_due_s = now_s + ACCOUNT_INTERVAL_S
            self._refresh_accounts()
        if now_s >= self._market_time_due_s:
            self._market_time_due_s = now_s + MARKET_TIME_INTERVAL_S
            world.note_market_time()

    def _refresh_accounts(self) -> None:
        for session in self._clients.values():
            for name in self.world.broker.accounts:
                self._tell_values(session, name)
            if session.account:
                name = session.account.account
                for con_id in self.world.broker.accounts[name].positions:
                    queries.send_portfolio(self.world, session, name, con_id)
                session.send(holdings.account_time(self.world.now()))

    # ------------------------------------------------------------------ faults

    def add_fault(self, fault: Fault) -> None:
        """Let a fault begin."""
        self.faults.add(fault)
        lasts_s = fault.lasts_s()
        if lasts_s is not None:
            self.agenda.add(self.world.monotonic_s() + lasts_s, lambda: self._end_fault(fault))
        self._reset_lines(self._sessions, placed=False)
        self._apply_freezes()
        self.agenda.run(self.world.monotonic_s())

    def clear_faults(self) -> None:
        """End all faults; what one held back already is still sent when its time comes."""
        self.faults.clear()
        self._apply_freezes()

    def _end_fault(self, fault: Fault) -> None:
        self.faults.end(fault)
        self._apply_freezes()

    def _reset_lines(self, sessions: Iterable[Session], *, placed: bool) -> None:
        for session in tuple(sessions):
            client_id = session.client_id
            if client_id is not None and self.faults.reset(client_id, placed=placed):
                session.line.reset()
                self.disconnect(session)

    def _apply_freezes(self) -> None:
        for session in self._sessions:
            frozen = self.faults.freeze(session.client_id)
            if frozen != session.frozen:
                session.frozen = frozen
                session.line.freeze(frozen=frozen)
