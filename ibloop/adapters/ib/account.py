"""What the broker says the account holds and is worth; and a connection that only watches it."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from ibloop import log
from ibloop.adapters.ib.convert import decimal_of, position_of
from ibloop.adapters.ib.executions import ExecutionCopy, seen_of
from ibloop.adapters.ib.lib import ExecutionFilter
from ibloop.adapters.ib.queries import QueryError, QueryTimeoutError
from ibloop.adapters.ib.session import IbSession
from ibloop.adapters.ports import Clock
from ibloop.core.dropcopy import Seen
from ibloop.core.model import AccountValues, Moment, Position
from ibloop.core.valuing import Mark

_log = log.get(__name__)

NET_LIQUIDATION = "NetLiquidation"
TOTAL_CASH = "TotalCashValue"
SETTLED_CASH = "SettledCash"
DAY_TRADES_LEFT = "DayTradesRemaining"
AVAILABLE_FUNDS = "AvailableFunds"
REQUIRED_TAGS = frozenset({NET_LIQUIDATION, TOTAL_CASH})
OPTIONAL_TAGS = frozenset({SETTLED_CASH, DAY_TRADES_LEFT, AVAILABLE_FUNDS})
"""Not every account has them; the limits that need one refuse where it is missing."""
SUMMARY_TAGS = ",".join((*sorted(REQUIRED_TAGS), *sorted(OPTIONAL_TAGS)))

CURRENCIES = frozenset({"USD", "BASE", ""})
"""Limits and prices are in USD, so figures of an account kept in another currency are not used."""


class Figures:
    """What is told of one account's money, from the pieces IB sends it in."""

    def __init__(self, account: str) -> None:
        """Begin without figures."""
        self._account = account
        self._found: dict[str, Decimal] = {}
        self._received: Moment | None = None

    def take(self, account: str, tag: str, text: str, currency: str, now: Moment) -> bool:
        """Take one figure; return whether it was one of ours and is new or confirmed.

        Raises: ValueError when a figure of ours is not a number.
        """
        if account != self._account or currency not in CURRENCIES:
            return False
        if tag in OPTIONAL_TAGS:
            return self._take_optional(tag, text)
        if tag not in REQUIRED_TAGS:
            return False
        try:
            amount = Decimal(text)
        except InvalidOperation:
            raise ValueError(f"expected {tag} to be a number, was {text!r}") from None
        if not amount.is_finite():
            raise ValueError(f"expected {tag} to be finite, was {text!r}")
        self._found[tag] = amount
        self._received = now
        return True

    def _take_optional(self, tag: str, text: str) -> bool:
        """Take a figure that may be missing: what is no number is, and denies where it is needed.

        It does not make the others fresh.
        """
        self._found.pop(tag, None)
        try:
            amount = Decimal(text)
        except InvalidOperation:
            return False
        if not amount.is_finite():
            return False
        self._found[tag] = amount
        return True

    def confirm(self, now: Moment) -> None:
        """Note that the broker has refreshed its figures: those that did not come are as before."""
        if self._received is not None:
            self._received = now

    @property
    def received(self) -> Moment | None:
        """Return when the broker last spoke of the figures, ``None`` before the first."""
        return self._received

    def values(self) -> AccountValues | None:
        """Return the figures in USD as of their last arrival, ``None`` until both have come."""
        if self._received is None or REQUIRED_TAGS - self._found.keys():
            return None
        left = self._found.get(DAY_TRADES_LEFT)
        return AccountValues(
            account=self._account,
            net_liquidation=self._found[NET_LIQUIDATION],
            total_cash=self._found[TOTAL_CASH],
            as_of=self._received.utc,
            settled_cash=self._found.get(SETTLED_CASH),
            day_trades_left=None if left is None else int(left),
            available_funds=self._found.get(AVAILABLE_FUNDS),
        )


