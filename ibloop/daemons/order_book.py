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
from ibloop.core.model import ZERO, HaltLevel, Quote, Side
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
        order = row.order
        price = present(order.limit_price or row.arrival_price, "price of a sent order")
        self.orders_today += 1
        self.orders_this_run += 1
        self.traded_today_usd += order.quantity * price
        if order.side is Side.BUY:
            self.cash_usd -= _reserved_usd(order.quantity, price)
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
    # Foreign fills count too: somebody may have sold by hand what we are about to sell.
    moves = fills.moves_after(db, present(run.baseline_at, "baseline"))
    held = dict(runs.baseline_quantities(db, run.run_id, run.attempt, symbols))
    for move in moves:
        if move.symbol in held:
            held[move.symbol] += move.signed_quantity
    cash_usd = present(run.cash_usd, "cash of an executing run")
    return SendBook(
        halt=halt,
        equity_usd=present(run.equity_usd, "equity of an executing run"),
        cash_usd=cash_usd - _spent_usd(moves) - _all_reserved_usd(db),
        held=held,
        orders_today=today.count,
        orders_this_run=orders.sent_count(db, run.run_id),
        traded_today_usd=today.notional,
        sent_at=list(orders.sent_times_since(db, now - timedelta(seconds=1))),
    )


def _spent_usd(moves: Sequence[fills.Move]) -> Decimal:
    """Return what fills have cost so far; a commission not yet known counts with its bound."""
    spent = ZERO
    for move in moves:
        known = move.commission
        spent += move.signed_quantity * move.price
        spent += commission_bound_usd(abs(move.signed_quantity)) if known is None else known
    return spent


def _all_reserved_usd(db: Connection) -> Decimal:
    """Return the most that every order that may still fill can cost, of whatever run."""
    return sum((_reserved_usd(remaining, price) for remaining, price in orders.open_buys(db)), ZERO)


def _reserved_usd(remaining: Decimal, price: Decimal) -> Decimal:
    """Return the most that the remaining shares of a buy can cost."""
    shares = max(remaining, ZERO)
    return shares * price + commission_bound_usd(shares)
