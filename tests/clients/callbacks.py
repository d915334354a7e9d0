"""What both kinds of callback clients have in common: calls, answers, events, and connecting.

The packages named ibapi and @stoqey/ib call their callbacks and arguments alike but for a few;
the differences are settled here and, for requests, in `callback_client`.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from tests.clients.client import Client, Record, renamed
from tests.clients.process import RequestFailed

Told = tuple[str, list[Any]]
STATUS = (
    *("orderId", "status", "filled", "remaining", "avgFillPrice", "permId", "parentId"),
    *("lastFillPrice", "clientId", "whyHeld", "mktCapPrice"),
)


class Callbacks(Client):
    """A client that only calls back; what was told is kept and read here."""

    _since = 0
    _orders: Iterator[int]
    _subscriptions: dict[str, tuple[int, Callable[[int], Any], tuple[str, ...]]]

    @property
    def _told(self) -> list[Told]:
        return self.driver.events[self._since :]

    @property
    def _is_stoqey(self) -> bool:
        return self.kind.name == "stoqey"

    def _tagged(self, name: str, values: Record) -> Record:
        return values if self._is_stoqey else {"$": name} | values

    def _contract(self, values: Record) -> Record:
        return self._tagged("Contract", values)

    def _call(self, call: str, *args: Any) -> Any:
        return self.driver.call(call, args)

    def _ask(self, end: str, call: str, *args: Any, number: int | None = None) -> list[Told]:
        """Call, and return what is told until the end is; a request has its number in both."""
        begin = len(self.driver.events)
        self._call(call, *args)

        def ended() -> list[Told] | None:
            told = self.driver.events[begin:]
            for place, (name, values) in enumerate(told):
                if name == end and (number is None or values[0] == number):
                    return told[: place + 1]
                error = self._error(name, values)
                if error is not None and number is not None and error["id"] == number:
                    raise RequestFailed(error["code"], error["text"])
            return None

        return self.driver.wait(ended, end)

    def _request(self, wanted: str, end: str, call: str, *args: Any) -> list[list[Any]]:
        """Make a request with an id; return the arguments of the wanted callbacks, without it."""
        number = next(self._requests)
        told = self._ask(end, call, number, *args, number=number)
        return [values[1:] for name, values in told if name == wanted and values[0] == number]

    def _error(self, name: str, values: list[Any]) -> Record | None:
        """Return an error event, or None for another callback."""
        if name == "info":  # @stoqey/ib, for the connection
            return {"id": -1, "code": values[1], "text": values[0]}
        if name != "error":
            return None
        if self._is_stoqey:
            return {"id": values[2], "code": values[1], "text": values[0]}
        if self.kind.version >= 194:
            return {"id": values[0], "code": values[2], "text": values[3]}
        return {"id": values[0], "code": values[1], "text": values[2]}

    def _event(self, name: str, values: list[Any]) -> tuple[str, Record] | None:
        if name == "openOrder":
            order = dict(zip(("contract", "order", "state"), values[1:], strict=True))
            order["state"] = renamed(order["state"])
            return "open", order
        if name == "orderStatus":
            return "status", dict(zip(STATUS, values, strict=True))
        if name == "execDetails" and values[0] == -1:
            return "fill", {"contract": values[1], "execution": values[2]}
        if name in {"commissionReport", "commissionAndFeesReport"}:
            return "commission", renamed(values[0])
        error = self._error(name, values)
        return None if error is None else ("error", error)

    @property
    def events(self) -> list[tuple[str, Record]]:
        """Return callbacks about orders and errors."""
        found = (self._event(name, values) for name, values in self._told)
        return [event for event in found if event is not None]

    def complaints(self) -> list[Any]:
        """Return a message loop that died, and what @stoqey/ib says about unread fields."""
        errors = [record["text"] for kind, record in self.events if kind == "error"]
        unread = [text for text in errors if "report to" in text or "No parser" in text]
        return [values for name, values in self._told if name == "died"] + unread

    def connect(self, port: int, client_id: int) -> None:
        """Connect, and wait for the accounts and the next order id."""
        self.address = (port, client_id)
        self._since = len(self.driver.events)
        self._requests = itertools.count(9001)
        self._subscriptions = {}
        version = self._call("connect", "127.0.0.1", port, client_id)
        if version is None:  # ibapi forgets the version with the connection, which is gone already
            raise RequestFailed(326, "closed at once")
        assert version == self.kind.version

        def ready() -> list[Told] | None:
            names = [name for name, _values in self._told]
            if 326 in self.errors():
                raise RequestFailed(326, "")
            return self._told if {"nextValidId", "managedAccounts"} <= set(names) else None

        told = dict(self.driver.wait(ready, "nextValidId and managedAccounts"))
        self._orders = itertools.count(told["nextValidId"][0])
        self.accounts = told["managedAccounts"][0].split(",")

    def disconnect(self) -> None:
        """Disconnect."""
        self._call("disconnect")
