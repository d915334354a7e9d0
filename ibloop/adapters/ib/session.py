"""One connection to a gateway: opened by a fixed client id, proven by round trips.

A connection here is *transport up, account ours, gateway answering*. Nothing is synchronised by
it: whoever needs orders or positions asks for them (``evidence``). ``is_connected`` alone proves
little, because a frozen gateway keeps its sockets open: look at ``proof_age_s`` as well.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ibloop.adapters.ib.errors import GatewaySilentError, WrongAccountError
from ibloop.adapters.ib.handshake import Handshake, close
from ibloop.adapters.ib.lib import PacedClient
from ibloop.adapters.ib.queries import Queries, QueryError, QueryTimeoutError, Unsent
from ibloop.adapters.ports import Clock, NotSentError
from ibloop.core.binding import Endpoint, port_problem
from ibloop.core.invariant import invariant
from ibloop.core.model import Moment
from ibloop.errors import ConfigError, GatewayUnavailableError

CONNECT_TIMEOUT_S = 5.0
PROOF_INTERVAL_S = 1.5
"""How often the gateway is asked for its time while connected."""

PROOF_SPACING_S = 1.1
"""Gateways leave reqCurrentTime unanswered when it is repeated within a second (ib_insync#479)."""

CANCELS_LOOK_S = 0.02
"""How often it is looked whether the last cancel has left."""

REQUEST_ID_FIRST = 1_000_000_000
"""First id of questions and data lines; every order id is lower.

The gateway reports errors of both under one number, and the client library counts both with one
counter. Orders are numbered from ``nextValidId`` by their owner, one by one; questions begin here,
so an id alone tells which it is, and questions use up no order ids.
"""

CODE_INVALID_REQUEST = 321
"""Error validating request; with id -1 it refuses a question that carries no id."""

CODE_UNREADABLE = 0
"""Our own code in ``ErrorReported``: a message of the gateway could not be decoded and is lost."""

NEXT_ID = "reqIds"
_TIME = "reqCurrentTime"

_IGNORED = (
    *("connectAck", "setEventsDone", "updatePortfolio", "openOrder", "completedOrder"),
    *("execDetails", "commissionReport", "position"),
)
"""Messages that arrive unasked, a master client's above all. The decoder calls these without
looking whether they exist, so a session that has no use for them must still take them."""


class IbSession:
    """A connection and its health; subclasses add what they listen to.

    Args: ``host`` and ``port`` may be changed between connections; ``client_id`` fixed per role;
    ``account`` is the one account the gateway must manage. ``wake`` is set on news.
    """

    def __init__(self, host: str, port: int, client_id: int, account: str, clock: Clock) -> None:
        """Remember where to connect to; nothing is opened."""
        self.host = host
        self.port = port
        self.client_id = client_id
        self.account = account
        self.wake = asyncio.Event()
        self.unreadable_messages = 0
        self._clock = clock
        self._queries = Queries()
        self._client: Any = None
        self._handshake: Handshake | None = None
        self._is_open = False
        self._endpoint: Endpoint | None = None
        self._next_valid_id = 0
        self._proof: Moment | None = None
        self._skew_s: float | None = None
        self._time_asked_at = -math.inf
        self._prove_lock = asyncio.Lock()
        self._prober: asyncio.Task[None] | None = None

    # --- what daemons ask ---------------------------------------------------------------------

    def is_connected(self) -> bool:
        """Return whether the transport is up and the account proven to be ours."""
        return self._is_open and self._client is not None and bool(self._client.is_writable())

    def proof_age_s(self) -> float:
        """Return the seconds since the gateway last answered a round trip; inf if never."""
        return math.inf if self._proof is None else self._clock.now().age_s(self._proof)

    async def connect(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Open the connection, check the account and complete one round trip.

        Raises: ClientIdInUseError at once on error 326; WrongAccountError; GatewayAbsentError,
        GatewaySilentError or their base GatewayUnavailableError when nobody listens, answers, or
        lets us in within ``timeout_s`` (for the handshake and for the round trip each);
        ConfigError without time zone data.
        """
        invariant(self._handshake is None and not self.is_connected(), "connect() while connected")
        self.disconnect("reconnecting")
        # The port is told by a file: what the configuration refuses is refused here as well.
        if problem := port_problem(self.account, self.port):
            raise WrongAccountError(f"{problem}; correct `gateway.port` or the gateway's settings")
        _require_time_zones()
        client = PacedClient(SimpleNamespace(**self._wrapper()))
        client.decoder.logger = _decoder_logger(self.client_id, self._on_unreadable)
        self._handshake = Handshake(client, self.host, self.port, self.client_id)
        try:
            await self._handshake.complete(timeout_s)
        finally:
            self._handshake = None
        self._client = client
        is_ours = False
        try:
            self._check_login(client)
            await self.prove(timeout_s)
            self._is_open = True
            self._opened()
            is_ours = True
        except NotSentError as error:
            raise GatewayUnavailableError(f"{error}: lost while connecting") from None
        finally:
            # Also when cancelled: a socket left open would hold our client id.
            if not is_ours:
                self.disconnect("not let in")
        self._prober = asyncio.get_running_loop().create_task(self._keep_proving())

    def disconnect(self, reason: str = "closed by us") -> None:
        """Close the connection if there is one; nothing is sent or received afterwards."""
        client = self._client
        if client is not None:
            self._lost(reason)
            close(client)

    async def let_cancels_leave(self, timeout_s: float) -> None:
        """Wait until every cancel that was asked for has left, before the connection is closed."""
        for _ in range(int(timeout_s / CANCELS_LOOK_S)):
            if not self.is_connected() or not self._client.cancels_waiting():
                return
            await asyncio.sleep(CANCELS_LOOK_S)

    async def prove(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Complete one round trip with the gateway, at least 1.1 s after the one before.

        Raises: GatewaySilentError when it is not answered within ``timeout_s``.
        """
        async with self._prove_lock:
            wait_s = self._time_asked_at + PROOF_SPACING_S - asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, wait_s))
            try:
                await self._queries.ask(_TIME, _TIME, self._ask_time, timeout_s)
            except QueryError as error:
                raise GatewaySilentError(
                    f"the gateway at {self.host}:{self.port} takes connections but does not "
                    f"answer ({error}); is its login complete?"
                ) from None

    def endpoint(self) -> Endpoint | None:
        """Return where the connection in use has led; ``None`` while there is none.

        ``port`` may be another one already: it is where the next connection goes.
        """
        return self._endpoint if self._is_open else None

    def clock_skew_s(self) -> float | None:
        """Return by how many seconds our clock is ahead of the gateway's, as far as is proven.

        Its time comes in whole seconds and takes a round trip, so up to a second and that trip
        count as agreement. ``None`` while not connected.
        """
        return self._skew_s if self._is_open else None

    def global_cancel(self) -> None:
        """Cancel every order of the account, those of other clients and manual ones too.

        Raises: NotSentError when the socket is known to be closed.
        """
        self._write(lambda client: client.reqGlobalCancel())

    # --- for subclasses -----------------------------------------------------------------------

    def _callbacks(self) -> Mapping[str, Callable[..., object]]:
        """Return what to call for which message, by the names of IB's EWrapper."""
        return {}

    def _opened(self) -> None:
        """Begin subscriptions; called once per connection."""

    def _closed(self, reason: str) -> None:
        """Forget what only an open connection keeps true; called once per connection."""

    def _error_received(self, request_id: int, code: int, text: str) -> None:
        """Take note of an error message; ``request_id`` is -1 for those about the system."""

    def _packet_processed(self) -> None:
        """Do what is done once per packet rather than once per message."""

    def _write(self, send: Callable[[Any], None]) -> Unsent:
        """Write one message, now or in its turn; return what tells when it leaves, if later.

        Raises: NotSentError when the socket is known to be closed, or when it is an order and the
        gateway's message limit leaves no room for it: not one byte has left or will.
        """
        client = self._client
        if client is None or not client.is_writable():
            raise NotSentError(f"not connected to {self.host}:{self.port}")
        try:
            send(client)
        except ConnectionError as error:
            raise NotSentError(str(error)) from error
        unsent: Unsent = client.unsent
        return unsent

    async def _ask(self, kind: str, send: Callable[[Any], None], timeout_s: float) -> list[Any]:
        """Ask a question without an id and return its rows.

        An unanswered one ends the connection, see ``queries``. Raises: QueryError.
        """
        try:
            return await self._queries.ask(kind, kind, lambda: self._write(send), timeout_s)
        except QueryTimeoutError as error:
            self.disconnect(f"{error}; reconnecting, because a late answer could be misread")
            raise

    async def _ask_numbered(
        self, kind: str, send: Callable[[Any, int], None], timeout_s: float
    ) -> list[Any]:
        """Ask a question that carries an id and return its rows. Raises: QueryError."""
        if self._client is None:
            raise QueryError(f"{kind}: not connected to {self.host}:{self.port}")
        number = int(self._client.getReqId())
        return await self._queries.ask(
            number, kind, lambda: self._write(lambda client: send(client, number)), timeout_s
        )

    # --- the connection -----------------------------------------------------------------------

    def _wrapper(self) -> dict[str, Any]:
        return {
            **dict.fromkeys(_IGNORED, _ignore),
            "ib": SimpleNamespace(TimezoneTWS=""),
            "nextValidId": self._on_next_valid_id,
            "currentTime": self._on_current_time,
            "error": self._on_error,
            "connectionClosed": self._on_connection_closed,
            "tcpDataProcessed": self._packet_processed,
            **self._callbacks(),
        }

    def _check_login(self, client: Any) -> None:
        managed = list(client.getAccounts())
        if managed != [self.account]:
            raise WrongAccountError(
                f"expected a gateway logged in to {self.account} alone, was {', '.join(managed)}; "
                "log the gateway in to that account or correct `account` in the configuration"
            )
        if self._next_valid_id >= REQUEST_ID_FIRST:
            raise GatewayUnavailableError(
                f"the gateway's next order id is {self._next_valid_id}, expected it below "
                f"{REQUEST_ID_FIRST}; reset the API order id sequence in its settings"
            )
        client.updateReqId(REQUEST_ID_FIRST)
        self._endpoint = Endpoint(managed[0], client.port)

    async def _keep_proving(self) -> None:
        while True:
            await asyncio.sleep(PROOF_INTERVAL_S)
            asked_s_ago = asyncio.get_running_loop().time() - self._time_asked_at
            if self._prove_lock.locked() or asked_s_ago < PROOF_SPACING_S:
                continue
            try:
                unsent = self._ask_time()
            except NotSentError:
                # The end of the connection is reported where it is noticed.
                return
            if unsent is not None:
                await asyncio.wait({unsent})

    def _ask_time(self) -> Unsent:
        unsent = self._write(lambda client: client.reqCurrentTime())
        if unsent is None:
            self._time_has_left()
        else:
            unsent.add_done_callback(self._time_has_left)
        return unsent

    def _time_has_left(self, unsent: Unsent = None) -> None:
        if unsent is not None and unsent.cancelled():
            return
        self._time_asked_at = asyncio.get_running_loop().time()

    def _lost(self, reason: str) -> None:
        was_open, self._is_open = self._is_open, False
        self._client = None
        self._proof = self._skew_s = None
        self._time_asked_at = -math.inf
        if self._prober is not None:
            self._prober.cancel()
            self._prober = None
        self._queries.cut_off(reason)
        if was_open:
            self._closed(reason)
        self.wake.set()

    # --- callbacks ----------------------------------------------------------------------------

    def _on_next_valid_id(self, order_id: int) -> None:
        self._next_valid_id = order_id
        self._queries.add(NEXT_ID, order_id)
        self._queries.end(NEXT_ID)

    def _on_current_time(self, seconds: int) -> None:
        self._proof = self._clock.now()
        trip_s = max(0.0, asyncio.get_running_loop().time() - self._time_asked_at)
        self._skew_s = clock_skew_s(self._proof.utc.timestamp() - seconds, trip_s)
        self._queries.end(_TIME)

    def _on_connection_closed(self) -> None:
        self._lost("the gateway closed the connection")

    def _on_error(self, request_id: int, code: int, text: str, *_more: str) -> None:
        if self._handshake is not None:
            self._handshake.error_received(code)
        reason = f"error {code}: {text}"
        if request_id >= REQUEST_ID_FIRST:
            self._queries.refuse(request_id, reason)
        elif code == CODE_INVALID_REQUEST and request_id < 0:
            self._queries.refuse_unnumbered(reason)
        self._error_received(request_id, code, text)

    def _on_unreadable(self, text: str) -> None:
        self.unreadable_messages += 1
        self._error_received(-1, CODE_UNREADABLE, text)


