"""Collections of the broker's truth: the last complete one, and the one under way."""

from dataclasses import dataclass, field
from datetime import datetime

from ibloop.core.model import Evidence, Moment


@dataclass(frozen=True, slots=True)
class Sync:
    """The last complete evidence: the number of its pass, when that began, when it was stored."""

    number: int
    begun: Moment
    stored_at: datetime
    evidence: Evidence


@dataclass(slots=True)
class Pass:
    """A collection under way; ``sent`` are the orders journalled since it began."""

    number: int
    begun: Moment
    sent: set[str] = field(default_factory=set)
    is_void: bool = False
