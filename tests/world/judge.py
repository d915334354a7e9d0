"""The judge of a world: which promises were broken, while orders left and at the end."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from ibloop.adapters.ledger import acceptances, audit, fills, halts, orders, runs
from ibloop.adapters.ledger.acceptances import accepted
from ibloop.core import promises
from ibloop.core.invariant import present
from ibloop.core.lifecycle import OrderState, RunState
from ibloop.core.model import HaltLevel, MarketDataType, Order, Quote
from ibloop.core.sessions import trade_date
from tests.fakes.house import HELD
from tests.fakes.shown import ENDED
from tests.world.exchange import ZONE

if TYPE_CHECKING:
    from tests.world.world import World


AFTER_DEADLINE_S = 5 * 60
"""L1: how long after its deadline a run may still be under way."""
SETTLE_S = 30.0
"""What the end of all faults takes to be noticed: a question in a frozen gateway times out."""
LATE_S = 20.0
"""On top of every bound: a look at the broker, and the ticks of a world that heals."""


class Judge:
    """Holds ledger and truth against the promises."""

    def __init__(self, world: "World") -> None:
        """Watch a world."""
        self.world = world
        self._broken: list[promises.Broken] = []
        self._since_s: dict[tuple[str, ...], float] = {}

    def watch_ends(self) -> None:
        """No order has ended, by the ledger, while it works at the broker (F14)."""
        dead = {OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED}
        for live in self.world.broker.live:
            if live.status not in ENDED and live.order.client_order_id and not self._restored():
                row = orders.find(self.world.eyes, live.order.client_order_id)
                if row is not None and row.order.status in dead:
                    self._break("F14", f"{live.order.client_order_id} is said to have ended")

    def watch_place(self, order: Order) -> None:
        """Ask what must be so at the moment the bytes leave."""
        db, ref = self.world.eyes, order.client_order_id
        row = orders.find(db, ref)
        if row is None or row.order.status != OrderState.SENDING:
            self._break("P2", f"{ref} left without a committed row in SENDING")
            return
        if row.order != order:
            self._break("P2", f"{ref} left as something else than was journalled")
        if sum(1 for placed in self.world.broker.placed if placed.client_order_id == ref) > 1:
            self._break("P1", f"{ref} was sent twice")
        ids = [placed.ib_order_id for placed in self.world.broker.placed]
        if len(ids) != len(set(ids)):
            self._break("P1", f"order id {order.ib_order_id} was used twice")
        run = runs.find(db, order.run_id)
        if run is None or run.status is not RunState.EXECUTING:
            self._break("P6", f"{ref} left while its run was {run and run.status}")
        self._watch_halt(row.order)
        self._watch_price(row.order)
        self._watch_limits(row.order)
        if self.world.broker.room() < 1:
            self._break("PACE", f"{ref} left without room for it")
        if self._is_quiet(present(row.order.sent_at, "time of an order that leaves")):
            self._break("F27", f"{ref} left while the gateway was about to restart")
        if run and run.run_key in self.world.chaos.hostile:
            self._break("F36", f"{ref} left for a hostile builder")
        if run and run.deadline_at and order.good_till > run.deadline_at:
            self._break("P12", f"{ref} outlives its run")
        self._watch_window(row.order)

    def _watch_price(self, order: Order) -> None:
        """The price is of now, means something, and the limit is inside the collar of it."""
        ref, config = order.client_order_id, self.world.config
        quote = self.world.quotes.read([order.symbol]).get(order.symbol)
        oldest_s = config.quotes.quote_age_s_max
        if quote is None or self.world.clock.now().age_s(quote.received) > oldest_s:
            self._break("P11", f"{ref} left on a stale price")
            return
        middle = _middle(quote, config.quotes.spread_fraction_max)
        if middle is None:
            self._break("F29", f"{ref} left on {quote}")
        elif order.limit_price is not None:
            away = (order.limit_price - middle) * order.side.sign
            if away > middle * config.limits.price_collar_fraction:
                self._break("F30", f"{ref} left at {order.limit_price}, the middle is {middle}")

    def _watch_limits(self, order: Order) -> None:
        """No order is larger, and there are no more of them, than the limits allow (P8)."""
        limits, placed = self.world.config.limits, self.world.broker.placed
        price = order.limit_price or self.world.broker.prices[order.symbol]
        sent_at = present(order.sent_at, "time of an order that leaves")
        day = trade_date(sent_at, ZONE)
        sent = [(other, other.sent_at) for other in placed if other.sent_at is not None]
        counts = {
            "run": (
                sum(1 for other, _ in sent if other.run_id == order.run_id),
                limits.orders_per_run_max,
            ),
            "day": (
                sum(1 for _, at in sent if trade_date(at, ZONE) == day),
                limits.orders_per_day_max,
            ),
            "second": (
                sum(1 for _, at in sent if sent_at - timedelta(seconds=1) < at <= sent_at),
                limits.orders_per_second_max,
            ),
        }
        if order.quantity > limits.order_quantity_max:
            self._break("P8", f"{order.client_order_id}: {order.quantity} shares")
        if order.quantity * price > limits.order_value_usd_max:
            self._break("P8", f"{order.client_order_id}: {order.quantity * price} USD")
        for name, (count, most) in counts.items():
            if count > most and not self._restored():
                self._break("P8", f"{order.client_order_id} is number {count} of a {name}")

    def _is_quiet(self, at: datetime) -> bool:
        """Tell whether nothing may leave, by the clock, for the restart of the gateway."""
        gateway = self.world.config.gateway
        if gateway.restart_at is None:
            return False
        hour, minute = map(int, gateway.restart_at.split(":"))
        restart = at.replace(hour=hour, minute=minute, second=0, microsecond=0)
        since = restart - timedelta(minutes=gateway.restart_before_minutes)
        return since <= at < restart + timedelta(minutes=gateway.restart_after_minutes)

    def _watch_halt(self, order: Order) -> None:
        """A halt that was committed before the order was journalled is obeyed; rows tell."""
        rows = audit.of_subject(self.world.eyes, order.client_order_id)
        journalled = max(row.seq for row in rows if row.event == "order.journalled")
        for halt in halts.active(self.world.eyes):
            requested = max(
                row.seq
                for row in audit.of_subject(self.world.eyes, str(halt.halt_id))
                if row.event == "halt.requested"
            )
            if halt.level is not HaltLevel.REDUCE_ONLY and requested < journalled:
                self._break("P7", f"{order.client_order_id} left under a halt")

    def _watch_window(self, order: Order) -> None:
        """The canary travels alone; then at most a window is unacknowledged."""
        rows = [r.order for r in orders.of_run(self.world.ledger.db, order.run_id)]
        attempt = orders.find(self.world.ledger.db, order.client_order_id)
        assert attempt is not None
        mine = [
            r.order
            for r in orders.of_run(self.world.ledger.db, order.run_id, attempt.attempt)
            if r.order.sent_at
        ]
        in_flight = [o for o in mine if o.status == OrderState.SENDING]
        proven = any(o.perm_id or o.filled_quantity for o in mine)
        most = self.world.config.order_window if proven else 1
        if len(in_flight) > most:
            self._break("W", f"{len(in_flight)} of {len(rows)} unacknowledged, allowed {most}")
        unknown = orders.in_states(self.world.ledger.db, {OrderState.UNKNOWN})
        if unknown:
            self._break("P16", f"{order.client_order_id} left while an order was unknown")

    def watch_bounds(self, healed_s: float) -> None:
        """Once the faults have ended all goes on in the time that was promised (L1, L2).

        Nothing here waits for a person: a run that does has ended as blocked, and a fate that
        nobody knows is unknown.
        """
        now_s, now = self.world.broker.now_s(), self.world.clock.now().utc
        if self.world.is_dead or not self.world.desk.ready() or now_s < healed_s + SETTLE_S:
            self._since_s.clear()
            return
        waiting = dict(self._waiting(now))
        self._since_s = {key: self._since_s.get(key, now_s) for key in waiting}
        for key, bound_s in waiting.items():
            if now_s - self._since_s[key] > bound_s + LATE_S:
                self._break(key[0], f"{' '.join(key[1:])} for over {bound_s + LATE_S:.0f} s")

    def _waiting(self, now: datetime) -> Iterator[tuple[tuple[str, ...], float]]:
        """Yield what is under way, and for how many seconds from now on it may be."""
        db = self.world.ledger.db
        for row in orders.in_states(db, {OrderState.SENDING}):
            name = row.order.client_order_id
            yield ("L2", name, "is sending"), self.world.config.execution.ack_timeout_s
        for run in runs.active(db):
            left_s = (run.deadline_at - now).total_seconds() if run.deadline_at else 0.0
            if left_s <= 0 or run.status is not RunState.EXECUTING:
                yield ("L1", run.run_key, str(run.attempt), "is late"), AFTER_DEADLINE_S

    def _restored(self) -> bool:
        return self.world.chaos.restored

    def _break(self, promise: str, detail: str) -> None:
        if promises.Broken(promise, detail) in self._broken:
            return
        self.world.broker._note(f"BROKEN {promise}: {detail}")
        self._broken.append(promises.Broken(promise, detail))

    def verdict(self) -> None:
        """Compare ledger and truth. Raises: AssertionError."""
        found = [*self._broken, *self._final()]
        assert not found, "\n".join(f"{b.promise}: {b.detail}" for b in found)

    def _final(self) -> list[promises.Broken]:
        db, broker = self.world.ledger.db, self.world.broker
        known = [
            promises.Fill(f.exec_id, f.client_order_id, f.symbol, f.signed_quantity)
            for f in fills.everything(db)
        ]
        by_hand = {f.exec_id for f in fills.everything(db) if f.exec_id.startswith("resolved:")}
        truth = [e for e in broker.executions() if self._is_known_to_ledger(e.client_order_id)]
        sent = [row.order for row in orders.all_sent(db)]
        shown = [o for o in broker.orders() if self._is_known_to_ledger(o.client_order_id)]
        found = list(
            promises.check(sent, known, shown, truth, self.world.config.account, accepted(db))
        )
        if not by_hand and not self._accepted():
            start = {symbol: Decimal(quantity) for symbol, quantity in HELD.items()}
            found += promises.position_breaks(start, known, broker._shown_positions())
        for live in broker.live:
            order = live.order
            if order.client_order_id in self.world.person.let_go:
                continue
            if order.client_order_id:
                row = orders.find(db, order.client_order_id)
                if row is not None and row.order.filled_quantity != live.filled:
                    text = f"{live.filled} filled, the ledger says {row.order.filled_quantity}"
                    found.append(promises.Broken("P3", f"{order.client_order_id}: {text}"))
        return [*found, *self._hostile()]

    def _hostile(self) -> Iterator[promises.Broken]:
        """Nothing of what a hostile builder asks for is written down for sending (F36)."""
        for run in self.world.chaos.hostile_runs():
            sent = [r for r in orders.of_run(self.world.ledger.db, run.run_id) if r.order.sent_at]
            if sent or run.status is not RunState.BLOCKED:
                yield promises.Broken("F36", f"{run.run_key} is {run.status}, sent {len(sent)}")

    def _accepted(self) -> bool:
        return acceptances.positions_baseline(self.world.ledger.db) is not None

    def _is_known_to_ledger(self, ref: str) -> bool:
        """Leave out executions of a forgotten day that a person entered by hand or accepted."""
        by_hand = {
            f.client_order_id
            for f in fills.everything(self.world.ledger.db)
            if f.exec_id.startswith("resolved:")
        }
        known = (
            not self._restored() or not ref or orders.find(self.world.ledger.db, ref) is not None
        )
        known = known and ref not in self.world.person.let_go
        return known and ref not in by_hand and not (self._accepted() and not ref)


def _middle(quote: Quote, spread_fraction_max: Decimal) -> Decimal | None:
    """Return the middle of a quote that may price an order, ``None`` of any other."""
    if quote.bid is None or quote.ask is None or quote.halted:
        return None
    middle = (quote.bid + quote.ask) / 2
    spread = quote.ask - quote.bid
    is_live = quote.market_data_type is MarketDataType.LIVE
    return middle if is_live and 0 <= spread <= middle * spread_fraction_max else None
