"""What the broker tells: events, each with the permId it is about (0 when nothing was kept)."""

from dataclasses import dataclass

from ibloop.sim.brokerage.account import Account, Position
from ibloop.sim.model import Execution, Order, Preview


@dataclass(frozen=True, slots=True)
class OrderUpdate:
    """An order's new state; clients see openOrder and orderStatus.

    `accepted` marks an order's first one, `commissioned` the one that shows a new commission;
    `canceller` is the client that cancelled an order of another one.
    """

    order: Order
    accepted: bool = False
    commissioned: bool = False
    canceller: int | None = None

    @property
    def perm_id(self) -> int:
        """Return the order's permId."""
        return self.order.perm_id


@dataclass(frozen=True, slots=True)
class Filled:
    """An execution happened; clients see execDetails."""

    execution: Execution

    @property
    def perm_id(self) -> int:
        """Return the order's permId."""
        return self.execution.perm_id


@dataclass(frozen=True, slots=True)
class Commissioned:
    """An execution's commission is known; clients see commissionReport."""

    execution: Execution

    @property
    def perm_id(self) -> int:
        """Return the order's permId."""
        return self.execution.perm_id


@dataclass(frozen=True, slots=True)
class Problem:
    """An error about an order id, for the client that used it."""

    client_id: int
    order_id: int
    code: int
    text: str
    perm_id: int = 0


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The answer to a what-if order, for the client that asked; the order was not kept."""

    order: Order
    preview: Preview
    perm_id: int = 0


@dataclass(frozen=True, slots=True)
class AccountChange:
    """An execution changed the cash and one position of an account.

    The position is a copy: when several orders fill together, each shows what it led to.
    """

    account: str
    con_id: int
    position: Position
    perm_id: int = 0


def account_change(account: Account, con_id: int) -> AccountChange:
    """Return the change of an account of which an execution was just booked."""
    return AccountChange(account.account_id, con_id, account.positions[con_id].copy())


Event = OrderUpdate | Filled | Commissioned | Problem | WhatIf | AccountChange
Change = Order | Execution
