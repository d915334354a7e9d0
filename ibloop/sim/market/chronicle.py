"""What has happened to the market since the world began: the part of the past nobody can compute.

Pure. Times are seconds since 1970, on the clock of the host and on that of the server. A market
that never closes has no dates of its own: moved with the clock, its past stays where it was seen
from. In the exchange's hours the past stays at the server time at which it happened.
"""

from collections.abc import Mapping

from ibloop.sim.market.pins import Pin

# Beyond this the two clocks of the host have come apart (set, or suspended), and the beginning
# is placed anew.
CLOCKS_APART_S = 2.0
PINS_KEPT = 10_000


class Chronicle:
    """Since when the world runs, and which prices were fixed when."""

    def __init__(self, began_s: float, offset_s: float, pins: Mapping[int, Pin]) -> None:
        """Begin, with what is fixed already."""
        self._began_s = began_s
        self._pins: dict[int, list[tuple[float, float, Pin]]] = {}
        self.note(began_s, offset_s, pins)

    def note(self, at_s: float, offset_s: float, pins: Mapping[int, Pin]) -> None:
        """Remember what is fixed from now on; server time is the host's plus the offset."""
        for con_id, pin in pins.items():
            known = self._pins.setdefault(con_id, [])
            if not known or known[-1][2] != pin:
                known.append((at_s, at_s + offset_s, pin))
                del known[:-PINS_KEPT]

    def pins(self, con_id: int, now_s: float, offset_s: float | None) -> list[tuple[float, Pin]]:
        """Return what was fixed for an instrument and since when, in server time up to now.

        With an offset the past is moved by it; else it stays where it was, but for what is later
        than something fixed after it: the clock was put back then.
        """
        found: list[tuple[float, Pin]] = []
        for host_s, server_s, pin in reversed(self._pins.get(con_id, ())):
            now_s = min(now_s, server_s if offset_s is None else host_s + offset_s)
            found.append((now_s, pin))
        return found[::-1]

    def began_s(self, now_s: float, ran_s: float) -> float:
        """Return when the world began, `ran_s` seconds of its running before `now_s`."""
        if abs(now_s - ran_s - self._began_s) > CLOCKS_APART_S:
            self._began_s = now_s - ran_s
        return self._began_s
