"""What may be written to a gateway now, and what has to wait: three lanes under one limit.

Cancels go first, and a few slots of each window are kept for them. Orders come next and never
wait: one without room is refused, so that nothing which waits here can still become an order, and
no cancel can leave before the order that it is about. Questions and data lines wait their turn.
Everything here is a function of the times it is given; ``lib`` owns the socket and the timer.
"""

from collections import deque
from enum import Enum, auto
from typing import Generic, TypeVar

SENDS_MAX = 50
"""Messages in any ``SEND_WINDOW_S``. IB refuses the 51st in a second (error 100)."""

SEND_WINDOW_S = 1.05
"""A window of exactly 1 s lets a 51st message into a sliding second of the gateway's clock."""

SENDS_URGENT = 5
"""Of those kept for cancels: orders and questions leave only while as many are free beside them."""

T = TypeVar("T")


class Lane(Enum):
    """What a message is, most urgent first."""

    URGENT = auto()
    ORDER = auto()
    QUESTION = auto()


class Pace(Generic[T]):
    """The messages of one connection: which have left lately, and which wait.

    ``T`` is a message, whatever the caller writes. Times are seconds of one clock that never goes
    back. What a method returns must be written at once, in that order: it counts as having left.
    """

    def __init__(self) -> None:
        """Begin with a free window."""
        self._taken_until: deque[float] = deque()  # when each message of the window leaves it
        self._urgent: deque[T] = deque()
        self._questions: deque[T] = deque()

    def room(self, now: float) -> int:
        """Return how many orders can leave now, one after the other and each at once."""
        ordinary = SENDS_MAX - SENDS_URGENT
        return max(0, ordinary - self._recent(now) - len(self._urgent))

    def give(self, lane: Lane, message: T, now: float) -> list[T] | None:
        """Take a message; return what leaves now, which need not include it.

        ``None`` for an order that cannot leave at once: it is not kept. Questions that wait do not
        leave with an order: the room they would take may have been promised to the next one.
        """
        match lane:
            case Lane.URGENT:
                self._urgent.append(message)
                return self._leave(self._urgent, SENDS_MAX, now)
            case Lane.ORDER:
                if self.room(now) == 0:
                    return None
                self._urgent.append(message)  # for no longer than this call: there is room
                return self._leave(self._urgent, SENDS_MAX, now)
            case Lane.QUESTION:
                self._questions.append(message)
                return self.due(now)

    def waiting(self) -> list[T]:
        """Return what waits, in the order in which it will leave."""
        return [*self._urgent, *self._questions]

    def urgent_waiting(self) -> int:
        """Return how many cancels wait."""
        return len(self._urgent)

    def due(self, now: float) -> list[T]:
        """Return what leaves now of what waits."""
        urgent = self._leave(self._urgent, SENDS_MAX, now)
        return urgent + self._leave(self._questions, SENDS_MAX - SENDS_URGENT, now)

    def next_at(self, now: float) -> float | None:
        """Return when something that waits can leave; ``None`` while nothing waits."""
        if not self._urgent and not self._questions:
            return None
        limit = SENDS_MAX if self._urgent else SENDS_MAX - SENDS_URGENT
        above = self._recent(now) - limit
        return now if above < 0 else self._taken_until[above]

    def _leave(self, waiting: deque[T], limit: int, now: float) -> list[T]:
        count = min(len(waiting), max(0, limit - self._recent(now)))
        self._taken_until.extend([now + SEND_WINDOW_S] * count)
        return [waiting.popleft() for _ in range(count)]

    def _recent(self, now: float) -> int:
        """Return how many messages the window holds."""
        while self._taken_until and self._taken_until[0] <= now:
            self._taken_until.popleft()
        return len(self._taken_until)
