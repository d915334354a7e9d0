"""Executions that replace earlier ones: corrections and busts.

An execution id is `<8 hex>.<8 hex>.<NN>.<CC>`: with the same beginning, the highest correction
counter CC is in force (IB: "if a correction is made, the last digits count up"). A bust is a
correction to no shares. Profit and position follow from folding what is in force.
"""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from ibloop.sim.brokerage.account import commission_usd
from ibloop.sim.brokerage.events import (
    Commissioned,
    Event,
    Filled,
    OrderUpdate,
    account_change,
)
from ibloop.sim.brokerage.groups import BY_SYSTEM, filled_text
from ibloop.sim.model import ZERO, Execution, SimError, Status

if TYPE_CHECKING:
    from ibloop.sim.brokerage.broker import Broker


def base_id(exec_id: str) -> str:
    """Return what all revisions of an execution have in common."""
    return exec_id.rpartition(".")[0]


def revision(exec_id: str) -> int:
    """Return the correction counter, 1 for an execution as it happened."""
    return int(exec_id.rpartition(".")[2])


def effective(executions: Iterable[Execution]) -> list[Execution]:
    """Return the executions in force, each in the place of the first one with its base id."""
    in_force: dict[str, Execution] = {}
    for execution in executions:
        known = in_force.get(base_id(execution.exec_id))
        if known is None or revision(known.exec_id) <= revision(execution.exec_id):
            in_force[base_id(execution.exec_id)] = execution
    return list(in_force.values())


def correct(
    broker: "Broker", exec_id: str, *, shares: Decimal | None = None, price: Decimal | None = None
) -> list[Event]:
    """Correct an execution: other shares, another price, or both; no shares bust it.

    The order's fills, average price and commission follow, and so do cash, position and the
    profit of later executions. An order that has ended stays ended, and is Cancelled if it is no
    longer complete; one that works goes on with what then remains. The average of no fills is 0.
    Raises: SimError for an unknown execution, or shares the order cannot have had.
    """
    known = [each for each in broker.executions if base_id(each.exec_id) == base_id(exec_id)]
    if not known:
        raise SimError(f"expected an execution id, was {exec_id!r}")
    (old,) = known
    order = broker.orders[old.perm_id]
    siblings = [each for each in broker.executions if each.perm_id == old.perm_id]
    shares = old.shares if shares is None else shares
    price = old.price if price is None else price
    filled = order.filled - old.shares + shares
    if shares < 0 or filled > order.quantity or price <= 0:
        raise SimError(f"{shares} shares at {price} do not fit the order of {order.quantity}")
    others = [each for each in siblings if each is not old]
    value = sum((each.shares * each.price for each in others), shares * price)
    paid = sum((each.commission for each in others), ZERO)
    average = value / filled if filled else ZERO
    new = replace(
        old,
        exec_id=f"{base_id(exec_id)}.{revision(old.exec_id) + 1:02d}",
        shares=shares,
        price=price,
        commission=max(ZERO, commission_usd(filled, value) - paid) if shares else ZERO,
        cum_quantity=old.cum_quantity - old.shares + shares,
        avg_price=average,
    )
    updated = replace(
        order,
        filled=filled,
        avg_fill_price=average,
        commission_usd=paid + new.commission,
        last_fill_price=price if old is siblings[-1] else order.last_fill_price,
    )
    if filled == order.quantity:
        updated = replace(
            updated,
            status=Status.FILLED,
            completed_at=order.completed_at or order.last_fill_at,
            completed_text=filled_text(filled),
            why_held="",
        )
    elif order.status is Status.FILLED:
        updated = replace(updated, status=Status.CANCELLED, completed_text=BY_SYSTEM)
    broker.revise([new, updated])
    booked = next(each for each in broker.executions if each.exec_id == new.exec_id)
    return [
        Filled(booked),
        OrderUpdate(updated, commissioned=True),
        Commissioned(booked),
        account_change(broker.accounts[old.account], old.con_id),
    ]
