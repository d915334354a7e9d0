"""The one place that imports ib_insync, and what of it is used: the socket client and its values.

Its ``IB`` class is left out on purpose (ADR 0002): it keeps a second opinion about every order,
marks live ones as cancelled on any unknown error code, hides events, and can fail its connect
because a gateway leaves one question unanswered.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


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

SENDS_MAX = 50
"""Messages in any ``SEND_WINDOW_S``. IB refuses the 51st in a second (error 100)."""

SEND_WINDOW_S = 1.05
"""A window of exactly 1 s lets a 51st message into a sliding second of the gateway's clock."""

SENDS_URGENT = 5
"""Sends of each window that :meth:`PacedClient.room` keeps back for cancels."""


class PacedClient(Client):
    """The socket client, kept under the gateway's message limit.

    What exceeds the limit waits in the client's queue, first in first out; whoever asks
    :meth:`room` before sending never meets that queue and leaves cancels their own slots.
    """

    MaxRequests = SENDS_MAX
    RequestsInterval = SEND_WINDOW_S  # type: ignore[assignment]  # declared by its default, 1

    def __init__(self, wrapper: Any) -> None:
        """Call the methods of ``wrapper`` that are named like IB's callbacks."""
        super().__init__(wrapper)  # type: ignore[no-untyped-call]

    def room(self, now: float) -> int:
        """Return how many ordinary messages can be written now; ``now`` by the loop's clock."""
        recent = sum(1 for sent in self._timeQ if now - sent <= SEND_WINDOW_S)
        return max(0, SENDS_MAX - SENDS_URGENT - recent - len(self._msgQ))

    def is_writable(self) -> bool:
        """Return whether the socket is not yet known to be closed."""
        transport: Any = self.conn.transport
        return bool(self.isReady()) and transport is not None and not transport.is_closing()


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
