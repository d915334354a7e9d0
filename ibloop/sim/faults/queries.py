"""Faults of questions and their answers."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from ibloop.sim.faults.base import (
    Arrival,
    Asks,
    Outgoing,
    Reaction,
    Says,
    parameter,
)
from ibloop.sim.faults.registry import register
from ibloop.sim.faults.striking import Striking

HMDS = "Historical Market Data Service error message:"
QUERIES = {
    "executions": frozenset({Asks.EXECUTIONS}),
    "open_orders": frozenset({Asks.OPEN_ORDERS, Asks.ALL_OPEN_ORDERS}),
    "completed_orders": frozenset({Asks.COMPLETED_ORDERS}),
    "positions": frozenset({Asks.POSITIONS}),
    "account_updates": frozenset({Asks.ACCOUNT_UPDATES}),
    "account_summary": frozenset({Asks.ACCOUNT_SUMMARY}),
    "contract_details": frozenset({Asks.CONTRACT_DETAILS}),
    "historical_data": frozenset({Asks.HISTORICAL_DATA}),
    "current_time": frozenset({Asks.CURRENT_TIME, Asks.CURRENT_TIME_MILLIS}),
    "ids": frozenset({Asks.IDS}),
}
LISTS = {
    "executions": Says.EXECUTIONS_END,
    "open_orders": Says.OPEN_ORDERS_END,
    "completed_orders": Says.COMPLETED_ORDERS_END,
    "positions": Says.POSITIONS_END,
}


@register
@dataclass(kw_only=True, slots=True)
class QueryUnanswered(Striking):
    """Questions of one kind are received and never answered."""

    query: str = parameter("executions", "which", choices=tuple(QUERIES))

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Swallow a question of the kind."""
        if arrival.message_id not in QUERIES[self.query] or not self.strikes(arrival.client_id):
            return None
        self.over = self.spent
        return Reaction(swallow=True)


@register
@dataclass(kw_only=True, slots=True)
class QueryLate(Striking):
    """Questions of one kind are answered late."""

    query: str = parameter("executions", "which", choices=tuple(QUERIES))
    delay_s: float = parameter(5.0, "seconds")

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Hold a question of the kind back."""
        if arrival.message_id not in QUERIES[self.query] or not self.strikes(arrival.client_id):
            return None
        self.over = self.spent
        return Reaction(delay_s=self.delay_s)


@register
@dataclass(kw_only=True, slots=True)
class QueryEmpty(Striking):
    """A list is answered as empty although there is something to tell."""

    query: str = parameter("executions", "which", choices=tuple(LISTS))

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Answer with the end of the list alone."""
        if arrival.message_id not in QUERIES[self.query] or not self.strikes(arrival.client_id):
            return None
        self.over = self.spent
        end = str(int(LISTS[self.query]))
        if self.query == "executions":
            return Reaction(swallow=True, replies=((end, "1", str(arrival.req_id)),))
        # The end of completed orders is the only one without a version field.
        reply = (end,) if self.query == "completed_orders" else (end, "1")
        return Reaction(swallow=True, replies=(reply,))


@dataclass(kw_only=True, slots=True)
class EndMissing(Striking):
    """The end of a list is never sent, so that the client waits."""

    only_empty: bool = parameter(False, "only when the list is empty, as real gateways do")
    items: int = field(default=0, init=False, repr=False, compare=False)
    ITEM: ClassVar[str]
    END: ClassVar[str]

    def sends(self, outgoing: Outgoing) -> Iterable[Outgoing] | None:
        """Count the items since the last end, and drop the end."""
        if outgoing.fields[0] == self.ITEM:
            self.items += 1
        if outgoing.fields[0] != self.END:
            return None
        items, self.items = self.items, 0
        if self.only_empty and items:
            return None
        if not self.strikes(outgoing.client_id):
            return None
        self.over = self.spent
        return ()


@register
@dataclass(kw_only=True, slots=True)
class ExecEndMissing(EndMissing):
    """execDetailsEnd (55) is never sent."""

    ITEM: ClassVar[str] = "11"
    END: ClassVar[str] = "55"


@register
@dataclass(kw_only=True, slots=True)
class CompletedEndMissing(EndMissing):
    """completedOrdersEnd (102) is never sent."""

    ITEM: ClassVar[str] = "101"
    END: ClassVar[str] = "102"


@register
@dataclass(kw_only=True, slots=True)
class PositionsEndMissing(EndMissing):
    """positionEnd (62) is never sent."""

    ITEM: ClassVar[str] = "61"
    END: ClassVar[str] = "62"


@register
@dataclass(kw_only=True, slots=True)
class OpenOrdersEndMissing(EndMissing):
    """openOrderEnd (53) is never sent."""

    ITEM: ClassVar[str] = "5"
    END: ClassVar[str] = "53"


@register
@dataclass(kw_only=True, slots=True)
class DuplicateExecOnQuery(Striking):
    """The answer to reqExecutions tells every execution twice."""

    def sends(self, outgoing: Outgoing) -> Iterable[Outgoing] | None:
        """Repeat an execution that was asked for."""
        asked = outgoing.message_id == Says.EXECUTION and outgoing.fields[1] != "-1"
        if not asked or not self.strikes(outgoing.client_id):
            return None
        return (outgoing, outgoing)


@register
@dataclass(kw_only=True, slots=True)
class HistoricalPacing(Striking):
    """reqHistoricalData is refused for pacing: 162."""

    symbol: str | None = parameter(None, "only this symbol")
    text: str = parameter("Historical data request pacing violation", "what 162 says")

    def receives(self, arrival: Arrival) -> Reaction | None:
        """Refuse a request for history."""
        if arrival.message_id != Asks.HISTORICAL_DATA or self.symbol not in {None, arrival.symbol}:
            return None
        if not self.strikes(arrival.client_id):
            return None
        self.over = self.spent
        error = (arrival.req_id, 162, f"{HMDS}{self.text}")
        return Reaction(swallow=True, errors=(error,))
