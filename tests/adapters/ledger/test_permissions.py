"""Armings and approvals: given once, counted by number, ended, and never rewritten."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ibloop.adapters.ledger import approvals, arming, audit, orders
from ibloop.adapters.ledger.connection import IntegrityError, Ledger
from ibloop.core.approval import Ticket, TicketLine
from ibloop.core.arming import Term, term_from
from ibloop.core.invariant import InvariantError
from ibloop.core.model import Mode, Moment, Side

D = Decimal


def moment(make: Any, seconds: float = 0) -> Moment:
    """Return a moment of the story on both clocks."""
    return Moment(make.at(seconds), 10**12 + int(seconds * 1e9), "a" * 32)


def wanted(make: Any, **changes: Any) -> arming.Wanted:
    """Return what a person permits: 50,000 USD in two runs for an hour."""
    made = arming.Wanted(
        account=make.account,
        term=term_from(moment(make), timedelta(hours=1)),
        config_hash="c0ffee",
        universe_hash="abc",
        build="1.0",
        notional_usd_max=D(50_000),
        runs_max=2,
    )
    return replace(made, **changes)


def given(ledger: Ledger, make: Any, **changes: Any) -> int:
    """Arm and return the permission's id."""
    with ledger.transaction() as tx:
        return arming.arm(tx, wanted(make, **changes), "ann", make.t0)


def why_not(ledger: Ledger, make: Any, run_id: str | None = None) -> str | None:
    """Return why nothing may be sent now."""
    return arming.why_not(
        ledger.db,
        moment(make, 60),
        account=make.account,
        config_hash="c0ffee",
        universe_hash="abc",
        build="1.0",
        run_id=run_id,
    )


def test_a_permission_reads_back_as_it_was_given(ledger: Ledger, make: Any) -> None:
    """And it stands, until a person ends it."""
    assert why_not(ledger, make) == "not armed"
    given(ledger, make)
    found = arming.current(ledger.db)
    assert found is not None
    assert (found.account, found.armed_by, found.runs, found.sent_usd) == (
        *(make.account, "ann"),
        *(frozenset(), D(0)),
    )
    assert found.term == Term(moment(make, 3600))
    assert why_not(ledger, make) is None
    with ledger.transaction() as tx:
        assert arming.disarm(tx, "bob", "enough", make.at(60))
        assert not arming.disarm(tx, "bob", "enough", make.at(61))
    assert why_not(ledger, make) == "not armed"
    assert [row.event for row in audit.rows(ledger.db, 2)] == ["live.disarmed", "live.armed"]


def test_a_new_permission_ends_the_one_before(ledger: Ledger, make: Any) -> None:
    """There is never more than one: amounts do not add up."""
    given(ledger, make)
    given(ledger, make, notional_usd_max=D(10))
    found = arming.current(ledger.db)
    assert found is not None
    assert found.notional_usd_max == D(10)
    open_rows = ledger.db.execute("SELECT count(*) FROM arming WHERE ended_at IS NULL").fetchone()
    assert open_rows[0] == 1


def test_what_was_sent_is_counted_from_its_beginning(ledger: Ledger, make: Any) -> None:
    """By order numbers, so a clock that is set back hides nothing; also what never left counts."""
    make.planned(ledger, "ibl:R1:AAA:B:0", "ibl:R1:BBB:B:0")
    make.sending(ledger, "ibl:R1:AAA:B:0", 7)
    given(ledger, make)
    before = arming.current(ledger.db)
    assert before is not None
    assert before.sent_usd == 0
    make.sending(ledger, "ibl:R1:BBB:B:0", 8)
    row = orders.find(ledger.db, "ibl:R1:BBB:B:0")
    assert row is not None
    after = arming.current(ledger.db)
    assert after is not None
    assert after.sent_usd == row.order.quantity * (row.order.limit_price or row.arrival_price)
    assert after.left_usd == D(50_000) - after.sent_usd


def test_runs_are_used_up_one_by_one(ledger: Ledger, make: Any) -> None:
    """A run that sends is written down once; when all are, only those may go on."""
    make.planned(ledger)
    given(ledger, make, runs_max=1)
    with ledger.transaction() as tx:
        found = arming.current(tx.db)
        assert found is not None
        arming.use(tx, found, "r1", make.at(1), "executor")
    assert why_not(ledger, make, "r1") is None
    assert why_not(ledger, make) == "the 1 armed runs are used up"


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE arming SET notional_usd_max = '99999'",
        "UPDATE arming SET expires_at = '2030-01-01T00:00:00.000Z'",
        "UPDATE arming SET runs_max = 9",
        "UPDATE arming SET order_id_floor = 9",
        "UPDATE arming SET universe_hash = 'other'",
        "DELETE FROM arming",
        "UPDATE approvals SET ticket_hash = replace(ticket_hash, 'a', 'b'), content = '{}'",
        "UPDATE approvals SET expires_boottime_ns = expires_boottime_ns + 1",
        "DELETE FROM approvals",
    ],
)
def test_a_permission_cannot_be_rewritten(ledger: Ledger, make: Any, sql: str) -> None:
    """The database itself refuses, whoever writes."""
    given(ledger, make)
    asked(ledger, make)
    with pytest.raises(IntegrityError, match="never"), ledger.transaction() as tx:
        tx.execute(sql)


