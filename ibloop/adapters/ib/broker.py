"""The connection that may send orders: the ``Broker`` port over one IB session.

Callbacks become events in a queue and nothing else; the executor takes them at its own pace.
What an order *is* stays with the ledger: nothing here remembers a status, and an order id is
written to a socket at most once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ibloop.adapters.ib import evidence as ev
from ibloop.adapters.ib import whatif
from ibloop.adapters.ib.account import SUMMARY_TAGS, Figures, Holdings
from ibloop.adapters.ib.convert import broker_order_of, commission_of, decimal_of, execution_of
from ibloop.adapters.ib.lib import ExecutionFilter
from ibloop.adapters.ib.outgoing import ib_order, order_id_of, stock
from ibloop.adapters.ib.queries import QueryError, QueryTimeoutError
from ibloop.adapters.ib.session import NEXT_ID, REQUEST_ID_FIRST, IbSession
from ibloop.adapters.ports import Clock
from ibloop.core.events import (
    AccountReported,
    BrokerEvent,
    CommissionReported,
    Connected,
    Disconnected,
    ErrorReported,
    EvidenceCollected,
    EvidenceFailed,
    Executed,
    MarginAnswered,
    OrderReported,
)
from ibloop.core.invariant import invariant
from ibloop.core.model import AccountValues, Evidence, Execution, Instrument, MarginImpact, Order

QUERY_TIMEOUT_S = 10.0
ORDER_ID_MAX = REQUEST_ID_FIRST - 1


class IbBroker(IbSession):
    """Sends orders, and turns what comes back into events.

    ``wake`` is set whenever :meth:`events` has something to return. Args as for ``IbSession``;
    ``query_timeout_s`` limits each question of an evidence pass, ``margin_timeout_s`` a whole
    margin question.
    """

    def __init__(
        self,
        host: str,
        port: int,
        client_id: int,
        account: str,
        clock: Clock,
        *,
        query_timeout_s: float = QUERY_TIMEOUT_S,
        margin_timeout_s: float = whatif.TIMEOUT_S,
    ) -> None:
        """Remember where to connect to; nothing is opened."""
        super().__init__(host, port, client_id, account, clock)
        self._query_timeout_s = query_timeout_s
        self._margin_timeout_s = margin_timeout_s
        self._events: deque[BrokerEvent] = deque()
        self._figures = Figures(account)
        self._reported: AccountValues | None = None
        self._holdings = Holdings(account)
        self._commissions: dict[str, CommissionReported] = {}
        self._executed_live = 0
        self._placed: set[int] = set()
        self._refs_by_order_id: dict[int, str] = {}
        self._refs_by_perm_id: dict[int, str] = {}
        self._pass: asyncio.Task[None] | None = None
        self._margin_questions: set[asyncio.Task[None]] = set()

    # --- the Broker port ----------------------------------------------------------------------

    def events(self) -> list[BrokerEvent]:
        """Return and forget what has arrived since the last call, in order of arrival."""
        arrived = list(self._events)
        self._events.clear()
        self.wake.clear()
        return arrived

    def room(self) -> int:
        """Return how many orders can be placed now, each written at once.

        45 messages in 1.05 s; 5 more are kept for cancels. Ask before journalling a send: an order
        placed without room is not sent at all.
        """
        if not self.is_connected():
            return 0
        return int(self._client.room(asyncio.get_running_loop().time()))

    def place(self, order: Order, instrument: Instrument) -> None:
        """Write one placeOrder with every field explicit.

        ``order.ib_order_id``, ``order.limit_price`` (for LMT) must be set.
        Raises: NotSentError when the socket is known to be closed, or there is no :meth:`room`, and
        nothing was written; InvariantError for an order id that this object has placed before.
        """
        written = ib_order(order, self.account, ORDER_ID_MAX)
        contract = _contract(order, instrument)
        order_id = written.orderId
        self._check_unused(order_id)
        self._write(lambda client: client.placeOrder(order_id, contract, written))
        self._placed.add(order_id)
        self._refs_by_order_id[order_id] = order.client_order_id

    def _check_unused(self, order_id: int) -> None:
        # A gateway takes a live order's id for a change of that order, and a used one for an error.
        invariant(order_id not in self._placed, f"order id {order_id} placed twice")

    def cancel(self, order: Order) -> None:
        """Ask for the cancellation of one order; the answer comes as events, or never.

        It leaves before everything else that waits for room.
        On a closed socket nothing is written and no answer comes: the next evidence tells.
        """
        order_id = order_id_of(order, ORDER_ID_MAX)
        self._refs_by_order_id.setdefault(order_id, order.client_order_id)
        if self.is_connected():
            self._write(lambda client: client.cancelOrder(order_id, ""))

    def collect_evidence(self) -> None:
        """Begin a pass over everything the broker knows; a pass under way is joined.

        Ends in exactly one ``EvidenceCollected`` or ``EvidenceFailed`` event. A question that is
        not answered in time also ends the connection: a late answer could pass for the next one's.
        """
        # The event of an ended pass can be taken before the task's callback has run.
        if self._pass is None or self._pass.done():
            self._pass = asyncio.get_running_loop().create_task(self._collect())
            self._pass.add_done_callback(self._pass_done)

    def ask_margin(self, orders: Sequence[tuple[Order, Instrument]]) -> None:
        """Ask what each order would cost in margin, placing none of them.

        ``ib_order_id`` must be set as for :meth:`place`, and is used up. Ends in exactly one
        ``MarginAnswered`` event within some seconds, whatever happens to the connection.
        Raises: InvariantError as :meth:`place` does.
        """
        asked = [
            (whatif.what_if_order(order, self.account, ORDER_ID_MAX), _contract(order, instrument))
            for order, instrument in orders
        ]
        for written, _ in asked:
            self._check_unused(written.orderId)
            self._placed.add(written.orderId)
        task = asyncio.get_running_loop().create_task(self._answer_margin(asked))
        self._margin_questions.add(task)
        task.add_done_callback(self._margin_done)

    # --- the margin question ------------------------------------------------------------------

    def _margin_done(self, task: asyncio.Task[None]) -> None:
        self._margin_questions.discard(task)
        if not task.cancelled():
            # A bug in the question must end the process, not pass for a silent broker.
            task.result()

    async def _answer_margin(self, asked: Sequence[tuple[Any, Any]]) -> None:
        ends = asyncio.get_running_loop().time() + self._margin_timeout_s
        gate = asyncio.Semaphore(whatif.AT_ONCE)
        questions = (self._ask_impact(gate, ends, *question) for question in asked)
        self._emit(MarginAnswered(tuple(await asyncio.gather(*questions))))

    async def _ask_impact(
        self, gate: asyncio.Semaphore, ends: float, written: Any, contract: Any
    ) -> MarginImpact:
        """Ask one what-if, when there is room for it, and return its answer or its problem."""
        order_id, now = written.orderId, asyncio.get_running_loop().time
        async with gate:
            for _ in range(int(self._margin_timeout_s / whatif.ROOM_LOOK_S)):
                if self.room() or not self.is_connected():
                    break
                await asyncio.sleep(whatif.ROOM_LOOK_S)
            try:
                rows = await self._queries.ask(
                    order_id,
                    "what-if",
                    lambda: self._write(lambda c: c.placeOrder(order_id, contract, written)),
                    round(max(0.0, ends - now()), 1),
                )
            except QueryError as error:
                return MarginImpact(order_id, problem=str(error))
        return whatif.impact_of(order_id, rows[-1])

    # --- the evidence pass --------------------------------------------------------------------

    def _pass_done(self, task: asyncio.Task[None]) -> None:
        if self._pass is task:
            self._pass = None
        if task.cancelled():
            self._emit(EvidenceFailed("the pass was cancelled"))
        else:
            # A bug in the pass must end the process, not pass for a quiet broker.
            task.result()

    async def _collect(self) -> None:
        event: BrokerEvent
        try:
            event = EvidenceCollected(await self._quiet_pass())
        except QueryError as error:
            event = EvidenceFailed(str(error))
        self._emit(event)

    async def _quiet_pass(self) -> Evidence:
        for _ in range(ev.PASSES_MAX - 1):
            executed = self._executed_live
            evidence = await self._one_pass()
            if self._executed_live == executed:
                return evidence
        return await self._one_pass()

    async def _one_pass(self) -> Evidence:
        timeout_s = self._query_timeout_s
        executed, unreadable = self._executed_live, self.unreadable_messages
        self._holdings.begin()
        await self._ask(ev.POSITIONS, lambda c: c.reqPositions(), timeout_s)
        rows = await self._ask(ev.OPEN_ORDERS, lambda c: c.reqAllOpenOrders(), timeout_s)
        working = ev.open_orders(rows, self.account)
        rows = await self._ask(
            ev.COMPLETED_ORDERS, lambda c: c.reqCompletedOrders(False), timeout_s
        )
        ended = ev.completed_orders(rows, self.account)
        is_quiet = self._executed_live == executed and ev.nothing_filled((*working, *ended))
        executions = await self._ask_executions(silence_is_none=is_quiet)
        ids = await self._ask(NEXT_ID, lambda c: c.reqIds(1), timeout_s)
        values = await self._ask_account_values()
        if self.unreadable_messages != unreadable:
            raise QueryError("a message of the gateway could not be read during the pass")
        return Evidence(
            collected_at=self._clock.now().utc,
            account_values=values,
            positions=self._holdings.rows(),
            open_orders=working,
            completed_orders=ended,
            executions=executions,
            next_order_id=ev.next_order_id(ids, ORDER_ID_MAX),
        )

    async def _ask_executions(self, *, silence_is_none: bool) -> tuple[Execution, ...]:
        try:
            rows = await self._ask_numbered(
                ev.EXECUTIONS,
                lambda client, number: client.reqExecutions(number, ExecutionFilter()),
                self._query_timeout_s,
            )
        except QueryTimeoutError as error:
            if error.rows or not silence_is_none:
                raise
            rows = []
        ours = {row.exec_id: row for row in rows if row.account == self.account}
        return tuple(self._with_commission(execution) for execution in ours.values())

    async def _ask_account_values(self) -> AccountValues:
        asked: list[int] = []

        def send(client: Any, number: int) -> None:
            client.reqAccountSummary(number, "All", SUMMARY_TAGS)
            asked.append(number)

        try:
            rows = await self._ask_numbered(ev.ACCOUNT_SUMMARY, send, self._query_timeout_s)
        finally:
            # An account summary is a subscription, and a gateway allows two of them.
            if asked and self.is_connected():
                self._write(lambda client: client.cancelAccountSummary(asked[0]))
        return ev.account_values(rows, self.account, self._clock.now())

    def _with_commission(self, execution: Execution) -> Execution:
        report = self._commissions.get(execution.exec_id)
        if report is None:
            return execution
        return replace(execution, commission=report.commission, realized_pnl=report.realized_pnl)

    # --- callbacks: they only append ----------------------------------------------------------

    def _callbacks(self) -> Mapping[str, Callable[..., object]]:
        return {
            "openOrder": self._on_open_order,
            "orderStatus": self._on_order_status,
            "openOrderEnd": lambda: self._queries.end(ev.OPEN_ORDERS),
            "completedOrder": self._on_completed_order,
            "completedOrdersEnd": lambda: self._queries.end(ev.COMPLETED_ORDERS),
            "execDetails": self._on_execution,
            "execDetailsEnd": self._queries.end,
            "commissionReport": self._on_commission,
            "position": self._holdings.take,
            "positionEnd": lambda: self._queries.end(ev.POSITIONS),
            "accountSummary": self._on_account_summary,
            "accountSummaryEnd": self._queries.end,
            "updateAccountValue": self._on_account_value,
        }

    def _opened(self) -> None:
        self._write(lambda client: client.reqAccountUpdates(True, self.account))
        self._emit(Connected(self._next_valid_id))

    def _closed(self, reason: str) -> None:
        self._figures = Figures(self.account)
        self._reported = None
        self._emit(Disconnected(reason))

    def _error_received(self, request_id: int, code: int, text: str) -> None:
        if code not in whatif.NOTICES:
            self._queries.refuse(request_id, f"error {code}: {text}")
        known = request_id if request_id in self._refs_by_order_id else None
        self._emit(ErrorReported(known, code, text))

    def _on_open_order(self, order_id: int, contract: Any, order: Any, state: Any) -> None:
        if order.whatIf:
            if whatif.is_answer(state) and self._queries.add(order_id, state):
                self._queries.end(order_id)
            return
        shown = broker_order_of(contract, order, state)
        if shown.account not in {"", self.account}:
            return
        if shown.client_order_id and shown.perm_id:
            self._refs_by_perm_id[shown.perm_id] = shown.client_order_id
        if shown.client_order_id and shown.client_id == self.client_id and order_id > 0:
            self._refs_by_order_id[order_id] = shown.client_order_id
        # The filled quantity of an open order comes with the orderStatus that follows.
        self._queries.add(ev.OPEN_ORDERS, replace(shown, filled_quantity=None))
        self._emit(OrderReported(shown.client_order_id, order_id, shown.perm_id, shown.ib_status))

    def _on_order_status(
        self,
        order_id: int,
        status: str,
        filled: float,
        _remaining: float,
        _avg_fill_price: float,
        perm_id: int,
        _parent_id: int,
        _last_fill_price: float,
        client_id: int,
        why_held: str,
        *_more: float,
    ) -> None:
        ref = self._refs_by_perm_id.get(perm_id, "")
        if not ref and client_id == self.client_id:
            ref = self._refs_by_order_id.get(order_id, "")
        report = OrderReported(ref, order_id, perm_id, status, why_held)
        self._queries.add(ev.OPEN_ORDERS, ev.StatusRow(report, client_id, decimal_of(filled)))
        self._emit(report)

    def _on_completed_order(self, contract: Any, order: Any, state: Any) -> None:
        # Gateways also push these unasked; then there is no question to add them to.
        if self._queries.is_open(ev.COMPLETED_ORDERS):
            self._queries.add(ev.COMPLETED_ORDERS, broker_order_of(contract, order, state))

    def _on_execution(self, request_id: int, contract: Any, ib_execution: Any) -> None:
        execution = execution_of(contract, ib_execution)
        if self._queries.add(request_id, execution) or execution.account != self.account:
            return
        self._executed_live += 1
        self._emit(Executed(self._with_commission(execution)))

    def _on_commission(self, ib_report: Any) -> None:
        report = commission_of(ib_report)
        self._commissions[report.exec_id] = report
        self._emit(report)

    def _on_account_summary(
        self, request_id: int, account: str, tag: str, text: str, currency: str
    ) -> None:
        self._queries.add(request_id, (account, tag, text, currency))

    def _on_account_value(self, tag: str, text: str, currency: str, account: str) -> None:
        self._figures.take(account, tag, text, currency, self._clock.now())

    def _packet_processed(self) -> None:
        """Report figures once per packet, so that cash and net liquidation belong together."""
        values = self._figures.values()
        if values is None or (
            self._reported is not None
            and values.net_liquidation == self._reported.net_liquidation
            and values.total_cash == self._reported.total_cash
        ):
            return
        self._reported = values
        self._emit(AccountReported(values))

    def _emit(self, event: BrokerEvent) -> None:
        self._events.append(event)
        self.wake.set()


def _contract(order: Order, instrument: Instrument) -> Any:
    same = (order.symbol, order.con_id) == (instrument.symbol, instrument.con_id)
    invariant(same, f"order for {order.symbol} with instrument {instrument.symbol}")
    return stock(instrument)
