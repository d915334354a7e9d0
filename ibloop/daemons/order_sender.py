"""The sending transaction: every check and the journal entry in one, then the bytes.

What is read here cannot change before the commit: no halt, no other executor and no second order
can come between a check and the row that it allows. One transaction journals several orders, each
checked with the ones before it counted, for its price is that of one write to the disk.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ibloop import log
from ibloop.adapters.ledger import alerts, arming, identity, orders, runs
from ibloop.adapters.ledger.connection import Connection, Ledger, Tx
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.ports import Broker, Clock, NotSentError, Quotes
from ibloop.config import Config
from ibloop.core.invariant import invariant, present
from ibloop.core.lifecycle import OrderEvent, OrderState, RunState
from ibloop.core.model import (
    ZERO,
    HaltLevel,
    Instrument,
    Mode,
    Moment,
    Order,
    OrderType,
    Quote,
)
from ibloop.core.orders import Intent, limit_price
from ibloop.core.quotes import mid, problem
from ibloop.core.risk import Breach, check_send, halt_allows
from ibloop.core.sessions import day_start
from ibloop.daemons.order_book import SendBook, read_book
from ibloop.daemons.order_judge import NOT_SENT_CODE

PACED = "paced"
"""The one reason to wait that time alone ends."""

WRITE_DELAY_S_MAX = 3.0
"""Longer than any commit takes: beyond it the checks in the journal are about another moment."""

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class _Journalled:
    """An order in the journal whose bytes are to leave; ``held`` are the shares of its symbol."""

    order: Order
    instrument: Instrument
    held: Decimal


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
        self,
        run: Run,
        planned: Sequence[Order],
        next_valid_id: int,
        not_now: Callable[[int], str | None],
    ) -> str | None:
        """Send planned orders of a run, or refuse them, in one transaction and in this sequence.

        Returns why the first of them has to wait, ``None`` when at least that one is done.
        ``not_now`` tells what of the connection stands against a send behind so many others. It
        is asked, and the time is taken, once the write lock is held: waiting for it makes quotes
        and proofs older.
        """
        symbols = [order.symbol for order in planned]
        quotes = self._quotes.read(symbols)
        done, journalled = 0, list[_Journalled]()
        with self._ledger.transaction() as tx:
            now = self._clock.now()
            current = runs.find(tx.db, run.run_id)
            halt = self._halt(tx.db)
            waiting = self._hindrance(tx, current, halt, now)
            if waiting is not None or current is None:
                return waiting
            places = orders.places_of(tx.db, [order.client_order_id for order in planned])
            today = day_start(now.utc, self._config.session.timezone)
            book = read_book(tx.db, current, symbols, halt, now=now.utc, day_start=today)
            for order in planned:
                place, quote = places.get(order.client_order_id), quotes.get(order.symbol)
                waiting = not_now(len(journalled)) or self._hinders(place, current, book, now)
                if waiting is not None:
                    break
                instrument = self._instruments.get(order.symbol)
                breach = self._refuse(order, instrument, quote, book, now)
                if breach is not None:
                    self._deny(tx, order, breach, now.utc)
                else:
                    instrument = present(instrument, "instrument of a checked order")
                    sent = self._journal(tx, current, order, instrument, quote, next_valid_id, now)
                    book.add(sent, now.utc)
                    journalled.append(_Journalled(sent.order, instrument, book.held[order.symbol]))
                done += 1
        self._write(journalled, now)
        return None if done else waiting

    def _hindrance(
        self, tx: Tx, run: Run | None, halt: HaltLevel | None, now: Moment
    ) -> str | None:
        """Return what of the ledger stands against sending anything of this run now."""
        if identity.epoch(tx.db) != self._epoch:
            return "another executor has taken over"
        if run is None or run.status is not RunState.EXECUTING:
            return "the run is not executing any more"
        if run.deadline_at is None or now.utc >= run.deadline_at:
            return "the deadline has passed"
        if orders.one_unknown(tx.db) is not None:
            return "the fate of an order is unknown"
        config = self._config
        if config.mode is Mode.LIVE and not arming.is_armed(tx.db, config.account, now):
            return "not armed"
        return "halted" if halt in {HaltLevel.PAUSE, HaltLevel.KILL} else None

    def _hinders(
        self, place: tuple[OrderState, str, int] | None, run: Run, book: SendBook, now: Moment
    ) -> str | None:
        """Return what of the ledger stands against sending an order of the run now.

        ``place`` is the order's: state, run and attempt.
        """
        if place is None or place[0] is not OrderState.PLANNED:
            return "the order is not planned any more"
        if place[1:] != (run.run_id, run.attempt):
            return "the order belongs to another attempt"
        paced = book.is_paced(now.utc, self._config.limits.orders_per_second_max)
        return PACED if paced else None

    # --- refusing -----------------------------------------------------------------------------

    def _refuse(
        self,
        order: Order,
        instrument: Instrument | None,
        quote: Quote | None,
        book: SendBook,
        now: Moment,
    ) -> Breach | None:
        """Return the first reason why this order must not leave now."""
        if instrument is None or instrument.con_id != order.con_id:
            found = f"{order.symbol} as contract {order.con_id}"
            return Breach("universe", found, "what the universe holds", "plan the run anew")
        if order.quantity != order.quantity.to_integral_value():
            return Breach("lot", f"{order.quantity} shares", "whole shares", "mend the universe")
        context = book.context(order.symbol, quote, self._quote_problem(order, quote, now))
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
        order: Order,
        instrument: Instrument,
        quote: Quote | None,
        next_valid_id: int,
        now: Moment,
    ) -> OrderRow:
        """Write the SENDING row and return it: the order leaves exactly as it says."""
        quote = present(quote, "quote of an order that passed the checks")
        ref = order.client_order_id
        price = self._limit_price(order, instrument, quote)
        marked = orders.mark_sending(
            tx,
            ref,
            ib_order_id=max(next_valid_id, orders.max_ib_order_id(tx.db) + 1),
            limit_price=price if order.order_type is OrderType.LMT else None,
            arrival_price=mid(quote) or ZERO,
            quote_seq=quote.seq,
            quote_source=quote.source.value,
            quote_at=quote.received.utc,
            good_till=present(run.deadline_at, "deadline of an executing run"),
            now=now.utc,
            actor=self._actor,
        )
        row = present(marked, f"{ref} in state planned")
        checked = (order.con_id, order.side, order.quantity, order.order_type)
        stored = row.order
        same = (stored.con_id, stored.side, stored.quantity, stored.order_type) == checked
        invariant(same, f"{ref} is not the order that was checked")
        return row

    def _write(self, journalled: Sequence[_Journalled], since: Moment) -> None:
        """Hand journalled orders to the broker; write down of which not one byte has left."""
        unsent = list[tuple[Order, str]]()
        for item in journalled:
            why = self._too_late(item, since) or self._place(item.order, item.instrument)
            if why is not None:
                unsent.append((item.order, why))
        if journalled:
            refs = [item.order.client_order_id for item in journalled]
            _log.info("orders.sent", client_order_ids=refs, unsent=len(unsent))
        if unsent:
            self._not_sent(unsent)

    def _too_late(self, item: _Journalled, since: Moment) -> str | None:
        """Return why an order journalled at ``since`` must not be written after all.

        Between commit and write this process may have been stopped for any length of time, and
        somebody may have halted while the orders before it were written.
        """
        waited_s = self._clock.now().age_s(since)
        if waited_s > WRITE_DELAY_S_MAX:
            return f"{waited_s:.1f} s passed between journal and socket"
        if identity.epoch(self._ledger.db) != self._epoch:
            return "another executor has taken over"
        order, halt = item.order, self._halt(self._ledger.db)
        if not halt_allows(halt, order.side, order.quantity, item.held):
            return "halted between journal and socket"
        return None

    def _place(self, order: Order, instrument: Instrument) -> str | None:
        """Write one order; return why not one byte of it has left, ``None`` otherwise."""
        try:
            self._broker.place(order, instrument)
        except NotSentError as error:
            return str(error)
        return None

    def _not_sent(self, unsent: Sequence[tuple[Order, str]]) -> None:
        with self._ledger.transaction() as tx:
            for order, why in unsent:
                orders.apply(
                    tx,
                    order.client_order_id,
                    OrderEvent.PROVE_NOT_SENT,
                    reject_source="ibloop",
                    reject_code=NOT_SENT_CODE,
                    reject_reason=why,
                    now=self._clock.now().utc,
                    actor=self._actor,
                )
