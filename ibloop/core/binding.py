"""Which port goes with which account: IB's own paper and live numbers must agree (promise P9).

The account is bound to the mode by the configuration, and to the ledger when that is created.
"""

import re
from dataclasses import dataclass

from ibloop.core.model import Mode

PAPER_PORTS, LIVE_PORTS = frozenset({4002, 7497}), frozenset({4001, 7496})
"""The ports that IB Gateway and TWS take unless told otherwise; any other may be either."""
PAPER_ACCOUNT = re.compile(r"D[UF][0-9]+")
LIVE_ACCOUNT = re.compile(r"[A-Z]{1,3}[0-9]+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a connection in use has led: which account was logged in behind which port."""

    account: str
    port: int


def is_paper(account: str) -> bool:
    """Return whether an account number is one of a paper account."""
    return PAPER_ACCOUNT.fullmatch(account) is not None


def port_problem(account: str, port: int) -> str | None:
    """Return why a session of this account must not go to this port, ``None`` when it may."""
    if is_paper(account) and port in LIVE_PORTS:
        return f"the paper account {account} does not go to the live port {port}"
    if not is_paper(account) and port in PAPER_PORTS:
        return f"the live account {account} does not go to the paper port {port}"
    return None


def binding_problem(mode: Mode, account: str, endpoint: Endpoint | None) -> str | None:
    """Return why nothing may be sent over a connection, ``None`` when all of it belongs together.

    Mode, account and port: the account is the one logged in behind the port, and both are of the
    mode. ``endpoint`` is ``None`` while nothing is connected.
    """
    if endpoint is None:
        return "the gateway is not connected"
    if endpoint.account != account:
        return f"the gateway is logged in to {endpoint.account}, expected {account}"
    if is_paper(account) is not (mode is Mode.PAPER):
        return f"the account {account} is not one of mode {mode}"
    return port_problem(account, endpoint.port)
