"""The life of a gateway as its wrapper sees it: one table, and how long to wait before a restart.

A gateway is *connected* only while round trips prove it; a running process or an open socket
proves nothing. ``_gateway.json`` publishes the state under these names.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from ibloop.core.invariant import invariant
from ibloop.core.model import Moment

RESTART_DELAY_S_MIN = 0.5
RESTART_DELAY_S_MAX = 30.0
STABLE_S = 30.0
"""Connected for this long, a gateway has earned a quick restart again."""


@dataclass(frozen=True, slots=True)
class RestartPace:
    """How long to wait before a restart, seconds: at first, and at most."""

    delay_s_min: float = RESTART_DELAY_S_MIN
    delay_s_max: float = RESTART_DELAY_S_MAX


QUICK_PACE = RestartPace()
"""For a gateway that comes back by itself."""

LOGIN_PACE = RestartPace(10.0, 900.0)
"""For a gateway that logs in at each start: too many attempts lock the user out."""


class GatewayState(StrEnum):
    """States of ``_gateway.json``."""

    STARTING = "starting"
    WAITING_LOGIN = "waiting_login"
    WAITING_2FA = "waiting_2fa"
    CONNECTED = "connected"
    DEGRADED = "degraded"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


class GatewayEvent(StrEnum):
    """What the wrapper can notice."""

    LAUNCHED = "launched"  # its process runs, or there is none to run
    PROVEN = "proven"  # let in, account ours, round trip answered
    SILENT = "silent"  # takes connections, does not answer: a login dialog, or frozen
    ABSENT = "absent"  # nobody listens
    ASKED_2FA = "asked_2fa"  # the login waits for a second factor
    EXITED = "exited"  # its process has ended
    REFUSED = "refused"  # wrong account or configuration: only a person can help
    STOPPED = "stopped"  # we were asked to end


_S, _E = GatewayState, GatewayEvent
_UP = (_S.STARTING, _S.WAITING_LOGIN, _S.WAITING_2FA, _S.CONNECTED, _S.DEGRADED)

TERMINAL = frozenset({_S.FAILED, _S.STOPPED})

TRANSITIONS: dict[tuple[GatewayState, GatewayEvent], GatewayState] = {
    **{(s, _E.PROVEN): _S.CONNECTED for s in _UP},
    **{(s, _E.ABSENT): _S.DEGRADED for s in _UP},
    **{(s, _E.EXITED): _S.RESTARTING for s in (*_UP, _S.RESTARTING)},
    **{(s, _E.REFUSED): _S.FAILED for s in (*_UP, _S.RESTARTING)},
    **{(s, _E.STOPPED): _S.STOPPED for s in (*_UP, _S.RESTARTING)},
    # Silence before the first proof is a login that has not been completed; later it is a fault.
    (_S.STARTING, _E.SILENT): _S.WAITING_LOGIN,
    (_S.WAITING_LOGIN, _E.SILENT): _S.WAITING_LOGIN,
    (_S.WAITING_2FA, _E.SILENT): _S.WAITING_2FA,
    (_S.CONNECTED, _E.SILENT): _S.DEGRADED,
    (_S.DEGRADED, _E.SILENT): _S.DEGRADED,
    (_S.STARTING, _E.ASKED_2FA): _S.WAITING_2FA,
    (_S.WAITING_LOGIN, _E.ASKED_2FA): _S.WAITING_2FA,
    (_S.WAITING_2FA, _E.ASKED_2FA): _S.WAITING_2FA,
    # Also within the life of a process: after its nightly restart, or a restart by us.
    (_S.CONNECTED, _E.ASKED_2FA): _S.WAITING_2FA,
    (_S.DEGRADED, _E.ASKED_2FA): _S.WAITING_2FA,
    (_S.RESTARTING, _E.ASKED_2FA): _S.WAITING_2FA,
    # A gateway does not listen before its login is complete.
    (_S.WAITING_2FA, _E.ABSENT): _S.WAITING_2FA,
    (_S.WAITING_2FA, _E.LAUNCHED): _S.STARTING,
    (_S.RESTARTING, _E.LAUNCHED): _S.STARTING,
    (_S.STARTING, _E.LAUNCHED): _S.STARTING,
}


@dataclass(frozen=True, slots=True)
class GatewayView:
    """Where a gateway is. ``failures`` counts exits since it was last stable."""

    state: GatewayState = GatewayState.STARTING
    failures: int = 0
    connected_since: Moment | None = None


def after(view: GatewayView, event: GatewayEvent, now: Moment) -> GatewayView:
    """Return where the gateway is after ``event``.

    A terminal state swallows everything. Raises: InvariantError for a pair not in the table.
    """
    if view.state in TERMINAL:
        return view
    state = TRANSITIONS.get((view.state, event), view.state)
    invariant((view.state, event) in TRANSITIONS, f"no transition from {view.state} by {event}")
    failures = view.failures
    if event is GatewayEvent.EXITED:
        failures = 1 if _was_stable(view, now) else failures + 1
    since = view.connected_since if view.state is state else now
    return replace(
        view,
        state=state,
        failures=failures,
        connected_since=since if state is GatewayState.CONNECTED else None,
    )


def restart_delay_s(failures: int, pace: RestartPace = QUICK_PACE) -> float:
    """Return how long to wait before a restart: the least delay doubled by each failure."""
    doublings = min(max(failures - 1, 0), 10)
    return min(pace.delay_s_max, pace.delay_s_min * 2.0**doublings)


def _was_stable(view: GatewayView, now: Moment) -> bool:
    since = view.connected_since
    return since is not None and now.age_s(since) >= STABLE_S
