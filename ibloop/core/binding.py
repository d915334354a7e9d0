"""Which port goes with which account: IB's own paper and live numbers must agree (promise P9).

The account is bound to the mode by the configuration, and to the ledger when that is created.
"""

import re

PAPER_PORTS, LIVE_PORTS = frozenset({4002, 7497}), frozenset({4001, 7496})
"""The ports that IB Gateway and TWS take unless told otherwise; any other may be either."""
PAPER_ACCOUNT = re.compile(r"D[UF][0-9]+")
LIVE_ACCOUNT = re.compile(r"[A-Z]{1,3}[0-9]+")


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
