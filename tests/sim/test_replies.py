"""Every reply has the length that IB's field orders give it, at every version offered."""

from collections.abc import Callable
from typing import Any

import pytest

from ibloop.sim.service.gateway import Gateway
from ibloop.sim.world import World
from tests.sim.layouts import VERSIONS, place_order, requests
from tests.sim.replies import length

ORDERS: tuple[dict[str, Any], ...] = (
    {},
    {"orderType": "LMT", "lmtPrice": "90", "orderRef": "Nestlé"},
    {"orderType": "STP", "auxPrice": "200", "tif": "GTC"},
    {
        "orderType": "LMT",
        "lmtPrice": "91",
        "algoStrategy": "Adaptive",
        "algoParams": [("adaptivePriority", "Normal")],
    },
    {"whatIf": 1},
    {"totalQuantity": 0},
)
# Replies that a scripted client must have seen, or the test has tested nothing.
SEEN = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 17, 45, 46, 49, 50, 52, 53, 54, 55, 58, 59, 61, 62}
SEEN |= {63, 64, 71, 72, 73, 74, 76, 77, 78, 79, 80, 81, 85, 88, 89, 93, 94, 95, 98, 99, 101, 102}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_reply_has_its_length(
    make_world: Callable[..., World], connect: Callable[..., Any], clock: Any, version: int
) -> None:
    """Orders in all their states, then every request, with time passing in between."""
    gateway = Gateway(make_world())
    client = connect(gateway, 1, version)
    messages = []
    for given in ORDERS:
        order_id = int(client.send(8, 1, 1)[0][2])
        messages += client.send(*place_order(order_id, version, **given))
    for message_id in (99, *sorted(requests(version)), 58, 99):
        messages += client.send(*requests(version)[message_id])
        clock.advance(6.0)
        gateway.tick()
        messages += client.line.take()
    for message in messages:
        assert len(message) == length(message, version), message
    later = {kind for kind, since in ((107, 163), (108, 196), (109, 197)) if version >= since}
    assert SEEN | later <= {int(message[0]) for message in messages}
