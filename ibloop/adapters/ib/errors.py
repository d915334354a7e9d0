"""Why a gateway did not let us in, told apart as far as it can be. Imports no client library."""

from ibloop.errors import GatewayUnavailableError, RefusedError


class ClientIdInUseError(GatewayUnavailableError):
    """Another connection holds our client id (error 326), which fences a second sender off."""


class GatewayAbsentError(GatewayUnavailableError):
    """Nobody listens at the address: whatever listened there before has ended."""


class GatewaySilentError(GatewayUnavailableError):
    """The address takes connections and lets nobody in: a login dialog, a relay, or frozen."""


class WrongAccountError(RefusedError):
    """The gateway is logged in to something else than exactly our account."""
