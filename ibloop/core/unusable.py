"""Why a file of the stream gives no price: a value of its own, which a refusal passes on."""

from dataclasses import dataclass
from enum import StrEnum


class FileFault(StrEnum):
    """What is wrong with the file of a symbol, or with its being there."""

    MISSING = "missing"
    UNNAMEABLE = "unnameable"
    UNREADABLE = "unreadable"
    IRREGULAR = "irregular"
    OVERSIZED = "oversized"
    BUSY = "busy"
    DAMAGED = "damaged"
    UNSUBSCRIBED = "unsubscribed"
    REFUSED = "refused"  # the gateway knows no such contract
    DEGRADED = "degraded"
    STREAM_DOWN = "stream_down"


@dataclass(frozen=True, slots=True)
class Unusable:
    """A file that cannot be used: what kind of fault it is, and the whole of it in words."""

    fault: FileFault
    text: str

    def __str__(self) -> str:
        """Return the words."""
        return self.text
