"""Executions: each exactly once, whatever the order, repetition or delay of their reports."""

import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibloop.adapters.ledger import audit, fills, orders
from ibloop.adapters.ledger.connection import Ledger, open_ledger
from ibloop.adapters.ledger.fills import FillOutcome
from ibloop.core.lifecycle import OrderState
from ibloop.core.model import Execution, Mode, Order, Side

REF = "ibl:R1:AAA:B:0"


@pytest.fixture
def sent(ledger: Ledger, make: Any) -> Ledger:
    """Return a ledger with an order of 100 AAA on its way."""
    make.planned(ledger)
    make.sending(ledger)
    return ledger


def record(ledger: Ledger, make: Any, *executions: Execution) -> list[FillOutcome]:
    """Record executions, each in its own transaction."""
    outcomes = []
    for execution in executions:
        with ledger.transaction() as tx:
            outcomes.append(fills.record(tx, execution, make.at(6), "executor"))
    return outcomes


def order(ledger: Ledger) -> Order:
    """Return the default order."""
    row = orders.find(ledger.db, REF)
    assert row is not None
    return row.order


def test_fills_make_the_order(sent: Ledger, make: Any) -> None:
    """Quantity and average price come from the executions, and the last one fills the order."""
    assert record(sent, make, make.execution("e1.01", "40", "10")) == [FillOutcome.NEW]
    assert (order(sent).status, order(sent).filled_quantity) == (OrderState.PARTIALLY_FILLED, 40)
    assert record(sent, make, make.execution("e2.01", "60", "10.50")) == [FillOutcome.NEW]
    assert (order(sent).status, order(sent).remaining) == (OrderState.FILLED, 0)
    assert order(sent).avg_fill_price == Decimal("10.3")


def test_a_repeated_report_changes_nothing(sent: Ledger, make: Any) -> None:
    """Callbacks and the evidence pass tell of the same execution."""
    record(sent, make, make.execution())
    before = (fills.listing(sent.db, 9), order(sent), audit.rows(sent.db, 99))
    assert record(sent, make, make.execution()) == [FillOutcome.KNOWN]
    assert (fills.listing(sent.db, 9), order(sent), audit.rows(sent.db, 99)) == before


def test_the_highest_revision_wins(sent: Ledger, make: Any) -> None:
    """A correction replaces; the original coming late does not come back."""
    corrected = make.execution("e1.02", "30", "11")
    outcomes = record(sent, make, make.execution(), corrected, make.execution())
    assert outcomes == [FillOutcome.NEW, FillOutcome.CORRECTED, FillOutcome.KNOWN]
    (fill,) = fills.of_order(sent.db, REF)
    assert (fill.exec_base, fill.exec_id, fill.quantity) == ("e1", "e1.02", 30)
    assert (order(sent).filled_quantity, order(sent).avg_fill_price) == (30, 11)
    assert "fill.corrected" in [row.event for row in audit.rows(sent.db, 9)]


def test_the_tenth_correction_is_higher_than_the_ninth(sent: Ledger, make: Any) -> None:
    """Revisions are numbers, not texts."""
    record(sent, make, make.execution("e1.10", "10"), make.execution("e1.9", "9"))
    assert fills.of_order(sent.db, REF)[0].exec_id == "e1.10"


def test_a_busted_execution_is_none(sent: Ledger, make: Any) -> None:
    """A correction to zero shares takes the fill back and keeps its row."""
    record(sent, make, make.execution(), make.execution("e1.02", "0", "0"))
    assert (order(sent).filled_quantity, order(sent).avg_fill_price) == (0, None)
    assert len(fills.of_order(sent.db, REF)) == 1


def test_more_fills_than_shares_are_kept(sent: Ledger, make: Any) -> None:
    """An over-fill is stored, for whoever checks promise P5; losing it would be worse."""
    record(sent, make, make.execution("e1.01", "60"), make.execution("e2.01", "60"))
    assert (order(sent).status, order(sent).filled_quantity) == (OrderState.FILLED, 120)
    record(sent, make, make.execution("e1.02", "40"))
    assert (order(sent).status, order(sent).filled_quantity) == (OrderState.FILLED, 100)


def test_a_batch_may_hold_original_and_correction_in_any_order(sent: Ledger, make: Any) -> None:
    """Only what is true after the whole batch counts."""
    batch = [
        make.execution("e1.01", "100"),
        make.execution("e2.01", "60"),
        make.execution("e1.02", "40"),
    ]
    with sent.transaction() as tx:
        outcomes = fills.record_all(tx, batch, make.at(6), "executor")
    assert outcomes == (FillOutcome.NEW, FillOutcome.NEW, FillOutcome.CORRECTED)
    assert order(sent).status is OrderState.FILLED


