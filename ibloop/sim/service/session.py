"""One client's connection as the gateway sees it: who it is and what it subscribed to."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from ibloop.sim.brokerage.statement import AccountValue
from ibloop.sim.protocol.replies import system
from ibloop.sim.protocol.wire import Fields, frame
from ibloop.sim.service.pacing import Pace

if TYPE_CHECKING:
    from ibloop.sim.service.desk import Desk


class Line(Protocol):
    """The transport under a session."""

    def write(self, data: bytes) -> None:
        """Send bytes, or hold them while frozen."""
        ...

    def close(self) -> None:
        """End the connection after what was written."""
        ...

    def reset(self) -> None:
        """Break the connection with a TCP RST; unsent bytes are lost."""
        ...

    def freeze(self, *, frozen: bool) -> None:
        """Stop or resume reading and writing."""
        ...


@dataclass(slots=True)
class ValueFeed:
    """Account values for one subscriber: only what changed since it was last told."""

    account: str
    encode: Callable[[str, str, str], Fields]
    wants: Callable[[str, str], bool] = lambda _key, _currency: True
    sent: dict[tuple[str, str], str] = field(default_factory=dict)

    def changes(self, values: Iterable[AccountValue]) -> list[Fields]:
        """Return messages for the values that are new to the subscriber."""
        messages = []
        for key, value, currency in values:
            if self.wants(key, currency) and self.sent.get((key, currency)) != value:
                self.sent[key, currency] = value
                messages.append(self.encode(key, value, currency))
        return messages


class Subscription(Protocol):
    """Something a client hears of again and again under a request id, once in every sample."""

    def sample(self, desk: "Desk", session: "Session") -> Iterable[Fields] | bytes:
        """Return the messages that are due now, as fields or as whole frames."""
        ...


@dataclass(slots=True, eq=False)
class Session:
    """A connected client; `client_id` is None until it has named itself with startApi.

    `subscriptions` are known by their kind and request id; `market_data_type` is that of the
    streams it asks for next; `time_told_s` is the second of server time it was last told;
    `symbols` holds the symbol of every request for data by its id as text.
    """

    line: Line
    pace: Pace = field(default_factory=Pace)
    version: int = 0
    client_id: int | None = None
    frozen: bool = False
    symbols: dict[str, str] = field(default_factory=dict)
    subscriptions: dict[tuple[str, int], Subscription] = field(default_factory=dict)
    positions: bool = False
    account: ValueFeed | None = None
    multis: dict[int, ValueFeed] = field(default_factory=dict)
    summaries: dict[int, list[ValueFeed]] = field(default_factory=dict)
    time_told_s: int = -1
    market_data_type: int = 1

    def send(self, *messages: Fields) -> None:
        """Write messages in order."""
        if messages:
            self.line.write(b"".join(frame(fields) for fields in messages))

    def sample(self, desk: "Desk") -> None:
        """Write what the subscriptions have to say now, at once."""
        data = []
        for subscription in tuple(self.subscriptions.values()):
            due = subscription.sample(desk, self)
            data.append(due if isinstance(due, bytes) else b"".join(map(frame, due)))
        written = b"".join(data)
        if written:
            self.line.write(written)

    def error(self, req_id: int, code: int, text: str, now: datetime) -> None:
        """Write an error, warning or notice."""
        self.send(system.error(req_id, code, text, self.version, now))

    def feeds(self) -> list[ValueFeed]:
        """Return every account value subscription."""
        feeds = [*self.multis.values()]
        feeds += [feed for summary in self.summaries.values() for feed in summary]
        return [*([self.account] if self.account else []), *feeds]
