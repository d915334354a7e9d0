"""How orders and runs move: two tables and the functions that read them.

Whatever is not in a table raises: a state is never guessed into being. A fill is no transition of
the table: it is legal in every state and wins (:func:`after_fill`).
"""

from decimal import Decimal
from enum import StrEnum

from ibloop.core.invariant import invariant, present


class OrderState(StrEnum):
    """States of ``trade_orders.status``."""

    PLANNED = "planned"
    SENDING = "sending"
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    PENDING_CANCEL = "pending_cancel"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


class OrderEvent(StrEnum):
    """What can happen to an order, other than a fill."""

    DENY = "deny"
    SEND = "send"
    ACKNOWLEDGE = "acknowledge"
    REJECT = "reject"
    ASK_CANCEL = "ask_cancel"
    CANCEL = "cancel"
    EXPIRE = "expire"
    LOSE = "lose"
    PROVE_NOT_SENT = "prove_not_sent"
    ABANDON = "abandon"


_S, _E = OrderState, OrderEvent
_WORKING = (_S.NEW, _S.PARTIALLY_FILLED, _S.PENDING_CANCEL)

ORDER_TRANSITIONS: dict[tuple[OrderState, OrderEvent], OrderState] = {
    (_S.PLANNED, _E.DENY): _S.REJECTED,
    (_S.PLANNED, _E.SEND): _S.SENDING,
    # A run that ends before its order's turn came: nothing left the house.
    (_S.PLANNED, _E.ABANDON): _S.NOT_SENT,
    (_S.SENDING, _E.ACKNOWLEDGE): _S.NEW,
    (_S.SENDING, _E.REJECT): _S.REJECTED,
    (_S.SENDING, _E.LOSE): _S.UNKNOWN,
    (_S.SENDING, _E.PROVE_NOT_SENT): _S.NOT_SENT,
    # Evidence can find an order that ended before its acknowledgement reached us.
    (_S.SENDING, _E.CANCEL): _S.CANCELED,
    (_S.SENDING, _E.EXPIRE): _S.EXPIRED,
    (_S.UNKNOWN, _E.ACKNOWLEDGE): _S.NEW,
    (_S.UNKNOWN, _E.CANCEL): _S.CANCELED,
    (_S.UNKNOWN, _E.EXPIRE): _S.EXPIRED,
    (_S.UNKNOWN, _E.REJECT): _S.REJECTED,
    (_S.UNKNOWN, _E.PROVE_NOT_SENT): _S.NOT_SENT,
    # The broker did not take the cancel: the order works on.
    (_S.PENDING_CANCEL, _E.ACKNOWLEDGE): _S.NEW,
    **{(s, _E.ASK_CANCEL): _S.PENDING_CANCEL for s in _WORKING},
    **{(s, _E.CANCEL): _S.CANCELED for s in _WORKING},
    **{(s, _E.EXPIRE): _S.EXPIRED for s in _WORKING},
    **{(s, _E.REJECT): _S.REJECTED for s in _WORKING},
    **{(s, _E.LOSE): _S.UNKNOWN for s in _WORKING},
    # Repeated acknowledgements are normal: a gateway sends most statuses twice.
    (_S.NEW, _E.ACKNOWLEDGE): _S.NEW,
    (_S.PARTIALLY_FILLED, _E.ACKNOWLEDGE): _S.PARTIALLY_FILLED,
}

ORDER_TERMINAL = frozenset(
    {_S.FILLED, _S.CANCELED, _S.EXPIRED, _S.REJECTED, _S.NOT_SENT},
)
"""States that only a late fill can still leave."""

ORDER_AT_BROKER = frozenset({_S.SENDING, _S.UNKNOWN, *_WORKING})
"""States in which the broker holds, or may hold, a live order."""

ORDER_NEVER_SENT = frozenset({_S.PLANNED, _S.NOT_SENT})
"""States in which not one byte has left; ``rejected`` needs its source to tell."""


def after_event(state: OrderState, event: OrderEvent) -> OrderState:
    """Return the state ``event`` leads to.

    A terminal state swallows everything: fills are the only news that still count there.
    Raises: InvariantError for a pair that is not in the table.
    """
    if state in ORDER_TERMINAL:
        return state
    return present(ORDER_TRANSITIONS.get((state, event)), f"a transition from {state} by {event}")


def after_fill(state: OrderState, quantity: Decimal, filled_quantity: Decimal) -> OrderState:
    """Return the state once ``filled_quantity`` of ``quantity`` shares are known to be executed.

    A complete fill wins over every state. A partial one moves a working order to
    PARTIALLY_FILLED and refutes that an order never left (planned, not_sent): it may work at the
    broker and has to be judged. An asked cancel and an end the broker told of stay as they are.
    A filled order from which a correction takes shares back has ended incomplete: CANCELED.
    Raises: InvariantError when more was filled than ordered (promise P5).
    """
    invariant(filled_quantity <= quantity, f"filled {filled_quantity} of {quantity}")
    if state is OrderState.FILLED and filled_quantity < quantity:
        return OrderState.CANCELED
    if filled_quantity <= 0:
        return state
    if filled_quantity == quantity:
        return OrderState.FILLED
    if state in {_S.SENDING, _S.NEW, _S.UNKNOWN, *ORDER_NEVER_SENT}:
        return OrderState.PARTIALLY_FILLED
    return state


class RunState(StrEnum):
    """States of ``trade_runs.status``."""

    QUEUED = "queued"
    PREPARING = "preparing"
    AWAITING_APPROVAL = "awaiting_approval"
    EXECUTING = "executing"
    RECONCILING = "reconciling"
    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"
    BLOCKED = "blocked"
    CANCELED = "canceled"


