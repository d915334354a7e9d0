"""Faults, and plain facts of life, on the broker's side: what no client of the API did."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from ibloop.sim.brokerage import interventions
from ibloop.sim.brokerage.events import Event, Filled, OrderUpdate, Problem
from ibloop.sim.brokerage.interventions import Entry
from ibloop.sim.faults.base import (
    AT_LEAST_ONE,
    LARGEST,
    POSITIVE,
    SIGNED,
    Arrival,
    Asks,
    Delivery,
    Fault,
    Range,
    Reaction,
    Stage,
    parameter,
)
from ibloop.sim.faults.codes import text_of
from ibloop.sim.faults.registry import register
from ibloop.sim.faults.striking import OrderFault
from ibloop.sim.model import ZERO, Action, Instrument, Order, SimError, Status

CANCELED = "Order Canceled - reason:"


def exact(number: float) -> Decimal:
    """Return a parameter's number as the Decimal it is written as."""
    return Decimal(repr(number))


def instrument_of(stage: Stage, symbol: str) -> Instrument:
    """Return an instrument by symbol. Raises: SimError for an unknown one."""
    found = stage.world.samples.by_symbol(symbol)
    if found is None:
        raise SimError(f"expected a symbol of the universe, was {symbol!r}")
    return found


def account_of(stage: Stage, account: str | None) -> str:
    """Return an account's id, the first one's for None. Raises: SimError for an unknown one."""
    known = stage.world.broker.accounts
    if account is not None and account not in known:
        raise SimError(f"expected one of {', '.join(known)}, was {account!r}")
    return account or next(iter(known))


@dataclass(kw_only=True, slots=True)
class External(Fault):
    """Somebody trades in the account past the API, now and then."""

    symbol: str = parameter("AAPL", "which symbol")
    account: str | None = parameter(None, "in which account, none for the first")
    action: str = parameter("BUY", "side", choices=("BUY", "SELL"))
    shares: int = parameter(10, "how many", within=AT_LEAST_ONE)
    price: float = parameter(0.0, "limit or fill price, 0 for the market's")
    times: int = parameter(1, "how often, 0 until cleared")
    every_s: float = parameter(10.0, "seconds between two")

    def begin(self, stage: Stage) -> None:
        """Trade, and again later. Raises: SimError for what does not exist or has no price."""
        self.act(stage)
        self._acted(stage)

    def _again(self, stage: Stage) -> None:
        if self.over:
            return
        try:
            self.act(stage)
        except SimError:
            # The symbol is gone since, or its price: there is nothing left to trade.
            stage.end(self)
        else:
            self._acted(stage)

    def _acted(self, stage: Stage) -> None:
        self.struck += 1
        if self.times and self.struck >= self.times:
            self.over = True
        else:
            stage.later(max(self.every_s, 0.001), lambda: self._again(stage))

    def finish(self, stage: Stage) -> None:
        """Stop."""
        del stage
        self.over = True

    def act(self, stage: Stage) -> None:
        """Trade once."""

    def entry(self, stage: Stage) -> Entry:
        """Return the order that is entered."""
        return Entry(
            account=account_of(stage, self.account),
            instrument=instrument_of(stage, self.symbol),
            action=Action(self.action),
            quantity=Decimal(self.shares),
            limit_price=exact(self.price) if self.price else None,
        )


@register
@dataclass(kw_only=True, slots=True)
class ExternalOrder(External):
    """An order is entered by hand: client id 0, order id 0, no orderRef; it works and fills.

    Client 0 and the master client see it; positions and cash change for all.
    """

    bound: bool = parameter(False, "with a negative order id, as client 0 binds it")

    def act(self, stage: Stage) -> None:
        """Enter it, and let the market do its part."""
        order = interventions.enter(
            stage.world.broker, self.entry(stage), stage.world, bound=self.bound
        )
        stage.tell([OrderUpdate(order, accepted=True)])
        stage.match()


@register
@dataclass(kw_only=True, slots=True)
class ExternalFill(External):
    """Shares are bought or sold past the API: an execution and a position, and no order to see."""

    def act(self, stage: Stage) -> None:
        """Fill at once, at the given price or the last one."""
        world = stage.world
        entry = self.entry(stage)
        quote = world.quote_of(entry.instrument.con_id)
        price = entry.limit_price or (quote.last if quote else ZERO)
        if price <= 0:
            raise SimError(f"{self.symbol} has no price now")
        order = interventions.enter(world.broker, entry, world)
        events = interventions.fill(world.broker, order, world, shares=order.quantity, price=price)
        stage.tell(interventions.only_fills(events))


