"""What the broker tells: events, each with the permId it is about (0 when nothing was kept)."""

from dataclasses import dataclass

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
    """An execution changed the cash and one position of an account."""

    account: str
    con_id: int
    perm_id: int = 0


Event = OrderUpdate | Filled | Commissioned | Problem | WhatIf | AccountChange
Change = Order | Execution
