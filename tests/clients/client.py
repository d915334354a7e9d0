"""What a test does with any client: verbs with the same values whichever library answers.

Contracts and orders are dictionaries of the API's own attribute names. `events` is what the client
was told about orders, in order: ("open", {contract, order, state}), ("status", {orderId, status,
filled, ...}), ("fill", {contract, execution}), ("commission", {execId, commission, ...}) and
("error", {id, code, text}).
"""

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tests.clients.matrix import Kind
from tests.clients.process import WAIT_S, Driver, RequestFailed

Value = TypeVar("Value")
Record = dict[str, Any]


def eventually(
    look: Callable[[], Value], wanted: Callable[[Value], object], wait_s: float = WAIT_S
) -> Value:
    """Return the first value that is wanted; look again and again, and fail in the end."""
    deadline = time.monotonic() + wait_s
    while not wanted(value := look()):
        assert time.monotonic() < deadline, f"still {value!r}"
        time.sleep(0.05)  # a gateway takes 50 messages a second
    return value


def number_of(kind: str, record: Record) -> int:
    """Return the order (or, for an error, request) id of an event that has one."""
    if kind == "open":
        return int(record["order"]["orderId"])
    if kind == "fill":
        return int(record["execution"]["orderId"])
    return int(record["orderId"] if kind == "status" else record["id"])


