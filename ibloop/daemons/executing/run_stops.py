"""What stops a run that is under way, and what forbids it another attempt."""

from collections.abc import Callable, Sequence

from ibloop.adapters.ledger import fills, orders
from ibloop.adapters.ledger.connection import Ledger
from ibloop.adapters.ledger.order_rows import OrderRow
from ibloop.adapters.ledger.runs import Run
from ibloop.config import Config
from ibloop.core.gates import Gate
from ibloop.core.invariant import present
from ibloop.core.lifecycle import ORDER_AT_BROKER, OrderState, RunReason
from ibloop.core.model import HaltLevel, Moment
from ibloop.core.outcome import rejections_in_a_row
from ibloop.daemons.executing.order_executor import OrderExecutor
from ibloop.daemons.executing.order_judge import NOT_SENT_CODE


class RunStops:
    """Looks at everything around a run's own orders; the sending transaction looks once more."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        desk: OrderExecutor,
        *,
        gate: Callable[[Run], Gate | None],
        guard_silence: Callable[[], str | None],
    ) -> None:
        """Keep the ports."""
        self._config = config
        self._ledger = ledger
        self._desk = desk
        self._gate = gate
        self._guard_silence = guard_silence

    def stop(self, run: Run, rows: Sequence[OrderRow], now: Moment) -> tuple[RunReason, str] | None:
        """Return why a run under way must not go on: nothing more of it is sent then."""
        unknown = orders.in_states(self._ledger.db, {OrderState.UNKNOWN})
        if unknown:
            names = ", ".join(row.order.client_order_id for row in unknown)
            return RunReason.UNKNOWN_ORDER, f"fate unproven: {names}"
        if trouble := self._desk.trouble:
            return trouble.reason, trouble.detail
        waits = any(row.order.status == OrderState.PLANNED for row in rows)
        kept_back = any(row.order.reject_code == NOT_SENT_CODE for row in rows)
        baseline_at = present(run.baseline_at, "baseline")
        if waits and fills.were_corrected_after(self._ledger.db, baseline_at):
            return RunReason.POSITION_BREAK, "an execution was corrected after the plan was made"
        halt = self._desk.halt(self._ledger.db)
        if (waits or kept_back) and halt in {HaltLevel.PAUSE, HaltLevel.KILL}:
            return RunReason.GUARD_HALTED, f"halted at level {halt}"
        rejected = rejections_in_a_row([row.order for row in rows])
        # With nothing left to send the orders at work are followed to their end first.
        ends = not any(row.order.status in ORDER_AT_BROKER for row in rows)
        if (waits or ends) and rejected >= self._config.limits.rejections_in_a_row_max:
            return RunReason.REJECTIONS_IN_A_ROW, f"the broker rejected {rejected} in a row"
        if not waits:
            return None
        if run.config_hash != self._config.config_hash:
            return (
                RunReason.CONFIG_CHANGED,
                "it was planned under another configuration",
            )
        if unarmed := self._unarmed(run, now):
            return RunReason.UNARMED, unarmed
        if silence := self._guard_silence():
            return RunReason.GUARD_SILENT, f"guard: {silence}"
        return None

    def allow_retry(self, run: Run, now: Moment) -> bool:
        """Return whether nothing but its own orders stands against another attempt of a run."""
        return (
            self._desk.halt(self._ledger.db) is None
            and self._desk.trouble is None
            and self._guard_silence() is None
            and self._unarmed(run, now) is None
            and self._gate(run) is None
        )

    def _unarmed(self, run: Run, now: Moment) -> str | None:
        return self._desk.rails.why_unarmed(self._ledger.db, run, now)
