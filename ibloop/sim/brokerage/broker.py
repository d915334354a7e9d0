"""The simulated brokerage: requests and market in, events out.

Pure: no clock (`now` is an argument), no sockets, no files. What changed and must survive a
crash is handed out by `take_changes`; a broker that is given those changes again is the same.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from ibloop.sim.brokerage.account import Account, commission_usd
from ibloop.sim.brokerage.book import Depth, marketable_price
from ibloop.sim.brokerage.checks import Refusal, good_till, refuse_ticket
from ibloop.sim.brokerage.events import (
    AccountChange,
    Change,
    Commissioned,
    Event,
    Filled,
    OrderUpdate,
    Problem,
    WhatIf,
)
from ibloop.sim.brokerage.funds import short_of
from ibloop.sim.market.venue import Venue
from ibloop.sim.model import (
    ZERO,
    Action,
    Execution,
    Instrument,
    Order,
    OrderTicket,
    Preview,
    Quote,
    Status,
)

# First group of every execution id; the second is the order's permId, unique by itself.
EXECUTION_PREFIX = 0x0000E0D5

# The most an order may fill now, None for no limit but the market's.
SliceOf = Callable[[Order, datetime], Decimal | None]


def unsliced(_order: Order, _now: datetime) -> None:
    """Limit no fill."""


class Broker:
    """Orders, executions and accounts of one simulated login."""

    def __init__(
        self,
        instruments: Mapping[int, Instrument],
        opening_cash: Mapping[str, Decimal],
        *,
        first_perm_id: int,
    ) -> None:
        """Open the accounts with their cash in USD; permIds count up from the given one."""
        self.instruments = instruments
        self.accounts = {name: Account(name, cash) for name, cash in opening_cash.items()}
        self.orders: dict[int, Order] = {}
        self.executions: list[Execution] = []
        self._perm_ids: dict[tuple[int, int], int] = {}
        self._next_order_id: dict[int, int] = {}
        self._next_perm_id = first_perm_id
        self._untransmitted: set[tuple[int, int]] = set()
        self._depth = Depth()
        self._live: dict[int, None] = {}
        self._changes: list[Change] = []

    # ------------------------------------------------------------------ memory

    def restore(self, changes: Iterable[Change]) -> None:
        """Take up a former broker's changes, oldest first."""
        for change in changes:
            if isinstance(change, Order):
                self._keep(change)
            else:
                self.executions.append(change)
                self.accounts[change.account].book(change)

    def take_changes(self) -> list[Change]:
        """Return what changed since the last call; store it before any client hears of it."""
        changes, self._changes = self._changes, []
        return changes

    def next_order_id(self, client_id: int) -> int:
        """Return the lowest order id this client may use (IB counts per client id)."""
        return self._next_order_id.get(client_id, 1)

    def live_orders(self) -> list[Order]:
        """Return the orders that can still fill, oldest first."""
        return [self.orders[perm_id] for perm_id in self._live]

    def order_of(self, client_id: int, order_id: int) -> Order | None:
        """Return a client's order by its own id."""
        perm_id = self._perm_ids.get((client_id, order_id))
        return None if perm_id is None else self.orders[perm_id]

    def _keep(self, order: Order) -> None:
        self.orders[order.perm_id] = order
        self._perm_ids[order.client_id, order.order_id] = order.perm_id
        self._use_order_id(order.client_id, order.order_id)
        self._next_perm_id = max(self._next_perm_id, order.perm_id + 1)
        if order.live:
            self._live[order.perm_id] = None
        else:
            self._live.pop(order.perm_id, None)

    def _store(self, order: Order) -> Order:
        self._keep(order)
        self._changes.append(order)
        return order

    def _use_order_id(self, client_id: int, order_id: int) -> None:
        self._next_order_id[client_id] = max(self.next_order_id(client_id), order_id + 1)

    # ------------------------------------------------------------------ placing

    def place(
        self,
        client_id: int,
        order_id: int,
        instrument: Instrument | None,
        ticket: OrderTicket,
        *,
        venue: Venue,
        refusal: Refusal | None = None,
    ) -> list[Event]:
        """Take a placeOrder: a new order, or a change of the client's live one with that id.

        `refusal` forces the rejection of a new order. Nothing fills here: see `match`.
        """
        if instrument is None:
            text = "No security definition has been found for the request"
            return [Problem(client_id, order_id, 200, text)]
        existing = self.order_of(client_id, order_id)
        found = self._refuse_id(client_id, order_id, existing)
        found = found or refuse_ticket(ticket, instrument, tuple(self.accounts), venue.now())
        if found and (existing or not found.inactive):
            return [Problem(client_id, order_id, found.code, found.text)]
        draft = self._draft(client_id, order_id, instrument, ticket, venue)
        if ticket.what_if:
            return self._preview(draft, venue)
        self._use_order_id(client_id, order_id)
        if not ticket.transmit:
            self._untransmitted.add((client_id, order_id))
            return []
        self._untransmitted.discard((client_id, order_id))
        if existing:
            return self._modify(existing, draft, venue)
        return self._accept(draft, found or refusal, venue)

    def _refuse_id(self, client_id: int, order_id: int, existing: Order | None) -> Refusal | None:
        if existing and existing.status is Status.FILLED:
            return Refusal(104, "Can't modify a filled order")
        used = order_id < self.next_order_id(client_id)
        untransmitted = (client_id, order_id) in self._untransmitted
        if (used and not existing and not untransmitted) or (existing and not existing.live):
            return Refusal(103, "Duplicate order id")
        return None

    def _draft(
        self,
        client_id: int,
        order_id: int,
        instrument: Instrument,
        ticket: OrderTicket,
        venue: Venue,
    ) -> Order:
        market = ticket.order_type == "MKT"
        return Order(
            perm_id=self._next_perm_id,
            client_id=client_id,
            order_id=order_id,
            account=ticket.account or next(iter(self.accounts)),
            con_id=instrument.con_id,
            symbol=instrument.symbol,
            action=Action(ticket.action),
            quantity=ticket.quantity,
            order_type=ticket.order_type,
            limit_price=None if market else ticket.limit_price,
            tif=ticket.tif or "DAY",
            good_till=good_till(ticket, venue),
            good_till_text=ticket.good_till,
            order_ref=ticket.order_ref,
            outside_rth=ticket.outside_rth,
            hidden=ticket.hidden,
            status=Status.PRE_SUBMITTED if market else Status.SUBMITTED,
            accepted_at=venue.now(),
        )

    def _preview(self, draft: Order, venue: Venue) -> list[Event]:
        account, quote = self.accounts[draft.account], venue.quote_of(draft.con_id)
        price = draft.limit_price or (quote.ask if quote else ZERO)
        stocks = account.market_value(lambda con_id: _last(venue.quote_of(con_id)))
        value = draft.quantity * price
        preview = Preview(
            init_margin_before=stocks,
            init_margin_change=draft.action.sign * value,
            equity_before=account.cash + stocks,
            commission=commission_usd(draft.quantity, value),
        )
        return [WhatIf(replace(draft, perm_id=0, status=Status.PRE_SUBMITTED), preview)]

    def _accept(self, draft: Order, refusal: Refusal | None, venue: Venue) -> list[Event]:
        refusal = refusal or self._short_of(draft, venue)
        if refusal is None:
            return [OrderUpdate(self._store(draft), accepted=True)]
        order = self._finish(draft, Status.INACTIVE, "Rejected by System:", venue.now())
        problem = Problem(
            draft.client_id, draft.order_id, refusal.code, refusal.text, order.perm_id
        )
        return [problem, OrderUpdate(order, accepted=True)]

    def _short_of(self, order: Order, venue: Venue) -> Refusal | None:
        return short_of(order, self.accounts[order.account], self.live_orders(), venue.quote_of)

    def _modify(self, order: Order, draft: Order, venue: Venue) -> list[Event]:
        same = ("con_id", "action", "account")
        changed = replace(
            order,
            quantity=draft.quantity,
            order_type=draft.order_type,
            limit_price=draft.limit_price,
            tif=draft.tif,
            good_till=draft.good_till,
            good_till_text=draft.good_till_text,
            order_ref=draft.order_ref,
        )
        refusal = None
        if any(getattr(order, name) != getattr(draft, name) for name in same):
            refusal = Refusal(105, "Order being modified does not match original order")
        elif changed.remaining <= 0:
            refusal = Refusal(105, f"Order quantity must stay above the {order.filled} filled")
        refusal = refusal or self._short_of(changed, venue)
        if refusal:
            return [
                Problem(order.client_id, order.order_id, refusal.code, refusal.text, order.perm_id)
            ]
        return [OrderUpdate(self._store(changed))]

    # ------------------------------------------------------------------ ending

    def cancel(self, client_id: int, order_id: int, now: datetime) -> list[Event]:
        """Take a cancelOrder for one of the client's own orders."""
        order = self.order_of(client_id, order_id)
        needs = f"OrderId {order_id} that needs to be cancelled"
        if order is None and (client_id, order_id) in self._untransmitted:
            self._untransmitted.discard((client_id, order_id))
            return [Problem(client_id, order_id, 202, "Order Canceled - reason:")]
        if order is None:
            return [Problem(client_id, order_id, 10147, f"{needs} is not found.")]
        if not order.live:
            text = f"{needs} cannot be cancelled, state: {order.status}."
            return [Problem(client_id, order_id, 10148, text, order.perm_id)]
        return self._cancelled(order, "Cancelled by Trader", now)

    def cancel_all(self, now: datetime) -> list[Event]:
        """Take a reqGlobalCancel: every live order of every client ends."""
        events: list[Event] = []
        for order in self.live_orders():
            events += self._cancelled(order, "Cancelled by Trader", now)
        return events

    def expire(self, now: datetime) -> list[Event]:
        """End the orders whose good-till time has come."""
        events: list[Event] = []
        for order in self.live_orders():
            if order.good_till is not None and order.good_till <= now:
                events += self._cancelled(order, "Cancelled by System:", now)
        return events

    def _cancelled(self, order: Order, why: str, now: datetime) -> list[Event]:
        done = self._finish(order, Status.CANCELLED, why, now)
        text = "Order Canceled - reason:"
        return [
            OrderUpdate(done),
            Problem(done.client_id, done.order_id, 202, text, done.perm_id),
        ]

    def _finish(self, order: Order, status: Status, text: str, now: datetime) -> Order:
        return self._store(replace(order, status=status, completed_at=now, completed_text=text))

    # ------------------------------------------------------------------ filling

    def match(self, venue: Venue, slice_of: SliceOf = unsliced) -> list[Event]:
        """Fill what the market can fill now, oldest order first, no deeper than the shown size."""
        events: list[Event] = []
        now = venue.now()
        for order in self.live_orders():
            quote = venue.quote_of(order.con_id)
            price = marketable_price(order, quote) if quote else None
            while quote is not None and price is not None:
                shares = self._shares_now(self.orders[order.perm_id], quote, now, slice_of)
                if shares <= 0:
                    break
                events += self._fill(self.orders[order.perm_id], shares, price, now)
                self._depth.take(order, quote, shares)
            events += self._end_immediate(self.orders[order.perm_id], now)
        return events

    def _shares_now(self, order: Order, quote: Quote, now: datetime, slice_of: SliceOf) -> Decimal:
        """Return how much may fill at once; 0 ends the filling for now."""
        if not order.live:
            return ZERO
        free = self._depth.free(order, quote)
        if order.tif == "FOK":
            return order.remaining if free >= order.remaining else ZERO
        limit = slice_of(order, now)
        return min(order.remaining, free, free if limit is None else limit)

    def _end_immediate(self, order: Order, now: datetime) -> list[Event]:
        """End what is left of IOC and FOK orders; paper accounts show a failed FOK as Inactive."""
        if not order.live or order.tif not in {"IOC", "FOK"}:
            return []
        text = "Cancelled by System:"
        if order.tif == "FOK":
            return [OrderUpdate(self._finish(order, Status.INACTIVE, text, now))]
        pending = OrderUpdate(replace(order, status=Status.PENDING_CANCEL))
        return [pending, OrderUpdate(self._finish(order, Status.CANCELLED, text, now))]

    def _fill(self, order: Order, shares: Decimal, price: Decimal, now: datetime) -> list[Event]:
        filled = order.filled + shares
        value = order.filled * order.avg_fill_price + shares * price
        commission = max(ZERO, commission_usd(filled, value) - order.commission_usd)
        done = filled == order.quantity
        updated = replace(
            order,
            status=Status.FILLED if done else order.status,
            filled=filled,
            avg_fill_price=value / filled,
            last_fill_price=price,
            last_fill_at=now,
            fills=order.fills + 1,
            completed_at=now if done else None,
            completed_text=f"Filled Size: {filled:f}" if done else "",
        )
        execution = self._execution(updated, shares, price, commission, now)
        self.executions.append(execution)
        self._changes.append(execution)
        self.accounts[order.account].book(execution)
        charged = replace(updated, commission_usd=order.commission_usd + commission)
        return [
            Filled(execution),
            OrderUpdate(updated),
            OrderUpdate(self._store(charged), commissioned=True),
            Commissioned(execution),
            AccountChange(order.account, order.con_id),
        ]

    def _execution(
        self, order: Order, shares: Decimal, price: Decimal, commission: Decimal, now: datetime
    ) -> Execution:
        account = self.accounts[order.account]
        return Execution(
            exec_id=f"{EXECUTION_PREFIX:08x}.{order.perm_id:08x}.{order.fills:02d}.01",
            perm_id=order.perm_id,
            client_id=order.client_id,
            order_id=order.order_id,
            order_ref=order.order_ref,
            account=order.account,
            con_id=order.con_id,
            symbol=order.symbol,
            action=order.action,
            shares=shares,
            price=price,
            time=now,
            commission=commission,
            realized_pnl=account.realized_by(order.con_id, order.action, shares, price, commission),
            cum_quantity=order.filled,
            avg_price=order.avg_fill_price,
            exchange=self.instruments[order.con_id].primary_exchange,
        )


def _last(quote: Quote | None) -> Decimal:
    return quote.last if quote else ZERO
