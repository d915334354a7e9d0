"""The simulated brokerage: requests and market in, events out.

Pure: no clock (`now` is an argument), no sockets, no files. What changed and must survive a
crash is handed out by `take_changes`; a broker that is given those changes again is the same.
The work is done elsewhere: `entry` takes and changes orders, `matching` lets them meet the
market, `groups` ends them and what is bound to them, `books` keeps them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from ibloop.sim.brokerage import entry, groups, matching
from ibloop.sim.brokerage.account import open_account
from ibloop.sim.brokerage.books import Books
from ibloop.sim.brokerage.checks import PRICE_BAND, Refusal
from ibloop.sim.brokerage.corrections import effective
from ibloop.sim.brokerage.events import Change, Event, OrderUpdate, Problem
from ibloop.sim.brokerage.matching import SliceOf, unsliced
from ibloop.sim.market.venue import Venue
from ibloop.sim.model import AccountSpec, Instrument, Order, OrderTicket, Status


class Broker(Books):
    """Orders, executions and accounts of one simulated login."""

    def __init__(
        self,
        instruments: Mapping[int, Instrument],
        accounts: Mapping[str, Decimal | AccountSpec],
        *,
        first_perm_id: int,
        settled_only: bool = False,
        price_band: Decimal = PRICE_BAND,
    ) -> None:
        """Open the accounts, an amount meaning a cash account; permIds count from the given one.

        With `settled_only` cash accounts may not spend the proceeds of sales before they settle.
        `price_band` is how far, as a fraction, a limit may go through the market.
        """
        opened = {
            name: open_account(name, given, settled_only=settled_only)
            for name, given in accounts.items()
        }
        super().__init__(instruments, opened, first_perm_id=first_perm_id, price_band=price_band)

    # ------------------------------------------------------------------ memory

    def restore(self, changes: Iterable[Change]) -> None:
        """Take up a former broker's changes, oldest first, and fold the accounts anew."""
        for change in changes:
            if isinstance(change, Order):
                self.keep(change)
            else:
                self.executions.append(change)
        for account in self.accounts.values():
            account.reset()
        in_force = effective(self.executions)
        self.executions = [self.accounts[each.account].take(each) for each in in_force]

    def revise(self, changes: Sequence[Change]) -> None:
        """Take corrected executions and their orders, as `corrections.correct` makes them."""
        self._changes += changes
        self.restore(changes)

    # ------------------------------------------------------------------ requests

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
        events = matching.turn(self, venue)
        return events + entry.place(
            self, client_id, order_id, instrument, ticket, venue=venue, refusal=refusal
        )

    def cancel(
        self, client_id: int, order_id: int, now: datetime, *, foreign: bool = False
    ) -> list[Event]:
        """Take a cancelOrder for one of the client's own orders.

        With `foreign` an order id the client has not used means another client's live order.
        """
        if (client_id, order_id) in self.untransmitted:
            return self._drop_untransmitted(client_id, order_id, now)
        order, canceller = self.order_of(client_id, order_id), None
        if order is None and foreign:
            others = (each for each in self.live_orders() if each.order_id == order_id)
            order, canceller = next(others, None), client_id
        needs = f"OrderId {order_id} that needs to be cancelled"
        if order is None:
            return [Problem(client_id, order_id, 10147, f"{needs} is not found.")]
        if not order.live:
            text = f"{needs} cannot be cancelled, state: {order.status}."
            return [Problem(client_id, order_id, 10148, text, order.perm_id)]
        return groups.cancel(self, order, groups.BY_TRADER, now, canceller)

    def cancel_all(self, now: datetime) -> list[Event]:
        """Take a reqGlobalCancel: every live order of every client ends."""
        events: list[Event] = []
        for client_id, order_id in tuple(self.untransmitted):
            events += self._drop_untransmitted(client_id, order_id, now)
        for order in self.live_orders():
            # The child of an earlier one has ended with it.
            if self.orders[order.perm_id].live:
                events += groups.cancel(self, order, groups.BY_TRADER, now)
        return events

    def _drop_untransmitted(self, client_id: int, order_id: int, now: datetime) -> list[Event]:
        """Forget an order that never left the gateway, and what is attached to it."""
        held = self.untransmitted.pop((client_id, order_id), None)
        if held is None:
            return []
        unsent = entry.unsent(self, client_id, order_id, *held, now)
        update = OrderUpdate(replace(unsent, status=Status.API_CANCELLED))
        events: list[Event] = [update, Problem(client_id, order_id, 202, groups.CANCELED)]
        for (client, child_id), (_, ticket) in tuple(self.untransmitted.items()):
            if client == client_id and ticket.parent_id == order_id:
                events += self._drop_untransmitted(client_id, child_id, now)
        return events

    # ------------------------------------------------------------------ time

    def expire(self, now: datetime) -> list[Event]:
        """End the orders whose good-till time has come."""
        events: list[Event] = []
        for order in self.overdue(now):
            events += groups.cancel(self, order, groups.BY_SYSTEM, now)
        return events

    def match(self, venue: Venue, slice_of: SliceOf = unsliced) -> list[Event]:
        """Fill what the market can fill now, no deeper than the shown size."""
        return matching.match(self, venue, slice_of)
