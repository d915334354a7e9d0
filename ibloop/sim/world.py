"""The simulated world: market, broker, time and memory, without any client.

Everything that must survive a crash passes through `commit`, in one place, before the gateway
tells anybody.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Protocol

from ibloop.sim.brokerage.account import Account
from ibloop.sim.brokerage.broker import Broker
from ibloop.sim.market.history import Samples
from ibloop.sim.market.market import SESSION_S, Market, Moment, Pin
from ibloop.sim.market.venue import Phase
from ibloop.sim.model import NEW_YORK, ZERO, Instrument, Quote, ReceivedFrame, SimError
from ibloop.sim.state import (
    AccountOpened,
    ClockSet,
    Journal,
    MarketTime,
    Memory,
    Pinned,
    Record,
    StateFile,
)

SAMPLE_S = 0.25
DEFAULT_START = date(2012, 10, 1)
OFFSET_S_MAX = 10 * 366 * 86_400.0
# A new broker counts permIds from its first second on, four a second, so that two brokers
# without a common memory do not give the same number to different orders.
PERM_ID_EPOCH_S = 1_600_000_000


class Clock(Protocol):
    """The two clocks of the host."""

    def utc(self) -> datetime:
        """Return the real time, aware UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that only grow."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def utc(self) -> datetime:
        """Return the real time, aware UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class WorldOptions:
    """How to begin: accounts with `cash_usd` each, seed, market speed and first session.

    `speed` is market seconds per real second; 0 freezes the market at its moment.
    """

    accounts: Sequence[str] = ("DU1234567",)
    cash_usd: Decimal = Decimal(100_000)
    seed: int = 1
    speed: float = 1.0
    start: date = DEFAULT_START


class World:
    """Market, broker and server time of one simulated login."""

    def __init__(
        self, options: WorldOptions, samples: Samples, journal: Journal, clock: Clock
    ) -> None:
        """Begin new, or where the state file stopped.

        Raises: SimError when the history ends before the start date.
        """
        self.samples = samples
        self.market = Market(samples, seed=options.seed, start=options.start)
        self._options = options
        self._journal = journal
        self._clock = clock
        memory = journal.memory if isinstance(journal, StateFile) else Memory()
        self.frames = memory.frames
        self.offset_s = memory.offset_s
        self._pending: list[Record] = []
        self._quotes: dict[int, Quote | None] = {}
        self._quotes_at = -1
        self._began_s = clock.monotonic_s()
        self._base_market_s = self._resume_market(memory)
        self.broker = self._open_broker(memory)
        self.commit()

    def _resume_market(self, memory: Memory) -> float:
        """Return the session seconds already played; fixed prices stay fixed."""
        known = self.samples.instruments
        self.market.pins.update({key: pin for key, pin in memory.pins.items() if key in known})
        saved, options = memory.market, self._options
        if saved is None or saved.timeline != (options.seed, str(options.start)):
            return 0.0
        self.market.shocks.extend(memory.shocks)
        return saved.market_s

    def _open_broker(self, memory: Memory) -> Broker:
        names = self._options.accounts
        new = {name: self._options.cash_usd for name in names if name not in memory.accounts}
        self._pending += [AccountOpened(name, cash) for name, cash in new.items()]
        cash = memory.accounts | new
        # The accounts asked for come first, then what else the state file knows.
        ordered = {name: cash[name] for name in (*names, *cash)}
        first = int(self._clock.utc().timestamp() - PERM_ID_EPOCH_S) * 4
        broker = Broker(self.samples.instruments, ordered, first_perm_id=max(1, first))
        broker.restore([*memory.orders.values(), *memory.executions.values()])
        return broker

    # ------------------------------------------------------------------ time

    def now(self) -> datetime:
        """Return server time: real time plus the offset, aware UTC."""
        return self._clock.utc() + timedelta(seconds=self.offset_s)

    def monotonic_s(self) -> float:
        """Return the clock for waits, which no offset moves."""
        return self._clock.monotonic_s()

    def moment(self) -> Moment:
        """Return simulated time, which moves in samples of 250 ms."""
        sample = int((self._clock.monotonic_s() - self._began_s) / SAMPLE_S)
        return Moment(self._base_market_s + sample * SAMPLE_S * self._options.speed, sample)

    # ------------------------------------------------------------------ venue

    def phase(self) -> Phase:
        """Return the part of the trading day: the simulated market never closes."""
        return Phase.OPEN

    def session(self) -> int:
        """Return the number of the session being played."""
        return self.moment().session

    def next_open(self) -> datetime:
        """Return when regular trading begins next: now."""
        return self.now()

    def day_end(self, *, outside_rth: bool) -> datetime:  # noqa: ARG002 - no hours outside
        """Return when a DAY order that is placed now ends: midnight in New York."""
        tomorrow = self.now().astimezone(NEW_YORK).date() + timedelta(days=1)
        midnight = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=NEW_YORK)
        return midnight.astimezone(UTC)

    def opening_price(self, con_id: int, session: int) -> Decimal | None:
        """Return the first price of a session."""
        quote = self.market.quote(con_id, Moment(session * SESSION_S, 0))
        return quote.open if quote else None

    def closing_price(self, con_id: int, session: int) -> Decimal | None:
        """Return the last price of a session: the prior close of the one after it."""
        quote = self.market.quote(con_id, Moment((session + 1) * SESSION_S, 0))
        return quote.close if quote else None

    def set_clock(self, offset_s: float) -> None:
        """Move server time. Raises: SimError for more than ten years."""
        if abs(offset_s) > OFFSET_S_MAX:
            raise SimError(f"expected an offset of at most {OFFSET_S_MAX:.0f} s, was {offset_s}")
        self.offset_s = offset_s
        self._pending.append(ClockSet(offset_s))
        self.commit()

    # ------------------------------------------------------------------ market

    def quote_of(self, con_id: int) -> Quote | None:
        """Return an instrument's quote, the same for everybody within one sample."""
        moment = self.moment()
        if moment.sample != self._quotes_at:
            self._quotes, self._quotes_at = {}, moment.sample
        if con_id not in self._quotes:
            self._quotes[con_id] = self.market.quote(con_id, moment)
        return self._quotes[con_id]

    def price_of(self, con_id: int) -> Decimal:
        """Return the last price, 0 while there is none."""
        quote = self.quote_of(con_id)
        return quote.last if quote else ZERO

    def pin(
        self, instrument: Instrument, values: Mapping[str, Decimal | bool | None]
    ) -> Quote | None:
        """Fix parts of a quote (None frees one), and return what the market now shows.

        Raises: SimError when the bid would not stay below the ask, or there is no price at all.
        """
        old = self.market.pins.get(instrument.con_id, Pin())
        merged = {name: getattr(old, name) for name in ("bid", "ask", "last", "halted")}
        pin = Pin(**(merged | dict(values)))
        if pin.bid is not None and pin.ask is not None and pin.bid >= pin.ask:
            raise SimError(f"expected bid below ask, was {pin.bid} and {pin.ask}")
        if self.quote_of(instrument.con_id) is None:
            raise SimError(f"{instrument.symbol} has no price on this day of the history")
        self.market.pins[instrument.con_id] = pin
        self._pending.append(Pinned(instrument.con_id, pin.bid, pin.ask, pin.last, pin.halted))
        self._market_moved()
        return self.quote_of(instrument.con_id)

    def shock(self, fraction: float) -> None:
        """Multiply every price by 1 + fraction from now on.

        Raises: SimError when nothing would be left.
        """
        if fraction <= -1:
            raise SimError(f"expected a shock above -1, was {fraction}")
        self.market.shock(1 + fraction, self.moment().market_s)
        self._pending.append(self.market.shocks[-1])
        for con_id, pin in self.market.pins.items():
            self._pending.append(Pinned(con_id, pin.bid, pin.ask, pin.last, pin.halted))
        self._market_moved()

    def _market_moved(self) -> None:
        self._quotes_at = -1
        self.commit()

    # ------------------------------------------------------------------ memory

    def receive(self, frame: ReceivedFrame) -> None:
        """Note an order message as received; the next commit stores it."""
        self.frames.append(frame)
        self._pending.append(frame)

    def commit(self) -> None:
        """Store everything that changed since the last commit, as one step.

        Raises: SimError when it cannot be stored.
        """
        changes: list[Record] = [*self._pending, *self.broker.take_changes()]
        self._pending = []
        if changes:
            self._journal.append([self._market_time(), *changes])

    def note_market_time(self) -> None:
        """Store how far the market has run."""
        self._journal.append([self._market_time()])

    def _market_time(self) -> MarketTime:
        options = self._options
        return MarketTime(options.seed, str(options.start), self.moment().market_s)

    def account(self, name: str) -> Account | None:
        """Return an account by its id."""
        return self.broker.accounts.get(name)
