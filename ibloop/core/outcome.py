"""How a run went, told from its orders."""

from collections.abc import Sequence
from dataclasses import dataclass

from ibloop.core.lifecycle import OrderState, RunReason, RunState
from ibloop.core.model import Order


@dataclass(frozen=True, slots=True)
class Outcome:
    """The final state of a run, why, and one sentence with the numbers."""

    status: RunState
    reason: RunReason | None
    detail: str


def outcome(orders: Sequence[Order], *, canceled: bool) -> Outcome:
    """Return the outcome of an attempt whose orders have all ended.

    Everything filled (or nothing to do) is done, something is partial, nothing is failed.
    """
    filled = sum(1 for o in orders if o.status == OrderState.FILLED)
    detail = f"{filled} of {len(orders)} orders filled"
    if canceled:
        return Outcome(RunState.CANCELED, RunReason.CANCELED_BY_OPERATOR, detail)
    if not orders:
        return Outcome(RunState.DONE, RunReason.NOTHING_TO_DO, "every position is on target")
    if filled == len(orders):
        return Outcome(RunState.DONE, None, detail)
    reason, rest = _why(orders)
    traded = any(o.filled_quantity for o in orders)
    status = RunState.PARTIAL if traded else RunState.FAILED
    return Outcome(status, reason, f"{detail}; {rest}")


def _why(orders: Sequence[Order]) -> tuple[RunReason, str]:
    rejected = [o for o in orders if o.status == OrderState.REJECTED]
    if rejected:
        texts = [f"{o.symbol} rejected ({o.reject_code}: {o.reject_reason})" for o in rejected[:3]]
        more = f" and {len(rejected) - 3} more" if len(rejected) > 3 else ""
        return RunReason.ORDERS_REJECTED, "; ".join(texts) + more
    if any(o.status == OrderState.EXPIRED for o in orders):
        return RunReason.DEADLINE_REACHED, "the rest expired at the deadline"
    open_text = ", ".join(f"{o.symbol} {o.status}" for o in orders if o.remaining)[:200]
    return RunReason.ORDERS_UNFILLED, open_text


def rejections_in_a_row(orders: Sequence[Order]) -> int:
    """Return how many of the orders sent last, one after the other, the broker rejected.

    Args: the orders of an attempt in the order of their sending.
    """
    count = 0
    for order in orders:
        if order.reject_source == "broker":
            count += 1
        elif order.filled_quantity or order.perm_id:
            count = 0
    return count