def test_a_fill_is_legal_in_every_state(sent: Ledger, make: Any) -> None:
    """What was executed was executed, whatever we believed of the order."""
    with sent.transaction() as tx:
        orders.apply(tx, REF, orders.OrderEvent.REJECT, now=make.at(2), actor="executor")
    record(sent, make, make.execution("e1.01", "40"))
    assert (order(sent).status, order(sent).filled_quantity) == (OrderState.REJECTED, 40)
    record(sent, make, make.execution("e2.01", "60"))
    assert order(sent).status is OrderState.FILLED


def test_a_foreign_execution_is_kept(sent: Ledger, make: Any) -> None:
    """Somebody traded by hand: recorded, belonging to no order of ours, reference kept."""
    record(sent, make, make.execution("m1.01", ref="by hand"), make.execution("m2.01", ref=""))
    found = fills.listing(sent.db, 9)
    kept = {fill.exec_id: (fill.client_order_id, fill.order_ref) for fill in found}
    assert kept == {"m1.01": (None, "by hand"), "m2.01": (None, "")}
    assert order(sent).filled_quantity == 0


def test_a_reference_that_comes_late_is_taken(sent: Ledger, make: Any) -> None:
    """A repeated report fills the gaps of the first one."""
    record(sent, make, make.execution(ref=""))
    assert order(sent).filled_quantity == 0
    assert record(sent, make, make.execution()) == [FillOutcome.KNOWN]
    assert order(sent).filled_quantity == 40
    assert fills.of_order(sent.db, REF)[0].order_ref == REF


def test_a_commission_comes_by_itself(sent: Ledger, make: Any) -> None:
    """It waits for its execution, and nothing does not replace it."""

    def cost(commission: str | None, exec_id: str = "e1.01") -> bool:
        amount = None if commission is None else Decimal(commission)
        with sent.transaction() as tx:
            return fills.record_commission(tx, exec_id, amount, None, make.at(7), "executor")

    assert not cost("1")
    record(sent, make, make.execution())
    assert cost("1")
    assert cost(None)
    record(sent, make, make.execution(), make.execution("e1.02", "30"))
    (fill,) = fills.of_order(sent.db, REF)
    assert (fill.commission, fill.realized_pnl) == (1, None)
    assert cost("3", "e1.02")
    assert cost("2")
    with sent.transaction() as tx:
        fills.record_commission(tx, "e1.02", None, Decimal(-5), make.at(8), "executor")
    (fill,) = fills.of_order(sent.db, REF)
    assert (fill.commission, fill.realized_pnl) == (3, -5)


def test_executions_of_orders_we_never_sent_are_named(sent: Ledger, make: Any) -> None:
    """Foreign references and planned orders show up; what was journalled does not."""
    with sent.transaction() as tx:
        orders.insert(tx, [make.order("ibl:R1:BBB:B:0")], "test")
    planned = make.execution("e2.01", ref="ibl:R1:BBB:B:0", symbol="BBB")
    record(sent, make, make.execution(), planned, make.execution("m1.01", ref="by hand"))
    assert fills.unsent_refs(sent.db) == ("by hand", "ibl:R1:BBB:B:0")


def test_sums_are_signed(sent: Ledger, make: Any) -> None:
    """Bought counts up, sold counts down, ours and foreign alike, from a moment on."""
    early = replace(make.execution("m3.01", "7", ref=""), executed_at=make.at(-1))
    sold = make.execution("m1.01", "15", ref="by hand", side=Side.SELL)
    other = make.execution("m2.01", "3", ref="", symbol="BBB", side=Side.SELL)
    record(sent, make, make.execution(), early, sold, other)
    assert fills.signed_by_symbol(sent.db, make.t0) == {"AAA": 25, "BBB": -3}
    assert fills.signed(fills.of_run(sent.db, "r1")) == {"AAA": 40}
    assert [fill.exec_id for fill in fills.listing(sent.db, 1)] != ["m3.01"]


def test_what_came_after_a_baseline_is_told_by_our_clock(sent: Ledger, make: Any) -> None:
    """A fill counts from when it entered the ledger, whenever the broker says it happened."""
    record(sent, make, make.execution("e1.01"))
    with sent.transaction() as tx:
        early = replace(make.execution("m1.01", ref="by hand"), executed_at=make.at(-60))
        fills.record(tx, early, make.at(7), "executor")
    assert [fill.exec_id for fill in fills.recorded_after(sent.db, make.at(6))] == ["m1.01"]
    assert [fill.exec_id for fill in fills.everything(sent.db)] == ["m1.01", "e1.01"]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, int, int, int | None]]:
    """Draw executions with up to three revisions each: (exec_id, shares, cents, commission)."""
    events = []
    for number in range(draw(st.integers(1, 4))):
        for revision in range(1, draw(st.integers(1, 3)) + 1):
            shares, cents = draw(st.integers(0, 25)), draw(st.integers(1, 5000))
            commission = draw(st.none() | st.integers(0, 300))
            events.append((f"0000e0d5.{number}.{revision:02}", shares, cents, commission))
    return events


