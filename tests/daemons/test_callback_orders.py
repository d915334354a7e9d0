"""Callbacks in any order, twice, late: the ledger they lead to is the same.

Small histories are told in every order there is, long ones in orders that hypothesis draws. What
is compared is all that the ledger knows of orders and executions, before and after the evidence
that follows, except for when it was written down.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice, permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.adapters.ledger import orders
from ibloop.adapters.ledger.connection import Tx
from ibloop.core import events as ev
from ibloop.core.lifecycle import OrderEvent
from ibloop.core.model import ZERO, Evidence, Execution, Order, Side
from ibloop.daemons.executing.evidence import Pass
from ibloop.daemons.executing.order_executor import OrderExecutor
from tests.fakes.broker import CLIENT_ID, Live
from tests.fakes.house import House
from tests.fakes.shown import broker_row

D = Decimal
REF, OURS, BY_HAND = "ibl:K1:AAA:S:0", "ibl:K9:AAA:S:0", "by hand"
"""The order of the ledger; one of ours that it has never sent; somebody else's."""
NOT_COMPARED = frozenset({"updated_at", "judged_at", "recorded_at", "judgement"})
"""When something was written down, and the words for what evidence has meant."""
SELECTED = {
    "trade_orders": "WHERE sent_at IS NOT NULL ORDER BY client_order_id",
    "trade_fills": "ORDER BY exec_base",
}
EVERY = 10
"""Of the many tellings of a longer history: which are followed by evidence."""


class UndoError(Exception):
    """Nothing of this is to stay."""


@dataclass(frozen=True, slots=True)
class Tale:
    """What the gateway tells of an order, what is so in the end, and what the ledger must say.

    ``before`` is what had happened to the order until then. ``status`` and ``filled`` are the end.
    ``settles``: only evidence makes all orders of telling the same. ``holds``: whatever comes
    first, nothing may be sent before the evidence.
    """

    told: tuple[ev.BrokerEvent, ...]
    evidence: Evidence
    status: str
    filled: int
    before: tuple[OrderEvent, ...] = ()
    settles: bool = False
    holds: bool = False


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


# --- what is told ---------------------------------------------------------------------------------


class Teller:
    """Makes the callbacks of one house's order, and the evidence that follows them."""

    def __init__(self, house: House) -> None:
        """Look at the house's only order at the broker."""
        self.house = house
        self.live: Live = house.broker.find(REF)
        self.order: Order = self.live.order
        self.order_id = self.order.ib_order_id or 0

    def report(self, ib_status: str) -> ev.OrderReported:
        """Return a status of the order."""
        return ev.OrderReported(REF, self.order_id, self.live.perm_id, ib_status)

    def error(self, code: int) -> ev.ErrorReported:
        """Return an error that names the order."""
        return ev.ErrorReported(self.order_id, code, f"text of {code}")

    def execution(
        self, number: int, quantity: int, ref: str = REF, perm_id: int = 0, symbol: str = "AAA"
    ) -> Execution:
        """Return one of the executions: of the order, or of another one."""
        instrument = self.house.instruments[symbol]
        order = replace(self.order, client_order_id=ref, symbol=symbol, con_id=instrument.con_id)
        made = self.house.broker.execution(order, perm_id or self.live.perm_id, D(quantity))
        return replace(made, exec_id=f"0000e0d5.{number:04}.01", side=Side.SELL)

    def evidence(self, ib_status: str, *executions: Execution) -> Evidence:
        """Return what a complete pass finds in the end: the order and all executions."""
        mine = [e for e in executions if e.client_order_id == REF]
        filled = sum((e.quantity for e in mine), ZERO)
        row = broker_row(replace(self.live, status=ib_status, filled=filled), CLIENT_ID)
        ended = ib_status in {"Filled", "Cancelled", "Inactive"}
        return replace(
            self.house.broker.evidence(),
            open_orders=() if ended else (row,),
            completed_orders=(row,) if ended else (),
            executions=executions,
        )