class Holdings:
    """The positions of one account: a first complete list, kept current by what is pushed."""

    def __init__(self, account: str) -> None:
        """Begin without a list."""
        self._account = account
        self._rows: dict[int, Position] = {}
        self._is_complete = False

    def begin(self) -> None:
        """Start over: a new list was asked for."""
        self._rows.clear()
        self._is_complete = False

    def take(self, account: str, contract: Any, quantity: float, avg_cost: float) -> bool:
        """Take one position message; return whether it concerns our account."""
        if account != self._account:
            return False
        position = position_of(contract, quantity, avg_cost)
        if position.quantity:
            self._rows[position.con_id] = position
        else:
            self._rows.pop(position.con_id, None)
        return True

    def complete(self) -> None:
        """Note that the list has been given in full."""
        self._is_complete = True

    def rows(self) -> tuple[Position, ...]:
        """Return what has come so far, by contract id."""
        return tuple(self._rows[con_id] for con_id in sorted(self._rows))

    def positions(self) -> tuple[Position, ...] | None:
        """Return what is held, by contract id; ``None`` until a list has come in full."""
        return self.rows() if self._is_complete else None


QUERY_TIMEOUT_S = 10.0
OPEN_ORDERS = "open orders"
ENDED = frozenset({"Filled", "Cancelled", "ApiCancelled", "Inactive"})
SKEW_SAMPLES = 2
"""IB gives its time in whole seconds, and an answer may be late: one sample says little."""


