"""IB's own ports and account numbers contradict each other or agree; other ports are free."""

import pytest

from ibloop.core.binding import port_problem


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
