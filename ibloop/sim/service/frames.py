"""Order messages of clients as they arrived, whatever becomes of them: `frames` of the truth."""

from typing import Any

from ibloop.sim.model import ZERO, ReceivedFrame
from ibloop.sim.protocol.requests.kinds import Bare, ById
from ibloop.sim.protocol.requests.orders import PlaceOrder
from ibloop.sim.service.desk import Desk


def note(desk: Desk, client_id: int, request: Any) -> None:
    """Note a placeOrder, cancelOrder or reqGlobalCancel; the next commit stores it."""
    if isinstance(request, PlaceOrder):
        _note_placed(desk, client_id, request)
    elif isinstance(request, ById) and request.name == "cancel_order":
        _note_ended(desk, client_id, "cancelOrder", request.req_id)
    elif isinstance(request, Bare) and request.name == "global_cancel":
        _note_ended(desk, client_id, "globalCancel", 0)


def _note_placed(desk: Desk, client_id: int, request: PlaceOrder) -> None:
    world, ticket = desk.world, request.ticket
    instrument = world.samples.find(request.contract)
    world.receive(
        ReceivedFrame(
            seq=len(world.frames) + 1,
            received_at=world.now(),
            client_id=client_id,
            kind="placeOrder",
            order_id=request.order_id,
            order_ref=ticket.order_ref,
            symbol=instrument.symbol if instrument else request.contract.symbol,
            action=ticket.action,
            quantity=ticket.quantity,
            limit_price=ticket.limit_price if ticket.order_type == "LMT" else None,
        )
    )


def _note_ended(desk: Desk, client_id: int, kind: str, order_id: int) -> None:
    order = desk.world.broker.order_of(client_id, order_id)
    desk.world.receive(
        ReceivedFrame(
            seq=len(desk.world.frames) + 1,
            received_at=desk.world.now(),
            client_id=client_id,
            kind=kind,
            order_id=order_id,
            order_ref=order.order_ref if order else "",
            symbol=order.symbol if order else "",
            action=order.action if order else "",
            quantity=order.quantity if order else ZERO,
            limit_price=order.limit_price if order else None,
        )
    )
