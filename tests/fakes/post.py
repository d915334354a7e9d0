"""A guard at its post: a site, a session that says what a test wants, and prices."""

from decimal import Decimal
from pathlib import Path

from ibloop.adapters.ledger import halts
from ibloop.adapters.ports import NotSentError
from ibloop.core.dropcopy import Seen, by_base
from ibloop.core.guard import GuardVerdict
from ibloop.core.model import AccountValues, Moment, Position
from ibloop.core.valuing import Mark
from ibloop.daemons.guard import TradeGuard
from tests.fakes.clock import FakeClock
from tests.fakes.house import instrument
from tests.fakes.quotes import FakeQuotes
from tests.fakes.site import Site

D = Decimal


class FakeWatch:
    """The guard's own IB session: what the broker pushes, and a kill switch."""

    def __init__(self, clock: FakeClock) -> None:
        """Hold 1000 AAA beside 50,000 USD."""
        self._clock = clock
        self.connected = True
        self.proof_s = 0.5
        self.cash: Decimal | None = D(50_000)
        self.held: tuple[Position, ...] | None = (Position("AAA", 1, D(1000), D(50)),)
        self.net_liquidation = D(100_000)
        self.cancels: list[float] = []
        self.values_s = 0.0
        self.marked: dict[int, Mark] = {}
        self.executed: list[Seen] = []
        self.complete_at: Moment | None = None
        self.questions = 0
        self.answers = True
        self.skew_s = 0.0
        self.refuses = False
        self.works = 0
        self.perm_ids = frozenset[int]()
        self.open_asked = 0

    def is_connected(self) -> bool:
        """Return whether the session is up."""
        return self.connected

    def proof_age_s(self) -> float:
        """Return the seconds since the last round trip."""
        return self.proof_s

    def positions(self) -> tuple[Position, ...] | None:
        """Return what is held."""
        return self.held

    def values(self) -> AccountValues | None:
        """Return the figures."""
        now = self._clock.now().utc
        if self.cash is None:
            return None
        return AccountValues("DU1234567", self.net_liquidation, self.cash, now)

    def values_age_s(self) -> float:
        """Return the seconds since the figures were refreshed."""
        return self.values_s

    def marks(self) -> dict[int, Mark]:
        """Return the broker's own prices."""
        return self.marked

    def executions(self) -> dict[str, Seen]:
        """Return today's executions by base."""
        return by_base(self.executed)

    def executions_complete_at(self) -> Moment | None:
        """Return when the last whole answer was asked for."""
        return self.complete_at

    def ask_executions(self) -> None:
        """Answer at once, unless the gateway leaves it unanswered."""
        self.questions += 1
        if self.answers:
            self.complete_at = self._clock.now()

    def open_orders(self) -> int | None:
        """Return how many orders work, by the broker."""
        return self.works if self.open_asked else None

    def open_perm_ids(self) -> frozenset[int]:
        """Return the broker's numbers of the orders that work."""
        return self.perm_ids

    def ask_open_orders(self) -> None:
        """Answer at once."""
        self.open_asked += self.connected

    def clock_skew_s(self) -> float:
        """Return how far our clock is ahead."""
        return self.skew_s

    def global_cancel(self) -> None:
        """Take note of the kill switch."""
        if self.refuses:
            raise NotSentError("closed")
        self.cancels.append(self._clock.now().boottime_ns / 1e9)


class Post:
    """A guard at its post: the site, the session, the prices."""

    def __init__(self, directory: Path) -> None:
        """Begin with AAA at 50: 100,000 USD."""
        self.site = Site(directory)
        self.clock = self.site.clock
        self.watch = FakeWatch(self.clock)
        instruments = {"AAA": instrument("AAA", 1)}
        self.quotes = FakeQuotes(self.clock, instruments, {"AAA": D(50)})
        self.restart()

    def restart(self) -> None:
        """Start another guard on what the last one has left."""
        self.guard = TradeGuard(
            self.site.profile,
            self.site.ledger,
            self.watch,
            self.quotes,
            self.clock,
        )

    def look(self, price: str | None = None, after_s: float = 2) -> GuardVerdict:
        """Evaluate at a price, some seconds later, until the guard is sure of it."""
        self.clock.advance(after_s)
        if price is not None:
            self.quotes.prices["AAA"] = D(price)
        self.glance()
        return self.glance()

    def glance(self) -> GuardVerdict:
        """Evaluate once; what is asked before each evaluation is asked."""
        self.guard._copy.ask()
        return self.guard.evaluate()

    def levels(self) -> list[str]:
        """Return the halts that stand."""
        return [str(halt.level) for halt in halts.active(self.site.ledger.db)]

    def resume(self) -> None:
        """Clear all halts, as ``ibloop resume`` does."""
        with self.site.ledger.transaction() as tx:
            halts.resume(tx, "test", "checked", self.clock.now().utc)

    def play(self, seconds: float) -> None:
        """Let the guard step once a second."""
        for _ in range(round(seconds)):
            self.clock.advance(1)
            self.guard.step()
