"""A stand for faults: a gateway, its clock and a raw client, and a short form of messages."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ibloop.sim import faults
from ibloop.sim.service.gateway import Gateway
from ibloop.sim.truth import truth
from tests.sim.layouts import place_order

Messages = list[tuple[str, ...]]

FILLED = ["PreSubmitted", "exec", "Filled", "Filled", "commission"]
RESTING = {"orderType": "LMT", "lmtPrice": "90"}
MKT_DATA = ("AAPL", "STK", "", "0.0", "", "", "SMART", "", "USD", "", "", 0, "", 0, 0, "")
EXECUTIONS = (7, 3, 9, 0, "", "", "", "", "", "")
NAMES = {"11": "exec", "59": "commission"}


def kinds(messages: Messages) -> list[str]:
    """Return messages as short words: status of orders, codes of errors, else the message id."""
    words = []
    for fields in messages:
        match fields[0]:
            case "3":
                words.append(fields[2])
            case "4":
                words.append(f"error {fields[3]}")
            case "5" | "6" | "8":
                pass
            case other:
                words.append(NAMES.get(other, other))
    return words


@dataclass
class Stand:
    """A gateway over a frozen market with client 1 connected; time passes when told."""

    gateway: Gateway
    clock: Any
    connect: Callable[..., Any]
    client: Any = field(init=False)

    def __post_init__(self) -> None:
        """Connect client 1."""
        self.client = self.connect(self.gateway)

    def fault(self, text: str) -> int:
        """Let a fault begin, as a command line writes it."""
        return self.gateway.add_fault(faults.parse(text))

    def place(self, order_id: int, client: Any = None, **fields: object) -> list[str]:
        """Send a placeOrder and return what came back, in words."""
        return kinds((client or self.client).send(*place_order(order_id, **fields)))

    def ask(self, *fields: object) -> list[str]:
        """Send a message and return what came back, in words."""
        return kinds(self.client.send(*fields))

    def wait(self, seconds: float) -> list[str]:
        """Let time pass, and return what client 1 was told meanwhile, in words."""
        return kinds(self.heard(seconds))

    def heard(self, seconds: float = 0.0) -> Messages:
        """Let time pass, and return the messages to client 1."""
        self.clock.advance(seconds)
        self.gateway.agenda.run(self.clock.monotonic_s())
        messages: Messages = self.client.line.take()
        return messages

    def tick(self) -> Messages:
        """Let a sample of the market pass, and return the messages to client 1."""
        self.clock.advance(0.25)
        self.gateway.tick()
        return self.heard()

    def price(self, bid: str, ask: str, symbol: str = "AAPL") -> Messages:
        """Fix bid and ask of a symbol, let a sample pass, and return the messages to client 1."""
        world = self.gateway.world
        instrument = world.samples.by_symbol(symbol)
        assert instrument is not None
        world.pin(instrument, {"bid": Decimal(bid), "ask": Decimal(ask)})
        return self.tick()

    def truth(self, what: str) -> Any:
        """Return a part of the truth."""
        return truth(self.gateway.world)[what]

    def order(self, order_id: int = 1) -> dict[str, Any]:
        """Return the truth about one of client 1's orders, the latest under that id."""
        found = [row for row in self.truth("orders") if row["orderId"] == order_id]
        row: dict[str, Any] = found[-1]
        return row

    def active(self) -> list[str]:
        """Return the names of the faults in force."""
        return [faults.name_of(type(fault)) for fault in self.gateway.faults]