@register
@dataclass(kw_only=True, slots=True)
class Liquidation(Fault):
    """The broker closes positions by market orders of its own: execDetails with liquidation 1."""

    account: str | None = parameter(None, "in which account, none for the first")
    symbol: str | None = parameter(None, "only this symbol")
    fraction: float = parameter(1.0, "how much of each position", within=Range(most=1, above=True))

    def begin(self, stage: Stage) -> None:
        """Sell or cover, and let the market do its part."""
        self.over = True
        con_id = instrument_of(stage, self.symbol).con_id if self.symbol else None
        placed = interventions.liquidate(
            stage.world.broker,
            account_of(stage, self.account),
            stage.world,
            fraction=exact(self.fraction),
            con_id=con_id,
        )
        self.struck = len(placed)
        stage.tell([OrderUpdate(order, accepted=True) for order in placed])
        stage.match()


@register
@dataclass(kw_only=True, slots=True)
class ExecutionCorrected(OrderFault):
    """Executions are corrected later: the same id ending .02, at another price or with less.

    An order that is no longer complete shows Cancelled, or works on if it still did.
    """

    delay_s: float = parameter(1.0, "seconds after the execution")
    price_by: float = parameter(0.01, "how much the price changes, USD", within=SIGNED)
    shares_by: int = parameter(0, "how many shares fewer, below 0", within=Range(-LARGEST, 0))
    bust: bool = parameter(False, "corrected to no shares")

    def happened(self, event: Event, stage: Stage) -> None:
        """Plan the correction of a new execution."""
        if not isinstance(event, Filled) or not event.execution.exec_id.endswith(".01"):
            return
        execution = event.execution
        if not self.strikes_order(execution.client_id, execution.symbol):
            return
        self.over = self.spent
        stage.later(self.delay_s, lambda: self._correct(stage, execution.exec_id))

    def _correct(self, stage: Stage, exec_id: str) -> None:
        events = interventions.correct(
            stage.world.broker,
            exec_id,
            shares_by=Decimal(self.shares_by),
            price_by=exact(self.price_by),
            bust=self.bust,
        )
        stage.tell(events)


@register
@dataclass(kw_only=True, slots=True)
class SymbolChange(Fault):
    """An instrument gets another symbol; contract id, prices and positions go on."""

    symbol: str = parameter("AAPL", "the old symbol")
    to: str = parameter("NEWX", "the new symbol")

    def begin(self, stage: Stage) -> None:
        """Rename it, live orders too."""
        self.over = True
        self.struck = 1
        con_id = instrument_of(stage, self.symbol).con_id
        stage.world.rename(con_id, self.to)
        stage.tell(interventions.rename(stage.world.broker, con_id, self.to))


@register
@dataclass(kw_only=True, slots=True)
class StockSplit(Fault):
    """Every share becomes several: positions times the ratio, prices by it; its orders end.

    A fraction of a share that is left is paid out at the last price.
    """

    symbol: str = parameter("AAPL", "which symbol")
    ratio: float = parameter(2.0, "shares for one, below 1 for a reverse split", within=POSITIVE)

    def begin(self, stage: Stage) -> None:
        """Split prices, orders and positions."""
        self.over = True
        self.struck = 1
        con_id, ratio, world = (
            instrument_of(stage, self.symbol).con_id,
            exact(self.ratio),
            stage.world,
        )
        world.split(con_id, ratio)
        stage.tell(interventions.split(world.broker, con_id, ratio, world))