def clock_skew_s(ahead_s: float, trip_s: float) -> float:
    """Return by how much two clocks differ for certain, in seconds; 0 when they may agree.

    Args: our time minus the gateway's whole seconds when its answer came; the round trip.
    """
    return min(ahead_s, 0.0) + max(ahead_s - 1.0 - trip_s, 0.0)


class _DecoderWatch(logging.Handler):
    """Hears of messages the decoder gave up on: the library only logs them, and they are lost."""

    def __init__(self, heard: Callable[[str], None]) -> None:
        super().__init__()
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        """Report one message that could not be read."""
        self._heard(f"a message of the gateway could not be read: {record.getMessage()[:200]}")


def _decoder_logger(client_id: int, heard: Callable[[str], None]) -> logging.Logger:
    """Return a logger for one decoder that tells us of errors and passes them on."""
    logger = logging.getLogger(f"ib_insync.Decoder.{client_id}")
    logger.handlers = [_DecoderWatch(heard)]
    return logger


def _ignore(*_args: object) -> None:
    """Take a message nobody here needs."""


def _require_time_zones() -> None:
    try:
        ZoneInfo("US/Eastern")
    except ZoneInfoNotFoundError as error:
        raise ConfigError(
            "no time zone data for US/Eastern: executions could not be read; install `tzdata`"
        ) from error
