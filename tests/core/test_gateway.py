"""The gateway's state table and its restart delays."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibloop.core.gateway import (
    RESTART_DELAY_S_MAX,
    RESTART_DELAY_S_MIN,
    STABLE_S,
    TERMINAL,
    TRANSITIONS,
    GatewayEvent,
    GatewayState,
    GatewayView,
    after,
    restart_delay_s,
)
from ibloop.core.invariant import InvariantError
from ibloop.core.model import Moment

NOW = Moment(datetime(2026, 7, 1, 12, tzinfo=UTC), 1_000_000_000_000, "b" * 32)


def later(seconds: float) -> Moment:
    """Return the moment ``seconds`` after NOW on both clocks."""
    return Moment(
        NOW.utc + timedelta(seconds=seconds), NOW.boottime_ns + int(seconds * 1e9), NOW.boot_id
    )


def walk(*events: GatewayEvent) -> GatewayState:
    """Return the state after ``events`` from the beginning."""
    view = GatewayView()
    for event in events:
        view = after(view, event, NOW)
    return view.state


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], GatewayState.STARTING),
        ([GatewayEvent.PROVEN], GatewayState.CONNECTED),
        ([GatewayEvent.SILENT], GatewayState.WAITING_LOGIN),
        ([GatewayEvent.SILENT, GatewayEvent.ASKED_2FA], GatewayState.WAITING_2FA),
        ([GatewayEvent.ASKED_2FA, GatewayEvent.PROVEN], GatewayState.CONNECTED),
        ([GatewayEvent.ABSENT], GatewayState.DEGRADED),
        ([GatewayEvent.PROVEN, GatewayEvent.SILENT], GatewayState.DEGRADED),
        ([GatewayEvent.PROVEN, GatewayEvent.ABSENT, GatewayEvent.PROVEN], GatewayState.CONNECTED),
        ([GatewayEvent.PROVEN, GatewayEvent.EXITED], GatewayState.RESTARTING),
        ([GatewayEvent.EXITED, GatewayEvent.LAUNCHED], GatewayState.STARTING),
        ([GatewayEvent.REFUSED, GatewayEvent.PROVEN], GatewayState.FAILED),
        ([GatewayEvent.STOPPED, GatewayEvent.PROVEN], GatewayState.STOPPED),
    ],
)
def test_states_follow_what_was_noticed(events: list[GatewayEvent], state: GatewayState) -> None:
    """Only a proof makes a gateway connected, and only our end or a refusal ends its life."""
    assert walk(*events) is state


def test_only_a_proof_leads_to_connected() -> None:
    """No event but PROVEN may publish ``connected``, whatever the state."""
    assert {
        event for (_, event), state in TRANSITIONS.items() if state is GatewayState.CONNECTED
    } == {GatewayEvent.PROVEN}


def test_every_living_state_can_be_stopped_refused_and_left_by_its_process() -> None:
    """There is no state in which a stop, a refusal or an exit would be a surprise."""
    for state in set(GatewayState) - TERMINAL:
        for event in (GatewayEvent.STOPPED, GatewayEvent.REFUSED, GatewayEvent.EXITED):
            assert (state, event) in TRANSITIONS


def test_what_is_not_in_the_table_raises() -> None:
    """A gateway that is being restarted cannot be proven: it has not been launched."""
    with pytest.raises(InvariantError, match="restarting by proven"):
        walk(GatewayEvent.EXITED, GatewayEvent.PROVEN)


def test_a_gateway_that_keeps_dying_is_restarted_ever_more_slowly() -> None:
    """Proofs in between do not reset the delay; a stable half minute does."""
    view = GatewayView()
    for failures in range(1, 5):
        view = after(view, GatewayEvent.PROVEN, NOW)
        view = after(view, GatewayEvent.EXITED, later(STABLE_S - 1))
        assert view.failures == failures
        view = after(view, GatewayEvent.LAUNCHED, NOW)
    view = after(view, GatewayEvent.PROVEN, NOW)
    assert after(view, GatewayEvent.PROVEN, later(5)).connected_since == NOW
    assert after(view, GatewayEvent.EXITED, later(STABLE_S)).failures == 1


@given(st.integers(min_value=0, max_value=10_000))
def test_delays_grow_within_their_limits(failures: int) -> None:
    """Half a second at first, never more than half a minute, never less than the time before."""
    delay_s = restart_delay_s(failures)
    assert RESTART_DELAY_S_MIN <= delay_s <= RESTART_DELAY_S_MAX
    assert delay_s <= restart_delay_s(failures + 1)
    assert restart_delay_s(1) == RESTART_DELAY_S_MIN
    assert restart_delay_s(10) == RESTART_DELAY_S_MAX


@given(st.sampled_from(sorted(TERMINAL)), st.sampled_from(sorted(GatewayEvent)))
def test_terminal_states_stay(state: GatewayState, event: GatewayEvent) -> None:
    """Failed and stopped are left only by a new process."""
    view = replace(GatewayView(), state=state)
    assert after(view, event, NOW) == view
