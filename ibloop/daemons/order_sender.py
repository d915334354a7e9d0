"""The sending transaction: every check and the journal entry in one, then the bytes.

What is read here cannot change before the commit: no halt, no other executor and no second order
can come between a check and the row that it allows.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from ibloop import log
from ibloop.adapters.ledger import alerts, arming, fills, identity, orders, runs
from ibloop.adapters.ledger.connection import Connection, Ledger, Tx
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.ports import Broker, Clock, NotSentError, Quotes
from ibloop.config import Config
from ibloop.core.invariant import invariant, present
from ibloop.core.lifecycle import ORDER_AT_BROKER, OrderEvent, OrderState, RunState
from ibloop.core.model import (
    ZERO,
    HaltLevel,
    Instrument,
    Mode,
    Moment,
    Order,
    OrderType,
    Quote,
    Side,
)
from ibloop.core.orders import Intent, commission_bound_usd, limit_price
from ibloop.core.quotes import mid, problem
from ibloop.core.risk import Breach, SendContext, check_send, second_is_free
from ibloop.core.sessions import day_start

WRITE_DELAY_S_MAX = 3.0
"""Longer than any commit takes: beyond it the checks in the journal are about another moment."""

_log = log.get(__name__)


class OrderSender:
    """Journals planned orders and hands them to the broker; keeps nothing in memory.

    ``halt`` tells the severest halt in force, ``epoch`` is the executor's own.
    """

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        broker: Broker,
        quotes: Quotes,
        instruments: Mapping[str, Instrument],
        clock: Clock,
        *,
        halt: Callable[[Connection], HaltLevel | None],
        epoch: int,
        actor: str,
    ) -> None:
        """Keep the ports."""
        self._config = config
        self._ledger = ledger
        self._broker = broker
        self._quotes = quotes
        self._instruments = instruments
        self._clock = clock
        self._halt = halt
        self._epoch = epoch
        self._actor = actor

    def send(
        self, run: Run, order: Order, next_valid_id: int, not_now: Callable[[], str | None]
    ) -> str | None:
        """Send one planned order, or refuse it; return why it has to wait, ``None`` when done.

        ``not_now`` tells what of the connection stands against a send. It is asked, and the time
        is taken, once the write lock is held: waiting for it makes quotes and proofs older.
        """
        quote = self._quotes.read([order.symbol]).get(order.symbol)
        instrument = self._instruments.get(order.symbol)
        with self._ledger.transaction() as tx:
            now = self._clock.now()
            current = runs.find(tx.db, run.run_id)
            row = orders.find(tx.db, order.client_order_id)
            waiting = not_now() or self._hindrance(tx, current, row, now)
            if waiting is not None or current is None or row is None:
                return waiting
            breach = self._refuse(tx, current, row.order, instrument, quote, now)
            if breach is not None:
                self._deny(tx, row.order, breach, now.utc)
                return None
            instrument = present(instrument, "instrument of an order that passed the checks")
            journalled = self._journal(tx, current, row, instrument, quote, next_valid_id, now)
        too_late = self._too_late(now)
        if too_late is not None:
            self._not_sent(journalled, too_late)
        else:
            self._place(journalled, instrument)
        return None

    def _too_late(self, journalled: Moment) -> str | None:
        """Return why a journalled order must not be written after all.

        Between commit and write this process may have been stopped for any length of time.
        """
        waited_s = self._clock.now().age_s(journalled)
        if waited_s > WRITE_DELAY_S_MAX:
            return f"{waited_s:.1f} s passed between journal and socket"
        if identity.epoch(self._ledger.db) != self._epoch:
            return "another executor has taken over"
        if self._halt(self._ledger.db) in {HaltLevel.PAUSE, HaltLevel.KILL}:
            return "halted between journal and socket"
        return None

    def _hindrance(self, tx: Tx, run: Run | None, row: OrderRow | None, now: Moment) -> str | None:
        """Return what of the ledger stands against sending this order now."""
        if identity.epoch(tx.db) != self._epoch:
            return "another executor has taken over"
        if run is None or run.status is not RunState.EXECUTING:
            return "the run is not executing any more"
        if row is None or row.order.status != OrderState.PLANNED:
            return "the order is not planned any more"
        if (row.order.run_id, row.attempt) != (run.run_id, run.attempt):
            return "the order belongs to another attempt"
        if run.deadline_at is None or now.utc >= run.deadline_at:
            return "the deadline has passed"
        if orders.in_states(tx.db, {OrderState.UNKNOWN}):
            return "the fate of an order is unknown"
        config = self._config
        if config.mode is Mode.LIVE and not arming.is_armed(tx.db, config.account, now):
            return "not armed"
        if self._halt(tx.db) in {HaltLevel.PAUSE, HaltLevel.KILL}:
            return "halted"
        sent = orders.sent_times_since(tx.db, now.utc - timedelta(seconds=1))
        free = second_is_free(sent, now.utc, config.limits.orders_per_second_max)
        return None if free else "paced"

    # --- refusing -----------------------------------------------------------------------------

    def _refuse(
        self,
        tx: Tx,
        run: Run,
        order: Order,
        instrument: Instrument | None,
        quote: Quote | None,
        now: Moment,
    ) -> Breach | None:
        """Return the first reason why this order must not leave now."""
        if instrument is None or instrument.con_id != order.con_id:
            found = f"{order.symbol} as contract {order.con_id}"
            return Breach("universe", found, "what the universe holds", "plan the run anew")
        if order.quantity != order.quantity.to_integral_value():
            return Breach("lot", f"{order.quantity} shares", "whole shares", "mend the universe")
        context = self._context(tx, run, order, quote, now)
        price = self._limit_price(order, instrument, quote)
        intent = Intent(order.symbol, order.con_id, order.side, order.quantity, price)
        return next(iter(check_send(intent, instrument, price, context, self._config.limits)), None)

    def _limit_price(self, order: Order, instrument: Instrument, quote: Quote | None) -> Decimal:
        """Return the collar price from the fresh quote; zero without one (it is refused then)."""
        middle = mid(quote) if quote else None
        if middle is None:
            return ZERO
        return limit_price(
            order.side, middle, instrument, self._config.limits.price_collar_fraction
        )

    def _context(
        self, tx: Tx, run: Run, order: Order, quote: Quote | None, now: Moment
    ) -> SendContext:
        today = orders.sent_today(tx.db, day_start(now.utc, self._config.session.timezone))
        of_run = [row for row in orders.of_run(tx.db, run.run_id) if row.order.sent_at]
        lines = {line.symbol: line for line in runs.plan_lines(tx.db, run.run_id, run.attempt)}
        since = fills.recorded_after(tx.db, present(run.baseline_at, "baseline"))
        return SendContext(
            halt=self._halt(tx.db),
            equity_usd=present(run.equity_usd, "equity of an executing run"),
            # Foreign fills count too: somebody may have sold by hand what we are about to sell.
            held=lines[order.symbol].baseline_quantity
            + fills.signed(since).get(order.symbol, ZERO),
            cash_usd=_cash_left(
                present(run.cash_usd, "cash of an executing run"),
                since,
                orders.in_states(tx.db, ORDER_AT_BROKER),
            ),
            orders_today=today.count,
            orders_this_run=len(of_run),
            traded_today_usd=today.notional,
            quote=quote,
            quote_problem=self._quote_problem(order, quote, now),
        )

    def _quote_problem(self, order: Order, quote: Quote | None, now: Moment) -> str | None:
        if quote is not None and quote.con_id != order.con_id:
            return f"the quote is of contract {quote.con_id}, the order of {order.con_id}"
        return problem(quote, now, self._config.quotes)

    def _deny(self, tx: Tx, order: Order, breach: Breach, now: datetime) -> None:
        ref = order.client_order_id
        orders.apply(
            tx,
            ref,
            OrderEvent.DENY,
            reject_source="ibloop",
            reject_code=breach.check,
            reject_reason=str(breach),
            now=now,
            actor=self._actor,
        )
        text = f"{order.side} {order.quantity} {order.symbol} not sent: {breach}"
        alerts.raise_alert(tx, "warning", "order.rejected", ref, text, f"rejected:{ref}", now)
        _log.warning("order.denied", client_order_id=ref, check=breach.check, why=str(breach))

    # --- journalling and placing --------------------------------------------------------------

    def _journal(
        self,
        tx: Tx,
        run: Run,
        row: OrderRow,
        instrument: Instrument,
        quote: Quote | None,
        next_valid_id: int,
        now: Moment,
    ) -> Order:
        """Write the SENDING row and return the order exactly as it will leave."""
        quote = present(quote, "quote of an order that passed the checks")
        ref = row.order.client_order_id
        price = self._limit_price(row.order, instrument, quote)
        marked = orders.mark_sending(
            tx,
            ref,
            ib_order_id=max(next_valid_id, orders.max_ib_order_id(tx.db) + 1),
            limit_price=price if row.order.order_type is OrderType.LMT else None,
            arrival_price=mid(quote) or ZERO,
            quote_seq=quote.seq,
            quote_source=quote.source.value,
            quote_at=quote.received.utc,
            good_till=present(run.deadline_at, "deadline of an executing run"),
            now=now.utc,
            actor=self._actor,
        )
        invariant(marked, f"{ref} was journalled by somebody else")
        return present(orders.find(tx.db, ref), ref).order

    def _place(self, order: Order, instrument: Instrument) -> None:
        _log.info(
            "order.sending",
            client_order_id=order.client_order_id,
            ib_order_id=order.ib_order_id,
            side=order.side,
            quantity=order.quantity,
            limit_price=order.limit_price,
        )
        try:
            self._broker.place(order, instrument)
        except NotSentError as error:
            self._not_sent(order, str(error))

    def _not_sent(self, order: Order, why: str) -> None:
        """Write down that not one byte of a journalled order has left."""
        with self._ledger.transaction() as tx:
            orders.apply(
                tx,
                order.client_order_id,
                OrderEvent.PROVE_NOT_SENT,
                reject_source="ibloop",
                reject_code="not_sent",
                reject_reason=why,
                now=self._clock.now().utc,
                actor=self._actor,
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
    for row in at_broker:
        order = row.order
        if order.side is Side.BUY:
            worst = present(order.limit_price or row.arrival_price, "price of a sent order")
            remaining = max(order.remaining, ZERO)
            left -= remaining * worst + commission_bound_usd(remaining)
    return left