def test_an_ended_permission_stays_ended(ledger: Ledger, make: Any) -> None:
    """Nobody arms by taking a disarming back."""
    given(ledger, make)
    with ledger.transaction() as tx:
        arming.disarm(tx, "bob", "enough", make.at(60))
    with pytest.raises(IntegrityError, match="never"), ledger.transaction() as tx:
        tx.execute("UPDATE arming SET ended_at = NULL, ended_by = NULL, end_reason = NULL")


def test_another_account_is_never_armed(ledger: Ledger, make: Any) -> None:
    """The ledger belongs to one account (P9)."""
    with pytest.raises(IntegrityError, match="of another account"):
        given(ledger, make, account="U7654321")


# --- approvals ------------------------------------------------------------------------------------


def ticket(make: Any, attempt: int = 0) -> Ticket:
    """Return a ticket for run r1."""
    return Ticket(
        account=make.account,
        mode=Mode.PAPER,
        run_id="r1",
        run_key="R1",
        attempt=attempt,
        snapshot_hash="5" * 64,
        config_hash="c0ffee",
        collar_fraction=D("0.03"),
        lines=(TicketLine("AAA", 1, Side.BUY, D(100), D("10.5")),),
    )


def asked(ledger: Ledger, make: Any) -> str:
    """Store run r1 with its ticket and return the hash."""
    make.planned(ledger)
    with ledger.transaction() as tx:
        term = term_from(moment(make), timedelta(hours=1))
        return approvals.request(tx, ticket(make), term, make.t0, "executor")


def test_a_ticket_is_approved_once(ledger: Ledger, make: Any) -> None:
    """Of two people who approve at once, one does; the other finds it done."""
    digest = asked(ledger, make)
    with ledger.transaction() as tx:
        assert approvals.approve(tx, "r1", 0, digest, "ann", make.at(5))
    with ledger.transaction() as tx:
        assert not approvals.approve(tx, "r1", 0, digest, "bob", make.at(6))
    found = approvals.find(ledger.db, "r1", 0)
    assert found is not None
    assert (found.ticket, found.approved_by) == (ticket(make), "ann")
    assert found.approved_at == make.at(5)


def test_another_hash_or_attempt_approves_nothing(ledger: Ledger, make: Any) -> None:
    """The next attempt of a run is another ticket."""
    digest = asked(ledger, make)
    with ledger.transaction() as tx:
        assert not approvals.approve(tx, "r1", 0, "0" * 64, "ann", make.at(5))
        assert not approvals.approve(tx, "r1", 1, digest, "ann", make.at(5))
    found = approvals.find(ledger.db, "r1", 0)
    assert found is not None
    assert found.approved_at is None
    assert approvals.find(ledger.db, "r1", 1) is None


def test_a_ticket_that_is_not_its_hash_is_no_ticket(ledger: Ledger, make: Any) -> None:
    """Whoever reaches past the triggers into the file is noticed before anything is sent."""
    asked(ledger, make)
    with ledger.transaction() as tx:
        tx.execute("DROP TRIGGER approvals_update")
        tx.execute("UPDATE approvals SET content = replace(content, '\"100\"', '\"900\"')")
    with pytest.raises(InvariantError, match="not the one its hash names"):
        approvals.find(ledger.db, "r1", 0)


def test_waiting_gives_the_planned_orders_their_time_back(ledger: Ledger, make: Any) -> None:
    """What was sent keeps its end: the broker has been told of it."""
    make.planned(ledger, "ibl:R1:AAA:B:0", "ibl:R1:BBB:B:0")
    make.sending(ledger, "ibl:R1:AAA:B:0", 7)
    sent = orders.find(ledger.db, "ibl:R1:AAA:B:0")
    with ledger.transaction() as tx:
        ends = {"deadline_at": make.at(9000), "good_till": make.at(8000)}
        approvals.postpone(tx, "r1", 0, **ends, now=make.at(60), actor="executor")
    assert orders.find(ledger.db, "ibl:R1:AAA:B:0") == sent
    waiting = orders.find(ledger.db, "ibl:R1:BBB:B:0")
    assert waiting is not None
    assert waiting.order.good_till == make.at(8000)
