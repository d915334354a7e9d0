"""The retry of a remainder: which symbols a run tries again by itself, and when.

The second attempt is a plan of its own, made of the positions and prices there are by then and
never of what was left over. Only what can be expected to go better is tried again; what a person
or the broker has decided about stays decided.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ibloop.core.foreign import FOREIGN_TRADE
from ibloop.core.lifecycle import OrderState, RunState
from ibloop.core.model import Order

TRANSIENT_CODES = frozenset({"103", "104", "105"})
"""Codes of refusals that another order id ends: the gateway took this one for another order's.

Source: ib-insync-traps, O6 and O19. Every other refusal would be the same a minute later.
"""
NOT_RETRIED = "not_retried"
"""Code of an order that a second attempt does not send, because of what the first has met."""
CANCELED_BY_OPERATOR = "canceled_by_operator"
"""Code of a planned order that a person has cancelled before it was sent."""
_FINAL_REFUSALS = frozenset({FOREIGN_TRADE, CANCELED_BY_OPERATOR})
RETRY_TIME_MIN = timedelta(minutes=1)
"""Less time before the deadline is not worth an attempt: it begins by reading the account."""


class Retry(StrEnum):
    """What a run does about orders that were not sent or died unfilled."""

    NONE = "none"
    REMAINDER = "remainder"


@dataclass(frozen=True, slots=True)
class Remainder:
    """What an attempt has left behind, by symbol.

    ``open`` are worth another attempt, ``settled`` have what was planned, ``barred`` must not be
    tried again in this run, and why.
    """

    open: frozenset[str]
    settled: frozenset[str]
    barred: Mapping[str, str]


def remainder(
    ended: Iterable[Order],
    stopped_at_deadline: Collection[str],
    stopped_by_hand: Collection[str],
    changing_sides: Collection[str] = (),
) -> Remainder:
    """Return what the orders of an attempt have left.

    Args: its orders; references of orders that the executor itself has asked to be cancelled at
    their deadline; references of orders that a person has asked to be cancelled; symbols of which
    the plan only closed the position, on the way to the other side. Orders that ibloop itself
    refused are in none of the three: they are checked anew like everything else.
    """
    open_, settled, barred = set[str](), set[str](), dict[str, str]()
    for order in ended:
        if order.status == OrderState.FILLED and order.symbol in changing_sides:
            open_.add(order.symbol)
        elif order.status == OrderState.FILLED:
            settled.add(order.symbol)
        elif order.client_order_id in stopped_by_hand:
            barred[order.symbol] = f"{order.client_order_id} was cancelled by an operator"
        elif _may_go_better(order, order.client_order_id in stopped_at_deadline):
            open_.add(order.symbol)
        elif order.reject_source != "ibloop" or order.reject_code in _FINAL_REFUSALS:
            said = f" ({order.reject_code}: {order.reject_reason})" if order.reject_source else ""
            barred[order.symbol] = f"{order.client_order_id} ended as {order.status}{said}"
    return Remainder(frozenset(open_), frozenset(settled), barred)


def _may_go_better(order: Order, died_at_deadline: bool) -> bool:
    """Return whether an order that has ended unfilled may be followed by another one.

    One that was cancelled by anybody but the executor at its deadline was meant to be.
    """
    match order.status:
        case OrderState.NOT_SENT | OrderState.EXPIRED:
            return True
        case OrderState.CANCELED:
            return died_at_deadline
        case OrderState.REJECTED:
            return order.reject_source == "broker" and order.reject_code in TRANSIENT_CODES
    return False


def attempt_end(policy: Retry, now: datetime, deadline: datetime) -> datetime:
    """Return when the orders of a run's first attempt die.

    With a retry to come that is half way to the run's ``deadline``, so that the second attempt
    has time inside it.
    """
    return now + (deadline - now) / 2 if policy is Retry.REMAINDER else deadline


def wants_retry(
    policy: Retry,
    status: RunState,
    left: Remainder,
    *,
    attempt_end: datetime,
    deadline: datetime,
    now: datetime,
) -> bool:
    """Return whether a run that would end as ``status`` makes another attempt instead.

    At most one: the orders of the last attempt live until the run's ``deadline``.
    """
    is_first = attempt_end < deadline
    # One that is done has left something open only where a position changes sides.
    ended = status in {RunState.DONE, RunState.PARTIAL, RunState.FAILED}
    unfinished = ended and bool(left.open)
    in_time = deadline - now >= RETRY_TIME_MIN
    return policy is Retry.REMAINDER and is_first and unfinished and in_time
