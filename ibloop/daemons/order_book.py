"""What is committed at the instant of a send, and what each order journalled with it adds."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ibloop.adapters.ledger import fills, orders, runs
from ibloop.adapters.ledger.connection import Connection
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.ledger.runs import Run
from ibloop.core.invariant import present
from ibloop.core.lifecycle import ORDER_AT_BROKER
from ibloop.core.model import ZERO, HaltLevel, Order, Quote, Side
from ibloop.core.orders import commission_bound_usd
from ibloop.core.risk import SendContext, second_is_free


@dataclass(slots=True)
class SendBook:
    """The figures that the limits are held against, inside one sending transaction.

    Nobody else can write meanwhile, so what the transaction itself journals is all that changes.
    """

    halt: HaltLevel | None
    equity_usd: Decimal
    cash_usd: Decimal
    held: Mapping[str, Decimal]
    orders_today: int
    orders_this_run: int
    traded_today_usd: Decimal
    sent_at: list[datetime]

    def context(self, symbol: str, quote: Quote | None, quote_problem: str | None) -> SendContext:
        """Return what one order is checked against."""
        return SendContext(
            halt=self.halt,
            equity_usd=self.equity_usd,
            held=self.held[symbol],
            cash_usd=self.cash_usd,
            orders_today=self.orders_today,
            orders_this_run=self.orders_this_run,
            traded_today_usd=self.traded_today_usd,
            quote=quote,
            quote_problem=quote_problem,
        )

    def is_paced(self, now: datetime, orders_per_second_max: int) -> bool:
        """Return whether the second that ends at ``now`` has no room for one more order."""
        return not second_is_free(self.sent_at, now, orders_per_second_max)

    def add(self, row: OrderRow, now: datetime) -> None:
        """Count an order that this transaction has journalled."""
        self.orders_today += 1
        self.orders_this_run += 1
        self.traded_today_usd += row.order.quantity * _worst_price(row)
        self.cash_usd -= _reserved_usd(row)
        self.sent_at.append(now)


def read_book(
    db: Connection,
    run: Run,
    symbols: Collection[str],
    halt: HaltLevel | None,
    *,
    now: datetime,
    day_start: datetime,
) -> SendBook:
    """Return the figures for orders of a run in these symbols, at the start of a transaction."""
    today = orders.sent_today(db, day_start)
    since = fills.recorded_after(db, present(run.baseline_at, "baseline"))
    # Foreign fills count too: somebody may have sold by hand what we are about to sell.
    filled = fills.signed(since)
    before = runs.baseline_quantities(db, run.run_id, run.attempt, symbols)
    cash_usd = present(run.cash_usd, "cash of an executing run")
    return SendBook(
        halt=halt,
        equity_usd=present(run.equity_usd, "equity of an executing run"),
        cash_usd=_cash_left(cash_usd, since, orders.in_states(db, ORDER_AT_BROKER)),
        held={symbol: held + filled.get(symbol, ZERO) for symbol, held in before.items()},
        orders_today=today.count,
        orders_this_run=orders.sent_count(db, run.run_id),
        traded_today_usd=today.notional,
        sent_at=list(orders.sent_times_since(db, now - timedelta(seconds=1))),
    )


def _cash_left(
    cash_usd: Decimal, since: Sequence[fills.Fill], at_broker: Sequence[OrderRow]
) -> Decimal:
    """Return the cash that nothing has used or may still use, USD.

    Args: cash at the baseline; every fill since, ours and foreign; every order that may still
    fill, of whatever run. A commission not yet known counts with its bound.
    """
    left = cash_usd
    for fill in since:
        left -= fill.side.sign * fill.quantity * fill.price
        known = fill.commission
        left -= commission_bound_usd(fill.quantity) if known is None else known
    return left - sum((_reserved_usd(row) for row in at_broker), ZERO)


def _reserved_usd(row: OrderRow) -> Decimal:
    """Return the most that what remains of a sent order can still cost."""
    order: Order = row.order
    if order.side is not Side.BUY:
        return ZERO
    remaining = max(order.remaining, ZERO)
    return remaining * _worst_price(row) + commission_bound_usd(remaining)


def _worst_price(row: OrderRow) -> Decimal:
    return present(row.order.limit_price or row.arrival_price, "price of a sent order")