@register
@dataclass(kw_only=True, slots=True)
class FillAfterCancel(OrderFault):
    """A cancel is confirmed by Cancelled and 202, and then the order fills after all."""

    delay_s: float = parameter(1.0, "seconds between the confirmation and the fill")
    shares: int = parameter(0, "how many shares fill, the rest is cancelled; 0 for all")

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Confirm a cancel that never reached the exchange."""
        if arrival.message_id != Asks.CANCEL_ORDER:
            return None
        world = arrival.stage.world
        order = world.broker.order_of(arrival.client_id, arrival.req_id)
        if order is None or not order.live:
            return None
        if not self.strikes_order(arrival.client_id, order.symbol):
            return None
        self.over = self.spent
        shown = replace(order, status=Status.CANCELLED, completed_at=world.now(), why_held="")
        arrival.stage.tell(
            [
                OrderUpdate(shown),
                Problem(order.client_id, order.order_id, 202, CANCELED, order.perm_id),
            ]
        )
        arrival.stage.later(self.delay_s, lambda: self._fill(arrival.stage, order.perm_id))
        return Reaction(swallow=True)

    def _fill(self, stage: Stage, perm_id: int) -> None:
        world = stage.world
        order = world.broker.orders[perm_id]
        price = interventions.market_price(order, world)
        if not order.live or price is None:
            return
        shares = Decimal(self.shares) if self.shares else order.remaining
        stage.tell(interventions.fill(world.broker, order, world, shares=shares, price=price))
        if world.broker.orders[perm_id].live:
            stage.tell(world.broker.cancel(order.client_id, order.order_id, world.now()))


@register
@dataclass(kw_only=True, slots=True)
class InactiveRevives(OrderFault):
    """A new order is Inactive at first, held to locate shares, and revives: Submitted."""

    delay_s: float = parameter(2.0, "seconds until it revives")
    code: int = parameter(404, "error that comes with it, 0 for none")
    waiting: set[tuple[int, int]] = field(
        default_factory=set, init=False, repr=False, compare=False
    )
    held: set[int] = field(default_factory=set, init=False, repr=False, compare=False)

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Choose an order."""
        if arrival.fresh and self.strikes_order(arrival.client_id, arrival.symbol):
            self.waiting.add((arrival.client_id, arrival.req_id))
        return None

    def slice(self, order: Order, now: datetime) -> Decimal | None:
        """Let it not fill while it is held."""
        del now
        chosen = (order.client_id, order.order_id) in self.waiting or order.perm_id in self.held
        return ZERO if chosen else None

    def deliver(self, delivery: Delivery) -> Iterable[Delivery] | None:
        """Show its first status as Inactive."""
        event = delivery.event
        if not isinstance(event, OrderUpdate) or not event.accepted or not event.order.live:
            return None
        order = event.order
        if (order.client_id, order.order_id) not in self.waiting:
            return None
        shown = replace(order, status=Status.INACTIVE, why_held="locate")
        first = replace(delivery, event=replace(event, order=shown))
        if not self.code or delivery.client_id != order.client_id:
            return (first,)
        text = text_of(self.code, order.order_id)
        problem = Problem(order.client_id, order.order_id, self.code, text, order.perm_id)
        return (replace(delivery, event=problem), first)

    def happened(self, event: Event, stage: Stage) -> None:
        """Hold it, and revive it later."""
        if not isinstance(event, OrderUpdate) or not event.accepted:
            return
        key = (event.order.client_id, event.order.order_id)
        if key not in self.waiting:
            return
        self.waiting.discard(key)
        if event.order.live:
            self.held.add(event.perm_id)
            interventions.hold(stage.world.broker, stage.world.broker.orders[event.perm_id])
            stage.tell(())
            stage.later(self.delay_s, lambda: self._revive(stage, event.perm_id))

    def _revive(self, stage: Stage, perm_id: int) -> None:
        if perm_id not in self.held:
            return
        self.held.discard(perm_id)
        self.over = self.spent and not self.held and not self.waiting
        stage.tell(interventions.revive(stage.world.broker, perm_id, stage.world))
        stage.match()

    def finish(self, stage: Stage) -> None:
        """Revive what is held."""
        for perm_id in tuple(self.held):
            self._revive(stage, perm_id)


@register
@dataclass(kw_only=True, slots=True)
class PermIdChanged(OrderFault):
    """A modified order comes back under another permId; the former one ends, or lives on too.

    The change is confirmed under the former permId, then order id and status come with the new
    one. Of a former that ends nothing is said: it is no open order any more, and Cancelled in
    the answer to reqCompletedOrders. One that lives has the same order id; a cancel ends the new.
    """

    former: str = parameter("ends", "what becomes of the former", choices=("ends", "lives"))
    modified: set[int] = field(default_factory=set, init=False, repr=False, compare=False)

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Choose an order that is being modified and has no fills."""
        if arrival.message_id != Asks.PLACE_ORDER or arrival.fresh or self.spent:
            return None
        order = arrival.stage.world.broker.order_of(arrival.client_id, arrival.req_id)
        if order is None or not order.live or order.filled:
            return None
        if self.strikes_order(arrival.client_id, order.symbol):
            self.modified.add(order.perm_id)
        return None

    def happened(self, event: Event, stage: Stage) -> None:
        """Renumber it as soon as it is modified."""
        if not isinstance(event, OrderUpdate) or event.perm_id not in self.modified:
            return
        self.modified.discard(event.perm_id)
        self.over = self.spent and not self.modified
        broker = stage.world.broker
        order = broker.orders[event.perm_id]
        if order.live and not order.filled:
            duplicate = self.former == "lives"
            stage.tell(interventions.renumber(broker, order, stage.world, duplicate=duplicate))
