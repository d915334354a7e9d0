"""What everything that is held cost when the New York day began, in a market that never closes.

The profit of the day compares with it. In the exchange's hours the last close says the same.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from decimal import Decimal

from ibloop.sim.model import Quote
from ibloop.sim.state import Marked


class DayMarks:
    """The last prices before midnight, by contract id."""

    def __init__(self, known: dict[int, Marked], today: date) -> None:
        """Go on with what a former world noted."""
        self.today = today
        self._marks = known

    def note(self, quotes: Iterable[Quote | None]) -> list[Marked]:
        """Remember the last prices as those the day begins with; return what is new."""
        found = []
        for quote in quotes:
            known = self._marks.get(quote.con_id) if quote else None
            if quote is not None and (known is None or known.day != self.today):
                mark = self._marks[quote.con_id] = Marked(quote.con_id, self.today, quote.last)
                found.append(mark)
        return found

    def split(self, con_id: int, ratio: Decimal) -> list[Marked]:
        """Let a price follow a split; return what is new."""
        known = self._marks.get(con_id)
        if known is None:
            return []
        mark = self._marks[con_id] = replace(known, price=known.price / ratio)
        return [mark]

    def price(self, con_id: int) -> Decimal | None:
        """Return what the day began with, None for what was not held then."""
        mark = self._marks.get(con_id)
        return mark.price if mark and mark.day == self.today else None
