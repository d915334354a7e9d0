"""The approval ticket: what a run may send, named by a hash that a person has to repeat.

It fixes symbol, side, largest quantity and how far the limit price may be from the price the
person has seen. The limit price itself is set from a fresh quote at the moment of the send.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from ibloop.core.model import ZERO, Mode, Order, Side
from ibloop.core.risk import Verdict
from ibloop.core.snapshot import decimal_text, hash_of

NOT_APPROVED = "not_approved"
ARMED_NOTIONAL = "armed_notional_usd_max"
COLLARS = 2
"""The price may be two collars from the one seen: one for the limit price itself, which is that
far from the mid at most, and one for how far the mid moves while a person reads."""
HASH_DIGITS_MIN = 12
"""How many digits name a ticket: enough that no other one is meant."""


@dataclass(frozen=True, slots=True)
class TicketLine:
    """What may be sent of one symbol: at most so many shares around a price, USD a share."""

    symbol: str
    con_id: int
    side: Side
    quantity_max: Decimal
    reference_price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Everything that one attempt of a run may send; ``collar_fraction`` is a fraction of 1."""

    account: str
    mode: Mode
    run_id: str
    run_key: str
    attempt: int
    snapshot_hash: str
    config_hash: str
    collar_fraction: Decimal
    lines: tuple[TicketLine, ...]

    def content(self) -> dict[str, object]:
        """Return the ticket as plain JSON values, its lines sorted by symbol and side."""
        return {
            "account": self.account,
            "mode": self.mode.value,
            "run_id": self.run_id,
            "run_key": self.run_key,
            "attempt": self.attempt,
            "snapshot_hash": self.snapshot_hash,
            "config_hash": self.config_hash,
            "collar_fraction": decimal_text(self.collar_fraction),
            "orders": [
                {
                    "symbol": line.symbol,
                    "con_id": line.con_id,
                    "side": line.side.value,
                    "quantity_max": decimal_text(line.quantity_max),
                    "reference_price": decimal_text(line.reference_price),
                }
                for line in sorted(self.lines, key=lambda line: (line.symbol, line.side))
            ],
        }

    @property
    def content_hash(self) -> str:
        """Return the SHA-256 of the canonical content, 64 hex digits."""
        return hash_of(self.content())

    @property
    def notional_usd_max(self) -> Decimal:
        """Return the most that can be bought and sold under it, in USD."""
        worst = sum((line.quantity_max * line.reference_price for line in self.lines), ZERO)
        return worst * (1 + self.collar_fraction)


def ticket_lines(
    orders: Iterable[Order], prices: Mapping[str, Decimal | None]
) -> tuple[TicketLine, ...]:
    """Return the lines for planned orders; ``prices`` are those they were sized with.

    An order without a price has no line, so it cannot be sent under the ticket.
    """
    return tuple(
        TicketLine(order.symbol, order.con_id, order.side, order.quantity, price)
        for order in orders
        if (price := prices.get(order.symbol)) is not None and price > 0
    )


def ticket_of(content: Mapping[str, object]) -> Ticket:
    """Return the ticket of a stored content."""
    rows = cast(list[dict[str, str]], content["orders"])
    return Ticket(
        account=str(content["account"]),
        mode=Mode(str(content["mode"])),
        run_id=str(content["run_id"]),
        run_key=str(content["run_key"]),
        attempt=int(str(content["attempt"])),
        snapshot_hash=str(content["snapshot_hash"]),
        config_hash=str(content["config_hash"]),
        collar_fraction=Decimal(str(content["collar_fraction"])),
        lines=tuple(
            TicketLine(
                row["symbol"],
                int(row["con_id"]),
                Side(row["side"]),
                Decimal(row["quantity_max"]),
                Decimal(row["reference_price"]),
            )
            for row in rows
        ),
    )


def check_ticket(ticket: Ticket, order: Order, limit_price: Decimal) -> Verdict | None:
    """Return why an order at this price is not what was approved, ``None`` when it is."""
    wanted = (order.symbol, order.side)
    line = next((line for line in ticket.lines if (line.symbol, line.side) == wanted), None)
    what = f"{order.side} {order.quantity} {order.symbol}"
    if line is None or line.con_id != order.con_id:
        return _breach(what, f"no {order.side} of {order.symbol} as contract {order.con_id}")
    if order.quantity > line.quantity_max:
        return _breach(what, f"at most {line.quantity_max} shares")
    away = abs(limit_price / line.reference_price - 1)
    if limit_price <= 0 or away > ticket.collar_fraction:
        allowed = f"{ticket.collar_fraction} around {line.reference_price}"
        return _breach(f"{what} at {limit_price}", allowed)
    return None


def _breach(found: str, allowed: str) -> Verdict:
    return Verdict(NOT_APPROVED, found, allowed, passed=False)
