"""Whether a run under way still moves: something filled, acknowledged, refused, ended or sent."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ibloop.core.lifecycle import ORDER_AT_BROKER, OrderState
from ibloop.core.model import Order


@dataclass(frozen=True, slots=True)
class Progress:
    """All by which a run's orders can move: two that are equal mean that nothing has happened."""

    orders: tuple[tuple[str, str, Decimal, int | None], ...]


def progress_of(orders: Iterable[Order]) -> Progress:
    """Return how far the orders of an attempt have come."""
    return Progress(
        tuple((o.client_order_id, o.status, o.filled_quantity, o.perm_id) for o in orders)
    )


def stall(
    orders: Iterable[Order],
    *,
    quiet_s: float,
    stalled_after_s: float,
    now: datetime,
    ends: datetime,
) -> str | None:
    """Return how a run stands still, in one sentence; ``None`` while it moves.

    Args: its orders; for how many seconds nothing has happened to them; how many are too many;
    the time, and when its orders end. At their end the deadline takes over, which needs no alert.
    """
    if quiet_s < stalled_after_s or now >= ends:
        return None
    listed = list(orders)
    working = [o.symbol for o in listed if o.status in ORDER_AT_BROKER]
    waiting = [o.symbol for o in listed if o.status == OrderState.PLANNED]
    told = [
        f"{len(symbols)} {word} ({', '.join(symbols[:5])}{', ...' if len(symbols) > 5 else ''})"
        for word, symbols in (("working", working), ("not sent yet", waiting))
        if symbols
    ]
    return f"no progress for {stalled_after_s:g} s: {', '.join(told)}" if told else None
