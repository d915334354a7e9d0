"""What happened to an order that may be at the broker? Its evidence decides, never its silence.

Fills are stored before anything here is asked, so a verdict is about the order alone. An order
that the evidence does not show is UNKNOWN: a false stop is cheap, a false second send is not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ibloop.core.lifecycle import OrderEvent, OrderState
from ibloop.core.model import BrokerOrder, Evidence, Order, Tif
from ibloop.core.snapshot import is_ours

REQUEST_FAILED_CODES = frozenset(
    {103, 104, 105, 107, 109, 110, 160, 163, 200, 201, 203, 321, 382, 383, 388, 434, 451, 10243}
    | set(range(10246, 10253))
)
"""Codes by which a gateway refuses a new order (ib-insync-traps section 4). A hint, no proof."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error callback that named the order: what the broker said, word for word."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evidence says of one order.

    ``event`` is ``None`` when nothing changes or when fills alone decide. ``because`` is one
    sentence for the audit trail and for the person who has to decide about an unknown order.
    """

    event: OrderEvent | None
    perm_id: int | None
    because: str


def hint(ib_status: str, why_held: str) -> OrderEvent | None:
    """Return what an order callback proves by itself: an acknowledgement, or nothing.

    Cancelled, Inactive and Filled are hints that call for evidence; PendingSubmit says nothing.
    Inactive with ``locate`` is a held short sale that still works.
    """
    if ib_status in {"PreSubmitted", "Submitted"}:
        return OrderEvent.ACKNOWLEDGE
    if ib_status == "Inactive" and why_held == "locate":
        return OrderEvent.ACKNOWLEDGE
    return None


def needs_evidence(ib_status: str, why_held: str) -> bool:
    """Return whether an order callback hints at an end that only evidence can confirm."""
    ends = ib_status in {"Cancelled", "ApiCancelled", "Inactive", "Filled"}
    return ends and hint(ib_status, why_held) is None


def judge(order: Order, evidence: Evidence, refusal: Refusal | None) -> Verdict:
    """Return what ``evidence`` says about an order in a state of ``ORDER_AT_BROKER``.

    Args: the order, read after the evidence's executions were stored; evidence whose pass began
    after the order was sent; the last error callback that named the order.
    """
    shown = [o for o in evidence.open_orders if _is_same(o, order)]
    ended = [o for o in evidence.completed_orders if _is_same(o, order)]
    perm_ids = _perm_ids(order, evidence, (*shown, *ended))
    if len(perm_ids) > 1:
        return _lose(order, None, f"two orders carry this reference, permIds {perm_ids}")
    perm_id = perm_ids[0] if perm_ids else None
    if order.remaining == 0:
        return Verdict(None, perm_id, "filled, by its executions")
    if ended:
        return _judge_ended(order, ended[0], refusal)
    if shown:
        return _judge_open(shown[0])
    never_seen = order.perm_id is None and order.filled_quantity == 0
    if never_seen and refusal is not None and refusal.code in REQUEST_FAILED_CODES:
        because = f"refused with {refusal.code}, and no query shows it"
        return Verdict(OrderEvent.REJECT, None, because)
    nowhere = "neither open nor completed orders nor executions show it"
    return _lose(order, None, nowhere + _told_by_next_id(order, evidence))


def _perm_ids(order: Order, evidence: Evidence, seen: Iterable[BrokerOrder]) -> list[int]:
    """Return every permId known for this reference: more than one means more than one order."""
    executed = (e for e in evidence.executions if e.client_order_id == order.client_order_id)
    found = {order.perm_id, *(o.perm_id for o in seen), *(e.perm_id for e in executed)}
    return sorted(perm_id for perm_id in found if perm_id)


def _is_same(seen: BrokerOrder, order: Order) -> bool:
    if seen.client_order_id:
        return seen.client_order_id == order.client_order_id
    return bool(seen.perm_id) and seen.perm_id == order.perm_id


def _told_by_next_id(order: Order, evidence: Evidence) -> str:
    """Return what the broker's next order id adds, for the person who has to decide.

    It proves nothing (absence test, condition 5): whether it survives the end of a gateway is not
    known, and it passes an id for every later order, too.
    """
    next_id, order_id = evidence.next_order_id, order.ib_order_id
    if next_id is None or order_id is None or next_id > order_id:
        return ""
    return f"; its id {order_id} is not used up (next id {next_id}): it may never have arrived"


def _lose(order: Order, perm_id: int | None, because: str) -> Verdict:
    already = order.status == OrderState.UNKNOWN
    return Verdict(None if already else OrderEvent.LOSE, perm_id, because)


def _judge_open(seen: BrokerOrder) -> Verdict:
    event = hint(seen.ib_status, seen.why_held)
    if not seen.perm_id:
        return Verdict(None, None, f"open as {seen.ib_status}, not acknowledged")
    return Verdict(event, seen.perm_id, f"open as {seen.ib_status}")


def _judge_ended(order: Order, seen: BrokerOrder, refusal: Refusal | None) -> Verdict:
    perm_id = seen.perm_id or None
    if seen.filled_quantity is not None and seen.filled_quantity > order.filled_quantity:
        because = f"ended with {seen.filled_quantity} filled, executions: {order.filled_quantity}"
        return _lose(order, perm_id, because)
    if seen.ib_status == "Filled":
        return _lose(order, perm_id, "ended as Filled, but executions are missing")
    refused = refusal is not None and refusal.code in REQUEST_FAILED_CODES
    if seen.ib_status == "Inactive" or refused:
        event = OrderEvent.REJECT
    elif _died_by_time(order, seen.ended_at) and order.status != OrderState.PENDING_CANCEL:
        event = OrderEvent.EXPIRE
    else:
        event = OrderEvent.CANCEL
    return Verdict(event, perm_id, f"ended as {seen.ib_status}")


def _died_by_time(order: Order, ended_at: datetime | None) -> bool:
    """Return whether the broker's own time of the end says that the order expired.

    Without it an order that somebody cancelled before its time could pass for an expired one,
    which a retry sends again. IB keeps seconds.
    """
    return ended_at is not None and ended_at >= order.good_till.replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class AbsenceRules:
    """How far apart two looks must be, and how long ago the order must have expired."""

    spacing_s: float
    after_expiry: timedelta


def is_absent(order: Order, evidence: Evidence) -> bool:
    """Return whether neither this evidence nor any news before it ever showed the order."""
    seen = (*evidence.open_orders, *evidence.completed_orders)
    executed = any(e.client_order_id == order.client_order_id for e in evidence.executions)
    never_heard_of = order.perm_id is None and order.filled_quantity == 0
    return never_heard_of and not executed and not any(_is_same(o, order) for o in seen)


def proves_not_sent(
    order: Order,
    evidence: Evidence,
    rules: AbsenceRules,
    *,
    absent_s: float,
    same_day: bool,
    explained: bool,
) -> bool:
    """Return whether an unknown order was never sent and can no longer come alive.

    Args: seconds for which complete evidence of one connection has not shown it; whether the
    market's date is still that of the send (the broker forgets over night); whether fills
    explain the position of its symbol. Only an order that expires by itself can be proven.
    Source: absence test, execution-safety section 5.
    """
    dead = evidence.collected_at >= order.good_till + rules.after_expiry
    expires = order.tif is Tif.GTD and dead
    patient = absent_s >= rules.spacing_s
    return is_absent(order, evidence) and expires and patient and same_day and explained


def unrecorded(evidence: Evidence, known: Iterable[str]) -> tuple[str, ...]:
    """Return references of ours that the broker shows and the ledger lacks.

    One is enough to know that the ledger is older than the truth (promise P15).
    """
    return tuple(sorted(ref for ref in shown_refs(evidence) - set(known) if is_ours(ref)))


def shown_refs(evidence: Evidence) -> frozenset[str]:
    """Return the references of everything that the broker shows, ours and foreign."""
    orders = (*evidence.open_orders, *evidence.completed_orders)
    refs = {o.client_order_id for o in orders} | {e.client_order_id for e in evidence.executions}
    return frozenset(refs - {""})
