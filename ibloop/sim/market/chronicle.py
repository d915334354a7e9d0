"""What has happened to the market since the world began: the part of the past nobody can compute.

Pure. Times are seconds since 1970 on the clock of the host, without the offset of server time:
moved with the clock, the past stays where it was seen from.
"""

from collections.abc import Mapping

from ibloop.sim.market.pins import Pin

# Beyond this the two clocks of the host have come apart (set, or suspended), and the beginning
# is placed anew.
CLOCKS_APART_S = 2.0
PINS_KEPT = 10_000


class Chronicle:
    """Since when the world runs, and which prices were fixed when."""

    def __init__(self, began_s: float, pins: Mapping[int, Pin]) -> None:
        """Begin, with what is fixed already."""
        self._began_s = began_s
        self._pins: dict[int, list[tuple[float, Pin]]] = {}
        self.note(began_s, pins)

    def note(self, at_s: float, pins: Mapping[int, Pin]) -> None:
        """Remember what is fixed from now on."""
        for con_id, pin in pins.items():
            known = self._pins.setdefault(con_id, [])
            if not known or known[-1][1] != pin:
                known.append((at_s, pin))
                del known[:-PINS_KEPT]

    def pins(self, con_id: int, offset_s: float) -> list[tuple[float, Pin]]:
        """Return what was fixed for an instrument and since when, in server time."""
        return [(at_s + offset_s, pin) for at_s, pin in self._pins.get(con_id, ())]

    def began_s(self, now_s: float, ran_s: float) -> float:
        """Return when the world began, `ran_s` seconds of its running before `now_s`."""
        if abs(now_s - ran_s - self._began_s) > CLOCKS_APART_S:
            self._began_s = now_s - ran_s
        return self._began_s