def play(path: Path, make: Any, reports: Sequence[Any]) -> tuple[Any, ...]:
    """Record reports one by one in a new ledger; return order and fills at the end.

    A commission that comes before its execution is kept back, as the executor does.
    """
    path.unlink(missing_ok=True)
    ledger = open_ledger(path, mode=Mode.PAPER, account=make.account, now=make.t0)
    make.planned(ledger)
    make.sending(ledger)
    waiting: list[tuple[str, Decimal]] = []
    for exec_id, shares, cents, commission, part in reports:
        with ledger.transaction() as tx:
            if part == "cost":
                waiting.append((exec_id, Decimal(commission) / 100))
            else:
                whole = Decimal(commission) / 100 if part == "both" else None
                execution = make.execution(
                    exec_id, str(shares), str(Decimal(cents) / 100), commission=whole
                )
                fills.record(tx, execution, make.at(6), "executor")
            waiting = [
                (known, cost)
                for known, cost in waiting
                if not fills.record_commission(tx, known, cost, None, make.at(7), "executor")
            ]
    assert not waiting
    end = (order(ledger), fills.of_order(ledger.db, REF), audit.verify(ledger.db).is_whole)
    ledger.close()
    return end


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=histories(), seed=st.integers(0, 2**32))
def test_any_order_of_reports_gives_the_same_ledger(
    tmp_path: Path, make: Any, history: list[Any], seed: int
) -> None:
    """Shuffled, repeated and with late commissions: the same fills, the same order (P3)."""
    chance = random.Random(seed)
    plain = [(*event, "both" if event[3] is not None else "fill") for event in history]
    shuffled = []
    for event in history:
        parts = ["fill"] if event[3] is None else chance.choice([["both"], ["fill", "cost"]])
        shuffled += [(*event, part) for part in parts * chance.randint(1, 3)]
    chance.shuffle(shuffled)
    path = tmp_path / "ibloop.db"
    last = {event[0].rpartition(".")[0]: event for event in history}
    expected, expected_fills, _ = play(path, make, plain)
    assert expected.filled_quantity == sum(event[1] for event in last.values())
    assert {fill.exec_id for fill in expected_fills} == {event[0] for event in last.values()}
    found, found_fills, is_whole = play(path, make, shuffled)
    assert is_whole
    assert found_fills == expected_fills
    # The state may differ: a correction can take back the fill that moved it.
    totals = (expected.filled_quantity, expected.avg_fill_price)
    assert (found.filled_quantity, found.avg_fill_price) == totals


def test_an_execution_identifies_an_order_without_acknowledgement(sent: Ledger, make: Any) -> None:
    """Its permId is adopted once, with a line in the audit log, and stays."""
    assert order(sent).perm_id is None
    record(sent, make, make.execution("e1.01"))
    assert order(sent).perm_id == 7001
    record(sent, make, replace(make.execution("e2.01"), perm_id=7002))
    assert order(sent).perm_id == 7001
    told = [row for row in audit.of_subject(sent.db, REF) if row.event == "order.identified"]
    assert [row.payload for row in told] == [{"perm_id": 7001, "source": "execution"}]


def test_two_perm_ids_at_once_identify_nothing(sent: Ledger, make: Any) -> None:
    """Two orders carry one reference then: that is for evidence to judge, not for a fill."""
    both = (make.execution("e1.01"), replace(make.execution("e2.01"), perm_id=7002))
    with sent.transaction() as tx:
        fills.record_all(tx, both, make.at(6), "executor")
    assert order(sent).perm_id is None


def test_an_order_that_was_never_sent_is_not_identified(ledger: Ledger, make: Any) -> None:
    """Whoever filled it: it stays a contradiction, which stops the account."""
    make.planned(ledger)
    record(ledger, make, make.execution("e1.01"))
    assert order(ledger).perm_id is None


def test_foreign_symbols_are_those_of_others_since(sent: Ledger, make: Any) -> None:
    """Ours do not count, nor what came before."""
    record(sent, make, make.execution("e1.01"), make.execution("e2.01", ref="", symbol="BBB"))
    assert fills.foreign_symbols_after(sent.db, make.at(5)) == {"BBB"}
    assert fills.foreign_symbols_after(sent.db, make.at(6)) == frozenset()
