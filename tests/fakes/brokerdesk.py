"""A broker on a fake venue, driven by short calls, and its events as short words."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from ibloop.sim.brokerage.broker import Broker
from ibloop.sim.brokerage.events import (
    AccountChange,
    Commissioned,
    Event,
    Filled,
    OrderUpdate,
    Problem,
    WhatIf,
)
from ibloop.sim.market.history import Samples
from ibloop.sim.model import AccountKind, AccountSpec, Order, OrderTicket, Quote
from tests.fakes.venue import FakeVenue

AAPL = 265598
FILL = ["Filled", "Filled", "commission 1.00", "account"]


class BrokerDesk(FakeVenue):
    """One account DU1, client 1 unless told otherwise; the market moves when the test says so."""

    def __init__(
        self,
        samples: Samples,
        quote: Quote | None,
        cash: int = 100_000,
        kind: AccountKind = AccountKind.CASH,
    ) -> None:
        """Open account DU1 with cash."""
        super().__init__(quote=quote)
        self.samples = samples
        specs = {"DU1": AccountSpec("DU1", kind, Decimal(cash))}
        self.broker = Broker(samples.instruments, specs, first_perm_id=500)

    def place(self, order_id: int, ticket: OrderTicket, **more: Any) -> list[Event]:
        """Place without matching."""
        instrument = self.samples.instruments[more.pop("con_id", AAPL)]
        client_id = more.pop("client_id", 1)
        return self.broker.place(client_id, order_id, instrument, ticket, venue=self, **more)

    def match(self, slice_of: Any = None) -> list[Event]:
        """Let the market fill what it can."""
        return self.broker.match(self, *([slice_of] if slice_of else []))

    def order(self, order_id: int, client_id: int = 1) -> Order:
        """Return an order by its own id."""
        order = self.broker.order_of(client_id, order_id)
        assert order is not None
        return order

    def at(self, last: str, spread: str = "0.01", **more: Any) -> list[Event]:
        """Let the market stand around a last price, with new depth, and match."""
        assert self.quote is not None
        price, half = Decimal(last), Decimal(spread)
        self.quote = replace(
            self.quote,
            last=price,
            bid=price - half,
            ask=price + half,
            depth_id=self.quote.depth_id + 1,
            **more,
        )
        return self.match()

    def cancel(self, order_id: int, client_id: int = 1, **more: Any) -> list[Event]:
        """Cancel an order."""
        return self.broker.cancel(client_id, order_id, self.now(), **more)


def story(events: list[Event], *, ids: bool = False) -> list[str]:
    """Return events as short words: what a client would see, in order; `ids` prefixes order ids."""
    return [_word(event, f"{_order_id(event)}:" if ids else "") for event in events]


def _order_id(event: Event) -> int:
    match event:
        case OrderUpdate() | WhatIf():
            return event.order.order_id
        case Filled() | Commissioned():
            return event.execution.order_id
        case Problem():
            return event.order_id
    return 0


def _word(event: Event, prefix: str) -> str:
    match event:
        case OrderUpdate(order=order):
            held = f" {order.why_held}" if order.why_held else ""
            return f"{prefix}{order.status.value}{held}"
        case Filled(execution=execution):
            return f"{prefix}fill {execution.shares}"
        case Commissioned(execution=execution):
            return f"{prefix}commission {execution.commission}"
        case Problem(code=code):
            return f"{prefix}error {code}"
        case WhatIf():
            return f"{prefix}what-if"
        case AccountChange():
            return "account"