class IbAccountWatch(IbSession):
    """The guard's own connection: what the broker says of the account, and a kill switch.

    Figures, positions and marks are pushed; executions are pushed and asked for. It places
    nothing, so it goes on when the executor is gone. ``wake`` is set whenever something changed.
    """

    def __init__(self, host: str, port: int, client_id: int, account: str, clock: Clock) -> None:
        """Remember where to connect to; nothing is opened."""
        super().__init__(host, port, client_id, account, clock)
        self._forget()

    def _forget(self) -> None:
        # What an earlier connection said is no longer watched by anybody.
        self._figures = Figures(self.account)
        self._holdings = Holdings(self.account)
        self._executions = ExecutionCopy(self.account)
        self._marks: dict[int, Mark] = {}
        self._skews: deque[float] = deque(maxlen=SKEW_SAMPLES)
        self._asking: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._open_orders: int | None = None
        self._open_perm_ids = frozenset[int]()
        self._no_answer = False

    def values(self) -> AccountValues | None:
        """Return the latest figures; ``None`` until received on the present connection."""
        return self._figures.values()

    def values_age_s(self) -> float:
        """Return the seconds since the broker last refreshed its figures; inf if never."""
        received = self._figures.received
        return math.inf if received is None else self._clock.now().age_s(received)

    def positions(self) -> tuple[Position, ...] | None:
        """Return the positions; ``None`` until received in full on the present connection."""
        return self._holdings.positions()

    def marks(self) -> Mapping[int, Mark]:
        """Return the broker's own price of each position, by contract id."""
        return dict(self._marks)

    def executions(self) -> Mapping[str, Seen]:
        """Return the executions of today by base, as far as they were told."""
        return self._executions.all()

    def executions_complete_at(self) -> Moment | None:
        """Return when the last whole answer about executions was asked for, ``None`` before it."""
        return self._executions.complete_at

    def ask_executions(self) -> None:
        """Ask for all executions of today, unless a question is under way.

        A gateway that does not answer leaves the copy as it is: pushed, and not complete.
        """
        if self.is_connected() and (self._asking is None or self._asking.done()):
            self._asking = asyncio.get_running_loop().create_task(self._ask_executions())
            self._asking.add_done_callback(_not_hidden)

    def open_orders(self) -> int | None:
        """Return how many orders of the account worked by the last answer, ``None`` before it."""
        return self._open_orders

    def open_perm_ids(self) -> frozenset[int]:
        """Return the broker's own numbers of those orders."""
        return self._open_perm_ids

    def ask_open_orders(self) -> None:
        """Ask which orders work, everybody's, unless a question is under way."""
        if not self.is_connected() or self._queries.is_open(OPEN_ORDERS) or self._no_answer:
            return
        self._looking = asyncio.get_running_loop().create_task(self._ask_open_orders())
        self._looking.add_done_callback(_not_hidden)

    async def _ask_open_orders(self) -> None:
        """Count the working orders; an answer without an end tells of so many at least.

        It is not asked again on this connection then: the late answer to the first question would
        pass for one to the second.
        """
        try:
            found = await self._queries.ask(
                OPEN_ORDERS,
                OPEN_ORDERS,
                lambda: self._write(lambda client: client.reqAllOpenOrders()),
                QUERY_TIMEOUT_S,
            )
        except QueryTimeoutError as error:
            self._no_answer, found = True, error.rows
        except QueryError as error:
            _log.info("guard.open_orders_unanswered", error=str(error))
            return
        self._open_orders, self._open_perm_ids = len(found), frozenset(found)
        self.wake.set()

    def clock_skew_s(self) -> float:
        """Return how far our clock is ahead of the broker's, in seconds; 0.0 while unknown.

        Of the last answers the one nearest to zero: an answer that waited shows more than there is.
        """
        return min(self._skews, key=abs) if len(self._skews) == SKEW_SAMPLES else 0.0

    async def _ask_executions(self) -> None:
        asked = self._clock.now()
        copy, lost = self._executions, self.unreadable_messages
        try:
            rows = await self._ask_numbered(
                "reqExecutions",
                lambda client, number: client.reqExecutions(number, ExecutionFilter()),
                QUERY_TIMEOUT_S,
            )
        except QueryError as error:
            _log.info("guard.executions_unanswered", error=str(error))
            return
        if copy is self._executions and self.unreadable_messages == lost:
            copy.answered(rows, asked)
            self.wake.set()

    def _callbacks(self) -> Mapping[str, Callable[..., object]]:
        return {
            "updateAccountValue": self._on_account_value,
            "updateAccountTime": lambda _text: self._figures.confirm(self._clock.now()),
            "updatePortfolio": self._on_portfolio,
            "position": self._on_position,
            "positionEnd": self._on_position_end,
            "execDetails": self._on_execution,
            "execDetailsEnd": self._queries.end,
            "commissionReport": self._on_commission,
            "currentTime": self._on_time,
            "openOrder": self._on_open_order,
            "openOrderEnd": lambda: self._queries.end(OPEN_ORDERS),
        }

    def _opened(self) -> None:
        self._write(lambda client: client.reqAccountUpdates(True, self.account))
        self._write(lambda client: client.reqPositions())

    def _closed(self, _reason: str) -> None:
        for task in (self._asking, self._looking):
            if task is not None:
                task.cancel()
        self._forget()

    def _on_account_value(self, tag: str, text: str, currency: str, account: str) -> None:
        if self._figures.take(account, tag, text, currency, self._clock.now()):
            self.wake.set()

    def _on_portfolio(
        self,
        contract: Any,
        _quantity: float,
        price: float,
        _value: float,
        _cost: float,
        _unrealized: float,
        _realized: float,
        account: str,
    ) -> None:
        found = decimal_of(price)
        if account == self.account and found is not None and found > 0:
            self._marks[contract.conId] = Mark(found, self._clock.now())

    def _on_position(self, account: str, contract: Any, quantity: float, cost: float) -> None:
        if self._holdings.take(account, contract, quantity, cost):
            self.wake.set()

    def _on_position_end(self) -> None:
        self._holdings.complete()
        self.wake.set()

    def _on_execution(self, request_id: int, contract: Any, ib_execution: Any) -> None:
        seen = seen_of(contract, ib_execution)
        if not self._queries.add(request_id, seen) and self._executions.take(seen):
            self.wake.set()

    def _on_open_order(self, _order_id: int, _contract: Any, order: Any, state: Any) -> None:
        if order.account == self.account and not order.whatIf and state.status not in ENDED:
            self._queries.add(OPEN_ORDERS, order.permId)

    def _on_commission(self, ib_report: Any) -> None:
        self._executions.take_commission(ib_report)
        self.wake.set()

    def _on_time(self, seconds: int) -> None:
        ours = self._clock.now().utc.timestamp()
        # The broker's second has begun, and may be almost over.
        ahead = ours - (seconds + 1)
        behind = ours - seconds
        self._skews.append(ahead if ahead > 0 else min(behind, 0.0))
        self._on_current_time(seconds)


def _not_hidden(task: "asyncio.Task[None]") -> None:
    """Let an error in the question be seen: only a cancelled one has nothing to say."""
    if not task.cancelled():
        task.result()
