"""Things to do later, in the order of their time and, at the same time, of their coming."""

import heapq
from collections.abc import Callable


class Agenda:
    """A queue of actions by monotonic seconds; the caller asks what is due."""

    def __init__(self) -> None:
        """Start empty."""
        self._items: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0

    def add(self, due_s: float, action: Callable[[], object]) -> None:
        """Do something when the clock reaches `due_s`."""
        self._count += 1
        heapq.heappush(self._items, (due_s, self._count, action))

    def next_due_s(self) -> float | None:
        """Return when the earliest action is due, None when there is nothing to do."""
        return self._items[0][0] if self._items else None

    def run(self, now_s: float) -> None:
        """Do everything that is due."""
        while self._items and self._items[0][0] <= now_s:
            heapq.heappop(self._items)[2]()
