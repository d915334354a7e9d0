"""The sending transaction: every check and the journal entry in one, then the bytes.

What is read here cannot change before the commit: no halt, no other executor and no second order
can come between a check and the row that it allows. One transaction journals several orders, each
checked with the ones before it counted, for its price is that of one write to the disk.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from ibloop import log
from ibloop.adapters.ledger import alerts, audit, identity, orders, risk, runs
from ibloop.adapters.ledger.connection import Connection, Ledger, Tx
from ibloop.adapters.ledger.mark import Stamp
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.ledger.runs import Run
from ibloop.adapters.ledger.values import parse_time, time_text
from ibloop.adapters.ports import Broker, Clock, NotSentError, Quotes
from ibloop.config import Config
from ibloop.core.invariant import invariant, present
from ibloop.core.lifecycle import OrderEvent, OrderState, RunState
from ibloop.core.model import (
    ZERO,
    HaltLevel,
    Instrument,
    Moment,
    Order,
    OrderType,
    Quote,
)
from ibloop.core.orders import Intent, limit_price
from ibloop.core.quotes import mid
from ibloop.core.risk import Moment as RiskMoment
from ibloop.core.risk import (
    Verdict,
    because,
    breaches,
    check_quote,
    check_send,
    halt_allows,
)
from ibloop.daemons.executing.order_book import PlanBook, SendBook, read_book, read_plan
from ibloop.daemons.executing.order_judge import NOT_SENT_CODE
from ibloop.daemons.executing.send_rails import SendRails

PACED = "paced"
"""The one reason to wait that time alone ends."""

WRITE_DELAY_S_MAX = 3.0
"""Longer than any commit takes: beyond it the checks in the journal are about another moment."""

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class _Offer:
    """What an order would be sent with: middle of the quote and collar price, zero without one."""

    instrument: Instrument | None
    quote: Quote | None
    middle: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class _Journalled:
    """An order in the journal whose bytes are to leave; ``held`` are the shares of its symbol."""

    order: Order
    instrument: Instrument
    held: Decimal


class OrderSender:
    """Journals planned orders and hands them to the broker.

    All it keeps in memory is the plan of the run under way, which nothing changes any more.

    ``halt`` tells the severest halt in force, ``epoch`` is the executor's own, ``note_sending``
    moves the mark that a restored ledger is noticed by, or tells why it cannot.
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
        rails: SendRails,
        epoch: int,
        actor: str,
        note_sending: Callable[[Stamp], str | None],
    ) -> None:
        """Keep the ports."""
        self._note_sending = note_sending
        self._config = config
        self._ledger = ledger
        self._broker = broker
        self._quotes = quotes
        self._instruments = instruments
        self._clock = clock
        self._halt = halt
        self._rails = rails
        self._epoch = epoch
        self._actor = actor
        self._plan: PlanBook | None = None

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
            permit = self._rails.permit(tx.db, current, now)
            if permit.hindrance is not None:
                return permit.hindrance
            plan = self._plan_of(tx, current)
            if plan is None:
                return "the plan is of another attempt or version: cancel the run and ask anew"
            book = read_book(
                tx.db, current, plan, symbols, halt, next_valid_id, now=now.utc, config=self._config
            )
            for ref in (order.client_order_id for order in planned):
                row = orders.find(tx.db, ref)
                waiting = not_now(len(journalled)) or self._hinders(row, current, book, now)
                if waiting is not None:
                    break
                order = present(row, f"planned order {ref}").order
                held = book.held(order.symbol)
                waiting = permit.hinders(order, held) or book.hinders(order)
                if waiting is not None:
                    break
                offer = self._offer(order, quotes.get(order.symbol))
                verdicts = self._verdicts(order, offer, book, now)
                if not_permitted := permit.refuses(order, offer.price):
                    verdicts = (*verdicts, not_permitted)
                refused = breaches(verdicts)
                self._record(tx, current, order, verdicts, now.utc, passed=not refused)
                if refused:
                    self._deny(tx, order, refused, now.utc)
                else:
                    sent = self._journal(tx, current, order, offer, book, now)
                    permit.sent(tx, sent.order, offer.middle, now, self._actor)
                    journalled.append(sent)
                done += 1
            stamp = Stamp(*audit.end_in(tx), book.next_order_id - 1)
        self._write(journalled, now, stamp)
        return None if done else waiting

    def _plan_of(self, tx: Tx, run: Run) -> PlanBook | None:
        """Return the plan of the run under way, read once; ``None`` when it was not stored."""
        if self._plan is None or not self._plan.belongs_to(run):
            self._plan = read_plan(tx.db, run, self._instruments)
        return self._plan

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
        return "halted" if halt in {HaltLevel.PAUSE, HaltLevel.KILL} else None

    def _hinders(self, row: OrderRow | None, run: Run, book: SendBook, now: Moment) -> str | None:
        """Return what of the ledger stands against sending an order of the run now."""
        if row is None or row.order.status is not OrderState.PLANNED:
            return "the order is not planned any more"
        if (row.order.run_id, row.attempt) != (run.run_id, run.attempt):
            return "the order belongs to another attempt"
        if now.utc >= row.order.good_till:
            return "the order's time has passed"
        paced = book.is_paced(self._config.limits.orders_per_second_max)
        return PACED if paced else None

    # --- refusing -----------------------------------------------------------------------------

    def _offer(self, order: Order, quote: Quote | None) -> _Offer:
        """Return the collar price from the fresh quote; zero without one (it is refused then)."""
        instrument = self._instruments.get(order.symbol)
        middle = mid(quote) if quote else None
        if middle is None or instrument is None:
            return _Offer(instrument, quote, ZERO, ZERO)
        collar = self._config.limits.price_collar_fraction
        return _Offer(
            instrument, quote, middle, limit_price(order.side, middle, instrument, collar)
        )

    def _verdicts(
        self, order: Order, offer: _Offer, book: SendBook, now: Moment
    ) -> tuple[Verdict, ...]:
        """Return what every check says of the order as it would leave now."""
        quoted = check_quote(offer.quote, order.con_id, now, self._config.quotes)
        if breaches(quoted):
            quoted = because(quoted, self._quotes.explain(order.symbol))
        context = book.context(order.symbol, offer.quote, quoted)
        intent = Intent(order.symbol, order.con_id, order.side, order.quantity, offer.price)
        return check_send(intent, offer.instrument, offer.price, context, self._config.limits)

    def _record(
        self,
        tx: Tx,
        run: Run,
        order: Order,
        verdicts: tuple[Verdict, ...],
        now: datetime,
        *,
        passed: bool,
    ) -> None:
        row = risk.VerdictRow(
            run_id=run.run_id,
            attempt=run.attempt,
            moment=RiskMoment.SEND,
            client_order_id=order.client_order_id,
            at=now,
            passed=passed,
            verdicts=verdicts,
        )
        risk.store_verdicts(tx, row)

    def _deny(self, tx: Tx, order: Order, refused: Sequence[Verdict], now: datetime) -> None:
        ref, first = order.client_order_id, refused[0]
        orders.apply(
            tx,
            ref,
            OrderEvent.DENY,
            reject_source="ibloop",
            reject_code=first.code,
            reject_reason="; ".join(map(str, refused)),
            now=now,
            actor=self._actor,
        )
        text = f"{order.side} {order.quantity} {order.symbol} not sent: {first}"
        alerts.raise_alert(tx, "warning", "order.rejected", ref, text, f"rejected:{ref}", now)
        _log.warning("order.denied", client_order_id=ref, check=first.check, why=str(first))

    # --- journalling and placing --------------------------------------------------------------

    def _journal(
        self, tx: Tx, run: Run, order: Order, offer: _Offer, book: SendBook, now: Moment
    ) -> _Journalled:
        """Write the SENDING row and count it; what is returned leaves exactly as the row says."""
        quote = present(offer.quote, "quote of an order that passed the checks")
        ref, is_limit = order.client_order_id, order.order_type is OrderType.LMT
        leaving = replace(
            order,
            status=OrderState.SENDING,
            ib_order_id=book.next_order_id,
            limit_price=offer.price if is_limit else None,
            good_till=min(order.good_till, present(run.deadline_at, "deadline of the run")),
            # As the row will say it: a ledger's time is cut to the millisecond.
            sent_at=parse_time(time_text(now.utc)),
        )
        marked = orders.mark_sending(
            tx,
            ref,
            ib_order_id=book.next_order_id,
            limit_price=leaving.limit_price,
            arrival_price=offer.middle,
            quote_seq=quote.seq,
            quote_source=quote.source.value,
            quote_at=quote.received.utc,
            good_till=leaving.good_till,
            now=now.utc,
            actor=self._actor,
        )
        invariant(marked, f"{ref} was planned in this transaction")
        book.add(leaving, offer.middle)
        instrument = present(offer.instrument, "instrument of a checked order")
        return _Journalled(leaving, instrument, book.held(order.symbol))

    def _write(self, journalled: Sequence[_Journalled], since: Moment, stamp: Stamp) -> None:
        """Hand journalled orders to the broker; write down of which not one byte has left."""
        unsent = list[tuple[Order, str]]()
        # A backup of a moment ago does not know these orders: put in place of the ledger it must
        # be noticed, whatever the broker shows by then.
        unmarked = self._note_sending(stamp) if journalled else None
        for item in journalled:
            why = unmarked or self._too_late(item, since)
            why = why or self._place(item.order, item.instrument)
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
