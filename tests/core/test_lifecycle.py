"""Orders and runs move along their tables and no other way; fills win over everything."""

from decimal import Decimal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ibloop.core.invariant import InvariantError
from ibloop.core.lifecycle import (
    ORDER_AT_BROKER,
    ORDER_NEVER_SENT,
    ORDER_TERMINAL,
    ORDER_TRANSITIONS,
    REASON_ADVICE,
    RUN_ACTIVE,
    RUN_TERMINAL,
    OrderEvent,
    OrderState,
    RunReason,
    RunState,
    after_event,
    after_fill,
    may_move,
)

D = Decimal
EVENTS = (
    *("deny", "send", "abandon", "acknowledge", "reject"),
    *("lose", "prove_not_sent", "cancel", "expire", "ask_cancel"),
)
# One row a state, one column an event, in the order of EVENTS; "." raises.
ORDER_TABLE = """
planned          rejected sending not_sent . . . . . . .
sending          . . . new rejected unknown not_sent canceled expired .
unknown          . . . new rejected . not_sent canceled expired .
new              . . . new rejected unknown . canceled expired pending_cancel
partially_filled . . . partially_filled rejected unknown . canceled expired pending_cancel
pending_cancel   . . . new rejected unknown . canceled expired pending_cancel
filled           filled filled filled filled filled filled filled filled filled filled
"""
CELLS = [
    (row.split()[0], event, result)
    for row in ORDER_TABLE.strip().splitlines()
    for event, result in zip(EVENTS, row.split()[1:], strict=True)
]
TERMINAL = {"filled", "canceled", "expired", "rejected", "not_sent"}


@pytest.mark.parametrize(("state", "event", "result"), CELLS)
def test_the_table_of_orders(state: str, event: str, result: str) -> None:
    """Every pair of state and event does what the table says, or raises."""
    if result == ".":
        with pytest.raises(InvariantError, match=f"a transition from {state} by {event}"):
            after_event(OrderState(state), OrderEvent(event))
    else:
        assert after_event(OrderState(state), OrderEvent(event)) is OrderState(result)


def test_the_table_is_complete() -> None:
    """No state and no event is missing from the table above."""
    assert {state for state, _, _ in CELLS} | TERMINAL == set(OrderState)
    assert set(EVENTS) == set(OrderEvent)
    assert len(ORDER_TRANSITIONS) == sum(
        1 for state, _, result in CELLS if result != "." and state != "filled"
    )


@pytest.mark.parametrize("state", sorted(TERMINAL))
@pytest.mark.parametrize("event", OrderEvent)
def test_a_terminal_state_swallows_every_event(state: str, event: OrderEvent) -> None:
    """Late echoes change nothing any more."""
    assert after_event(OrderState(state), event) is OrderState(state)


def test_only_the_journal_leads_to_the_broker() -> None:
    """Nothing but SEND brings a planned order to where the broker may hold it."""
    for (state, event), after in ORDER_TRANSITIONS.items():
        if state not in ORDER_AT_BROKER and after in ORDER_AT_BROKER:
            assert (state, event) == (OrderState.PLANNED, OrderEvent.SEND)


def test_the_sets_of_states_divide_all_states() -> None:
    """A state is planned, at the broker, or ended; what never left is planned or not_sent."""
    assert set(ORDER_TERMINAL) == {OrderState(state) for state in TERMINAL}
    assert not ORDER_AT_BROKER & ORDER_TERMINAL
    assert set(OrderState) == {OrderState.PLANNED, *ORDER_AT_BROKER, *ORDER_TERMINAL}
    assert set(ORDER_NEVER_SENT) == {OrderState.PLANNED, OrderState.NOT_SENT}


@pytest.mark.parametrize("state", OrderState)
def test_a_complete_fill_wins_in_every_state(state: OrderState) -> None:
    """All shares executed is filled, whatever was believed before."""
    assert after_fill(state, D(10), D(10)) is OrderState.FILLED


@pytest.mark.parametrize("state", [s for s in OrderState if s is not OrderState.FILLED])
def test_a_partial_fill_shows_that_the_order_lives(state: OrderState) -> None:
    """It proves arrival; an asked cancel and an end the broker told of stay."""
    kept = {"pending_cancel", "partially_filled", *TERMINAL} - {"not_sent"}
    expected = state if state in kept else OrderState.PARTIALLY_FILLED
    assert after_fill(state, D(10), D(3)) is expected