_R = RunState

RUN_TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    _R.QUEUED: frozenset({_R.PREPARING, _R.CANCELED, _R.BLOCKED}),
    _R.PREPARING: frozenset({_R.AWAITING_APPROVAL, _R.EXECUTING, _R.BLOCKED}),
    _R.AWAITING_APPROVAL: frozenset({_R.EXECUTING, _R.CANCELED, _R.BLOCKED}),
    _R.EXECUTING: frozenset({_R.RECONCILING, _R.BLOCKED}),
    _R.RECONCILING: frozenset({_R.DONE, _R.PARTIAL, _R.FAILED, _R.CANCELED, _R.BLOCKED}),
    # Only a person moves a blocked run on: by ``run retry`` or by ``run cancel``.
    _R.BLOCKED: frozenset({_R.QUEUED, _R.CANCELED}),
    _R.DONE: frozenset(),
    _R.PARTIAL: frozenset(),
    _R.FAILED: frozenset(),
    _R.CANCELED: frozenset(),
}

RUN_TERMINAL = frozenset(state for state, nexts in RUN_TRANSITIONS.items() if not nexts)
RUN_ACTIVE = frozenset({_R.PREPARING, _R.EXECUTING, _R.RECONCILING})
"""States in which the executor owns the run."""


def may_move(source: RunState, target: RunState) -> bool:
    """Return whether a run may go from ``source`` to ``target``."""
    return target in RUN_TRANSITIONS[source]


class RunReason(StrEnum):
    """Why a run is where it is: codes of ``trade_runs.reason``."""

    GATEWAY_UNAVAILABLE = "gateway_unavailable"
    STREAM_STALE = "stream_stale"
    MARKET_CLOSED = "market_closed"
    WINDOW_TOO_SHORT = "window_too_short"
    TARGETS_STALE = "targets_stale"
    TARGETS_INVALID = "targets_invalid"
    GUARD_HALTED = "guard_halted"
    GUARD_SILENT = "guard_silent"
    EXECUTOR_SILENT = "executor_silent"
    ACCOUNT_STALE = "account_stale"
    UNKNOWN_ORDER = "unknown_order"
    LEDGER_BEHIND = "ledger_behind"
    POSITION_BREAK = "position_break"
    PROMISE_BROKEN = "promise_broken"
    LIMIT_BREACHED = "limit_breached"
    REJECTIONS_IN_A_ROW = "rejections_in_a_row"
    UNARMED = "unarmed"
    APPROVAL_EXPIRED = "approval_expired"
    BUILD_MISMATCH = "build_mismatch"
    ALERTS_UNDELIVERED = "alerts_undelivered"
    QUIET_WINDOW = "quiet_window"
    CONFIG_CHANGED = "config_changed"
    RUN_ACTIVE = "run_active"
    NOTHING_TO_DO = "nothing_to_do"
    ORDERS_REJECTED = "orders_rejected"
    ORDERS_UNFILLED = "orders_unfilled"
    DEADLINE_REACHED = "deadline_reached"
    CANCELED_BY_OPERATOR = "canceled_by_operator"


REASON_ADVICE: dict[RunReason, str] = {
    RunReason.GATEWAY_UNAVAILABLE: "start the gateway (`ibloop gateway run`), see `ibloop status`",
    RunReason.STREAM_STALE: "start the stream (`ibloop stream run`), see `ibloop status`",
    RunReason.MARKET_CLOSED: "ask again while the market is open",
    RunReason.WINDOW_TOO_SHORT: "ask again in the next session",
    RunReason.TARGETS_STALE: "write a fresh targets file",
    RunReason.TARGETS_INVALID: "mend the targets file, check it with `ibloop targets validate`",
    RunReason.GUARD_HALTED: "find out why (`ibloop status`), then `ibloop resume REASON`",
    RunReason.GUARD_SILENT: "start the guard (`ibloop guard run`)",
    RunReason.EXECUTOR_SILENT: "start the executor (`ibloop executor run`)",
    RunReason.ACCOUNT_STALE: "wait until the executor has synchronised, see `ibloop status`",
    RunReason.UNKNOWN_ORDER: "see `ibloop orders explain ORDER`, then `ibloop orders resolve`",
    RunReason.LEDGER_BEHIND: "restore a newer ledger, or `ibloop db accept-restore`",
    RunReason.POSITION_BREAK: "see `ibloop positions explain`, then `ibloop positions accept`",
    RunReason.PROMISE_BROKEN: "do not trade on: `ibloop db check` names what is broken",
    RunReason.LIMIT_BREACHED: "see the breaches (`ibloop run why RUN`), mend targets or limits",
    RunReason.REJECTIONS_IN_A_ROW: "see the rejections (`ibloop orders list --run RUN`)",
    RunReason.UNARMED: "arm live trading (`ibloop arm`), then ask again (`ibloop run retry RUN`)",
    RunReason.APPROVAL_EXPIRED: "ask again (`ibloop run retry RUN`), then `ibloop run approve RUN`",
    RunReason.BUILD_MISMATCH: "restart the daemons: they do not all run this build",
    RunReason.ALERTS_UNDELIVERED: (
        "nobody would be told: read what did not arrive (`ibloop alerts list --undelivered`), then "
        "`ibloop alerts ack ALERT`; start or mend its delivery (`ibloop alerts run`)"
    ),
    RunReason.QUIET_WINDOW: "ask again after it: `ibloop calendar show`",
    RunReason.CONFIG_CHANGED: "restart the executor, then `ibloop run retry RUN`",
    RunReason.RUN_ACTIVE: "wait for the run that is under way, or cancel it",
}
"""What a person can do about a reason, RUN being the run; empty for reasons that end a run well."""