def corrected(execution: Execution, less: int = 10) -> Execution:
    """Return the execution's next revision: some shares less, at another price."""
    return replace(
        execution,
        exec_id=f"{execution.exec_id[:-2]}{int(execution.exec_id[-2:]) + 1:02}",
        quantity=execution.quantity - less,
        price=execution.price - 1,
    )


def cost(execution: Execution, commission: str | None) -> ev.CommissionReported:
    """Return the report of what an execution cost, ``None`` for not known yet."""
    return ev.CommissionReported(execution.exec_id, commission and D(commission), None)  # type: ignore[arg-type]


def filled_with_a_correction(teller: Teller) -> Tale:
    """Acknowledgement, two fills, a correction, two costs, Filled."""
    first, second = teller.execution(1, 300), teller.execution(2, 210)
    after = corrected(first)
    told = (
        teller.report("Submitted"),
        *(ev.Executed(first), ev.Executed(after), cost(first, "1.01")),
        *(ev.Executed(second), cost(second, "1.02")),
        teller.report("Filled"),
    )
    paid = replace(after, commission=D("1.01")), replace(second, commission=D("1.02"))
    return Tale(told, teller.evidence("Filled", *paid), "filled", 500)


def canceled_with_a_late_fill(teller: Teller) -> Tale:
    """A cancel under way: its echo, its error and its end, and a fill that comes after them."""
    late = teller.execution(1, 200)
    told = (
        *(teller.report("Submitted"), teller.report("PendingCancel")),
        *(teller.error(202), teller.report("Cancelled")),
        *(ev.Executed(late), cost(late, "1.00")),
    )
    before = (OrderEvent.ACKNOWLEDGE, OrderEvent.ASK_CANCEL)
    return Tale(told, teller.evidence("Cancelled", late), "canceled", 200, before)


def filled_after_its_end(teller: Teller) -> Tale:
    """Known to be cancelled, and then executed whole, corrected, and told of once more."""
    late, more = teller.execution(1, 200), teller.execution(2, 310)
    told = (
        *(ev.Executed(late), ev.Executed(corrected(late)), cost(corrected(late), "1.00")),
        *(ev.Executed(more), teller.report("Cancelled"), teller.error(10148)),
    )
    before = (OrderEvent.ACKNOWLEDGE, OrderEvent.ASK_CANCEL, OrderEvent.CANCEL)
    evidence = teller.evidence("Filled", corrected(late), more)
    return Tale(told, evidence, "filled", 500, before)


def unknown_and_foreign(teller: Teller) -> Tale:
    """Beside our fill: a trade with a reference of ours that was never sent, and one by hand."""
    mine, strange = teller.execution(1, 500), teller.execution(2, 40, OURS, 8001, "CCC")
    foreign = teller.execution(3, 7, BY_HAND, 8002, "CCC")
    told = (
        *(ev.Executed(mine), teller.report("Submitted")),
        *(ev.Executed(strange), cost(strange, "2.00")),
        *(ev.Executed(foreign), ev.OrderReported(BY_HAND, -1, 8002, "Filled")),
    )
    evidence = teller.evidence("Filled", mine, strange, foreign)
    return Tale(told, evidence, "filled", 500, holds=True)


def unknown_order(teller: Teller) -> Tale:
    """Reports of orders that the ledger does not have, ours and foreign, and of an unknown id."""
    mine = teller.execution(1, 100)
    told = (
        *(teller.report("PreSubmitted"), ev.Executed(mine), cost(mine, "1.00")),
        ev.OrderReported(OURS, 4711, 8001, "Submitted"),
        ev.OrderReported(BY_HAND, -1, 8002, "Submitted"),
        ev.ErrorReported(4712, 201, "of nobody"),
    )
    return Tale(told, teller.evidence("Submitted", mine), "partially_filled", 100, holds=True)


