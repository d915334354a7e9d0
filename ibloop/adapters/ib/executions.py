"""The guard's own copy of today's executions: pushed as they happen, and asked for in full."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from ibloop.adapters.ib.convert import commission_of, execution_of
from ibloop.core.dropcopy import Seen, by_base
from ibloop.core.events import CommissionReported
from ibloop.core.model import Moment

ANSWER_LAG = timedelta(minutes=1)
"""An execution this young may be missing in an answer although it was pushed."""


def seen_of(contract: Any, ib_execution: Any) -> Seen:
    """Return an execDetails message with who sent the order; see ``convert.execution_of``."""
    return Seen(
        execution_of(contract, ib_execution),
        int(ib_execution.clientId),
        bool(ib_execution.liquidation),
    )


class ExecutionCopy:
    """Executions of one account by base, in their highest revision, with what they cost.

    An execution that was pushed stays although a later answer may not show it; a whole answer
    says how far back the copy is complete.
    """

    def __init__(self, account: str) -> None:
        """Begin without any."""
        self._account = account
        self._seen: dict[str, Seen] = {}
        self._commissions: dict[str, CommissionReported] = {}
        self.complete_at: Moment | None = None

    def take(self, seen: Seen) -> bool:
        """Take one execution; return whether it is of our account."""
        if seen.execution.account != self._account:
            return False
        self._seen.update(by_base([*self._known(seen), seen]))
        return True

    def _known(self, seen: Seen) -> list[Seen]:
        base = next(iter(by_base([seen])))
        return [self._seen[base]] if base in self._seen else []

    def take_commission(self, ib_report: Any) -> None:
        """Take what an execution cost."""
        report = commission_of(ib_report)
        self._commissions[report.exec_id] = report

    def answered(self, rows: list[Seen], asked: Moment) -> None:
        """Take a whole answer to a question that was asked at ``asked``.

        What was pushed long before the question and is not in the answer is of another day.
        """
        ours = by_base(row for row in rows if row.execution.account == self._account)
        since = asked.utc - ANSWER_LAG
        later = {b: s for b, s in self._seen.items() if s.execution.executed_at >= since}
        self._seen = by_base([*ours.values(), *later.values()])
        self.complete_at = asked

    def all(self) -> dict[str, Seen]:
        """Return every execution by base, with its commission once it is known."""
        return {base: self._with_cost(seen) for base, seen in self._seen.items()}

    def _with_cost(self, seen: Seen) -> Seen:
        report = self._commissions.get(seen.execution.exec_id)
        if report is None:
            return seen
        costed = replace(
            seen.execution, commission=report.commission, realized_pnl=report.realized_pnl
        )
        return replace(seen, execution=costed)
