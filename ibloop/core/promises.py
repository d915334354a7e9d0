"""What must be true of the ledger and the broker when everything has come to rest.

Run after every production run, by the checks of the ledger and by every simulation. The ids are
those of ``docs/explanation/promises.md``.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from ibloop.core.lifecycle import ORDER_NEVER_SENT, OrderState
from ibloop.core.model import ZERO, BrokerOrder, Execution, Order, Position
from ibloop.core.snapshot import is_ours


@dataclass(frozen=True, slots=True)
class Fill:
    """One row of ``trade_fills``; ``client_order_id`` is ``None`` for foreign executions."""

    exec_id: str
    client_order_id: str | None
    symbol: str
    signed_quantity: Decimal


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that does not hold, and where."""

    promise: str
    detail: str


def exec_base(exec_id: str) -> str:
    """Return the execution's identity without its correction counter (the last dotted part)."""
    return exec_id.rpartition(".")[0] or exec_id


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a person has looked at and accepted.

    References of orders the ledger never sent, and how many shares of an over-filled order.
    """

    references: frozenset[str] = frozenset()
    over_fills: Mapping[str, Decimal] = field(default_factory=dict)


def check(
    orders: Sequence[Order],
    fills: Sequence[Fill],
    broker_orders: Iterable[BrokerOrder],
    executions: Iterable[Execution],
    account: str,
    accepted: Accepted | None = None,
) -> tuple[Broken, ...]:
    """Return every broken promise about orders and fills; empty when all hold.

    Args: the ledger's orders and fills, and the broker's orders and executions of the same span.
    """
    known = accepted or Accepted()
    executed = list(executions)
    shown = [o for o in broker_orders if o.client_order_id not in known.references]
    ours = [e for e in executed if e.client_order_id not in known.references]
    return (
        *_sent_once(shown, ours),
        *_recorded(orders, shown, ours),
        *_every_execution_once(fills, executed, known),
        *_no_over_fill(orders, fills, known),
        *_right_account(shown, executed, account),
    )


def _sent_once(shown: Iterable[BrokerOrder], executed: Iterable[Execution]) -> Iterator[Broken]:
    pairs = [(o.client_order_id, o.perm_id) for o in shown]
    pairs += [(e.client_order_id, e.perm_id) for e in executed]
    perm_ids: defaultdict[str, set[int]] = defaultdict(set)
    for ref, perm_id in pairs:
        # 0 means not acknowledged yet: the same order gets its permId a moment later.
        if is_ours(ref) and perm_id:
            perm_ids[ref].add(perm_id)
    for ref, ids in sorted(perm_ids.items()):
        if len(ids) > 1:
            yield Broken("P1", f"{ref} reached the broker as {len(ids)} orders: {sorted(ids)}")


def _recorded(
    orders: Iterable[Order], shown: Iterable[BrokerOrder], executed: Iterable[Execution]
) -> Iterator[Broken]:
    states = {o.client_order_id: o for o in orders}
    refs = {o.client_order_id for o in shown} | {e.client_order_id for e in executed}
    for ref in sorted(r for r in refs if is_ours(r)):
        order = states.get(ref)
        if order is None:
            yield Broken("P2", f"the broker knows {ref}, the ledger does not")
        elif order.status in ORDER_NEVER_SENT or order.reject_source == "ibloop":
            yield Broken("P2", f"the broker knows {ref}, the ledger says {order.status}")


def _every_execution_once(
    fills: Iterable[Fill], executed: Iterable[Execution], known: Accepted
) -> Iterator[Broken]:
    recorded: defaultdict[str, list[Fill]] = defaultdict(list)
    for fill in fills:
        recorded[exec_base(fill.exec_id)].append(fill)
    for execution in executed:
        rows = recorded[exec_base(execution.exec_id)]
        if len(rows) != 1:
            yield Broken("P3", f"execution {execution.exec_id} is in the ledger {len(rows)} times")
        elif differs := _difference(rows[0], execution, known):
            yield Broken("P3", f"execution {execution.exec_id}: {differs}")


def _difference(fill: Fill, execution: Execution, known: Accepted) -> str | None:
    """Return what a recorded fill says otherwise than the broker's execution.

    Of two revisions only an older one in the ledger is wrong: it may have learnt of a correction
    since the broker was asked.
    """
    ref = execution.client_order_id
    is_foreign = not is_ours(ref) or ref in known.references
    if not is_foreign and fill.client_order_id != ref:
        return f"it is of {ref}, recorded for {fill.client_order_id}"
    if _revision(fill.exec_id) < _revision(execution.exec_id):
        return f"the ledger has only {fill.exec_id}"
    signed = execution.side.sign * execution.quantity
    if fill.exec_id == execution.exec_id and fill.signed_quantity != signed:
        return f"{signed} shares, recorded as {fill.signed_quantity}"
    return None


def _revision(exec_id: str) -> int:
    """Return how often an execution was corrected: the last dotted part of its id."""
    last = exec_id.rpartition(".")[2]
    return int(last) if last.isdecimal() else 0


def _no_over_fill(
    orders: Sequence[Order], fills: Iterable[Fill], known: Accepted
) -> Iterator[Broken]:
    sums: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
    for fill in fills:
        if fill.client_order_id is not None:
            sums[fill.client_order_id] += fill.signed_quantity
    for ref in sorted(set(sums) - {o.client_order_id for o in orders} - known.references):
        yield Broken("P2", f"{ref} has fills, but the ledger never sent it")
    for order in orders:
        filled = order.side.sign * sums[order.client_order_id]
        if filled != order.filled_quantity:
            says = f"says {order.filled_quantity}, its fills sum to {filled}"
            yield Broken("P3", f"{order.client_order_id} {says}")
        never_sent = order.sent_at is None or order.reject_source == "ibloop"
        if filled and never_sent and order.client_order_id not in known.references:
            yield Broken("P2", f"{order.client_order_id} was filled, but never sent")
        most = max(order.quantity, known.over_fills.get(order.client_order_id, ZERO))
        if filled > most:
            yield Broken("P5", f"{order.client_order_id}: {filled} filled of {order.quantity}")
        complete = order.quantity <= filled <= most and filled > 0
        if (order.status == OrderState.FILLED) != complete:
            yield Broken("P5", f"{order.client_order_id} is {order.status} with {filled} filled")


def _right_account(
    shown: Iterable[BrokerOrder], executed: Iterable[Execution], account: str
) -> Iterator[Broken]:
    seen = {(o.client_order_id, o.account) for o in shown}
    seen |= {(e.client_order_id, e.account) for e in executed}
    for ref, other in sorted(pair for pair in seen if is_ours(pair[0])):
        if other != account:
            yield Broken("P9", f"{ref} is in account {other}, expected {account}")


def position_breaks(
    baseline: Mapping[str, Decimal],
    fills: Iterable[Fill],
    positions: Iterable[Position],
) -> tuple[Broken, ...]:
    """Return where a position is not what was held before plus what was filled since (P4).

    Args: shares by symbol at the baseline; every fill since, ours and foreign; positions now.
    """
    expected: defaultdict[str, Decimal] = defaultdict(lambda: ZERO, baseline)
    for fill in fills:
        expected[fill.symbol] += fill.signed_quantity
    now = {p.symbol: p.quantity for p in positions}
    return tuple(
        Broken("P4", f"{symbol}: {now.get(symbol, ZERO)} held, {expected[symbol]} expected")
        for symbol in sorted({*expected, *now})
        if expected[symbol] != now.get(symbol, ZERO)
    )
