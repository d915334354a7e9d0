"""One pass over everything the broker knows: six questions, one after the other.

A pass in which any question failed says nothing (failed is not empty), with one exception that
real gateways force on us: some leave reqExecutions unanswered when there is nothing to tell.
Silence is taken for "none" only when two questions that *were* answered agree that nothing was
filled today (:func:`nothing_filled`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ibloop.adapters.ib.account import SUMMARY_TAGS, Figures
from ibloop.adapters.ib.convert import ENDED_STATUSES
from ibloop.adapters.ib.queries import QueryError
from ibloop.adapters.ib.session import NEXT_ID
from ibloop.core.events import OrderReported
from ibloop.core.model import ZERO, AccountValues, BrokerOrder, Moment

POSITIONS = "reqPositions"
OPEN_ORDERS = "reqAllOpenOrders"
COMPLETED_ORDERS = "reqCompletedOrders"
EXECUTIONS = "reqExecutions"
ACCOUNT_SUMMARY = "reqAccountSummary"

PASSES_MAX = 3
"""A pass during which something was executed is repeated, so that positions, orders and
executions speak of one moment; the last of these is taken as it is."""


@dataclass(frozen=True, slots=True)
class StatusRow:
    """The orderStatus that follows each openOrder, as a row of the open-orders answer.

    ``filled`` in shares, ``None`` when not given.
    """

    report: OrderReported
    client_id: int
    filled: Any


def open_orders(rows: Sequence[BrokerOrder | StatusRow], account: str) -> tuple[BrokerOrder, ...]:
    """Return the working orders of ``account`` from the rows of one open-orders answer.

    Rows of one order may repeat: the last one counts. Orders that ended while the answer was
    being given are left out; the completed orders, asked afterwards, show them.
    """
    found: dict[tuple[int, int, int], BrokerOrder] = {}
    for row in rows:
        if isinstance(row, BrokerOrder) and row.account in {"", account}:
            found[_key(row.perm_id, row.client_id, row.ib_order_id)] = row
    for row in rows:
        if isinstance(row, StatusRow):
            report = row.report
            key = _key(report.perm_id, row.client_id, report.ib_order_id)
            if key in found:
                found[key] = replace(
                    found[key],
                    ib_status=report.ib_status,
                    filled_quantity=row.filled,
                    why_held=report.why_held,
                )
    return tuple(order for order in found.values() if order.ib_status not in ENDED_STATUSES)


def completed_orders(rows: Sequence[BrokerOrder], account: str) -> tuple[BrokerOrder, ...]:
    """Return today's ended orders of ``account``, each once."""
    found = {_key(row.perm_id, 0, 0): row for row in rows if row.account in {"", account}}
    return tuple(found.values())


def next_order_id(rows: Sequence[int], order_id_max: int) -> int:
    """Return the gateway's next order id. Raises: QueryError when no order can have it any more."""
    if rows[-1] > order_id_max:
        raise QueryError(f"{NEXT_ID}: expected an id up to {order_id_max}, was {rows[-1]}")
    return rows[-1]


def nothing_filled(orders: Sequence[BrokerOrder]) -> bool:
    """Return whether every order shown is known to have no fill."""
    return all(order.filled_quantity == ZERO for order in orders)


def account_values(
    rows: Sequence[tuple[str, str, str, str]], account: str, now: Moment
) -> AccountValues:
    """Return the figures of one account summary: rows of (account, tag, value, currency).

    Raises: QueryError when a figure is missing, unusable or not in USD.
    """
    figures = Figures(account)
    for row_account, tag, text, currency in rows:
        try:
            figures.take(row_account, tag, text, currency, now)
        except ValueError as error:
            raise QueryError(f"{ACCOUNT_SUMMARY}: {error}") from None
    values = figures.values()
    if values is None:
        shown = ", ".join(f"{tag} {text} {currency}" for _, tag, text, currency in rows)
        raise QueryError(
            f"{ACCOUNT_SUMMARY}: expected {SUMMARY_TAGS} of {account} in USD, was {shown or 'none'}"
        )
    return values


def _key(perm_id: int, client_id: int, order_id: int) -> tuple[int, int, int]:
    """Identify an order: by permId once it has one, a cancel may carry another client's id."""
    return (perm_id, 0, 0) if perm_id else (0, client_id, order_id)
