"""The broker's evidence decides what happened to an order; its silence decides nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibloop.core.lifecycle import ORDER_AT_BROKER, ORDER_TRANSITIONS, OrderEvent, OrderState
from ibloop.core.model import (
    AccountValues,
    BrokerOrder,
    Evidence,
    Execution,
    Order,
    OrderType,
    Side,
    Tif,
)
from ibloop.core.recovery import (
    REQUEST_FAILED_CODES,
    AbsenceRules,
    Refusal,
    hint,
    is_absent,
    judge,
    needs_evidence,
    proves_not_sent,
    unrecorded,
)

D = Decimal
SENT = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
GOOD_TILL = SENT + timedelta(minutes=30)
REF = "ibl:2026W47:AAA:B:0"
ORDER = Order(
    client_order_id=REF,
    run_id="r1",
    symbol="AAA",
    con_id=1,
    side=Side.BUY,
    quantity=D(10),
    order_type=OrderType.LMT,
    limit_price=D(100),
    tif=Tif.GTD,
    good_till=GOOD_TILL,
    status=OrderState.SENDING,
    ib_order_id=7,
    sent_at=SENT,
)
SEEN = BrokerOrder(
    client_order_id=REF,
    account="DU1",
    perm_id=501,
    client_id=11,
    ib_order_id=7,
    symbol="AAA",
    side=Side.BUY,
    quantity=D(10),
    ib_status="Submitted",
    filled_quantity=D(0),
)
EXECUTION = Execution(
    exec_id="0001.01",
    account="DU1",
    client_order_id=REF,
    perm_id=501,
    symbol="AAA",
    con_id=1,
    side=Side.BUY,
    quantity=D(4),
    price=D(100),
    executed_at=SENT,
)
REFUSAL = Refusal(201, "no margin")


def seen(status: str, *, perm_id: int = 501, filled: int | None = 0, ref: str = REF) -> BrokerOrder:
    """Return the order as the broker shows it."""
    quantity = None if filled is None else D(filled)
    return replace(
        SEEN, ib_status=status, perm_id=perm_id, filled_quantity=quantity, client_order_id=ref
    )


def over(late_s: int) -> BrokerOrder:
    """Return the order as one that ended so many seconds after its time, by the broker's clock."""
    ended_at = GOOD_TILL.replace(microsecond=0) + timedelta(seconds=late_s)
    return replace(seen("Cancelled"), ended_at=ended_at)


def evidence(
    *,
    shown: tuple[BrokerOrder, ...] = (),
    ended: tuple[BrokerOrder, ...] = (),
    executions: tuple[Execution, ...] = (),
    at: datetime = SENT + timedelta(minutes=1),
) -> Evidence:
    """Return a complete pass over the broker's books."""
    return Evidence(at, AccountValues("DU1", D(1000), D(1000), at), (), shown, ended, executions)


NOTHING = evidence()
LATE = GOOD_TILL


@pytest.mark.parametrize(
    ("found", "event", "perm_id"),
    [
        (evidence(shown=(seen("Submitted"),)), "acknowledge", 501),
        (evidence(shown=(seen("PreSubmitted"),)), "acknowledge", 501),
        (evidence(shown=(seen("PendingSubmit"),)), None, 501),
        (evidence(shown=(seen("PendingCancel"),)), None, 501),
        (evidence(shown=(seen("Submitted", perm_id=0),)), None, None),
        (evidence(ended=(seen("Cancelled"),)), "cancel", 501),
        (evidence(ended=(seen("Cancelled", filled=None),)), "cancel", 501),
        (evidence(ended=(seen("Cancelled"),), at=LATE), "cancel", 501),
        (evidence(ended=(over(0),), at=LATE), "expire", 501),
        (evidence(ended=(over(-1),), at=LATE), "cancel", 501),
        (evidence(ended=(seen("Inactive"),)), "reject", 501),
        (evidence(ended=(seen("Inactive"),), at=LATE), "reject", 501),
        (evidence(ended=(seen("Cancelled", filled=1),)), "lose", 501),
        (evidence(ended=(seen("Filled", filled=10),)), "lose", 501),
        (evidence(ended=(seen("Filled", filled=None),)), "lose", 501),
        (evidence(ended=(seen("Cancelled"),), shown=(seen("Submitted"),)), "cancel", 501),
        (evidence(shown=(seen("Submitted"), seen("Submitted", perm_id=502))), "lose", None),
        (
            evidence(shown=(seen("Submitted"),), ended=(seen("Cancelled", perm_id=502),)),
            "lose",
            None,
        ),
        (
            evidence(shown=(seen("Submitted", perm_id=502),), executions=(EXECUTION,)),
            "lose",
            None,
        ),
        (NOTHING, "lose", None),
        (replace(NOTHING, collected_at=LATE), "lose", None),
        (evidence(shown=(seen("Submitted", ref="ibl:2026W47:BBB:B:0"),)), "lose", None),
        (evidence(shown=(seen("Submitted", ref="somebody's"),)), "lose", None),
        (evidence(shown=(seen("Submitted", ref=""),)), "lose", None),
    ],
)
def test_what_the_evidence_says_of_an_unanswered_order(
    found: Evidence, event: str | None, perm_id: int | None
) -> None:
    """Open is acknowledged, ended is ended, anything unproven is lost."""
    verdict = judge(ORDER, found, None)
    assert (verdict.event, verdict.perm_id) == (event, perm_id)
    assert verdict.because


