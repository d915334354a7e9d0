"""What of a run's remainder is tried again: what can be expected to go better, once, in time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ibloop.core.foreign import FOREIGN_TRADE
from ibloop.core.lifecycle import ORDER_TERMINAL, OrderState, RunState
from ibloop.core.model import Order, OrderType, Side, Tif
from ibloop.core.retrying import (
    CANCELED_BY_OPERATOR,
    RETRY_TIME_MIN,
    Remainder,
    Retry,
    attempt_end,
    remainder,
    wants_retry,
)

D = Decimal
NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)
ENDS, DEADLINE = NOW + timedelta(minutes=15), NOW + timedelta(minutes=30)
ORDER = Order(
    client_order_id="ibl:K:AAA:B:0",
    run_id="r1",
    symbol="AAA",
    con_id=1,
    side=Side.BUY,
    quantity=D(10),
    order_type=OrderType.LMT,
    limit_price=D(1),
    tif=Tif.GTD,
    good_till=ENDS,
    status=OrderState.EXPIRED,
)


def left(
    status: OrderState,
    source: str | None = None,
    code: str | None = None,
    *,
    at_deadline: bool = False,
) -> Remainder:
    """Return what one order has left, stopped by the executor at its deadline or not."""
    order = replace(ORDER, status=status, reject_source=source, reject_code=code)
    return remainder([order], [ORDER.client_order_id] if at_deadline else (), ())


@pytest.mark.parametrize(
    ("status", "source", "code", "at_deadline", "where"),
    [
        (OrderState.FILLED, None, None, False, "settled"),
        (OrderState.NOT_SENT, None, None, False, "open"),
        (OrderState.NOT_SENT, "ibloop", "not_sent", False, "open"),
        (OrderState.EXPIRED, None, None, False, "open"),
        (OrderState.CANCELED, None, None, True, "open"),
        (OrderState.CANCELED, None, None, False, "barred"),
        (OrderState.REJECTED, "broker", "103", False, "open"),
        (OrderState.REJECTED, "broker", "201", False, "barred"),
        (OrderState.REJECTED, "broker", None, False, "barred"),
        (OrderState.REJECTED, "ibloop", "market_data_error", False, ""),
        (OrderState.REJECTED, "ibloop", "103", False, ""),
        (OrderState.REJECTED, "ibloop", FOREIGN_TRADE, False, "barred"),
        (OrderState.REJECTED, "ibloop", CANCELED_BY_OPERATOR, False, "barred"),
    ],
)
def test_what_an_order_leaves(
    status: OrderState, source: str | None, code: str | None, at_deadline: bool, where: str
) -> None:
    """Each end belongs to one of three groups, or is checked anew like everything else."""
    found = left(status, source, code, at_deadline=at_deadline)
    groups = {"open": found.open, "settled": found.settled, "barred": found.barred}
    assert [name for name, symbols in groups.items() if "AAA" in symbols] == ([where] * bool(where))


@pytest.mark.parametrize("status", sorted(ORDER_TERMINAL - {OrderState.FILLED}))
def test_what_a_person_has_cancelled_stays_cancelled(status: OrderState) -> None:
    """Whatever the broker says of its end."""
    ref = ORDER.client_order_id
    found = remainder([replace(ORDER, status=status)], {ref}, {ref})
    assert (found.open, set(found.barred)) == (frozenset(), {"AAA"})
    assert "operator" in found.barred["AAA"]


def test_the_first_attempt_leaves_half_of_the_time() -> None:
    """Without a retry to come there is nothing to leave it for."""
    assert attempt_end(Retry.REMAINDER, NOW, DEADLINE) == ENDS
    assert attempt_end(Retry.NONE, NOW, DEADLINE) == DEADLINE


def asked(**changes: object) -> bool:
    """Return whether a run with an expired order retries, with one thing different."""
    given: dict[str, object] = {
        "policy": Retry.REMAINDER,
        "status": RunState.PARTIAL,
        "left": left(OrderState.EXPIRED),
        "attempt_end": ENDS,
        "deadline": DEADLINE,
        "now": ENDS,
    }
    return wants_retry(**(given | changes))  # type: ignore[arg-type]


def test_a_retry_has_conditions() -> None:
    """The policy, an end of its own, something open, the first attempt, and time."""
    assert asked()
    assert asked(status=RunState.FAILED)
    assert not asked(policy=Retry.NONE)
    assert asked(status=RunState.DONE)
    assert not asked(status=RunState.DONE, left=left(OrderState.FILLED))
    assert not asked(status=RunState.CANCELED)
    assert not asked(left=left(OrderState.FILLED))
    assert not asked(attempt_end=DEADLINE)
    assert asked(now=DEADLINE - RETRY_TIME_MIN)
    assert not asked(now=DEADLINE - RETRY_TIME_MIN + timedelta(milliseconds=1))


def test_the_other_side_of_a_position_is_left_open() -> None:
    """Its order has filled, and only took the position to zero; all others that filled are done."""
    filled = replace(ORDER, status=OrderState.FILLED)
    found = remainder([filled, replace(filled, symbol="BBB")], (), (), {"BBB", "CCC"})
    assert (found.open, found.settled) == ({"BBB"}, {ORDER.symbol})
