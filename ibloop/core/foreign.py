"""Which symbols somebody else trades in our account: by hand, or with another program.

Their trades are recorded like ours and counted in every position. A plan made without them is
wrong for their symbols alone, so only these are left.
"""

from collections.abc import Collection, Iterable

from ibloop.core.model import BrokerOrder
from ibloop.core.snapshot import is_ours

FOREIGN_TRADE = "foreign_trade"
"""Code of an order that is not sent because somebody else trades its symbol."""


def touched_symbols(
    open_orders: Iterable[BrokerOrder], executed: Collection[str], account: str
) -> dict[str, str]:
    """Return why a symbol is left alone, for every symbol that others trade.

    Args: the working orders the broker shows; symbols of foreign executions that the plan does
    not know of; our account. A reference of ours is never foreign, also when this ledger does not
    know it: that stops more than a symbol.
    """
    touched = dict.fromkeys(sorted(executed), "somebody else has traded it since the plan")
    for order in open_orders:
        if order.account in {"", account} and not is_ours(order.client_order_id):
            named = f"permId {order.perm_id}" if order.perm_id else "no permId yet"
            text = f"a foreign order works: {order.side} {order.quantity} {order.symbol} ({named})"
            touched.setdefault(order.symbol, text)
    return touched