def warned(teller: Teller) -> Tale:
    """Warnings and errors that change nothing about an order that lives on."""
    mine = teller.execution(1, 100)
    told = (
        *(teller.report("Submitted"), ev.Executed(mine), cost(mine, "1.00")),
        *(teller.error(399), teller.error(10148), teller.error(202)),
    )
    return Tale(told, teller.evidence("Submitted", mine), "partially_filled", 100)


def refused(teller: Teller) -> Tale:
    """A rejection after a partial fill, with its error before or after everything else."""
    mine = teller.execution(1, 100)
    told = (
        *(teller.report("Submitted"), teller.report("Inactive")),
        *(teller.error(201), teller.error(399)),
        *(ev.Executed(mine), cost(mine, "1.00")),
    )
    return Tale(told, teller.evidence("Inactive", mine), "rejected", 100)


def told_twice(teller: Teller) -> Tale:
    """Everything is told twice."""
    mine = teller.execution(1, 500)
    told = (teller.report("Submitted"), ev.Executed(mine), cost(mine, "1.00")) * 2
    return Tale(told, teller.evidence("Filled", mine), "filled", 500)


def late_costs(teller: Teller) -> Tale:
    """Costs before their executions, not known yet at first, and again after a correction."""
    first, second = teller.execution(1, 310), teller.execution(2, 200)
    after = corrected(first)
    told = (
        *(ev.Executed(first), cost(first, None), cost(first, "1.00")),
        *(ev.Executed(after), cost(after, "0.90")),
        ev.Executed(second),
    )
    return Tale(told, teller.evidence("Filled", after, second), "filled", 500)


def busted(teller: Teller) -> Tale:
    """A correction takes shares back from an order that was whole: it has ended incomplete."""
    first, second = teller.execution(1, 300), teller.execution(2, 200)
    after = corrected(first)
    told = (
        *(teller.report("Submitted"), ev.Executed(first), ev.Executed(second)),
        *(ev.Executed(after), cost(after, "1.00"), teller.report("Cancelled")),
    )
    evidence = teller.evidence("Cancelled", after, second)
    return Tale(told, evidence, "canceled", 490, settles=True)


TALES: dict[str, Callable[[Teller], Tale]] = {
    tale.__name__: tale
    for tale in (
        filled_with_a_correction,
        canceled_with_a_late_fill,
        filled_after_its_end,
        unknown_and_foreign,
        unknown_order,
        warned,
        refused,
        told_twice,
        late_costs,
        busted,
    )
}


# --- what the ledger says -------------------------------------------------------------------------


def ledger_after(
    house: House, tale: Tale, told: Sequence[ev.BrokerEvent], *, asks: bool = True
) -> list[object]:
    """Return what is known after these callbacks, and after evidence if asked; undo all of it."""
    seen: list[object] = []
    with suppress(UndoError), house.ledger.transaction() as tx:
        seen += islice(tell(house, tx, tale, told), None if asks else 1)
        raise UndoError
    return seen


def tell(house: House, tx: Tx, tale: Tale, told: Sequence[ev.BrokerEvent]) -> Iterator[object]:
    """Tell an executor that has heard nothing yet; yield what is known then."""
    desk, now = fresh(house.desk), house.clock.now()
    for event in tale.before:
        perm_id = house.broker.find(REF).perm_id
        orders.apply(tx, REF, event, perm_id=perm_id, now=now.utc, actor="test")
    for callback in told:
        desk._take(tx, callback, now)
    # More shares than were ordered hold every send too, until their correction is told of.
    yield known(tx), tale.holds <= (desk._hold is not None)
    desk._pass = Pass(desk._hold_until + 1, now)
    desk._take(tx, ev.EvidenceCollected(tale.evidence), now)
    yield known(tx), desk._hold is not None, desk.trouble
    row = orders.find(tx.db, REF)
    assert row is not None
    yield str(row.order.status), row.order.filled_quantity


