"""How many messages a client may send: 50 in a second, as at a real gateway.

One that sends more is told so by error 100 and the message is not acted on; a client that asked
for it in its greeting (`+PACEAPI`) is made to wait instead. Every message counts, also one that
is refused or has no answer.
"""

import math
from collections import deque
from dataclasses import dataclass, field

MESSAGES_PER_S = 50
PACE_API = "+PACEAPI"
# IB says only that repeated violations end in a disconnect; the number is this simulator's.
VIOLATIONS_MAX = 3
SECOND_S = 1.0
# A busy host may deliver the messages of a second within less: a client that keeps to the limit
# must not be blamed for it.
WINDOW_S = SECOND_S - 0.2
CLOCK_S = 1e-6
# A flood is not counted further than this: it would only fill memory.
COUNTED_MAX = 10_000


@dataclass(slots=True)
class Pace:
    """The messages of one client in the last WINDOW_S; `per_second` 0 sets no limit.

    Times are of a clock that only grows, in seconds. A violation begins with the first message
    too many and lasts a second.
    """

    per_second: int = MESSAGES_PER_S
    waits: bool = False
    violations: int = 0
    _received_s: deque[float] = field(default_factory=lambda: deque(maxlen=COUNTED_MAX))
    _violated_s: float = -math.inf

    def wait_s(self, now_s: float) -> float:
        """Return how long the next message of a client that waits has to wait, else 0."""
        if not self.waits or not self.per_second or len(self._received_s) < self.per_second:
            return 0.0
        received_s = self._received_s[-self.per_second]
        if received_s <= now_s - WINDOW_S:
            return 0.0
        # The same comparison as in `admits`; the sum may differ from it by a rounding error.
        return max(received_s + WINDOW_S - now_s, CLOCK_S)

    def admits(self, now_s: float) -> bool:
        """Count a message and tell whether it may be acted on."""
        if not self.per_second:
            return True
        received = self._received_s
        received.append(now_s)
        while received[0] <= now_s - WINDOW_S:
            received.popleft()
        return len(received) <= self.per_second

    def violation(self, now_s: float) -> str | None:
        """Return what to say about a message that is too many, None within one violation."""
        if now_s < self._violated_s + SECOND_S:
            return None
        self._violated_s = now_s
        self.violations += 1
        counts = f"max={self.per_second} rec={len(self._received_s)} ({self.violations})"
        return f"Max rate of messages per second has been exceeded:{counts}"
