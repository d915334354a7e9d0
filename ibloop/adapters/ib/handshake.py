"""Open the socket to a gateway and wait until it lets us in, or says why not.

The library's own wait knows two ends only, ready and timed out. Here a used client id, a closed
socket and a silent gateway are told apart, the first two as soon as they happen.
"""

import asyncio
from typing import Any

from ibloop.adapters.ib.errors import ClientIdInUseError, GatewayAbsentError, GatewaySilentError
from ibloop.adapters.ib.lib import PacedClient
from ibloop.errors import GatewayUnavailableError

CODE_CLIENT_ID_IN_USE = 326


class Handshake:
    """One attempt to connect.

    Args: ``client`` fresh from its constructor; ``where`` as ``host:port`` for messages.
    """

    def __init__(self, client: PacedClient, host: str, port: int, client_id: int) -> None:
        """Prepare the attempt; needs a running event loop."""
        self._client: Any = client
        self._host = host
        self._port = port
        self._client_id = client_id
        self._refusal: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def complete(self, timeout_s: float) -> None:
        """Return when the gateway has given its account list and next order id.

        Raises: ClientIdInUseError; GatewayUnavailableError. The socket is closed then.
        """
        client = self._client
        client.apiError += self._on_closed
        client.conn.disconnected += self._on_closed
        opening = asyncio.ensure_future(
            client.connectAsync(self._host, self._port, self._client_id, timeout_s)
        )
        is_in = False
        try:
            await self._first_of(opening)
            is_in = True
        except ConnectionRefusedError:
            raise GatewayAbsentError(self._text("nobody listens there")) from None
        except TimeoutError:
            why = self._text(f"no answer within {timeout_s:g} s")
            was_reached = client.conn.numMsgSent > 0
            raise (GatewaySilentError if was_reached else GatewayUnavailableError)(why) from None
        except OSError as error:
            raise GatewayUnavailableError(self._text(str(error))) from None
        finally:
            self._refusal.cancel()
            if not is_in:
                opening.cancel()
                await asyncio.gather(opening, return_exceptions=True)
                close(client)

    def error_received(self, code: int) -> None:
        """Take note of an error message that comes before the end of the handshake."""
        if code == CODE_CLIENT_ID_IN_USE:
            text = (
                f"client id {self._client_id} is in use at {self._host}:{self._port}: another "
                "process of this profile runs, or the gateway keeps a dead connection and has "
                "to be restarted"
            )
            self._refuse(ClientIdInUseError(text))

    async def _first_of(self, opening: "asyncio.Future[None]") -> None:
        await asyncio.wait({opening, self._refusal}, return_when=asyncio.FIRST_COMPLETED)
        refusal = self._refusal.exception() if self._refusal.done() else None
        if isinstance(refusal, ClientIdInUseError):
            raise refusal
        if opening.done():
            # Its own error says more than the text the library logs about it.
            opening.result()
        elif refusal is not None:
            raise refusal

    def _on_closed(self, text: str) -> None:
        why = text or "it closed the connection during the handshake"
        self._refuse(GatewaySilentError(self._text(why)))

    def _refuse(self, error: GatewayUnavailableError) -> None:
        if not self._refusal.done():
            self._refusal.set_exception(error)

    def _text(self, why: str) -> str:
        return f"no gateway at {self._host}:{self._port}: {why}"


def close(client: Any) -> None:
    """Close the client's socket; what a frozen gateway has not taken yet is dropped."""
    transport = client.conn.transport
    try:
        client.disconnect()
    except OSError:
        # The peer reset the connection before our event loop noticed.
        client.reset()
    if transport is not None:
        transport.abort()
