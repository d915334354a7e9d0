"""Callbacks in any order, twice, late: the ledger they lead to is the same."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import permutations
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibloop.adapters.ledger import fills, orders
from ibloop.adapters.ledger.connection import Tx
from ibloop.core import events as ev
from ibloop.core.model import Execution
from tests.fakes.house import House

D = Decimal


class UndoError(Exception):
    """Nothing of this is to stay."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return a house whose first order (AAA, 500 to sell) works, unacknowledged and unfilled."""
    made = House(tmp_path_factory.mktemp("house"))
    made.script("AAA", silent=True, fills=())
    made.queue()
    made.play(1)
    assert made.states()["AAA"] == "sending"
    yield made
    made.ledger.close()


def story(house: House, parts: Sequence[int]) -> list[ev.BrokerEvent]:
    """Return what the gateway tells of an order that fills in parts; the first is corrected."""
    live = house.broker.find("ibl:K1:AAA:S:0")
    report = ev.OrderReported("ibl:K1:AAA:S:0", live.order.ib_order_id or 0, live.perm_id, "")
    told: list[ev.BrokerEvent] = [replace(report, ib_status="Submitted")]
    for number, quantity in enumerate(parts, start=1):
        execution = replace(
            house.broker.execution(live.order, live.perm_id, D(quantity)),
            exec_id=f"0000e0d5.{number:04}.01",
        )
        told += [ev.Executed(execution), cost(execution, f"1.0{number}")]
        if number == 1:
            told.append(ev.Executed(corrected(execution)))
    return [*told, replace(report, ib_status="Filled")]


def corrected(execution: Execution) -> Execution:
    """Return the execution's next revision: ten shares less, at another price."""
    return replace(
        execution,
        exec_id=f"{execution.exec_id[:-2]}02",
        quantity=execution.quantity - 10,
        price=execution.price - 1,
    )


def cost(execution: Execution, commission: str) -> ev.CommissionReported:
    """Return the report of what an execution cost."""
    return ev.CommissionReported(execution.exec_id, D(commission), None)


def ledger_after(house: House, told: Sequence[ev.BrokerEvent]) -> object:
    """Return what the ledger says of the order after these callbacks, and undo them."""
    seen: list[object] = []

    def take(tx: Tx) -> None:
        for event in told:
            house.desk._take(tx, event, house.clock.now())
        row = orders.find(tx.db, "ibl:K1:AAA:S:0")
        assert row is not None
        order = row.order
        kept = fills.of_order(tx.db, order.client_order_id)
        seen.append(
            (
                *(order.status, order.filled_quantity, order.avg_fill_price, order.perm_id),
                sorted((f.exec_id, f.quantity, f.price, f.commission) for f in kept),
            )
        )
        raise UndoError

    with pytest.raises(UndoError), house.ledger.transaction() as tx:
        take(tx)
    house.desk._costs.clear()
    return seen[0]


def test_every_order_of_a_small_history_leads_to_the_same_ledger(house: House) -> None:
    """All 5,040 sequences: acknowledgement, two fills, a correction, two costs, Filled."""
    told = story(house, (300, 210))
    assert len(told) == 7
    wanted = ledger_after(house, told)
    assert wanted[0] == "filled"  # type: ignore[index]
    assert wanted[1] == 500  # type: ignore[index]
    for sequence in permutations(told):
        assert ledger_after(house, sequence) == wanted, sequence


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 10**9), count=st.integers(1, 12))
def test_a_long_history_shuffled_with_repetitions_leads_to_the_same_ledger(
    house: House, seed: int, count: int
) -> None:
    """Whatever comes twice or late: what has happened is what is written."""
    random = Random(seed)
    cuts = sorted(random.sample(range(1, 499), count - 1))
    parts = [b - a for a, b in zip([0, *cuts], [*cuts, 500], strict=True)]
    parts[0] += 10  # the correction takes them back
    told = story(house, parts)
    wanted = ledger_after(house, told)
    assert wanted[1] == 500  # type: ignore[index]
    heard = told + random.choices(told, k=random.randrange(2 * len(told)))
    random.shuffle(heard)
    assert ledger_after(house, heard) == wanted
