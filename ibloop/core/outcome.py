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


def outcome(
    orders: Sequence[Order], *, canceled: bool, earlier: Sequence[Sequence[Order]] = ()
) -> Outcome:
    """Return the outcome of a run whose orders have all ended.

    Everything filled (or nothing to do) is done, something is partial, nothing is failed. The
    last attempt decides, for it was planned from what the ones before have left; what these have
    traded (``earlier``, in their sequence) makes a failure partial and is told.
    """
    detail, before = _filled(orders), _told(earlier)
    if canceled:
        return Outcome(RunState.CANCELED, RunReason.CANCELED_BY_OPERATOR, f"{detail}{before}")
    if not orders:
        on_target = f"every position is on target{before}"
        return Outcome(RunState.DONE, RunReason.NOTHING_TO_DO, on_target)
    if all(o.status == OrderState.FILLED for o in orders):
        return Outcome(RunState.DONE, None, f"{detail}{before}")
    reason, rest = _why(orders)
    traded = any(o.filled_quantity for attempt in (orders, *earlier) for o in attempt)
    status = RunState.PARTIAL if traded else RunState.FAILED
    return Outcome(status, reason, f"{detail}; {rest}{before}")


def _filled(orders: Sequence[Order]) -> str:
    filled = sum(1 for o in orders if o.status == OrderState.FILLED)
    return f"{filled} of {len(orders)} orders filled"


def _told(earlier: Sequence[Sequence[Order]]) -> str:
    """Return what the attempts before the last one came to; empty for a run of one attempt."""
    return "".join(
        f"; attempt {number}: {_filled(orders)}" for number, orders in enumerate(earlier) if orders
    )


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
