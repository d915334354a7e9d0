"""The life of an order in the ledger."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ibloop.adapters.ledger import audit, fills, orders
from ibloop.adapters.ledger.connection import IntegrityError, Ledger
from ibloop.core.invariant import InvariantError
from ibloop.core.lifecycle import OrderEvent, OrderState

REF = "ibl:R1:AAA:B:0"


def apply(ledger: Ledger, make: Any, event: OrderEvent, **fields: Any) -> OrderState:
    """Tell the default order what happened."""
    with ledger.transaction() as tx:
        return orders.apply(tx, REF, event, **fields, now=make.at(9), actor="executor")


def found(ledger: Ledger, ref: str = REF) -> orders.OrderRow:
    """Return a row that must be there."""
    row = orders.find(ledger.db, ref)
    assert row is not None
    return row


def test_an_order_reads_back_as_written(ledger: Ledger, make: Any) -> None:
    """Every column survives the way to the disk and back."""
    make.planned(ledger)
    assert found(ledger) == make.order()
    assert make.sending(ledger)
    assert found(ledger) == replace(
        make.order(),
        order=replace(
            make.order().order,
            status=OrderState.SENDING,
            limit_price=Decimal("10.1"),
            ib_order_id=1,
            sent_at=make.at(1),
            good_till=make.at(3000),
        ),
        arrival_price=Decimal(10),
        quote_seq=7,
        quote_source="ib_stream",
        quote_at=make.t0,
        updated_at=make.at(1),
    )
    assert orders.find(ledger.db, "ibl:R1:ZZZ:B:0") is None


def test_an_order_is_journalled_for_sending_once(ledger: Ledger, make: Any) -> None:
    """The second try is told no and changes nothing (promise P1)."""
    make.planned(ledger)
    assert make.sending(ledger)
    rows = audit.rows(ledger.db, 99)
    assert not make.sending(ledger, ib_order_id=2)
    assert audit.rows(ledger.db, 99) == rows
    assert found(ledger).order.ib_order_id == 1


def test_an_id_of_the_connection_belongs_to_one_order(ledger: Ledger, make: Any) -> None:
    """A used order id would change a living order at the broker."""
    make.planned(ledger, REF, "ibl:R1:BBB:B:0")
    assert make.sending(ledger, ib_order_id=5)
    with pytest.raises(IntegrityError):
        make.sending(ledger, "ibl:R1:BBB:B:0", ib_order_id=5)
    assert found(ledger, "ibl:R1:BBB:B:0").order.status is OrderState.PLANNED
    assert orders.max_ib_order_id(ledger.db) == 5


def test_a_limit_order_has_a_limit(ledger: Ledger, make: Any) -> None:
    """Order type and price agree when it is journalled."""
    make.planned(ledger)
    with pytest.raises(InvariantError, match="limit price"), ledger.transaction() as tx:
        orders.mark_sending(
            tx,
            REF,
            ib_order_id=1,
            limit_price=None,
            arrival_price=Decimal(10),
            quote_seq=7,
            quote_source="ib_stream",
            quote_at=make.t0,
            good_till=make.at(1),
            now=make.t0,
            actor="executor",
        )


def test_only_the_journal_sends(ledger: Ledger, make: Any) -> None:
    """There is no other way into SENDING."""
    make.planned(ledger)
    with pytest.raises(InvariantError, match="mark_sending"):
        apply(ledger, make, OrderEvent.SEND)


def test_an_event_moves_the_order_and_is_audited(ledger: Ledger, make: Any) -> None:
    """The audit row names the state before, the state after and the cause."""
    make.planned(ledger)
    make.sending(ledger)
    assert apply(ledger, make, OrderEvent.ACKNOWLEDGE, perm_id=7001) is OrderState.NEW
    assert found(ledger).order.perm_id == 7001
    (row,) = audit.rows(ledger.db, 1)
    assert (row.actor, row.event, row.subject) == ("executor", "order.moved", REF)
    assert row.payload == {"from": "sending", "to": "new", "event": "acknowledge", "perm_id": 7001}


def test_what_changes_nothing_writes_nothing(ledger: Ledger, make: Any) -> None:
    """A gateway sends most statuses twice; the second leaves no trace."""
    make.planned(ledger)
    make.sending(ledger)
    apply(ledger, make, OrderEvent.ACKNOWLEDGE, perm_id=7001)
    before = (found(ledger), audit.rows(ledger.db, 99))
    assert apply(ledger, make, OrderEvent.ACKNOWLEDGE, perm_id=7001) is OrderState.NEW
    assert apply(ledger, make, OrderEvent.ACKNOWLEDGE, perm_id=0) is OrderState.NEW
    assert (found(ledger), audit.rows(ledger.db, 99)) == before


def test_an_order_has_one_perm_id(ledger: Ledger, make: Any) -> None:
    """Two permanent ids under one reference are two orders at the broker."""
    make.planned(ledger)
    make.sending(ledger)
    apply(ledger, make, OrderEvent.ACKNOWLEDGE, perm_id=7001)
    with pytest.raises(InvariantError, match="perm id"):
        apply(ledger, make, OrderEvent.ACKNOWLEDGE, perm_id=7002)


def test_a_rejection_says_by_whom_and_why(ledger: Ledger, make: Any) -> None:
    """The reason stays with the order; what comes after the end does not replace it."""
    make.planned(ledger)
    reason = {"reject_source": "ibloop", "reject_code": "halted", "reject_reason": "tick 49"}
    assert apply(ledger, make, OrderEvent.DENY, **reason) is OrderState.REJECTED
    late = {"reject_source": "broker", "reject_code": "201", "reject_reason": "margin"}
    assert apply(ledger, make, OrderEvent.REJECT, perm_id=7001, **late) is OrderState.REJECTED
    assert found(ledger).order.perm_id == 7001
    order = found(ledger).order
    assert {name: getattr(order, name) for name in reason} == reason


def test_an_order_that_could_not_be_sized_stays_rejected(ledger: Ledger, make: Any) -> None:
    """Nothing filled of nothing is not filled: without a price there is no quantity, no order."""
    make.planned(ledger, "ibl:R1:BBB:B:0")
    unsized = replace(make.order().order, quantity=Decimal(0), status=OrderState.REJECTED)
    with ledger.transaction() as tx:
        orders.insert(tx, [replace(make.order(), order=unsized)], "test")
    assert apply(ledger, make, OrderEvent.ABANDON) is OrderState.REJECTED


def test_an_impossible_event_is_an_error(ledger: Ledger, make: Any) -> None:
    """A state is never guessed into being, nor an order into existence."""
    make.planned(ledger)
    with pytest.raises(InvariantError):
        apply(ledger, make, OrderEvent.ACKNOWLEDGE)
    with pytest.raises(InvariantError), ledger.transaction() as tx:
        orders.apply(tx, "ibl:R9:AAA:B:0", OrderEvent.DENY, now=make.t0, actor="executor")


def test_a_lost_order_stays_unknown_though_part_of_it_was_filled(ledger: Ledger, make: Any) -> None:
    """Earlier fills do not prove that the rest still works (promise P16)."""
    make.planned(ledger)
    make.sending(ledger)
    apply(ledger, make, OrderEvent.ACKNOWLEDGE)
    with ledger.transaction() as tx:
        fills.record(tx, make.execution(), make.at(5), "executor")
    assert found(ledger).order.status is OrderState.PARTIALLY_FILLED
    assert apply(ledger, make, OrderEvent.LOSE) is OrderState.UNKNOWN
    with ledger.transaction() as tx:
        fills.record(tx, make.execution(), make.at(6), "executor")
    assert found(ledger).order.status is OrderState.UNKNOWN
    assert apply(ledger, make, OrderEvent.ACKNOWLEDGE) is OrderState.PARTIALLY_FILLED


def test_an_order_does_not_begin_filled(ledger: Ledger, make: Any) -> None:
    """Fills come from executions only."""
    filled = replace(make.order().order, filled_quantity=Decimal(1))
    make.planned(ledger, "ibl:R1:BBB:B:0")
    with pytest.raises(InvariantError, match="new but filled"), ledger.transaction() as tx:
        orders.insert(tx, [replace(make.order(), order=filled)], "test")


def test_orders_are_found_by_all_their_names(ledger: Ledger, make: Any) -> None:
    """Reference, id of the connection, permanent id, run, attempt and state."""
    refs = ("ibl:R1:CCC:S:0", "ibl:R1:AAA:B:0", "ibl:R1:BBB:B:0", "ibl:R1:AAA:B:1")
    make.planned(ledger, *refs)
    make.sending(ledger, REF, 3)
    apply(ledger, make, OrderEvent.ACKNOWLEDGE, perm_id=7001)
    by_id, by_perm = orders.by_ib_order_id(ledger.db, 3), orders.by_perm_id(ledger.db, 7001)
    assert by_id == by_perm == found(ledger)
    assert orders.by_ib_order_id(ledger.db, 4) is orders.by_perm_id(ledger.db, 1) is None
    names = [row.order.client_order_id for row in orders.of_run(ledger.db, "r1")]
    assert names == ["ibl:R1:AAA:B:0", "ibl:R1:BBB:B:0", "ibl:R1:CCC:S:0", "ibl:R1:AAA:B:1"]
    assert [row.attempt for row in orders.of_run(ledger.db, "r1", 1)] == [1]
    assert len(orders.listing(ledger.db, "r1", 2)) == 2
    assert orders.listing(ledger.db, "r9") == ()
    assert orders.in_states(ledger.db, [OrderState.NEW]) == (found(ledger),)
    assert len(orders.in_states(ledger.db, [OrderState.NEW, OrderState.PLANNED])) == 4
    assert orders.working_symbols(ledger.db) == {"AAA"}
    assert orders.all_sent(ledger.db) == (found(ledger),)


def test_what_was_let_out_today_is_counted_whatever_became_of_it(ledger: Ledger, make: Any) -> None:
    """Day limits look at what was sent since midnight, at its limit price (promise P8)."""
    make.planned(ledger, REF, "ibl:R1:BBB:B:0", "ibl:R1:CCC:B:0")
    make.sending(ledger, REF, 1)
    make.sending(ledger, "ibl:R1:BBB:B:0", 2)
    apply(ledger, make, OrderEvent.REJECT)
    totals = orders.sent_today(ledger.db, make.at(1))
    assert totals == orders.SentTotals(2, Decimal(2020))
    later = make.at(1) + timedelta(milliseconds=1)
    assert orders.sent_today(ledger.db, later).count == 1
    assert orders.sent_count_after(ledger.db, make.t0) == 2
    assert orders.sent_count_after(ledger.db, make.at(1)) == 1
    assert orders.max_ib_order_id(ledger.db) == 2
