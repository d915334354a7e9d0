"""The broker's records: orders, executions, ids, and the indexes that find them fast."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from heapq import heappop, heappush

from ibloop.sim.brokerage.account import Account
from ibloop.sim.brokerage.checks import Refusal
from ibloop.sim.brokerage.depth import Depth
from ibloop.sim.brokerage.events import Change
from ibloop.sim.brokerage.floor import Floor
from ibloop.sim.brokerage.funds import short_of
from ibloop.sim.brokerage.pledges import Pledges
from ibloop.sim.market.venue import Phase, Venue
from ibloop.sim.model import Execution, Instrument, Order, OrderTicket, Status

# First group of every execution id; the second is the order's permId, unique by itself.
EXECUTION_PREFIX = 0x0000E0D5

# One-cancels-all type 1: any fill cancels the others.
CANCEL_ALL = 1
Held = tuple[Instrument, OrderTicket]


class Books:
    """Everything on record. `orders` are by permId, oldest first; whatever changes is stored.

    `completed` are permIds in the order in which orders ended; `untransmitted` are orders placed
    with transmit=0, by client and order id: they are the gateway's, and lost with it. `manual` are
    live orders without an order id, which did not come through the API.
    """

    def __init__(
        self,
        instruments: Mapping[int, Instrument],
        accounts: Mapping[str, Account],
        *,
        first_perm_id: int,
        price_band: Decimal,
    ) -> None:
        """Start without orders; permIds count from the given one."""
        self.price_band = price_band
        self.instruments = instruments
        self.accounts = dict(accounts)
        self.orders: dict[int, Order] = {}
        self.executions: list[Execution] = []
        self.completed: list[int] = []
        self.untransmitted: dict[tuple[int, int], Held] = {}
        self.manual: dict[int, None] = {}
        self.floor = Floor()
        self.pledges = Pledges()
        self.depth = Depth()
        self.next_perm_id = first_perm_id
        self._perm_ids: dict[tuple[int, int], int] = {}
        self._next_order_id: dict[int, int] = {}
        self._live: dict[int, None] = {}
        self._groups: dict[tuple[str, str], dict[int, None]] = {}
        self._groups_done: dict[tuple[str, str], datetime] = {}
        self._children: dict[int, list[int]] = {}
        self._deadlines: list[tuple[datetime, int]] = []
        self._changes: list[Change] = []

    # ------------------------------------------------------------------ memory

    def take_changes(self) -> list[Change]:
        """Return what changed since the last call; store it before any client hears of it."""
        changes, self._changes = self._changes, []
        return changes

    def store(self, order: Order) -> Order:
        """Keep an order's new state, to be written down."""
        self.keep(order)
        self._changes.append(order)
        return order

    def record(self, execution: Execution) -> None:
        """Keep an execution, to be written down."""
        self.executions.append(execution)
        self._changes.append(execution)

    def keep(self, order: Order) -> None:
        """Keep an order's state in every index."""
        former, perm_id = self.orders.get(order.perm_id), order.perm_id
        self.orders[perm_id] = order
        if former is None:
            self.next_perm_id = max(self.next_perm_id, perm_id + 1)
            if order.parent_perm_id:
                self._children.setdefault(order.parent_perm_id, []).append(perm_id)
        if order.order_id:
            self._perm_ids[order.client_id, order.order_id] = perm_id
            self.use_order_id(order.client_id, order.order_id)
        if order.oca_group and order.last_fill_at and self._ends_group(order):
            self._groups_done[order.account, order.oca_group] = order.last_fill_at
        if order.live:
            self._keep_live(order, former)
        elif former is None or former.live:
            self._keep_done(order)

    def _ends_group(self, order: Order) -> bool:
        """Tell whether the fills of a member leave nothing for its one-cancels-all group."""
        return order.filled > 0 if order.oca_type == CANCEL_ALL else order.status is Status.FILLED

    def _keep_live(self, order: Order, former: Order | None) -> None:
        self._live[order.perm_id] = None
        if order.order_id:
            self.manual.pop(order.perm_id, None)
        else:
            self.manual[order.perm_id] = None
        if order.oca_group:
            group = self._groups.setdefault((order.account, order.oca_group), {})
            group[order.perm_id] = None
        if order.good_till and (former is None or former.good_till != order.good_till):
            heappush(self._deadlines, (order.good_till, order.perm_id))
        child = self.is_waiting_child(order)
        self.floor.seat(order, child=child)
        if not child:
            self.pledges.put(order)

    def _keep_done(self, order: Order) -> None:
        self._live.pop(order.perm_id, None)
        self.manual.pop(order.perm_id, None)
        self._groups.get((order.account, order.oca_group), {}).pop(order.perm_id, None)
        self.floor.leave(order)
        self.pledges.drop(order.perm_id)
        self.completed.append(order.perm_id)

    # ------------------------------------------------------------------ ids

    def next_order_id(self, client_id: int) -> int:
        """Return the lowest order id this client may use (IB counts per client id)."""
        return self._next_order_id.get(client_id, 1)

    def use_order_id(self, client_id: int, order_id: int) -> None:
        """Note that a client has used an order id."""
        self._next_order_id[client_id] = max(self.next_order_id(client_id), order_id + 1)

    def roll_back_order_ids(self, client_id: int, next_order_id: int) -> None:
        """Let a client's next order id be a lower one, as after a restart that lost orders."""
        self._next_order_id[client_id] = next_order_id

    # ------------------------------------------------------------------ finding

    def live_orders(self) -> list[Order]:
        """Return the orders that can still fill, oldest first."""
        return [self.orders[perm_id] for perm_id in self._live]

    def held(self) -> list[int]:
        """Return the instruments any account holds or owes, in a fixed order."""
        accounts = self.accounts.values()
        return sorted(
            {c for each in accounts for c, held in each.positions.items() if held.quantity}
        )

    def order_of(self, client_id: int, order_id: int) -> Order | None:
        """Return a client's order by its own id."""
        perm_id = self._perm_ids.get((client_id, order_id))
        return None if perm_id is None else self.orders[perm_id]

    def is_waiting_child(self, order: Order) -> bool:
        """Tell whether an order waits for its parent to fill."""
        parent = self.orders.get(order.parent_perm_id)
        # A parent that ends unfilled takes its children along.
        return parent is not None and parent.live

    def children_of(self, order: Order) -> list[Order]:
        """Return the live orders attached to an order."""
        children = (self.orders[perm_id] for perm_id in self._children.get(order.perm_id, ()))
        return [child for child in children if child.live]

    def siblings_of(self, order: Order) -> list[Order]:
        """Return the other live orders of an order's one-cancels-all group."""
        if not order.oca_group:
            return []
        group = self._groups.get((order.account, order.oca_group), {})
        return [self.orders[perm_id] for perm_id in group if perm_id != order.perm_id]

    def group_done(self, order: Order) -> datetime | None:
        """Return when an order's one-cancels-all group had its fill, None while it has not."""
        return self._groups_done.get((order.account, order.oca_group))

    def short_of(self, order: Order, venue: Venue) -> Refusal | None:
        """Return why the order's account has not the means for it; what waits needs none yet."""
        account = self.accounts[order.account]
        if self.is_waiting_child(order) or self.pledges.plainly_allow(order, account, venue):
            return None
        return short_of(order, account, self.competing(order), venue)

    def competing(self, order: Order) -> list[Order]:
        """Return the live orders that need the account's means beside this one.

        Not those that wait for a parent, nor those of the same group; of another group only the
        largest for each instrument and side, as no more than that can fill.
        """
        found: list[Order] = []
        largest: dict[tuple[str, int, str], Order] = {}
        for perm_id in self._live:
            other = self.orders[perm_id]
            if other.account != order.account or perm_id == order.perm_id:
                continue
            if other.parent_perm_id and self.is_waiting_child(other):
                continue
            if not other.oca_group:
                found.append(other)
            elif other.oca_group != order.oca_group:
                key = (other.oca_group, other.con_id, other.action)
                if key not in largest or largest[key].remaining < other.remaining:
                    largest[key] = other
        return [*found, *largest.values()]

    def overdue(self, now: datetime) -> Iterator[Order]:
        """Yield the live orders whose good-till time has come."""
        while self._deadlines and self._deadlines[0][0] <= now:
            good_till, perm_id = heappop(self._deadlines)
            order = self.orders[perm_id]
            if order.live and order.good_till == good_till:
                yield order

    # ------------------------------------------------------------------ manual orders

    def bind(self, order: Order) -> Order:
        """Give an order that was not entered through the API a negative order id of client 0."""
        lowest = min((order_id for client, order_id in self._perm_ids if client == 0), default=0)
        return self.store(replace(order, client_id=0, order_id=min(lowest, 0) - 1))

    # ------------------------------------------------------------------ floor

    def reseat(self, phase: Phase) -> None:
        """Put every live order where it belongs in this part of the day."""
        self.floor.phase = phase
        for order in self.live_orders():
            self.floor.seat(order, child=self.is_waiting_child(order))