class Client(ABC):
    """A connection of one library to the simulator."""

    def __init__(self, kind: Kind, driver: Driver) -> None:
        """Take over a driver that is not connected."""
        self.kind = kind
        self.driver = driver
        self.keys = map(str, itertools.count(1))
        self.orders: dict[int, tuple[Record, Record]] = {}
        self.address = (0, 0)
        self.accounts: list[str] = []

    def of(self, order_id: int) -> list[tuple[str, Record]]:
        """Return the events of one order."""
        mine: set[str] = set()
        found = []
        for kind, record in self.events:
            if kind == "commission":
                number = order_id if record["execId"] in mine else None
            else:
                number = number_of(kind, record)
            if number == order_id:
                found.append((kind, record))
                if kind == "fill":
                    mine.add(record["execution"]["execId"])
        return found

    def statuses(self, order_id: int) -> list[str]:
        """Return the statuses of an order in order, repetitions once."""
        told = [record["status"] for kind, record in self.of(order_id) if kind == "status"]
        return [status for status, _same in itertools.groupby(told)]

    def errors(self, number: int = -1) -> list[int]:
        """Return the codes told for a request or an order; -1: for the connection."""
        return [r["code"] for kind, r in self.events if kind == "error" and r["id"] == number]

    def wait_event(self, kind: str, order_id: int, **values: object) -> Record:
        """Return the first such event of an order; values are those it must have."""

        def look() -> list[Record]:
            told = (record for name, record in self.of(order_id) if name == kind)
            return [r for r in told if all(r.get(key) == item for key, item in values.items())]

        return eventually(look, bool)[0]

    def wait_status(self, order_id: int, status: str) -> Record:
        """Return the first status event of an order with this status."""
        return self.wait_event("status", order_id, status=status)

    def filled(self, contract: Record, order: Record) -> int:
        """Place an order and wait for its fill and commission; return its id."""
        order_id = self.place(contract, order)
        self.wait_status(order_id, "Filled")
        self.wait_event("commission", order_id)
        return order_id

    def reconnect(self) -> None:
        """Leave and come again with the same client id.

        The socket of an ibapi that has left stays open for up to a second, until its reader looks
        up; until then the id is in use.
        """
        self.disconnect()

        def connected() -> bool:
            try:
                self.connect(*self.address)
            except RequestFailed as error:
                if error.code != 326:
                    raise
                return False
            return True

        eventually(connected, bool)

    @contextmanager
    def subscribed(self, verb: str, *args: Any) -> Iterator[Callable[[], Any]]:
        """Subscribe; yield a function that returns what has come; end the subscription."""
        key = next(self.keys)
        getattr(self, f"start_{verb}")(key, *args)
        yield lambda: self.read(key)
        self.end(key)

    @property
    @abstractmethod
    def events(self) -> list[tuple[str, Record]]:
        """Return what was told about orders and errors since the connection was made."""

    @abstractmethod
    def connect(self, port: int, client_id: int) -> None:
        """Connect and learn the accounts. Raises: RequestFailed."""

    @abstractmethod
    def disconnect(self) -> None:
        """Disconnect."""

    @abstractmethod
    def complaints(self) -> list[Any]:
        """Return what the library could not decode."""

    @abstractmethod
    def current_time(self) -> float:
        """Return the gateway's time, epoch seconds."""

    @abstractmethod
    def account_values(self, account: str) -> dict[tuple[str, str], str]:
        """Return the values of an account by key and currency."""

    @abstractmethod
    def account_summary(self) -> dict[tuple[str, str], str]:
        """Return the summary of all accounts by account and tag."""

    @abstractmethod
    def portfolio(self, account: str) -> dict[str, Record]:
        """Return the portfolio of an account by symbol."""

    @abstractmethod
    def positions(self) -> dict[tuple[str, str], tuple[float, float]]:
        """Return quantity and average cost by account and symbol."""

    @abstractmethod
    def contract_details(self, contract: Record) -> list[Record]:
        """Return the contracts that fit."""

    @abstractmethod
    def matching_symbols(self, pattern: str) -> list[Record]:
        """Return the contracts whose symbol or name begins so."""

    @abstractmethod
    def market_rule(self, number: int) -> list[tuple[float, float]]:
        """Return low edges and increments."""

    @abstractmethod
    def market_data_type(self, number: int) -> None:
        """Choose live (1), frozen (2), delayed (3) or delayed frozen (4) data from now on."""

    @abstractmethod
    def snapshot(self, contract: Record) -> Record:
        """Return one snapshot, as `read` of market data does."""

    @abstractmethod
    def bars(
        self, contract: Record, duration: str, size: str, what: str = "TRADES", end: str = ""
    ) -> list[Record]:
        """Return bars of regular hours: time (epoch seconds or YYYYMMDD), open, ..., count."""

    @abstractmethod
    def head_timestamp(self, contract: Record, what: str) -> float:
        """Return the first moment of a contract's history, epoch seconds."""

    @abstractmethod
    def start_market_data(self, key: str, contract: Record, generic: str) -> None:
        """Begin ticks; reading gives the last of each by ib_insync's names, and `types`."""

    @abstractmethod
    def start_bars(self, key: str, contract: Record, duration: str, size: str) -> None:
        """Begin historical bars that are kept up to date; reading gives all bars."""

    @abstractmethod
    def start_realtime_bars(self, key: str, contract: Record, what: str) -> None:
        """Begin bars of five seconds; reading gives all bars."""

    @abstractmethod
    def start_tick_by_tick(self, key: str, contract: Record, kind: str, back: int) -> None:
        """Begin tick-by-tick data of a kind with so many past ones; reading gives all ticks."""

    @abstractmethod
    def start_pnl(self, key: str, account: str) -> None:
        """Begin an account's profit and loss; reading gives the last."""

    @abstractmethod
    def start_pnl_single(self, key: str, account: str, con_id: int) -> None:
        """Begin a position's profit and loss; reading gives the last."""

    @abstractmethod
    def read(self, key: str) -> Any:
        """Return what a subscription has brought."""

    @abstractmethod
    def end(self, key: str) -> None:
        """End a subscription."""

    @abstractmethod
    def reserve_id(self) -> int:
        """Return an order id that no other call will use; `order["orderId"]` takes it."""

    @abstractmethod
    def place(self, contract: Record, order: Record) -> int:
        """Place an order; return its id."""

    @abstractmethod
    def modify(self, order_id: int, **changes: Any) -> None:
        """Place an order of this client again with changed attributes."""

    @abstractmethod
    def cancel(self, order_id: int) -> None:
        """Cancel an order, known or not."""

    @abstractmethod
    def global_cancel(self) -> None:
        """Cancel every order of every client."""

    @abstractmethod
    def what_if(self, contract: Record, order: Record) -> Record:
        """Return what an order would do to margins: an order state, numbers as floats."""

    @abstractmethod
    def open_orders(self) -> list[Record]:
        """Return this client's open orders: contract, order, state."""

    @abstractmethod
    def all_open_orders(self) -> list[Record]:
        """Return every client's open orders."""

    @abstractmethod
    def completed_orders(self) -> list[Record]:
        """Return orders completed today."""

    @abstractmethod
    def executions(self, **chosen: Any) -> list[Record]:
        """Return executions (contract, execution, commission) that pass a filter's attributes."""


def primary_exchange(contract: Record) -> str:
    """Return the primary exchange, which @stoqey/ib calls by another name."""
    return str(contract.get("primaryExchange") or contract.get("primaryExch"))


def numbers(state: Record) -> Record:
    """Return an order state with its margins as numbers: some libraries keep them as text."""
    found = dict(state)
    for name, value in state.items():
        if name.endswith(("Before", "Change", "After")) and isinstance(value, str):
            number = float(value) if value else None
            found[name] = None if number is None or abs(number) > 1e300 else number
    return found


def renamed(record: Record) -> Record:
    """Return a record of a newer API by the older names of its attributes."""
    new, old = "ommissionAndFees", "ommission"
    return {name.replace(new, old): value for name, value in record.items()}
