"""Hand-written stand-ins for what surrounds the broker."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ibloop.sim.market.venue import Phase
from ibloop.sim.model import Quote

NOON = datetime(2026, 11, 18, 17, 0, tzinfo=UTC)


@dataclass
class FakeVenue:
    """An exchange the test sets: one quote for everything, time, phase and auction prices."""

    quote: Quote | None = None
    time: datetime = NOON
    trading: Phase = Phase.OPEN
    number: int = 0
    opens_at: datetime = NOON
    ends_at: datetime = NOON + timedelta(hours=12)
    auctions: dict[tuple[str, int], Decimal] = field(default_factory=dict)

    def now(self) -> datetime:
        """Return the set time."""
        return self.time

    def quote_of(self, _con_id: int) -> Quote | None:
        """Return the set quote."""
        return self.quote

    def phase(self) -> Phase:
        """Return the set phase."""
        return self.trading

    def session(self) -> int:
        """Return the set number."""
        return self.number

    def next_open(self) -> datetime:
        """Return the set time of the open."""
        return self.opens_at

    def day_end(self, *, outside_rth: bool) -> datetime:
        """Return the set end of the day, four hours later for orders outside regular hours."""
        return self.ends_at + timedelta(hours=4 * outside_rth)

    def opening_price(self, _con_id: int, session: int) -> Decimal | None:
        """Return the price set under ("open", session)."""
        return self.auctions.get(("open", session))

    def closing_price(self, _con_id: int, session: int) -> Decimal | None:
        """Return the price set under ("close", session)."""
        return self.auctions.get(("close", session))
