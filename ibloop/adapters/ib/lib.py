"""The one place that imports ib_insync, and what of it is used: the socket client and its values.

Its ``IB`` class is left out on purpose (ADR 0002): it keeps a second opinion about every order,
marks live ones as cancelled on any unknown error code, hides events, and can fail its connect
because a gateway leaves one question unanswered.
"""

import asyncio
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from ibloop.adapters.ib.pace import SEND_WINDOW_S, SENDS_MAX, SENDS_URGENT, Lane, Pace
from ibloop.adapters.ports import NotSentError


@contextmanager
def _event_loop_for_import() -> Iterator[None]:
    """Give eventkit the event loop it asks for while it is imported.

    Without one it fails where a finished ``asyncio.run`` has left none, and from Python 3.12 on
    it warns. It uses that loop for threads only, which we do not, so it may be closed again.
    """
    if asyncio._get_running_loop() is not None:
        yield
        return
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@contextmanager
def _numpy_left_out() -> Iterator[None]:
    """Put a stand-in in numpy's place while eventkit imports it for two functions we never call.

    It is 10 MiB and a tenth of a second in each process. Should one of them be called after all,
    the stand-in fetches the real one.
    """
    if "numpy" in sys.modules:
        yield
        return
    stand_in = ModuleType("numpy")
    stand_in.__getattr__ = lambda name: getattr(import_module("numpy"), name)  # type: ignore[method-assign]
    sys.modules["numpy"] = stand_in
    try:
        yield
    finally:
        del sys.modules["numpy"]


with _event_loop_for_import(), _numpy_left_out():
    from ib_insync import (
        Client,
        CommissionReport,
        Contract,
        ExecutionFilter,
        Order,
        OrderState,
        TagValue,
    )
    from ib_insync import Execution as IbExecution
    from ib_insync import __version__ as library_version
    from ib_insync.connection import Connection
    from ib_insync.decoder import Decoder

_LANES = {"3": Lane.ORDER, "4": Lane.URGENT, "58": Lane.URGENT}
"""By the number a message begins with: placeOrder, cancelOrder, reqGlobalCancel. Others ask."""


@dataclass(slots=True, eq=False)
class _Message:
    """A message for the gateway; ``has_left`` is there for one that has to wait."""

    text: str
    has_left: asyncio.Future[None] | None = None


class PacedClient(Client):
    """The socket client; its messages leave in the order and at the pace of ``pace``.

    ``unsent`` belongs to the message given last, ``None`` when that one left at once: done when it
    has left, cancelled when the connection ends before. Who cancels it takes the message back.
    """

    MaxRequests = 0
    """The library's own throttle is off: in it a cancel waits behind everything else."""

    def __init__(self, wrapper: Any) -> None:
        """Call the methods of ``wrapper`` that are named like IB's callbacks."""
        self._pace = Pace[_Message]()
        self._timer: asyncio.TimerHandle | None = None
        self.unsent: asyncio.Future[None] | None = None
        super().__init__(wrapper)  # type: ignore[no-untyped-call]

    def reset(self) -> None:
        """Forget the connection, as the library does at its end: what waits is never written."""
        super().reset()  # type: ignore[no-untyped-call]
        given_up, self._pace = self._pace.waiting(), Pace()
        self._set_timer(None)
        for message in given_up:
            if message.has_left is not None:
                message.has_left.cancel()

    def sendMsg(self, msg: str) -> None:  # noqa: N802 - the method of the library it replaces
        """Write a message now or in its turn. Raises: NotSentError for an order without room."""
        loop = asyncio.get_running_loop()
        message = _Message(msg)
        lane = _LANES.get(msg.partition("\0")[0], Lane.QUESTION)
        leaving = self._pace.give(lane, message, loop.time())
        if leaving is None:
            raise NotSentError(
                f"no room: a gateway takes {SENDS_MAX} messages in {SEND_WINDOW_S:g} s, "
                f"{SENDS_URGENT} of them kept for cancels"
            )
        if message not in leaving:
            message.has_left = loop.create_future()
        self.unsent = message.has_left
        self._put(leaving)

    def room(self, now: float) -> int:
        """Return how many orders can be written now; ``now`` by the loop's clock."""
        return self._pace.room(now)

    def cancels_waiting(self) -> int:
        """Return how many cancels have not left yet."""
        return self._pace.urgent_waiting()

    def is_writable(self) -> bool:
        """Return whether the socket is not yet known to be closed."""
        transport: Any = self.conn.transport
        return bool(self.isReady()) and transport is not None and not transport.is_closing()

    def _put(self, leaving: Iterable[_Message]) -> None:
        """Write messages whose turn it is, and wait for that of the next one."""
        for message in leaving:
            told = message.has_left
            if told is None or not told.cancelled():
                self.conn.sendMsg(self._prefix(message.text.encode()))  # type: ignore[no-untyped-call]
            if told is not None and not told.done():
                told.set_result(None)
        self._set_timer(self._pace.next_at(asyncio.get_running_loop().time()))

    def _set_timer(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._timer = asyncio.get_running_loop().call_at(at, self._put_due)

    def _put_due(self) -> None:
        self._put(self._pace.due(asyncio.get_running_loop().time()))


__all__ = [
    "Client",
    "CommissionReport",
    "Connection",
    "Contract",
    "Decoder",
    "ExecutionFilter",
    "IbExecution",
    "Order",
    "OrderState",
    "PacedClient",
    "TagValue",
    "library_version",
]