@pytest.mark.parametrize("filled", [0, 3])
def test_a_filled_order_that_loses_shares_has_ended_incomplete(filled: int) -> None:
    """A bust or correction: it works no more, so it cannot be partly filled, and is not filled."""
    assert after_fill(OrderState.FILLED, D(10), D(filled)) is OrderState.CANCELED
    assert after_fill(OrderState.CANCELED, D(10), D(10)) is OrderState.FILLED


@pytest.mark.parametrize("state", [s for s in OrderState if s is not OrderState.FILLED])
@pytest.mark.parametrize("quantity", [0, 10])
def test_no_fill_changes_nothing(state: OrderState, quantity: int) -> None:
    """Zero shares are no fill, not even of an order of zero shares."""
    assert after_fill(state, D(quantity), D(0)) is state


@pytest.mark.parametrize("state", OrderState)
def test_an_over_fill_raises(state: OrderState) -> None:
    """More executed than ordered cannot be: promise P5."""
    with pytest.raises(InvariantError, match=r"filled 10\.001 of 10"):
        after_fill(state, D(10), D("10.001"))


class OrderMachine(RuleBasedStateMachine):
    """One order under any sequence of events and fills, as the ledger applies them."""

    def __init__(self) -> None:
        """Start with a planned order of ten shares."""
        super().__init__()
        self.state = OrderState.PLANNED
        self.filled = D(0)
        self.was_sent = False

    @rule(event=st.sampled_from(OrderEvent))
    def happens(self, event: OrderEvent) -> None:
        """An event either has its row in the table, or is refused and changes nothing."""
        if self.state not in ORDER_TERMINAL and (self.state, event) not in ORDER_TRANSITIONS:
            with pytest.raises(InvariantError):
                after_event(self.state, event)
            return
        before, self.state = self.state, after_event(self.state, event)
        self.was_sent |= event is OrderEvent.SEND and before is OrderState.PLANNED
        # As the ledger does: fills known before speak again, but prove nothing of a lost order.
        if self.state is not OrderState.UNKNOWN:
            self.state = after_fill(self.state, D(10), self.filled)

    @rule(shares=st.integers(1, 10))
    def fills(self, shares: int) -> None:
        """An execution counts in every state; one too many is refused."""
        if self.filled + shares > 10:
            with pytest.raises(InvariantError):
                after_fill(self.state, D(10), self.filled + shares)
            return
        self.filled += shares
        self.state = after_fill(self.state, D(10), self.filled)

    @invariant()
    def filled_exactly_when_all_is(self) -> None:
        """FILLED is what ten of ten shares are called, and nothing else is."""
        assert (self.state is OrderState.FILLED) == (self.filled == 10)

    @invariant()
    def what_has_fills_is_not_called_unsent(self) -> None:
        """No order with executions waits to be sent or counts as ended unseen by the broker."""
        assert not (self.filled and self.state in ORDER_NEVER_SENT)

    @invariant()
    def the_broker_holds_only_what_was_journalled_or_executed(self) -> None:
        """States at the broker need a SEND, or an execution that proves one."""
        if self.state in ORDER_AT_BROKER:
            assert self.was_sent or self.filled


OrderMachine.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=20)
TestOrderMachine = OrderMachine.TestCase

RUN_TABLE = {
    "queued": "preparing canceled blocked",
    "preparing": "awaiting_approval executing blocked",
    "awaiting_approval": "executing canceled blocked",
    "executing": "reconciling blocked",
    "reconciling": "done partial failed canceled blocked",
    "blocked": "queued canceled",
    "done": "",
    "partial": "",
    "failed": "",
    "canceled": "",
}


@pytest.mark.parametrize("source", RunState)
def test_the_table_of_runs(source: RunState) -> None:
    """Each run state leads to exactly these, and an ended run to nothing."""
    assert {t for t in RunState if may_move(source, t)} == set(RUN_TABLE[source].split())


def test_a_blocked_run_sends_nothing_by_itself() -> None:
    """From blocked no step leads on to sending but through the queue (promise P6)."""
    assert not may_move(RunState.BLOCKED, RunState.EXECUTING)
    assert RunState.BLOCKED not in RUN_ACTIVE
    assert {"done", "partial", "failed", "canceled"} == RUN_TERMINAL


def test_every_reason_that_stops_a_run_says_what_to_do() -> None:
    """A refusal without advice leaves a person alone; endings need none."""
    endings = {
        RunReason.NOTHING_TO_DO,
        RunReason.ORDERS_REJECTED,
        RunReason.ORDERS_UNFILLED,
        RunReason.DEADLINE_REACHED,
        RunReason.CANCELED_BY_OPERATOR,
    }
    assert set(REASON_ADVICE) | endings == set(RunReason)
    assert all(REASON_ADVICE.values())