@pytest.mark.parametrize(
    ("found", "refusal", "event"),
    [
        (NOTHING, REFUSAL, "reject"),
        (NOTHING, Refusal(399, "will be placed at the open"), "lose"),
        (NOTHING, Refusal(10148, "cannot be cancelled"), "lose"),
        (evidence(ended=(seen("Cancelled"),)), REFUSAL, "reject"),
        (evidence(ended=(seen("Cancelled"),)), Refusal(202, "canceled"), "cancel"),
        (evidence(ended=(seen("Cancelled"),), at=LATE), REFUSAL, "reject"),
        (evidence(shown=(seen("Submitted"),)), REFUSAL, "acknowledge"),
        (evidence(ended=(seen("Cancelled", filled=4),)), REFUSAL, "lose"),
        (evidence(shown=(seen("Submitted"), seen("Submitted", perm_id=9))), REFUSAL, "lose"),
    ],
)
def test_a_refusal_counts_only_where_nothing_contradicts_it(
    found: Evidence, refusal: Refusal, event: str
) -> None:
    """Only a code that refuses a new order does, and not against an order that works."""
    assert judge(ORDER, found, refusal).event == event


def test_a_perm_id_of_its_own_is_evidence_against_another() -> None:
    """An order known as 500 that now shows as 501 is two orders: nobody guesses which."""
    known = replace(ORDER, status=OrderState.NEW, perm_id=500)
    verdict = judge(known, evidence(shown=(seen("Submitted"),)), None)
    assert verdict.event is OrderEvent.LOSE
    assert "[500, 501]" in verdict.because
    same = replace(known, perm_id=501)
    assert judge(same, evidence(shown=(seen("Submitted"),)), None).event is OrderEvent.ACKNOWLEDGE


def test_an_order_without_reference_is_recognised_by_its_perm_id() -> None:
    """Some queries leave the reference out; a permId of zero recognises nothing."""
    known = replace(ORDER, status=OrderState.NEW, perm_id=501)
    unnamed = seen("Submitted", ref="")
    assert judge(known, evidence(shown=(unnamed,)), None).event is OrderEvent.ACKNOWLEDGE
    nameless = replace(ORDER, perm_id=0)
    unseen = seen("Submitted", perm_id=0, ref="")
    assert judge(nameless, evidence(shown=(unseen,)), None).event is OrderEvent.LOSE


def test_fills_decide_about_a_filled_order() -> None:
    """With all shares executed there is nothing left to judge, shown or not."""
    full = replace(ORDER, filled_quantity=D(10))
    for found in (NOTHING, evidence(ended=(seen("Filled", filled=10),))):
        assert judge(full, found, REFUSAL).event is None


def test_a_partly_filled_order_ends_with_what_was_executed() -> None:
    """The broker's own count must not exceed our executions; then the end is an end."""
    partly = replace(ORDER, status=OrderState.PARTIALLY_FILLED, filled_quantity=D(4))
    ended = evidence(ended=(seen("Cancelled", filled=4),))
    assert judge(partly, ended, None).event is OrderEvent.CANCEL
    more = evidence(ended=(seen("Cancelled", filled=5),))
    assert judge(partly, more, None).event is OrderEvent.LOSE


