"""What the broker tells us, as values. The adapter only appends them to a queue.

All but :class:`EvidenceCollected` are hints: executions, snapshots of open and completed orders
and positions are the evidence (``core.recovery``).
"""

from dataclasses import dataclass
from decimal import Decimal

from ibloop.core.model import AccountValues, Evidence, Execution, MarginImpact


@dataclass(frozen=True, slots=True)
class OrderReported:
    """An openOrder or orderStatus callback.

    ``perm_id`` 0 means that nothing has acknowledged the order yet. ``client_order_id`` may be
    empty for an order that is not ours.
    """

    client_order_id: str
    ib_order_id: int
    perm_id: int
    ib_status: str
    why_held: str = ""


@dataclass(frozen=True, slots=True)
class Executed:
    """An execDetails callback."""

    execution: Execution


@dataclass(frozen=True, slots=True)
class CommissionReported:
    """A commissionReport callback; amounts in account currency, ``None`` = not reported yet."""

    exec_id: str
    commission: Decimal | None
    realized_pnl: Decimal | None


@dataclass(frozen=True, slots=True)
class ErrorReported:
    """An error callback. ``ib_order_id`` is ``None`` unless the id belongs to an order of ours."""

    ib_order_id: int | None
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Connected:
    """The transport is up and the account is ours; nothing is synchronised yet."""

    next_order_id: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The transport is down; no callback can be expected any more."""

    reason: str


@dataclass(frozen=True, slots=True)
class EvidenceCollected:
    """A complete pass over everything the broker knows."""

    evidence: Evidence


@dataclass(frozen=True, slots=True)
class EvidenceFailed:
    """A pass in which a query failed or timed out: it says nothing about any order."""

    reason: str


@dataclass(frozen=True, slots=True)
class AccountReported:
    """New account values pushed by the broker."""

    values: AccountValues


@dataclass(frozen=True, slots=True)
class MarginAnswered:
    """The end of a margin question: one impact, or the reason why there is none, an order."""

    impacts: tuple[MarginImpact, ...]


BrokerEvent = (
    OrderReported
    | Executed
    | CommissionReported
    | ErrorReported
    | Connected
    | Disconnected
    | EvidenceCollected
    | EvidenceFailed
    | AccountReported
    | MarginAnswered
)
