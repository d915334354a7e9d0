"""What the checks said is kept as it was said; what they are asked of is counted right."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ibloop.adapters.ledger import fills, orders, risk
from ibloop.adapters.ledger.connection import IntegrityError, Ledger
from ibloop.core.lifecycle import OrderEvent
from ibloop.core.model import Side
from ibloop.core.risk import Moment, SentOrder, Verdict

D = Decimal
SAID = (
    Verdict("gross_weight_max", D("0.25"), D(1), passed=True),
    Verdict("sector_weight_max", D(1) / 3, D("0.3"), passed=False, subject="Energy"),
    Verdict("position_weight_max", D("Infinity"), D("0.3"), passed=False),
    Verdict("adv_participation_max", None, D("0.05"), passed=False),
    Verdict("quote_age_s_max", 0.25, 15.0, passed=True),
    Verdict("halted_symbol", "not halted", "not halted", passed=True),
)


def row(make: Any, **changes: object) -> risk.VerdictRow:
    """Return a row of a send."""
    whole = risk.VerdictRow(
        run_id="r1",
        attempt=0,
        moment=Moment.SEND,
        client_order_id="ibl:R1:AAA:B:0",
        at=make.at(3),
        passed=False,
        verdicts=SAID,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_verdicts_read_back_as_they_were_said(ledger: Ledger, make: Any) -> None:
    """Numbers, words, what was missing and what was infinite; oldest first."""
    make.planned(ledger)
    plan = row(make, moment=Moment.PLAN, client_order_id=None, passed=True, verdicts=SAID[:1])
    with ledger.transaction() as tx:
        risk.store_verdicts(tx, plan)
        risk.store_verdicts(tx, row(make))
    first, second = risk.verdict_rows(ledger.db, "r1")
    assert first == plan
    assert [(v.check, v.subject, v.passed) for v in second.verdicts] == [
        (v.check, v.subject, v.passed) for v in SAID
    ]
    assert [v.found for v in second.verdicts] == [
        *(D("0.25"), D(1) / 3, "Infinity", None, D("0.25"), "not halted")
    ]
    assert risk.verdict_rows(ledger.db, "another") == ()


@pytest.mark.parametrize(
    "sql", ["UPDATE risk_verdicts SET passed = 1", "DELETE FROM risk_verdicts"]
)
def test_a_verdict_is_never_rewritten(ledger: Ledger, make: Any, sql: str) -> None:
    """What was refused stays refused (promise P13)."""
    make.planned(ledger)
    with ledger.transaction() as tx:
        risk.store_verdicts(tx, row(make))
    with pytest.raises(IntegrityError, match="never"), ledger.transaction() as tx:
        tx.execute(sql)


@pytest.mark.parametrize("moment", Moment)
def test_a_plan_has_no_order_and_everything_else_has_one(
    ledger: Ledger, make: Any, moment: Moment
) -> None:
    """The database holds the two kinds of rows apart."""
    make.planned(ledger)
    ref = "ibl:R1:AAA:B:0" if moment is Moment.PLAN else None
    with pytest.raises(IntegrityError), ledger.transaction() as tx:
        risk.store_verdicts(tx, row(make, moment=moment, client_order_id=ref))


def test_the_basis_of_an_attempt_is_replaced_and_found(ledger: Ledger, make: Any) -> None:
    """A plan made again after a crash has the figures it was made of last."""
    make.planned(ledger)
    basis = risk.RiskBasis(
        run_id="r1",
        attempt=0,
        at=make.at(1),
        limits={"limits": {"orders_per_run_max": 5, "net_weight_max": None}},
        settled_cash_usd=D("-12.5"),
        day_trades_left=-1,
        unvalued_usd=D(7),
    )
    later = replace(basis, at=make.at(2), settled_cash_usd=None, day_trades_left=None)
    with ledger.transaction() as tx:
        risk.store_basis(tx, basis)
    assert risk.basis_of(ledger.db, "r1", 0) == basis
    with ledger.transaction() as tx:
        risk.store_basis(tx, later)
    assert risk.basis_of(ledger.db, "r1", 0) == later
    assert risk.basis_of(ledger.db, "r1", 1) is None


def test_what_is_at_the_broker_and_what_was_sent(ledger: Ledger, make: Any) -> None:
    """A partly filled order works on with its rest; one that ended empty repeats nothing."""
    make.planned(ledger)
    assert risk.working_orders(ledger.db) == ()
    assert risk.sent_since(ledger.db, ["AAA"], make.t0) == {}
    sent = make.sending(ledger)
    with ledger.transaction() as tx:
        fills.record(tx, replace(make.execution(), quantity=D(40)), make.at(6), "executor")
    (working,) = risk.working_orders(ledger.db)
    assert (working.symbol, working.side, working.remaining) == ("AAA", Side.BUY, D(60))
    stored = orders.find(ledger.db, "ibl:R1:AAA:B:0")
    assert stored is not None
    assert stored.order.sent_at is not None
    del sent
    expected = SentOrder(Side.BUY, D(100), stored.order.sent_at, may_have_filled=True)
    since = stored.order.sent_at
    assert risk.sent_since(ledger.db, ["AAA", "BBB"], since) == {"AAA": [expected]}
    assert risk.sent_since(ledger.db, ["BBB"], since) == {}
    assert risk.sent_since(ledger.db, ["AAA"], since + timedelta(milliseconds=1)) == {}


def test_an_order_that_ended_without_a_share_cannot_be_repeated(ledger: Ledger, make: Any) -> None:
    """Only what may have been executed makes the same order a second one."""
    make.planned(ledger)
    make.sending(ledger)
    with ledger.transaction() as tx:
        orders.apply(tx, "ibl:R1:AAA:B:0", OrderEvent.CANCEL, now=make.at(7), actor="executor")
    (sent,) = risk.sent_since(ledger.db, ["AAA"], make.t0)["AAA"]
    assert not sent.may_have_filled
    assert risk.working_orders(ledger.db) == ()


def test_trades_come_in_order_of_time(ledger: Ledger, make: Any) -> None:
    """Ours and those of others; what was corrected to nothing is none."""
    make.planned(ledger)
    make.sending(ledger)
    one = make.execution()
    with ledger.transaction() as tx:
        fills.record(tx, one, make.at(6), "executor")
    (trade,) = risk.trades_since(ledger.db, make.t0 - timedelta(days=7))
    assert trade == (one.symbol, one.side, one.executed_at)
    assert list(risk.trades_since(ledger.db, one.executed_at + timedelta(seconds=1))) == []