def test_an_asked_cancel_is_a_cancel_even_after_the_deadline() -> None:
    """Who asked for the end gets a cancel, not an expiry."""
    asked = replace(ORDER, status=OrderState.PENDING_CANCEL)
    ended = evidence(ended=(seen("Cancelled"),), at=LATE + timedelta(minutes=1))
    assert judge(asked, ended, None).event is OrderEvent.CANCEL


def test_an_unknown_order_stays_unknown_without_news() -> None:
    """Nothing shows it, so nothing changes: silence is repeated, not reinterpreted."""
    lost = replace(ORDER, status=OrderState.UNKNOWN)
    assert judge(lost, NOTHING, None).event is None
    found = judge(lost, evidence(shown=(seen("Submitted"),)), None)
    assert found.event is OrderEvent.ACKNOWLEDGE


STATUSES = [
    *("PendingSubmit", "ApiPending", "PreSubmitted", "Submitted", "PendingCancel"),
    *("Cancelled", "ApiCancelled", "Filled", "Inactive", "SomethingNew", ""),
]
BROKER_ORDERS = st.builds(
    seen,
    st.sampled_from(STATUSES),
    perm_id=st.sampled_from([0, 501, 502]),
    filled=st.sampled_from([None, 0, 4, 10]),
    ref=st.sampled_from([REF, REF, "", "foreign"]),
)
ORDERS = st.builds(
    replace,
    st.just(ORDER),
    status=st.sampled_from(sorted(ORDER_AT_BROKER)),
    perm_id=st.sampled_from([None, 501]),
    filled_quantity=st.sampled_from([D(0), D(4), D(10)]),
)
REFUSALS = st.none() | st.builds(
    Refusal, st.sampled_from([*sorted(REQUEST_FAILED_CODES)[:5], 202, 399, 2104]), st.just("text")
)


@settings(deadline=None, max_examples=300)
@given(
    order=ORDERS,
    shown=st.lists(BROKER_ORDERS, max_size=2),
    ended=st.lists(BROKER_ORDERS, max_size=2),
    is_late=st.booleans(),
    refusal=REFUSALS,
)
def test_no_evidence_makes_a_guess(
    order: Order,
    shown: list[BrokerOrder],
    ended: list[BrokerOrder],
    is_late: bool,
    refusal: Refusal | None,
) -> None:
    """Never NOT_SENT; REJECT only by refusal or Inactive; every event has its row in the table."""
    at = LATE if is_late else SENT
    found = evidence(shown=tuple(shown), ended=tuple(ended), at=at)
    verdict = judge(order, found, refusal)
    allowed = {
        *(OrderEvent.ACKNOWLEDGE, OrderEvent.REJECT, OrderEvent.LOSE),
        *(OrderEvent.CANCEL, OrderEvent.EXPIRE),
    }
    if verdict.event is None:
        return
    assert verdict.event in allowed
    assert (OrderState(order.status), verdict.event) in ORDER_TRANSITIONS
    if verdict.event is OrderEvent.REJECT:
        refused = refusal is not None and refusal.code in REQUEST_FAILED_CODES
        assert refused or any(o.ib_status == "Inactive" for o in ended)
    if verdict.event in {OrderEvent.CANCEL, OrderEvent.EXPIRE}:
        assert any(o.ib_status != "Filled" for o in ended)
    if verdict.event is OrderEvent.ACKNOWLEDGE:
        assert verdict.perm_id
        assert any(o.perm_id == verdict.perm_id for o in shown)


@pytest.mark.parametrize(
    ("status", "why_held", "event", "asks"),
    [
        ("PreSubmitted", "", "acknowledge", False),
        ("Submitted", "", "acknowledge", False),
        ("Inactive", "locate", "acknowledge", False),
        ("Inactive", "", None, True),
        ("Inactive", "trigger", None, True),
        ("Cancelled", "", None, True),
        ("ApiCancelled", "", None, True),
        ("Filled", "", None, True),
        ("PendingSubmit", "", None, False),
        ("ApiPending", "", None, False),
        ("PendingCancel", "", None, False),
        ("SomethingNew", "", None, False),
    ],
)
def test_what_a_callback_proves_by_itself(
    status: str, why_held: str, event: str | None, asks: bool
) -> None:
    """A status acknowledges at most; every hint at an end asks for evidence."""
    assert hint(status, why_held) == event
    assert needs_evidence(status, why_held) is asks