def fresh(desk: OrderExecutor) -> OrderExecutor:
    """Return an executor that remembers what this one does, and forgets it for itself."""
    made = copy(desk)
    made._heard, made._costs = set(), {}
    made._judge = copy(desk._judge)
    for name in ("_sent", "_cancels", "_missed", "_absent"):
        setattr(made._judge, name, dict(getattr(desk._judge, name)))
    return made


def known(tx: Tx) -> list[tuple[str, dict[str, object]]]:
    """Return every order sent and every execution, with all columns that are compared."""
    return [
        (table, {name: row[name] for name in row.keys() if name not in NOT_COMPARED})  # noqa: SIM118
        for table, which in SELECTED.items()
        for row in tx.db.execute(f"SELECT * FROM {table} {which}")  # noqa: S608
    ]


@pytest.mark.parametrize("name", TALES)
def test_every_order_of_a_small_history_leads_to_the_same_ledger(house: House, name: str) -> None:
    """All sequences there are, with the evidence that follows each of them."""
    tale = TALES[name](Teller(house))
    wanted = ledger_after(house, tale, tale.told)
    assert wanted[2] == (tale.status, tale.filled)
    assert wanted[0][1]  # type: ignore[index]
    for number, sequence in enumerate(dict.fromkeys(permutations(tale.told))):
        asks = len(sequence) < 7 or number % EVERY == 0
        seen = ledger_after(house, tale, sequence, asks=asks)
        begin = 1 if tale.settles else 0
        assert seen[begin:] == wanted[begin : len(seen)], sequence


def long_tale(teller: Teller, chance: Random, count: int) -> Tale:
    """Return a history of many fills, some corrected, among warnings and trades of others."""
    cuts = sorted(chance.sample(range(1, 499), count - 1))
    parts = [b - a for a, b in zip([0, *cuts], [*cuts, 500], strict=True)]
    told: list[ev.BrokerEvent] = [teller.report("Submitted"), teller.error(399)]
    final: list[Execution] = []
    for number, quantity in enumerate(parts, start=1):
        is_corrected = chance.random() < 0.3
        more = 10 if is_corrected else 0  # the correction takes them back
        execution = teller.execution(number, quantity + more)
        told += [ev.Executed(execution), cost(execution, f"1.{number:02}")]
        if is_corrected:
            execution = corrected(execution)
            told += [ev.Executed(execution), cost(execution, f"2.{number:02}")]
        final.append(execution)
    before: tuple[OrderEvent, ...] = ()
    if chance.random() < 0.5:
        before = (OrderEvent.ACKNOWLEDGE, OrderEvent.ASK_CANCEL)
        told += [teller.report("PendingCancel"), teller.report("Cancelled"), teller.error(202)]
    for ref, number in ((OURS, 101), (BY_HAND, 102)):
        if chance.random() < 0.5:
            other = teller.execution(number, 5, ref, 8000 + number, "CCC")
            told += [ev.Executed(other), cost(other, "1.00")]
            final.append(other)
    return Tale(
        (*told, teller.report("Filled")), teller.evidence("Filled", *final), "filled", 500, before
    )


@settings(max_examples=120, deadline=None)
@given(chance=st.randoms(use_true_random=False), count=st.integers(1, 12))
def test_a_long_history_shuffled_with_repetitions_leads_to_the_same_ledger(
    house: House, chance: Random, count: int
) -> None:
    """Whatever comes twice or late: what has happened is what is written."""
    tale = long_tale(Teller(house), chance, count)
    wanted = ledger_after(house, tale, tale.told)
    assert wanted[2] == (tale.status, tale.filled)
    heard = [*tale.told, *chance.choices(tale.told, k=chance.randrange(2 * len(tale.told)))]
    chance.shuffle(heard)
    assert ledger_after(house, tale, heard) == wanted
