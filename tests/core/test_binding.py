"""IB's own ports and account numbers contradict each other or agree; other ports are free."""

import pytest

from ibloop.core.binding import Endpoint, binding_problem, port_problem
from ibloop.core.model import Mode


@pytest.mark.parametrize(
    ("account", "port", "agrees"),
    [
        ("DU1234567", 4002, True),
        ("DF1234567", 7497, True),
        ("DU1234567", 4001, False),
        ("DF1", 7496, False),
        ("U1234567", 4001, True),
        ("F1234567", 7496, True),
        ("U1234567", 4002, False),
        ("U1234567", 7497, False),
        ("U1234567", 5000, True),
        ("DU1234567", 5000, True),
    ],
)
def test_port_and_account_agree(account: str, port: int, agrees: bool) -> None:
    """A paper account never goes to a live port, nor the other way round (P9)."""
    problem = port_problem(account, port)
    assert (problem is None) is agrees
    assert problem is None or (account in problem and str(port) in problem)


@pytest.mark.parametrize(
    ("mode", "account", "endpoint", "said"),
    [
        (Mode.PAPER, "DU1", Endpoint("DU1", 4002), None),
        (Mode.PAPER, "DU1", Endpoint("DU1", 5000), None),
        (Mode.LIVE, "U1", Endpoint("U1", 4001), None),
        (Mode.LIVE, "U1", None, "not connected"),
        (Mode.LIVE, "U1", Endpoint("U2", 4001), "logged in to U2, expected U1"),
        (Mode.PAPER, "DU1", Endpoint("U1", 4002), "logged in to U1, expected DU1"),
        (Mode.PAPER, "U1", Endpoint("U1", 4001), "not one of mode paper"),
        (Mode.LIVE, "DU1", Endpoint("DU1", 4002), "not one of mode live"),
        (Mode.PAPER, "DU1", Endpoint("DU1", 4001), "does not go to the live port 4001"),
        (Mode.LIVE, "U1", Endpoint("U1", 7497), "does not go to the paper port 7497"),
    ],
)
def test_mode_account_and_connection_agree(
    mode: Mode, account: str, endpoint: Endpoint | None, said: str | None
) -> None:
    """Asked of the connection in use at each send, whatever it was opened with (P9)."""
    problem = binding_problem(mode, account, endpoint)
    assert (problem is None) if said is None else said in str(problem)