LOST = replace(ORDER, status=OrderState.UNKNOWN)
RULES = AbsenceRules(30.0, timedelta(seconds=60))
DEAD = evidence(at=GOOD_TILL + RULES.after_expiry)
PROVEN: dict[str, Any] = {"absent_s": RULES.spacing_s, "same_day": True, "explained": True}


def test_all_of_the_absence_test_proves_that_an_order_was_never_sent() -> None:
    """Never seen, spaced evidence, same day, position explained, and past its own expiry."""
    assert proves_not_sent(LOST, DEAD, RULES, **PROVEN)


@pytest.mark.parametrize(
    ("order", "found", "changes"),
    [
        (LOST, DEAD, {"absent_s": RULES.spacing_s - 0.1}),
        (LOST, DEAD, {"same_day": False}),
        (LOST, DEAD, {"explained": False}),
        (LOST, replace(DEAD, collected_at=DEAD.collected_at - timedelta(seconds=1)), {}),
        (replace(LOST, tif=Tif.DAY), DEAD, {}),
        (replace(LOST, perm_id=501), DEAD, {}),
        (replace(LOST, filled_quantity=D(1)), DEAD, {}),
        (LOST, replace(DEAD, open_orders=(seen("PendingSubmit", perm_id=0),)), {}),
        (LOST, replace(DEAD, completed_orders=(seen("Cancelled"),)), {}),
        (LOST, replace(DEAD, executions=(EXECUTION,)), {}),
    ],
)
def test_each_condition_of_the_absence_test_is_needed(
    order: Order, found: Evidence, changes: dict[str, Any]
) -> None:
    """With one condition missing the order stays unknown: it might still come alive."""
    assert not proves_not_sent(order, found, RULES, **(PROVEN | changes))


def test_the_orders_of_others_do_not_make_ours_present() -> None:
    """Absence is about this order alone."""
    other = replace(DEAD, open_orders=(seen("Submitted", ref="manual", perm_id=9),))
    assert is_absent(LOST, other)


def test_references_of_ours_that_the_ledger_lacks_are_found() -> None:
    """One order or execution of ours that nobody wrote down proves an old ledger (P15)."""
    found = evidence(
        shown=(
            seen("Submitted"),
            seen("Submitted", ref="ibl:X:BBB:B:0"),
            seen("Submitted", ref=""),
        ),
        ended=(seen("Cancelled", ref="ibl:X:CCC:S:0"), seen("Cancelled", ref="manual")),
        executions=(replace(EXECUTION, client_order_id="ibl:X:AAA:B:0"), EXECUTION),
    )
    lacking = ("ibl:X:AAA:B:0", "ibl:X:BBB:B:0", "ibl:X:CCC:S:0")
    assert unrecorded(found, [REF]) == lacking
    assert unrecorded(found, [REF, *lacking]) == ()
    assert unrecorded(NOTHING, []) == ()


def test_a_refusal_does_not_end_an_order_that_was_once_acknowledged() -> None:
    """The code may have answered a cancel or a change: an order seen alive is lost."""
    nothing = evidence()
    alive = replace(ORDER, perm_id=77)
    assert judge(ORDER, nothing, Refusal(321, "no")).event is OrderEvent.REJECT
    assert judge(alive, nothing, Refusal(321, "no")).event is OrderEvent.LOSE


@pytest.mark.parametrize(
    ("next_id", "told"), [(7, True), (8, False), (None, False)], ids=["unused", "used", "unknown"]
)
def test_an_id_that_is_not_used_up_is_told_and_proves_nothing(
    next_id: int | None, told: bool
) -> None:
    """The next order id helps a person to decide; by itself it ends no quarantine and begins none.

    One above the order's says nothing: later orders count on, too.
    """
    order, found = replace(LOST, ib_order_id=7), replace(NOTHING, next_order_id=next_id)
    verdict = judge(order, found, None)
    assert verdict.event is None
    assert ("next id 7" in verdict.because) == told
    dead = replace(DEAD, next_order_id=next_id)
    assert proves_not_sent(order, dead, RULES, **PROVEN)
